#include "core/mongo/health.h"

#include <ev.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/mongo/check.h"

enum {
  HINTS = 64,
  FIRST_ROUND_GRACE_MS = 50
};

#define HINT_GAP_NS 100000000u

/* Everybody who ever was a backend; the index is the stable id. */
typedef struct known {
  char *name;
  uint32_t epoch;
} known;

struct pt_health {
  /* control thread */
  struct ev_loop *loop;
  pt_health_publish *publish;
  void *arg;
  char *name; /* of the listener */
  pt_backends *current;
  pthread_t thread;

  /* shared */
  _Atomic uint64_t hint_after[PT_BACKEND_IDS]; /* ns; hints before count for nothing */
  pthread_mutex_t lock; /* held for moments; guards what follows */
  ev_async ready_async, news_async; /* to the control thread, to ours */
  bool stopping;
  pt_config *cfg; /* new, NULL: it has been taken */
  unsigned listener;
  uint32_t hints[HINTS]; /* stable ids */
  unsigned nhints;
  pt_backends *ready; /* to be published, NULL: none */

  /* the thread */
  pt_check_env env;
  pt_check *checks[PT_MAX_BACKENDS];
  unsigned nchecks;
  known *known;
  uint32_t nknown;
  ev_timer patience, resolve; /* for the first round; between looks at the names */
  bool waits; /* for first rounds */
  uint32_t view; /* of the process before this one */
  pt_backends *last;
};

/* ---- snapshots ---- */

static void hand_over(pt_health *h, pt_backends *b) {
  pthread_mutex_lock(&h->lock);
  pt_backends_unref(h->ready);
  h->ready = b;
  if (!h->stopping)
    ev_async_send(h->loop, &h->ready_async);
  pthread_mutex_unlock(&h->lock);
}

static void snapshot(pt_health *h) {
  pt_backends *b = pt_backends_new(h->nchecks), *last = h->last;
  if (!b) {
    pt_error("health", "listener %s: out of memory, the backends' state stays as it was", h->env.lc->name);
    return;
  }
  for (unsigned i = 0; i < h->nchecks; i++)
    b->at[i] = h->checks[i]->b;
  b->generation = last ? last->generation + 1 : 1;
  b->view = h->view;
  if (last) {
    b->view = last->view;
    b->known = last->known;
    b->hello = last->hello;
  }
  pt_backends_sum_up(b);
  if (b->known && !(last && last->known && pt_backends_same_view(&last->hello, &b->hello)))
    b->view++;
  if (!b->nup && !(last && !last->nup))
    pt_error("health", "listener %s: no backend is up", h->env.lc->name);
  pt_backends_unref(last);
  h->last = b;
  hand_over(h, pt_backends_ref(b));
}

/* Not before each backend's first round has ended, or has had its time. */
static void settle(pt_health *h) {
  bool probed = true;
  for (unsigned i = 0; i < h->nchecks; i++)
    probed &= h->checks[i]->probed;
  if (h->waits && !probed)
    return;
  h->waits = false;
  ev_timer_stop(h->env.loop, &h->patience);
  snapshot(h);
}

static void on_changed(pt_check *c) { settle(c->env->owner); }

static void on_patience(struct ev_loop *loop, ev_timer *w, int events) {
  (void)loop;
  (void)events;
  pt_health *h = w->data;
  h->waits = false;
  settle(h);
}

/* ---- configurations ---- */

/* Where in a list with holes the check of that name stands; n: nowhere. */
static unsigned place_of(pt_check *const *list, unsigned n, const char *name) {
  unsigned i = 0;
  while (i < n && !(list[i] && !strcmp(list[i]->b.name, name)))
    i++;
  return i;
}

/* Its stable id; PT_BACKEND_NONE: there are no more. */
static uint32_t id_of(pt_health *h, const char *name) {
  for (uint32_t i = 0; i < h->nknown; i++)
    if (!strcmp(h->known[i].name, name)) {
      h->known[i].epoch++; /* it was away, nobody knows what it lost */
      return i;
    }
  if (h->nknown == PT_BACKEND_IDS)
    return PT_BACKEND_NONE;
  known *more = realloc(h->known, (h->nknown + 1) * sizeof *more);
  if (!more)
    return PT_BACKEND_NONE;
  h->known = more;
  more[h->nknown] = (known){.name = strdup(name)};
  return more[h->nknown].name ? h->nknown++ : PT_BACKEND_NONE;
}

static pt_check *add(pt_health *h, const pt_backend_config *bc, const char *name) {
  uint32_t id = id_of(h, name);
  pt_check *c = id == PT_BACKEND_NONE ? NULL : pt_check_new(&h->env, id, h->known[id].epoch, bc);
  if (!c)
    pt_error("health", "listener %s: backend %s is left out: %s", h->env.lc->name, name,
             h->nknown == PT_BACKEND_IDS ? "too many names since the start of the process" : "out of memory");
  return c;
}

