/* Bytes from one socket to the other: one read, one write in the same callback; only what the kernel does not take is queued. */
#include <errno.h>
#include <string.h>

#include "core/mongo/pair_state.h"

enum {
  READ_ROOM = 16 * 1024, /* a read asks for at least this much */
  COPY = 8 * 1024 /* remainders up to this are copied: a large chunk is not kept for them */
};

void pt_pair_watch(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  struct ev_loop *loop = c->mongo->worker->loop;
  uint64_t most = pt_mongo_buffer(c->mongo);
  bool room = c->out.bytes < most, open = p->state == PT_PAIR_READY;
  bool reads = open ? p->out.bytes < most && !pt_pair_full(p) : p->state == PT_PAIR_LOST && room;
  if (c->flags & PT_MC_AWAY)
    reads = room = false;
  if (c->flags & (PT_MC_EOF | PT_MC_CLOSING))
    reads = false;
  pt_conn_watch(&c->conn, loop, (reads ? EV_READ : 0) | (c->flags & PT_MC_BLOCKED_OUT ? EV_WRITE : 0));
  if (p->state == PT_PAIR_CONNECTING)
    pt_conn_watch(&p->conn, loop, EV_WRITE);
  else if (p->state != PT_PAIR_LOST)
    pt_conn_watch(&p->conn, loop, (room ? EV_READ : 0) | (p->out.bytes ? EV_WRITE : 0));
}

/* Sends n bytes at chunk->data + off, or queues them. 0 or -errno. */
static int pass(pt_pool *pool, pt_conn *to, pt_segq *q, pt_chunk *chunk, uint32_t off, uint32_t n) {
  if (!q->bytes) {
    struct iovec iov = {chunk->data + off, n};
    ssize_t put = pt_conn_write(to, &iov, 1);
    if (put == (ssize_t)n)
      return 0;
    if (put < 0 && put != -EAGAIN)
      return (int)put;
    off += put > 0 ? (uint32_t)put : 0;
    n -= put > 0 ? (uint32_t)put : 0;
  }
  return n <= COPY ? pt_segq_copy(q, pool, chunk->data + off, n, PT_CHUNK_SMALL) : pt_segq_ref(q, chunk, off, n);
}

/* Reads behind the held bytes, which go into the scratch chunk first. *chunk, *off: where all of them are; how many were read, else as
 * pt_conn_read. */
static ssize_t fill(pt_worker *w, pt_conn *from, const uint8_t *held, uint32_t n, pt_chunk **chunk, uint32_t *off) {
  pt_chunk *s = pt_worker_scratch(w, n + READ_ROOM);
  if (!s)
    return -ENOMEM;
  *chunk = s;
  *off = s->fill;
  if (n)
    memcpy(s->data + s->fill, held, n);
  ssize_t got = pt_conn_read(from, s->data + s->fill + n, s->cap - s->fill - n);
  if (got > 0)
    s->fill += n + (uint32_t)got;
  return got;
}

/* ---- from the client ---- */

/* Keeps what is not sent on yet; c->in is empty. */
static int keep(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  if (chunk != c->mongo->worker->scratch) {
    c->in = pt_chunk_ref(chunk);
    c->in_off = off;
  } else {
    c->in = pt_chunk_exact(&c->mongo->worker->pool, n);
    if (!c->in)
      return -ENOMEM;
    memcpy(c->in->data, chunk->data + off, n);
    c->in_off = 0;
  }
  c->in_len = n;
  return 0;
}

static void drop_input(pt_mongo_client *c) {
  if (c->in)
    pt_chunk_unref(c->in);
  c->in = NULL;
  c->in_off = c->in_len = 0;
}

/* READY: n bytes at chunk->data + off. */
static void send_on(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  pt_pair *p = c->pair;
  uint32_t used = 0;
  const char *why = NULL;
  int e = pt_pair_requests(c, chunk->data + off, n, &used, &why);
  if (e || (used < n && keep(c, chunk, off + used, n - used))) {
    pt_mongo_client_fail(c, e ? PT_E_BAD_MESSAGE : PT_E_MEMORY, e ? why : "out of memory");
    return;
  }
  e = used ? pass(&c->mongo->worker->pool, &p->conn, &p->out, chunk, off, used) : 0;
  if (e)
    pt_pair_lost(c, c->backend, pt_conn_error(&p->conn, e));
  else
    pt_pair_watch(c);
}

void pt_pair_resume(pt_mongo_client *c) {
  pt_chunk *in = c->in;
  uint32_t off = c->in_off, n = c->in_len;
  if (!n || pt_pair_full(c->pair))
    return;
  c->in = NULL;
  c->in_off = c->in_len = 0;
  send_on(c, in, off, n);
  pt_chunk_unref(in);
}

/* LOST: the rest of a request that has been answered goes nowhere, the next one needs a backend. */
static void without_backend(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  pt_pair *p = c->pair;
  uint32_t drop = p->left < n ? p->left : n;
  p->left -= drop;
  if (p->ending && !p->left) {
    c->flags |= PT_MC_CLOSING;
    pt_mongo_client_flush(c);
  } else if (drop < n && keep(c, chunk, off + drop, n - drop)) {
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
  } else if (drop < n) {
    pt_pair_open(c, PT_BACKEND_NONE);
  }
}

