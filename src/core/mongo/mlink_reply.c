/* What a link reads: the replies of the greeting, then those of its requests, passed on as they come, kept whole, or dropped. */
#include <endian.h>
#include <string.h>

#include "core/mongo/pool.h"
#include "wire/mongo_compress.h"

enum {
  READ_ROOM = 16 * 1024,
  HEAD = PT_MONGO_HEADER + 4, /* of a reply: what must be there before anything of it goes on */
  KEEP_MAX = 1024 * 1024 /* replies that are kept whole */
};

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
  if (h.length > KEEP_MAX || !(l->kept = pt_chunk_exact(&pt_mlink_worker(l)->pool, h.length))) {
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
  int e = pt_mongo_pack(p, n, (uint8_t)l->x->compressor, &pt_mlink_worker(l)->pool, &c);
  if (e)
    return e;
  e = pt_segq_ref(&l->x->client->out, c, 0, c->fill);
  pt_chunk_unref(c);
  return e;
}

/* Bytes of a reply for the client, which may close. */
static void pass(pt_mlink *l, pt_chunk *chunk, uint32_t off, uint32_t n, bool last) {
  pt_mongo_client *c = l->x->client;
  uint8_t *p = chunk->data + off;
  bool first = !l->begun;
  if (first)
    unseal(l, p);
  n = n < l->pass ? n : l->pass;
  l->pass -= n;
  if (!n)
    return;
  l->begun = true;
  int e = first && last && l->x->compressor >= 0 ? packed(l, p, n)
          : n <= PT_COPY_MAX                     ? pt_segq_copy(&c->out, &pt_mlink_worker(l)->pool, p, n, PT_CHUNK_SMALL)
                                                 : pt_segq_ref(&c->out, chunk, off, n);
  if (e)
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
  else
    pt_exchange_push(l->x);
}

/* The next message of the greeting is in out. */
static void say(pt_mlink *l) {
  pt_mlink_drop_kept(l);
  memset(&l->scan, 0, sizeof l->scan);
  pt_mlink_flush(l);
}

static void greet(pt_mlink *l) {
  pt_greet *g = l->greet;
  char why[sizeof g->error];
  switch (pt_greet_reply(g, l->kept->data, l->kept->fill, &l->out, &pt_mlink_worker(l)->pool)) {
  case PT_GREET_SEND:
    say(l);
    break;
  case PT_GREET_FAILED:
    memcpy(why, g->error, sizeof why);
    if (!g->legacy && !g->hello.ok && !pt_greet_start(g, g->mc, true, &l->out, &pt_mlink_worker(l)->pool))
      say(l); /* it may know isMaster only */
    else
      pt_mlink_cut(l, why);
    break;
  case PT_GREET_DONE:
    pt_mlink_drop_kept(l);
    pt_mlink_end_greeting(l);
    l->written = 0;
    l->pool->nconnecting--;
    pt_mongo_pool_ready(l);
    break;
  }
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
  if (x && l->pool->meter)
    pt_histogram_add(&l->pool->meter->latency, (uint32_t)((pt_mlink_worker(l)->now - l->since) / 1000), 1);
  if (x && x->kind == PT_X_PART) {
    pt_chunk *kept = l->kept;
    l->kept = NULL;
    pt_mlink_detach(l);
    if (rest || l->out.bytes)
      pt_mlink_cut(l, "it sent more than was asked");
    else
      pt_mongo_pool_ready(l);
    pt_split_reply(x, kept->data, kept->fill);
    pt_chunk_unref(kept);
    return;
  }
  bool unfinished = rest || l->out.bytes || (x && x->rest);
  pt_mlink_detach(l);
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
  l->since = pt_mlink_worker(l)->now;
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
      l->cursor_at = pt_mlink_worker(l)->now;
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
    } else if (l->x && l->x->kind == PT_X_PASS) {
      pass(l, chunk, off, (uint32_t)used, last); /* a client that closes meanwhile leaves the link: what still comes is dropped */
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
  if (n > PT_MLINK_LEFT || (n && l->state == PT_MLINK_IDLE))
    return "it sent what is no reply";
  memcpy(l->left, chunk->data + off, n);
  l->nleft = (uint8_t)n;
  return NULL;
}

void pt_mlink_read(pt_mlink *l) {
  pt_chunk *c = pt_worker_scratch(pt_mlink_worker(l), READ_ROOM);
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
    pt_mlink_cut(l, n ? pt_conn_error(&l->conn, (int)n) : "it closed the connection");
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
    else if (l->x && l->x->client->out.bytes > l->pool->mongo->mc->buffer) {
      l->stopped = true;
      l->since = pt_mlink_worker(l)->now;
      pt_mlink_watch(l);
    }
  }
  pt_chunk_unref(c);
}
