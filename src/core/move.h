/* Clients on their way from this process to another, and from another to this one, as one worker does it. Worker's thread.
 *
 * Leaving goes in rounds. In a round every client stops being read; as soon as nothing of it is in flight it is packed and posted to the outbox, and waits,
 * untouched. Those that are not so far after ROUND_MS are read again. Then the control thread says what became of the round: they have been
 * taken (closed here, the other process has the sockets) or not (served on, nothing has happened).
 * Arriving: clients are made from their messages and wait; pt_move_begin lets them be read.
 */
#ifndef PT_CORE_MOVE_H
#define PT_CORE_MOVE_H

#include "core/parcel.h"
#include "core/worker.h"

/* A round begins; what can leave is posted to o (which outlives the worker). */
void pt_move_leave(pt_worker *w, pt_outbox *o, uint32_t round);
/* End of a turn, while w->leaving: packs who is ready. */
void pt_move_turn(pt_worker *w);
/* The round is over, or broken off: who was packed has been taken, or stays. */
void pt_move_left(pt_worker *w, bool taken);

/* Makes a client from its message; descriptors that it takes become -1. 0, -ENOMEM or -EPROTO: there is no client (one that has been made and had to be closed again
 * is 0). */
int pt_move_arrive(pt_worker *w, unsigned listener, pt_parcel *p, pt_source *source);
/* All who have arrived are served from now on. */
void pt_move_begin(pt_worker *w);

void pt_move_free(pt_worker *w);

#endif
