#include "core/mongo/mongo.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "core/mongo/exchange.h"
#include "core/mongo/pair_state.h"
#include "core/mongo/request.h"

enum {
  TICK_MS = 100,
  DRAIN_IDLE_MS = 2000 /* a draining process, as a draining backend, closes what has been idle for so long */
};

/* Calls fn for each open client; fn may close it. */
static void each(pt_mongo *m, void (*fn)(pt_mongo_client *)) {
  for (uint32_t i = 0; i < m->nclients; i++) {
    pt_mongo_client *c = pt_mongo_client_at(m, i);
    if (c->gen & 1)
      fn(c);
  }
}

static void look_pair(pt_mongo_client *c) {
  if (c->state == PT_MC_PAIRED)
    pt_pair_look(c);
}

static void tick_client(pt_mongo_client *c) {
  pt_mongo *m = c->mongo;
  if (c->flags & PT_MC_AWAY)
    return;
  if (c->state == PT_MC_PAIRED)
    pt_pair_tick(c);
  else if (c->state == PT_MC_REQUESTS)
    pt_request_tick(c);
  else if (m->worker->now - c->since > m->mc->handshake_timeout * PT_NS_PER_MS)
    pt_mongo_client_late(c, PT_E_HANDSHAKE_TIMEOUT,
                         c->in_len ? "its first message is not whole after the handshake timeout" : NULL);
}

static void on_tick(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  pt_mongo *m = t->data;
  unsigned moves = atomic_load_explicit(&m->shared->moves, memory_order_relaxed);
  if (moves != m->moves) {
    m->moves = moves;
    each(m, look_pair);
  }
  each(m, tick_client);
  if (m->mc->per_request)
    pt_request_pools_tick(m);
}

/* ---- what is measured ---- */

pt_work pt_mongo_class(pt_mongo_verb verb) {
  switch (verb) {
  case PT_MVERB_FIND:
  case PT_MVERB_READ:
    return PT_WORK_READ;
  case PT_MVERB_WRITE:
    return PT_WORK_WRITE;
  case PT_MVERB_GET_MORE:
  case PT_MVERB_KILL_CURSORS:
    return PT_WORK_CURSOR;
  case PT_MVERB_COMMIT:
  case PT_MVERB_ABORT:
  case PT_MVERB_END_SESSIONS:
    return PT_WORK_TRANSACTION;
  case PT_MVERB_HELLO:
  case PT_MVERB_PING:
    return PT_WORK_HELLO;
  case PT_MVERB_SASL_START:
  case PT_MVERB_SASL_CONTINUE:
  case PT_MVERB_AUTHENTICATE:
  case PT_MVERB_LOGOUT:
    return PT_WORK_AUTH;
  case PT_MVERB_OTHER:
    break;
  }
  return PT_WORK_OTHER;
}

void pt_mongo_measure(pt_mongo *m, pt_mongo_verb verb, uint32_t stamp, const char *name, const char *backend) {
  uint32_t us = m->worker->now_us - stamp;
  pt_work class = pt_mongo_class(verb);
  pt_histogram_add(&m->meter.latency[class], us, 1);
  if (us >= m->worker->slow_us && class != PT_WORK_HELLO)
    pt_meter_slow(&m->meter, name ? name : "(other)", -1, backend, us);
}

static void bind_policy(pt_mongo *m) {
  m->affinity->backends->at = m->view;
  m->affinity->backends->n = m->backends ? m->backends->n : 0;
  m->affinity->backends->generation = m->backends ? m->backends->generation : 0;
  m->trust = (pt_trust){0};
  atomic_store_explicit(&m->meter.suspended_until, 0, memory_order_relaxed);
}

pt_mongo *pt_mongo_new(pt_worker *w, unsigned index, pt_config *cfg, pt_affinity *affinity, pt_mongo_shared *shared) {
  pt_mongo *m = calloc(1, sizeof *m);
  if (!m)
    return NULL;
  m->worker = w;
  m->index = index;
  m->cfg = cfg;
  m->lc = &cfg->listeners[index];
  m->mc = m->lc->mongo;
  m->affinity = affinity;
  m->shared = shared;
  m->draws = w->index;
  pt_meter_init(&m->meter);
  ev_timer_init(&m->tick, on_tick, TICK_MS / 1000., TICK_MS / 1000.);
  m->tick.data = m;
  ev_timer_start(w->loop, &m->tick);
  bind_policy(m);
  return m;
}

static void close_client(pt_mongo_client *c) { pt_mongo_client_close(c, NULL); }

void pt_mongo_free(pt_mongo *m) {
  each(m, close_client);
  pt_request_free(m);
  ev_timer_stop(m->worker->loop, &m->tick);
  for (uint32_t i = 0; i < m->nclients; i += PT_CLIENT_BLOCK)
    free(m->clients[i / PT_CLIENT_BLOCK]);
  free(m->clients);
  free(m->dirty.at);
  free(m->packed.at);
  m->affinity->free(m->affinity);
  pt_backends_unref(m->backends);
  pt_config_unref(m->cfg);
  pt_meter_free(&m->meter);
  free(m);
}

