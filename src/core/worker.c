#include "core/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/client.h"
#include "core/fan.h"
#include "core/gate.h"
#include "core/link.h"
#include "core/mongo/mongo.h"
#include "core/move.h"
#include "core/patience.h"
#include "core/reply.h"
#include "core/retry.h"
#include "core/service.h"
#include "core/stream.h"
#include "core/subject.h"

enum {
  COALESCE_MIN = 8,
  COALESCE_SHARE = 4
};

int pt_list_add(pt_list *l, uint32_t v) {
  if (l->n == l->cap) {
    uint32_t cap = l->cap ? l->cap * 2 : 64;
    uint32_t *more = realloc(l->at, cap * sizeof *more);
    if (!more)
      return -ENOMEM;
    l->at = more;
    l->cap = cap;
  }
  l->at[l->n++] = v;
  return 0;
}

void pt_worker_left(pt_worker *w, unsigned listener, pt_source *source) {
  pt_source_leave(source);
  atomic_fetch_sub(&w->connected_to[listener], 1);
  atomic_fetch_sub(&w->connected, 1);
}

pt_chunk *pt_worker_scratch(pt_worker *w, uint32_t room) {
  pt_chunk *c = w->scratch;
  if (c && c->refs == 1)
    c->fill = 0;
  if (c && c->cap - c->fill >= room)
    return c;
  if (c)
    pt_chunk_unref(c);
  return w->scratch = pt_chunk_new(&w->pool, room > PT_CHUNK_LARGE ? room : PT_CHUNK_LARGE);
}

void pt_worker_clock(pt_worker *w) {
  w->now = pt_now_ns();
  w->now_us = (uint32_t)(w->now / 1000);
}

/* ---- the end of a turn ---- */

/* Works through a list that may grow meanwhile; fn gets open clients only. */
static void each(pt_worker *w, pt_list *l, void (*fn)(pt_client *)) {
  for (uint32_t i = 0; i < l->n; i++) {
    pt_client *c = pt_client_at(w, l->at[i]);
    if (c->gen & 1)
      fn(c);
  }
  l->n = 0;
}

static void resume(pt_client *c) {
  if (c->flags & PT_CLIENT_RESUME)
    pt_client_resume(c);
}

static void pump(pt_client *c) {
  if (c->flags & PT_CLIENT_PUMP)
    pt_retry_pump(c);
}

static void flush(pt_client *c) {
  if (c->flags & PT_CLIENT_DIRTY) {
    c->flags &= (uint16_t)~PT_CLIENT_DIRTY;
    pt_client_flush(c, false);
  }
}

static void flush_held(pt_client *c) {
  if (c->flags & PT_CLIENT_HELD) {
    c->flags &= (uint16_t)~PT_CLIENT_HELD;
    pt_client_flush(c, true);
  }
}

static void flush_links(pt_worker *w) {
  for (uint32_t i = 0; i < w->ndirty_links; i++) {
    pt_link *l = w->dirty_links[i];
    if (!l)
      continue;
    l->dirty = false;
    pt_link_flush(l);
  }
  w->ndirty_links = 0;
}

/* Few events while many requests are in flight: a short sleep lets requests of many clients arrive together, and one write serve them. */
static void coalesce(pt_worker *w) {
  if (w->coalesce_ns && w->inflight >= COALESCE_MIN && w->events && w->events < w->inflight / COALESCE_SHARE) {
    struct timespec t = {0, (long)w->coalesce_ns};
    nanosleep(&t, NULL);
  }
}

static void check_drain(pt_worker *w) {
  if (!w->draining)
    return;
  uint32_t busy = 0;
  for (uint32_t i = 0; i < w->nclients; i++) {
    pt_client *c = pt_client_at(w, i);
    if (!(c->gen & 1))
      continue;
    if (c->head == c->tail && !c->out.bytes && !c->in)
      pt_client_close(c, NULL);
    else
      busy++;
  }
  for (unsigned i = 0; i < w->nlisteners; i++)
    busy += w->mongos[i] ? pt_mongo_drain(w->mongos[i]) : 0;
  if (!busy || w->now >= w->drain_until)
    ev_break(w->loop, EVBREAK_ALL);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *p, int events) {
  (void)loop, (void)events;
  pt_worker *w = p->data;
  pt_memory_turn(w);
  do {
    each(w, &w->pump, pump);
    each(w, &w->resume, resume);
    flush_links(w);
    each(w, &w->dirty, flush);
  } while (w->pump.n || w->resume.n || w->ndirty_links);
  for (unsigned i = 0; i < w->nlisteners; i++) {
    if (w->mongos[i])
      pt_mongo_turn(w->mongos[i]);
    else if (w->svcs[i]->fences)
      pt_fence_check(w->svcs[i]);
  }
  pt_stream_bury(w);
  if (w->move.on)
    pt_move_turn(w);
  if (w->waiting && !ev_is_active(&w->retry_timer))
    ev_timer_again(w->loop, &w->retry_timer);
  check_drain(w);
  coalesce(w);
  w->events = 0;
}

