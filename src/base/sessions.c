#include <string.h>

#include "base/sessions_table.h"

enum {
  OWNERS = 64 /* entries with an owner taken out while a shard is locked */
};

/* Owners of cursors taken out: their uses are given back after the shard is unlocked, since two shards are never locked together. */
typedef struct owners {
  unsigned n;
  pt_session_key at[OWNERS];
} owners;

/* ---- nodes of a locked shard ---- */

static shard *lock_of(pt_sessions *t, uint64_t hash) {
  shard *s = &t->shards[hash >> SHARD_SHIFT];
  pt_shard_lock(t, s);
  return s;
}

static const pt_session_key NOBODY = {0, 0};

/* Where a use of ours is counted. */
static unsigned place_of_uses(const pt_sessions *t, pt_session_kind kind) { return kind == PT_SESSION_IDENTITY ? t->party : 0; }

/* After a use: to the front of the ring it belongs to now. now_ms 0: it is no use. */
static void touch(shard *s, uint32_t i, uint64_t now_ms) {
  node *x = &s->nodes[i];
  if (now_ms > x->last)
    x->last = now_ms;
  pt_ring_again(s, i);
}

/* Frees an entry. Its owner, zeros: none. */
static pt_session_key take_out(pt_sessions *t, shard *s, uint32_t i) {
  node *x = &s->nodes[i];
  uint8_t kind = x->kind;
  pt_session_key owner = kind == PT_SESSION_CURSOR ? x->owner : NOBODY;
  uint32_t *at = pt_bucket_of(s, pt_hash_of_node(t, x));
  pt_in_order();
  bool pinned = pt_is_pinned(x);
  x->kind = FREE;
  pt_in_order();
  while (*at != i)
    at = &s->nodes[*at].chain;
  *at = x->chain;
  pt_ring_out(s, i);
  if (pinned)
    atomic_fetch_sub(&t->table->pinned[x->backend], 1);
  s->head->stats.entries[kind]--;
  atomic_fetch_sub(&t->table->count, 1);
  x->chain = s->head->free;
  s->head->free = i;
  return owner;
}

/* Connections hold an identity and cursors a session, however old; cursors and transactions themselves the backend has given up by then. */
static bool is_over(const pt_sessions *t, const node *x, uint64_t now_ms) {
  bool held = pt_uses(x) && x->kind != PT_SESSION_CURSOR;
  return !held && now_ms > x->last && now_ms - x->last >= atomic_load_explicit(&t->table->timeout, memory_order_relaxed);
}

/* The living entry of a key, NO_NODE. One that is over is taken out, but for cursors: the sweep does that. */
static uint32_t look_up(pt_sessions *t, shard *s, pt_session_kind kind, pt_session_key key, uint64_t hash, uint64_t now_ms) {
  uint32_t i = s->head->cap ? *pt_bucket_of(s, hash) : NO_NODE;
  for (; i != NO_NODE; i = s->nodes[i].chain) {
    const node *x = &s->nodes[i];
    if (x->a == key.a && x->kind == kind && (kind == PT_SESSION_CURSOR || x->b == key.b))
      break;
  }
  if (i == NO_NODE || !is_over(t, &s->nodes[i], now_ms))
    return i;
  if (kind != PT_SESSION_CURSOR) {
    take_out(t, s, i);
    s->head->stats.expired++;
  }
  return NO_NODE;
}

static bool grow(const pt_sessions *t, shard *s) {
  shard_head *h = s->head;
  uint32_t was = h->cap, cap = was ? 2 * was : FIRST_NODES;
  if (cap > t->reach || pt_sessions_back(t, s->nodes + was, (cap - was) * sizeof *s->nodes) ||
      pt_sessions_back(t, s->buckets + was, (cap - was) * sizeof *s->buckets))
    return false;
  h->cap = cap;
  if (!was) {
    pt_ring_heads(s);
    h->n = FIRST;
  }
  memset(s->buckets, 0, cap * sizeof *s->buckets);
  for (uint32_t i = FIRST; i < h->n; i++) /* there is no free one, or it would have been taken */
    pt_chain_in(s, pt_hash_of_node(t, &s->nodes[i]), i);
  return true;
}

