#include "core/mongo/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/mongo/intake.h"
#include "core/mongo/local.h"
#include "core/mongo/pool.h"
#include "core/mongo/sample.h"

enum {
  READ_ROOM = 16 * 1024,
  KEEP_MIN = 256, /* smallest buffer of an unfinished message */
  BELIEVE = 1024 * 1024, /* what a header promises is believed up to here; beyond it memory grows with what has come */
  HELD_MAX = 256 * 1024 * 1024, /* of all unfinished requests of a worker; above it large ones are cut */
  IDLE_MS = 2000 /* as a draining process does */
};

/* ---- input that has to wait ---- */

static void drop_input(pt_mongo_client *c) {
  if (c->in) {
    c->mongo->held -= c->in->cap;
    pt_chunk_unref(c->in);
  }
  c->in = NULL;
  c->in_off = c->in_len = c->need = 0;
}

/* Keeps n bytes at chunk->data + off: the start of a message of which c->need bytes are needed (0: unknown), or more behind it. */
static int keep(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  uint32_t need = c->need;
  if (chunk == c->in && chunk->cap - off >= (need > n ? need : n + READ_ROOM / 4)) {
    c->in_off = off;
  } else {
    size_t cap = need > n ? need : n < KEEP_MIN / 2 ? KEEP_MIN : (size_t)n * 2;
    size_t most = n > BELIEVE / 2 ? (size_t)n * 2 : BELIEVE;
    cap = cap < most ? cap : most;
    if (cap > BELIEVE && (c->mongo->held + cap > HELD_MAX || !pt_memory_room(c->mongo->worker, cap)))
      return -ENOBUFS;
    pt_chunk *own = pt_chunk_exact(&c->mongo->worker->pool, cap);
    if (!own)
      return -ENOMEM;
    memcpy(own->data, chunk->data + off, n);
    if (c->in) {
      c->mongo->held -= c->in->cap;
      pt_chunk_unref(c->in);
    }
    c->mongo->held += own->cap;
    c->in = own;
    c->in_off = 0;
  }
  c->in_len = n;
  return 0;
}

void pt_request_watch(pt_mongo_client *c) {
  const pt_exchange *x = c->exchange;
  uint64_t buffer = pt_mongo_buffer(c->mongo);
  bool reads = true;
  if ((c->flags & (PT_MC_EOF | PT_MC_CLOSING | PT_MC_AWAY)) || c->out.bytes > buffer)
    reads = false;
  else if (x->rest)
    reads = (x->link ? x->link->out.bytes : x->req.bytes) < buffer;
  else if (x->state != PT_X_IDLE || pt_memory_tight(c->mongo->worker))
    reads = c->in_len < buffer;
  pt_conn_watch(&c->conn, c->mongo->worker->loop, (reads ? EV_READ : 0) | (c->flags & PT_MC_BLOCKED_OUT ? EV_WRITE : 0));
}

/* ---- all that has come ---- */

/* Nothing more will come, and what is asked is answered. */
static void at_end(pt_mongo_client *c) {
  if (c->out.bytes) {
    c->flags |= PT_MC_CLOSING;
    pt_mongo_client_write_later(c);
  } else {
    pt_mongo_client_close(c, NULL);
  }
}

static void work(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  pt_exchange *x = c->exchange;
  uint32_t gen = c->gen;
  bool more = true;
  pt_chunk_ref(chunk);
  x->working = true;
  c->need = 0;
  while (n && more) {
    long used;
    if (x->rest)
      used = pt_intake_more(c, chunk, off, n);
    else if (x->state > PT_X_GATHER || c->out.bytes > c->mongo->mc->buffer || (c->flags & PT_MC_CLOSING))
      break;
    else
      used = pt_intake_message(c, chunk, off, n);
    if (used < 0)
      goto out;
    off += (uint32_t)used;
    n -= (uint32_t)used;
    more = used > 0;
    if (x->state == PT_X_GATHER && (!n || !more)) {
      pt_intake_send(x);
      if (c->gen != gen)
        goto out;
      more = x->state == PT_X_IDLE; /* over at once: what waited for it is looked at */
    }
  }
  x->working = false;
  if (!n)
    drop_input(c);
  else if (keep(c, chunk, off, n)) {
    pt_mongo_client_fail(c, PT_E_TOO_MANY_LARGE, "too many large requests, or out of memory");
    goto out;
  }
  if ((c->flags & PT_MC_EOF) && x->state == PT_X_IDLE)
    at_end(c);
  else
    pt_request_watch(c);
out:
  pt_chunk_unref(chunk);
}

