#include "core/mongo/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/log.h"
#include "core/mongo/errors.h"
#include "core/mongo/sasl.h"
#include "wire/mongo_compress.h"

enum {
  MAX_AWAIT_MS = 10 * 60 * 1000,
  ID_LEN = 12
};

struct pt_local_wait {
  pt_client_hello h;
  uint64_t until; /* ns */
  uint32_t view; /* what the client knows; another one is news */
  bool blind; /* no backend has answered yet: there is nothing to tell */
  bool stream; /* one answer after the other */
};

/* ---- the answer to a hello ---- */

static void append_names(bson_t *doc, const char *key, unsigned n, const char *const names[]) {
  bson_t list;
  bson_append_array_begin(doc, key, -1, &list);
  for (unsigned i = 0; i < n; i++) {
    char at[12];
    snprintf(at, sizeof at, "%u", i);
    bson_append_utf8(&list, at, -1, names[i], -1);
  }
  bson_append_array_end(doc, &list);
}

static void append_compression(bson_t *doc, uint8_t common) {
  const char *names[4];
  unsigned n = 0;
  for (unsigned id = PT_COMPRESS_SNAPPY; id <= PT_COMPRESS_ZSTD; id++)
    if (common & 1 << id)
      names[n++] = pt_compressor_name(id);
  if (n)
    append_names(doc, "compression", n, names);
}

/* Those of a user; of one who does not exist all there are, so that nobody can ask who does. */
static void append_mechanisms(bson_t *doc, const pt_local_facts *f, const char *sasl_user) {
  const char *dot = strchr(sasl_user, '.'), *names[2];
  unsigned mine = 0, all = 0, n = 0;
  for (unsigned i = 0; i < f->nusers; i++) {
    unsigned bit = !strncmp(f->users[i].verifier, "SCRAM-SHA-256$", 14) ? 2 : 1;
    all |= bit;
    if (dot && !strcmp(f->users[i].name, dot + 1))
      mine |= bit;
  }
  unsigned shown = mine ? mine : all;
  if (shown & 1)
    names[n++] = "SCRAM-SHA-1";
  if (shown & 2)
    names[n++] = "SCRAM-SHA-256";
  append_names(doc, "saslSupportedMechs", n, names);
}

static void append_version(bson_t *doc, const uint8_t *process_id, int64_t counter) {
  bson_t version;
  bson_oid_t id;
  memcpy(id.bytes, process_id, ID_LEN);
  bson_append_document_begin(doc, "topologyVersion", -1, &version);
  bson_append_oid(&version, "processId", -1, &id);
  bson_append_int64(&version, "counter", -1, counter);
  bson_append_document_end(doc, &version);
}

void pt_local_hello(bson_t *doc, const pt_local_facts *f, const pt_client_hello *h) {
  const pt_server_hello *s = f->hello;
  bson_append_bool(doc, h->legacy ? "ismaster" : "isWritablePrimary", -1, true);
  if (h->hello_ok)
    bson_append_bool(doc, "helloOk", -1, true);
  append_version(doc, f->process_id, f->counter);
  if (s->isdbgrid)
    bson_append_utf8(doc, "msg", -1, "isdbgrid", -1);
  bson_append_int32(doc, "maxBsonObjectSize", -1, s->max_bson);
  bson_append_int32(doc, "maxMessageSizeBytes", -1,
                    s->max_message < PT_MONGO_MAX_MESSAGE ? s->max_message : PT_MONGO_MAX_MESSAGE);
  bson_append_int32(doc, "maxWriteBatchSize", -1, s->max_batch);
  bson_append_date_time(doc, "localTime", -1, f->now);
  if (s->session_minutes >= 0)
    bson_append_int32(doc, "logicalSessionTimeoutMinutes", -1, s->session_minutes);
  bson_append_int32(doc, "connectionId", -1, f->connection);
  bson_append_int32(doc, "minWireVersion", -1, s->min_wire);
  bson_append_int32(doc, "maxWireVersion", -1, s->max_wire);
  bson_append_bool(doc, "readOnly", -1, false);
  append_compression(doc, f->compressors & h->compressors);
  if (h->sasl_user[0] && f->nusers)
    append_mechanisms(doc, f, h->sasl_user);
  if (f->service_id) {
    bson_oid_t id;
    memcpy(id.bytes, f->service_id, ID_LEN);
    bson_append_oid(doc, "serviceId", -1, &id);
  }
  bson_append_double(doc, "ok", -1, 1);
}

/* ---- serving one ---- */

static bool known(const pt_mongo *m) { return m->backends && m->backends->known; }

/* The backend's own process id, or one made of its name and how often it has come up. */
static void service_id(const pt_backend *b, uint8_t id[PT_SHA256]) {
  if (b->hello.has_topology_version) {
    memcpy(id, b->hello.process_id, ID_LEN);
    return;
  }
  const pt_piece pieces[] = {{b->name, strlen(b->name)}, {&b->epoch, sizeof b->epoch}};
  if (pt_sha256(pieces, 2, id))
    memset(id, 0, PT_SHA256);
}

