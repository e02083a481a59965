#include "core/mongo/mlink.h"

#include "core/mongo/errors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mongo/pool.h"

enum {
  DROP_MAX = 1024 * 1024, /* of a reply whose client has gone */
  LEFT_MS = 5000 /* a request whose client has gone is given so long, as its mongos would end it */
};

static void on_io(struct ev_loop *loop, ev_io *io, int events);

void pt_mlink_watch(pt_mlink *l) {
  pt_conn_watch(&l->conn, pt_mlink_worker(l)->loop, (l->stopped ? 0 : EV_READ) | (l->blocked ? EV_WRITE : 0));
}

/* ---- opening and closing ---- */

/* TLS, when the listener has it. 0 or -ENOMEM. */
static int secure(pt_mlink *l, const pt_mongo_pool *p) {
  pt_tls_context *tls = p->mongo->lc->backend_tls;
  char host[sizeof p->name];
  return tls ? pt_conn_connect_tls(&l->conn, p->mongo->worker->loop, tls, pt_backend_host(p->name, host), NULL, 0) : 0;
}

int pt_mlink_open(pt_mongo_pool *p) {
  int fd = p->address.len ? pt_connect(&p->address) : -EHOSTUNREACH;
  if (fd < 0)
    return fd;
  pt_mlink *l = calloc(1, sizeof *l);
  if (!l) {
    close(fd);
    return -ENOMEM;
  }
  pt_conn_open(&l->conn, p->mongo->worker->loop, fd, EV_WRITE, on_io, l);
  if (secure(l, p)) {
    pt_conn_close(&l->conn, p->mongo->worker->loop);
    free(l);
    return -ENOMEM;
  }
  l->pool = p;
  l->epoch = p->epoch;
  l->since = pt_mlink_worker(l)->now;
  p->n++;
  p->nconnecting++;
  pt_mongo_pool_move(l, NULL, &p->others);
  return 0;
}

static void uncount(pt_mlink *l) {
  atomic_fetch_sub_explicit(&l->pool->mongo->shared->inflight[l->pool->backend], 1, memory_order_relaxed);
}

pt_exchange *pt_mlink_detach(pt_mlink *l) {
  pt_exchange *x = l->x;
  if (x) {
    x->link = NULL;
    l->x = NULL;
    uncount(l);
  }
  return x;
}

void pt_mlink_drop_kept(pt_mlink *l) {
  if (l->kept)
    pt_chunk_unref(l->kept);
  l->kept = NULL;
}

void pt_mlink_end_greeting(pt_mlink *l) {
  if (l->greet)
    explicit_bzero(l->greet, sizeof *l->greet);
  free(l->greet);
  l->greet = NULL;
  pt_config_unref(l->cfg);
  l->cfg = NULL;
}

void pt_mlink_cut(pt_mlink *l, const char *why) {
  if (l->reading) { /* whoever reads does it */
    l->doomed = true;
    return;
  }
  pt_mongo *m = l->pool->mongo;
  uint32_t backend = l->pool->backend;
  char name[sizeof l->pool->name];
  memcpy(name, l->pool->name, sizeof name);
  bool failed = l->state < PT_MLINK_IDLE, begun = l->begun, untouched = !l->written;
  pt_exchange *x = pt_mlink_detach(l);
  if (x && untouched) {
    x->req = l->out;
    l->out = (pt_segq){0};
  }
  pt_conn_close(&l->conn, m->worker->loop);
  pt_segq_clear(&l->out);
  pt_mlink_drop_kept(l);
  pt_mlink_end_greeting(l);
  if (x && !failed && !l->slow) {
    int i = m->backends ? pt_backends_index(m->backends, backend) : -1;
    if (i >= 0)
      pt_place_failed(m, (unsigned)i, why);
  }
  pt_mongo_pool_gone(l, failed, why); /* frees it */
  if (x && untouched)
    pt_exchange_unsent(x, name, why);
  else if (x)
    pt_exchange_lost(x, name, begun, why);
}

