/* Keeps one Redis listener's view of its cluster fresh: asks a node for CLUSTER SHARDS (else CLUSTER SLOTS) on a period and on hints, and
 * publishes a snapshot when something changed. Everything, the callback too, belongs to the control thread that runs the loop.
 *
 * A round asks one node at a time: the hinted one, the one that answered last, a few known ones, then the seeds; each is given
 * connect_timeout in all. The first complete view ends the round. A view with fewer slots than the last snapshot (a node after CLUSTER
 * RESET, a cluster being formed) counts only when nobody shows more; one without slots only at the start, when every seed says so.
 * Seeds that are down or wrong are logged by name when that changes, and skipped. Without a snapshot the seeds are asked every 500 ms.
 */
#ifndef PT_CORE_TOPOLOGY_H
#define PT_CORE_TOPOLOGY_H

#include "core/cluster.h"
#include "core/config.h"
#include "net/resolver.h"

struct ev_loop;
typedef struct pt_topology pt_topology;

/* Takes the reference c. Nodes carry numeric hosts; a name that did not resolve stays a name, and is tried again in 2 s. */
typedef void pt_topology_publish(void *arg, pt_cluster *c);

/* Starts asking (the first publish comes from the loop, never from within). Takes its own reference of cfg; listener: index of a Redis
 * listener in it. The resolver must be on the same loop and outlive the topology. NULL: no memory. */
pt_topology *pt_topology_start(struct ev_loop *loop, pt_resolver *resolver, pt_config *cfg, unsigned listener,
                               pt_topology_publish *publish, void *arg);
/* Uses a new configuration (takes its own reference): the Redis listener of the same name, else nothing changes. Asks again at once;
 * the last snapshot and the generation go on. */
void pt_topology_reconfigure(pt_topology *t, pt_config *cfg);
/* Something smells: MOVED (host:port names the new owner), a lost connection, CLUSTERDOWN (host NULL). Asks at once, the named node first;
 * at most every 100 ms (jittered), doubling to 2 s while nothing changes. Cheap: call it for every smell. host is copied. */
void pt_topology_hint(pt_topology *t, const char *host, uint16_t port);
/* The last published snapshot, NULL before. Borrowed: take a reference to keep it. */
pt_cluster *pt_topology_current(const pt_topology *t);
/* Closes, cancels and frees. No callback comes any more. NULL is allowed. */
void pt_topology_stop(pt_topology *t);

#endif
