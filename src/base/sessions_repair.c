/* What is done after a process was killed in the middle of a call, and the check that all fits. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/sessions_table.h"

enum {
  SPINS = 100,
  NAP_US = 50
};

/* By trying, not by sleeping on the lock: a sleeper that is killed when it is woken takes the wake-up with it, and the others would sleep on. Locks
 * are held for less than a nap. */
int pt_shard_wait(shard *s, unsigned ms) {
  int rc = EBUSY;
  for (unsigned i = 0; rc == EBUSY && i / (1000 / NAP_US) < ms; i++) {
    if (i >= SPINS)
      usleep(NAP_US);
    rc = pthread_mutex_trylock(&s->head->lock);
  }
  return rc == EBUSY ? ETIMEDOUT : rc;
}

void pt_shard_lock_slowly(const pt_sessions *t, shard *s, int rc) {
  while (rc == EBUSY || rc == ETIMEDOUT)
    rc = pt_shard_wait(s, UINT_MAX);
  if (rc == EOWNERDEAD) {
    pt_sessions_rebuild(t, s);
    pthread_mutex_consistent(&s->head->lock);
  }
}

static bool is_entry(const node *x) { return x->kind < PT_SESSION_KINDS && x->backend < PT_SESSION_BACKENDS && x->in_txn <= 1; }

/* What was half put in or half taken out is not there; in what order entries were used is forgotten, but not when. */
void pt_sessions_rebuild(const pt_sessions *t, shard *s) {
  shard_head *h = s->head;
  memset(h->stats.entries, 0, sizeof h->stats.entries);
  h->stats.repaired++;
  h->free = NO_NODE;
  if (!h->cap)
    h->n = 0;
  else if (h->n < FIRST)
    h->n = FIRST;
  if (!h->cap)
    return;
  memset(s->buckets, 0, h->cap * sizeof *s->buckets);
  pt_ring_heads(s);
  for (uint32_t i = h->n; i-- > FIRST;) {
    node *x = &s->nodes[i];
    if (is_entry(x)) {
      h->stats.entries[x->kind]++;
      pt_chain_in(s, pt_hash_of_node(t, x), i);
      pt_ring_in(s, i);
    } else {
      x->kind = FREE;
      x->chain = h->free;
      h->free = i;
    }
  }
}

void pt_sessions_give_up(pt_sessions *t, uint32_t party) {
  for (unsigned k = 0; k < SHARDS; k++) {
    shard *s = &t->shards[k];
    pt_shard_lock(t, s);
    for (uint32_t i = FIRST; i < s->head->n; i++) {
      node *x = &s->nodes[i];
      if (x->kind == PT_SESSION_IDENTITY && x->uses[party]) {
        x->uses[party] = 0;
        pt_ring_again(s, i);
      }
    }
    pt_shard_unlock(s);
  }
}

static void lock_all(pt_sessions *t) {
  for (unsigned k = 0; k < SHARDS; k++)
    pt_shard_lock(t, &t->shards[k]);
}

static void unlock_all(pt_sessions *t) {
  for (unsigned k = 0; k < SHARDS; k++)
    pt_shard_unlock(&t->shards[k]);
}

#define EACH_NODE(t, s, x)                                                                                                       \
  for (shard *s = (t)->shards; s < (t)->shards + SHARDS; s++)                                                                    \
    for (node *x = s->nodes + FIRST; x < s->nodes + s->head->n; x++)

static node *session_of(pt_sessions *t, pt_session_key key) {
  uint64_t hash = pt_hash_of(t, PT_SESSION_LSID, key);
  const shard *s = &t->shards[hash >> SHARD_SHIFT];
  uint32_t i = s->head->cap ? *pt_bucket_of(s, hash) : NO_NODE;
  while (i != NO_NODE && !(s->nodes[i].kind == PT_SESSION_LSID && s->nodes[i].a == key.a && s->nodes[i].b == key.b))
    i = s->nodes[i].chain;
  return i == NO_NODE ? NULL : &s->nodes[i];
}

/* Everything is locked: what is counted across shards, and the cursors of each session (as it was before in uses[1], for a moment). */
static void count_again(pt_sessions *t) {
  size_t count = 0;
  for (unsigned b = 0; b < PT_SESSION_BACKENDS; b++)
    atomic_store_explicit(&t->table->pinned[b], 0, memory_order_relaxed);
  EACH_NODE(t, s, x) {
    if (x->kind == FREE)
      continue;
    count++;
    if (pt_is_pinned(x))
      atomic_fetch_add_explicit(&t->table->pinned[x->backend], 1, memory_order_relaxed);
    if (x->kind == PT_SESSION_LSID) {
      x->uses[1] = x->uses[0];
      x->uses[0] = 0;
    }
  }
  atomic_store(&t->table->count, count);
  EACH_NODE(t, s, x) {
    node *owner = x->kind == PT_SESSION_CURSOR && !pt_is_nobody(x->owner) ? session_of(t, x->owner) : NULL;
    if (owner)
      owner->uses[0]++;
  }
  EACH_NODE(t, s, x) {
    if (x->kind != PT_SESSION_LSID)
      continue;
    bool changed = !x->uses[0] != !x->uses[1];
    x->uses[1] = 0;
    if (changed)
      pt_ring_again(s, (uint32_t)(x - s->nodes));
  }
}

