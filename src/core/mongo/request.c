#include "core/mongo/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/mongo/local.h"
#include "core/mongo/pool.h"
#include "wire/mongo_compress.h"

enum {
  READ_ROOM = 16 * 1024,
  KEEP_MIN = 256, /* smallest buffer of an unfinished message */
  BELIEVE = 1024 * 1024, /* what a header promises is believed up to here; beyond it memory grows with what has come */
  WHOLE_MAX = 1024 * 1024, /* commands that are changed or answered here */
  PING_BIT = 1 << 30, /* the id of a ping differs from those of the messages before it, which their driver counts up */
  IDLE_MS = 2000
};

/* ---- input that has to wait ---- */

static void drop_input(pt_mongo_client *c) {
  if (c->in)
    pt_chunk_unref(c->in);
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
    pt_chunk *own = pt_chunk_exact(&c->mongo->worker->pool, cap < most ? cap : most);
    if (!own)
      return -ENOMEM;
    memcpy(own->data, chunk->data + off, n);
    if (c->in)
      pt_chunk_unref(c->in);
    c->in = own;
    c->in_off = 0;
  }
  c->in_len = n;
  return 0;
}

void pt_request_watch(pt_mongo_client *c) {
  const pt_exchange *x = c->exchange;
  uint64_t buffer = c->mongo->mc->buffer;
  bool reads = true;
  if ((c->flags & (PT_MC_EOF | PT_MC_CLOSING)) || c->out.bytes > buffer)
    reads = false;
  else if (x->rest)
    reads = (x->link ? x->link->out.bytes : x->req.bytes) < buffer;
  else if (x->state != PT_X_IDLE)
    reads = c->in_len < buffer;
  pt_conn_watch(&c->conn, c->mongo->worker->loop, (reads ? EV_READ : 0) | (c->flags & PT_MC_BLOCKED_OUT ? EV_WRITE : 0));
}

/* ---- one request ---- */

static long refuse(pt_mongo_client *c, const char *why) {
  char where[PT_ADDRESS_TEXT];
  static pt_log_rate rate;
  pt_count(&c->mongo->n.refused);
  pt_log_every(&rate, PT_LOG_WARN, "client", "%s: %s refused: %s", c->mongo->lc->name, pt_mongo_client_where(c, where), why);
  pt_mongo_client_close(c, NULL);
  return -1;
}

static bool trusted(const pt_mongo_client *c) { return !c->mongo->mc->nusers || (c->flags & PT_MC_AUTHED); }

static void answer_error(pt_exchange *x, int code, const char *name, const char *fmt, const char *what) {
  bson_t doc = BSON_INITIALIZER;
  char text[256];
  snprintf(text, sizeof text, fmt, what);
  pt_mongo_error(&doc, code, name, 0, "%s", text);
  pt_exchange_answer(x, &doc);
  bson_destroy(&doc);
}

/* Unacknowledged messages are followed by a ping of ours: when that is answered they have been dealt with. */
static int append_ping(pt_exchange *x, pt_segq *q) {
  bson_t doc = BSON_INITIALIZER;
  bson_append_int32(&doc, "ping", -1, 1);
  bson_append_utf8(&doc, "$db", -1, "admin", -1);
  int e = pt_mongo_command_write(q, &pt_exchange_mongo(x)->worker->pool, PT_OP_MSG, x->expect, &doc);
  bson_destroy(&doc);
  return e;
}

/* Sends what has been gathered. */
static void send_gathered(pt_exchange *x) {
  x->state = PT_X_IDLE;
  if (!x->rest && append_ping(x, &x->req))
    pt_mongo_client_close(x->client, "out of memory");
  else
    pt_exchange_place(x, PT_BACKEND_NONE);
}

/* Commands that OP_QUERY still carries; newer servers take no others either. */
static bool query_allows(const pt_mongo_command *cmd) {
  static const char *const names[] = {"ping", "buildInfo", "buildinfo", "whatsmyuri", "_isSelf"};
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(cmd->name, names[i]))
      return true;
  return cmd->verb == PT_MVERB_AUTHENTICATE;
}

