#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log_sink.h"

static atomic_int shown = PT_LOG_INFO;
static pt_log_sink sink = {.keep = PTHREAD_MUTEX_INITIALIZER};
static pt_log_sink access_sink = {.keep = PTHREAD_MUTEX_INITIALIZER};
static char *opened, *access_opened; /* where they go, as pt_log_to was told; the control thread's */
static int started; /* the control thread's */

/* ---- how and where ---- */

void pt_log_setup(int level, int json) {
  atomic_store(&shown, level);
  atomic_store(&sink.json, json);
  atomic_store(&access_sink.json, json);
}

void pt_log_level_set(int level) { atomic_store(&shown, level); }

int pt_log_level(const char *name) {
  for (int i = PT_LOG_DEBUG; i <= PT_LOG_ERROR; i++)
    if (!strcmp(name, pt_log_level_name(i)))
      return i;
  return -1;
}

int pt_log_shows(int level) { return level >= atomic_load_explicit(&shown, memory_order_relaxed); }

/* Opens it for s, whose place is remembered in *kept. */
static int direct(pt_log_sink *s, char **kept, const char *to) {
  int e = -ENOMEM;
  char *copy = strdup(to);
  pt_log_target *t = copy ? pt_log_target_open(to, &e) : NULL;
  if (!t) {
    free(copy);
    return e;
  }
  free(*kept);
  *kept = copy;
  pt_log_sink_use(s, t);
  return 0;
}

int pt_log_to(const char *to) { return direct(&sink, &opened, to); }

int pt_log_access_to(const char *to) {
  bool first = !access_opened;
  int e = direct(&access_sink, &access_opened, to);
  return e || !first || !started ? e : pt_log_sink_start(&access_sink);
}

int pt_log_on_stderr(void) { return !opened || !strcmp(opened, "stderr"); }

static int reopen(pt_log_sink *s, const char *to) {
  int e = 0;
  pt_log_target *t = to ? pt_log_target_open(to, &e) : NULL;
  if (t)
    pt_log_sink_use(s, t);
  return t ? 0 : e;
}

int pt_log_reopen(void) {
  int e = reopen(&sink, opened), other = reopen(&access_sink, access_opened);
  return e ? e : other;
}

int pt_log_start(void) {
  int e = pt_log_sink_start(&sink);
  started = !e;
  return e || !access_opened ? e : pt_log_sink_start(&access_sink);
}

void pt_log_stop(void) {
  pt_log_sink_stop(&access_sink);
  pt_log_sink_stop(&sink);
  free(opened);
  free(access_opened);
  opened = access_opened = NULL;
  started = 0;
}

void pt_log_flush(unsigned ms) { pt_log_sink_flush(&sink, ms); }
size_t pt_log_tail(char *out, size_t cap) { return pt_log_sink_tail(&sink, out, cap); }
uint64_t pt_log_lost(void) { return atomic_load(&sink.lost) + atomic_load(&access_sink.lost); }

/* ---- lines ---- */

static void put(pt_log_sink *to, int level, const char *event, const char *msg) {
  size_t len = strlen(msg) + 1;
  pt_log_line *l = malloc(sizeof *l + len);
  if (l) {
    l->level = level;
    l->event = event;
    clock_gettime(CLOCK_REALTIME, &l->at);
    memcpy(l->msg, msg, len);
  }
  pt_log_sink_put(to, l);
}

/* dropped: lines not shown before this one. */
static void log_message(int level, const char *event, uint64_t dropped, const char *fmt, va_list args) {
  int saved = errno;
  char msg[PT_LOG_LINE];
  int n = vsnprintf(msg, sizeof msg, fmt, args);
  if (n < 0)
    n = snprintf(msg, sizeof msg, "%s", fmt);
  if (dropped) {
    size_t most = sizeof msg - 1024; /* room for it, and for what goes before the message */
    int whole = (size_t)n <= most;
    size_t at = whole ? (size_t)n : most;
    snprintf(msg + at, sizeof msg - at, "%s (and %llu more like it)", whole ? "" : "...", (unsigned long long)dropped);
  }
  put(&sink, level, event, msg);
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

int pt_log_may(pt_log_rate *r) {
  uint64_t now = pt_now_ns(), next = atomic_load(&r->next_ns);
  return now >= next && atomic_compare_exchange_strong(&r->next_ns, &next, now + 1000000000u);
}

int pt_log_every(pt_log_rate *r, int level, const char *event, const char *fmt, ...) {
  if (!pt_log_shows(level))
    return 0;
  if (!pt_log_may(r)) {
    atomic_fetch_add(&r->dropped, 1);
    return 0;
  }
  va_list args;
  va_start(args, fmt);
  log_message(level, event, atomic_exchange(&r->dropped, 0), fmt, args);
  va_end(args);
  return 1;
}

void pt_log_access(const char *fmt, ...) {
  int saved = errno;
  char msg[PT_LOG_LINE];
  va_list args;
  va_start(args, fmt);
  vsnprintf(msg, sizeof msg, fmt, args);
  va_end(args);
  put(&access_sink, PT_LOG_INFO, "access", msg);
  errno = saved;
}
