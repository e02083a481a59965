/* OP_COMPRESSED: what is packed unpacks to the same, what others pack too, and nothing that lies about its size gets memory or passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "wire/mongo_compress.h"

enum {
  HEAD = PT_MONGO_HEADER + 9
};

static pt_pool pool;

static void put32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++)
    p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }

/* A message of n bytes with a body as documents have it, or noise. */
static uint8_t *message(int32_t opcode, size_t n, int noise) {
  uint8_t *p = malloc(n);
  unsigned seed = (unsigned)n;
  pt_mongo_header_write(&(pt_mongo_header){(uint32_t)n, 7, -9, opcode}, p);
  for (size_t i = PT_MONGO_HEADER; i < n; i++)
    p[i] = (uint8_t)(noise || i % 16 == 0 ? rand_r(&seed) : "name\0city\0age\0\x10\2"[i % 16]);
  return p;
}

/* An OP_COMPRESSED around a payload that promises size. */
static uint8_t *wrap(int32_t opcode, uint32_t size, unsigned compressor, const void *payload, size_t n) {
  uint8_t *p = malloc(HEAD + n);
  pt_mongo_header_write(&(pt_mongo_header){(uint32_t)(HEAD + n), 7, -9, PT_OP_COMPRESSED}, p);
  put32(p + 16, (uint32_t)opcode);
  put32(p + 20, size);
  p[24] = (uint8_t)compressor;
  memcpy(p + HEAD, payload, n);
  return p;
}

/* Unpacks and frees p; whatever comes out but for the good goes away. */
static int unpack(uint8_t *p, size_t n, uint32_t max, pt_chunk **out) {
  uint8_t compressor = 77;
  const char *why = NULL;
  *out = NULL;
  int e = pt_mongo_unpack(p, n, max, &pool, out, &compressor, &why);
  if (e) {
    assert_int_equal(e, -EPROTO);
    assert_non_null(why);
    assert_null(*out);
  } else {
    assert_int_equal(compressor, p[24]);
  }
  free(p);
  return e;
}

static void assert_bad(uint8_t *p, size_t n, uint32_t max) {
  pt_chunk *out;
  assert_int_equal(unpack(p, n, max, &out), -EPROTO);
}

static void round_trips(void **state) {
  (void)state;
  static const size_t sizes[] = {26, 27, 100, 1000, 16320, 16321, 65472, 65473, 300000, 5000000};
  static const int32_t opcodes[] = {PT_OP_MSG, PT_OP_REPLY, PT_OP_QUERY};
  for (uint8_t id = 0; id < 4; id++)
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
      size_t n = sizes[i / 2];
      int32_t opcode = n < 36 ? PT_OP_MSG : opcodes[i % 3];
      uint8_t *p = message(opcode, n, i % 2);
      pt_chunk *packed, *out;
      assert_int_equal(pt_mongo_pack(p, n, id, &pool, &packed), 0);
      assert_int_equal(get32(packed->data), packed->fill);
      assert_memory_equal(packed->data + 4, p + 4, 8); /* both ids */
      assert_int_equal(get32(packed->data + 12), PT_OP_COMPRESSED);
      assert_int_equal(get32(packed->data + 16), opcode);
      assert_int_equal(get32(packed->data + 20), n - 16);
      assert_int_equal(packed->data[24], id);
      if (id && n > 100 && !(i % 2))
        assert_true(packed->fill < n);
      uint8_t *copy = malloc(packed->fill);
      memcpy(copy, packed->data, packed->fill);
      assert_int_equal(unpack(copy, packed->fill, (uint32_t)n, &out), 0);
      assert_int_equal(out->fill, n);
      assert_int_equal(out->refs, 1);
      assert_memory_equal(out->data, p, n);
      pt_chunk_unref(out);
      copy = malloc(packed->fill);
      memcpy(copy, packed->data, packed->fill);
      assert_bad(copy, packed->fill, (uint32_t)n - 1);
      pt_chunk_unref(packed);
      free(p);
    }
}

