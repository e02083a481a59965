/* Messages and commands: a prefix never contradicts the whole, everything that is named lies inside, a sealed message has the right checksum.
 * A length of 0, of the message or of the document behind the flags, stands for the right one, so that both are easily met. */
#include <stdlib.h>
#include <string.h>

#include "wire/mongo_command.h"

static void check(int ok) {
  if (!ok)
    abort();
}

static uint8_t *copy_of(const uint8_t *p, size_t n) {
  uint8_t *copy = malloc(n ? n : 1);
  memcpy(copy, p, n);
  return copy;
}

static void check_command(const pt_mongo_message *m) {
  const uint8_t *p = m->body, *end = p + m->body_len;
  pt_mongo_command c;
  const char *why = NULL;
  int e = pt_mongo_command_read(&c, m, &why);
  check(e == 0 || (e == -EPROTO && why));
  if (e)
    return;
  check((const uint8_t *)c.name > p && (const uint8_t *)c.name + strlen(c.name) < end);
  check(!*c.db || ((const uint8_t *)c.db > p && (const uint8_t *)c.db + strlen(c.db) < end));
  check(!c.lsid || (c.lsid > p && c.lsid + 16 < end));
  check(c.txn_number >= -1);
  check((c.verb == PT_MVERB_GET_MORE) == (c.cursor_at != 0));
  check(!c.cursor_at || !memcmp(p + c.cursor_at, &c.cursor, 8));
  check(!c.cursors_at || c.verb == PT_MVERB_KILL_CURSORS);
  uint32_t next = 0, at, before = 0, n = 0;
  int64_t id;
  while ((e = pt_mongo_kill_next(m, &c, &next, &id, &at)) > 0) {
    check(at > before && at + 8 < m->body_len && !memcmp(p + at, &id, 8) && n++ < m->body_len / 10);
    before = at;
  }
  check(e == 0 || e == -EPROTO);
}

/* Parses a copy of its own size, so that a read too far is seen. The pointers of m are gone afterwards. */
static int parse(const uint8_t *buf, size_t n, pt_mongo_message *m) {
  const char *why = NULL;
  uint8_t *copy = copy_of(buf, n);
  int e = pt_mongo_parse(m, copy, n, PT_MONGO_MAX_MESSAGE, &why);
  check(e == PT_MONGO_OK || (e == PT_MONGO_MORE && m->need > n && m->need <= m->h.length) || (e == -EPROTO && why));
  if (e == PT_MONGO_OK && m->body) {
    check(m->body == copy + m->body_at && m->body_at + m->body_len <= n && !pt_bson_check(m->body, m->body_len, &why));
    check_command(m);
  }
  free(copy);
  return e;
}

static void check_prefixes(const uint8_t *buf, size_t n, int e, const pt_mongo_message *whole) {
  for (size_t cut = PT_MONGO_HEADER; cut < n; cut += 1 + n / 64) {
    pt_mongo_message m;
    int p = parse(buf, cut, &m);
    if (p == -EPROTO)
      check(e == -EPROTO);
    else if (p == PT_MONGO_OK && e == PT_MONGO_OK)
      check(m.body_at == whole->body_at && m.body_len == whole->body_len && m.flags == whole->flags);
    else if (e == PT_MONGO_OK)
      check(cut < whole->body_at + (whole->body ? whole->body_len : PT_MONGO_HEADER + 20u));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n) {
  pt_mongo_message m, sealed;
  const uint32_t zero = 0, length = (uint32_t)n, document = (uint32_t)n - 21;
  if (n < PT_MONGO_HEADER || n > 1 << 16)
    return 0;
  uint8_t *p = copy_of(buf, n);
  if (!memcmp(p, &zero, 4))
    memcpy(p, &length, 4);
  if (n >= 26 && p[12] == 0xdd && p[20] == 0 && !memcmp(p + 21, &zero, 4))
    memcpy(p + 21, &document, 4);
  int e = parse(p, n, &m);
  check_prefixes(p, n, e, &m);
  pt_mongo_seal(p, n);
  int again = parse(p, n, &sealed);
  if (e == PT_MONGO_OK)
    check(again == e && sealed.body_at == m.body_at && sealed.body_len == m.body_len);
  free(p);
  return 0;
}
