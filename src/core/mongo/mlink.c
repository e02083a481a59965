#include "core/mongo/mlink.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mongo/pool.h"
#include "wire/mongo_compress.h"

enum {
  PIECES = 64,
  READ_ROOM = 16 * 1024,
  HEAD = PT_MONGO_HEADER + 4, /* of a reply: what must be there before anything of it goes on */
  KEEP_MAX = 1024 * 1024, /* replies that are kept whole */
  DROP_MAX = 1024 * 1024, /* of a reply whose client has gone */
  LEFT_MS = 5000 /* a request whose client has gone is given so long, as its mongos would end it */
};

static void on_io(struct ev_loop *loop, ev_io *io, int events);

static pt_worker *worker(const pt_mlink *l) { return l->pool->mongo->worker; }

static void watch(pt_mlink *l) {
  pt_conn_watch(&l->conn, worker(l)->loop, (l->stopped ? 0 : EV_READ) | (l->blocked ? EV_WRITE : 0));
}

/* ---- opening and closing ---- */

int pt_mlink_open(pt_mongo_pool *p) {
  int fd = p->address.len ? pt_connect(&p->address) : -EHOSTUNREACH;
  if (fd < 0)
    return fd;
  pt_mlink *l = calloc(1, sizeof *l);
  if (!l) {
    close(fd);
    return -ENOMEM;
  }
  l->pool = p;
  l->since = worker(l)->now;
  p->n++;
  p->nconnecting++;
  pt_mongo_pool_move(l, NULL, &p->others);
  pt_conn_open(&l->conn, worker(l)->loop, fd, EV_WRITE, on_io, l);
  return 0;
}

static void uncount(pt_mlink *l) {
  atomic_fetch_sub_explicit(&l->pool->mongo->shared->inflight[l->pool->backend], 1, memory_order_relaxed);
}

/* Takes the owner off. */
static pt_exchange *detach(pt_mlink *l) {
  pt_exchange *x = l->x;
  if (x) {
    x->link = NULL;
    l->x = NULL;
    uncount(l);
  }
  return x;
}

static void drop_kept(pt_mlink *l) {
  if (l->kept)
    pt_chunk_unref(l->kept);
  l->kept = NULL;
}

static void end_greeting(pt_mlink *l) {
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
  pt_exchange *x = detach(l);
  if (x && untouched) {
    x->req = l->out;
    l->out = (pt_segq){0};
  }
  pt_conn_close(&l->conn, m->worker->loop);
  pt_segq_clear(&l->out);
  drop_kept(l);
  end_greeting(l);
  if (x && !failed) {
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
  detach(l);
  l->since = worker(l)->now;
  drop_kept(l);
  l->keeping = false;
  if (l->stopped) {
    l->stopped = false;
    watch(l);
  }
  if (!l->written && !unacked) { /* as if it had never been asked */
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
           !l->x->rest)
    pt_mlink_cut(l, "the request timed out");
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
  l->since = worker(l)->now;
  memset(&l->scan, 0, sizeof l->scan);
  atomic_fetch_add_explicit(&l->pool->mongo->shared->inflight[l->pool->backend], 1, memory_order_relaxed);
  pt_mlink_write_later(l);
}

void pt_mlink_flush(pt_mlink *l) {
  l->dirty = false;
  while (l->out.bytes && !l->blocked) {
    struct iovec iov[PIECES];
    size_t total;
    unsigned pieces = pt_segq_iov(&l->out, 0, iov, PIECES, &total);
    ssize_t n = pt_conn_write(&l->conn, iov, pieces);
    if (n < 0 && n != -EAGAIN) {
      pt_mlink_cut(l, strerror((int)-n));
      return;
    }
    if (n > 0) {
      pt_segq_drop(&l->out, (uint64_t)n);
      l->written += (uint64_t)n;
    }
    if (n < (ssize_t)total) {
      l->blocked = true;
      watch(l);
    }
  }
  if (!l->out.bytes && (l->out.n || l->out.cap))
    pt_segq_clear(&l->out);
  if (l->x && l->x->rest)
    pt_request_watch(l->x->client);
}

void pt_mlink_resume(pt_mlink *l) {
  if (!l->stopped)
    return;
  l->stopped = false;
  watch(l);
}

/* ---- replies ---- */

static uint32_t le32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return le32toh(v);
}

static void put32(uint8_t *p, uint32_t v) {
  v = htole32(v);
  memcpy(p, &v, sizeof v);
}

