/* The log: one line an event, each by a single write(2), as text or as JSON lines, to stderr, a file, syslog or the journal:
 *
 *   2026-11-24T06:40:01.123Z info  topology: 3 masters, 3 replicas, 16384 slots
 *   {"ts":"2026-11-24T06:40:01.123Z","level":"info","event":"topology","msg":"3 masters, 3 replicas, 16384 slots"}
 *
 * Any thread, no locks, and no waiting once pt_log_start has given the log a thread of its own (base/log_sink.h). Never fails: a line longer than
 * 4 KiB is cut (with "..."), one that cannot be written is lost and counted; errno is kept.
 * Passwords, keys and values of users' data never go into a line, and whatever a client or backend can bring about at will goes through pt_log_every.
 * Control characters are escaped in both forms (text: \n, \x1b), bytes that are not UTF-8 become \xNN or U+FFFD.
 */
#ifndef PT_BASE_LOG_H
#define PT_BASE_LOG_H

#include <stdatomic.h>
#include <stddef.h>
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
/* Another level, until the next pt_log_setup. Any thread. */
void pt_log_level_set(int level);
/* 1 when lines of this level are shown: for messages that are costly to build. */
int pt_log_shows(int level);

/* Where lines go from now on: "stderr" (as it is before the first call), "syslog", "journald" or the path of a file; see base/log_target.h. 0, or -errno
 * of opening it: nothing has changed. This one, reopen, start, stop: the control thread. */
int pt_log_to(const char *to);
/* Lines go to standard error. */
int pt_log_on_stderr(void);
/* Opens the file (or socket) again, after it has been moved away. 0, or -errno: the old one goes on. */
int pt_log_reopen(void);
/* From here on a thread writes the lines; after the last fork(2) and change of user. 0, or -errno: they are written as before. */
int pt_log_start(void);
/* Writes what has not been written and ends the thread; a reader that stalls gets one second. */
void pt_log_stop(void);
/* Waits until what was logged before has been written, at most ms: before the process ends itself. Any thread. */
void pt_log_flush(unsigned ms);
/* The last 200 lines as a JSON array of {"ts","level","event","msg"}, the oldest first, in at most cap bytes (older lines are left out), NUL-terminated.
 * Returns its length. Any thread but a worker's: it takes a lock. */
size_t pt_log_tail(char *out, size_t cap);
/* How many lines could not be written. Any thread. */
uint64_t pt_log_lost(void);

/* Writes one line. event: a constant word, the subject ("topology", "config", "policy"). */
void pt_log(int level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define pt_debug(event, ...) pt_log(PT_LOG_DEBUG, event, __VA_ARGS__)
#define pt_info(event, ...) pt_log(PT_LOG_INFO, event, __VA_ARGS__)
#define pt_warn(event, ...) pt_log(PT_LOG_WARN, event, __VA_ARGS__)
#define pt_error(event, ...) pt_log(PT_LOG_ERROR, event, __VA_ARGS__)

/* Where the access log goes (as pt_log_to), which has a thread and a queue of its own, so that it costs the log no line. The control thread. */
int pt_log_access_to(const char *to);
/* Writes one line of it, event "access", level info whatever is shown; it is not in the tail. */
void pt_log_access(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* One line a second at most; zeroed memory is ready. May be shared by threads. */
typedef struct pt_log_rate {
  _Atomic uint64_t next_ns; /* nothing is shown before */
  _Atomic uint64_t dropped; /* since the last line shown */
} pt_log_rate;

/* As pt_log, but at most one line a second for each r; the next one shown ends in " (and 41 more like it)". Returns 1 when shown. */
int pt_log_every(pt_log_rate *r, int level, const char *event, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* As much for a state whose every change need not be told: 1 at most once a second, and nothing is counted. */
int pt_log_may(pt_log_rate *r);

#endif
