/* The watchdog: a thread that sees a worker stuck in a policy. It warns with the policy's name and, since a compiled endless loop cannot be
 * interrupted, ends the process when the loop does not end: the supervisor's restart serves clients better than a worker that answers nobody. */
#ifndef PT_CORE_WATCHDOG_H
#define PT_CORE_WATCHDOG_H

#include "core/worker.h"

typedef struct pt_watchdog pt_watchdog;

/* Control thread. workers must outlive it. Times in ms; abort_ms 0: never. NULL: no memory or no thread. */
pt_watchdog *pt_watchdog_start(pt_worker **workers, unsigned n, uint64_t warn_ms, uint64_t abort_ms);
void pt_watchdog_limits(pt_watchdog *d, uint64_t warn_ms, uint64_t abort_ms);
/* NULL is allowed. */
void pt_watchdog_stop(pt_watchdog *d);

#endif
