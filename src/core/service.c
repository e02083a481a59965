#include "core/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/client.h"
#include "core/gate.h"
#include "core/stream.h"
#include "core/topology.h"
#include "core/trust.h"
#include "core/upstream.h"

enum {
  TICK_MIN_MS = 10
};

static void on_tick(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  pt_service *s = t->data;
  pt_worker_clock(s->worker);
  for (unsigned i = 0; i < s->nups; i++)
    pt_upstream_tick(s->ups[i]);
  pt_stream_tick(s);
  atomic_store_explicit(&s->meter.aborts, s->meter.aborts_before + s->policy->aborts, memory_order_relaxed);
}

static void set_tick(pt_service *s) {
  uint64_t ms = s->lc->request_timeout / PT_LINK_TICKS;
  double period = (double)(ms < TICK_MIN_MS ? TICK_MIN_MS : ms) / 1000;
  ev_timer_stop(s->worker->loop, &s->tick);
  ev_timer_set(&s->tick, period, period);
  ev_timer_start(s->worker->loop, &s->tick);
}

static void bind_policy(pt_service *s) {
  s->policy->view->owner = s->owner;
  s->policy->view->nodes = s->view;
  s->policy->view->nnodes = s->cluster ? s->cluster->nnodes : 0;
  s->policy->view->generation = s->cluster ? s->cluster->generation : 0;
  s->trust = (pt_trust){0};
  atomic_store_explicit(&s->meter.suspended_until, 0, memory_order_relaxed);
}

pt_service *pt_service_new(pt_worker *w, unsigned index, pt_config *cfg, pt_policy *policy, struct pt_topology *topology) {
  pt_service *s = calloc(1, sizeof *s);
  if (!s)
    return NULL;
  s->worker = w;
  s->index = index;
  s->cfg = cfg;
  s->lc = &cfg->listeners[index];
  s->policy = policy;
  s->topology = topology;
  for (unsigned i = 0; i < PT_SLOTS; i++)
    s->owner[i] = PT_NODE_NONE;
  ev_timer_init(&s->tick, on_tick, 0., 0.);
  s->tick.data = s;
  pt_meter_init(&s->meter);
  set_tick(s);
  bind_policy(s);
  return s;
}

void pt_service_free(pt_service *s) {
  ev_timer_stop(s->worker->loop, &s->tick);
  pt_fence_free(s);
  pt_upstream_sweep(s, true);
  free(s->ups);
  s->policy->free(s->policy);
  if (s->cluster)
    pt_cluster_unref(s->cluster);
  pt_config_unref(s->cfg);
  pt_meter_free(&s->meter);
  free(s);
}

/* The door has no lock any more: those who stood before it are in. */
static void open_to_all(pt_service *s) {
  pt_worker *w = s->worker;
  for (uint32_t i = 0; i < w->nclients; i++) {
    pt_client *c = pt_client_at(w, i);
    if ((c->gen & 1) && c->svc == s)
      c->flags |= PT_CLIENT_AUTHED;
  }
}

void pt_service_configure(pt_service *s, pt_config *cfg, pt_policy *policy) {
  s->meter.aborts_before += s->policy->aborts;
  s->policy->free(s->policy);
  pt_config_unref(s->cfg);
  s->cfg = cfg;
  s->lc = &cfg->listeners[s->index];
  s->policy = policy;
  set_tick(s);
  bind_policy(s);
  if (!s->lc->nusers)
    open_to_all(s);
}

/* ---- topology ---- */

static void describe(pt_service *s, unsigned i) {
  const pt_cluster_node *n = &s->cluster->nodes[i];
  pt_view_node *v = &s->view[i];
  memset(v, 0, sizeof *v);
  snprintf(v->host, sizeof v->host, "%.*s", (int)sizeof v->host - 1, n->host);
  snprintf(v->zone, sizeof v->zone, "%s", n->zone);
  v->port = n->port;
  v->replica = n->replica;
  v->master = n->master;
  v->nreplicas = n->nreplicas;
  memcpy(v->replicas, n->replicas, sizeof v->replicas);
}