/* The first bytes of a reply. 0, or -EPROTO. */
static int begin(pt_mlink *l, const uint8_t *p, const char **why) {
  pt_mongo_header h;
  if (pt_mongo_header_read(&h, p, PT_MONGO_MAX_MESSAGE, why))
    return -EPROTO;
  if (h.opcode != PT_OP_MSG && h.opcode != PT_OP_REPLY) {
    *why = "it sent what is no reply";
    return -EPROTO;
  }
  bool greeting = l->state == PT_MLINK_GREETING;
  bool asked = greeting || h.response_to == l->expect || !l->x || l->x->kind == PT_X_UNACKED;
  if (!asked || l->state == PT_MLINK_IDLE) {
    *why = "it sent a reply nobody asked for";
    return -EPROTO;
  }
  bool checksum = h.opcode == PT_OP_MSG && (le32(p + PT_MONGO_HEADER) & PT_MSG_CHECKSUM);
  l->pass = h.length - (checksum ? 4 : 0);
  l->keeping = greeting || (l->x && l->x->kind == PT_X_PART);
  if (!l->keeping)
    return 0;
  if (h.length > KEEP_MAX || !(l->kept = pt_chunk_exact(&worker(l)->pool, h.length))) {
    *why = h.length > KEEP_MAX ? "its reply is too long" : "out of memory";
    return -EPROTO;
  }
  return 0;
}

/* A reply leaves without its checksum. */
static void unseal(const pt_mlink *l, uint8_t *p) {
  if (l->scan.h.opcode == PT_OP_MSG && (l->scan.flags & PT_MSG_CHECKSUM)) {
    put32(p, l->pass);
    put32(p + PT_MONGO_HEADER, le32(p + PT_MONGO_HEADER) & ~(uint32_t)PT_MSG_CHECKSUM);
  }
}

/* A whole reply for a client that has packed its request. 0 or -ENOMEM. */
static int packed(pt_mlink *l, const uint8_t *p, uint32_t n) {
  pt_chunk *c;
  int e = pt_mongo_pack(p, n, (uint8_t)l->x->compressor, &worker(l)->pool, &c);
  if (e)
    return e;
  e = pt_segq_ref(&l->x->client->out, c, 0, c->fill);
  pt_chunk_unref(c);
  return e;
}

/* Bytes of a reply for the client. false: it has gone. */
static bool pass(pt_mlink *l, pt_chunk *chunk, uint32_t off, uint32_t n, bool last) {
  pt_mongo_client *c = l->x->client;
  uint8_t *p = chunk->data + off;
  bool first = !l->begun;
  if (first)
    unseal(l, p);
  n = n < l->pass ? n : l->pass;
  l->pass -= n;
  if (!n)
    return true;
  l->begun = true;
  int e = first && last && l->x->compressor >= 0 ? packed(l, p, n)
          : n <= PT_COPY_MAX                     ? pt_segq_copy(&c->out, &worker(l)->pool, p, n, PT_CHUNK_SMALL)
                                                 : pt_segq_ref(&c->out, chunk, off, n);
  if (e) {
    pt_mongo_client_close(c, "out of memory");
    return false;
  }
  if (!pt_exchange_push(l->x))
    return false;
  if (!last && c->out.bytes > l->pool->mongo->mc->buffer && !l->stopped) {
    l->stopped = true;
    watch(l);
  }
  return true;
}

static void greet(pt_mlink *l) {
  const char *why = NULL;
  switch (pt_greet_reply(l->greet, l->kept->data, l->kept->fill, &l->out, &worker(l)->pool)) {
  case PT_GREET_SEND:
    drop_kept(l);
    memset(&l->scan, 0, sizeof l->scan);
    pt_mlink_flush(l);
    return;
  case PT_GREET_FAILED:
    why = l->greet->error;
    break;
  case PT_GREET_DONE:
    break;
  }
  char text[sizeof l->greet->error];
  if (why) {
    memcpy(text, why, sizeof text);
    pt_mlink_cut(l, text);
    return;
  }
  drop_kept(l);
  end_greeting(l);
  l->written = 0;
  l->pool->nconnecting--;
  pt_mongo_pool_ready(l);
}

/* The reply's last byte is here and passed on; rest: bytes behind it. What becomes of the link afterwards is not ours to know. */
static void finish(pt_mlink *l, uint32_t rest) {
  int32_t code = l->scan.has_ok && !l->scan.ok ? l->scan.code : 0;
  pt_exchange *x = l->x;
  l->reading = false;
  if (l->state == PT_MLINK_GREETING) {
    if (rest)
      pt_mlink_cut(l, "it sent more than was asked");
    else
      greet(l);
    return;
  }
  if (x && x->kind == PT_X_PART) {
    pt_chunk *kept = l->kept;
    l->kept = NULL;
    detach(l);
    if (rest || l->out.bytes)
      pt_mlink_cut(l, "it sent more than was asked");
    else
      pt_mongo_pool_ready(l);
    pt_split_reply(x, kept->data, kept->fill);
    pt_chunk_unref(kept);
    return;
  }
  bool unfinished = rest || l->out.bytes || (x && x->rest);
  detach(l);
  if (unfinished)
    pt_mlink_cut(l, "it sent more than was asked");
  else
    pt_mongo_pool_ready(l);
  if (x)
    pt_exchange_answered(x, code);
}