void pt_mlink_leave(pt_mlink *l) {
  bool more = l->x && l->x->rest, exhaust = l->scan.flags & PT_MSG_MORE, unacked = l->x && l->x->kind == PT_X_UNACKED;
  uint32_t left = l->scan.seen ? l->scan.h.length - l->scan.seen : 0;
  pt_mlink_detach(l);
  l->since = pt_mlink_worker(l)->now;
  pt_mlink_drop_kept(l);
  l->keeping = false;
  if (l->stopped) {
    l->stopped = false;
    pt_mlink_watch(l);
  }
  if (!l->written && !unacked && !l->reading) { /* as if it had never been asked */
    pt_segq_clear(&l->out);
    l->dirty = false;
    pt_mongo_pool_ready(l);
  } else if (more || exhaust || left > DROP_MAX) {
    pt_mlink_cut(l, "its client has gone");
  }
}

void pt_mlink_tick(pt_mlink *l) {
  pt_mongo *m = l->pool->mongo;
  uint64_t age = (m->worker->now - l->since) / PT_NS_PER_MS;
  if (l->state < PT_MLINK_IDLE && age > m->mc->connect_timeout)
    pt_mlink_cut(l, l->state == PT_MLINK_CONNECTING ? "connecting timed out" : "it does not answer");
  else if (l->state == PT_MLINK_BUSY && !l->x && age > LEFT_MS)
    pt_mlink_cut(l, "its client has gone");
  else if (l->state == PT_MLINK_BUSY && l->x && m->mc->request_timeout && age > m->mc->request_timeout && !l->stopped &&
           !l->x->rest) {
    l->slow = true;
    pt_mlink_cut(l, pt_mongo_late);
  }
}

/* ---- requests ---- */

void pt_mlink_write_later(pt_mlink *l) { l->dirty = l->pool->dirty = true; }

void pt_mlink_send(pt_mlink *l, pt_exchange *x) {
  pt_segq_clear(&l->out);
  l->out = x->req;
  x->req = (pt_segq){0};
  x->link = l;
  l->x = x;
  l->state = PT_MLINK_BUSY;
  l->written = 0;
  l->begun = l->keeping = false;
  l->expect = x->expect;
  l->since = pt_mlink_worker(l)->now;
  memset(&l->scan, 0, sizeof l->scan);
  atomic_fetch_add_explicit(&l->pool->mongo->shared->inflight[l->pool->backend], 1, memory_order_relaxed);
  pt_mlink_write_later(l);
}

void pt_mlink_flush(pt_mlink *l) {
  l->dirty = false;
  if (l->blocked)
    return;
  uint64_t before = l->out.bytes;
  int e = pt_conn_send(&l->conn, &l->out);
  l->written += before - l->out.bytes;
  if (e && e != -EAGAIN) {
    pt_mlink_cut(l, pt_conn_error(&l->conn, e));
    return;
  }
  if (e) {
    l->blocked = true;
    pt_mlink_watch(l);
  }
  if (l->x && l->x->rest)
    pt_request_watch(l->x->client);
}

void pt_mlink_resume(pt_mlink *l) {
  if (!l->stopped)
    return;
  l->stopped = false;
  l->since = pt_mlink_worker(l)->now; /* its client was slow, not its backend */
  pt_mlink_watch(l);
}

/* ---- events ---- */

static void start_greeting(pt_mlink *l) {
  pt_mongo *m = l->pool->mongo;
  l->state = PT_MLINK_GREETING;
  l->greet = calloc(1, sizeof *l->greet);
  l->cfg = pt_config_ref(m->cfg);
  if (!l->greet || pt_greet_start(l->greet, m->mc, l->pool->legacy, &l->out, &m->worker->pool)) {
    pt_mlink_cut(l, "out of memory");
    return;
  }
  pt_mlink_watch(l);
  pt_mlink_flush(l);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop;
  pt_mlink *l = io->data;
  pt_mlink_worker(l)->events++;
  if (l->state == PT_MLINK_CONNECTING) {
    int e = pt_conn_connected(&l->conn);
    if (e)
      pt_mlink_cut(l, pt_conn_error(&l->conn, e));
    else
      start_greeting(l);
    return;
  }
  if (events & EV_WRITE) {
    l->blocked = false;
    pt_mlink_watch(l);
    pt_mlink_write_later(l); /* at the end of this turn */
  }
  if (events & EV_READ)
    pt_mlink_read(l);
}