/* A load balanced client is bound to a backend when it says hello. false: there is none. */
static bool bind_client(pt_mongo_client *c, uint8_t id[PT_SHA256]) {
  pt_mongo *m = c->mongo;
  int i = c->backend == PT_BACKEND_NONE ? pt_place_connection(c, PT_BACKEND_NONE) : pt_backends_index(m->backends, c->backend);
  if (i < 0)
    return false;
  service_id(&m->backends->at[i], id);
  return true;
}

/* Tells what is known now; of a stream, goes on waiting. */
static void tell(pt_exchange *x, const pt_client_hello *h, bool stream) {
  pt_mongo_client *c = x->client;
  pt_mongo *m = c->mongo;
  uint8_t id[PT_SHA256];
  struct timespec now;
  if ((c->flags & PT_MC_LOAD_BALANCED) && !bind_client(c, id)) {
    pt_mongo_client_fail(c, PT_E_NO_BACKEND, "no mongos is available for a load balanced client");
    return;
  }
  clock_gettime(CLOCK_REALTIME, &now);
  pt_local_facts f = {.hello = &m->backends->hello,
                      .process_id = m->shared->process_id,
                      .counter = m->backends->view,
                      .connection = (int32_t)(c->id & INT32_MAX),
                      .now = (int64_t)now.tv_sec * 1000 + now.tv_nsec / PT_NS_PER_MS,
                      .compressors = m->mc->compressors,
                      .service_id = c->flags & PT_MC_LOAD_BALANCED ? id : NULL,
                      .users = m->mc->users,
                      .nusers = m->mc->nusers};
  bson_t doc = BSON_INITIALIZER;
  int32_t mine = (int32_t)++m->next_id;
  pt_local_hello(&doc, &f, h);
  int e = pt_mongo_answer(&c->out, &m->worker->pool, x->opcode, mine, x->request_id, stream ? PT_MSG_MORE : 0, &doc);
  bson_destroy(&doc);
  if (e || (stream && c->out.bytes > m->mc->buffer)) {
    pt_mongo_client_fail(c, e ? PT_E_MEMORY : PT_E_UNREAD, e ? "out of memory" : "it does not read what its hello is told");
    return;
  }
  if (stream)
    x->request_id = mine;
  if (pt_exchange_push(x) && !stream)
    pt_exchange_done(x);
}

static void tell_leaving(pt_exchange *x) {
  pt_mongo *m = pt_exchange_mongo(x);
  bson_t doc = BSON_INITIALIZER;
  pt_mongo_error_leaving(m->worker, &doc);
  append_version(&doc, m->shared->process_id, (m->backends ? (int64_t)m->backends->view : 0) + 1);
  pt_exchange_answer(x, &doc);
  bson_destroy(&doc);
}

static void end_wait(pt_exchange *x) {
  free(x->wait);
  x->wait = NULL;
}

static uint64_t await_ns(const pt_client_hello *h) {
  int64_t ms = h->max_await_ms < MAX_AWAIT_MS ? h->max_await_ms : MAX_AWAIT_MS;
  return (uint64_t)ms * PT_NS_PER_MS;
}

static void wait_for_news(pt_exchange *x, const pt_client_hello *h, bool blind, bool stream) {
  pt_mongo *m = pt_exchange_mongo(x);
  pt_local_wait *w = x->wait = malloc(sizeof *w);
  if (!w) {
    pt_mongo_client_fail(x->client, PT_E_MEMORY, "out of memory");
    return;
  }
  *w = (pt_local_wait){.h = *h, .blind = blind, .stream = stream, .view = m->backends ? m->backends->view : 0};
  w->h.client = NULL;
  w->until = m->worker->now + (blind ? m->mc->pool_wait * PT_NS_PER_MS : await_ns(h));
  x->state = PT_X_LOCAL;
}

static void hello_known(pt_exchange *x, const pt_client_hello *h, bool stream) {
  pt_mongo *m = pt_exchange_mongo(x);
  pt_mongo_client *c = x->client;
  uint32_t gen = c->gen;
  bool same = h->awaitable && !memcmp(h->tv_process, m->shared->process_id, ID_LEN) && h->tv_counter == m->backends->view;
  if (!same)
    tell(x, h, stream);
  if (c->gen == gen && (same || stream))
    wait_for_news(x, h, false, stream);
}

void pt_local_look(pt_exchange *x) {
  pt_mongo *m = pt_exchange_mongo(x);
  pt_local_wait *w = x->wait;
  bool late = m->worker->now >= w->until;
  if (m->worker->draining) {
    end_wait(x);
    tell_leaving(x);
  } else if (w->blind && known(m)) {
    pt_client_hello h = w->h;
    bool stream = w->stream;
    end_wait(x);
    hello_known(x, &h, stream);
  } else if (w->blind && late) {
    pt_mongo_client_fail(x->client, PT_E_NO_CLUSTER, "no mongos has answered yet");
  } else if (!w->blind && (late || w->view != m->backends->view)) {
    pt_client_hello h = w->h;
    w->view = m->backends->view;
    w->until = m->worker->now + await_ns(&h);
    bool stream = w->stream;
    if (!stream)
      end_wait(x);
    tell(x, &h, stream);
  }
}

