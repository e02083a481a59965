/* A listener as one worker serves it: its configuration, its policy, its view of the cluster. Worker's thread. */
#ifndef PT_CORE_SERVICE_H
#define PT_CORE_SERVICE_H

#include "core/worker.h"

/* Takes over one reference of cfg and the policy. NULL: no memory. */
pt_service *pt_service_new(pt_worker *w, unsigned index, pt_config *cfg, pt_policy *policy, struct pt_topology *topology);
void pt_service_free(pt_service *s);

/* Uses a new configuration and policy (takes both over); requests in flight finish as they were routed. */
void pt_service_configure(pt_service *s, pt_config *cfg, pt_policy *policy);
/* Uses a new topology (takes the reference over): slots that change hands are fenced. */
void pt_service_apply(pt_service *s, pt_cluster *cluster);

/* Asks the policy for batch[0..n): sets .node of each to a node that may answer it or PT_ROUTE_DEFAULT or PT_ROUTE_REJECT. Counts failures;
 * suspends a policy that fails too often. */
void pt_service_route(pt_service *s, unsigned n);
/* Asks the policy's redirect hook, if there is one. *to: the upstream proposed, may be changed. Returns a pt_action. */
int pt_service_ask_redirect(pt_service *s, const pt_segq *bytes, const pt_command *cmd, int slot, pt_why why, pt_upstream **to);

/* The upstream of a slot's owner; slot < 0: masters in turn. NULL: none. */
pt_upstream *pt_service_owner(pt_service *s, int slot);
/* The upstream at an address as nodes announce it (remap applies). NULL: its name is not resolved here, or no memory. */
pt_upstream *pt_service_resolve(pt_service *s, const char *host, uint16_t port);
/* A node said MOVED: the map follows, the topology is asked. to: the upstream of host:port, NULL: unknown. */
void pt_service_moved(pt_service *s, unsigned slot, pt_upstream *to, const char *host, uint16_t port);

#endif
