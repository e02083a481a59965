/* Hello, both sides: what is read lies inside, a fingerprint is the same twice, and an answer with a service id is a good message that holds it.
 * The input is a document; its first byte chooses how it travels, its length is made right. */
#include <stdlib.h>
#include <string.h>

#include "wire/mongo_hello.h"

enum {
  MSG_BODY = PT_MONGO_HEADER + 5,
  REPLY_BODY = PT_MONGO_HEADER + 20,
  MAX = 1 << 16
};

static void check(int ok) {
  if (!ok)
    abort();
}

static void check_client(const pt_mongo_message *m) {
  pt_client_hello h;
  const char *why = NULL;
  uint8_t ip[16] = {1}, cert[32] = {2}, a[32], b[32], c[32];
  if (pt_client_hello_read(&h, m, &why)) {
    check(why != NULL);
    return;
  }
  check(h.has_client == (h.client != NULL) && !(h.awaitable && h.half_awaitable));
  check(!h.client || (h.client > m->body && h.client_len <= 512 && h.client + h.client_len < m->body + m->body_len));
  check(strlen(h.sasl_user) < sizeof h.sasl_user && strlen(h.app) < sizeof h.app);
  check(strlen(h.driver) < sizeof h.driver && strlen(h.driver_version) < sizeof h.driver_version);
  check(h.first_compressor <= 3 && (!h.first_compressor || (h.compressors & 1 << h.first_compressor)));
  check(!pt_client_fingerprint(&h, ip, 16, "name", cert, a));
  check(!pt_client_fingerprint(&h, ip, 16, "name", cert, b));
  check(!pt_client_fingerprint(&h, ip, 16, "nam", cert, c));
  check(!memcmp(a, b, 32) && memcmp(a, c, 32));
}

static void check_server(const pt_mongo_message *m) {
  pt_server_hello h;
  const char *why = NULL;
  if (pt_server_hello_read(&h, m, &why)) {
    check(why != NULL);
    return;
  }
  check(h.max_bson > 0 && h.max_message > 0 && h.max_message <= PT_MONGO_MAX_MESSAGE && h.max_batch > 0 &&
        h.session_minutes >= -1);
  check(strlen(h.sasl_mechs) < sizeof h.sasl_mechs && strlen(h.errmsg) < sizeof h.errmsg);
}

static void check_service(const uint8_t *p, size_t n, const pt_mongo_message *m) {
  static const uint8_t id[13] = "abcdefghijkl";
  pt_pool pool;
  pt_segq out = {0};
  pt_mongo_message got;
  const char *why;
  pt_pool_init(&pool);
  int e = pt_hello_add_service(&out, &pool, p, n, id);
  check(e == (m->body ? 0 : -EPROTO));
  if (!e) {
    size_t len = out.bytes;
    uint8_t *copy = malloc(len);
    check(pt_segq_peek(&out, copy, len) == len);
    check(pt_mongo_parse(&got, copy, len, PT_MONGO_MAX_MESSAGE, &why) == PT_MONGO_OK);
    check(got.h.length == len && got.h.opcode == m->h.opcode && got.h.request_id == m->h.request_id);
    check(got.body_len <= m->body_len + 23 && !memcmp(got.body + got.body_len - 24, "\7serviceId\0abcdefghijkl", 24));
    free(copy);
  }
  pt_segq_clear(&out);
  pt_pool_free(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n) {
  if (n < 5 || n > MAX)
    return 0;
  bool reply = buf[0] & 1;
  size_t at = reply ? REPLY_BODY : MSG_BODY, total = at + n;
  const uint32_t len = (uint32_t)n;
  const pt_mongo_header h = {(uint32_t)total, 5, 6, reply ? PT_OP_REPLY : PT_OP_MSG};
  uint8_t *p = calloc(1, total);
  pt_mongo_header_write(&h, p);
  memcpy(p + at, buf, n);
  memcpy(p + at, &len, 4);
  pt_mongo_message m;
  const char *why;
  if (pt_mongo_parse(&m, p, total, PT_MONGO_MAX_MESSAGE, &why) == PT_MONGO_OK) {
    check_client(&m);
    check_server(&m);
    check_service(p, total, &m);
  } else {
    pt_pool pool;
    pt_segq out = {0};
    pt_pool_init(&pool);
    check(pt_hello_add_service(&out, &pool, p, total, buf) == -EPROTO && !out.bytes);
    pt_pool_free(&pool);
  }
  free(p);
  return 0;
}