static void on_check(struct ev_loop *loop, ev_check *c, int events) {
  (void)loop, (void)events;
  pt_worker *w = c->data;
  pt_worker_clock(w);
  w->turn++;
}

static void on_held(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  pt_worker *w = t->data;
  each(w, &w->held, flush_held);
}

static void on_retry(struct ev_loop *loop, ev_timer *t, int events) {
  (void)events;
  pt_worker *w = t->data;
  pt_retry_look_again(w);
  if (!w->waiting && !w->draining && !w->move.on) /* a drain or a move is looked at after every turn: the timer makes turns */
    ev_timer_stop(loop, t);
}

/* ---- the inbox ---- */

static void use_settings(pt_worker *w, const pt_config *cfg) {
  pt_access_configure(&w->access, cfg);
  w->coalesce_ns = cfg->coalesce * 1000;
  w->slow_us = cfg->admin.on && cfg->admin.slow && cfg->admin.slow < UINT32_MAX ? (uint32_t)cfg->admin.slow : UINT32_MAX;
}

static void adopt(pt_worker *w, pt_msg *m) {
  pt_mongo *mongo = w->mongos[m->listener];
  int e = -ECANCELED;
  if (!w->draining)
    e = mongo ? pt_mongo_client_open(mongo, m->fd, &m->from, m->id, m->source)
              : pt_client_open(w->svcs[m->listener], m->fd, &m->from, m->id, m->source);
  if (e)
    pt_worker_left(w, m->listener, m->source); /* pt_msg_free closes it */
  else
    m->fd = -1;
}

static void arrive(pt_worker *w, pt_msg *m) {
  int e = pt_move_arrive(w, m->listener, m->parcel, m->source);
  if (!e)
    return;
  pt_worker_left(w, m->listener, m->source);
  static pt_log_rate rate;
  pt_log_every(&rate, PT_LOG_ERROR, "upgrade", "a client of the old process is lost: %s", strerror(-e));
}

/* What the process before has counted goes on here. */
static void count_on(pt_worker *w, const uint64_t *totals) {
  atomic_ullong *cells = (atomic_ullong *)&w->n;
  for (unsigned i = 0; i < sizeof w->n / sizeof *cells; i++)
    atomic_fetch_add_explicit(&cells[i], totals[i], memory_order_relaxed);
}

static void configure(pt_worker *w, pt_msg *m) {
  for (unsigned i = 0; i < w->nlisteners; i++) {
    if (w->mongos[i])
      pt_mongo_configure(w->mongos[i], pt_config_ref(m->cfg), m->policies[i].affinity);
    else
      pt_service_configure(w->svcs[i], pt_config_ref(m->cfg), m->policies[i].route);
    m->policies[i] = (pt_listener_policy){0};
  }
  use_settings(w, m->cfg);
}

static void on_message(struct ev_loop *loop, ev_async *a, int events) {
  (void)events;
  pt_worker *w = a->data;
  for (pt_msg *m = pt_inbox_take(&w->inbox), *next; m; m = next) {
    next = m->next;
    switch (m->kind) {
    case PT_MSG_CLIENT:
      adopt(w, m);
      break;
    case PT_MSG_CONFIG:
      configure(w, m);
      break;
    case PT_MSG_CLUSTER:
      pt_service_apply(w->svcs[m->listener], m->cluster);
      m->cluster = NULL;
      break;
    case PT_MSG_BACKENDS:
      pt_mongo_apply(w->mongos[m->listener], m->backends);
      m->backends = NULL;
      break;
    case PT_MSG_LEAVE:
      pt_move_leave(w, m->outbox, m->round);
      break;
    case PT_MSG_LEFT:
      pt_move_left(w, m->taken);
      break;
    case PT_MSG_ARRIVE:
      arrive(w, m);
      break;
    case PT_MSG_BEGIN:
      pt_move_begin(w);
      break;
    case PT_MSG_TOTALS:
      count_on(w, m->totals);
      break;
    case PT_MSG_DRAIN:
      w->draining = true;
      w->drain_until = w->now + m->drain_ms * PT_NS_PER_MS;
      ev_timer_again(loop, &w->retry_timer);
      break;
    case PT_MSG_STOP:
      ev_break(loop, EVBREAK_ALL);
      break;
    }
    pt_msg_free(m);
  }
}

