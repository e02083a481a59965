/* The old process's side of an upgrade: a local socket at which a new process asks for what this one has. Control thread.
 *
 *   new                                old (here)
 *   HELLO                          ->
 *                                  <-  HELLO, or REFUSE
 *                                  <-  LISTENER... (with the listening sockets and session tables), BACKEND..., NODE..., END
 *   READY (it could serve)         ->
 *                                      ... until pt_giver_go (SIGQUIT) ...
 *                                  <-  REDIS, PAIR, REQUEST... (clients with their sockets)
 *                                  <-  TOTALS, GO
 *   TAKEN                          ->
 *   (it accepts and serves)            rounds of clients, GO, TAKEN go on until none is left
 *
 * Before TAKEN nothing has changed hands: when the new process dies or sends nonsense, this one serves on with every client it had. A client is never read by
 * both: until GO the new process does not touch it, and from GO on this one does not; should TAKEN not come, the new process is killed before
 * its clients are served here again. A new process that has taken some is not killed: when this one breaks off then, it closes the connection, and what has
 * been sent since the last GO stays here; the new process serves those only if this one has died.
 */
#ifndef PT_CORE_GIVER_H
#define PT_CORE_GIVER_H

#include "core/door.h"
#include "core/subject.h"

/* What a giver works on; all borrowed. */
typedef struct pt_giver_env {
  struct ev_loop *loop;
  pt_doors *doors;
  pt_subjects *subjects;
  pt_config **cfg; /* the one in force */
  pt_worker **workers;
  unsigned nworkers;
  uint32_t upgrades; /* of this line of processes so far */
  void (*taken)(void *arg); /* the first clients are the new process's: what only one process may have is its own now */
  void (*done)(void *arg); /* every client has gone, or those that are left have had their time */
  void *arg;
} pt_giver_env;

typedef struct pt_giver pt_giver;

/* Waits for a new process at the socket path. NULL: it has been logged why; the process serves all the same, but cannot be replaced. */
pt_giver *pt_giver_start(const pt_giver_env *env, const char *path);
/* Hands over to the next process that comes, as soon as it is ready. */
void pt_giver_expect(pt_giver *g);
/* The one that was expected will not come. false: it has come already, or none was expected. NULL is allowed. */
bool pt_giver_cancel(pt_giver *g);
/* Hands over now, or when the new process is ready. false: there is no new process. */
bool pt_giver_go(pt_giver *g);
/* Something has been handed over: signals that end the process in good order leave it to the giver. */
bool pt_giver_gives(const pt_giver *g);
/* Closes the socket. NULL is allowed. */
void pt_giver_free(pt_giver *g);

#endif
