#include "core/mongo/exchange.h"

#include "core/mongo/errors.h"
#include "core/mongo/pool.h"
#include "core/mongo/sample.h"

enum {
  MAX_ATTEMPTS = 8
};

static void lost(pt_exchange *x, const char *backend, const char *why) {
  pt_mongo *m = pt_exchange_mongo(x);
  bson_t doc = BSON_INITIALIZER;
  pt_count(&m->n.lost);
  if (x->cmd.verb == PT_MVERB_GET_MORE) /* it is told that there is no such cursor */
    pt_sessions_cursor_close(m->shared->sessions, x->cmd.cursor, pt_exchange_ms(x));
  pt_mongo_error_lost(m->worker, &doc, &x->cmd, backend, why);
  pt_exchange_answer(x, &doc);
  bson_destroy(&doc);
}

/* It cannot be done: tells whoever asked. */
static void give_up(pt_exchange *x, const char *backend, const char *why) {
  pt_segq_clear(&x->req);
  if (x->kind == PT_X_PART)
    pt_split_lost(x);
  else if (x->client->flags & PT_MC_LOAD_BALANCED)
    pt_mongo_client_fail(x->client, PT_E_BACKEND_LOST, "its backend is lost");
  else
    lost(x, backend, why);
}

/* ---- where to ---- */

static pt_session_key session(const pt_exchange *x) { return pt_place_lsid(pt_exchange_mongo(x), x->lsid); }

static void end_transaction(pt_exchange *x) {
  pt_sessions_txn(pt_exchange_mongo(x)->shared->sessions, session(x), pt_exchange_ms(x), x->cmd.txn_number, false);
}

/* By session, identity or load. Index, -1: none. What holds a session where it is, cursors or a transaction, is lost with its backend; only statements of that
 * transaction have nowhere else to go. A recoveryToken tells any mongos how it ended. */
static int choose(pt_exchange *x, uint32_t except) {
  pt_mongo *m = pt_exchange_mongo(x);
  const pt_mongo_command *cmd = &x->cmd;
  bool held;
  if (cmd->lsid && cmd->start_transaction)
    end_transaction(x); /* the one before it, if it was left open */
  x->pinned = cmd->in_transaction && !cmd->start_transaction && !x->recoverable;
  int i = pt_place_request(x->client, cmd->lsid, except, &held);
  if (held && !x->pinned && (i < 0 || !m->backends->at[i].up || m->backends->at[i].id == except)) {
    pt_sessions_drop(m->shared->sessions, PT_SESSION_LSID, session(x));
    i = pt_place_request(x->client, cmd->lsid, except, &held);
  }
  return i;
}

/* Index of its backend, -1: none. */
static int find(pt_exchange *x, uint32_t except) {
  pt_mongo *m = pt_exchange_mongo(x);
  if (!m->backends)
    return -1;
  if (x->kind != PT_X_PART && x->cmd.verb != PT_MVERB_GET_MORE) { /* those know theirs */
    if (!(x->client->flags & PT_MC_LOAD_BALANCED))
      return choose(x, except);
    x->backend = x->client->backend;
  }
  x->pinned = true;
  return pt_backends_index(m->backends, x->backend);
}

void pt_exchange_place(pt_exchange *x, uint32_t except) {
  pt_mongo *m = pt_exchange_mongo(x);
  int i = find(x, except);
  pt_mongo_pool *p = i >= 0 ? pt_mongo_pool_find(m, m->backends->at[i].id) : NULL;
  if (p) {
    x->backend = p->backend;
    pt_mongo_pool_checkout(p, x);
  } else if (x->pinned || x->kind == PT_X_PART) {
    give_up(x, "that served this", "it has left");
  } else {
    pt_exchange_overloaded(x, PT_E_NO_BACKEND, "no mongos is available");
  }
}

/* ---- what became of it ---- */

void pt_exchange_started(pt_exchange *x) {
  pt_mongo *m = pt_exchange_mongo(x);
  pt_session s;
  if (!x->cmd.lsid || !x->cmd.start_transaction || x->kind != PT_X_PASS)
    return;
  pt_session_key key = session(x);
  if (pt_sessions_claim(m->shared->sessions, PT_SESSION_LSID, key, pt_exchange_ms(x), x->backend, 0, &s) < 0)
    return; /* no memory to remember it: its next statement may go astray, and is told so by its mongos */
  if (s.backend != x->backend)
    pt_sessions_move(m->shared->sessions, PT_SESSION_LSID, key, pt_exchange_ms(x), s.backend, x->backend, true, &s);
  pt_sessions_txn(m->shared->sessions, key, pt_exchange_ms(x), x->cmd.txn_number, true);
}

