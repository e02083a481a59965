#include "core/batch.h"

#include <errno.h>
#include <stdio.h>

#include "core/fan.h"
#include "core/gate.h"
#include "core/link.h"
#include "core/reply.h"
#include "core/retry.h"
#include "core/service.h"
#include "core/upstream.h"

static void refuse(pt_worker *w, pt_owner who, pt_error e, const pt_upstream *up, const char *why) {
  char name[PT_UPSTREAM_NAME];
  pt_reply_error(w, who, e, "ERR node %s %s; request not sent", pt_upstream_name(up, name), why);
}

/* The owner, or the replica that the policy has chosen; one that fails fast is no reason to fail a read. */
static inline __attribute__((always_inline)) pt_upstream *choose(pt_service *s, const pt_request *r, bool *replica) {
  pt_upstream *owner = pt_service_owner(s, r->slot < PT_SLOTS ? r->slot : -1);
  pt_upstream *up = r->node >= 0 ? s->by_node[r->node] : owner;
  *replica = up != owner && !up->open && r->slot < PT_SLOTS;
  return up != owner && up->open ? owner : up;
}

static void send_one(pt_batch *b, const pt_batched *a, const pt_request *r) {
  pt_client *c = b->c;
  pt_service *s = c->svc;
  pt_worker *w = s->worker;
  if (r->node == PT_ROUTE_REJECT) {
    pt_reply_error(w, a->who, PT_E_REJECTED, "ERR rejected by policy");
    return;
  }
  if (r->slot < PT_SLOTS && pt_gate_stands(s, r->slot) && pt_gate_holds(s, c, r->slot, a->seq)) {
    if (pt_retry_park(c, a->who, a->seq, r->slot, a->chunk, a->off, a->len))
      pt_reply_error(w, a->who, PT_E_MEMORY, "OOM puerta is out of memory; request not sent");
    return;
  }
  bool replica;
  pt_upstream *up = choose(s, r, &replica);
  if (!up) {
    pt_reply_error(w, a->who, PT_E_SLOT_UNSERVED, "CLUSTERDOWN Hash slot not served");
    return;
  }
  if (up->open) {
    char why[128] = "fails fast: ";
    snprintf(why + 12, sizeof why - 12, "%s", up->reason);
    pt_count(&w->n.failfast);
    refuse(w, a->who, PT_E_FAILS_FAST, up, why);
    return;
  }
  int e = pt_link_push(pt_link_of(up, c->proto, c->index), a->who, a->chunk, a->off, a->len, replica);
  if (e)
    refuse(w, a->who, e == -ENOBUFS ? PT_E_BACKLOG : PT_E_MEMORY, up,
           e == -ENOBUFS ? "has a full backlog (node_backlog)" : "cannot be asked: puerta is out of memory");
}

/* Requests of this batch that the access log shows. */
static __attribute__((noinline, cold)) void sample(pt_batch *b, unsigned n) {
  pt_service *s = b->c->svc;
  pt_access *a = &s->worker->access;
  char where[16], node[PT_UPSTREAM_NAME];
  for (unsigned i = 0; pt_access_next(a, n, &i);) {
    const pt_request *r = &s->policy->batch[i - 1];
    bool replica, slot = r->slot < PT_SLOTS;
    const pt_upstream *up = slot || r->node >= 0 ? choose(s, r, &replica) : NULL; /* without a slot: masters in turn */
    snprintf(where, sizeof where, slot ? "slot=%u" : "slot=-", r->slot);
    pt_access_await(s->worker, b->at[i - 1].who, pt_access_begin(s->lc, pt_commands[r->cmd].name, where),
                    up ? pt_upstream_name(up, node) : "-");
  }
}

void pt_batch_dispatch(pt_batch *b) {
  if (!b->n)
    return;
  pt_service *s = b->c->svc;
  uint32_t gen = b->c->gen;
  unsigned n = b->n;
  b->n = 0;
  pt_service_route(s, n);
  if (s->worker->access.every)
    sample(b, n);
  for (unsigned i = 0; i < n; i++) {
    if (b->c->gen == gen && (gen & 1))
      send_one(b, &b->at[i], &s->policy->batch[i]);
    else if (b->at[i].who.kind == PT_KIND_FAN)
      pt_fan_cancel(s->worker, b->at[i].who);
    if (b->at[i].owned)
      pt_chunk_unref(b->at[i].chunk);
  }
}
