#include "wire/mongo_compress.h"

#include <errno.h>
#include <pthread.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "wire/bson_hop.h"

enum {
  HEAD = PT_MONGO_HEADER + 9, /* the header, originalOpcode, uncompressedSize, compressorId */
  FAST = 1 /* level of zlib and zstd: the proxy's CPU is dearer than the last percents */
};

static const char *const names[] = {"noop", "snappy", "zlib", "zstd"};
enum {
  NCOMPRESSORS = sizeof names / sizeof *names
};

const char *pt_compressor_name(unsigned id) { return id < NCOMPRESSORS ? names[id] : NULL; }

int pt_compressor_id(const char *name) {
  for (int i = 0; i < NCOMPRESSORS; i++)
    if (!strcmp(name, names[i]))
      return i;
  return -1;
}

/* What a thread keeps: to make these for each message costs several times what a small message does. */
typedef struct tools {
  ZSTD_CCtx *pack;
  ZSTD_DCtx *unpack;
  z_stream deflate;
  int deflate_ready;
} tools;

static pthread_key_t tools_key;
static int tools_error;
static pthread_once_t tools_once = PTHREAD_ONCE_INIT;

static void tools_free(void *arg) {
  tools *t = arg;
  ZSTD_freeCCtx(t->pack);
  ZSTD_freeDCtx(t->unpack);
  if (t->deflate_ready)
    deflateEnd(&t->deflate);
  free(t);
}

static void tools_key_make(void) { tools_error = pthread_key_create(&tools_key, tools_free); }

/* NULL: no memory. */
static tools *tools_here(void) {
  pthread_once(&tools_once, tools_key_make);
  tools *t = tools_error ? NULL : pthread_getspecific(tools_key);
  if (t || tools_error)
    return t;
  t = calloc(1, sizeof *t);
  if (t && pthread_setspecific(tools_key, t)) {
    free(t);
    t = NULL;
  }
  return t;
}

static int opcode_good(int32_t opcode) { return opcode == PT_OP_MSG || opcode == PT_OP_QUERY || opcode == PT_OP_REPLY; }

/* What can be told of the plain size before memory is taken for it. */
static int promise_good(uint8_t compressor, const uint8_t *p, size_t n, size_t plain) {
  size_t len;
  unsigned long long frame;
  switch (compressor) {
  case PT_COMPRESS_NOOP:
    return n == plain;
  case PT_COMPRESS_SNAPPY:
    return snappy_uncompressed_length((const char *)p, n, &len) == SNAPPY_OK && len == plain;
  case PT_COMPRESS_ZSTD:
    frame = ZSTD_getFrameContentSize(p, n);
    return frame == plain || frame == ZSTD_CONTENTSIZE_UNKNOWN;
  default:
    return 1;
  }
}

/* Exactly plain bytes to out, from all n. 0, -ENOMEM, -EPROTO. */
static int unpack(uint8_t compressor, const uint8_t *p, size_t n, uint8_t *out, size_t plain) {
  size_t len = plain;
  uLong in = n, zlen = plain;
  tools *t;
  int e;
  switch (compressor) {
  case PT_COMPRESS_NOOP:
    memcpy(out, p, plain);
    return 0;
  case PT_COMPRESS_SNAPPY:
    return snappy_uncompress((const char *)p, n, (char *)out, &len) == SNAPPY_OK && len == plain ? 0 : -EPROTO;
  case PT_COMPRESS_ZLIB:
    e = uncompress2(out, &zlen, p, &in);
    return e == Z_MEM_ERROR ? -ENOMEM : e == Z_OK && zlen == plain && in == n ? 0 : -EPROTO;
  default:
    t = tools_here();
    if (!t || (!t->unpack && !(t->unpack = ZSTD_createDCtx())))
      return -ENOMEM;
    return ZSTD_decompressDCtx(t->unpack, out, plain, p, n) == plain ? 0 : -EPROTO; /* an error is a larger number */
  }
}

