/* forward = "connection": a client and its backend connection, bytes relayed both ways. Authentication, compression, everything passes through; only frames
 * are followed, so that the state of the connection is known (idle, cursor, transaction), a lost backend is told in the protocol's words,
 * and loadBalanced clients get their serviceId.
 *
 * Backend lost: the request that waits is answered with code 6 (labels as in errors.h), unless part of its reply has gone out: then the client is closed.
 * A client that has not authenticated goes on with another backend (its hello is said again there, its answer swallowed); one that has is
 * closed after the answer. A waiting hello (monitor) is simply asked again of the other backend, and its stream goes on there. A load balanced client
 * is closed, and one whose waiting request is compressed and large: whether it wants an answer cannot be seen.
 * A connection that has used compression is never idle: what its replies open is not known.
 */
#ifndef PT_CORE_MONGO_PAIR_H
#define PT_CORE_MONGO_PAIR_H

#include "core/mongo/mongo.h"

/* The client's first message is in c->in, whole (and perhaps more); h: it, when it was a hello. Takes the client over (state PAIRED, its socket's events).
 * May close it. */
void pt_pair_begin(pt_mongo_client *c, const pt_client_hello *h);
/* The client is being closed: frees c->pair. */
void pt_pair_end(pt_mongo_client *c);
/* Events of the client's socket. */
void pt_pair_client_io(pt_mongo_client *c, int events);
/* Every 100 ms for each paired client: timeouts. */
void pt_pair_tick(pt_mongo_client *c);
/* Nothing is in flight (but a monitor's hello that waits for news), no cursor, no transaction, and has been so for 2 s (a monitor need not): a drain may
 * close it. */
bool pt_pair_leaves(const pt_mongo_client *c);
/* A new snapshot or configuration: is its backend gone or draining? */
void pt_pair_look(pt_mongo_client *c);
/* Bytes of memory it holds beside its client's own. */
uint64_t pt_pair_held(const pt_mongo_client *c);

#endif
