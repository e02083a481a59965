/* OP_COMPRESSED: whatever arrives, what comes out is as long as promised and within the limit, and packs and unpacks to itself. */
#include <stdlib.h>
#include <string.h>

#include "wire/mongo_compress.h"

enum {
  MAX = 1 << 20
};

static pt_pool pool;

static void check(int ok) {
  if (!ok)
    abort();
}

static uint32_t get32(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }

static void put32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++)
    p[i] = (uint8_t)(v >> 8 * i);
}

static void check_packs(const uint8_t *p, size_t n) {
  for (uint8_t id = 0; pt_compressor_name(id); id++) {
    pt_chunk *packed, *back;
    uint8_t compressor;
    const char *why;
    if (pt_mongo_pack(p, n, id, &pool, &packed))
      continue;
    check(packed->fill == get32(packed->data));
    check(pt_mongo_unpack(packed->data, packed->fill, (uint32_t)n, &pool, &back, &compressor, &why) == 0);
    check(compressor == id && back->fill == n && !memcmp(back->data, p, n));
    pt_chunk_unref(packed);
    pt_chunk_unref(back);
  }
}

static void try(const uint8_t *p, size_t n) {
  pt_chunk *out = NULL;
  uint8_t compressor;
  const char *why = NULL;
  int e = pt_mongo_unpack(p, n, MAX, &pool, &out, &compressor, &why);
  check(e == 0 ? out != NULL : e == -EPROTO && why && !out);
  if (e)
    return;
  check(out->fill <= MAX && out->fill <= out->cap && out->fill == get32(out->data));
  check(get32(out->data + 12) == get32(p + 16) && get32(p + 20) + 16 == out->fill && pt_compressor_name(compressor));
  check_packs(out->data, out->fill);
  pt_chunk_unref(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n) {
  try(buf, n);
  check_packs(buf, n);
  if (n < 25)
    return 0;
  uint8_t *p = malloc(n); /* with the length and the opcode that it has to have */
  memcpy(p, buf, n);
  put32(p, (uint32_t)n);
  put32(p + 12, PT_OP_COMPRESSED);
  try(p, n);
  put32(p + 12, PT_OP_MSG);
  check_packs(p, n);
  free(p);
  return 0;
}