/* The client has ended its side: what it has sent is still delivered and, when it waits for answers, answered. */
static void at_end(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  drop_input(c);
  c->flags |= PT_MC_EOF;
  if (p->state != PT_PAIR_READY || p->left || pt_pair_done(c)) {
    pt_pair_finish(c);
    return;
  }
  if (!p->out.bytes)
    pt_conn_end(&p->conn);
  pt_pair_watch(c);
}

void pt_pair_client_readable(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  pt_worker *w = c->mongo->worker;
  pt_chunk *chunk;
  uint32_t off, held = c->in_len;
  ssize_t n = fill(w, &c->conn, held ? c->in->data + c->in_off : NULL, held, &chunk, &off);
  if (n == -EAGAIN)
    return;
  if (n == 0) {
    at_end(c);
    return;
  }
  if (n < 0) {
    pt_mongo_client_broken(c, (int)n);
    return;
  }
  c->last = w->now;
  c->moved += (uint64_t)n;
  c->received += (uint64_t)n;
  drop_input(c);
  if (p->state == PT_PAIR_READY)
    send_on(c, chunk, off, held + (uint32_t)n);
  else
    without_backend(c, chunk, off, held + (uint32_t)n);
}

/* ---- from the backend ---- */

static int keep_reply(pt_mongo_client *c, const uint8_t *bytes, uint32_t n) {
  pt_chunk *in = pt_chunk_exact(&c->mongo->worker->pool, n);
  if (!in)
    return -ENOMEM;
  memcpy(in->data, bytes, n);
  in->fill = n;
  c->pair->in = in;
  return 0;
}

/* READY: n bytes at chunk->data + off. */
static void send_back(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  uint32_t used;
  if (pt_pair_replies(c, chunk->data + off, n, &used)) {
    c->pair->scan.seen = 1; /* nobody knows what it has answered */
    pt_pair_lost(c, c->backend, "it sends what is no MongoDB reply");
    return;
  }
  uint64_t waits = c->out.bytes;
  int e = used ? pass(&c->mongo->worker->pool, &c->conn, &c->out, chunk, off, used) : 0;
  c->direct += used - (c->out.bytes - waits);
  if (!e && used < n)
    e = keep_reply(c, chunk->data + off + used, n - used);
  if (e) {
    pt_mongo_client_broken(c, e);
    return;
  }
  if (c->out.bytes)
    c->flags |= PT_MC_BLOCKED_OUT;
  else if (pt_pair_done(c))
    pt_mongo_client_close(c, NULL);
}

/* A reply to hello is wanted whole first. Returns how many of the n bytes are dealt with; all, when the client is closed or placed
 * anew. */
static uint32_t take_hello(pt_mongo_client *c, const uint8_t *bytes, uint32_t n) {
  pt_pair *p = c->pair;
  bool again = p->state == PT_PAIR_GREETING;
  int took = pt_pair_hello_reply(c, bytes, n);
  if (took > 0 || (took == 0 && !again && !p->first))
    return (uint32_t)took;
  if (took == -EPROTO && again)
    pt_pair_failed(c, "it refuses the client's hello");
  else if (took < 0 || keep_reply(c, bytes, n))
    pt_mongo_client_fail(c,
                         took == -ENOTSUP  ? PT_E_BACKENDS_DIFFER
                         : took == -EPROTO ? PT_E_ODD_REPLY
                                           : PT_E_MEMORY,
                         took == -ENOTSUP  ? "another backend offers less than its first one"
                         : took == -EPROTO ? "its backend answered hello badly"
                                           : "out of memory");
  return n;
}

void pt_pair_backend_readable(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  pt_worker *w = c->mongo->worker;
  pt_chunk *chunk;
  uint32_t off, held = p->in ? p->in->fill : 0, gen = c->gen;
  ssize_t got = fill(w, &p->conn, held ? p->in->data : NULL, held, &chunk, &off);
  if (got == -EAGAIN)
    return;
  if (got <= 0) {
    const char *why = got == 0 ? "it closed the connection" : pt_conn_error(&p->conn, (int)got);
    if (p->state == PT_PAIR_GREETING)
      pt_pair_failed(c, why);
    else
      pt_pair_lost(c, c->backend, why);
    return;
  }
  uint32_t n = held + (uint32_t)got;
  c->last = w->now;
  if (held)
    pt_chunk_unref(p->in);
  p->in = NULL;
  if (p->state == PT_PAIR_GREETING || p->first) {
    uint32_t took = take_hello(c, chunk->data + off, n);
    if (c->gen != gen || p->state != PT_PAIR_READY)
      return;
    off += took;
    n -= took;
  }
  if (n)
    send_back(c, chunk, off, n);
  if (c->gen != gen || p->state != PT_PAIR_READY)
    return;
  if (c->in_len)
    pt_pair_resume(c);
  if (c->gen == gen)
    pt_pair_watch(c);
}

void pt_pair_backend_writable(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  int e = pt_conn_send(&p->conn, &p->out);
  if (e && e != -EAGAIN) {
    pt_pair_lost(c, c->backend, pt_conn_error(&p->conn, e));
    return;
  }
  if (pt_pair_done(c)) {
    pt_mongo_client_close(c, NULL);
    return;
  }
  if (!e && (c->flags & PT_MC_EOF))
    pt_conn_end(&p->conn);
  pt_pair_watch(c);
}
