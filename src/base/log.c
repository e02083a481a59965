#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum {
  LINE_MAX_BYTES = 4096,
  TAIL_ROOM = 16 /* "..." and what closes a line */
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static atomic_int shown = PT_LOG_INFO;
static atomic_int as_json;

typedef struct line {
  size_t n;
  int full;
  char bytes[LINE_MAX_BYTES];
} line;

void pt_log_setup(int level, int json) {
  atomic_store(&shown, level);
  atomic_store(&as_json, json);
}

int pt_log_level(const char *name) {
  for (int i = PT_LOG_DEBUG; i <= PT_LOG_ERROR; i++)
    if (!strcmp(name, level_names[i]))
      return i;
  return -1;
}

int pt_log_shows(int level) { return level >= atomic_load_explicit(&shown, memory_order_relaxed); }

/* Adds n bytes whole or not at all; after the first that did not fit nothing is added but the end of the line. */
static void put(line *l, const char *bytes, size_t n) {
  if (l->full || l->n + n > sizeof l->bytes - TAIL_ROOM) {
    l->full = 1;
    return;
  }
  memcpy(l->bytes + l->n, bytes, n);
  l->n += n;
}

static void put_end(line *l, const char *text) {
  size_t n = strlen(text);
  memcpy(l->bytes + l->n, text, n);
  l->n += n;
}

/* Length of the well-formed UTF-8 sequence at s, 0 when there is none that may be shown. */
static size_t utf8_length(const unsigned char *s) {
  if (s[0] < 0x80)
    return 1;
  size_t n = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80)
      return 0;
  if (s[0] == 0xc2 && s[1] < 0xa0) /* a control character (C1) */
    return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
      (s[0] == 0xf4 && s[1] > 0x8f))
    return 0;
  return n;
}

static void put_escaped(line *l, const char *text, int json) {
  const unsigned char *s = (const unsigned char *)text;
  char esc[8];
  while (*s && !l->full) {
    size_t n = utf8_length(s);
    if (json && (*s == '"' || *s == '\\'))
      put(l, esc, (size_t)snprintf(esc, sizeof esc, "\\%c", *s));
    else if (*s == '\n' || *s == '\r' || *s == '\t')
      put(l, esc, (size_t)snprintf(esc, sizeof esc, "\\%c", *s == '\n' ? 'n' : *s == '\r' ? 'r' : 't'));
    else if (*s < 0x20 || *s == 0x7f)
      put(l, esc, (size_t)snprintf(esc, sizeof esc, json ? "\\u%04x" : "\\x%02x", *s));
    else if (n == 0)
      put(l, esc, (size_t)snprintf(esc, sizeof esc, json ? "\\ufffd" : "\\x%02x", *s));
    else
      put(l, (const char *)s, n);
    s += n ? n : 1;
  }
}

static void put_time(line *l) {
  struct timespec now;
  struct tm tm;
  char day[32], text[48];
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &tm);
  strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
  put(l, text, (size_t)snprintf(text, sizeof text, "%s.%03ldZ", day, now.tv_nsec / 1000000));
}

static void write_line(int level, const char *event, const char *msg) {
  int json = atomic_load_explicit(&as_json, memory_order_relaxed);
  const char *name = level_names[level < PT_LOG_DEBUG ? 0 : level > PT_LOG_ERROR ? PT_LOG_ERROR : level];
  char head[16];
  line l = {0};
  if (json)
    put(&l, "{\"ts\":\"", 7);
  put_time(&l);
  if (json) {
    put(&l, "\",\"level\":\"", 11);
    put(&l, name, strlen(name));
    put(&l, "\",\"event\":\"", 11);
  } else {
    put(&l, head, (size_t)snprintf(head, sizeof head, " %-5s ", name));
  }
  put_escaped(&l, event, json);
  put(&l, json ? "\",\"msg\":\"" : ": ", json ? 9 : 2);
  put_escaped(&l, msg, json);
  if (l.full)
    put_end(&l, "...");
  put_end(&l, json ? "\"}\n" : "\n");
  ssize_t wrote;
  do
    wrote = write(STDERR_FILENO, l.bytes, l.n);
  while (wrote < 0 && errno == EINTR);
}

/* dropped: lines not shown before this one. */
static void log_message(int level, const char *event, uint64_t dropped, const char *fmt, va_list args) {
  int saved = errno;
  char msg[LINE_MAX_BYTES];
  int n = vsnprintf(msg, sizeof msg, fmt, args);
  if (n < 0)
    n = snprintf(msg, sizeof msg, "%s", fmt);
  if (dropped) {
    size_t most = sizeof msg - 1024; /* room for it, and for what goes before the message */
    int whole = (size_t)n <= most;
    size_t at = whole ? (size_t)n : most;
    snprintf(msg + at, sizeof msg - at, "%s (and %llu more like it)", whole ? "" : "...", (unsigned long long)dropped);
  }
  write_line(level, event, msg);
  errno = saved;
}

void pt_log(int level, const char *event, const char *fmt, ...) {
  if (!pt_log_shows(level))
    return;
  va_list args;
  va_start(args, fmt);
  log_message(level, event, 0, fmt, args);
  va_end(args);
}

int pt_log_every(pt_log_rate *r, int level, const char *event, const char *fmt, ...) {
  if (!pt_log_shows(level))
    return 0;
  uint64_t now = pt_now_ns(), next = atomic_load(&r->next_ns);
  if (now < next || !atomic_compare_exchange_strong(&r->next_ns, &next, now + 1000000000u)) {
    atomic_fetch_add(&r->dropped, 1);
    return 0;
  }
  va_list args;
  va_start(args, fmt);
  log_message(level, event, atomic_exchange(&r->dropped, 0), fmt, args);
  va_end(args);
  return 1;
}
