/* Doors: the listening sockets, one a listener. Who may come in (admit) goes to the worker with the fewest clients. Control thread. */
#ifndef PT_CORE_DOOR_H
#define PT_CORE_DOOR_H
#include "base/bucket.h"
#include "core/admit.h"
#include "core/heritage.h"
#include "core/worker.h"

typedef struct pt_door {
  struct pt_doors *all;
  unsigned listener;
  char *name; /* of the listener */
  ev_io io; /* io.fd is -1 once closed */
  bool open; /* clients are let in */
  pt_bucket rate; /* accept_rate of the listener */
  ev_timer wait; /* active: it is used up, clients wait in the kernel's queue */
  pt_log_rate waits;
  pt_admission admission;
} pt_door;

typedef struct pt_doors {
  struct ev_loop *loop;
  const pt_config *cfg; /* borrowed */
  const pt_memory *memory; /* borrowed; set before the doors open */
  unsigned long long files; /* that may be open, as of the last event */
  pt_door *doors;
  unsigned n;
  pt_worker **workers;
  unsigned nworkers;
  uint64_t next_id;
  pt_bucket rate; /* accept_rate of the process */
  bool resting; /* another process is taking over: nobody is let in */
  ev_timer pause; /* no descriptor was left: the doors stay shut for a moment */
} pt_doors;

/* Binds and listens, or takes the socket of the process before (from: NULL, none); lets nobody in yet: clients wait in the kernel's queue. 0, or -1: it is in the log why. d is zeroed memory. */
int pt_doors_open(pt_doors *d, struct ev_loop *loop, const pt_config *cfg, pt_heritage *from);
/* Lets clients of a listener in, to the workers set in d. */
void pt_door_let_in(pt_doors *d, unsigned listener);
/* A reload; cfg stays until the next one. Who is in stays in, whatever the new limits are. */
void pt_doors_configure(pt_doors *d, const pt_config *cfg);
/* Clients now: of all listeners, of one. */
unsigned pt_doors_clients(const pt_doors *d);
unsigned pt_door_clients(const pt_door *door);
/* Lets nobody in for now, but keeps the sockets, and lets them in again. */
void pt_doors_rest(pt_doors *d);
void pt_doors_wake(pt_doors *d);
/* Gives a client of the process before (ARRIVE) to a worker; takes m over. */
void pt_door_pass_on(pt_door *door, pt_msg *m);
/* Closes all for good; may be called twice. pt_doors_free frees what is left. */
void pt_doors_close(pt_doors *d);
void pt_doors_free(pt_doors *d);

#endif