void pt_request_next(pt_mongo_client *c) {
  if (c->flags & PT_MC_AWAY)
    pt_request_watch(c);
  else if (c->in && c->in_len >= c->need && c->out.bytes <= c->mongo->mc->buffer)
    work(c, c->in, c->in_off, c->in_len);
  else if (c->flags & PT_MC_EOF)
    at_end(c);
  else
    pt_request_watch(c);
}

/* ---- events ---- */

/* The client has ended its side. Unacknowledged writes it has sent are still passed on; nobody waits for anything else. */
static void on_end(pt_mongo_client *c) {
  pt_exchange *x = c->exchange;
  c->flags |= PT_MC_EOF;
  if (!x->rest && x->state != PT_X_IDLE && x->kind == PT_X_UNACKED)
    pt_request_watch(c);
  else if (!x->rest && x->state == PT_X_IDLE && c->out.bytes)
    at_end(c);
  else
    pt_mongo_client_close(c, NULL);
}

static void on_readable(pt_mongo_client *c) {
  if (c->in && c->in->cap - c->in_off - c->in_len < KEEP_MIN / 4 && keep(c, c->in, c->in_off, c->in_len)) {
    pt_mongo_client_fail(c, PT_E_TOO_MANY_LARGE, "too many large requests, or out of memory");
    return;
  }
  pt_chunk *chunk = c->in ? c->in : pt_worker_scratch(c->mongo->worker, READ_ROOM);
  if (!chunk) {
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
    return;
  }
  uint32_t at = c->in ? c->in_off + c->in_len : chunk->fill;
  ssize_t n = pt_conn_read(&c->conn, chunk->data + at, chunk->cap - at);
  if (n == -EAGAIN)
    return;
  if (n == 0) {
    on_end(c);
    return;
  }
  if (n < 0) {
    pt_mongo_client_broken(c, (int)n);
    return;
  }
  c->last = c->mongo->worker->now;
  c->moved += (uint64_t)n;
  c->received += (uint64_t)n;
  if (!c->in) {
    chunk->fill = at + (uint32_t)n;
    work(c, chunk, at, (uint32_t)n);
    return;
  }
  c->in_len += (uint32_t)n;
  if (c->exchange->state == PT_X_IDLE && c->in_len >= c->need)
    work(c, c->in, c->in_off, c->in_len);
  else
    pt_request_watch(c);
}

void pt_request_client_io(pt_mongo_client *c, int events) {
  uint32_t gen = c->gen;
  if (events & EV_WRITE) {
    pt_mongo_client_flush(c);
    if (c->gen != gen)
      return;
    pt_exchange *x = c->exchange;
    if (c->out.bytes <= c->mongo->mc->buffer / 2) {
      if (x->link)
        pt_mlink_resume(x->link);
      if (x->state == PT_X_IDLE)
        pt_request_next(c);
      else
        pt_request_watch(c);
    }
  }
  if ((events & EV_READ) && c->gen == gen && (pt_conn_watched(&c->conn) & EV_READ))
    on_readable(c);
}

/* ---- life ---- */

static pt_exchange *exchange_new(pt_mongo_client *c) {
  pt_exchange *x = calloc(1, sizeof *x);
  if (!x)
    return NULL;
  c->mongo->held += c->in ? c->in->cap : 0;
  x->client = c;
  x->compressor = -1;
  x->backend = PT_BACKEND_NONE;
  return c->exchange = x;
}

void pt_request_begin(pt_mongo_client *c, const pt_client_hello *h) {
  (void)h; /* it is read again with the others */
  if (exchange_new(c))
    pt_request_next(c);
  else
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
}

