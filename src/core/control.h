/* The control thread: signals, accepting clients, reload, publishing topologies. It runs on the thread that calls pt_control_run.
 *
 *   SIGHUP   reload the configuration; a file that is not good leaves the old one in force
 *   SIGUSR1  open the log again
 *   SIGTERM  drain: stop accepting, finish what is in flight, at most drain_timeout
 *   SIGINT   stop at once (also the second SIGTERM)
 *   SIGUSR2  start the binary that now stands where this one's was, and hand over to it
 *   SIGQUIT  hand over to the new process that waits for it (core/giver.h); without one as SIGTERM
 */
#ifndef PT_CORE_CONTROL_H
#define PT_CORE_CONTROL_H

#include "core/affinity.h"
#include "core/config.h"
#include "core/policy.h"

/* What the core needs of the room that knows Lua. Contracts: script/config_lua.h, policy_lua.h, affinity_lua.h. */
typedef struct pt_script {
  int (*load)(const char *file, const char *lua_path, pt_config **out, char **errors);
  pt_policy *(*policy)(const pt_policy_config *pc, const char *lua_path, char *err, size_t errsize);
  pt_affinity *(*affinity)(const pt_policy_config *pc, const char *lua_path, char *err, size_t errsize);
} pt_script;

/* Command line settings that win over the file. */
typedef struct pt_overrides {
  int workers; /* -1: none */
  const char *log_level; /* NULL: none */
  const char *pid_file; /* NULL: none */
  const char *error_log; /* path of the log, wins over log.to; NULL: none */
  bool upgrade; /* take over from the process that runs */
  const char *upgrade_socket; /* path; NULL: the configuration's */
  char *const *argv; /* of this process, for the one that replaces it */
  int foreground; /* of pt_daemon_start, -1: not a daemon */
} pt_overrides;

/* Serves until a signal ends it. Takes over one reference of cfg. Returns the process's exit code; what went wrong is in the log. */
int pt_control_run(pt_config *cfg, const char *lua_path, const pt_script *script, const pt_overrides *over);

#endif