static void away(pt_health *h, pt_check *c) {
  if (!c)
    return;
  h->known[c->b.id].epoch = c->b.epoch;
  pt_check_free(c);
}

static void configure(pt_health *h, pt_config *cfg, unsigned listener) {
  pt_check *old[PT_MAX_BACKENDS];
  unsigned nold = h->nchecks;
  char name[sizeof h->checks[0]->b.name];
  memcpy(old, h->checks, sizeof old);
  for (unsigned i = 0; i < nold; i++)
    pt_check_pause(old[i]);
  pt_config_unref(h->env.cfg);
  h->env.cfg = cfg;
  h->env.lc = &cfg->listeners[listener];
  h->env.mc = h->env.lc->mongo;
  const pt_mongo_config *mc = h->env.mc;
  h->nchecks = 0;
  h->waits = true;
  for (unsigned i = 0; i < mc->nbackends && h->nchecks < PT_MAX_BACKENDS; i++) {
    pt_check_name(&mc->backends[i], name, sizeof name);
    if (place_of(h->checks, h->nchecks, name) < h->nchecks)
      continue; /* twice the same is once */
    unsigned k = place_of(old, nold, name);
    pt_check *c = k < nold ? old[k] : add(h, &mc->backends[i], name);
    if (k < nold)
      old[k] = NULL;
    if (!c)
      continue;
    h->checks[h->nchecks++] = c;
    pt_check_configure(c, &mc->backends[i]);
  }
  for (unsigned i = 0; i < nold; i++)
    away(h, old[i]);
  ev_timer_stop(h->env.loop, &h->patience);
  ev_timer_set(&h->patience, (double)(mc->health_timeout + FIRST_ROUND_GRACE_MS) / 1e3, 0);
  ev_timer_start(h->env.loop, &h->patience);
  h->resolve.repeat = (double)mc->resolve / 1e3;
  ev_timer_again(h->env.loop, &h->resolve);
  settle(h);
}

/* ---- what wakes the thread ---- */

static void on_resolve(struct ev_loop *loop, ev_timer *w, int events) {
  (void)loop;
  (void)events;
  pt_health *h = w->data;
  for (unsigned i = 0; i < h->nchecks; i++)
    pt_check_resolve(h->checks[i]);
}

static pt_check *find(const pt_health *h, uint32_t id) {
  for (unsigned i = 0; i < h->nchecks; i++)
    if (h->checks[i]->b.id == id)
      return h->checks[i];
  return NULL;
}

static void take_addresses(pt_health *h) {
  pt_resolved r;
  while (pt_resolver_take(h->env.resolver, &r)) {
    pt_check *c = find(h, r.id);
    if (c)
      pt_check_resolved(c, &r);
  }
}

static void on_news(struct ev_loop *loop, ev_async *w, int events) {
  (void)events;
  pt_health *h = w->data;
  uint32_t hints[HINTS];
  pthread_mutex_lock(&h->lock);
  bool stopping = h->stopping;
  pt_config *cfg = h->cfg;
  unsigned listener = h->listener, nhints = h->nhints;
  h->cfg = NULL;
  h->nhints = 0;
  memcpy(hints, h->hints, nhints * sizeof hints[0]);
  pthread_mutex_unlock(&h->lock);
  if (stopping) {
    pt_config_unref(cfg);
    ev_break(loop, EVBREAK_ALL);
    return;
  }
  if (cfg)
    configure(h, cfg, listener);
  take_addresses(h);
  for (unsigned i = 0; i < nhints; i++) {
    pt_check *c = find(h, hints[i]);
    if (c)
      pt_check_hint(c);
  }
}

/* Resolver's thread. */
static void on_addresses(void *arg) {
  pt_health *h = arg;
  ev_async_send(h->env.loop, &h->news_async);
}

static void *run(void *arg) {
  pt_health *h = arg;
  pthread_setname_np(pthread_self(), "health");
  ev_run(h->env.loop, 0);
  pt_resolver_stop(h->env.resolver);
  h->env.resolver = NULL;
  for (unsigned i = 0; i < h->nchecks; i++)
    pt_check_free(h->checks[i]);
  h->nchecks = 0;
  return NULL;
}

/* ---- the control thread ---- */

static void on_ready(struct ev_loop *loop, ev_async *w, int events) {
  (void)loop;
  (void)events;
  pt_health *h = w->data;
  pthread_mutex_lock(&h->lock);
  pt_backends *b = h->ready;
  h->ready = NULL;
  pthread_mutex_unlock(&h->lock);
  if (!b)
    return;
  pt_backends_unref(h->current);
  h->current = b;
  h->publish(h->arg, pt_backends_ref(b)); /* may stop h */
}

static void discard(pt_health *h) {
  pt_resolver_stop(h->env.resolver);
  if (h->env.loop)
    ev_loop_destroy(h->env.loop);
  pt_pool_free(&h->env.pool);
  pt_config_unref(h->env.cfg);
  pt_config_unref(h->cfg);
  pt_backends_unref(h->last);
  pt_backends_unref(h->ready);
  pt_backends_unref(h->current);
  for (uint32_t i = 0; i < h->nknown; i++)
    free(h->known[i].name);
  free(h->known);
  free(h->name);
  pthread_mutex_destroy(&h->lock);
  free(h);
}

