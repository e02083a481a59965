#include "wire/command_table.h"

#include <string.h>
#include <strings.h>

#include "wire/number.h"

#define EACH_BYTE(b) (0x0101010101010101ull * (b))

static inline uint64_t load8(const void *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}

static inline uint64_t load4(const void *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

/* A name of 1 to 24 bytes as three words that overlap. */
typedef struct words {
  uint64_t head, tail, mid;
} words;

static inline words words_of(const uint8_t *p, uint32_t n) {
  if (n >= 8)
    return (words){load8(p), load8(p + n - 8), n > 16 ? load8(p + 8) : 0};
  if (n >= 4)
    return (words){load4(p), load4(p + n - 4), 0};
  return (words){p[0] | (uint64_t)p[n / 2] << 8 | (uint64_t)p[n - 1] << 16, 0, 0};
}

/* 0 when the input spells the name, whose letters are lower case: 0x20 is ignored at letters (0x60 set in the name) and nowhere else. */
static inline uint64_t differ(uint64_t input, uint64_t name) {
  return (input | (name & name << 1 & EACH_BYTE(0x40)) >> 1) ^ name;
}

/* The same arithmetic as perfect_hash in tools/gen_commands.py. seed: 0, or the container's id + 1. */
static inline const pt_command *lookup(const uint8_t *p, uint32_t n, uint64_t seed) {
  if (n - 1 >= PT_COMMAND_NAME_MAX)
    return NULL;
  words in = words_of(p, n);
  uint64_t h = ((in.head | EACH_BYTE(0x20)) + seed) * pt_command_multiplier;
  h = (h ^ (in.tail | EACH_BYTE(0x20))) * pt_command_multiplier >> (64 - PT_COMMAND_BITS);
  const pt_command_slot *s = &pt_command_slots[h];
  if (s->len != n)
    return NULL;
  const pt_command *c = &pt_commands[s->id1 - 1];
  words name = words_of((const uint8_t *)c->name + s->prefix, n);
  return differ(in.head, name.head) | differ(in.tail, name.tail) | differ(in.mid, name.mid) ? NULL : c;
}

const pt_command *pt_command_find(const pt_arg *args, uint32_t nargs, int *subunknown) {
  *subunknown = 0;
  const pt_command *c = nargs ? lookup(args[0].p, args[0].n, 0) : NULL;
  if (!c || !(c->flags & PT_CMD_CONTAINER) || nargs < 2)
    return c;
  const pt_command *sub = lookup(args[1].p, args[1].n, c->id + 1u);
  *subunknown = !sub;
  return sub ? sub : c;
}

/* ---- keys ---- */

typedef struct keys {
  uint32_t *out, max, n;
} keys;

static void add(keys *k, uint32_t index) {
  if (k->n < k->max)
    k->out[k->n] = index;
  k->n++;
}

static int is(const pt_arg *a, const char *word) { return a->n == strlen(word) && !strncasecmp((const char *)a->p, word, a->n); }

static int range(keys *k, const pt_command *c, uint32_t argc) {
  int64_t last = c->last < 0 ? (int64_t)argc + c->last : c->last;
  if (last < c->first || last >= argc || (c->last == -1 && (last + 1 - c->first) % c->step))
    return -1;
  for (int64_t i = c->first; i <= last; i += c->step)
    add(k, (uint32_t)i);
  return 0;
}

static int numkeys(keys *k, const pt_command *c, const pt_arg *args, uint32_t argc) {
  uint32_t at = (uint32_t)c->first;
  int64_t n;
  if (at >= argc || !pt_number(args[at].p, args[at].n, &n) || n < 0 || n >= argc - at)
    return -1;
  if (c->dest)
    add(k, (uint32_t)c->dest);
  for (uint32_t i = 0; i < n; i++)
    add(k, at + 1 + i);
  return 0;
}

/* Index of the word among args[from..argc), never the last of them; 0: not there. */
static uint32_t seek(const pt_arg *args, uint32_t argc, uint32_t from, const char *word) {
  for (uint32_t i = from; i + 1 < argc; i++)
    if (is(&args[i], word))
      return i;
  return 0;
}

static int streams(keys *k, const pt_command *c, const pt_arg *args, uint32_t argc) {
  uint32_t at = seek(args, argc, (uint32_t)c->first, "streams"), n = argc - at - 1;
  if (!at || n % 2)
    return -1;
  for (uint32_t i = 1; i <= n / 2; i++)
    add(k, at + i);
  return 0;
}

static int sort(keys *k, const pt_arg *args, uint32_t argc) {
  uint32_t store = 0;
  if (argc < 2)
    return -1;
  for (uint32_t i = 2; i + 1 < argc; i++)
    if (is(&args[i], "limit"))
      i += 2;
    else if (is(&args[i], "get") || is(&args[i], "by"))
      i++;
    else if (is(&args[i], "store"))
      store = i + 1;
  add(k, 1);
  if (store)
    add(k, store);
  return 0;
}

static int migrate(keys *k, const pt_arg *args, uint32_t argc) {
  if (argc < 6)
    return -1;
  uint32_t i = 6;
  for (; i < argc && !is(&args[i], "keys"); i++)
    i += is(&args[i], "auth") ? 1 : is(&args[i], "auth2") ? 2 : 0;
  if (i >= argc) {
    add(k, 3);
    return 0;
  }
  if (args[3].n)
    return -1;
  while (++i < argc)
    add(k, i);
  return 0;
}

static int georadius(keys *k, const pt_command *c, const pt_arg *args, uint32_t argc) {
  if (argc < 2)
    return -1;
  uint32_t store = seek(args, argc, (uint32_t)c->dest, "store"), dist = seek(args, argc, (uint32_t)c->dest, "storedist");
  add(k, 1);
  if (store)
    add(k, store + 1);
  if (dist)
    add(k, dist + 1);
  return 0;
}

int pt_command_keys(const pt_command *c, const pt_arg *args, uint32_t argc, uint32_t *out, uint32_t max) {
  keys k = {out, max, 0};
  int e = 0;
  switch (c->keyspec) {
  case PT_KEYS_NONE:
    break;
  case PT_KEYS_RANGE:
    e = range(&k, c, argc);
    break;
  case PT_KEYS_NUM:
    e = numkeys(&k, c, args, argc);
    break;
  case PT_KEYS_STREAMS:
    e = streams(&k, c, args, argc);
    break;
  case PT_KEYS_SORT:
    e = sort(&k, args, argc);
    break;
  case PT_KEYS_MIGRATE:
    e = migrate(&k, args, argc);
    break;
  case PT_KEYS_GEORADIUS:
    e = georadius(&k, c, args, argc);
    break;
  }
  return e ? e : (int)k.n;
}
