/* OP_COMPRESSED: a whole message in and out. Source: specifications/source/compression/OP_COMPRESSED.md. */
#ifndef PT_WIRE_MONGO_COMPRESS_H
#define PT_WIRE_MONGO_COMPRESS_H

#include "wire/mongo.h"

typedef enum pt_compressor {
  PT_COMPRESS_NOOP = 0,
  PT_COMPRESS_SNAPPY = 1,
  PT_COMPRESS_ZLIB = 2,
  PT_COMPRESS_ZSTD = 3
} pt_compressor;

/* Unpacks a whole OP_COMPRESSED message of n bytes into a new chunk (one reference, fill = length of the plain message, whose header has the
 * original opcode). max: largest plain message; what unpacks to anything but the size it promises is refused. *compressor: which it was.
 * 0, -ENOMEM, -EPROTO (*why). */
int pt_mongo_unpack(const uint8_t *p, size_t n, uint32_t max, pt_pool *pool, pt_chunk **out, uint8_t *compressor,
                    const char **why);
/* Packs a whole plain message. The result may be larger. 0, -ENOMEM, -EPROTO: it is no whole OP_MSG, OP_QUERY or OP_REPLY. */
int pt_mongo_pack(const uint8_t *p, size_t n, uint8_t compressor, pt_pool *pool, pt_chunk **out);
/* "snappy"; NULL: no such compressor. And the reverse, -1. */
const char *pt_compressor_name(unsigned id);
int pt_compressor_id(const char *name);

#endif