static void fence_moved(pt_service *s, pt_upstream **old, const int16_t *was) {
  uint16_t slots[PT_SLOTS];
  for (unsigned i = 0; i < s->nups; i++) {
    unsigned n = 0;
    if (!pt_upstream_inflight(s->ups[i]))
      continue;
    for (unsigned k = 0; k < PT_SLOTS; k++) {
      pt_upstream *before = was[k] == PT_NODE_NONE ? NULL : old[was[k]];
      pt_upstream *after = s->owner[k] == PT_NODE_NONE ? NULL : s->by_node[s->owner[k]];
      if (before == s->ups[i] && before != after)
        slots[n++] = (uint16_t)k;
    }
    if (n)
      pt_fence_add(s, s->ups[i], slots, n);
  }
}

void pt_service_apply(pt_service *s, pt_cluster *cluster) {
  pt_upstream *by_node[PT_MAX_NODES], *old[PT_MAX_NODES];
  int16_t was[PT_SLOTS];
  for (unsigned i = 0; i < cluster->nnodes; i++)
    if (!(by_node[i] = pt_upstream_get(s, cluster->nodes[i].host, cluster->nodes[i].port))) {
      pt_error("topology", "%s: out of memory, the new topology is not used", s->lc->name);
      pt_cluster_unref(cluster);
      return;
    }
  memcpy(old, s->by_node, sizeof old);
  memcpy(was, s->owner, sizeof was);
  for (unsigned i = 0; i < s->nups; i++)
    s->ups[i]->node = PT_NODE_NONE;
  if (s->cluster)
    pt_cluster_unref(s->cluster);
  s->cluster = cluster;
  for (unsigned i = 0; i < cluster->nnodes; i++) {
    s->by_node[i] = by_node[i];
    by_node[i]->node = (int16_t)i;
    by_node[i]->replica = cluster->nodes[i].replica;
    describe(s, i);
  }
  memcpy(s->owner, cluster->owner, sizeof s->owner);
  fence_moved(s, old, was);
  pt_upstream_sweep(s, false);
  s->policy->view->nnodes = cluster->nnodes;
  s->policy->view->generation = cluster->generation;
  s->view_turn = 0;
}

pt_upstream *pt_service_owner(pt_service *s, int slot) {
  if (!s->cluster)
    return NULL;
  if (slot >= 0)
    return s->owner[slot] == PT_NODE_NONE ? NULL : s->by_node[s->owner[slot]];
  pt_upstream *fallback = NULL;
  for (unsigned i = 0; i < s->cluster->nnodes; i++) {
    pt_upstream *up = s->by_node[s->next_master++ % s->cluster->nnodes];
    if (up->replica)
      continue;
    if (!up->open)
      return up;
    fallback = up;
  }
  return fallback;
}

pt_upstream *pt_service_resolve(pt_service *s, const char *host, uint16_t port) {
  for (unsigned i = 0; i < s->lc->nremap; i++) {
    const pt_remap *m = &s->lc->remap[i];
    if (m->from.port == port && !strcmp(m->from.host, host)) {
      host = m->to.host;
      port = m->to.port;
      break;
    }
  }
  int known = s->cluster ? pt_cluster_find(s->cluster, host, port) : PT_NODE_NONE;
  if (known != PT_NODE_NONE)
    return s->by_node[known];
  pt_address a;
  return pt_address_parse(&a, host, port) ? NULL : pt_upstream_get(s, host, port);
}

void pt_service_moved(pt_service *s, unsigned slot, pt_upstream *to, const char *host, uint16_t port) {
  pt_topology_hint(s->topology, host, port);
  if (!to || to->node == PT_NODE_NONE || s->owner[slot] == to->node)
    return;
  uint16_t one = (uint16_t)slot;
  pt_upstream *from = s->owner[slot] == PT_NODE_NONE ? NULL : s->by_node[s->owner[slot]];
  s->owner[slot] = to->node;
  if (from)
    pt_fence_add(s, from, &one, 1);
}

/* ---- the policy ---- */

