/* A reply on its way through: read as it comes, in any pieces, without keeping it. Finds whether it went well, whether more follow, and the cursor
 * id, which may be changed in place. */
#ifndef PT_WIRE_MONGO_REPLY_H
#define PT_WIRE_MONGO_REPLY_H

#include "wire/mongo.h"

enum {
  PT_SCAN_NAME = 24,
  PT_SCAN_LABELS = 128
};

/* Zeroed memory is ready for the next message. */
typedef struct pt_mongo_scan {
  pt_mongo_header h; /* known once seen >= 16 */
  uint32_t flags; /* of OP_MSG, known once seen >= 20 */
  uint32_t seen; /* bytes consumed of this message */
  bool whole; /* seen == h.length */
  bool has_ok, ok; /* the top-level field, once it has come */
  bool has_cursor;
  int64_t cursor; /* cursor.id as the backend gave it */
  int32_t code; /* of an error, 0: none */
  /* the scanner's own */
  uint8_t state, type, level, field;
  uint32_t skip; /* bytes of a value still to pass */
  uint32_t ends[2]; /* where the documents it is in end */
  uint8_t nkey;
  char key[PT_SCAN_NAME];
} pt_mongo_scan;

typedef enum pt_scan_result {
  PT_SCAN_MORE, /* all n bytes are consumed, or the rest (at most 20 bytes) must come again with more behind them */
  PT_SCAN_CURSOR, /* *at: the 8 bytes of cursor.id, inside p: change them if need be, then go on */
  PT_SCAN_END, /* the message is whole */
  PT_SCAN_BAD = -1 /* no reply: *used is meaningless */
} pt_scan_result;

/* Consumes up to n bytes at p, which go on where the last call ended; *used: how many. max: largest message. Of OP_COMPRESSED replies
 * only the length is followed. Bodies are trusted to be BSON but never followed out of bounds. */
pt_scan_result pt_mongo_scan_feed(pt_mongo_scan *s, uint8_t *p, size_t n, uint32_t max, size_t *used, uint8_t **at);

#endif