/* A new entry of what is in of, which is FREE until it is there. NO_NODE: no memory. */
static uint32_t put_in(pt_sessions *t, shard *s, pt_session_kind kind, uint64_t hash, const node *of) {
  shard_head *h = s->head;
  bool again = h->free != NO_NODE;
  if (!again && h->n == h->cap && !grow(t, s))
    return NO_NODE;
  uint32_t i = again ? h->free : h->n;
  node *x = &s->nodes[i];
  if (again)
    h->free = x->chain;
  *x = *of;
  pt_in_order();
  if (!again)
    h->n++;
  x->kind = (uint8_t)kind;
  pt_in_order();
  pt_chain_in(s, hash, i);
  pt_ring_in(s, i);
  if (pt_is_pinned(x))
    atomic_fetch_add(&t->table->pinned[x->backend], 1);
  h->stats.entries[kind]++;
  h->stats.made++;
  atomic_fetch_add(&t->table->count, 1);
  return i;
}

static void tell(const shard *s, uint32_t i, pt_session *out) {
  const node *x = &s->nodes[i];
  *out = (pt_session){.backend = x->backend, .uses = pt_uses(x), .txn = -1, .in_txn = x->in_txn};
  if (x->kind == PT_SESSION_LSID)
    out->txn = x->txn;
  if (x->kind == PT_SESSION_CURSOR) {
    out->value = x->value;
    out->owner = x->owner;
  }
}

static void set_txn(pt_sessions *t, node *x, int64_t number, bool open) {
  if (x->in_txn != open)
    atomic_fetch_add(&t->table->pinned[x->backend], open ? 1u : -1u);
  x->txn = number;
  x->in_txn = open;
}

/* ---- across shards, none locked ---- */

static void give_back(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms) {
  uint64_t hash = pt_hash_of(t, kind, key);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, now_ms);
  if (i != NO_NODE) {
    uint32_t *uses = &s->nodes[i].uses[place_of_uses(t, kind)];
    *uses -= *uses > 0;
    touch(s, i, now_ms);
  }
  pt_shard_unlock(s);
}

static void one_cursor_less(pt_sessions *t, pt_session_key owner, uint64_t now_ms) {
  if (!pt_is_nobody(owner))
    give_back(t, PT_SESSION_LSID, owner, now_ms);
}

static void note(owners *o, pt_session_key owner) {
  if (!pt_is_nobody(owner))
    o->at[o->n++] = owner;
}

static void settle(pt_sessions *t, owners *o) {
  while (o->n)
    one_cursor_less(t, o->at[--o->n], 0);
}

/* Takes one entry out, of the shard of hash or else of another. ring: IDLE or BUSY. */
static bool evict(pt_sessions *t, uint64_t hash, uint32_t ring) {
  pt_session_key owner = NOBODY;
  bool done = false;
  for (uint64_t k = 0; k < SHARDS && !done; k++) {
    shard *s = lock_of(t, hash + (k << SHARD_SHIFT));
    uint32_t i = s->head->cap ? s->nodes[ring].prev : ring;
    if ((done = i != ring)) {
      owner = take_out(t, s, i);
      s->head->stats.evicted++;
    }
    pt_shard_unlock(s);
  }
  one_cursor_less(t, owner, 0);
  return done;
}

/* Two go for each that comes, so that a table above a new, smaller max shrinks. */
static void make_room(pt_sessions *t, uint64_t hash) {
  for (int i = 0; i < 2 && atomic_load(&t->table->count) >= atomic_load(&t->table->max); i++)
    if (!evict(t, hash, IDLE) && !evict(t, hash, BUSY))
      return;
}

/* ---- the table ---- */

bool pt_sessions_find(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms, pt_session *out) {
  uint64_t hash = pt_hash_of(t, kind, key);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, now_ms);
  if (i != NO_NODE) {
    touch(s, i, now_ms);
    tell(s, i, out);
    s->head->stats.found++;
  }
  pt_shard_unlock(s);
  return i != NO_NODE;
}

int pt_sessions_claim(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms, uint32_t backend, uint32_t uses,
                      pt_session *out) {
  bool made = false;
  uint64_t hash = pt_hash_of(t, kind, key);
  if (backend >= PT_SESSION_BACKENDS || kind == PT_SESSION_CURSOR)
    return -EINVAL;
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, now_ms);
  if (i == NO_NODE && atomic_load(&t->table->count) >= atomic_load(&t->table->max)) {
    pt_shard_unlock(s);
    pthread_rwlock_rdlock(&t->crossing);
    make_room(t, hash);
    pthread_rwlock_unlock(&t->crossing);
    s = lock_of(t, hash);
    i = look_up(t, s, kind, key, hash, now_ms); /* somebody else may have come first */
  }
  if (i != NO_NODE) {
    s->nodes[i].uses[place_of_uses(t, kind)] += uses;
    touch(s, i, now_ms);
  } else {
    node of = {.a = key.a, .b = key.b, .txn = -1, .last = now_ms, .backend = (uint16_t)backend, .kind = FREE};
    of.uses[place_of_uses(t, kind)] = uses;
    i = put_in(t, s, kind, hash, &of);
    made = i != NO_NODE;
  }
  if (i != NO_NODE)
    tell(s, i, out);
  pt_shard_unlock(s);
  return i == NO_NODE ? -ENOMEM : made;
}

