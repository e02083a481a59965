/* Replies followed in pieces: any fragmentation ends where the whole does and finds the same; what parses is followed to its end, and what is found
 * is what a walk over the document finds. A length of 0, of the message or of the document behind the flags, stands for the right one. */
#include <stdlib.h>
#include <string.h>

#include "wire/bson_hop.h"
#include "wire/mongo_reply.h"

static void check(int ok) {
  if (!ok)
    abort();
}

typedef struct found {
  int result, cursors;
  size_t end, cursor_at;
  pt_mongo_scan s;
} found;

/* Feeds one message in pieces whose sizes come from seed (0: all at once), each in memory of its own; what is not used comes again. */
static found feed(const uint8_t *buf, size_t n, unsigned seed) {
  found f = {.result = PT_SCAN_MORE};
  size_t have = 0;
  while (f.result == PT_SCAN_MORE && f.end + have < n) {
    size_t more = seed ? 1 + (size_t)rand_r(&seed) % (seed % 4 ? 5 : 500) : n, used, off = 0;
    have = have + more < n - f.end ? have + more : n - f.end;
    uint8_t *piece = malloc(have), *at;
    memcpy(piece, buf + f.end, have);
    while ((f.result = pt_mongo_scan_feed(&f.s, piece + off, have - off, PT_MONGO_MAX_MESSAGE, &used, &at)) == PT_SCAN_CURSOR) {
      check(at >= piece + off && at + 8 <= piece + off + used && !memcmp(at, &f.s.cursor, 8));
      f.cursor_at = f.end + (size_t)(at - piece);
      f.cursors++;
      off += used;
    }
    free(piece);
    if (f.result == PT_SCAN_BAD)
      return f;
    off += used;
    check(off <= have && (f.result == PT_SCAN_END || have - off <= 20));
    f.end += off;
    have -= off;
    check(f.s.seen == f.end && f.s.whole == (f.result == PT_SCAN_END) && f.cursors == f.s.has_cursor);
  }
  return f;
}

static void check_same(const found *a, const found *b) {
  check(a->result == b->result);
  if (a->result == PT_SCAN_BAD)
    return;
  check(a->cursors == b->cursors && a->cursor_at == b->cursor_at && a->s.cursor == b->s.cursor);
  check(a->s.has_ok == b->s.has_ok && a->s.ok == b->s.ok && a->s.code == b->s.code && a->s.flags == b->s.flags);
  check(a->result != PT_SCAN_END || a->end == b->end);
}

/* Where the walk finds cursor.id in a document that starts at at, 0: nowhere; and whether ok is a number. */
static size_t walk(const uint8_t *p, size_t at, size_t len, bool *has_ok) {
  pt_hop h = pt_hop_over(p, at, len);
  size_t cursor_at = 0;
  while (pt_hop_next(&h) > 0) {
    if (PT_HOP_IS(&h, "ok"))
      *has_ok |= h.type == PT_BSON_DOUBLE || h.type == PT_BSON_BOOL || h.type == PT_BSON_INT32 || h.type == PT_BSON_INT64;
    if (!PT_HOP_IS(&h, "cursor") || h.type != PT_BSON_DOCUMENT || cursor_at)
      continue;
    pt_hop in = pt_hop_over(h.value, 0, h.value_len);
    while (!cursor_at && pt_hop_next(&in) > 0)
      if (PT_HOP_IS(&in, "id") && in.type == PT_BSON_INT64)
        cursor_at = (size_t)(in.value - p);
  }
  return cursor_at;
}

int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n) {
  const uint32_t zero = 0, length = (uint32_t)n, document = (uint32_t)n - 21;
  if (n < PT_MONGO_HEADER || n > 1 << 16)
    return 0;
  uint8_t *p = malloc(n);
  memcpy(p, buf, n);
  if (!memcmp(p, &zero, 4))
    memcpy(p, &length, 4);
  if (n >= 26 && p[12] == 0xdd && p[20] == 0 && !memcmp(p + 21, &zero, 4))
    memcpy(p + 21, &document, 4);
  found whole = feed(p, n, 0);
  for (unsigned seed = 1; seed <= 4; seed++) {
    found f = feed(p, n, seed);
    check_same(&whole, &f);
  }
  pt_mongo_message m;
  const char *why;
  pt_mongo_seal(p, n);
  if (pt_mongo_parse(&m, p, n, PT_MONGO_MAX_MESSAGE, &why) == PT_MONGO_OK && m.h.length <= n && m.h.opcode != PT_OP_QUERY) {
    bool has_ok = false;
    check(whole.result == PT_SCAN_END && whole.end == m.h.length);
    check((m.body ? walk(p, m.body_at, m.body_len, &has_ok) : 0) == whole.cursor_at);
    check(has_ok == whole.s.has_ok);
  }
  free(p);
  return 0;
}