void pt_local_finish(pt_exchange *x) {
  pt_client_hello h = x->wait->h;
  if (x->wait->blind)
    return;
  end_wait(x);
  tell(x, &h, false);
}

static void hello(pt_exchange *x, const pt_mongo_message *msg, const pt_mongo_command *cmd) {
  pt_mongo *m = pt_exchange_mongo(x);
  pt_client_hello h;
  const char *why = NULL;
  bson_t doc = BSON_INITIALIZER;
  if (pt_client_hello_read(&h, msg, &why))
    pt_mongo_error_say(m->worker, PT_E_ARGUMENTS, &doc, 9, "FailedToParse", 0, "%s", why ? why : "broken hello");
  else if (h.half_awaitable)
    pt_mongo_error_say(m->worker, PT_E_ARGUMENTS, &doc, 51760, "Location51760", 0,
                       "topologyVersion and maxAwaitTimeMS must be given together");
  else if (h.awaitable && h.max_await_ms < 0)
    pt_mongo_error_say(m->worker, PT_E_ARGUMENTS, &doc, 51759, "Location51759", 0,
                       "maxAwaitTimeMS must be a non-negative integer");
  bool stream = cmd->exhaust && h.awaitable;
  if (!bson_empty(&doc))
    pt_exchange_answer(x, &doc);
  else if (m->worker->draining)
    tell_leaving(x);
  else if (known(m))
    hello_known(x, &h, stream);
  else
    wait_for_news(x, &h, true, stream);
  bson_destroy(&doc);
}

/* ---- authentication ---- */

static void refused(const pt_mongo_client *c, const char *user) {
  char where[PT_ADDRESS_TEXT];
  static pt_log_rate rate;
  pt_log_every(&rate, PT_LOG_WARN, "client", "%s: %s: authentication failed%s%.80s (%s)", c->mongo->lc->name,
               pt_mongo_client_where(c, where), user[0] ? " as " : "", user, pt_errors[PT_E_AUTHENTICATION].code);
}

static void authenticate(pt_exchange *x, const pt_mongo_message *msg, const pt_mongo_command *cmd) {
  pt_mongo_client *c = x->client;
  const pt_mongo_config *mc = c->mongo->mc;
  const char *user = "";
  bson_t doc = BSON_INITIALIZER;
  pt_sasl_result r = PT_SASL_REFUSED;
  if (cmd->verb == PT_MVERB_AUTHENTICATE)
    pt_mongo_error_say(c->mongo->worker, PT_E_AUTHENTICATION, &doc, 334, "MechanismUnavailable", 0,
                       "puerta authenticates with SCRAM only here");
  else if (!mc->nusers)
    pt_mongo_error_say(c->mongo->worker, PT_E_AUTHENTICATION, &doc, 18, "AuthenticationFailed", 0,
                       "Authentication failed: puerta has no users here");
  else if ((r = pt_sasl_step(&x->sasl, mc->users, mc->nusers, msg, cmd, &doc, &user)) == PT_SASL_REFUSED)
    pt_told_count(c->mongo->worker, PT_E_AUTHENTICATION); /* it has filled doc by itself */
  if (r == PT_SASL_IN)
    c->flags |= PT_MC_AUTHED;
  if (r == PT_SASL_REFUSED)
    refused(c, user);
  pt_exchange_answer(x, &doc);
  bson_destroy(&doc);
}

static void log_out(pt_exchange *x) {
  bson_t doc = BSON_INITIALIZER;
  x->client->flags &= (uint16_t)~PT_MC_AUTHED;
  bson_append_double(&doc, "ok", -1, 1);
  pt_exchange_answer(x, &doc);
  bson_destroy(&doc);
}

/* ---- all ---- */

bool pt_local_serve(pt_exchange *x, const pt_mongo_message *msg, const pt_mongo_command *cmd) {
  switch (cmd->verb) {
  case PT_MVERB_HELLO:
    pt_count(&pt_exchange_mongo(x)->n.local);
    hello(x, msg, cmd);
    return true;
  case PT_MVERB_SASL_START:
  case PT_MVERB_SASL_CONTINUE:
  case PT_MVERB_AUTHENTICATE:
    pt_count(&pt_exchange_mongo(x)->n.local);
    authenticate(x, msg, cmd);
    return true;
  case PT_MVERB_LOGOUT:
    pt_count(&pt_exchange_mongo(x)->n.local);
    log_out(x);
    return true;
  default:
    return false;
  }
}

void pt_local_free(pt_exchange *x) {
  end_wait(x);
  pt_sasl_free(x->sasl);
  x->sasl = NULL;
}
