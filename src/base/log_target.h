/* Where a log goes: standard error, a file, syslog or the journal. Opening may fail and is said; writing may take for ever, which is why a sink
 * (base/log_sink.h) does it on a thread of its own. A target belongs to one thread at a time. */
#ifndef PT_BASE_LOG_TARGET_H
#define PT_BASE_LOG_TARGET_H

#include <stdbool.h>

#include "base/log_line.h"

typedef enum pt_log_kind {
  PT_LOG_STDERR,
  PT_LOG_STDERR_JOURNAL, /* standard error leads to the journal (JOURNAL_STREAM) */
  PT_LOG_FILE,
  PT_LOG_SYSLOG,
  PT_LOG_JOURNAL
} pt_log_kind;

typedef struct pt_log_target {
  pt_log_kind kind;
  int fd;
  char *path; /* of the file or socket; NULL: standard error */
} pt_log_target;

/* to: "stderr", "syslog", "journald" (the last two with ":/path" of another socket), else the path of a file, which is appended to and made with
 * mode 0640. NULL and *error: -errno. */
pt_log_target *pt_log_target_open(const char *to, int *error);
/* Standard error leads to the journal. */
bool pt_log_stderr_is_journal(void);
void pt_log_target_free(pt_log_target *t);

/* Writes one line, waiting at most patience ms for a reader that stalls, as long as go_on(arg) says so (NULL: always). 0, -ETIMEDOUT,
 * -ECANCELED (go_on), or -errno. */
int pt_log_target_write(pt_log_target *t, const pt_log_line *l, bool json, int patience, bool (*go_on)(void *), void *arg);

#endif