static void look_again(pt_mongo *m) {
  each(m, look_pair);
  if (m->mc->per_request)
    pt_request_look(m);
}

static bool differ(const char *a, const char *b) { return a && b ? strcmp(a, b) : a != b; }

static bool same_login(const pt_mongo_config *a, const pt_mongo_config *b) {
  return !differ(a->backend_user, b->backend_user) && !differ(a->backend_password, b->backend_password) &&
         !differ(a->backend_source, b->backend_source);
}

void pt_mongo_configure(pt_mongo *m, pt_config *cfg, pt_affinity *affinity) {
  m->affinity->free(m->affinity);
  m->affinity = affinity;
  pt_config *was = m->cfg;
  m->cfg = cfg;
  m->lc = &cfg->listeners[m->index];
  m->logins += !same_login(m->mc, m->lc->mongo);
  m->mc = m->lc->mongo;
  bind_policy(m);
  look_again(m);
  pt_config_unref(was);
}

static void watch(pt_mongo_client *c) {
  if (c->state == PT_MC_PAIRED)
    pt_pair_watch(c);
  else if (c->state == PT_MC_REQUESTS)
    pt_request_watch(c);
}

void pt_mongo_watch_all(pt_mongo *m) { each(m, watch); }

uint64_t pt_mongo_buffer(pt_mongo *m) {
  uint64_t small = m->worker->memory.small;
  return pt_memory_tight(m->worker) && small < m->mc->buffer ? small : m->mc->buffer;
}

uint64_t pt_mongo_client_held(const pt_mongo_client *c) {
  uint64_t held = pt_chunk_held(c->in) + pt_segq_held(&c->out);
  return held + (c->pair ? pt_pair_held(c) : 0) + (c->exchange ? pt_request_held(c) : 0);
}

/* ---- backends ---- */

static uint64_t seed(const char *name) {
  uint8_t digest[PT_SHA256];
  uint64_t v = 0;
  if (!pt_sha256(&(pt_piece){name, strlen(name)}, 1, digest))
    memcpy(&v, digest, sizeof v);
  return v;
}

static void describe(pt_mongo *m, unsigned i) {
  const pt_backend *b = &m->backends->at[i];
  pt_backend_view *v = &m->view[i];
  memset(v, 0, sizeof *v);
  v->seed = seed(b->name);
  size_t n = strnlen(b->name, sizeof v->name - 1);
  memcpy(v->name, b->name, n);
  v->weight = b->weight;
  v->id = b->id;
}

void pt_mongo_apply(pt_mongo *m, pt_backends *b) {
  pt_backends *was = m->backends;
  m->backends = b;
  memset(m->avoid, 0, sizeof m->avoid);
  for (unsigned i = 0; i < b->n; i++)
    describe(m, i);
  m->affinity->backends->n = b->n;
  m->affinity->backends->generation = b->generation;
  look_again(m);
  pt_backends_unref(was);
}

/* ---- turns ---- */

/* A client that closes may leave its link to the next request: until nothing is left to write. */
void pt_mongo_turn(pt_mongo *m) {
  bool any;
  do {
    if (m->mc->per_request)
      pt_request_turn(m);
    any = m->dirty.n;
    for (uint32_t i = 0; i < m->dirty.n; i++) {
      pt_mongo_client *c = pt_mongo_client_at(m, m->dirty.at[i]);
      if (!(c->gen & 1) || !(c->flags & PT_MC_DIRTY))
        continue;
      c->flags &= (uint16_t)~PT_MC_DIRTY;
      pt_mongo_client_flush(c);
    }
    m->dirty.n = 0;
  } while (any);
}

/* Half-done handshakes go at once, others when nothing of theirs is open. */
static bool leaves(const pt_mongo_client *c) {
  if (c->state == PT_MC_PAIRED)
    return pt_pair_leaves(c);
  return c->mongo->worker->now - c->last >= (uint64_t)DRAIN_IDLE_MS * PT_NS_PER_MS && !c->out.bytes &&
         (c->state != PT_MC_REQUESTS || pt_request_idle(c));
}

uint32_t pt_mongo_drain(pt_mongo *m) {
  uint32_t left = 0;
  if (m->worker->now < m->drain_next)
    return m->drain_left;
  m->drain_next = m->worker->now + (uint64_t)TICK_MS * PT_NS_PER_MS;
  for (uint32_t i = 0; i < m->nclients; i++) {
    pt_mongo_client *c = pt_mongo_client_at(m, i);
    if (!(c->gen & 1))
      continue;
    if (leaves(c))
      pt_mongo_client_close(c, NULL);
    else
      left++;
  }
  return m->drain_left = left;
}
