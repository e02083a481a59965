/* The clients of a MongoDB listener on their way to another process, or from one: the part of core/move that knows them. Worker's thread.
 *
 * forward = "connection": a pair leaves between two frames of either direction, with both its sockets, whatever waits for a reply or is open: its mongos
 * goes on talking to the same connection. forward = "request": a client leaves when it has no request in flight; its sessions and cursors stand in the
 * table that both processes share.
 */
#ifndef PT_CORE_MONGO_MOVE_H
#define PT_CORE_MONGO_MOVE_H

#include "core/mongo/mongo.h"
#include "core/parcel.h"

/* A round begins. */
void pt_mongo_leave(pt_mongo *m, pt_outbox *o, uint32_t round);
/* Packs who is ready. How many are not; late: those are served on. */
uint32_t pt_mongo_leave_turn(pt_mongo *m, bool late);
/* Those packed, or arrived: taken: they are closed here, else they are served (on). */
void pt_mongo_left(pt_mongo *m, bool taken);
/* As pt_move_arrive. */
int pt_mongo_arrive(pt_mongo *m, pt_parcel *p, pt_source *source);

#endif