/* Packed by the libraries themselves, as servers do, at other levels and in streams that do not tell their size. */
static void foreign(void **state) {
  (void)state;
  enum {
    N = 70000
  };
  uint8_t *p = message(PT_OP_MSG, 16 + N, 0), *packed = malloc(2 * N);
  pt_chunk *out;
  size_t n = 2 * N;
  assert_int_equal(snappy_compress((char *)p + 16, N, (char *)packed, &n), SNAPPY_OK);
  assert_int_equal(unpack(wrap(PT_OP_MSG, N, 1, packed, n), HEAD + n, PT_MONGO_MAX_MESSAGE, &out), 0);
  assert_memory_equal(out->data, p, 16 + N);
  pt_chunk_unref(out);
  for (int level = -1; level <= 9; level++) {
    uLongf zn = 2 * N;
    assert_int_equal(compress2(packed, &zn, p + 16, N, level), Z_OK);
    assert_int_equal(unpack(wrap(PT_OP_MSG, N, 2, packed, zn), HEAD + zn, PT_MONGO_MAX_MESSAGE, &out), 0);
    assert_memory_equal(out->data, p, 16 + N);
    pt_chunk_unref(out);
  }
  for (int level = 1; level <= 19; level += 6)
    for (int told = 0; told < 2; told++) {
      ZSTD_CCtx *c = ZSTD_createCCtx();
      ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
      ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, told);
      n = ZSTD_compress2(c, packed, 2 * N, p + 16, N);
      ZSTD_freeCCtx(c);
      assert_int_equal(unpack(wrap(PT_OP_MSG, N, 3, packed, n), HEAD + n, PT_MONGO_MAX_MESSAGE, &out), 0);
      assert_memory_equal(out->data, p, 16 + N);
      pt_chunk_unref(out);
    }
  free(packed);
  free(p);
}

static size_t pack_body(unsigned id, const uint8_t *p, size_t n, uint8_t *out, size_t cap) {
  uLongf zn = cap;
  size_t len = cap;
  switch (id) {
  case 0:
    memcpy(out, p, n);
    return n;
  case 1:
    assert_int_equal(snappy_compress((const char *)p, n, (char *)out, &len), SNAPPY_OK);
    return len;
  case 2:
    assert_int_equal(compress(out, &zn, p, n), Z_OK);
    return zn;
  default:
    return ZSTD_compress(out, cap, p, n, 3);
  }
}

static void lies(void **state) {
  (void)state;
  enum {
    N = 2000
  };
  uint8_t *p = message(PT_OP_MSG, 16 + N, 0), body[4 * N];
  for (unsigned id = 0; id < 4; id++) {
    size_t n = pack_body(id, p + 16, N, body, sizeof body - 64);
    pt_chunk *out;
    assert_int_equal(unpack(wrap(PT_OP_MSG, N, id, body, n), HEAD + n, 16 + N, &out), 0);
    pt_chunk_unref(out);
    static const uint32_t sizes[] = {0, 1, N - 1, N + 1, 2 * N, 47000000, 0x7fffffff, 0x80000000, UINT32_MAX, UINT32_MAX - 16};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) /* another size than it has */
      assert_bad(wrap(PT_OP_MSG, sizes[i], id, body, n), HEAD + n, PT_MONGO_MAX_MESSAGE);
    assert_bad(wrap(PT_OP_MSG, N, id, body, n), HEAD + n, 16 + N - 1); /* more than may be */
    assert_bad(wrap(PT_OP_MSG, N, id, body, n), HEAD + n, 0);
    for (size_t cut = 0; cut < n; cut += 1 + cut / 4)
      assert_bad(wrap(PT_OP_MSG, N, id, body, cut), HEAD + cut, 16 + N);
    memset(body + n, 0, 64);
    assert_bad(wrap(PT_OP_MSG, N, id, body, n + 1), HEAD + n + 1, 16 + N); /* something behind it */
    assert_bad(wrap(PT_OP_MSG, N, id, body, n + 64), HEAD + n + 64, 16 + N);
    static const int32_t opcodes[] = {
        PT_OP_COMPRESSED, PT_OP_INSERT, PT_OP_UPDATE, PT_OP_DELETE, PT_OP_GET_MORE, PT_OP_KILL_CURSORS, 0, -1, 2010};
    for (size_t i = 0; i < sizeof opcodes / sizeof *opcodes; i++)
      assert_bad(wrap(opcodes[i], N, id, body, n), HEAD + n, 16 + N);
    n = pack_body(id, p + 16, 9, body, sizeof body);
    assert_bad(wrap(PT_OP_MSG, 9, id, body, n), HEAD + n, 16 + N); /* shorter than any message of its opcode */
  }
  assert_bad(wrap(PT_OP_MSG, N, 4, p, N), HEAD + N, 16 + N);
  assert_bad(wrap(PT_OP_MSG, N, 255, p, N), HEAD + N, 16 + N);
  memset(body, 0, sizeof body); /* 64 MiB in 64 KiB is refused for its promise alone */
  assert_bad(wrap(PT_OP_MSG, 64 << 20, 2, body, sizeof body), HEAD + sizeof body, PT_MONGO_MAX_MESSAGE);
  free(p);
}