/* What those may ask who have not said who they are. */
static bool open_to_all(const pt_mongo_command *cmd) {
  return cmd->verb == PT_MVERB_PING || !strcmp(cmd->name, "buildInfo") || !strcmp(cmd->name, "buildinfo");
}

static bool has_field(const pt_mongo_message *msg, const char *name) {
  bson_t doc;
  bson_iter_t i;
  return bson_init_static(&doc, msg->body, msg->body_len) && bson_iter_init_find(&i, &doc, name);
}

static void remember(pt_exchange *x, const pt_mongo_message *msg, const pt_mongo_command *cmd) {
  pt_mongo *m = pt_exchange_mongo(x);
  x->opcode = msg->h.opcode;
  x->request_id = x->expect = msg->h.request_id;
  x->cmd = *cmd;
  x->cmd.name = x->cmd.db = NULL;
  x->cmd.lsid = NULL;
  if (cmd->lsid) {
    memcpy(x->lsid, cmd->lsid, sizeof x->lsid);
    x->has_session = true;
    x->cmd.lsid = x->lsid;
  }
  x->recoverable = (cmd->verb == PT_MVERB_COMMIT || cmd->verb == PT_MVERB_ABORT) && has_field(msg, "recoveryToken");
  x->since = m->worker->now;
  pt_count(&m->n.messages);
}

/* An unacknowledged message. Those that say nothing to a backend are passed over in silence. Bytes taken, 0: not yet. */
static long gather(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n, const pt_mongo_message *msg,
                   const pt_mongo_command *cmd) {
  pt_exchange *x = c->exchange;
  uint32_t gen = c->gen;
  bool first = x->state == PT_X_IDLE, pinned;
  bool passes = trusted(c) && (cmd->verb == PT_MVERB_WRITE || cmd->verb == PT_MVERB_OTHER || cmd->verb == PT_MVERB_FIND);
  if (!first) {
    bool joins = passes && n == msg->h.length && !cmd->lsid && x->req.bytes < c->mongo->mc->buffer;
    int i = joins && !(c->flags & PT_MC_LOAD_BALANCED) ? pt_place_request(c, NULL, PT_BACKEND_NONE, &pinned) : -1;
    if (!joins || (i >= 0 && c->mongo->backends->at[i].id != x->backend))
      return 0;
  } else if (passes) {
    remember(x, msg, cmd);
    x->kind = PT_X_UNACKED;
    x->expect = msg->h.request_id ^ PING_BIT;
    x->state = PT_X_GATHER;
    int i = pt_place_request(c, x->cmd.lsid, PT_BACKEND_NONE, &pinned);
    x->backend = i < 0 ? PT_BACKEND_NONE : c->mongo->backends->at[i].id;
  }
  x->rest = msg->h.length - n;
  if (passes && pt_segq_ref(&x->req, chunk, off, n)) {
    pt_mongo_client_close(c, "out of memory");
    return -1;
  }
  if (passes && x->rest)
    send_gathered(x);
  return c->gen == gen ? (long)n : -1;
}

/* A request that is answered. */
static void serve(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n, const pt_mongo_message *msg,
                  const pt_mongo_command *cmd) {
  pt_exchange *x = c->exchange;
  if (pt_local_serve(x, msg, cmd))
    return;
  if (!trusted(c) && !open_to_all(cmd)) {
    answer_error(x, 13, "Unauthorized", "command %.80s requires authentication", cmd->name);
  } else if (msg->h.opcode == PT_OP_QUERY && !query_allows(cmd)) {
    answer_error(x, 352, "UnsupportedOpQueryCommand",
                 "Unsupported OP_QUERY command: %.80s. The client driver may require an upgrade.", cmd->name);
  } else if (cmd->verb == PT_MVERB_KILL_CURSORS || cmd->verb == PT_MVERB_END_SESSIONS) {
    pt_split_begin(x, msg, cmd);
  } else if (cmd->verb == PT_MVERB_GET_MORE && !pt_cursor_route(x, chunk->data + off, msg, cmd)) {
    bson_t doc = BSON_INITIALIZER;
    pt_mongo_error(&doc, 43, "CursorNotFound", 0, "cursor id %lld not found", (long long)cmd->cursor);
    pt_exchange_answer(x, &doc);
    bson_destroy(&doc);
  } else if (pt_segq_ref(&x->req, chunk, off, n)) {
    pt_mongo_client_close(c, "out of memory");
  } else {
    pt_exchange_place(x, PT_BACKEND_NONE);
  }
}