bool pt_sessions_move(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms, uint32_t from, uint32_t to,
                      bool force, pt_session *out) {
  uint64_t hash = pt_hash_of(t, kind, key);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, now_ms);
  if (i != NO_NODE) {
    node *x = &s->nodes[i];
    bool held = kind == PT_SESSION_CURSOR || (kind == PT_SESSION_LSID && !force && (x->in_txn || pt_uses(x)));
    if (x->backend == from && !held && to < PT_SESSION_BACKENDS) {
      if (kind == PT_SESSION_LSID)
        set_txn(t, x, -1, false);
      pt_in_order(); /* no transaction comes along */
      x->backend = (uint16_t)to;
      s->head->stats.moved++;
    }
    touch(s, i, now_ms);
    tell(s, i, out);
  }
  pt_shard_unlock(s);
  return i != NO_NODE;
}

void pt_sessions_release(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms) {
  give_back(t, kind, key, now_ms);
}

void pt_sessions_txn(pt_sessions *t, pt_session_key key, uint64_t now_ms, int64_t number, bool open) {
  uint64_t hash = pt_hash_of(t, PT_SESSION_LSID, key);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, PT_SESSION_LSID, key, hash, now_ms);
  if (i != NO_NODE) {
    set_txn(t, &s->nodes[i], number, open);
    touch(s, i, now_ms);
  }
  pt_shard_unlock(s);
}

static void drop(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms) {
  pt_session_key owner = NOBODY;
  uint64_t hash = pt_hash_of(t, kind, key);
  pthread_rwlock_rdlock(&t->crossing);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, 0);
  if (i != NO_NODE)
    owner = take_out(t, s, i);
  pt_shard_unlock(s);
  one_cursor_less(t, owner, now_ms);
  pthread_rwlock_unlock(&t->crossing);
}

void pt_sessions_drop(pt_sessions *t, pt_session_kind kind, pt_session_key key) { drop(t, kind, key, 0); }

/* ---- cursors ---- */

/* Counts a cursor in its session. false: there is no such session. */
static bool hold(pt_sessions *t, pt_session_key owner, uint64_t now_ms) {
  if (pt_is_nobody(owner))
    return false;
  uint64_t hash = pt_hash_of(t, PT_SESSION_LSID, owner);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, PT_SESSION_LSID, owner, hash, now_ms);
  if (i != NO_NODE) {
    s->nodes[i].uses[0]++;
    touch(s, i, now_ms);
  }
  pt_shard_unlock(s);
  return i != NO_NODE;
}

/* An id that is not in use: the shard it belongs to, locked; NULL: there are no random bytes. */
static shard *lock_new_id(pt_sessions *t, pt_session_key *key, uint64_t *hash) {
  *key = NOBODY;
  for (;;) {
    if (pt_random(&key->a, sizeof key->a)) /* nobody shall guess another's cursor */
      return NULL;
    key->a &= INT64_MAX;
    *hash = pt_hash_of(t, PT_SESSION_CURSOR, *key);
    make_room(t, *hash);
    shard *s = lock_of(t, *hash);
    if (key->a && look_up(t, s, PT_SESSION_CURSOR, *key, *hash, 0) == NO_NODE)
      return s;
    pt_shard_unlock(s);
  }
}

int64_t pt_sessions_cursor_open(pt_sessions *t, uint64_t now_ms, uint32_t backend, int64_t value, pt_session_key owner) {
  pt_session_key key;
  uint64_t hash;
  uint32_t i = NO_NODE;
  if (backend >= PT_SESSION_BACKENDS)
    return 0;
  pthread_rwlock_rdlock(&t->crossing);
  bool held = hold(t, owner, now_ms);
  shard *s = lock_new_id(t, &key, &hash);
  if (s) {
    i = put_in(t, s, PT_SESSION_CURSOR, hash,
               &(node){.a = key.a,
                       .value = value,
                       .owner = held ? owner : NOBODY,
                       .last = now_ms,
                       .uses = {1},
                       .backend = (uint16_t)backend,
                       .kind = FREE});
    pt_shard_unlock(s);
  }
  if (i == NO_NODE && held)
    give_back(t, PT_SESSION_LSID, owner, now_ms);
  pthread_rwlock_unlock(&t->crossing);
  return i == NO_NODE ? 0 : (int64_t)key.a;
}

