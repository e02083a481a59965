/* The new process's side of an upgrade: takes over what the running process has. The messages and their order: giver.h. Control thread.
 *
 * pt_taker_connect waits for the running process; then this process starts as always, with its heritage. When it could serve it says so. Clients
 * arrive from then on and wait with the workers until GO; from GO on this process serves, and the old one ends when its last client has come or gone.
 * Should the old process die, this one serves at once.
 */
#ifndef PT_CORE_TAKER_H
#define PT_CORE_TAKER_H

#include <sys/types.h>

#include "core/door.h"

typedef struct pt_taker pt_taker;

typedef struct pt_taker_env {
  struct ev_loop *loop;
  pt_doors *doors;
  pt_worker **workers;
  unsigned nworkers;
  void (*begin)(void *arg, const pt_heritage *h); /* from now on this process serves: h holds the totals */
  void (*end)(void *arg); /* the old process has ended; the taker may be freed */
  void (*fail)(void *arg); /* before anything was taken: this process has to end; it has been logged why */
  void *arg;
} pt_taker_env;

/* Before the process starts, blocking, a few seconds at most. user: as whom the running process may run, beside root and this process's own. NULL: it has been logged why. */
pt_taker *pt_taker_connect(const char *path, uid_t user);
/* What the old process has given; its sockets and tables are taken out of it by whoever needs them. */
pt_heritage *pt_taker_heritage(pt_taker *t);
pid_t pt_taker_pid(const pt_taker *t);
/* This process could serve cfg: the clients of the listeners they have in common may come. */
void pt_taker_ready(pt_taker *t, const pt_taker_env *env, const pt_config *cfg);
/* NULL is allowed. */
void pt_taker_free(pt_taker *t);

#endif
