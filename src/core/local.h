/* Commands the proxy answers itself, and commands it refuses. Worker's thread. */
#ifndef PT_CORE_LOCAL_H
#define PT_CORE_LOCAL_H

#include "core/client.h"

typedef enum pt_local { PT_LOCAL_DONE, PT_LOCAL_WAIT, PT_LOCAL_FORWARD } pt_local;

/* Answers one command as request seq of c. PT_LOCAL_WAIT: it changes the connection (HELLO, AUTH, RESET) and must wait until nothing is in flight;
 * nothing was done. PT_LOCAL_FORWARD: any node may answer it (COMMAND). */
pt_local pt_local_run(pt_client *c, const pt_command *cmd, const pt_arg *args, uint32_t argc, uint32_t seq);

#endif
