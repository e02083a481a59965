/* MGET, MSET, DEL, UNLINK, EXISTS, TOUCH over several slots: split into one part a slot, merged in order. Worker's thread. */
#ifndef PT_CORE_FAN_H
#define PT_CORE_FAN_H

#include "core/client.h"

/* Splits one whole request (keys: argument indexes from pt_command_keys) as request seq of c. 0 or -ENOMEM. */
int pt_fan_start(pt_client *c, const pt_command *cmd, const pt_arg *args, uint32_t argc, uint32_t seq);

/* Bytes of the reply to part who.seq of fan who.index. */
void pt_fan_reply(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last);

#endif