void pt_exchange_unsent(pt_exchange *x, const char *backend, const char *why) {
  pt_mongo *m = pt_exchange_mongo(x);
  unsigned most = m->backends && m->backends->n < MAX_ATTEMPTS ? m->backends->n : MAX_ATTEMPTS;
  x->state = PT_X_IDLE;
  if (x->pinned || ++x->attempts >= most) {
    give_up(x, backend, why);
  } else {
    pt_count(&m->n.retried);
    pt_exchange_place(x, x->backend);
  }
}

void pt_exchange_lost(pt_exchange *x, const char *backend, bool begun, const char *why) {
  x->state = PT_X_IDLE;
  if (begun)
    pt_mongo_client_fail(x->client, PT_E_BROKE_OFF, "a reply broke off: its backend is lost");
  else
    give_up(x, backend, why);
}

void pt_exchange_overloaded(pt_exchange *x, pt_error e, const char *why) {
  bson_t doc = BSON_INITIALIZER;
  x->state = PT_X_IDLE;
  pt_segq_clear(&x->req);
  pt_count(&pt_exchange_mongo(x)->n.refused);
  if (x->kind == PT_X_PART) {
    pt_split_lost(x);
    return;
  }
  pt_mongo_error_overload(pt_exchange_mongo(x)->worker, e, &doc, &x->cmd, x->client->flags & PT_MC_BACKPRESSURE, why);
  pt_exchange_answer(x, &doc);
  bson_destroy(&doc);
}

void pt_exchange_answered(pt_exchange *x, int32_t code) {
  enum {
    CURSOR_NOT_FOUND = 43
  };
  pt_mongo *m = pt_exchange_mongo(x);
  if (x->cmd.lsid && (x->cmd.verb == PT_MVERB_COMMIT || x->cmd.verb == PT_MVERB_ABORT))
    end_transaction(x);
  if (x->cmd.verb == PT_MVERB_GET_MORE && code == CURSOR_NOT_FOUND)
    pt_sessions_cursor_close(m->shared->sessions, x->cmd.cursor, pt_exchange_ms(x));
  x->code = code;
  pt_exchange_done(x);
}

static int32_t code_of(const bson_t *doc) {
  bson_iter_t i;
  return bson_iter_init_find(&i, doc, "code") && BSON_ITER_HOLDS_INT32(&i) ? bson_iter_int32(&i) : 0;
}

void pt_exchange_answer(pt_exchange *x, const bson_t *doc) {
  pt_mongo_client *c = x->client;
  uint32_t gen = c->gen;
  if (x->sample)
    x->code = code_of(doc);
  if (x->kind != PT_X_UNACKED)
    pt_mongo_client_answer(c, x->opcode, x->request_id, doc);
  if (c->gen == gen && pt_exchange_push(x))
    pt_exchange_done(x);
}

static void measure(pt_exchange *x) {
  pt_mongo *m = pt_exchange_mongo(x);
  bool here = x->cmd.verb >= PT_MVERB_SASL_START || x->backend == PT_BACKEND_NONE; /* answered by nobody else */
  const pt_mongo_pool *p = here ? NULL : pt_mongo_pool_find(m, x->backend);
  x->timed = false;
  pt_mongo_measure(m, x->cmd.verb, x->stamp, pt_mongo_command_name(x->cmd.known), p ? p->name : "");
}

void pt_exchange_done(pt_exchange *x) {
  if (x->timed)
    measure(x);
  if (x->sample) {
    pt_mongo_sampled(pt_exchange_mongo(x), x->sample, x->backend, x->code);
    x->sample = NULL;
  }
  x->client->last = pt_exchange_mongo(x)->worker->now;
  x->state = PT_X_IDLE;
  x->kind = PT_X_PASS;
  x->attempts = 0;
  x->cursor = 0;
  pt_split_free(x->split);
  x->split = NULL;
  if (!x->working)
    pt_request_next(x->client);
}

bool pt_exchange_push(pt_exchange *x) {
  pt_mongo_client *c = x->client;
  uint32_t gen = c->gen;
  if (c->out.bytes > c->mongo->mc->buffer)
    pt_mongo_client_flush(c);
  else
    pt_mongo_client_write_later(c);
  return c->gen == gen;
}
