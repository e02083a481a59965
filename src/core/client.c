#include "core/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/reply.h"
#include "core/retry.h"
#include "core/route.h"
#include "core/stream.h"
#include "core/told.h"
#include "wire/handover.h"

enum {
  READ_ROOM = 16 * 1024, /* a read asks for at least this much */
  OUT_HIGH = 1024 * 1024, /* unread replies that stop the client's own requests */
  HOLD_MAX = 32 * 1024, /* a partly answered pipeline longer than this is not held back */
  BELIEVE = 1024 * 1024,
  KEEP_MIN = 256, /* smallest buffer of an unfinished frame */
  PIPELINE_TIGHT = 16 /* unanswered requests that are a long pipeline when memory is tight */
};

/* ---- opening and closing ---- */

static int more_clients(pt_worker *w) {
  if (w->nclients % (PT_CLIENT_BLOCK * 64) == 0) {
    size_t blocks = w->nclients / PT_CLIENT_BLOCK + 64;
    pt_client **more = realloc(w->clients, blocks * sizeof *more);
    if (!more)
      return -ENOMEM;
    w->clients = more;
  }
  pt_client *block = calloc(PT_CLIENT_BLOCK, sizeof *block);
  if (!block)
    return -ENOMEM;
  w->clients[w->nclients / PT_CLIENT_BLOCK] = block;
  for (unsigned i = PT_CLIENT_BLOCK; i-- > 0;) {
    block[i].index = w->nclients + i;
    block[i].conn.io.fd = -1;
    block[i].need = w->free_client;
    w->free_client = w->nclients + i + 1;
  }
  w->nclients += PT_CLIENT_BLOCK;
  return 0;
}

static void on_io(struct ev_loop *loop, ev_io *io, int events);
static pt_client *client_new(pt_service *s, int fd, uint64_t id, pt_source *source) {
  pt_worker *w = s->worker;
  if (!w->free_client && more_clients(w))
    return NULL;
  pt_client *c = pt_client_at(w, w->free_client - 1);
  w->free_client = c->need;
  uint32_t index = c->index, gen = c->gen + 1;
  memset(c, 0, sizeof *c);
  c->index = index;
  c->gen = gen;
  c->svc = s;
  c->proto = 2;
  c->id = id;
  c->source = source;
  c->since = c->last = w->now;
  c->flags = s->lc->nusers ? 0 : PT_CLIENT_AUTHED;
  pt_conn_open(&c->conn, w->loop, fd, EV_READ, on_io, c);
  pt_count(&s->meter.accepted);
  return c;
}

int pt_client_open(pt_service *s, int fd, const pt_address *from, uint64_t id, pt_source *source) {
  pt_client *c = client_new(s, fd, id, source);
  if (!c)
    return -ENOMEM;
  c->ip = from->sa.sa_family == AF_INET ? ntohl(from->in.sin_addr.s_addr) : 0;
  c->port = pt_address_port(from);
  pt_count(&s->worker->n.accepted);
  if (s->lc->tls && pt_conn_accept_tls(&c->conn, s->worker->loop, s->lc->tls, &s->worker->hall))
    pt_client_fail(c, PT_E_MEMORY, "out of memory");
  return 0;
}

pt_client *pt_client_arrive(pt_service *s, int fd, const pt_ho_redis *m, pt_source *source) {
  pt_chunk *in = m->input.n ? pt_chunk_exact(&s->worker->pool, m->input.n + KEEP_MIN) : NULL;
  pt_client *c = m->input.n && !in ? NULL : client_new(s, fd, m->id, source);
  if (!c) {
    if (in)
      pt_chunk_unref(in);
    return NULL;
  }
  c->ip = m->ip;
  c->port = m->port;
  c->since = m->since;
  c->proto = m->proto == 3 ? 3 : 2;
  c->flags |= PT_CLIENT_AWAY | (m->authed ? PT_CLIENT_AUTHED : 0);
  if (in) {
    memcpy(in->data, m->input.at, m->input.n);
    c->in = in;
    c->in_len = m->input.n;
  }
  pt_client_watch(c);
  return c;
}

static void drop_input(pt_client *c) {
  if (c->in)
    pt_chunk_unref(c->in);
  c->in = NULL;
  c->in_off = c->in_len = c->need = 0;
}

