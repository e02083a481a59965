/* What becomes of a client whose backend is lost, or that never gets one. */
#include <string.h>

#include "base/log.h"
#include "core/mongo/errors.h"
#include "core/mongo/pair_state.h"
#include "core/mongo/sample.h"

enum {
  HELD_MS = 1000 /* a connection that has lasted so long was a good one */
};

void pt_pair_detach(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  pt_conn_close(&p->conn, c->mongo->worker->loop);
  p->state = PT_PAIR_LOST;
  p->leave = p->down = p->strayed = false;
  pt_segq_clear(&p->out);
  if (p->in)
    pt_chunk_unref(p->in);
  p->in = NULL;
  memset(&p->scan, 0, sizeof p->scan);
  pt_mongo_sampled(c->mongo, p->sample, c->backend, -1);
  p->sample = NULL;
  pt_pair_forget(p);
  pt_place_release(c);
}

static int answer(pt_mongo_client *c, const pt_ask *a, const char *backend, const char *why) {
  pt_mongo *m = c->mongo;
  const pt_mongo_command cmd = {.verb = a->verb,
                                .name = "",
                                .db = "",
                                .in_transaction = a->flags & PT_ASK_TXN,
                                .txn_number = a->flags & PT_ASK_RETRYABLE ? 0 : -1,
                                .cursor = a->cursor};
  bson_t doc = BSON_INITIALIZER;
  pt_mongo_error_lost(m->worker, &doc, &cmd, backend, why);
  int e = pt_mongo_answer(&c->out, &m->worker->pool, a->opcode, (int32_t)++m->next_id, a->id, 0, &doc);
  bson_destroy(&doc);
  return e;
}

/* Tells all that wait. false: closed. A driver takes any answer but a good one to hello, and a lost connection too, for a dead server;
 * and who may wait or not must not get an answer that is taken for another's. */
static bool answer_all(pt_mongo_client *c, const char *backend, const char *why, atomic_ullong *counter) {
  pt_pair *p = c->pair;
  while (p->n) {
    const pt_ask *a = pt_pair_ask(p, 0);
    pt_count(counter);
    if (a->verb == PT_MVERB_HELLO || (a->flags & (PT_ASK_SEALED | PT_ASK_UNSEEN)) || answer(c, a, backend, why)) {
      pt_mongo_client_close(c, NULL);
      return false;
    }
    pt_pair_answered(p);
  }
  return true;
}

void pt_pair_finish(pt_mongo_client *c) {
  uint32_t gen = c->gen;
  c->pair->n = 0;
  c->flags |= PT_MC_CLOSING;
  pt_mongo_client_flush(c);
  if (c->gen == gen)
    pt_pair_watch(c);
}

/* All are told. Who cannot go on is closed when it has heard it, and not before it has sent what it is sending. */
static void go_on(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  uint32_t gen = c->gen;
  if (!p->movable && p->left)
    p->ending = true;
  else if (!p->movable)
    c->flags |= PT_MC_CLOSING;
  pt_mongo_client_flush(c);
  if (c->gen == gen)
    pt_pair_watch(c);
}

void pt_pair_lost(pt_mongo_client *c, uint32_t except, const char *why) {
  static pt_log_rate rate;
  pt_pair *p = c->pair;
  pt_mongo *m = c->mongo;
  char name[sizeof m->backends->at->name] = "that is gone";
  int i = m->backends ? pt_backends_index(m->backends, c->backend) : -1;
  uint32_t gen = c->gen;
  if (i >= 0)
    memcpy(name, m->backends->at[i].name, sizeof name);
  bool begun = p->scan.seen;
  pt_log_every(&rate, PT_LOG_INFO, "client", "%s: connection to mongos %s lost: %s", m->lc->name, name, why);
  if (m->worker->now - p->opened > (uint64_t)HELD_MS * PT_NS_PER_MS)
    p->tries = 0;
  pt_pair_detach(c);
  if (begun || (c->flags & (PT_MC_LOAD_BALANCED | PT_MC_EOF))) {
    if (begun)
      pt_mongo_client_fail(c, PT_E_BROKE_OFF, "its backend was lost in the middle of a reply");
    else
      pt_pair_finish(c);
    return;
  }
  if (pt_pair_only_hello(p) && p->hello && !p->left) {
    pt_pair_open(c, except);
    return;
  }
  if (!answer_all(c, name, why, &m->n.lost))
    return;
  go_on(c);
  if (c->gen == gen && p->movable && c->in_len)
    pt_pair_open(c, except);
}

void pt_pair_refuse(pt_mongo_client *c) {
  static pt_log_rate rate;
  static const char none[] = "no mongos can be reached";
  pt_mongo *m = c->mongo;
  uint32_t used = 1;
  pt_log_every(&rate, PT_LOG_WARN, "client", "%s: %s", m->lc->name, none);
  while (used) {
    const char *why = NULL;
    used = 0;
    if (c->in_len && pt_pair_requests(c, c->in->data + c->in_off, c->in_len, &used, &why)) {
      pt_mongo_client_fail(c, PT_E_BAD_MESSAGE, why);
      return;
    }
    if (!answer_all(c, "for this client", none, &m->n.refused))
      return;
    c->in_off += used;
    c->in_len -= used;
  }
  if (c->in && !c->in_len) {
    pt_chunk_unref(c->in);
    c->in = NULL;
  }
  pt_pair_forget(c->pair);
  go_on(c);
}