int pt_request_arrive(pt_mongo_client *c, const uint8_t *lsid) {
  pt_exchange *x = exchange_new(c);
  if (!x)
    return -ENOMEM;
  c->state = PT_MC_REQUESTS;
  x->has_session = lsid != NULL;
  if (lsid)
    memcpy(x->lsid, lsid, sizeof x->lsid);
  return 0;
}

void pt_request_end(pt_mongo_client *c) {
  pt_exchange *x = c->exchange;
  if (!x)
    return;
  c->exchange = NULL;
  drop_input(c);
  if (x->state == PT_X_QUEUED)
    pt_mongo_pool_forget(pt_mongo_pool_find(c->mongo, x->backend), x);
  if (x->link)
    pt_mlink_leave(x->link);
  pt_segq_clear(&x->req);
  pt_split_free(x->split);
  pt_local_free(x);
  pt_mongo_sampled(c->mongo, x->sample, x->backend, -1);
  free(x);
}

uint64_t pt_request_held(const pt_mongo_client *c) {
  const pt_exchange *x = c->exchange;
  return pt_segq_held(&x->req) + (x->link ? pt_segq_held(&x->link->out) + pt_chunk_held(x->link->kept) : 0);
}

bool pt_request_idle(const pt_mongo_client *c) {
  const pt_exchange *x = c->exchange;
  pt_session s;
  if (!x || x->state != PT_X_IDLE || x->rest || c->in_len || c->out.bytes)
    return !x;
  return !x->has_session ||
         !pt_sessions_find(c->mongo->shared->sessions, PT_SESSION_LSID, pt_place_lsid(c->mongo, x->lsid), pt_exchange_ms(x),
                           &s) ||
         (!s.in_txn && !s.uses);
}

/* A load balanced client lives and dies with its backend. false: closed. */
static bool look_bound(pt_mongo_client *c) {
  pt_mongo *m = c->mongo;
  if (!(c->flags & PT_MC_LOAD_BALANCED) || c->backend == PT_BACKEND_NONE || !m->backends)
    return true;
  int i = pt_backends_index(m->backends, c->backend);
  bool gone = i < 0 || !m->backends->at[i].up;
  bool leaves =
      !gone && m->backends->at[i].draining && pt_request_idle(c) && m->worker->now - c->last > (uint64_t)IDLE_MS * PT_NS_PER_MS;
  if (gone)
    pt_mongo_client_fail(c, PT_E_BACKEND_LOST, "its backend is lost");
  else if (leaves)
    pt_mongo_client_close(c, NULL);
  return !gone && !leaves;
}

void pt_request_tick(pt_mongo_client *c) {
  pt_mongo *m = c->mongo;
  const pt_exchange *x = c->exchange;
  bool idle = x->state == PT_X_IDLE, streams = !idle && x->cmd.exhaust; /* who reads a stream may take his time */
  if (pt_mongo_client_stalls(c, x->rest || (idle && c->in_len), !streams))
    return;
  if (idle && m->worker->now - c->last > m->mc->idle_timeout * PT_NS_PER_MS)
    pt_mongo_client_late(c, PT_E_IDLE_TIMEOUT, "it has sent nothing for the idle timeout");
  else if (look_bound(c) && c->exchange->wait)
    pt_local_look(c->exchange);
}

void pt_request_look(pt_mongo *m) {
  pt_mongo_pools_look(m);
  for (uint32_t i = 0; i < m->nclients; i++) {
    pt_mongo_client *c = pt_mongo_client_at(m, i);
    if ((c->gen & 1) && c->state == PT_MC_REQUESTS && look_bound(c) && c->exchange->wait)
      pt_local_look(c->exchange);
  }
}

void pt_request_turn(pt_mongo *m) { pt_mongo_pools_turn(m); }
void pt_request_pools_tick(pt_mongo *m) { pt_mongo_pools_tick(m); }
void pt_request_free(pt_mongo *m) { pt_mongo_pools_free(m); }
