/* A line of the log before it has a form, and the forms it can get. Pure functions over memory; any thread. */
#ifndef PT_BASE_LOG_LINE_H
#define PT_BASE_LOG_LINE_H

#include <stddef.h>
#include <time.h>

enum {
  PT_LOG_LINE = 4096 /* bytes of a formatted line, at most; one pipe takes whole */
};

typedef struct pt_log_line {
  struct timespec at; /* wall clock */
  int level;
  const char *event; /* a constant */
  char msg[]; /* NUL-terminated, as it was said: nothing is escaped yet */
} pt_log_line;

typedef enum pt_log_form {
  PT_FORM_TEXT, /* 2026-11-24T06:40:01.123Z info  event: msg\n */
  PT_FORM_JSON, /* {"ts":"...","level":"info","event":"...","msg":"..."}\n */
  PT_FORM_PREFIX, /* <6>event: msg\n, for a stderr that leads to the journal */
  PT_FORM_PREFIX_JSON, /* <6>{...}\n */
  PT_FORM_SYSLOG, /* <30>Nov 24 06:40:01 puerta[123]: event: msg */
  PT_FORM_SYSLOG_JSON,
  PT_FORM_JOURNAL /* a datagram of fields: MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, PT_EVENT */
} pt_log_form;

/* The name of a level; what is out of range is the nearest. */
const char *pt_log_level_name(int level);

/* Writes l into out (PT_LOG_LINE bytes). What is too long is cut, with "...". Returns how many bytes, without a NUL. */
size_t pt_log_line_write(const pt_log_line *l, pt_log_form form, char *out);

#endif
