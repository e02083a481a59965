/* Upstreams: the nodes as one worker knows them, and the circuit breaker of each. Worker's thread.
 *
 * A node that refuses a connection, refuses the greeting or lets a request time out opens its circuit: requests for it fail at once. After
 * retry_interval a link connects and greets (with PING) as a probe; its answer closes the circuit, a failure opens it for another interval.
 */
#ifndef PT_CORE_UPSTREAM_H
#define PT_CORE_UPSTREAM_H

#include "core/worker.h"

enum {
  PT_UPSTREAM_NAME = 272
};

/* The upstream at host:port, made when it is new. NULL: no memory. */
pt_upstream *pt_upstream_get(pt_service *s, const char *host, uint16_t port);
/* "host:port" or "[v6]:port" into out[PT_UPSTREAM_NAME]; returns out. */
char *pt_upstream_name(const pt_upstream *up, char *out);

/* Opens the circuit (reason is copied; may be up->reason itself) and asks for the topology. */
void pt_upstream_trip(pt_upstream *up, const char *reason);
/* The node has answered a greeting. */
void pt_upstream_heal(pt_upstream *up);
/* A connection was lost that had been good: asks for the topology. */
void pt_upstream_suspect(pt_upstream *up);

/* On the service's tick: time limits of the links, probes. */
void pt_upstream_tick(pt_upstream *up);

/* Frees those that no topology names and nobody needs any more. all: every one, whatever it still owes. */
void pt_upstream_sweep(pt_service *s, bool all);

/* Its gauges in the meter, on the service's tick and when its circuit opens or closes. */
void pt_upstream_show(const pt_upstream *up);

/* Requests that wait for it. */
uint32_t pt_upstream_inflight(const pt_upstream *up);

#endif