/* Is read or changed here, so it has to be whole. */
static bool is_ours(const pt_mongo_command *cmd) {
  switch (cmd->verb) {
  case PT_MVERB_HELLO:
  case PT_MVERB_SASL_START:
  case PT_MVERB_SASL_CONTINUE:
  case PT_MVERB_AUTHENTICATE:
  case PT_MVERB_LOGOUT:
  case PT_MVERB_GET_MORE:
  case PT_MVERB_KILL_CURSORS:
  case PT_MVERB_END_SESSIONS:
    return true;
  default:
    return false;
  }
}

/* The plain message at off, of which have bytes are there. Bytes taken, 0: more are needed (c->need), or it has to wait; -1: the client is closed. */
static long look(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t have, uint32_t max) {
  pt_exchange *x = c->exchange;
  const char *why = NULL;
  pt_mongo_message msg;
  pt_mongo_command cmd;
  int r = pt_mongo_parse(&msg, chunk->data + off, have, max, &why);
  if (r == PT_MONGO_MORE) {
    c->need = msg.need;
    return 0;
  }
  if (r < 0 || pt_mongo_command_read(&cmd, &msg, &why))
    return refuse(c, why ? why : "broken message");
  uint32_t len = msg.h.length;
  if (is_ours(&cmd) && len > WHOLE_MAX)
    return refuse(c, "a command that is answered here is too long");
  if (is_ours(&cmd) && have < len) {
    c->need = len;
    return 0;
  }
  uint32_t n = have < len ? have : len, gen = c->gen;
  if (msg.h.opcode == PT_OP_MSG && (msg.flags & PT_MSG_MORE))
    return gather(c, chunk, off, n, &msg, &cmd);
  if (x->state == PT_X_GATHER)
    return 0;
  remember(x, &msg, &cmd);
  x->rest = len - n;
  serve(c, chunk, off, n, &msg, &cmd);
  return c->gen == gen ? (long)n : -1;
}

/* The same for a packed one. */
static long look_packed(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t have, uint32_t len, uint32_t max) {
  const char *why = NULL;
  pt_chunk *plain;
  uint8_t by;
  if (!c->mongo->mc->compressors)
    return refuse(c, "a compressed message, though no compression was agreed on");
  if (have < len) {
    c->need = len;
    return 0;
  }
  int e = pt_mongo_unpack(chunk->data + off, len, max, &c->mongo->worker->pool, &plain, &by, &why);
  if (e)
    return refuse(c, why ? why : "out of memory");
  c->exchange->compressor = (int8_t)by;
  long r = look(c, plain, 0, plain->fill, max);
  pt_chunk_unref(plain);
  return r > 0 ? (long)len : r;
}

static long look_at(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t have) {
  const char *why = NULL;
  pt_mongo_header h;
  uint32_t max = trusted(c) ? PT_MONGO_MAX_MESSAGE : PT_MONGO_MAX_HELLO;
  c->need = 0;
  if (have < PT_MONGO_HEADER)
    return 0;
  if (pt_mongo_header_read(&h, chunk->data + off, max, &why))
    return refuse(c, why);
  if (c->exchange->state == PT_X_IDLE)
    c->exchange->compressor = -1;
  if (h.opcode == PT_OP_COMPRESSED)
    return look_packed(c, chunk, off, have, h.length, max);
  if (h.opcode != PT_OP_MSG && h.opcode != PT_OP_QUERY) {
    char text[64];
    snprintf(text, sizeof text, "%s is not supported", pt_mongo_opcode_name(h.opcode));
    return refuse(c, text);
  }
  return look(c, chunk, off, have, max);
}