static char *peer(const pt_client *c, char out[PT_ADDRESS_TEXT]) {
  pt_address a = {.len = sizeof a.in6};
  if (getpeername(c->conn.io.fd, &a.sa, &a.len)) { /* it has gone: what is known of it */
    a.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(c->port), .sin_addr.s_addr = htonl(c->ip)};
    a.len = sizeof a.in;
  }
  return pt_address_format(&a, out, PT_ADDRESS_TEXT);
}

static void tell_access(const pt_client *c) {
  pt_worker *w = c->svc->worker;
  char where[PT_ADDRESS_TEXT];
  const pt_access_connection line = {c->svc->lc, peer(c, where), c->since, w->now, c->tail, c->received, c->moved - c->received};
  pt_access_closed(&w->access, &line);
}

void pt_client_fail(pt_client *c, pt_error e, const char *reason) {
  char who[128];
  if (!(c->gen & 1))
    return;
  snprintf(who, sizeof who, "%s: client %llu", c->svc->lc->name, (unsigned long long)c->id);
  pt_told_closed(c->svc->worker, e, who, reason);
  pt_client_close(c, NULL);
}

void pt_client_close(pt_client *c, const char *reason) {
  if (!(c->gen & 1))
    return;
  if (reason) {
    pt_client_fail(c, PT_E_OTHER, reason);
    return;
  }
  pt_worker *w = c->svc->worker;
  if (w->access.connections && !(c->flags & PT_CLIENT_AWAY))
    tell_access(c);
  w->access.why = NULL;
  pt_conn_close(&c->conn, w->loop);
  c->gen++;
  pt_retry_forget(c);
  pt_stream_forget(c);
  drop_input(c);
  pt_segq_clear(&c->out);
  for (uint32_t i = 0; c->ring && i <= c->mask; i++)
    pt_kept_clear(&c->ring[i]);
  free(c->ring);
  c->ring = NULL;
  free(c->name);
  free(c->user);
  c->name = c->user = NULL;
  c->need = w->free_client;
  w->free_client = c->index + 1;
  pt_worker_left(w, c->svc->index, c->source);
  pt_count(&w->n.closed);
  pt_count(&c->svc->meter.closed);
}

/* ---- the worker's lists ---- */

static void list(pt_client *c, uint16_t flag, pt_list *l) {
  if (c->flags & flag)
    return;
  if (pt_list_add(l, c->index))
    pt_client_fail(c, PT_E_MEMORY, "out of memory");
  else
    c->flags |= flag;
}

void pt_client_write_later(pt_client *c) {
  if (!(c->flags & (PT_CLIENT_DIRTY | PT_CLIENT_BLOCKED_OUT)))
    list(c, PT_CLIENT_DIRTY, &c->svc->worker->dirty);
}

void pt_client_resume_later(pt_client *c) { list(c, PT_CLIENT_RESUME, &c->svc->worker->resume); }
void pt_client_pump_later(pt_client *c) { list(c, PT_CLIENT_PUMP, &c->svc->worker->pump); }

/* ---- reading ---- */

void pt_client_watch(pt_client *c) {
  int reads = c->flags & (PT_CLIENT_BARRIER | PT_CLIENT_FULL | PT_CLIENT_EOF | PT_CLIENT_CLOSING | PT_CLIENT_AWAY) ? 0 : EV_READ;
  if (c->stream && !pt_stream_wants(c))
    reads = 0;
  pt_conn_watch(&c->conn, c->svc->worker->loop, reads | (c->flags & PT_CLIENT_BLOCKED_OUT ? EV_WRITE : 0));
}

uint64_t pt_client_held(const pt_client *c) {
  uint64_t held = pt_chunk_held(c->in) + pt_segq_held(&c->out) + c->parked + pt_stream_held(c);
  for (uint32_t i = 0; c->early && i <= c->mask; i++)
    for (unsigned k = 0, n = pt_kept_pieces(&c->ring[i]); k < n; k++)
      held += pt_chunk_held(pt_kept_piece(&c->ring[i], k).chunk);
  return held;
}

/* Memory is tight, and it has its share of it. */
static bool heavy(const pt_client *c) {
  return c->tail - c->head >= PIPELINE_TIGHT ||
         pt_chunk_held(c->in) + c->out.bytes + c->early + c->parked + pt_stream_held(c) > c->svc->worker->memory.small;
}

static bool full(const pt_client *c) {
  return c->tail - c->head >= c->svc->lc->max_pipeline || c->out.bytes + c->early + c->parked >= OUT_HIGH ||
         (pt_memory_tight(c->svc->worker) && heavy(c));
}

