#include "core/mongo/pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum {
  RETRY_MS = 200, /* a backend that refused a connection is not asked for more at once, while it serves others */
  COPY_MAX = 16 * 1024, /* waiting requests up to this are copied out of the large chunk they came in */
  DRAIN_IDLE_MS = 2000,
  CURSOR_MS = 10 * 60 * 1000 /* what servers keep an unused cursor for */
};

static uint64_t ms(uint64_t n) { return n * PT_NS_PER_MS; }

pt_mongo_pool *pt_mongo_pool_find(const pt_mongo *m, uint32_t backend) {
  for (unsigned i = 0; i < m->npools; i++)
    if (m->pools[i]->backend == backend)
      return m->pools[i];
  return NULL;
}

void pt_mongo_pool_move(pt_mlink *l, pt_mlink **from, pt_mlink **to) {
  if (from) {
    if (l->next)
      l->next->prev = l->prev;
    *(l->prev ? &l->prev->next : from) = l->next;
  }
  l->prev = l->next = NULL;
  if (!to)
    return;
  l->next = *to;
  if (l->next)
    l->next->prev = l;
  *to = l;
}

/* ---- the queue ---- */

static void enqueue(pt_mongo_pool *p, pt_exchange *x) {
  x->prev = p->last;
  x->next = NULL;
  *(p->last ? &p->last->next : &p->first) = x;
  p->last = x;
  p->nwaiting++;
  x->state = PT_X_QUEUED;
  x->since = p->mongo->worker->now;
}

void pt_mongo_pool_forget(pt_mongo_pool *p, pt_exchange *x) {
  *(x->prev ? &x->prev->next : &p->first) = x->next;
  *(x->next ? &x->next->prev : &p->last) = x->prev;
  x->prev = x->next = NULL;
  p->nwaiting--;
  x->state = PT_X_IDLE;
}

/* It may wait for long: a small request must not hold the large chunk that it was read into. 0 or -ENOMEM. */
static int settle_down(pt_mongo_pool *p, pt_exchange *x) {
  if (!x->req.bytes || x->req.bytes > COPY_MAX)
    return 0;
  pt_chunk *c = pt_chunk_exact(&p->mongo->worker->pool, x->req.bytes);
  if (!c)
    return -1;
  c->fill = (uint32_t)pt_segq_peek(&x->req, c->data, x->req.bytes);
  pt_segq_clear(&x->req);
  int e = pt_segq_ref(&x->req, c, 0, c->fill);
  pt_chunk_unref(c);
  return e;
}

/* Tells those that wait that it has no use. all: also those that cannot go anywhere else. */
static void turn_away(pt_mongo_pool *p, bool all, const char *why) {
  for (unsigned n = p->nwaiting; n && p->first; n--) {
    pt_exchange *x = p->first;
    uint64_t since = x->since;
    pt_mongo_pool_forget(p, x);
    if (all || !x->pinned) {
      pt_exchange_unsent(x, p->name, why);
      continue;
    }
    enqueue(p, x); /* all who stay pass to the end, in their order */
    x->since = since;
  }
}

static void serve(pt_mongo_pool *p, pt_mlink *l, pt_exchange *x) {
  pt_mongo_pool_move(l, &p->idle, &p->others);
  pt_mlink_send(l, x);
  x->state = PT_X_SENT;
  pt_exchange_started(x);
}

/* ---- links ---- */

static void refused(pt_mongo_pool *p, int e, const char *why) {
  static pt_log_rate rate;
  pt_mongo *m = p->mongo;
  int i = m->backends ? pt_backends_index(m->backends, p->backend) : -1;
  p->retry_at = m->worker->now + ms(RETRY_MS);
  pt_log_every(&rate, PT_LOG_WARN, "mongo", "%s: %s: no connection: %s", m->lc->name, p->name, why);
  if (i >= 0 && !pt_connect_ours(e))
    pt_place_failed(m, (unsigned)i, why);
}

