/* forward = "request": each message of a client placed by itself and sent over a pooled link; hello, authentication and what else puerta itself can tell
 * is answered here (local.c). A client has one request in flight at a time (drivers never have more); what it sends meanwhile waits, up to
 * the buffer limit. Unacknowledged writes (moreToCome) are sent on, followed by a ping of ours: the next request goes when that is answered.
 *
 * Order of places: owner of a running exhaust stream -> cursor -> open transaction -> lsid -> identity -> load balancing.
 * Cursor ids are rewritten in both directions to ids of our own, so that two backends' equal ids do no harm.
 * A request of which nothing was written may go to another backend; else its client is told, so that its driver retries: errors.h.
 */
#ifndef PT_CORE_MONGO_REQUEST_H
#define PT_CORE_MONGO_REQUEST_H

#include "core/mongo/mongo.h"

/* As in pair.h. */
void pt_request_begin(pt_mongo_client *c, const pt_client_hello *h);
/* A client of another process (PT_MC_AWAY); lsid: the last it used, NULL: none. 0 or -ENOMEM. */
int pt_request_arrive(pt_mongo_client *c, const uint8_t *lsid);
void pt_request_end(pt_mongo_client *c);
void pt_request_client_io(pt_mongo_client *c, int events);
void pt_request_tick(pt_mongo_client *c);
bool pt_request_idle(const pt_mongo_client *c);
/* Bytes of memory it holds beside its client's own. */
uint64_t pt_request_held(const pt_mongo_client *c);
/* A new snapshot or configuration: awaitable hellos are answered when what they tell has changed, pools follow. Once a listener. */
void pt_request_look(pt_mongo *m);
/* End of the turn: writes dirty links. */
void pt_request_turn(pt_mongo *m);
/* Every 100 ms for the listener: pools, waits. */
void pt_request_pools_tick(pt_mongo *m);
/* Frees pools. */
void pt_request_free(pt_mongo *m);

#endif
