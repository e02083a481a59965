#include "base/sources.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum {
  SWEEP_MIN = 64 /* entries before it is worth looking for empty ones */
};

struct pt_sources {
  pt_source **buckets;
  size_t mask, n, sweep_at; /* sweep_at: entries at which those without uses are looked for */
  uint64_t seed;
};

static size_t place(const pt_sources *t, const uint64_t key[2], unsigned bits) {
  return pt_mix64(pt_mix64(key[0] ^ t->seed) ^ key[1] ^ bits) & t->mask;
}

pt_sources *pt_sources_new(uint64_t seed) {
  pt_sources *t = calloc(1, sizeof *t);
  if (!t)
    return NULL;
  *t = (pt_sources){.buckets = calloc(SWEEP_MIN, sizeof *t->buckets), .mask = SWEEP_MIN - 1, .sweep_at = SWEEP_MIN, .seed = seed};
  if (!t->buckets) {
    free(t);
    return NULL;
  }
  return t;
}

void pt_sources_free(pt_sources *t) {
  for (size_t i = 0; t && i <= t->mask; i++)
    for (pt_source *s = t->buckets[i], *next; s; s = next) {
      next = s->next;
      free(s);
    }
  if (t)
    free(t->buckets);
  free(t);
}

/* Frees the entries nobody uses; only the owner brings one back to life, so what is seen empty stays empty. */
static void sweep(pt_sources *t) {
  for (size_t i = 0; i <= t->mask; i++)
    for (pt_source **at = &t->buckets[i], *s; (s = *at);) {
      if (atomic_load_explicit(&s->uses, memory_order_acquire)) {
        at = &s->next;
      } else {
        *at = s->next;
        free(s);
        t->n--;
      }
    }
  t->sweep_at = t->n * 2 > SWEEP_MIN ? t->n * 2 : SWEEP_MIN;
}

/* More buckets; without memory the chains are longer. */
static void grow(pt_sources *t) {
  size_t size = (t->mask + 1) * 2, was = t->mask;
  pt_source **old = t->buckets, **more = calloc(size, sizeof(pt_source *));
  if (!more)
    return;
  t->buckets = more;
  t->mask = size - 1;
  for (size_t i = 0; i <= was; i++)
    for (pt_source *s = old[i], *next; s; s = next) {
      next = s->next;
      size_t k = place(t, s->key, s->bits);
      s->next = more[k];
      more[k] = s;
    }
  free(old);
}

static pt_source *add(pt_sources *t, const uint64_t key[2], unsigned bits) {
  if (t->n >= t->sweep_at)
    sweep(t);
  if (t->n > t->mask)
    grow(t);
  pt_source *s = calloc(1, sizeof *s);
  if (!s)
    return NULL;
  memcpy(s->key, key, sizeof s->key);
  s->bits = bits;
  size_t k = place(t, key, bits);
  s->next = t->buckets[k];
  t->buckets[k] = s;
  t->n++;
  return s;
}

int pt_sources_enter(pt_sources *t, const uint8_t ip[16], unsigned bits, unsigned max, pt_source **out) {
  uint64_t key[2];
  memcpy(key, ip, sizeof key);
  pt_source *s = t->buckets[place(t, key, bits)];
  while (s && (s->bits != bits || memcmp(s->key, key, sizeof key)))
    s = s->next;
  if (!s && !(s = add(t, key, bits)))
    return -ENOMEM;
  if (max && atomic_load_explicit(&s->uses, memory_order_relaxed) >= max)
    return -EDQUOT;
  atomic_fetch_add_explicit(&s->uses, 1, memory_order_relaxed);
  *out = s;
  return 0;
}

size_t pt_sources_count(const pt_sources *t) { return t->n; }
