/* A Redis Cluster's topology: an immutable snapshot, built from CLUSTER SHARDS or CLUSTER SLOTS.
 * Reference counted, any thread; never changed once shared. */
#ifndef PT_CORE_CLUSTER_H
#define PT_CORE_CLUSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/crc16.h"
#include "core/config.h"
#include "wire/resp.h"

enum {
  PT_NODE_NONE = 0x7fff,
  PT_MAX_NODES = 1024,
  PT_MAX_REPLICAS = 16
};

typedef struct pt_cluster_node {
  char host[256]; /* address to dial, after remap; a numeric address once resolved */
  char name[256]; /* the same before it was resolved */
  uint16_t port;
  char zone[32]; /* CLUSTER SHARDS of Valkey 8: availability-zone; else "" */
  bool replica;
  bool healthy; /* CLUSTER SHARDS: health "online"; true with CLUSTER SLOTS */
  int16_t master; /* index of its master, of itself for a master */
  uint8_t nreplicas; /* masters: how many are in replicas */
  int16_t replicas[PT_MAX_REPLICAS];
  uint32_t nslots; /* masters: slots owned */
} pt_cluster_node;

typedef struct pt_cluster {
  atomic_uint refs;
  uint64_t generation; /* rises with every published snapshot of this listener */
  unsigned nnodes;
  unsigned nslots; /* slots with an owner */
  int16_t owner[PT_SLOTS]; /* node index or PT_NODE_NONE; an owner is always a master */
  pt_cluster_node nodes[]; /* nnodes, masters first, each part sorted by host and port */
} pt_cluster;

pt_cluster *pt_cluster_ref(pt_cluster *c);
/* NULL is allowed. */
void pt_cluster_unref(pt_cluster *c);

/* Builds a snapshot from a parsed reply of CLUSTER SHARDS (RESP2 arrays or RESP3 maps) or CLUSTER SLOTS; says which by looking.
 * asked: the address that answered, used where a node gives no host (empty, NULL or "?"). tls: of a node's two ports the one for TLS. Nodes without a usable address are left out, and so are
 * replicas without a master. Where two masters claim a slot the healthy one has it. Returns NULL with a reason in err. */
pt_cluster *pt_cluster_parse(const pt_node *reply, const pt_hostport *asked, bool tls, const pt_remap *remap, unsigned nremap,
                             char *err, size_t errsize);

/* Puts the nodes in order, after somebody who holds the only reference has changed hosts or health. Takes c over; NULL: no memory. */
pt_cluster *pt_cluster_arrange(pt_cluster *c);

/* 1 when both have the same nodes, roles, health and slot owners (generation apart). */
int pt_cluster_same(const pt_cluster *a, const pt_cluster *b);

/* Index of the node at host:port (host: numeric or the name it goes by), PT_NODE_NONE when unknown. */
int pt_cluster_find(const pt_cluster *c, const char *host, uint16_t port);

#endif
