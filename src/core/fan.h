/* The fan: MGET, MSET, DEL, UNLINK, EXISTS, TOUCH over several slots become one part a slot, and the parts' replies one reply. Worker's thread.
 *
 * What fails in one part: MGET puts the error in the places of the keys concerned; the others answer one error that says how much was done.
 */
#ifndef PT_CORE_FAN_H
#define PT_CORE_FAN_H

#include "core/batch.h"

/* Splits request seq of the batch's client. 0: its parts are in the batch; 1: all keys lie in one slot (*slot) or it makes no sense, nothing was done;
 * -ENOMEM: nothing was done. */
int pt_fan_start(pt_batch *b, const pt_command *cmd, const pt_arg *args, uint32_t argc, uint32_t seq, int *slot);

/* Bytes of the reply to part who.seq of fan who.index. */
void pt_fan_reply(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last);

/* Replaces *who (PT_KIND_FAN) by the client's request behind it. False: it has gone. */
bool pt_fan_owner(pt_worker *w, pt_owner *who);

/* Its client has gone and a part of it will never be asked: forgets the fan. */
void pt_fan_cancel(pt_worker *w, pt_owner who);

void pt_fan_free_all(pt_worker *w);

#endif