/* Keeps the n bytes at chunk->data + off that no request has been found in yet; need: what the frame will have at least, 0: unknown. */
static int keep(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t n, uint64_t need) {
  if (chunk == c->in && c->in->cap - off >= (need > n ? need : n + READ_ROOM / 4)) {
    c->in_off = off;
  } else {
    /* What a header promises is believed up to a point; beyond it memory grows with what has really come. */
    size_t cap = need > n ? need : n < KEEP_MIN / 2 ? KEEP_MIN : (size_t)n * 2;
    pt_worker *w = c->svc->worker;
    size_t believe = pt_memory_tight(w) ? w->memory.small : BELIEVE, most = n > believe / 2 ? (size_t)n * 2 : believe;
    cap = cap < most ? cap : most;
    if (cap > BELIEVE && !pt_memory_room(w, cap))
      return -ENOBUFS;
    pt_chunk *own = pt_chunk_exact(&w->pool, cap);
    if (!own)
      return -ENOMEM;
    memcpy(own->data, chunk->data + off, n);
    if (c->in)
      pt_chunk_unref(c->in);
    c->in = own;
    c->in_off = 0;
  }
  c->in_len = n;
  c->need = need > n ? (uint32_t)need : 0;
  return 0;
}

static const char no_room[] = "out of memory, or memory.max leaves no room for its request";

/* Looks for requests in n bytes at chunk->data + off, and keeps what is left. */
static void work(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  uint32_t gen = c->gen;
  uint64_t need = 0;
  pt_chunk_ref(chunk);
  uint32_t used = pt_route_input(c, chunk, off, n, &need);
  if (c->gen == gen) {
    if (used == n)
      drop_input(c);
    else if (need > c->svc->lc->max_request && !(c->flags & PT_CLIENT_BARRIER)) {
      pt_reply_error(c->svc->worker, pt_client_owner(c, c->tail++), PT_E_REQUEST_TOO_LARGE,
                     "ERR Protocol error: request larger than max_request");
      c->flags |= PT_CLIENT_CLOSING;
      drop_input(c);
    } else if (keep(c, chunk, off + used, n - used, c->flags & PT_CLIENT_BARRIER ? 0 : need)) /* it is looked at again then */
      pt_client_fail(c, PT_E_MEMORY, no_room);
  }
  if (c->gen == gen) {
    if (full(c))
      c->flags |= PT_CLIENT_FULL;
    if ((c->flags & PT_CLIENT_EOF) && !(c->flags & (PT_CLIENT_BARRIER | PT_CLIENT_FULL)))
      drop_input(c); /* the rest of this frame will never come */
    pt_client_watch(c);
  }
  pt_chunk_unref(chunk);
}

void pt_client_resume(pt_client *c) {
  c->flags &= (uint16_t)~PT_CLIENT_RESUME;
  if (((c->flags & PT_CLIENT_BARRIER) && c->head != c->tail) || (c->flags & PT_CLIENT_AWAY))
    return;
  if ((c->flags & PT_CLIENT_FULL) && full(c))
    return;
  c->flags &= (uint16_t)~PT_CLIENT_FULL;
  if (c->stream && !pt_stream_done(c)) {
    pt_client_watch(c);
    return;
  }
  c->flags &= (uint16_t)~PT_CLIENT_BARRIER;
  pt_stream_forget(c);
  if (c->in && c->in_len >= c->need)
    work(c, c->in, c->in_off, c->in_len);
  else
    pt_client_watch(c);
}

/* The peer has ended its side: it is answered what it is owed, then closed. */
static void at_end(pt_client *c) {
  c->flags |= PT_CLIENT_EOF;
  if (!(c->flags & (PT_CLIENT_BARRIER | PT_CLIENT_FULL)))
    drop_input(c);
  if ((c->stream && !pt_stream_ended(c)) || (c->head == c->tail && !c->out.bytes))
    pt_client_close(c, NULL);
  else
    pt_client_watch(c);
}

/* Its connection has failed. */
static void broken(pt_client *c, int e) {
  char where[PT_ADDRESS_TEXT];
  bool tls = c->conn.tls && (e == -EPROTO || e == -ETIMEDOUT);
  pt_conn_blame(&c->conn, e, c->svc->lc->name, peer(c, where));
  if (tls)
    pt_told_count(c->svc->worker, e == -EPROTO ? PT_E_TLS : PT_E_HANDSHAKE_TIMEOUT);
  if (tls || e == -ECONNRESET || e == -EPIPE)
    pt_client_close(c, NULL);
  else
    pt_client_fail(c, PT_E_CONNECTION, pt_conn_error(&c->conn, e));
}

