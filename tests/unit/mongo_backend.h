/* The other side of a greeting, for tests: answers hello, isMaster and SCRAM as a backend does, told how. A message in, a message out. */
#ifndef PT_TESTS_MONGO_BACKEND_H
#define PT_TESTS_MONGO_BACKEND_H

#include <string.h>

#include "wire/mongo_command.h"
#include "wire/scram.h"

#define BACKEND_USER "proxy"
#define BACKEND_PASSWORD "open sesame"

typedef struct backend {
  /* told */
  bool hello_fails; /* ok: 0 */
  bool no_op_msg; /* understands isMaster in OP_QUERY alone */
  bool secondary; /* not writable */
  bool no_mongos; /* no isdbgrid */
  uint8_t process; /* first byte of topologyVersion.processId, 0: no topologyVersion */
  int32_t max_batch; /* 0: 100000 */
  const char *mechanisms; /* saslSupportedMechs, one word; NULL: none told */
  int algorithm; /* of SCRAM; 0: every login is refused */
  bool needs_empty; /* does not end with the proof */
  bool lies; /* about the password it knows */
  /* seen */
  char last[32]; /* command */
  char db[32], mechanism[32], asked_user[64], compression[64];
  unsigned hellos, logins; /* by "hello"; that succeeded */
  pt_scram_server scram;
} backend;

static void backend_answer_hello(backend *b, bson_t *doc) {
  bson_t part, list;
  uint8_t process[12] = {b->process};
  bson_oid_t oid;
  if (b->hello_fails) {
    pt_mongo_error(doc, 91, "ShutdownInProgress", 0, "it is leaving");
    return;
  }
  bson_append_bool(doc, "ismaster", -1, !b->secondary);
  if (!b->no_mongos)
    bson_append_utf8(doc, "msg", -1, "isdbgrid", -1);
  if (b->process) {
    bson_append_document_begin(doc, "topologyVersion", -1, &part);
    bson_oid_init_from_data(&oid, process);
    bson_append_oid(&part, "processId", -1, &oid);
    bson_append_int64(&part, "counter", -1, 6);
    bson_append_document_end(doc, &part);
  }
  bson_append_int32(doc, "maxWriteBatchSize", -1, b->max_batch ? b->max_batch : 100000);
  bson_append_int32(doc, "minWireVersion", -1, 0);
  bson_append_int32(doc, "maxWireVersion", -1, 21);
  bson_append_int32(doc, "logicalSessionTimeoutMinutes", -1, 30);
  if (b->mechanisms) {
    bson_append_array_begin(doc, "saslSupportedMechs", -1, &list);
    bson_append_utf8(&list, "0", -1, b->mechanisms, -1);
    bson_append_array_end(doc, &list);
  }
  bson_append_double(doc, "ok", -1, 1);
}

static void backend_answer_sasl(backend *b, bson_t *doc, bool start, const char *payload, uint32_t n) {
  char out[PT_SCRAM_TEXT] = "";
  pt_scram_verifier v;
  int e = -EACCES;
  bool done = false;
  if (start && b->algorithm) {
    pt_scram_verifier_make(&v, b->algorithm, BACKEND_USER, b->lies ? "close sesame" : BACKEND_PASSWORD, 4096);
    e = pt_scram_server_first(&b->scram, b->algorithm, &v, NULL, payload, n, out, sizeof out);
  } else if (!start && n) {
    e = pt_scram_server_final(&b->scram, payload, n, out, sizeof out);
    done = !b->needs_empty;
  } else if (!start) {
    e = 0;
    done = true;
  }
  if (e) {
    pt_mongo_error(doc, 18, "AuthenticationFailed", 0, "Authentication failed.");
    return;
  }
  b->logins += done;
  bson_append_int32(doc, "conversationId", -1, 7);
  bson_append_bool(doc, "done", -1, done);
  bson_append_binary(doc, "payload", -1, BSON_SUBTYPE_BINARY, (const uint8_t *)out, (uint32_t)strlen(out));
  bson_append_double(doc, "ok", -1, 1);
}

/* Notes what a request says, and finds its payload. */
static void backend_look(backend *b, const pt_mongo_message *m, const char **payload, uint32_t *n) {
  bson_t doc;
  bson_iter_t i, k;
  *n = 0;
  *payload = "";
  b->db[0] = b->mechanism[0] = b->asked_user[0] = b->compression[0] = b->last[0] = 0;
  if (!bson_init_static(&doc, m->body, m->body_len) || !bson_iter_init(&i, &doc))
    return;
  while (bson_iter_next(&i)) {
    const char *key = bson_iter_key(&i);
    if (!b->last[0])
      snprintf(b->last, sizeof b->last, "%s", key);
    if (!strcmp(key, "$db"))
      snprintf(b->db, sizeof b->db, "%s", bson_iter_utf8(&i, NULL));
    else if (!strcmp(key, "mechanism"))
      snprintf(b->mechanism, sizeof b->mechanism, "%s", bson_iter_utf8(&i, NULL));
    else if (!strcmp(key, "saslSupportedMechs"))
      snprintf(b->asked_user, sizeof b->asked_user, "%s", bson_iter_utf8(&i, NULL));
    else if (!strcmp(key, "payload"))
      bson_iter_binary(&i, NULL, n, (const uint8_t **)payload);
    else if (!strcmp(key, "compression") && bson_iter_recurse(&i, &k))
      while (bson_iter_next(&k)) {
        size_t at = strlen(b->compression);
        snprintf(b->compression + at, sizeof b->compression - at, "%s ", bson_iter_utf8(&k, NULL));
      }
  }
}

/* Answers one whole request. 0, or -1: it is not understood, or has to be met by closing. */
static int backend_answer(backend *b, const uint8_t *p, size_t n, pt_segq *out, pt_pool *pool) {
  pt_mongo_message m;
  const char *why, *payload;
  uint32_t payload_n;
  if (pt_mongo_parse(&m, p, n, PT_MONGO_MAX_MESSAGE, &why) != PT_MONGO_OK)
    return -1;
  backend_look(b, &m, &payload, &payload_n);
  b->hellos += !strcmp(b->last, "hello");
  bson_t doc = BSON_INITIALIZER;
  if (m.h.opcode == PT_OP_MSG && b->no_op_msg && !strncmp(b->last, "hello", 5))
    pt_mongo_error(&doc, 59, "CommandNotFound", 0, "no such command: 'hello'");
  else if (!strcmp(b->last, "hello") || !strcmp(b->last, "isMaster"))
    backend_answer_hello(b, &doc);
  else if (!strcmp(b->last, "saslStart") || !strcmp(b->last, "saslContinue"))
    backend_answer_sasl(b, &doc, !strcmp(b->last, "saslStart"), payload, payload_n);
  else
    pt_mongo_error(&doc, 59, "CommandNotFound", 0, "no such command");
  int e = pt_mongo_answer(out, pool, m.h.opcode, 1000, m.h.request_id, 0, &doc);
  bson_destroy(&doc);
  return e;
}

#endif
