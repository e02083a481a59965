/* MongoDB messages in place: headers, sections, limits. Pure functions over bytes; nothing is copied. All integers are little endian.
 * Source: MongoDB wire protocol reference; specifications/source/message/OP_MSG.md, source/compression/OP_COMPRESSED.md.
 */
#ifndef PT_WIRE_MONGO_H
#define PT_WIRE_MONGO_H

#include <bson/bson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"

typedef enum pt_opcode {
  PT_OP_REPLY = 1,
  PT_OP_UPDATE = 2001,
  PT_OP_INSERT = 2002,
  PT_OP_QUERY = 2004,
  PT_OP_GET_MORE = 2005,
  PT_OP_DELETE = 2006,
  PT_OP_KILL_CURSORS = 2007,
  PT_OP_COMPRESSED = 2012,
  PT_OP_MSG = 2013
} pt_opcode;

enum {
  PT_MONGO_HEADER = 16,
  PT_MONGO_MAX_MESSAGE = 48000000, /* bytes, header included */
  PT_MONGO_MAX_DOCUMENT = 16 * 1024 * 1024 + 16 * 1024, /* a command document: 16 MiB and what surrounds it */
  PT_MONGO_MAX_DEPTH = 200,
  PT_MONGO_MAX_HELLO = 64 * 1024, /* a message before the handshake has ended */
  PT_MSG_CHECKSUM = 1, /* flags of OP_MSG */
  PT_MSG_MORE = 2,
  PT_MSG_EXHAUST = 1 << 16
};

typedef struct pt_mongo_header {
  uint32_t length;
  int32_t request_id, response_to;
  int32_t opcode;
} pt_mongo_header;

/* Reads 16 bytes. 0, or -EPROTO (*why: a constant text for the log): a length below what the opcode needs or above max, an opcode that
 * does not exist. Legacy opcodes are read: refusing them is the caller's. */
int pt_mongo_header_read(pt_mongo_header *h, const uint8_t *p, uint32_t max, const char **why);
void pt_mongo_header_write(const pt_mongo_header *h, uint8_t *p);
/* "OP_INSERT", "opcode 2010". */
const char *pt_mongo_opcode_name(int opcode);

/* A request or reply as far as it is there. Pointers into the message; valid as long as its bytes. */
typedef struct pt_mongo_message {
  pt_mongo_header h;
  uint32_t flags; /* of OP_MSG (without unknown bits above 16), OP_QUERY, OP_REPLY */
  const uint8_t
      *body; /* the command document: the section of kind 0, the query of OP_QUERY, the first document of OP_REPLY; NULL: none */
  uint32_t body_len, body_at; /* its length, and where it starts in the message */
  const char *ns; /* OP_QUERY: "admin.$cmd"; NULL else */
  uint32_t need; /* after PT_MONGO_MORE: bytes of the message that must be there before it is worth another look */
} pt_mongo_message;

enum {
  PT_MONGO_MORE = 0,
  PT_MONGO_OK = 1
};

/* Looks at the first have >= 16 bytes of a message (have may be less or more than its length). PT_MONGO_OK: the body is there and is a document
 * by its length, end and structure (every element inside its bounds, depth at most PT_MONGO_MAX_DEPTH); the sections that are there are in
 * bounds, and when the message is whole, there is exactly one of kind 0 and nothing is left over. PT_MONGO_MORE: the body is not there yet;
 * a section of kind 1 before it must be whole. -EPROTO, *why: malformed. OP_COMPRESSED and legacy opcodes: -EPROTO. */
int pt_mongo_parse(pt_mongo_message *m, const uint8_t *p, size_t have, uint32_t max, const char **why);

/* Structure of a BSON document of n bytes, without recursion: 0 or -EPROTO, *why. What a backend would accept passes. */
int pt_bson_check(const uint8_t *p, size_t n, const char **why);

/* CRC-32C as OP_MSG's checksum has it, over n bytes. */
uint32_t pt_crc32c(const uint8_t *p, size_t n);
/* After a whole OP_MSG with a checksum has been changed in place: makes it right again. Harmless for others. */
void pt_mongo_seal(uint8_t *p, size_t n);

/* ---- answers made here ---- */

/* Queues the answer to a request: OP_MSG, or OP_REPLY when the request was OP_QUERY. flags: of OP_MSG (PT_MSG_MORE). request_id: that of the
 * answer; response_to: the request's, or in an exhaust stream the former answer's. 0 or -ENOMEM. */
int pt_mongo_answer(pt_segq *out, pt_pool *pool, int request_opcode, int32_t request_id, int32_t response_to, uint32_t flags,
                    const bson_t *doc);
/* Queues a command as OP_MSG (or as OP_QUERY on "admin.$cmd" when opcode says so). doc holds "$db" itself for OP_MSG. 0 or -ENOMEM. */
int pt_mongo_command_write(pt_segq *out, pt_pool *pool, int opcode, int32_t request_id, const bson_t *doc);

/* Labels of errors, or'ed. */
enum {
  PT_LABEL_RETRYABLE_WRITE = 1, /* RetryableWriteError */
  PT_LABEL_TRANSIENT = 2, /* TransientTransactionError */
  PT_LABEL_OVERLOADED = 4 /* SystemOverloadedError and RetryableError */
};

/* Appends { ok: 0, errmsg, code, codeName [, errorLabels] }. */
void pt_mongo_error(bson_t *doc, int code, const char *code_name, unsigned labels, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

#endif
