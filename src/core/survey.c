#include "core/survey.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/mongo/mongo.h"
#include "core/topology.h"

/* To export a counter, add its line. */
#define CELL(cell, help)                                                                                                         \
  { #cell, help, offsetof(pt_counters, cell) }
const pt_exported pt_exported_counters[] = {
    CELL(accepted, "Client connections accepted"),
    CELL(closed, "Client connections closed"),
    CELL(redirects, "MOVED and ASK answered by nodes"),
    CELL(retries, "TRYAGAIN, CLUSTERDOWN, LOADING and the like answered by nodes"),
    CELL(lost, "Requests on a node connection that was lost"),
    CELL(failfast, "Requests refused because their node fails fast"),
    CELL(policy_failures, "Batches in which a policy call failed"),
    CELL(suspensions, "Times a policy was suspended"),
    CELL(timeouts, "Clients cut for being idle, silent or stalled"),
    {0},
};
#undef CELL
#define CELL(cell, help)                                                                                                         \
  { #cell, help, offsetof(pt_mongo_counters, cell) }
const pt_exported pt_exported_mongo[] = {
    CELL(sessions, "Placements remembered"),
    CELL(local, "Messages answered by puerta itself"),
    CELL(retried, "Requests sent to another backend because nothing of them had been written"),
    CELL(lost, "Requests lost with their backend"),
    CELL(refused, "Messages refused"),
    CELL(waits, "Requests that waited for a pooled connection"),
    CELL(wait_timeouts, "Requests that waited for one in vain"),
    {0},
};
#undef CELL

static uint64_t cell(const void *base, size_t at) { return pt_counted((const atomic_ullong *)((const char *)base + at)); }

uint64_t pt_survey_counter(const pt_survey *p, size_t at) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < p->nworkers; i++)
    sum += cell(&p->workers[i]->n, at);
  return sum;
}

uint64_t pt_survey_mongo_counter(const pt_survey *p, unsigned listener, size_t at) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < p->nworkers; i++)
    sum += p->workers[i]->mongos[listener] ? cell(&p->workers[i]->mongos[listener]->n, at) : 0;
  return sum;
}

pt_meter *pt_survey_meter(const pt_survey *p, unsigned worker, unsigned listener) {
  pt_worker *w = p->workers[worker];
  return w->mongos[listener] ? &w->mongos[listener]->meter : &w->svcs[listener]->meter;
}

void pt_survey_sum(const pt_survey *p, unsigned listener, pt_meter_sum *sum) {
  *sum = (pt_meter_sum){0};
  uint64_t now = pt_now_ns();
  for (unsigned i = 0; i < p->nworkers; i++) {
    const pt_meter *m = pt_survey_meter(p, i, listener);
    sum->closed += pt_counted(&m->closed); /* before accepted: never more than those */
    sum->accepted += pt_counted(&m->accepted);
    sum->requests += pt_counted(&m->requests);
    sum->policy_calls += pt_counted(&m->policy_calls);
    sum->policy_failures += pt_counted(&m->policy_failures);
    sum->policy_ns += pt_counted(&m->policy_ns);
    sum->suspensions += pt_counted(&m->suspensions);
    sum->aborts += pt_counted(&m->aborts);
    sum->suspended |= pt_counted(&m->suspended_until) > now;
  }
}

void pt_histogram_gather(pt_histogram_sum *sum, const pt_histogram *h) {
  for (unsigned i = 0; i < PT_BUCKETS; i++) {
    uint64_t n = pt_counted(&h->counts[i]);
    sum->counts[i] += n;
    sum->total += n;
  }
  sum->sum_us += pt_counted(&h->sum_us);
}

void pt_survey_latency(const pt_survey *p, unsigned listener, pt_work c, pt_histogram_sum *sum) {
  *sum = (pt_histogram_sum){0};
  for (unsigned i = 0; i < p->nworkers; i++)
    pt_histogram_gather(sum, &pt_survey_meter(p, i, listener)->latency[c]);
}

static unsigned gauge(const atomic_uint *cell) { return atomic_load_explicit(cell, memory_order_relaxed); }

void pt_survey_node(const pt_survey *p, unsigned listener, const char *name, pt_node_sum *sum) {
  *sum = (pt_node_sum){0};
  unsigned known = 0;
  for (unsigned i = 0; i < p->nworkers; i++) {
    pt_meter *m = pt_survey_meter(p, i, listener);
    const pt_node_meter *n = atomic_load_explicit(&m->nodes, memory_order_acquire);
    while (n && strcmp(n->name, name))
      n = n->next;
    if (!n)
      continue;
    pt_histogram_gather(&sum->latency, &n->latency);
    sum->lost += pt_counted(&n->lost);
    sum->backlog += pt_counted(&n->backlog);
    sum->inflight += gauge(&n->inflight);
    sum->links += gauge(&n->links);
    sum->waiting += gauge(&n->waiting);
    sum->latency_us += gauge(&n->latency_us);
    known += gauge(&n->latency_us) > 0;
    sum->open |= gauge(&n->open);
  }
  if (known)
    sum->latency_us /= known;
}

const pt_cluster *pt_survey_cluster(const pt_survey *p, unsigned listener) {
  return p->subjects->at[listener].topology ? pt_topology_current(p->subjects->at[listener].topology) : NULL;
}

const pt_backends *pt_survey_backends(const pt_survey *p, unsigned listener) {
  return p->subjects->at[listener].mongo ? p->subjects->at[listener].mongo->last : NULL;
}

const char *pt_survey_node_name(const pt_cluster_node *n, char *out) {
  snprintf(out, 272, strchr(n->host, ':') ? "[%s]:%u" : "%s:%u", n->host, n->port);
  return out;
}

const char *pt_survey_unready(const pt_survey *p, char *out, size_t cap) {
  if (p->draining)
    return "draining: no new clients";
  for (unsigned i = 0; i < p->cfg->nlisteners; i++)
    if (!pt_subject_known(&p->subjects->at[i])) {
      snprintf(out, cap, "listener %s: nothing is known of what stands behind it yet", p->cfg->listeners[i].name);
      return out;
    }
  return p->ready ? NULL : "starting";
}
