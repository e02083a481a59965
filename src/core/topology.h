/* Keeps one Redis listener's view of its cluster fresh. An asker thread per listener talks to one node at a time with plain blocking calls and
 * time limits (CLUSTER SHARDS, else CLUSTER SLOTS; host names are resolved there), so that nothing slow ever stands in the control loop;
 * what it finds is published on the control thread.
 *
 * A round asks the hinted node, the one that answered last, a few known ones, then the seeds; each is given connect_timeout in all. The first
 * complete view ends the round. A view with fewer slots than the last snapshot (a node after CLUSTER RESET, a cluster being formed)
 * counts only when nobody shows more, one with none never replaces one with slots. Seeds that are down or wrong are logged by name when that
 * changes, and skipped; those that a periodic round did not need are asked after it, for the log only.
 * Without a snapshot the seeds are asked every 500 ms; while slots have no owner or nobody answers, every 2 s or so.
 * A name in a snapshot keeps its address while the name service still gives it, or gives none.
 */
#ifndef PT_CORE_TOPOLOGY_H
#define PT_CORE_TOPOLOGY_H

#include "core/cluster.h"
#include "core/config.h"

struct ev_loop;
typedef struct pt_topology pt_topology;

/* Takes over the reference c. Called on the control thread. Nodes carry numeric hosts; one whose name did not resolve is marked unhealthy. */
typedef void pt_topology_publish(void *arg, pt_cluster *c);

/* Control thread. Starts asking (the first publish comes from the loop, never from within). Takes its own reference of cfg; listener: index of a
 * Redis listener in it. NULL: no memory or no thread. */
pt_topology *pt_topology_start(struct ev_loop *loop, pt_config *cfg, unsigned listener, pt_topology_publish *publish, void *arg);
/* Control thread. Uses a new configuration (takes its own reference): the Redis listener of the same name, else nothing changes.
 * Asks again at once; the last snapshot and the generation go on. */
void pt_topology_reconfigure(pt_topology *t, pt_config *cfg);
/* Any thread, cheap, never blocks on a round: something smells: MOVED (host:port names the new owner), a lost connection, CLUSTERDOWN
 * (host NULL). Asks at once, the named node first; at most every 100 ms (jittered), doubling to 2 s while nothing changes. host is copied. */
void pt_topology_hint(pt_topology *t, const char *host, uint16_t port);
/* Control thread. The last published snapshot, NULL before. Borrowed: take a reference to keep it. */
pt_cluster *pt_topology_current(const pt_topology *t);
/* Control thread. Stops, waits up to connect_timeout for the asker (one stuck in name resolution is left to end by itself) and frees.
 * No callback comes any more. NULL is allowed. */
void pt_topology_stop(pt_topology *t);

#endif
