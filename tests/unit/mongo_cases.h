/* MongoDB messages for tests: documents written as JSON, messages put together byte by byte, copies in memory of their own size. */
#ifndef MONGO_CASES_H
#define MONGO_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/mongo.h"

enum {
  MAX = PT_MONGO_MAX_MESSAGE
};

typedef struct pt_text {
  uint8_t p[1 << 18];
  size_t n;
} pt_text;

static inline bson_t *json(const char *s) {
  bson_error_t e;
  bson_t *doc = bson_new_from_json((const uint8_t *)s, -1, &e);
  if (!doc)
    fail_msg("%s: %s", s, e.message);
  return doc;
}

static inline void put(pt_text *t, const void *p, size_t n) {
  assert_true(t->n + n <= sizeof t->p);
  memcpy(t->p + t->n, p, n);
  t->n += n;
}
static inline void put8(pt_text *t, uint8_t v) { put(t, &v, 1); }
static inline void put32(pt_text *t, uint32_t v) { put(t, &v, 4); }
static inline void put_doc(pt_text *t, const char *s) {
  bson_t *doc = json(s);
  put(t, bson_get_data(doc), doc->len);
  bson_destroy(doc);
}

static inline void begin(pt_text *t, int opcode) {
  t->n = 0;
  put32(t, 0);
  put32(t, 7);
  put32(t, 0);
  put32(t, (uint32_t)opcode);
}
static inline void set32(pt_text *t, size_t at, uint32_t v) { memcpy(t->p + at, &v, 4); }
static inline void end(pt_text *t) { set32(t, 0, (uint32_t)t->n); }

static inline void begin_msg(pt_text *t, uint32_t flags) {
  begin(t, PT_OP_MSG);
  put32(t, flags);
}
static inline void put_body(pt_text *t, const char *s) {
  put8(t, 0);
  put_doc(t, s);
}
/* A section of kind 1 with copies of one document. */
static inline void put_sequence(pt_text *t, const char *id, const char *doc, int copies) {
  put8(t, 1);
  size_t at = t->n;
  put32(t, 0);
  put(t, id, strlen(id) + 1);
  while (copies--)
    put_doc(t, doc);
  set32(t, at, (uint32_t)(t->n - at));
}
static inline void put_checksum(pt_text *t) {
  put32(t, 0);
  end(t);
  set32(t, t->n - 4, pt_crc32c(t->p, t->n - 4));
}

static inline void make_msg(pt_text *t, uint32_t flags, const char *s) {
  begin_msg(t, flags);
  put_body(t, s);
  end(t);
}
static inline void make_query(pt_text *t, const char *ns, const char *s) {
  begin(t, PT_OP_QUERY);
  put32(t, 4);
  put(t, ns, strlen(ns) + 1);
  put32(t, 0);
  put32(t, (uint32_t)-1);
  put_doc(t, s);
  end(t);
}
static inline void make_reply(pt_text *t, const char *s) {
  begin(t, PT_OP_REPLY);
  put32(t, 8);
  put32(t, 0);
  put32(t, 0);
  put32(t, 0);
  put32(t, s ? 1 : 0);
  if (s)
    put_doc(t, s);
  end(t);
}

/* A copy that ends where the memory ends, so that a read too far is seen. */
static inline uint8_t *copy_of(const void *p, size_t n) {
  uint8_t *copy = malloc(n ? n : 1);
  memcpy(copy, p, n);
  return copy;
}

/* Parses a copy of n bytes; pointers of m are gone afterwards. */
static inline int parse_copy(const pt_text *t, size_t n, pt_mongo_message *m) {
  const char *why = NULL;
  uint8_t *copy = copy_of(t->p, n);
  int e = pt_mongo_parse(m, copy, n, MAX, &why);
  assert_true(e == PT_MONGO_OK || e == PT_MONGO_MORE || (e == -EPROTO && why && *why));
  free(copy);
  return e;
}

#define LSID "\"lsid\": {\"id\": {\"$binary\": {\"base64\": \"AAECAwQFBgcICQoLDA0ODw==\", \"subType\": \"04\"}}}"
#define CLUSTER_TIME                                                                                                             \
  "\"$clusterTime\": {\"clusterTime\": {\"$timestamp\": {\"t\": 1700000000, \"i\": 1}}, \"signature\": {\"hash\": "              \
  "{\"$binary\": "                                                                                                               \
  "{\"base64\": \"AAAAAAAAAAAAAAAAAAAAAAAAAAA=\", \"subType\": \"00\"}}, \"keyId\": {\"$numberLong\": \"0\"}}}"
#define FIND                                                                                                                     \
  "{\"find\": \"orders\", \"filter\": {\"customer\": \"c-1\", \"state\": {\"$in\": [1, 2]}}, \"limit\": 10, " LSID               \
  ", " CLUSTER_TIME ", \"$db\": \"shop\"}"
