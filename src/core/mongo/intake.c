#include "core/mongo/intake.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/mongo/errors.h"
#include "core/mongo/local.h"
#include "core/mongo/pool.h"
#include "core/mongo/sample.h"
#include "wire/mongo_compress.h"

enum {
  WHOLE_MAX = 1024 * 1024, /* commands that are changed or answered here */
  PING_BIT = 1 << 30 /* the id of a ping differs from those of the messages before it, which their driver counts up */
};

static long refuse(pt_mongo_client *c, const char *why) {
  pt_count(&c->mongo->n.refused);
  pt_mongo_client_fail(c, PT_E_BAD_MESSAGE, why);
  return -1;
}

static bool trusted(const pt_mongo_client *c) { return !c->mongo->mc->nusers || (c->flags & PT_MC_AUTHED); }

static __attribute__((format(printf, 5, 6))) void answer_error(pt_exchange *x, pt_error e, int code, const char *name,
                                                               const char *fmt, ...) {
  bson_t doc = BSON_INITIALIZER;
  char text[256];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  pt_mongo_error_say(pt_exchange_mongo(x)->worker, e, &doc, code, name, 0, "%s", text);
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

void pt_intake_send(pt_exchange *x) {
  x->state = PT_X_IDLE;
  if (!x->rest && append_ping(x, &x->req))
    pt_mongo_client_fail(x->client, PT_E_MEMORY, "out of memory");
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

/* "db.$cmd"; else it reads a collection, with servers that still know that. */
static bool is_command(const char *ns) {
  const char *dot = strchr(ns, '.');
  return dot && !strcmp(dot, ".$cmd");
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
  x->stamp = m->worker->now_us;
  x->timed = true;
  pt_count(&m->meter.requests);
  x->client->asked++;
}

/* An unacknowledged message. Those that say nothing to a backend are passed over in silence. Bytes taken, 0: not yet. */
static long gather(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n, const pt_mongo_message *msg,
                   const pt_mongo_command *cmd) {
  pt_exchange *x = c->exchange;
  uint32_t gen = c->gen;
  bool first = x->state == PT_X_IDLE, pinned;
  bool passes = trusted(c) && (cmd->verb == PT_MVERB_WRITE || cmd->verb == PT_MVERB_OTHER || cmd->verb == PT_MVERB_FIND);
  if (!first) {
    bool joins =
        passes && n == msg->h.length && !cmd->lsid && msg->h.request_id != x->expect && x->req.bytes < c->mongo->mc->buffer;
    int i = joins && !(c->flags & PT_MC_LOAD_BALANCED) ? pt_place_request(c, NULL, PT_BACKEND_NONE, &pinned) : -1;
    if (!joins || (i >= 0 && c->mongo->backends->at[i].id != x->backend))
      return 0;
    pt_count(&c->mongo->meter.requests);
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
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
    return -1;
  }
  if (passes && x->rest)
    pt_intake_send(x);
  return c->gen == gen ? (long)n : -1;
}

/* A request that is answered. */
static void serve(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n, const pt_mongo_message *msg,
                  const pt_mongo_command *cmd) {
  pt_exchange *x = c->exchange;
  if (pt_local_serve(x, msg, cmd))
    return;
  if (c->mongo->worker->access.every)
    x->sample = pt_mongo_sample(c, msg, cmd);
  if (!trusted(c) && !open_to_all(cmd)) {
    answer_error(x, PT_E_NOT_AUTHENTICATED, 13, "Unauthorized", "command %.80s requires authentication", cmd->name);
  } else if (msg->h.opcode == PT_OP_QUERY && !query_allows(cmd)) {
    answer_error(x, PT_E_UNSUPPORTED, 352, "UnsupportedOpQueryCommand",
                 "Unsupported OP_QUERY command: %.80s. The client driver may require an upgrade.", cmd->name);
  } else if (cmd->verb == PT_MVERB_KILL_CURSORS || cmd->verb == PT_MVERB_END_SESSIONS) {
    pt_split_begin(x, msg, cmd);
  } else if (cmd->verb == PT_MVERB_GET_MORE && !pt_cursor_route(x, chunk->data + off, msg, cmd)) {
    answer_error(x, PT_E_NO_CURSOR, 43, "CursorNotFound", "cursor id %lld not found", (long long)cmd->cursor);
  } else if (pt_segq_ref(&x->req, chunk, off, n)) {
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
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
  if (msg.ns && !is_command(msg.ns))
    return refuse(c, "OP_QUERY that is no command");
  if (!trusted(c)) { /* nothing is remembered for strangers */
    cmd.lsid = NULL;
    cmd.start_transaction = cmd.in_transaction = false;
  }
  uint32_t len = msg.h.length;
  if (is_ours(&cmd) && len > WHOLE_MAX)
    return refuse(c, "a command that is answered here is too long");
  if (!trusted(c) && len > PT_MONGO_MAX_HELLO)
    return refuse(c, "its message is too long for somebody who has not authenticated");
  if ((is_ours(&cmd) || !trusted(c)) && have < len) { /* strangers hold no link that others wait for */
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

long pt_intake_message(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t have) {
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

long pt_intake_more(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  pt_exchange *x = c->exchange;
  uint32_t take = n < x->rest ? n : x->rest;
  pt_segq *q = x->state == PT_X_SENT ? &x->link->out : x->state == PT_X_QUEUED ? &x->req : NULL;
  x->rest -= take;
  int e = q ? pt_segq_ref(q, chunk, off, take) : 0;
  if (q && !e && !x->rest && x->kind == PT_X_UNACKED)
    e = append_ping(x, q);
  if (e) {
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
    return -1;
  }
  if (x->state == PT_X_SENT) {
    x->link->since = c->mongo->worker->now; /* the reply may take its time from the last byte on */
    pt_mlink_write_later(x->link);
  }
  return take;
}
