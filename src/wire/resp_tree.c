#include "wire/resp.h"

#include <string.h>

typedef struct tree {
  pt_node *pool;
  size_t used, max;
  const uint8_t *end;
} tree;

/* The scan has found the reply whole and well formed: what follows checks only depth and pool. */

static int64_t number(const uint8_t *p) {
  int negative = *p == '-';
  uint64_t v = 0;
  for (p += negative; *p != '\r'; p++)
    v = v * 10 + (*p - (uint64_t)'0');
  return negative ? (int64_t)(0 - v) : (int64_t)v;
}

/* Behind the attributes at p. */
static const uint8_t *skip_attributes(const tree *t, const uint8_t *p) {
  while (*p == '|') {
    pt_reply inner = {.inside = 1, .left = 2 * (uint64_t)number(p + 1)};
    p = (const uint8_t *)memchr(p, '\n', (size_t)(t->end - p)) + 1;
    size_t used;
    if (inner.left && pt_reply_scan(&inner, p, (size_t)(t->end - p), &used) == PT_RESP_OK)
      p += used;
  }
  return p;
}

/* A bulk string whose n bytes lie at p. */
static void set_text(pt_node *node, const uint8_t *p, uint32_t n) {
  int tagged = node->type == '=' && n >= 4 && p[3] == ':';
  node->p = tagged ? p + 4 : p;
  node->n = tagged ? n - 4 : n;
  if (node->type == '!')
    node->type = '-';
}

/* Builds the value at p as *out. Returns what follows it, NULL: too deep or too many. */
static const uint8_t *build(tree *t, const uint8_t *p, unsigned depth, pt_node **out) {
  p = skip_attributes(t, p);
  if (t->used == t->max || depth > PT_RESP_MAX_DEPTH)
    return NULL;
  pt_node *node = *out = &t->pool[t->used++];
  *node = (pt_node){.type = (char)*p};
  const uint8_t *line = p + 1, *next = line;
  while ((next = memchr(next, '\n', (size_t)(t->end - next))) && next[-1] != '\r')
    next++;
  next++;
  switch (node->type) {
  case '+':
  case '-':
  case ',':
  case '(':
    set_text(node, line, (uint32_t)(next - 2 - line));
    return next;
  case ':':
    node->num = number(line);
    return next;
  case '#':
    node->num = *line == 't';
    return next;
  case '_':
    return next;
  }
  int64_t n = number(line);
  if (n < 0) {
    node->type = '_';
    return next;
  }
  if (node->type == '$' || node->type == '=' || node->type == '!') {
    set_text(node, next, (uint32_t)n);
    return next + n + 2;
  }
  node->num = node->type == '%' ? 2 * n : n;
  pt_node **link = &node->child;
  for (int64_t i = 0; i < node->num; i++, link = &(*link)->next)
    if (!(next = build(t, next, depth + 1, link)))
      return NULL;
  return next;
}

pt_node *pt_reply_tree(const uint8_t *buf, size_t n, pt_node *pool, size_t max) {
  pt_reply whole = {0};
  size_t used;
  pt_node *root;
  if (n > UINT32_MAX || pt_reply_scan(&whole, buf, n, &used) != PT_RESP_OK)
    return NULL;
  tree t = {.pool = pool, .max = max, .end = buf + used};
  return build(&t, buf, 0, &root) ? root : NULL;
}