#define CLIENT_PYMONGO                                                                                                           \
  "\"client\": {\"driver\": {\"name\": \"PyMongo|c\", \"version\": \"4.10.1\"}, \"os\": {\"type\": \"Linux\", \"name\": "        \
  "\"Linux\", "                                                                                                                  \
  "\"architecture\": \"x86_64\", \"version\": \"6.1.0-18-amd64\"}, \"platform\": \"CPython 3.11.2.final.0\", \"application\": "  \
  "{\"name\": "                                                                                                                  \
  "\"orders\"}}"
#define CLIENT_NODE                                                                                                              \
  "\"client\": {\"driver\": {\"name\": \"nodejs\", \"version\": \"6.12.0\"}, \"platform\": \"Node.js v20.11.0, LE\", \"os\": "   \
  "{\"name\": "                                                                                                                  \
  "\"linux\", \"architecture\": \"x64\", \"version\": \"6.1.0-18-amd64\", \"type\": \"Linux\"}, \"application\": {\"name\": "    \
  "\"orders\"}}"
#define CLIENT_GO                                                                                                                \
  "\"client\": {\"driver\": {\"name\": \"mongo-go-driver\", \"version\": \"1.17.1\"}, \"os\": {\"type\": \"linux\", "            \
  "\"architecture\": "                                                                                                           \
  "\"amd64\"}, \"platform\": \"go1.22.5\", \"env\": {\"container\": {\"orchestrator\": \"kubernetes\"}}}"
#define SPECULATIVE                                                                                                              \
  "\"saslSupportedMechs\": \"admin.app\", \"speculativeAuthenticate\": {\"saslStart\": 1, \"mechanism\": \"SCRAM-SHA-256\", "    \
  "\"payload\": {\"$binary\": {\"base64\": \"biwsbj1hcHAscj1hYmM=\", \"subType\": \"00\"}}, \"db\": \"admin\"}"
/* What a mongos answers. */
#define SERVER_HELLO                                                                                                             \
  "{\"ismaster\": true, \"msg\": \"isdbgrid\", \"topologyVersion\": {\"processId\": {\"$oid\": \"650000000000000000000001\"}, "  \
  "\"counter\": {\"$numberLong\": \"3\"}}, \"maxBsonObjectSize\": 16777216, \"maxMessageSizeBytes\": 48000000, "                 \
  "\"maxWriteBatchSize\": "                                                                                                      \
  "100000, \"localTime\": {\"$date\": {\"$numberLong\": \"1700000000000\"}}, \"logicalSessionTimeoutMinutes\": 30, "             \
  "\"connectionId\": 17, "                                                                                                       \
  "\"maxWireVersion\": 21, \"minWireVersion\": 0, \"compression\": [\"snappy\", \"zstd\", \"zlib\"], \"saslSupportedMechs\": "   \
  "[\"SCRAM-SHA-1\", \"SCRAM-SHA-256\"], \"ok\": 1.0}"

/* Every type there is, deprecated ones too. */
static inline bson_t *every_type(void) {
  bson_t *d = bson_new(), *scope = json("{\"x\": {\"y\": 1}}"), *list = json("{\"0\": 1, \"1\": []}");
  bson_oid_t oid;
  bson_decimal128_t decimal = {1, 2};
  bson_oid_init_from_string(&oid, "650000000000000000000001");
  bson_append_double(d, "double", -1, 1.5);
  bson_append_utf8(d, "string", -1, "a\0b", 3);
  bson_append_document(d, "document", -1, scope);
  bson_append_array(d, "array", -1, list);
  bson_append_binary(d, "binary", -1, BSON_SUBTYPE_BINARY, (const uint8_t *)"\0\1\2", 3);
  bson_append_undefined(d, "undefined", -1);
  bson_append_oid(d, "oid", -1, &oid);
  bson_append_bool(d, "bool", -1, true);
  bson_append_date_time(d, "date", -1, 1700000000000);
  bson_append_null(d, "null", -1);
  bson_append_regex(d, "regex", -1, "^abc.*", "im");
  bson_append_dbpointer(d, "dbpointer", -1, "db.c", &oid);
  bson_append_code(d, "code", -1, "return 1");
  bson_append_symbol(d, "symbol", -1, "sym", -1);
  bson_append_code_with_scope(d, "code with scope", -1, "return x", scope);
  bson_append_int32(d, "int32", -1, -1);
  bson_append_timestamp(d, "timestamp", -1, 5, 6);
  bson_append_int64(d, "int64", -1, -1);
  bson_append_decimal128(d, "decimal", -1, &decimal);
  bson_append_minkey(d, "minkey", -1);
  bson_append_maxkey(d, "maxkey", -1);
  bson_append_binary(d, "", -1, BSON_SUBTYPE_UUID, (const uint8_t *)"", 0);
  bson_destroy(scope);
  bson_destroy(list);
  return d;
}

/* A document nested depth times below the top. */
static inline void put_nested(pt_text *t, unsigned depth, uint8_t type) {
  size_t start = t->n, total = 5 + 8 * (size_t)depth;
  for (unsigned i = 0; i < depth; i++) {
    put32(t, (uint32_t)(total - 8 * i));
    put8(t, type);
    put(t, "0", 2);
  }
  put32(t, 5);
  for (unsigned i = 0; i <= depth; i++)
    put8(t, 0);
  assert_int_equal(t->n - start, total);
}

#endif
