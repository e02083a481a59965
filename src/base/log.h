/* The log: one line an event on stderr, each by a single write(2), as text or as JSON lines:
 *
 *   2026-11-24T06:40:01.123Z info  topology: 3 masters, 3 replicas, 16384 slots
 *   {"ts":"2026-11-24T06:40:01.123Z","level":"info","event":"topology","msg":"3 masters, 3 replicas, 16384 slots"}
 *
 * Any thread, no locks. Never fails: a line longer than 4 KiB is cut (with "..."), a line stderr does not take is lost; errno is kept.
 * Control characters are escaped in both forms (text: \n, \x1b), bytes that are not UTF-8 become \xNN or U+FFFD.
 */
#ifndef PT_BASE_LOG_H
#define PT_BASE_LOG_H

#include <stdatomic.h>
#include <stdint.h>

enum {
  PT_LOG_DEBUG,
  PT_LOG_INFO,
  PT_LOG_WARN,
  PT_LOG_ERROR
};

/* Sets what is shown (level and above) and how. Any time, any thread; before the first call: info, text. */
void pt_log_setup(int level, int json);
/* The level of a name ("debug" "info" "warn" "error"), -1: no such name. */
int pt_log_level(const char *name);
/* 1 when lines of this level are shown: for messages that are costly to build. */
int pt_log_shows(int level);

/* Writes one line. event: a constant word, the subject ("topology", "config", "policy"). */
void pt_log(int level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define pt_debug(event, ...) pt_log(PT_LOG_DEBUG, event, __VA_ARGS__)
#define pt_info(event, ...) pt_log(PT_LOG_INFO, event, __VA_ARGS__)
#define pt_warn(event, ...) pt_log(PT_LOG_WARN, event, __VA_ARGS__)
#define pt_error(event, ...) pt_log(PT_LOG_ERROR, event, __VA_ARGS__)

/* One line a second at most; zeroed memory is ready. May be shared by threads. */
typedef struct pt_log_rate {
  _Atomic uint64_t next_ns; /* nothing is shown before */
  _Atomic uint64_t dropped; /* since the last line shown */
} pt_log_rate;

/* As pt_log, but at most one line a second for each r; the next one shown ends in " (and 41 more like it)". Returns 1 when shown. */
int pt_log_every(pt_log_rate *r, int level, const char *event, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
