/* The mongos processes behind a listener as the health checks last saw them: an immutable snapshot, published by mongo/health, handed to the
 * workers. */
#ifndef PT_CORE_MONGO_BACKENDS_H
#define PT_CORE_MONGO_BACKENDS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "net/address.h"
#include "wire/mongo_hello.h"

enum {
  PT_MAX_BACKENDS = 256,
  PT_BACKEND_IDS = 4096, /* stable ids of a process: names are rarely changed; new ones beyond it are left out */
  PT_BACKEND_NONE = 0xffffffff
};

typedef struct pt_backend {
  uint32_t id; /* stable: the same name in the same process */
  char name[264]; /* "host:port" as configured */
  pt_address address; /* len 0: not resolved */
  unsigned weight; /* 1..1000 */
  bool up; /* passes its checks */
  bool legacy; /* understands isMaster in OP_QUERY alone */
  bool draining; /* by the configuration: gets nothing new */
  uint64_t up_since; /* ns; for slow start; 0: up since the start */
  uint32_t epoch; /* rises each time it comes up again, or another process answers in its place: what it held before is lost */
  char why[128]; /* why it is down; "" */
  pt_server_hello hello; /* its last good one */
} pt_backend;

typedef struct pt_backends {
  atomic_uint refs;
  uint64_t generation; /* rises with every snapshot */
  uint32_t view; /* rises when what clients see in hello changes: their topologyVersion.counter */
  bool known; /* some backend has answered: hello holds something */
  pt_server_hello hello; /* what clients are told: minimum over the backends that are up; isdbgrid when all say so */
  unsigned n, nup;
  pt_backend at[];
} pt_backends;

/* The host of such a name, without brackets, into out of the same size; returns out. */
char *pt_backend_host(const char name[264], char out[264]);

pt_backends *pt_backends_new(unsigned n); /* zeroed, one reference. NULL: no memory */
pt_backends *pt_backends_ref(pt_backends *b);
void pt_backends_unref(pt_backends *b); /* NULL is allowed */
/* Index of a stable id, -1: not there. */
int pt_backends_index(const pt_backends *b, uint32_t id);
/* Fills nup, known and hello from at[]: the minimum over those that are up; with none up known and hello stay. */
void pt_backends_sum_up(pt_backends *b);
/* Clients see the same in both. */
bool pt_backends_same_view(const pt_server_hello *a, const pt_server_hello *b);

#endif
