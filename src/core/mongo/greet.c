#include "core/mongo/greet.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wire/mongo_compress.h"

enum {
  STEP_HELLO,
  STEP_FIRST, /* saslStart is on its way */
  STEP_FINAL, /* saslContinue with the proof */
  STEP_EMPTY, /* one more, empty: servers that do not know skipEmptyExchange */
  STEP_END
};

static __attribute__((format(printf, 2, 3))) pt_greet_result fail(pt_greet *g, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(g->error, sizeof g->error, fmt, args);
  va_end(args);
  explicit_bzero(&g->scram, sizeof g->scram);
  g->step = STEP_END;
  return PT_GREET_FAILED;
}

static const char *source(const pt_greet *g) { return g->mc->backend_source ? g->mc->backend_source : "admin"; }

static bool logs_in(const pt_greet *g) { return g->mc->backend_user && g->mc->backend_password; }

/* Ends the document and queues it. */
static int queue(pt_greet *g, int opcode, bson_t *doc, pt_segq *out, pt_pool *pool) {
  int e = pt_mongo_command_write(out, pool, opcode, ++g->request_id, doc);
  bson_destroy(doc);
  return e;
}

/* ---- hello ---- */

static void append_client(bson_t *doc) {
  bson_t client, part;
  bson_append_document_begin(doc, "client", -1, &client);
  bson_append_document_begin(&client, "application", -1, &part);
  bson_append_utf8(&part, "name", -1, "puerta", -1);
  bson_append_document_end(&client, &part);
  bson_append_document_begin(&client, "driver", -1, &part);
  bson_append_utf8(&part, "name", -1, "puerta", -1);
  bson_append_utf8(&part, "version", -1, "1", -1);
  bson_append_document_end(&client, &part);
  bson_append_document_begin(&client, "os", -1, &part);
  bson_append_utf8(&part, "type", -1, "Linux", -1);
  bson_append_document_end(&client, &part);
  bson_append_document_end(doc, &client);
}

static void append_compressors(const pt_greet *g, bson_t *doc) {
  bson_t list;
  char key[4];
  unsigned n = 0;
  bson_append_array_begin(doc, "compression", -1, &list);
  for (unsigned id = PT_COMPRESS_SNAPPY; id <= PT_COMPRESS_ZSTD; id++) {
    if (!(g->mc->compressors & 1 << id))
      continue;
    snprintf(key, sizeof key, "%u", n++);
    bson_append_utf8(&list, key, -1, pt_compressor_name(id), -1);
  }
  bson_append_array_end(doc, &list);
}

int pt_greet_start(pt_greet *g, const pt_mongo_config *mc, bool legacy, pt_segq *out, pt_pool *pool) {
  *g = (pt_greet){.mc = mc, .legacy = legacy, .compress = g->compress};
  bson_t doc = BSON_INITIALIZER;
  bson_append_int32(&doc, legacy ? "isMaster" : "hello", -1, 1);
  bson_append_bool(&doc, "helloOk", -1, true);
  append_client(&doc);
  if (g->compress && mc->compressors)
    append_compressors(g, &doc);
  if (logs_in(g) && !mc->backend_mechanism) {
    char user[400];
    snprintf(user, sizeof user, "%s.%s", source(g), mc->backend_user);
    bson_append_utf8(&doc, "saslSupportedMechs", -1, user, -1);
  }
  if (!legacy)
    bson_append_utf8(&doc, "$db", -1, "admin", -1);
  return queue(g, legacy ? PT_OP_QUERY : PT_OP_MSG, &doc, out, pool);
}

/* ---- SCRAM ---- */

/* A whole word of a list with blanks. */
static bool offers(const char *list, const char *word) {
  size_t n = strlen(word);
  for (const char *p = list; (p = strstr(p, word)); p += n)
    if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
      return true;
  return false;
}

static int choose(const pt_greet *g) {
  int wish = g->mc->backend_mechanism;
  if (wish)
    return wish == 256 ? PT_SHA256 : PT_SHA1;
  return offers(g->hello.sasl_mechs, "SCRAM-SHA-256") ? PT_SHA256 : PT_SHA1;
}

static pt_greet_result start_login(pt_greet *g, pt_segq *out, pt_pool *pool) {
  char first[PT_SCRAM_TEXT];
  g->algorithm = choose(g);
  int e = pt_scram_client_first(&g->scram, g->algorithm, g->mc->backend_user, first, sizeof first);
  if (e)
    return fail(g, "authentication: %s", e == -EINVAL ? "no valid user name" : "no random bytes");
  bson_t doc = BSON_INITIALIZER, options;
  bson_append_int32(&doc, "saslStart", -1, 1);
  bson_append_utf8(&doc, "mechanism", -1, g->algorithm == PT_SHA256 ? "SCRAM-SHA-256" : "SCRAM-SHA-1", -1);
  bson_append_binary(&doc, "payload", -1, BSON_SUBTYPE_BINARY, (const uint8_t *)first, (uint32_t)strlen(first));
  bson_append_document_begin(&doc, "options", -1, &options);
  bson_append_bool(&options, "skipEmptyExchange", -1, true);
  bson_append_document_end(&doc, &options);
  bson_append_utf8(&doc, "$db", -1, source(g), -1);
  g->step = STEP_FIRST;
  return queue(g, PT_OP_MSG, &doc, out, pool) ? fail(g, "out of memory") : PT_GREET_SEND;
}