/* Two frames or streams in one payload are not one message. */
static void twice(void **state) {
  (void)state;
  uint8_t *p = message(PT_OP_MSG, 16 + 400, 0), body[2000];
  for (unsigned id = 2; id < 4; id++) {
    size_t a = pack_body(id, p + 16, 200, body, 1000), b = pack_body(id, p + 216, 200, body + a, 1000);
    pt_chunk *out;
    assert_bad(wrap(PT_OP_MSG, 400, id, body, a + b), HEAD + a + b, 416);
    assert_bad(wrap(PT_OP_MSG, 200, id, body, a + b), HEAD + a + b, 416);
    assert_int_equal(unpack(wrap(PT_OP_MSG, 200, id, body, a), HEAD + a, 416, &out), 0);
    pt_chunk_unref(out);
  }
  free(p);
}

static void heads(void **state) {
  (void)state;
  uint8_t *p = message(PT_OP_MSG, 100, 0);
  pt_chunk *packed, *out;
  assert_int_equal(pt_mongo_pack(p, 100, PT_COMPRESS_ZSTD, &pool, &packed), 0);
  for (size_t n = 0; n < packed->fill; n++) { /* not whole */
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, packed->data, n);
    assert_bad(copy, n, 100);
  }
  uint8_t *plain = malloc(100);
  memcpy(plain, p, 100);
  assert_bad(plain, 100, 100);

  assert_int_equal(pt_mongo_pack(packed->data, packed->fill, PT_COMPRESS_ZSTD, &pool, &out), -EPROTO); /* not twice */
  assert_int_equal(pt_mongo_pack(p, 99, PT_COMPRESS_ZSTD, &pool, &out), -EPROTO);
  assert_int_equal(pt_mongo_pack(p, 15, PT_COMPRESS_ZSTD, &pool, &out), -EPROTO);
  assert_int_equal(pt_mongo_pack(p, 100, 4, &pool, &out), -EPROTO);
  put32(p + 12, PT_OP_INSERT);
  assert_int_equal(pt_mongo_pack(p, 100, PT_COMPRESS_ZSTD, &pool, &out), -EPROTO);
  pt_chunk_unref(packed);
  free(p);
}

/* Each thread has tools of its own, which end with it. */
static void *in_a_thread(void *arg) {
  pt_pool own;
  size_t *good = arg;
  pt_pool_init(&own);
  for (int i = 0; i < 200; i++) {
    size_t n = 100 + (size_t)i * 97;
    uint8_t *p = message(PT_OP_MSG, n, i % 2), compressor, id = (uint8_t)(i % 4);
    pt_chunk *packed, *out;
    const char *why;
    if (!pt_mongo_pack(p, n, id, &own, &packed)) {
      if (!pt_mongo_unpack(packed->data, packed->fill, (uint32_t)n, &own, &out, &compressor, &why)) {
        *good += out->fill == n && !memcmp(out->data, p, n) && compressor == id;
        pt_chunk_unref(out);
      }
      pt_chunk_unref(packed);
    }
    free(p);
  }
  pt_pool_free(&own);
  return NULL;
}

static void threads(void **state) {
  (void)state;
  pthread_t t[4];
  size_t good[4] = {0};
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&t[i], NULL, in_a_thread, &good[i]), 0);
  for (int i = 0; i < 4; i++) {
    pthread_join(t[i], NULL);
    assert_int_equal(good[i], 200);
  }
}

static void compressor_names(void **state) {
  (void)state;
  static const char *const names[] = {"noop", "snappy", "zlib", "zstd"};
  for (unsigned i = 0; i < 4; i++) {
    assert_string_equal(pt_compressor_name(i), names[i]);
    assert_int_equal(pt_compressor_id(names[i]), i);
  }
  assert_null(pt_compressor_name(4));
  assert_int_equal(pt_compressor_id("lz4"), -1);
  assert_int_equal(pt_compressor_id(""), -1);
  assert_int_equal(pt_compressor_id("ZSTD"), -1);
}

static int setup(void **state) {
  (void)state;
  pt_pool_init(&pool);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  pt_pool_free(&pool);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trips),
      cmocka_unit_test(foreign),
      cmocka_unit_test(lies),
      cmocka_unit_test(twice),
      cmocka_unit_test(heads),
      cmocka_unit_test(threads),
      cmocka_unit_test(compressor_names),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