int pt_mongo_unpack(const uint8_t *p, size_t n, uint32_t max, pt_pool *pool, pt_chunk **out, uint8_t *compressor,
                    const char **why) {
  pt_mongo_header h;
  if (n < HEAD || pt_mongo_header_read(&h, p, UINT32_MAX, why) || h.opcode != PT_OP_COMPRESSED || h.length != n)
    return pt_refuse(why, "not a whole compressed message");
  uint32_t plain = pt_le32(p + PT_MONGO_HEADER + 4);
  h.opcode = (int32_t)pt_le32(p + PT_MONGO_HEADER);
  *compressor = p[HEAD - 1];
  if (!opcode_good(h.opcode))
    return pt_refuse(why, "a compressed message with an opcode that cannot be in one");
  if (*compressor >= NCOMPRESSORS)
    return pt_refuse(why, "unknown compressor");
  if (max < PT_MONGO_HEADER || plain > max - PT_MONGO_HEADER)
    return pt_refuse(why, "the unpacked message would be too long");
  uint8_t head[PT_MONGO_HEADER];
  h.length = PT_MONGO_HEADER + plain;
  pt_mongo_header_write(&h, head);
  if (pt_mongo_header_read(&h, head, max, why))
    return -EPROTO;
  if (!promise_good(*compressor, p + HEAD, n - HEAD, plain))
    return pt_refuse(why, "a compressed message that does not unpack to the size it promises");

  pt_chunk *c = pt_chunk_new(pool, h.length);
  if (!c)
    return -ENOMEM;
  int e = unpack(*compressor, p + HEAD, n - HEAD, c->data + PT_MONGO_HEADER, plain);
  if (e) {
    pt_chunk_unref(c);
    return e == -EPROTO ? pt_refuse(why, "a compressed message that does not unpack to the size it promises") : e;
  }
  memcpy(c->data, head, sizeof head);
  c->fill = h.length;
  *out = c;
  return 0;
}

/* The most bytes that n can become. */
static size_t bound(uint8_t compressor, size_t n) {
  switch (compressor) {
  case PT_COMPRESS_SNAPPY:
    return snappy_max_compressed_length(n);
  case PT_COMPRESS_ZLIB:
    return compressBound(n);
  case PT_COMPRESS_ZSTD:
    return ZSTD_compressBound(n);
  default:
    return n;
  }
}

static int pack_zlib(tools *t, const uint8_t *p, size_t n, uint8_t *out, size_t *len) {
  if (!t->deflate_ready && deflateInit(&t->deflate, FAST) != Z_OK)
    return -ENOMEM;
  t->deflate_ready = 1;
  t->deflate.next_in = (Bytef *)p;
  t->deflate.avail_in = (uInt)n;
  t->deflate.next_out = out;
  t->deflate.avail_out = (uInt)*len;
  int e = deflate(&t->deflate, Z_FINISH);
  *len -= t->deflate.avail_out;
  deflateReset(&t->deflate);
  return e == Z_STREAM_END ? 0 : -ENOMEM;
}

/* Into out, which has *len bytes, as many as bound tells. */
static int pack(uint8_t compressor, const uint8_t *p, size_t n, uint8_t *out, size_t *len) {
  if (compressor == PT_COMPRESS_NOOP) {
    memcpy(out, p, n);
    return 0;
  }
  if (compressor == PT_COMPRESS_SNAPPY)
    return snappy_compress((const char *)p, n, (char *)out, len) == SNAPPY_OK ? 0 : -ENOMEM;
  tools *t = tools_here();
  if (!t)
    return -ENOMEM;
  if (compressor == PT_COMPRESS_ZLIB)
    return pack_zlib(t, p, n, out, len);
  if (!t->pack && !(t->pack = ZSTD_createCCtx()))
    return -ENOMEM;
  *len = ZSTD_compressCCtx(t->pack, out, *len, p, n, FAST);
  return ZSTD_isError(*len) ? -ENOMEM : 0;
}

int pt_mongo_pack(const uint8_t *p, size_t n, uint8_t compressor, pt_pool *pool, pt_chunk **out) {
  pt_mongo_header h;
  const char *why;
  if (n < PT_MONGO_HEADER || compressor >= NCOMPRESSORS || pt_mongo_header_read(&h, p, UINT32_MAX, &why) || h.length != n ||
      !opcode_good(h.opcode))
    return -EPROTO;
  size_t plain = n - PT_MONGO_HEADER, len = bound(compressor, plain);
  pt_chunk *c = pt_chunk_new(pool, HEAD + len);
  if (!c)
    return -ENOMEM;
  int e = pack(compressor, p + PT_MONGO_HEADER, plain, c->data + HEAD, &len);
  if (e) {
    pt_chunk_unref(c);
    return e;
  }
  pt_put32(c->data + PT_MONGO_HEADER, (uint32_t)h.opcode);
  pt_put32(c->data + PT_MONGO_HEADER + 4, (uint32_t)plain);
  c->data[HEAD - 1] = compressor;
  h.opcode = PT_OP_COMPRESSED;
  h.length = c->fill = (uint32_t)(HEAD + len);
  pt_mongo_header_write(&h, c->data);
  *out = c;
  return 0;
}