static pt_greet_result continue_login(pt_greet *g, const char *text, int step, pt_segq *out, pt_pool *pool) {
  bson_t doc = BSON_INITIALIZER;
  bson_append_int32(&doc, "saslContinue", -1, 1);
  bson_append_int32(&doc, "conversationId", -1, g->conversation);
  bson_append_binary(&doc, "payload", -1, BSON_SUBTYPE_BINARY, (const uint8_t *)text, (uint32_t)strlen(text));
  bson_append_utf8(&doc, "$db", -1, source(g), -1);
  g->step = (uint8_t)step;
  return queue(g, PT_OP_MSG, &doc, out, pool) ? fail(g, "out of memory") : PT_GREET_SEND;
}

/* What a reply to saslStart or saslContinue says. */
typedef struct sasl_reply {
  const char *payload;
  uint32_t n;
  int32_t conversation;
  bool done;
} sasl_reply;

static int read_sasl(sasl_reply *r, const pt_mongo_message *m) {
  bson_iter_t i;
  bson_t doc;
  *r = (sasl_reply){0};
  if (!bson_init_static(&doc, m->body, m->body_len) || !bson_iter_init(&i, &doc))
    return -EPROTO;
  while (bson_iter_next(&i)) {
    const char *key = bson_iter_key(&i);
    if (!strcmp(key, "payload") && BSON_ITER_HOLDS_BINARY(&i))
      bson_iter_binary(&i, NULL, &r->n, (const uint8_t **)&r->payload);
    else if (!strcmp(key, "conversationId") && BSON_ITER_HOLDS_NUMBER(&i))
      r->conversation = (int32_t)bson_iter_as_int64(&i);
    else if (!strcmp(key, "done"))
      r->done = bson_iter_as_bool(&i);
  }
  return r->payload ? 0 : -EPROTO;
}

static pt_greet_result logged_in(pt_greet *g) {
  explicit_bzero(&g->scram, sizeof g->scram);
  g->step = STEP_END;
  return PT_GREET_DONE;
}

static pt_greet_result on_sasl(pt_greet *g, const pt_mongo_message *m, pt_segq *out, pt_pool *pool) {
  sasl_reply r;
  char final[PT_SCRAM_TEXT];
  if (read_sasl(&r, m))
    return fail(g, "authentication: its answer has no payload");
  if (g->step == STEP_EMPTY)
    return r.done ? logged_in(g) : fail(g, "authentication: it does not end");
  if (g->step == STEP_FINAL) {
    if (pt_scram_client_verify(&g->scram, r.payload, r.n))
      return fail(g, "authentication: it does not prove that it knows the user");
    return r.done ? logged_in(g) : continue_login(g, "", STEP_EMPTY, out, pool);
  }
  if (r.done)
    return fail(g, "authentication: it ends too early");
  g->conversation = r.conversation;
  int e = pt_scram_client_final(&g->scram, g->mc->backend_user, g->mc->backend_password, r.payload, r.n, final, sizeof final);
  pt_greet_result result = e ? fail(g, "authentication: %s",
                                    e == -ENOMEM   ? "out of memory"
                                    : e == -EINVAL ? "no valid password"
                                                   : "not a SCRAM answer")
                             : continue_login(g, final, STEP_FINAL, out, pool);
  explicit_bzero(final, sizeof final);
  return result;
}

/* ---- replies ---- */

/* Every answer has ok, and code and errmsg when it is 0: what hello's reader finds. */
static pt_greet_result refused(pt_greet *g, const char *what, const pt_server_hello *h) {
  if (h->errmsg[0])
    return fail(g, "%s: %.100s", what, h->errmsg);
  return fail(g, "%s: error %d", what, (int)h->code);
}

pt_greet_result pt_greet_reply(pt_greet *g, const uint8_t *p, size_t n, pt_segq *out, pt_pool *pool) {
  pt_mongo_message m;
  pt_server_hello h;
  const char *why = NULL, *what = g->step == STEP_HELLO ? "hello" : "authentication";
  if (g->step == STEP_END)
    return fail(g, "it answers what was not asked");
  if (n < PT_MONGO_HEADER || pt_mongo_parse(&m, p, n, PT_MONGO_MAX_HELLO, &why) != PT_MONGO_OK || !m.body)
    return fail(g, "%s: not a MongoDB answer%s%s", what, why ? ": " : "", why ? why : "");
  if ((m.h.opcode != PT_OP_MSG && m.h.opcode != PT_OP_REPLY) || m.h.response_to != g->request_id)
    return fail(g, "%s: it answers something else", what);
  if (pt_server_hello_read(&h, &m, &why))
    return fail(g, "%s: not a MongoDB answer%s%s", what, why ? ": " : "", why ? why : "");
  if (!h.ok)
    return refused(g, what, &h);
  if (g->step != STEP_HELLO)
    return on_sasl(g, &m, out, pool);
  g->hello = h;
  if (logs_in(g))
    return start_login(g, out, pool);
  g->step = STEP_END;
  return PT_GREET_DONE;
}
