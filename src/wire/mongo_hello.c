#include "wire/mongo_hello.h"

#include "wire/bson_hop.h"
#include "wire/mongo_compress.h"

enum {
  CLIENT_MAX = 512,
  APP_MAX = PT_HELLO_APP - 1,
  DEFAULT_BATCH = 1000, /* what drivers take when a server says nothing */
  DEFAULT_BSON = 16 * 1024 * 1024,
  SERVICE_ROOM = 1 + 10 + 12 /* type, key, value */
};

/* Copies a string, cut to what fits and at its first NUL; what is cut is whole characters. -EPROTO: it is no string. */
static int copy_text(const bson_iter_t *it, char *out, size_t cap, const char **why) {
  uint32_t len;
  const char *text = BSON_ITER_HOLDS_UTF8(it) ? bson_iter_utf8(it, &len) : NULL;
  if (!text)
    return pt_refuse(why, "hello: a string is expected");
  size_t n = strnlen(text, len);
  if (n >= cap)
    for (n = cap - 1; n && (text[n] & 0xc0) == 0x80; n--)
      ;
  memcpy(out, text, n);
  out[n] = 0;
  return 0;
}

/* Copies the string name of the document doc (both may be missing). */
static int copy_sub(const bson_iter_t *client, const char *doc, const char *name, char *out, size_t cap, const char **why) {
  bson_iter_t it = *client, sub;
  if (!bson_iter_find(&it, doc))
    return 0;
  if (!BSON_ITER_HOLDS_DOCUMENT(&it) || !bson_iter_recurse(&it, &sub))
    return pt_refuse(why, "hello: a document of client has a wrong type");
  return bson_iter_find(&sub, name) ? copy_text(&sub, out, cap, why) : 0;
}

static int read_client(pt_client_hello *h, const bson_iter_t *it, const char **why) {
  char app[PT_HELLO_APP + 4] = ""; /* a whole character more than there may be */
  bson_iter_t in;
  if (!BSON_ITER_HOLDS_DOCUMENT(it) || !bson_iter_recurse(it, &in))
    return pt_refuse(why, "hello: client is no document");
  bson_iter_document(it, &h->client_len, &h->client);
  if (h->client_len > CLIENT_MAX)
    return pt_refuse(why, "hello: client is larger than 512 bytes");
  h->has_client = true;
  int e = copy_sub(&in, "application", "name", app, sizeof app, why);
  if (!e)
    e = copy_sub(&in, "driver", "name", h->driver, sizeof h->driver, why);
  if (!e)
    e = copy_sub(&in, "driver", "version", h->driver_version, sizeof h->driver_version, why);
  if (!e && strlen(app) > APP_MAX)
    e = pt_refuse(why, "hello: application.name is longer than 128 bytes");
  memcpy(h->app, app, sizeof h->app);
  return e;
}

/* Bits of the compressors in a list that exist, and the first of them. */
static int read_compressors(const bson_iter_t *it, uint8_t *bits, uint8_t *first, const char **why) {
  bson_iter_t in;
  if (!BSON_ITER_HOLDS_ARRAY(it) || !bson_iter_recurse(it, &in))
    return pt_refuse(why, "hello: compression is no array");
  while (bson_iter_next(&in)) {
    int id = BSON_ITER_HOLDS_UTF8(&in) ? pt_compressor_id(bson_iter_utf8(&in, NULL)) : -1;
    if (id < 0)
      continue;
    *bits |= (uint8_t)(1 << id);
    if (!*first)
      *first = (uint8_t)id;
  }
  return 0;
}

static int read_topology_version(const bson_iter_t *it, uint8_t process[12], int64_t *counter, const char **why) {
  bson_iter_t in, process_it, counter_it;
  if (!BSON_ITER_HOLDS_DOCUMENT(it) || !bson_iter_recurse(it, &in))
    return pt_refuse(why, "hello: topologyVersion is no document");
  process_it = counter_it = in;
  if (!bson_iter_find(&process_it, "processId") || !BSON_ITER_HOLDS_OID(&process_it) || !bson_iter_find(&counter_it, "counter") ||
      !BSON_ITER_HOLDS_INT(&counter_it))
    return pt_refuse(why, "hello: topologyVersion is incomplete");
  memcpy(process, bson_iter_oid(&process_it)->bytes, 12);
  *counter = bson_iter_as_int64(&counter_it);
  return 0;
}