static void refresh_view(pt_service *s) {
  s->view_turn = s->worker->turn;
  for (unsigned i = 0; i < s->cluster->nnodes; i++) {
    pt_upstream *up = s->by_node[i];
    s->view[i].up = s->cluster->nodes[i].healthy && !up->open;
    s->view[i].inflight = pt_upstream_inflight(up);
    s->view[i].latency_us = up->latency_us;
  }
}

static void note_failures(pt_service *s, unsigned n) {
  pt_policy *p = s->policy;
  uint64_t until = s->trust.suspended_until;
  pt_count_add(&s->meter.policy_failures, n);
  pt_trust_failed(&s->trust, s->worker, p->name, p->error[0] ? p->error : "it answered a node that may not serve the request",
                  p->calls, p->failures);
  if (s->trust.suspended_until == until)
    return;
  pt_count(&s->meter.suspensions);
  atomic_store_explicit(&s->meter.suspended_until, s->trust.suspended_until, memory_order_relaxed);
}

/* A write goes to the owner; a read may go to any replica of the owner too. */
static inline bool legal(const pt_service *s, const pt_request *r) {
  if (r->node < 0)
    return r->node == PT_ROUTE_DEFAULT || r->node == PT_ROUTE_REJECT;
  if ((unsigned)r->node >= s->cluster->nnodes)
    return false;
  if (r->slot >= PT_SLOTS)
    return !s->cluster->nodes[r->node].replica || (r->flags & PT_CMD_READONLY);
  int16_t owner = s->owner[r->slot];
  return r->node == owner ||
         ((r->flags & PT_CMD_READONLY) && owner != PT_NODE_NONE && s->cluster->nodes[r->node].master == owner);
}

static __attribute__((noinline)) void timed_route(pt_service *s, unsigned n) {
  uint64_t from = pt_now_ns();
  s->policy->route(s->policy, n);
  pt_meter_sampled(&s->meter, pt_now_ns() - from);
}

void pt_service_route(pt_service *s, unsigned n) {
  pt_worker *w = s->worker;
  pt_policy *p = s->policy;
  if (!p->route || !pt_trust_asks(&s->trust, w)) {
    for (unsigned i = 0; i < n; i++)
      p->batch[i].node = PT_ROUTE_DEFAULT;
    return;
  }
  if (s->view_turn != w->turn)
    refresh_view(s);
  pt_trust_enter(w, p->name, w->now);
  if (pt_meter_samples(&s->meter))
    timed_route(s, n);
  else
    p->route(p, n);
  pt_trust_leave(w);
  pt_count_add(&s->meter.policy_calls, n);
  unsigned failed = 0;
  for (unsigned i = 0; i < n; i++) {
    pt_request *r = &p->batch[i];
    if (legal(s, r))
      continue;
    p->failures += r->node != PT_ROUTE_FAILED;
    if (r->node != PT_ROUTE_FAILED)
      p->error[0] = 0;
    r->node = PT_ROUTE_DEFAULT;
    failed++;
  }
  if (failed)
    note_failures(s, failed);
}

int pt_service_ask_redirect(pt_service *s, const pt_segq *bytes, const pt_command *cmd, int slot, pt_why why, pt_upstream **to) {
  pt_policy *p = s->policy;
  if (!p->redirect || !s->cluster || !pt_trust_asks(&s->trust, s->worker))
    return PT_ACT_DEFAULT;
  pt_request req = {.frame_len = (uint32_t)bytes->bytes,
                    .flags = cmd ? cmd->flags : 0,
                    .slot = slot < 0 ? 0xffff : (uint16_t)slot,
                    .cmd = cmd ? cmd->id : 0};
  int16_t node = *to ? (*to)->node : PT_NODE_NONE;
  pt_trust_enter(s->worker, p->name, pt_now_ns());
  pt_action action = p->redirect(p, &req, why, &node);
  pt_trust_leave(s->worker);
  if (action == PT_ACT_RETRY && node >= 0 && (unsigned)node < s->cluster->nnodes && why != PT_WHY_ASK)
    *to = s->by_node[node];
  return action;
}
