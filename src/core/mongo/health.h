/* Health of one MongoDB listener's backends: resolves their names, probes them with hello, publishes snapshots. A thread of its own per
 * listener with an event loop (probes never block; names are resolved in a second thread, since name services do); results are published on
 * the control thread.
 *
 * A probe: connect, hello (OP_MSG; a backend that answers it badly is asked with isMaster in OP_QUERY), SCRAM when credentials are given. It
 * is good when ok is 1, it is writable, and, with require_mongos, msg is "isdbgrid". rise good rounds in a row make a backend up, fall bad ones
 * down; a bad probe is repeated at once up to retries times within its round. Jitter makes intervals shorter, never longer.
 * A closed or refused connection is known at once, a hang after timeout: a dead backend is out within interval x fall + timeout.
 * A hint (a worker met an error) probes at once, at most every 100 ms per backend; only what the probe finds counts, so that no client can
 * take a backend out. A probe that fails for want of descriptors or memory here says nothing of the backend.
 *
 * Before the first round of every backend has ended, or health_timeout has passed, nothing is published; nor while new ones of a reload are in
 * it. A backend that passes its first probe is up without waiting for rise.
 *
 * A name keeps its address while the name service still gives it, or gives none; another is used once it has passed a probe. Names are looked
 * up at the start, every mc->resolve, and with each round of a backend that is down, which is tried at all its addresses.
 */
#ifndef PT_CORE_MONGO_HEALTH_H
#define PT_CORE_MONGO_HEALTH_H

#include "core/config.h"
#include "core/heritage.h"
#include "core/mongo/backends.h"

struct ev_loop;
typedef struct pt_health pt_health;

/* Takes over the reference. Control thread. */
typedef void pt_health_publish(void *arg, pt_backends *b);

/* Control thread. Takes its own reference of cfg; listener: index of a MongoDB listener. from: the listener in the process before this one, whose stable ids, epochs and view go on; NULL: none. NULL: no memory or
 * thread. */
pt_health *pt_health_start(struct ev_loop *loop, pt_config *cfg, unsigned listener, const pt_heir *from,
                           pt_health_publish *publish, void *arg);
/* Control thread. The MongoDB listener of the same name in the new configuration. Backends that stay keep their id and state. */
void pt_health_reconfigure(pt_health *h, pt_config *cfg);
/* Any thread, cheap: something failed at this backend (stable id). */
void pt_health_hint(pt_health *h, uint32_t backend);
/* Control thread. The last published snapshot, borrowed; NULL before. */
pt_backends *pt_health_current(const pt_health *h);
/* Control thread. Ends the threads (one stuck in a name service is left to end by itself). NULL is allowed. */
void pt_health_stop(pt_health *h);

#endif
