/* What a new process takes over from the one it replaces before clients come: listening sockets, session tables, the names and ids of backends, nodes of
 * clusters. Made by core/taker, used once while the process starts. Control thread.
 */
#ifndef PT_CORE_HERITAGE_H
#define PT_CORE_HERITAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"
#include "wire/handover.h"

/* A backend's stable id, which sessions refer to. */
typedef struct pt_heir_backend {
  char *name;
  uint32_t id, epoch;
} pt_heir_backend;

/* A listener of the old process. */
typedef struct pt_heir {
  char *name;
  pt_listener_kind kind;
  bool per_request; /* MONGODB */
  pt_hostport bind;
  int fd, table; /* the listening socket, the session table; -1: none, or taken */
  uint64_t secret; /* MONGODB: see pt_mongo_shared */
  uint8_t process_id[12];
  uint32_t view;
  pt_heir_backend *backends;
  unsigned nbackends;
  pt_hostport *nodes; /* REDIS */
  unsigned nnodes;
} pt_heir;

typedef struct pt_heritage {
  pt_heir *at;
  unsigned n;
  uint64_t next_id;
  uint32_t upgrades; /* before this one */
  uint64_t counters[PT_HO_COUNTERS];
} pt_heritage;

/* The listener of that name and kind, NULL: none, or h is NULL. */
pt_heir *pt_heritage_find(pt_heritage *h, const char *name, pt_listener_kind kind);
/* The listening socket bound to that address (the caller's now), -1: none. */
int pt_heritage_socket(pt_heritage *h, const pt_hostport *bind);
/* Closes what nobody has taken. NULL is allowed. */
void pt_heritage_free(pt_heritage *h);

#endif
