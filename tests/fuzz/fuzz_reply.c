/* Reply framing: any fragmentation ends where the whole does, and the tree agrees with the scan. */
#include <stdlib.h>
#include <string.h>

#include "wire/resp.h"

static void check(int ok) {
  if (!ok)
    abort();
}

/* Feeds one reply in pieces whose sizes come from seed; unused bytes are kept. Returns the last result, *end: where the reply ended. */
static int feed(const uint8_t *buf, size_t n, unsigned seed, size_t *end) {
  pt_reply r = {0};
  size_t at = 0, have = 0;
  int e = PT_RESP_MORE;
  while (e == PT_RESP_MORE && at + have < n) {
    size_t more = 1 + rand_r(&seed) % (seed % 4 ? 5 : 500), used = 0;
    have = have + more < n - at ? have + more : n - at;
    uint8_t *piece = malloc(have);
    memcpy(piece, buf + at, have);
    e = pt_reply_scan(&r, piece, have, &used);
    free(piece);
    check(used <= have && (e == PT_RESP_BAD || r.inside == (e == PT_RESP_MORE && at + used > 0)));
    at += used;
    have -= used;
  }
  *end = at;
  return e;
}

/* Nodes of a tree; children are as many as their parent says. */
static size_t count(const pt_node *n, const uint8_t *buf, size_t len) {
  size_t sum = 1;
  int64_t children = 0;
  for (const pt_node *c = n->child; c; c = c->next, children++)
    sum += count(c, buf, len);
  if (n->type && strchr("*%~>", n->type))
    check(n->num == children);
  else
    check(!children);
  check(!n->p || (n->p > buf && n->p + n->n + 2 <= buf + len));
  return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n) {
  static pt_node pool[1 << 16];
  if (n > sizeof pool / sizeof *pool)
    return 0;
  size_t at = 0;
  for (int replies = 0; at < n && replies < 64; replies++) {
    pt_reply r = {0};
    size_t whole, end;
    int e = pt_reply_scan(&r, buf + at, n - at, &whole);
    for (unsigned seed = 1; seed <= 4; seed++) {
      check(feed(buf + at, n - at, seed, &end) == e);
      check(e == PT_RESP_BAD || end == whole);
    }
    pt_node *root = pt_reply_tree(buf + at, n - at, pool, sizeof pool / sizeof *pool);
    check(!root || (e == PT_RESP_OK && root == pool && count(root, buf + at, whole) <= whole / 3));
    if (e != PT_RESP_OK)
      break;
    check(whole > 0 && whole <= n - at);
    /* Only depth can be in the way of a tree. */
    size_t aggregates = 0;
    for (size_t i = 0; i < whole; i++)
      aggregates += strchr("*%~>", buf[at + i] ? buf[at + i] : 'x') != NULL;
    check(root || aggregates > PT_RESP_MAX_DEPTH);
    at += whole;
  }
  return 0;
}