static int read_client_element(pt_client_hello *h, const bson_iter_t *it, bool *version, bool *wait, const char **why) {
  const char *key = bson_iter_key(it);
  if (!strcmp(key, "client"))
    return read_client(h, it, why);
  if (!strcmp(key, "loadBalanced"))
    h->load_balanced = bson_iter_as_bool(it);
  else if (!strcmp(key, "helloOk"))
    h->hello_ok = bson_iter_as_bool(it);
  else if (!strcmp(key, "backpressure"))
    h->backpressure = bson_iter_as_bool(it);
  else if (!strcmp(key, "speculativeAuthenticate"))
    h->speculative = BSON_ITER_HOLDS_DOCUMENT(it);
  else if (!strcmp(key, "compression"))
    return read_compressors(it, &h->compressors, &h->first_compressor, why);
  else if (!strcmp(key, "saslSupportedMechs"))
    return copy_text(it, h->sasl_user, sizeof h->sasl_user, why);
  else if (!strcmp(key, "topologyVersion")) {
    *version = true;
    return read_topology_version(it, h->tv_process, &h->tv_counter, why);
  } else if (!strcmp(key, "maxAwaitTimeMS")) {
    *wait = true;
    if (!BSON_ITER_HOLDS_NUMBER(it) || (h->max_await_ms = bson_iter_as_int64(it)) < 0)
      return pt_refuse(why, "hello: maxAwaitTimeMS is no number from 0");
  }
  return 0;
}

int pt_client_hello_read(pt_client_hello *h, const pt_mongo_message *m, const char **why) {
  bson_iter_t it;
  bool version = false, wait = false;
  memset(h, 0, sizeof *h);
  if (!m->body || !bson_iter_init_from_data(&it, m->body, m->body_len) || !bson_iter_next(&it))
    return pt_refuse(why, "hello: an empty document");
  const char *name = bson_iter_key(&it);
  h->legacy = !strcmp(name, "isMaster") || !strcmp(name, "ismaster");
  if (!h->legacy && strcmp(name, "hello"))
    return pt_refuse(why, "no hello");
  while (bson_iter_next(&it)) {
    int e = read_client_element(h, &it, &version, &wait, why);
    if (e)
      return e;
  }
  if (it.err_off)
    return pt_refuse(why, "hello: a broken document");
  h->awaitable = version && wait;
  h->half_awaitable = version != wait;
  return 0;
}

static void server_defaults(pt_server_hello *h) {
  *h = (pt_server_hello){
      .max_bson = DEFAULT_BSON, .max_message = PT_MONGO_MAX_MESSAGE, .max_batch = DEFAULT_BATCH, .session_minutes = -1};
}

/* A number of at least min. */
static int read_number(const bson_iter_t *it, int32_t min, int32_t *v, const char **why) {
  int64_t n = BSON_ITER_HOLDS_NUMBER(it) ? bson_iter_as_int64(it) : INT64_MIN;
  if (n < min || n > INT32_MAX)
    return pt_refuse(why, "hello: a number is missing or out of range");
  *v = (int32_t)n;
  return 0;
}

static int read_mechanisms(const bson_iter_t *it, char *out, size_t cap, const char **why) {
  bson_iter_t in;
  size_t at = 0;
  if (!BSON_ITER_HOLDS_ARRAY(it) || !bson_iter_recurse(it, &in))
    return pt_refuse(why, "hello: saslSupportedMechs is no array");
  while (bson_iter_next(&in)) {
    const char *name = BSON_ITER_HOLDS_UTF8(&in) ? bson_iter_utf8(&in, NULL) : "";
    size_t n = strlen(name);
    if (!n || at + (at > 0) + n >= cap)
      continue;
    if (at)
      out[at++] = ' ';
    memcpy(out + at, name, n + 1);
    at += n;
  }
  return 0;
}