/* Opens links for those that wait. Who waits is told when there is no hope. */
static void grow(pt_mongo_pool *p) {
  pt_mongo *m = p->mongo;
  while (p->nconnecting < p->nwaiting && p->n < m->mc->pool_max && (!p->n || m->worker->now >= p->retry_at)) {
    int e = pt_mlink_open(p);
    if (!e)
      continue;
    refused(p, e, strerror(-e));
    if (!p->n)
      turn_away(p, true, strerror(-e));
    return;
  }
}

void pt_mongo_pool_checkout(pt_mongo_pool *p, pt_exchange *x) {
  pt_mongo *m = p->mongo;
  if (p->idle && !p->first) {
    serve(p, p->idle, x);
    return;
  }
  if (p->nwaiting >= m->mc->pool_queue) {
    pt_exchange_overloaded(x, PT_E_POOL_QUEUE, "too many requests wait for a connection to the backend");
    return;
  }
  if (settle_down(p, x)) {
    pt_mongo_client_fail(x->client, PT_E_MEMORY, "out of memory");
    return;
  }
  pt_count(&m->n.waits);
  enqueue(p, x);
  grow(p);
}

void pt_mongo_pool_ready(pt_mlink *l) {
  pt_mongo_pool *p = l->pool;
  l->state = PT_MLINK_IDLE;
  l->since = p->mongo->worker->now;
  pt_mongo_pool_move(l, &p->others, &p->idle);
  pt_exchange *x = p->first;
  if (l->epoch != p->epoch) {
    pt_mlink_cut(l, "another process, or as another user");
  } else if (x) {
    pt_mongo_pool_forget(p, x);
    serve(p, l, x);
  } else if (!p->usable) {
    pt_mlink_cut(l, "the backend has left");
  }
}

void pt_mongo_pool_gone(pt_mlink *l, bool failed, const char *why) {
  pt_mongo_pool *p = l->pool;
  pt_mongo_pool_move(l, l->state == PT_MLINK_IDLE ? &p->idle : &p->others, NULL);
  p->n--;
  p->nconnecting -= failed;
  free(l);
  if (failed && p->usable)
    refused(p, 0, why);
  if (failed && !p->n)
    turn_away(p, true, why);
  else
    grow(p);
}

/* ---- snapshots ---- */

static void close_idle(pt_mongo_pool *p, const char *why) {
  while (p->idle)
    pt_mlink_cut(p->idle, why);
}

/* It is down: whatever was asked of it is answered by nobody. Links that are cut may make new ones, for those that insist. */
static void close_all(pt_mongo_pool *p, const char *why) {
  turn_away(p, false, why);
  close_idle(p, why);
  for (unsigned n = p->n; n && p->others; n--) {
    pt_mlink *l = p->others;
    while (l && l->state != PT_MLINK_BUSY)
      l = l->next;
    if (!l)
      return;
    pt_mlink_cut(l, why);
  }
}

static pt_mongo_pool *make(pt_mongo *m, const pt_backend *b) {
  pt_mongo_pool *p = calloc(1, sizeof *p);
  if (!p)
    return NULL;
  p->mongo = m;
  p->backend = b->id;
  memcpy(p->name, b->name, sizeof p->name);
  p->meter = pt_meter_node(&m->meter, p->name);
  return p;
}

static void follow(pt_mongo_pool *p, const pt_backend *b) {
  uint32_t epoch = b->epoch + p->mongo->logins;
  bool another = p->epoch != epoch;
  p->address = b->address;
  p->epoch = epoch;
  p->draining = b->draining;
  p->legacy = b->legacy;
  p->usable = true;
  if (another && p->n)
    close_idle(p, "another process, or as another user");
  if (!b->up)
    close_all(p, b->why[0] ? b->why : "it is down");
}

static void leave(pt_mongo_pool *p) {
  p->usable = false;
  p->address.len = 0;
  turn_away(p, true, "the backend has left");
  close_idle(p, "the backend has left");
}