/* A record of TLS, where none is expected: the start of a handshake. */
static bool speaks_tls(const uint8_t *p, size_t n) { return n > 2 && p[0] == 0x16 && p[1] == 3; }

static void refuse_tls(pt_client *c) {
  static pt_log_rate rate;
  char where[PT_ADDRESS_TEXT];
  pt_log_every(&rate, PT_LOG_WARN, "tls", "%s: %s: it speaks TLS, and this listener has no tls (%s)", c->svc->lc->name,
               peer(c, where), pt_errors[PT_E_TLS].code);
  pt_told_count(c->svc->worker, PT_E_TLS);
  pt_client_close(c, NULL);
}

static void on_readable(pt_client *c) {
  pt_worker *w = c->svc->worker;
  bool own = c->in && !c->stream;
  if (pt_memory_tight(w) && heavy(c)) {
    c->flags |= PT_CLIENT_FULL;
    pt_client_watch(c);
    return;
  }
  if (own && c->in->cap - c->in_off - c->in_len < KEEP_MIN / 4 && keep(c, c->in, c->in_off, c->in_len, c->need)) {
    pt_client_fail(c, PT_E_MEMORY, no_room);
    return;
  }
  pt_chunk *chunk = own ? c->in : pt_worker_scratch(w, READ_ROOM);
  if (!chunk) {
    pt_client_fail(c, PT_E_MEMORY, "out of memory");
    return;
  }
  uint32_t at = own ? c->in_off + c->in_len : chunk->fill;
  ssize_t n = pt_conn_read(&c->conn, chunk->data + at, chunk->cap - at);
  if (n == -EAGAIN)
    return;
  if (n == 0) {
    at_end(c);
    return;
  }
  if (n < 0) {
    broken(c, (int)n);
    return;
  }
  if (c->tail == 0 && speaks_tls(chunk->data + at, (size_t)n)) {
    refuse_tls(c);
    return;
  }
  c->last = w->now;
  c->moved += (uint64_t)n;
  c->received += (uint64_t)n;
  if (c->stream) {
    chunk->fill = at + (uint32_t)n;
    pt_stream_input(c, chunk, at, (uint32_t)n);
  } else if (own) {
    c->in_len += (uint32_t)n;
    if (c->in_len >= c->need)
      work(c, c->in, c->in_off, c->in_len);
  } else {
    chunk->fill = at + (uint32_t)n;
    work(c, chunk, at, (uint32_t)n);
  }
}

/* ---- writing ---- */

void pt_client_flush(pt_client *c, bool final) {
  pt_worker *w = c->svc->worker;
  if (c->head != c->tail && !final && c->out.bytes < HOLD_MAX && !(c->flags & PT_CLIENT_REPLY_PART)) {
    if (!(c->flags & PT_CLIENT_HELD) && !pt_list_add(&w->held, c->index)) {
      c->flags |= PT_CLIENT_HELD;
      if (!ev_is_active(&w->held_timer)) {
        ev_timer_set(&w->held_timer, 0.001, 0.);
        ev_timer_start(w->loop, &w->held_timer);
      }
    }
    if (c->flags & PT_CLIENT_HELD)
      return;
  }
  uint64_t before = c->out.bytes;
  int e = pt_conn_send(&c->conn, &c->out);
  c->moved += before - c->out.bytes;
  c->last = w->now;
  if (e && e != -EAGAIN) {
    broken(c, e);
    return;
  }
  if (!e != !(c->flags & PT_CLIENT_BLOCKED_OUT)) {
    c->flags ^= PT_CLIENT_BLOCKED_OUT;
    pt_client_watch(c);
  }
  if ((c->flags & PT_CLIENT_FULL) && !full(c))
    pt_client_resume_later(c);
  if (!e && (c->flags & (PT_CLIENT_CLOSING | PT_CLIENT_EOF)) && c->head == c->tail && !c->in && !c->stream)
    pt_client_close(c, NULL);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop;
  pt_client *c = io->data;
  uint32_t gen = c->gen;
  c->svc->worker->events++;
  if (events & EV_READ)
    on_readable(c);
  if ((events & EV_WRITE) && c->gen == gen)
    pt_client_flush(c, true);
}