void pt_sessions_cursor_close(pt_sessions *t, int64_t id, uint64_t now_ms) {
  drop(t, PT_SESSION_CURSOR, (pt_session_key){(uint64_t)id, 0}, now_ms);
}

/* ---- for the control thread ---- */

void pt_sessions_forget_backend(pt_sessions *t, uint32_t backend) {
  owners o;
  o.n = 0;
  pthread_rwlock_rdlock(&t->crossing);
  for (unsigned k = 0; k < SHARDS; k++) {
    shard *s = &t->shards[k];
    pt_shard_lock(t, s);
    for (uint32_t i = FIRST; i < s->head->n; i++) {
      node *x = &s->nodes[i];
      if (x->backend == backend && x->kind == PT_SESSION_CURSOR) {
        note(&o, take_out(t, s, i));
      } else if (x->backend == backend && x->kind == PT_SESSION_LSID && (x->txn >= 0 || x->in_txn)) {
        set_txn(t, x, -1, false);
        touch(s, i, 0);
      }
      if (o.n == OWNERS) { /* nodes never change places */
        pt_shard_unlock(s);
        settle(t, &o);
        pt_shard_lock(t, s);
      }
    }
    pt_shard_unlock(s);
    settle(t, &o);
  }
  pthread_rwlock_unlock(&t->crossing);
}

size_t pt_sessions_pinned(pt_sessions *t, uint32_t backend) {
  return backend < PT_SESSION_BACKENDS ? atomic_load(&t->table->pinned[backend]) : 0;
}

void pt_sessions_by_backend(pt_sessions *t, uint32_t (*counts)[PT_SESSION_KINDS]) {
  for (unsigned k = 0; k < SHARDS; k++) {
    shard *s = &t->shards[k];
    pt_shard_lock(t, s);
    for (uint32_t i = FIRST; i < s->head->n; i++) {
      const node *x = &s->nodes[i];
      if (x->kind < PT_SESSION_KINDS && x->backend < PT_SESSION_BACKENDS)
        counts[x->backend][x->kind]++;
    }
    pt_shard_unlock(s);
  }
}

pt_sessions_stats pt_sessions_stat(pt_sessions *t) {
  pt_sessions_stats sum = {0};
  for (unsigned k = 0; k < SHARDS; k++) {
    shard *s = &t->shards[k];
    pt_shard_lock(t, s);
    for (unsigned i = 0; i < PT_SESSION_KINDS; i++)
      sum.entries[i] += s->head->stats.entries[i];
    sum.made += s->head->stats.made;
    sum.found += s->head->stats.found;
    sum.expired += s->head->stats.expired;
    sum.evicted += s->head->stats.evicted;
    sum.moved += s->head->stats.moved;
    sum.repaired += s->head->stats.repaired;
    pt_shard_unlock(s);
  }
  return sum;
}

/* From the back of a ring while entries are old. What is held counts as touched, or it would stand in the way each time. */
static void sweep_ring(pt_sessions *t, shard *s, uint32_t ring, uint64_t now_ms, owners *o) {
  uint64_t timeout = atomic_load(&t->table->timeout);
  while (s->head->cap && o->n < OWNERS) {
    uint32_t i = s->nodes[ring].prev;
    const node *x = &s->nodes[i];
    if (i == ring || now_ms <= x->last || now_ms - x->last < timeout)
      return;
    if (!is_over(t, x, now_ms)) {
      touch(s, i, now_ms);
      continue;
    }
    note(o, take_out(t, s, i));
    s->head->stats.expired++;
  }
}

void pt_sessions_sweep(pt_sessions *t, uint64_t now_ms) {
  shard *s = &t->shards[atomic_fetch_add(&t->table->swept, 1) % SHARDS];
  owners o;
  unsigned n;
  pthread_rwlock_rdlock(&t->crossing);
  do {
    o.n = 0;
    pt_shard_lock(t, s);
    sweep_ring(t, s, IDLE, now_ms, &o);
    sweep_ring(t, s, BUSY, now_ms, &o);
    pt_shard_unlock(s);
    n = o.n;
    settle(t, &o);
  } while (n == OWNERS);
  pthread_rwlock_unlock(&t->crossing);
}