void pt_mongo_pools_look(pt_mongo *m) {
  pt_backends *b = m->backends;
  if (!b)
    return;
  pt_mongo_pool **more = realloc(m->pools, (m->npools + b->n + 1) * sizeof *more);
  if (!more)
    return; /* requests to new backends are refused until the next snapshot */
  m->pools = more;
  for (unsigned i = 0; i < b->n; i++)
    if (!pt_mongo_pool_find(m, b->at[i].id) && (m->pools[m->npools] = make(m, &b->at[i])))
      m->npools++;
  for (unsigned i = 0; i < m->npools; i++) { /* what is turned away may go to any of them: all know where they are first */
    int k = pt_backends_index(b, m->pools[i]->backend);
    m->pools[i]->usable = k >= 0;
  }
  for (unsigned i = 0; i < m->npools; i++) {
    int k = pt_backends_index(b, m->pools[i]->backend);
    if (k >= 0)
      follow(m->pools[i], &b->at[k]);
    else
      leave(m->pools[i]);
  }
}

/* ---- time ---- */

/* Whether something was written. */
static bool flush(pt_mongo_pool *p) {
  if (!p->dirty)
    return false;
  p->dirty = false;
  for (pt_mlink *l = p->others, *next; l; l = next) {
    next = l->next;
    if (l->dirty)
      pt_mlink_flush(l);
  }
  return true;
}

/* What cannot be written goes elsewhere, perhaps to a pool that has had its turn. */
void pt_mongo_pools_turn(pt_mongo *m) {
  bool any;
  do {
    any = false;
    for (unsigned i = 0; i < m->npools; i++)
      any |= flush(m->pools[i]);
  } while (any);
}

static void show(const pt_mongo_pool *p) {
  if (!p->meter)
    return;
  atomic_store_explicit(&p->meter->links, p->n, memory_order_relaxed);
  atomic_store_explicit(&p->meter->waiting, p->nwaiting, memory_order_relaxed);
}

static void tick_queue(pt_mongo_pool *p) {
  pt_mongo *m = p->mongo;
  while (p->first && m->worker->now - p->first->since > ms(m->mc->pool_wait)) {
    pt_exchange *x = p->first;
    pt_mongo_pool_forget(p, x);
    pt_count(&m->n.wait_timeouts);
    pt_exchange_overloaded(x, PT_E_POOL_TIMEOUT, "no connection to the backend became free in time");
  }
}

/* Links nobody needs, the one unused for longest first. */
static void trim(pt_mongo_pool *p) {
  pt_mongo *m = p->mongo;
  uint64_t now = m->worker->now, idle = ms(p->draining ? DRAIN_IDLE_MS : m->mc->pool_idle);
  for (pt_mlink *l = p->idle, *next; l && p->n > (p->draining ? 0 : m->mc->pool_min); l = next) {
    next = l->next;
    bool holds = l->cursor_at && now - l->cursor_at < ms(CURSOR_MS);
    if (now - l->since > idle && !holds)
      pt_mlink_cut(l, "idle");
  }
}

static void keep_min(pt_mongo_pool *p) {
  pt_mongo *m = p->mongo;
  int i = m->backends ? pt_backends_index(m->backends, p->backend) : -1;
  while (i >= 0 && m->backends->at[i].up && !p->draining && p->n < m->mc->pool_min && m->worker->now >= p->retry_at) {
    int e = pt_mlink_open(p);
    if (e)
      refused(p, e, strerror(-e));
  }
}

static void tick_links(pt_mongo_pool *p) {
  for (pt_mlink *l = p->others, *next; l; l = next) {
    next = l->next;
    pt_mlink_tick(l);
  }
}

void pt_mongo_pools_tick(pt_mongo *m) {
  for (unsigned i = 0; i < m->npools; i++) {
    pt_mongo_pool *p = m->pools[i];
    tick_queue(p);
    tick_links(p);
    trim(p);
    keep_min(p);
    grow(p);
    show(p);
    if (!p->usable && !p->n && !p->first) {
      free(p);
      m->pools[i--] = m->pools[--m->npools];
    }
  }
}

void pt_mongo_pools_free(pt_mongo *m) {
  for (unsigned i = 0; i < m->npools; i++) {
    pt_mongo_pool *p = m->pools[i];
    p->usable = false;
    while (p->idle)
      pt_mlink_cut(p->idle, "the end");
    while (p->others)
      pt_mlink_cut(p->others, "the end");
    free(p);
  }
  free(m->pools);
  m->pools = NULL;
  m->npools = 0;
}
