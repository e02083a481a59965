#include "base/log_line.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

enum {
  TAIL_ROOM = 16, /* "..." and what closes a line */
  SYSLOG_DAEMON = 3 << 3
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const int priorities[] = {7, 6, 4, 3}; /* of syslog(3) */

static int within(int level) { return level < PT_LOG_DEBUG ? PT_LOG_DEBUG : level > PT_LOG_ERROR ? PT_LOG_ERROR : level; }

const char *pt_log_level_name(int level) { return level_names[within(level)]; }

typedef struct line {
  size_t n;
  int full;
  char *bytes; /* PT_LOG_LINE */
} line;

/* Adds n bytes whole or not at all; after the first that did not fit nothing is added but the end of the line. */
static void put(line *l, const char *bytes, size_t n) {
  if (l->full || l->n + n > PT_LOG_LINE - TAIL_ROOM) {
    l->full = 1;
    return;
  }
  memcpy(l->bytes + l->n, bytes, n);
  l->n += n;
}

static void put_text(line *l, const char *text) { put(l, text, strlen(text)); }

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

static void put_time(line *l, const struct timespec *at) {
  struct tm tm;
  char day[32], text[48];
  gmtime_r(&at->tv_sec, &tm);
  strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
  put(l, text, (size_t)snprintf(text, sizeof text, "%s.%03ldZ", day, at->tv_nsec / 1000000));
}

static void put_plain(line *l, const pt_log_line *what) {
  put_escaped(l, what->event, 0);
  put_text(l, ": ");
  put_escaped(l, what->msg, 0);
  if (l->full)
    put_end(l, "...");
}

static void put_json(line *l, const pt_log_line *what) {
  put_text(l, "{\"ts\":\"");
  put_time(l, &what->at);
  put_text(l, "\",\"level\":\"");
  put_text(l, pt_log_level_name(what->level));
  put_text(l, "\",\"event\":\"");
  put_escaped(l, what->event, 1);
  put_text(l, "\",\"msg\":\"");
  put_escaped(l, what->msg, 1);
  put_end(l, l->full ? "...\"}" : "\"}");
}

static void put_priority(line *l, int facility, int level) {
  char text[16];
  put(l, text, (size_t)snprintf(text, sizeof text, "<%d>", facility | priorities[within(level)]));
}

/* As syslog(3) writes it, in the system's own time. */
static void put_syslog_head(line *l, const pt_log_line *what) {
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  struct tm tm;
  char text[64];
  put_priority(l, SYSLOG_DAEMON, what->level);
  localtime_r(&what->at.tv_sec, &tm);
  put(l, text,
      (size_t)snprintf(text, sizeof text, "%.3s %2d %02d:%02d:%02d puerta[%d]: ", months + tm.tm_mon * 3, tm.tm_mday, tm.tm_hour,
                       tm.tm_min, tm.tm_sec, (int)getpid()));
}

static void put_journal(line *l, const pt_log_line *what) {
  char text[64];
  put(l, text, (size_t)snprintf(text, sizeof text, "PRIORITY=%d\n", priorities[within(what->level)]));
  put_text(l, "SYSLOG_IDENTIFIER=puerta\nPT_EVENT=");
  put_escaped(l, what->event, 0);
  put_text(l, "\nMESSAGE="); /* control characters are escaped: no line break is left in it */
  put_plain(l, what);
}

size_t pt_log_line_write(const pt_log_line *what, pt_log_form form, char *out) {
  line l = {.bytes = out};
  char level[16];
  switch (form) {
  case PT_FORM_TEXT:
    put_time(&l, &what->at);
    put(&l, level, (size_t)snprintf(level, sizeof level, " %-5s ", pt_log_level_name(what->level)));
    break;
  case PT_FORM_PREFIX:
  case PT_FORM_PREFIX_JSON:
    put_priority(&l, 0, what->level);
    break;
  case PT_FORM_SYSLOG:
  case PT_FORM_SYSLOG_JSON:
    put_syslog_head(&l, what);
    break;
  case PT_FORM_JOURNAL:
    put_journal(&l, what);
    put_end(&l, "\n");
    return l.n;
  case PT_FORM_JSON:
    break;
  }
  bool json = form == PT_FORM_JSON || form == PT_FORM_PREFIX_JSON || form == PT_FORM_SYSLOG_JSON;
  (json ? put_json : put_plain)(&l, what);
  if (form != PT_FORM_SYSLOG && form != PT_FORM_SYSLOG_JSON)
    put_end(&l, "\n");
  return l.n;
}
