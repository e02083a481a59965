/* Doors: the listening sockets, one a listener. Who comes in goes to the worker with the fewest clients. Control thread. */
#ifndef PT_CORE_DOOR_H
#define PT_CORE_DOOR_H

#include "core/worker.h"

typedef struct pt_door {
  struct pt_doors *all;
  unsigned listener;
  char *name; /* of the listener */
  ev_io io; /* io.fd is -1 once closed */
  bool open; /* clients are let in */
} pt_door;

typedef struct pt_doors {
  struct ev_loop *loop;
  pt_door *doors;
  unsigned n;
  pt_worker **workers;
  unsigned nworkers;
  uint64_t next_id;
  ev_timer pause; /* no descriptor was left: the doors stay shut for a moment */
} pt_doors;

/* Binds and listens, lets nobody in yet: clients wait in the kernel's queue. 0, or -1: it is in the log why. d is zeroed memory. */
int pt_doors_open(pt_doors *d, struct ev_loop *loop, const pt_config *cfg);
/* Lets clients of a listener in, to the workers set in d. */
void pt_door_let_in(pt_doors *d, unsigned listener);
/* Closes all for good; may be called twice. pt_doors_free frees what is left. */
void pt_doors_close(pt_doors *d);
void pt_doors_free(pt_doors *d);

#endif