/* Signals belong to the control thread. */
static bool start_thread(pt_health *h) {
  sigset_t all, was;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &was);
  bool started = !pthread_create(&h->thread, NULL, run, h);
  pthread_sigmask(SIG_SETMASK, &was, NULL);
  return started;
}

static bool prepare(pt_health *h) {
  pt_check_env *env = &h->env;
  pt_pool_init(&env->pool);
  env->rng = (unsigned)(pt_now_ns() ^ (uint64_t)getpid() << 16);
  env->changed = on_changed;
  env->owner = h;
  env->loop = ev_loop_new(0);
  env->resolver = pt_resolver_new(on_addresses, h);
  if (!env->loop || !env->resolver || !h->name)
    return false;
  ev_timer_init(&h->patience, on_patience, 0, 0);
  ev_timer_init(&h->resolve, on_resolve, 0, 0);
  ev_async_init(&h->news_async, on_news);
  ev_async_init(&h->ready_async, on_ready);
  h->patience.data = h->resolve.data = h->news_async.data = h->ready_async.data = h;
  ev_async_start(env->loop, &h->news_async);
  ev_async_send(env->loop, &h->news_async);
  return true;
}

/* Stable ids are indexes: what lies between them belongs to nobody. */
static bool inherit(pt_health *h, const pt_heir *from) {
  uint32_t n = 0;
  for (unsigned i = 0; i < from->nbackends; i++)
    if (from->backends[i].id < PT_BACKEND_IDS && from->backends[i].id >= n)
      n = from->backends[i].id + 1;
  h->known = calloc(n ? n : 1, sizeof *h->known);
  h->view = from->view;
  if (!h->known)
    return false;
  for (h->nknown = 0; h->nknown < n; h->nknown++)
    if (!(h->known[h->nknown].name = strdup("")))
      return false;
  for (unsigned i = 0; i < from->nbackends; i++) {
    const pt_heir_backend *b = &from->backends[i];
    if (b->id >= n)
      continue;
    free(h->known[b->id].name);
    h->known[b->id] = (known){.name = strdup(b->name), .epoch = b->epoch - 1}; /* taking it up again adds one */
    if (!h->known[b->id].name)
      return false;
  }
  return true;
}

pt_health *pt_health_start(struct ev_loop *loop, pt_config *cfg, unsigned listener, const pt_heir *from,
                           pt_health_publish *publish, void *arg) {
  pt_health *h = calloc(1, sizeof *h);
  if (!h)
    return NULL;
  pthread_mutex_init(&h->lock, NULL);
  h->loop = loop;
  h->publish = publish;
  h->arg = arg;
  h->name = strdup(cfg->listeners[listener].name);
  h->cfg = pt_config_ref(cfg);
  h->listener = listener;
  if ((from && !inherit(h, from)) || !prepare(h))
    goto out;
  ev_async_start(loop, &h->ready_async);
  if (start_thread(h))
    return h;
  ev_async_stop(loop, &h->ready_async);
out:
  discard(h);
  return NULL;
}

void pt_health_reconfigure(pt_health *h, pt_config *cfg) {
  unsigned i = 0;
  while (i < cfg->nlisteners && (cfg->listeners[i].kind != PT_LISTENER_MONGODB || strcmp(cfg->listeners[i].name, h->name)))
    i++;
  if (i == cfg->nlisteners)
    return;
  pthread_mutex_lock(&h->lock);
  pt_config *old = h->cfg;
  h->cfg = pt_config_ref(cfg);
  h->listener = i;
  pthread_mutex_unlock(&h->lock);
  pt_config_unref(old);
  ev_async_send(h->env.loop, &h->news_async);
}

void pt_health_hint(pt_health *h, uint32_t backend) {
  uint64_t now = pt_now_ns();
  if (backend >= PT_BACKEND_IDS)
    return;
  uint64_t after = atomic_load(&h->hint_after[backend]);
  if (now < after || !atomic_compare_exchange_strong(&h->hint_after[backend], &after, now + HINT_GAP_NS))
    return;
  pthread_mutex_lock(&h->lock);
  if (h->nhints < HINTS)
    h->hints[h->nhints++] = backend;
  pthread_mutex_unlock(&h->lock);
  ev_async_send(h->env.loop, &h->news_async);
}

pt_backends *pt_health_current(const pt_health *h) { return h->current; }

void pt_health_stop(pt_health *h) {
  if (!h)
    return;
  pthread_mutex_lock(&h->lock);
  h->stopping = true;
  pthread_mutex_unlock(&h->lock);
  ev_async_stop(h->loop, &h->ready_async);
  ev_async_send(h->env.loop, &h->news_async);
  pthread_join(h->thread, NULL);
  discard(h);
}