/* More of a request that is on its way already; nobody waits for it any more when it has been answered with an error. Bytes taken, -1: closed. */
static long feed(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  pt_exchange *x = c->exchange;
  uint32_t take = n < x->rest ? n : x->rest;
  pt_segq *q = x->state == PT_X_SENT ? &x->link->out : x->state == PT_X_QUEUED ? &x->req : NULL;
  x->rest -= take;
  int e = q ? pt_segq_ref(q, chunk, off, take) : 0;
  if (q && !e && !x->rest && x->kind == PT_X_UNACKED)
    e = append_ping(x, q);
  if (e) {
    pt_mongo_client_close(c, "out of memory");
    return -1;
  }
  if (x->state == PT_X_SENT)
    pt_mlink_write_later(x->link);
  return take;
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
  long used = 1;
  pt_chunk_ref(chunk);
  x->working = true;
  c->need = 0;
  while (n && used > 0) {
    if (x->rest)
      used = feed(c, chunk, off, n);
    else if (x->state > PT_X_GATHER || c->out.bytes > c->mongo->mc->buffer || (c->flags & PT_MC_CLOSING))
      break;
    else
      used = look_at(c, chunk, off, n);
    if (used < 0)
      goto out;
    off += (uint32_t)used;
    n -= (uint32_t)used;
  }
  if (x->state == PT_X_GATHER)
    send_gathered(x);
  if (c->gen != gen)
    goto out;
  x->working = false;
  if (!n)
    drop_input(c);
  else if (keep(c, chunk, off, n)) {
    pt_mongo_client_close(c, "out of memory");
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
  if (c->in && c->in_len >= c->need && c->out.bytes <= c->mongo->mc->buffer)
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
    pt_mongo_client_close(c, "out of memory");
    return;
  }
  pt_chunk *chunk = c->in ? c->in : pt_worker_scratch(c->mongo->worker, READ_ROOM);
  if (!chunk) {
    pt_mongo_client_close(c, "out of memory");
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
    pt_mongo_client_close(c, n == -ECONNRESET ? NULL : strerror((int)-n));
    return;
  }
  c->last = c->mongo->worker->now;
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
  if ((events & EV_READ) && c->gen == gen && ev_is_active(&c->conn.io) && (c->conn.io.events & EV_READ))
    on_readable(c);
}

/* ---- life ---- */

void pt_request_begin(pt_mongo_client *c, const pt_client_hello *h) {
  (void)h; /* it is read again with the others */
  pt_exchange *x = calloc(1, sizeof *x);
  if (!x) {
    pt_mongo_client_close(c, "out of memory");
    return;
  }
  x->client = c;
  x->compressor = -1;
  x->backend = PT_BACKEND_NONE;
  c->exchange = x;
  pt_request_next(c);
}

void pt_request_end(pt_mongo_client *c) {
  pt_exchange *x = c->exchange;
  if (!x)
    return;
  c->exchange = NULL;
  if (x->state == PT_X_QUEUED)
    pt_mongo_pool_forget(pt_mongo_pool_find(c->mongo, x->backend), x);
  if (x->link)
    pt_mlink_leave(x->link);
  pt_segq_clear(&x->req);
  pt_split_free(x->split);
  pt_local_free(x);
  free(x);
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
  if (gone || leaves)
    pt_mongo_client_close(c, gone ? "its backend is lost" : NULL);
  return !gone && !leaves;
}

void pt_request_tick(pt_mongo_client *c) {
  pt_mongo *m = c->mongo;
  if (m->worker->now - c->last > m->mc->idle_timeout * PT_NS_PER_MS && c->exchange->state == PT_X_IDLE)
    pt_mongo_client_close(c, "it has sent nothing for the idle timeout");
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
