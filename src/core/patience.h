/* How long a Redis client is waited for: idle_timeout, handshake_timeout, stall_timeout. All clients of a worker are looked at once a second, some of
 * them every 100 ms. Worker's thread. */
#ifndef PT_CORE_PATIENCE_H
#define PT_CORE_PATIENCE_H

#include "core/worker.h"

void pt_patience_start(pt_worker *w);

#endif