void pt_sessions_abandon(pt_sessions *t) {
  uint32_t other = !t->party;
  if (!atomic_load(&t->table->party[other]))
    return;
  pt_sessions_give_up(t, other);
  pthread_rwlock_wrlock(&t->crossing);
  lock_all(t);
  count_again(t);
  unlock_all(t);
  pthread_rwlock_unlock(&t->crossing);
  atomic_store(&t->table->party[other], 0);
}

/* ---- checking ---- */

bool pt_sessions_bounded(const pt_sessions *t, const shard *s) {
  const shard_head *h = s->head;
  if (!h->cap)
    return !h->n && h->free == NO_NODE;
  return h->cap >= FIRST_NODES && h->cap <= t->reach && !(h->cap & (h->cap - 1)) && h->n >= FIRST && h->n <= h->cap &&
         h->free < h->n;
}

/* Each walk counts what it meets, no further than there are nodes, and follows only what is inside. */
static uint32_t walk_free(const shard *s) {
  uint32_t met = 0, i = s->head->free;
  for (; i >= FIRST && i < s->head->n && s->nodes[i].kind == FREE && met < s->head->n; i = s->nodes[i].chain)
    met++;
  return i == NO_NODE ? met : UINT32_MAX;
}

static uint32_t walk_chains(const pt_sessions *t, const shard *s) {
  uint32_t met = 0;
  for (uint32_t b = 0; b < s->head->cap; b++) {
    uint32_t i = s->buckets[b];
    for (; i >= FIRST && i < s->head->n && is_entry(&s->nodes[i]) && met < s->head->n; i = s->nodes[i].chain, met++)
      if (pt_bucket_of(s, pt_hash_of_node(t, &s->nodes[i])) != &s->buckets[b])
        return UINT32_MAX;
    if (i != NO_NODE)
      return UINT32_MAX;
  }
  return met;
}

static uint32_t walk_ring(const shard *s, uint32_t head) {
  uint32_t met = 0, before = head, i = s->nodes[head].next;
  for (; i >= FIRST && i < s->head->n && met < s->head->n; before = i, i = s->nodes[i].next, met++)
    if (s->nodes[i].prev != before || !is_entry(&s->nodes[i]) || pt_ring_of(&s->nodes[i]) != head)
      return UINT32_MAX;
  return i == head && s->nodes[head].prev == before ? met : UINT32_MAX;
}

bool pt_sessions_fits(const pt_sessions *t, const shard *s) {
  const shard_head *h = s->head;
  size_t entries[PT_SESSION_KINDS] = {0};
  uint32_t n = 0;
  if (!pt_sessions_bounded(t, s))
    return false;
  for (uint32_t i = FIRST; i < h->n; i++) {
    const node *x = &s->nodes[i];
    if (x->kind == FREE)
      continue;
    if (!is_entry(x) || pt_hash_of_node(t, x) >> SHARD_SHIFT != (uint64_t)(s - t->shards))
      return false;
    entries[x->kind]++;
    n++;
  }
  if (memcmp(entries, h->stats.entries, sizeof entries))
    return false;
  return !h->cap || (walk_free(s) == h->n - FIRST - n && walk_chains(t, s) == n && walk_ring(s, IDLE) + walk_ring(s, BUSY) == n);
}

bool pt_sessions_sound(pt_sessions *t) {
  uint32_t pinned[PT_SESSION_BACKENDS] = {0};
  size_t count = 0;
  bool sound = true;
  lock_all(t);
  for (unsigned k = 0; k < SHARDS; k++)
    sound = sound && pt_sessions_fits(t, &t->shards[k]);
  EACH_NODE(t, s, x) {
    if (!sound || x->kind == FREE)
      continue;
    count++;
    pinned[x->backend] += pt_is_pinned(x);
  }
  sound = sound && count == atomic_load(&t->table->count);
  for (unsigned b = 0; b < PT_SESSION_BACKENDS; b++)
    sound = sound && pinned[b] == atomic_load(&t->table->pinned[b]);
  unlock_all(t);
  return sound;
}
