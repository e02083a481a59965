/* Commands that concern the connection, answered by the proxy itself: PING ECHO TIME SELECT QUIT RESET AUTH HELLO CLIENT READONLY READWRITE.
 * Worker's thread. Source: the texts of redis-server 7.0. */
#ifndef PT_CORE_LOCAL_H
#define PT_CORE_LOCAL_H

#include "core/client.h"

/* Answers one command of good arity as the client's next request. False: it changes the connection (HELLO, AUTH, RESET) and must wait until nothing is in
 * flight; nothing was done. */
bool pt_local_run(pt_client *c, const pt_command *cmd, const pt_arg *args, uint32_t argc);

#endif