static int read_server_element(pt_server_hello *h, const bson_iter_t *it, const char **why) {
  static const struct {
    const char *key;
    size_t at;
    int32_t min;
  } numbers[] = {
      {"maxBsonObjectSize", offsetof(pt_server_hello, max_bson), 1},
      {"maxMessageSizeBytes", offsetof(pt_server_hello, max_message), 1},
      {"maxWriteBatchSize", offsetof(pt_server_hello, max_batch), 1},
      {"minWireVersion", offsetof(pt_server_hello, min_wire), INT32_MIN},
      {"maxWireVersion", offsetof(pt_server_hello, max_wire), INT32_MIN},
      {"logicalSessionTimeoutMinutes", offsetof(pt_server_hello, session_minutes), 0},
      {"code", offsetof(pt_server_hello, code), INT32_MIN},
  };
  const char *key = bson_iter_key(it);
  uint8_t first = 0;
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (!strcmp(key, numbers[i].key))
      return BSON_ITER_HOLDS_NULL(it) ? 0 : read_number(it, numbers[i].min, (int32_t *)((char *)h + numbers[i].at), why);
  if (!strcmp(key, "ok"))
    h->ok = bson_iter_as_bool(it);
  else if (!strcmp(key, "ismaster") || !strcmp(key, "isWritablePrimary"))
    h->writable |= bson_iter_as_bool(it);
  else if (!strcmp(key, "msg"))
    h->isdbgrid = BSON_ITER_HOLDS_UTF8(it) && !strcmp(bson_iter_utf8(it, NULL), "isdbgrid");
  else if (!strcmp(key, "errmsg"))
    return copy_text(it, h->errmsg, sizeof h->errmsg, why);
  else if (!strcmp(key, "compression"))
    return read_compressors(it, &h->compressors, &first, why);
  else if (!strcmp(key, "saslSupportedMechs"))
    return read_mechanisms(it, h->sasl_mechs, sizeof h->sasl_mechs, why);
  else if (!strcmp(key, "topologyVersion")) {
    h->has_topology_version = true;
    return read_topology_version(it, h->process_id, &h->counter, why);
  }
  return 0;
}

int pt_server_hello_read(pt_server_hello *h, const pt_mongo_message *m, const char **why) {
  bson_iter_t it;
  server_defaults(h);
  if (!m->body || !bson_iter_init_from_data(&it, m->body, m->body_len))
    return pt_refuse(why, "hello: an empty answer");
  while (bson_iter_next(&it)) {
    int e = read_server_element(h, &it, why);
    if (e)
      return e;
  }
  if (it.err_off)
    return pt_refuse(why, "hello: a broken answer");
  if (h->max_message > PT_MONGO_MAX_MESSAGE)
    h->max_message = PT_MONGO_MAX_MESSAGE;
  return 0;
}

/* Copies a document to out, which has room for SERVICE_ROOM bytes more. Returns the new length. */
static uint32_t copy_with_service(uint8_t *out, const pt_mongo_message *m, const uint8_t service_id[12]) {
  static const uint8_t element[] = "\7serviceId"; /* its type, its key, NUL */
  pt_hop h = pt_hop_over(m->body, 0, m->body_len);
  uint32_t at = 4;
  while (pt_hop_next(&h) > 0) {
    const uint8_t *start = (const uint8_t *)h.key - 1;
    size_t n = (size_t)(h.value + h.value_len - start);
    if (PT_HOP_IS(&h, "serviceId"))
      continue;
    memcpy(out + at, start, n);
    at += (uint32_t)n;
  }
  memcpy(out + at, element, sizeof element);
  memcpy(out + at + sizeof element, service_id, 12);
  at += (uint32_t)sizeof element + 12;
  out[at++] = 0;
  pt_put32(out, at);
  return at;
}

int pt_hello_add_service(pt_segq *out, pt_pool *pool, const uint8_t *reply, size_t n, const uint8_t service_id[12]) {
  pt_mongo_message m;
  bson_t doc;
  const char *why;
  if (n < PT_MONGO_HEADER || pt_mongo_parse(&m, reply, n, PT_MONGO_MAX_MESSAGE, &why) != PT_MONGO_OK || m.h.length != n ||
      m.h.opcode == PT_OP_QUERY || !m.body)
    return -EPROTO;
  pt_chunk *c = pt_chunk_new(pool, m.body_len + SERVICE_ROOM);
  if (!c)
    return -ENOMEM;
  int e = -EPROTO;
  if (bson_init_static(&doc, c->data, copy_with_service(c->data, &m, service_id)))
    e = pt_mongo_answer(out, pool, m.h.opcode == PT_OP_REPLY ? PT_OP_QUERY : PT_OP_MSG, m.h.request_id, m.h.response_to, m.flags,
                        &doc);
  pt_chunk_unref(c);
  return e;
}