/* A message has ended. false: it was the last. */
static bool goes_on(pt_mlink *l) {
  pt_mongo_scan *s = &l->scan;
  bool more = s->h.opcode == PT_OP_MSG && (s->flags & PT_MSG_MORE);
  bool stray = l->state == PT_MLINK_BUSY && s->h.response_to != l->expect; /* some answer what wants no answer */
  if (!more && !stray)
    return false;
  if (more)
    l->expect = s->h.request_id;
  if (more && l->x)
    l->x->expect = l->x->request_id = l->expect; /* an error of ours would come next in the chain */
  if (more && !l->x) /* nobody listens to that stream any more */
    l->doomed = true;
  l->begun = false;
  l->since = worker(l)->now;
  memset(s, 0, sizeof *s);
  return true;
}

/* The part of one message that is in n bytes. Returns how many, -1: it is none. */
static long scan(pt_mlink *l, uint8_t *p, uint32_t n, bool *last) {
  uint32_t done = 0;
  for (;;) {
    size_t used = 0;
    uint8_t *at;
    pt_scan_result r = pt_mongo_scan_feed(&l->scan, p + done, n - done, PT_MONGO_MAX_MESSAGE, &used, &at);
    if (r == PT_SCAN_BAD)
      return -1;
    done += (uint32_t)used;
    if (r == PT_SCAN_CURSOR && l->x && l->x->kind == PT_X_PASS && pt_cursor_reply(l->x, at))
      l->cursor_at = worker(l)->now;
    *last = r == PT_SCAN_END;
    if (r != PT_SCAN_CURSOR)
      return done;
  }
}

/* Passes on the replies in n bytes; keeps what makes no sense yet. NULL, or why the link is of no use any more. *ended: it has been given on. */
static const char *replies(pt_mlink *l, pt_chunk *chunk, uint32_t off, uint32_t n, bool *ended) {
  const char *why = NULL;
  while (n && !l->doomed) {
    if (!l->scan.seen && n < HEAD)
      break;
    if (!l->scan.seen && begin(l, chunk->data + off, &why))
      return why;
    bool last;
    long used = scan(l, chunk->data + off, n, &last);
    if (used < 0)
      return "it sent what is no reply";
    if (!used)
      break;
    if (l->kept) {
      memcpy(l->kept->data + l->kept->fill, chunk->data + off, (size_t)used);
      l->kept->fill += (uint32_t)used;
    } else if (l->x && l->x->kind == PT_X_PASS && !pass(l, chunk, off, (uint32_t)used, last)) {
      /* the client has closed, and left the link: what still comes is dropped */
    }
    off += (uint32_t)used;
    n -= (uint32_t)used;
    if (last && !l->doomed && !goes_on(l)) {
      *ended = true;
      finish(l, n);
      return NULL;
    }
  }
  if (l->doomed)
    return "its client has gone";
  if (n > PT_MLINK_LEFT)
    return "it sent what is no reply";
  memcpy(l->left, chunk->data + off, n);
  l->nleft = (uint8_t)n;
  return NULL;
}

static void on_readable(pt_mlink *l) {
  pt_chunk *c = pt_worker_scratch(worker(l), READ_ROOM);
  if (!c) {
    pt_mlink_cut(l, "out of memory");
    return;
  }
  uint32_t at = c->fill;
  memcpy(c->data + at, l->left, l->nleft);
  ssize_t n = pt_conn_read(&l->conn, c->data + at + l->nleft, c->cap - at - l->nleft);
  if (n == -EAGAIN)
    return;
  if (n <= 0) {
    pt_mlink_cut(l, n ? strerror((int)-n) : "it closed the connection");
    return;
  }
  uint32_t have = l->nleft + (uint32_t)n;
  c->fill = at + have;
  l->nleft = 0;
  pt_chunk_ref(c);
  bool ended = false;
  l->reading = true;
  const char *why = replies(l, c, at, have, &ended);
  if (!ended) {
    l->reading = false;
    if (why)
      pt_mlink_cut(l, why);
  }
  pt_chunk_unref(c);
}

/* ---- events ---- */

static void start_greeting(pt_mlink *l) {
  pt_mongo *m = l->pool->mongo;
  l->state = PT_MLINK_GREETING;
  l->greet = calloc(1, sizeof *l->greet);
  l->cfg = pt_config_ref(m->cfg);
  if (!l->greet || pt_greet_start(l->greet, m->mc, false, &l->out, &m->worker->pool)) {
    pt_mlink_cut(l, "out of memory");
    return;
  }
  watch(l);
  pt_mlink_flush(l);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop;
  pt_mlink *l = io->data;
  worker(l)->events++;
  if (l->state == PT_MLINK_CONNECTING) {
    int e = pt_connect_error(io->fd);
    if (e)
      pt_mlink_cut(l, strerror(-e));
    else
      start_greeting(l);
    return;
  }
  if (events & EV_WRITE) {
    l->blocked = false;
    watch(l);
    pt_mlink_write_later(l); /* at the end of this turn */
  }
  if (events & EV_READ)
    on_readable(l);
}