/* ---- life ---- */

void pt_worker_free(pt_worker *w) {
  for (pt_msg *m = pt_inbox_take(&w->inbox), *next; m; m = next) {
    next = m->next;
    pt_msg_free(m);
  }
  for (uint32_t i = 0; i < w->nclients; i++)
    pt_client_close(pt_client_at(w, i), NULL);
  pt_stream_bury(w);
  pt_retry_free_all(w);
  pt_fan_free_all(w);
  for (unsigned i = 0; i < w->nlisteners; i++) {
    if (w->svcs[i])
      pt_service_free(w->svcs[i]);
    if (w->mongos[i])
      pt_mongo_free(w->mongos[i]);
  }
  for (uint32_t i = 0; i < w->nclients; i += PT_CLIENT_BLOCK)
    free(w->clients[i / PT_CLIENT_BLOCK]);
  if (w->scratch)
    pt_chunk_unref(w->scratch);
  pt_access_free(&w->access);
  pt_pool_free(&w->pool);
  free(w->clients);
  free(w->svcs);
  free(w->mongos);
  free(w->connected_to);
  free(w->args);
  pt_move_free(w);
  free(w->dirty.at);
  free(w->held.at);
  free(w->resume.at);
  free(w->pump.at);
  free(w->dirty_links);
  pt_hall_free(&w->hall);
  if (w->loop)
    ev_loop_destroy(w->loop);
  free(w);
}

static void *run(void *arg) {
  pt_worker *w = arg;
  prctl(PR_SET_NAME, "puerta-worker");
  prctl(PR_SET_TIMERSLACK, 1);
  pt_worker_clock(w);
  ev_run(w->loop, 0);
  atomic_store(&w->ended, true);
  return NULL;
}

static void watchers(pt_worker *w) {
  ev_prepare_init(&w->prepare, on_prepare);
  ev_check_init(&w->check, on_check);
  ev_set_priority(&w->check, EV_MAXPRI); /* the time is taken before anything happens */
  ev_init(&w->held_timer, on_held);
  ev_timer_init(&w->retry_timer, on_retry, 0.005, 0.005);
  ev_async_init(&w->inbox.wake, on_message);
  w->prepare.data = w->check.data = w->held_timer.data = w->retry_timer.data = w->inbox.wake.data = w;
  w->inbox.loop = w->loop;
  ev_prepare_start(w->loop, &w->prepare);
  ev_check_start(w->loop, &w->check);
  ev_async_start(w->loop, &w->inbox.wake);
  pt_patience_start(w);
}

/* Takes the policy over when it succeeds. */
static int serve(pt_worker *w, unsigned i, pt_config *cfg, pt_listener_policy *p, const pt_subject *subject) {
  pt_config_ref(cfg);
  if (subject->mongo)
    w->mongos[i] = pt_mongo_new(w, i, cfg, p->affinity, subject->mongo);
  else
    w->svcs[i] = pt_service_new(w, i, cfg, p->route, subject->topology);
  if (!w->mongos[i] && !w->svcs[i]) {
    pt_config_unref(cfg);
    return -ENOMEM;
  }
  *p = (pt_listener_policy){0};
  return 0;
}

pt_worker *pt_worker_start(unsigned index, pt_config *cfg, pt_listener_policy *policies, const pt_subject *subjects,
                           pt_memory *memory, pt_greeter *greeter) {
  pt_worker *w = calloc(1, sizeof *w);
  if (!w)
    return NULL;
  w->index = index;
  pt_worker_clock(w);
  w->memory.all = memory;
  w->turn = 1;
  use_settings(w, cfg);
  pt_pool_init(&w->pool);
  w->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
  w->svcs = calloc(cfg->nlisteners, sizeof *w->svcs);
  w->mongos = calloc(cfg->nlisteners, sizeof *w->mongos);
  w->connected_to = calloc(cfg->nlisteners, sizeof *w->connected_to);
  if (!w->loop || !w->svcs || !w->mongos || !w->connected_to)
    goto fail;
  watchers(w);
  pt_hall_init(&w->hall, w->loop, greeter);
  for (; w->nlisteners < cfg->nlisteners; w->nlisteners++)
    if (serve(w, w->nlisteners, cfg, &policies[w->nlisteners], &subjects[w->nlisteners]))
      goto fail;
  if (pthread_create(&w->thread, NULL, run, w))
    goto fail;
  return w;
fail:
  pt_worker_free(w);
  return NULL;
}

void pt_worker_join(pt_worker *w) { pthread_join(w->thread, NULL); }
