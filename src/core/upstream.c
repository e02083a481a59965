#include "core/upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/link.h"
#include "core/topology.h"

char *pt_upstream_name(const pt_upstream *up, char *out) {
  snprintf(out, PT_UPSTREAM_NAME, strchr(up->host, ':') ? "[%s]:%u" : "%s:%u", up->host, up->port);
  return out;
}

pt_upstream *pt_upstream_get(pt_service *s, const char *host, uint16_t port) {
  for (unsigned i = 0; i < s->nups; i++)
    if (s->ups[i]->port == port && !strcmp(s->ups[i]->host, host))
      return s->ups[i];
  pt_upstream **ups = realloc(s->ups, (s->nups + 1) * sizeof *ups);
  if (!ups)
    return NULL;
  s->ups = ups;
  pt_upstream *up = calloc(1, sizeof *up);
  unsigned nlinks = s->lc->connections;
  if (!up || !(up->links = malloc(2 * nlinks * sizeof *up->links))) {
    free(up);
    return NULL;
  }
  up->svc = s;
  snprintf(up->host, sizeof up->host, "%s", host);
  up->port = port;
  up->node = PT_NODE_NONE;
  up->nlinks = nlinks;
  for (unsigned i = 0; i < 2 * nlinks; i++)
    pt_link_init(&up->links[i], up, i < nlinks ? 2 : 3);
  char name[PT_UPSTREAM_NAME];
  up->meter = pt_meter_node(&s->meter, pt_upstream_name(up, name));
  return s->ups[s->nups++] = up;
}

void pt_upstream_show(const pt_upstream *up) {
  pt_node_meter *m = up->meter;
  uint64_t backlog = 0;
  if (!m)
    return;
  for (unsigned i = 0; i < 2 * up->nlinks; i++)
    backlog += up->links[i].log.bytes;
  atomic_store_explicit(&m->inflight, pt_upstream_inflight(up), memory_order_relaxed);
  atomic_store_explicit(&m->latency_us, up->latency_us, memory_order_relaxed);
  atomic_store_explicit(&m->open, up->open, memory_order_relaxed);
  atomic_store_explicit(&m->backlog, backlog, memory_order_relaxed);
}

void pt_upstream_trip(pt_upstream *up, const char *reason) {
  pt_service *s = up->svc;
  char name[PT_UPSTREAM_NAME];
  if (reason != up->reason)
    snprintf(up->reason, sizeof up->reason, "%s", reason);
  if (!up->open)
    pt_log_every(&up->told_open, PT_LOG_WARN, "node", "%s: %s fails fast: %s (%s)", s->lc->name, pt_upstream_name(up, name),
                 up->reason, pt_errors[PT_E_FAILS_FAST].code);
  up->open = true;
  up->open_until = s->worker->now + s->lc->retry_interval * PT_NS_PER_MS;
  pt_upstream_show(up);
  pt_topology_hint(s->topology, NULL, 0);
}

void pt_upstream_heal(pt_upstream *up) {
  char name[PT_UPSTREAM_NAME];
  if (!up->open)
    return;
  up->open = false;
  pt_upstream_show(up);
  pt_log_every(&up->told_back, PT_LOG_INFO, "node", "%s: %s is back", up->svc->lc->name, pt_upstream_name(up, name));
}

void pt_upstream_suspect(pt_upstream *up) { pt_topology_hint(up->svc->topology, NULL, 0); }

/* One closed link connects and greets, RESP2 before RESP3. When none is closed they have all greeted since: the node is well. */
static void probe(pt_upstream *up) {
  pt_link *closed = NULL;
  for (unsigned i = 0; i < 2 * up->nlinks; i++) {
    pt_link *l = &up->links[i];
    if (l->state == PT_LINK_CONNECTING || l->state == PT_LINK_SETUP)
      return;
    closed = !closed && l->state == PT_LINK_CLOSED ? l : closed;
  }
  if (closed)
    pt_link_open(closed);
  else
    pt_upstream_heal(up);
}

void pt_upstream_tick(pt_upstream *up) {
  for (unsigned i = 0; i < 2 * up->nlinks; i++)
    pt_link_tick(&up->links[i]);
  pt_upstream_show(up);
  if (up->open && up->svc->worker->now >= up->open_until && up->node != PT_NODE_NONE)
    probe(up);
}

uint32_t pt_upstream_inflight(const pt_upstream *up) {
  uint32_t n = 0;
  for (unsigned i = 0; i < 2 * up->nlinks; i++)
    n += up->links[i].ftail - up->links[i].fhead;
  return n;
}

void pt_upstream_sweep(pt_service *s, bool all) {
  unsigned kept = 0;
  for (unsigned i = 0; i < s->nups; i++) {
    pt_upstream *up = s->ups[i];
    if (!all && (up->node != PT_NODE_NONE || up->refs || pt_upstream_inflight(up))) {
      s->ups[kept++] = up;
      continue;
    }
    for (unsigned k = 0; k < 2 * up->nlinks; k++)
      pt_link_free(&up->links[k]);
    pt_upstream_show(up);
    free(up->links);
    free(up);
  }
  s->nups = kept;
}
