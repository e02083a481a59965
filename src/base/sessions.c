#include "base/sessions.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum {
  SHARDS = 64,
  SHARD_SHIFT = 58, /* the top bits of a hash name the shard, the low ones the bucket */
  LINE = 64,
  FIRST_NODES = 32,
  IDLE = 0, /* nodes 0 and 1 are the heads of two rings, most recently used first: entries that may go, and those in use */
  BUSY = 1,
  NO_NODE = 0, /* a head is in no chain */
  OWNERS = 64 /* entries with an owner taken out while a shard is locked */
};

/* One cache line. */
typedef struct node {
  uint64_t a;
  union {
    struct {
      uint64_t b;
      int64_t txn; /* LSID */
    };
    struct { /* CURSOR: its key is a alone */
      int64_t value;
      pt_session_key owner;
    };
  };
  uint64_t last; /* ms; touched */
  uint32_t uses;
  uint32_t hash;
  uint32_t chain; /* next in its bucket; of free ones the next free */
  uint32_t prev, next; /* its ring */
  uint16_t backend;
  uint8_t kind; /* PT_SESSION_KINDS: a free node */
  bool in_txn;
} node;

_Static_assert(sizeof(node) == LINE, "an entry is one cache line");
_Static_assert(PT_SESSION_BACKENDS <= UINT16_MAX, "ids fit");

typedef struct shard {
  pthread_mutex_t lock;
  node *nodes; /* NULL while cap is 0 */
  uint32_t *buckets; /* cap of them */
  uint32_t cap, n, free; /* a power of two; nodes ever used, heads included; NO_NODE: none */
  pt_sessions_stats stats;
} __attribute__((aligned(2 * LINE))) shard;

struct pt_sessions {
  shard shards[SHARDS];
  uint64_t secret[2];
  atomic_size_t max, count;
  _Atomic uint64_t timeout;
  atomic_uint swept;
  atomic_uint pinned[PT_SESSION_BACKENDS];
};

/* Owners of cursors taken out: their uses are given back after the shard is unlocked, since two shards are never locked together. */
typedef struct owners {
  unsigned n;
  pt_session_key at[OWNERS];
} owners;

/* ---- nodes of a locked shard ---- */

static uint64_t hash_of(const pt_sessions *t, pt_session_kind kind, pt_session_key key) {
  uint64_t b = kind == PT_SESSION_CURSOR ? 0 : key.b;
  return pt_mix64(pt_mix64(pt_mix64(key.a ^ t->secret[0]) + b) ^ t->secret[1] ^ kind);
}

static shard *lock_of(pt_sessions *t, uint64_t hash) {
  shard *s = &t->shards[hash >> SHARD_SHIFT];
  pthread_mutex_lock(&s->lock);
  return s;
}

static const pt_session_key NOBODY = {0, 0};

static bool is_nobody(pt_session_key k) { return !k.a && !k.b; }

static void ring_in(shard *s, uint32_t i) {
  node *x = &s->nodes[i];
  uint32_t head = x->uses || x->in_txn ? BUSY : IDLE;
  x->prev = head;
  x->next = s->nodes[head].next;
  s->nodes[x->next].prev = i;
  s->nodes[head].next = i;
}

static void ring_out(shard *s, uint32_t i) {
  node *x = &s->nodes[i];
  s->nodes[x->prev].next = x->next;
  s->nodes[x->next].prev = x->prev;
}

/* After a use: to the front of the ring it belongs to now. now_ms 0: it is no use. */
static void touch(shard *s, uint32_t i, uint64_t now_ms) {
  node *x = &s->nodes[i];
  if (now_ms > x->last)
    x->last = now_ms;
  ring_out(s, i);
  ring_in(s, i);
}

static uint32_t *bucket_of(const shard *s, uint32_t hash) { return &s->buckets[hash & (s->cap - 1)]; }

/* Frees an entry. Its owner, zeros: none. */
static pt_session_key take_out(pt_sessions *t, shard *s, uint32_t i) {
  node *x = &s->nodes[i];
  pt_session_key owner = x->kind == PT_SESSION_CURSOR ? x->owner : NOBODY;
  uint32_t *at = bucket_of(s, x->hash);
  while (*at != i)
    at = &s->nodes[*at].chain;
  *at = x->chain;
  ring_out(s, i);
  if (x->kind == PT_SESSION_CURSOR || x->in_txn)
    atomic_fetch_sub(&t->pinned[x->backend], 1);
  s->stats.entries[x->kind]--;
  atomic_fetch_sub(&t->count, 1);
  x->kind = PT_SESSION_KINDS;
  x->chain = s->free;
  s->free = i;
  return owner;
}

/* Connections hold an identity and cursors a session, however old; cursors and transactions themselves the backend has given up by then. */
static bool is_over(const pt_sessions *t, const node *x, uint64_t now_ms) {
  bool held = x->uses && x->kind != PT_SESSION_CURSOR;
  return !held && now_ms > x->last && now_ms - x->last >= atomic_load_explicit(&t->timeout, memory_order_relaxed);
}

/* The living entry of a key, NO_NODE. One that is over is taken out, but for cursors: the sweep does that. */
static uint32_t look_up(pt_sessions *t, shard *s, pt_session_kind kind, pt_session_key key, uint64_t hash, uint64_t now_ms) {
  uint32_t i = s->cap ? *bucket_of(s, (uint32_t)hash) : NO_NODE;
  for (; i != NO_NODE; i = s->nodes[i].chain) {
    const node *x = &s->nodes[i];
    if (x->a == key.a && x->kind == kind && (kind == PT_SESSION_CURSOR || x->b == key.b))
      break;
  }
  if (i == NO_NODE || !is_over(t, &s->nodes[i], now_ms))
    return i;
  if (kind != PT_SESSION_CURSOR) {
    take_out(t, s, i);
    s->stats.expired++;
  }
  return NO_NODE;
}

static bool grow(shard *s) {
  uint32_t cap = s->cap ? 2 * s->cap : FIRST_NODES;
  node *nodes = aligned_alloc(LINE, cap * sizeof *nodes);
  uint32_t *buckets = calloc(cap, sizeof *buckets);
  if (!nodes || !buckets) {
    free(nodes);
    free(buckets);
    return false;
  }
  if (s->cap)
    memcpy(nodes, s->nodes, s->n * sizeof *nodes);
  else
    for (s->n = 0; s->n <= BUSY; s->n++)
      nodes[s->n] = (node){.prev = s->n, .next = s->n, .kind = PT_SESSION_KINDS};
  free(s->nodes);
  free(s->buckets);
  s->nodes = nodes;
  s->buckets = buckets;
  s->cap = cap;
  for (uint32_t i = BUSY + 1; i < s->n; i++) {
    uint32_t *at = bucket_of(s, nodes[i].hash); /* there is no free one, or it would have been taken */
    nodes[i].chain = *at;
    *at = i;
  }
  return true;
}

/* A new entry, in no ring yet; NO_NODE: no memory. */
static uint32_t put_in(pt_sessions *t, shard *s, pt_session_kind kind, pt_session_key key, uint64_t hash, uint64_t now_ms,
                       uint32_t backend) {
  uint32_t i = s->free;
  if (i != NO_NODE)
    s->free = s->nodes[i].chain;
  else if (s->n == s->cap && !grow(s))
    return NO_NODE;
  else
    i = s->n++;
  uint32_t *at = bucket_of(s, (uint32_t)hash);
  s->nodes[i] = (node){
      .a = key.a, .last = now_ms, .hash = (uint32_t)hash, .chain = *at, .backend = (uint16_t)backend, .kind = (uint8_t)kind};
  *at = i;
  if (kind == PT_SESSION_CURSOR) {
    s->nodes[i].value = 0;
    s->nodes[i].owner = NOBODY;
    atomic_fetch_add(&t->pinned[backend], 1);
  } else {
    s->nodes[i].b = key.b;
    s->nodes[i].txn = -1;
  }
  s->stats.entries[kind]++;
  s->stats.made++;
  atomic_fetch_add(&t->count, 1);
  return i;
}

static void tell(const shard *s, uint32_t i, pt_session *out) {
  const node *x = &s->nodes[i];
  *out = (pt_session){.backend = x->backend, .uses = x->uses, .txn = -1, .in_txn = x->in_txn};
  if (x->kind == PT_SESSION_LSID)
    out->txn = x->txn;
  if (x->kind == PT_SESSION_CURSOR) {
    out->value = x->value;
    out->owner = x->owner;
  }
}

static void set_txn(pt_sessions *t, node *x, int64_t number, bool open) {
  if (x->in_txn != open)
    atomic_fetch_add(&t->pinned[x->backend], open ? 1u : -1u);
  x->txn = number;
  x->in_txn = open;
}

/* ---- across shards, none locked ---- */

static void give_back(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms) {
  uint64_t hash = hash_of(t, kind, key);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, now_ms);
  if (i != NO_NODE) {
    s->nodes[i].uses -= s->nodes[i].uses > 0;
    touch(s, i, now_ms);
  }
  pthread_mutex_unlock(&s->lock);
}

static void one_cursor_less(pt_sessions *t, pt_session_key owner, uint64_t now_ms) {
  if (!is_nobody(owner))
    give_back(t, PT_SESSION_LSID, owner, now_ms);
}

static void note(owners *o, pt_session_key owner) {
  if (!is_nobody(owner))
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
    uint32_t i = s->cap ? s->nodes[ring].prev : ring;
    if ((done = i != ring)) {
      owner = take_out(t, s, i);
      s->stats.evicted++;
    }
    pthread_mutex_unlock(&s->lock);
  }
  one_cursor_less(t, owner, 0);
  return done;
}

/* Two go for each that comes, so that a table above a new, smaller max shrinks. */
static void make_room(pt_sessions *t, uint64_t hash) {
  for (int i = 0; i < 2 && atomic_load(&t->count) >= atomic_load(&t->max); i++)
    if (!evict(t, hash, IDLE) && !evict(t, hash, BUSY))
      return;
}

/* ---- the table ---- */

pt_sessions *pt_sessions_new(size_t max, uint64_t timeout_ms) {
  pt_sessions *t = aligned_alloc(_Alignof(pt_sessions), sizeof *t);
  if (!t)
    return NULL;
  memset(t, 0, sizeof *t);
  if (pt_random(t->secret, sizeof t->secret)) {
    free(t);
    return NULL;
  }
  for (unsigned i = 0; i < SHARDS; i++)
    pthread_mutex_init(&t->shards[i].lock, NULL);
  pt_sessions_configure(t, max, timeout_ms);
  return t;
}

void pt_sessions_free(pt_sessions *t) {
  for (unsigned i = 0; t && i < SHARDS; i++) {
    pthread_mutex_destroy(&t->shards[i].lock);
    free(t->shards[i].nodes);
    free(t->shards[i].buckets);
  }
  free(t);
}

void pt_sessions_configure(pt_sessions *t, size_t max, uint64_t timeout_ms) {
  atomic_store(&t->max, max ? max : 1);
  atomic_store(&t->timeout, timeout_ms);
}

bool pt_sessions_find(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms, pt_session *out) {
  uint64_t hash = hash_of(t, kind, key);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, now_ms);
  if (i != NO_NODE) {
    touch(s, i, now_ms);
    tell(s, i, out);
    s->stats.found++;
  }
  pthread_mutex_unlock(&s->lock);
  return i != NO_NODE;
}

int pt_sessions_claim(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms, uint32_t backend, uint32_t uses,
                      pt_session *out) {
  bool made = false;
  uint64_t hash = hash_of(t, kind, key);
  if (backend >= PT_SESSION_BACKENDS)
    return -EINVAL;
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, now_ms);
  if (i == NO_NODE && atomic_load(&t->count) >= atomic_load(&t->max)) {
    pthread_mutex_unlock(&s->lock);
    make_room(t, hash);
    s = lock_of(t, hash);
    i = look_up(t, s, kind, key, hash, now_ms); /* somebody else may have come first */
  }
  if (i != NO_NODE) {
    s->nodes[i].uses += uses;
    touch(s, i, now_ms);
  } else if ((i = put_in(t, s, kind, key, hash, now_ms, backend)) != NO_NODE) {
    made = true;
    s->nodes[i].uses = uses;
    ring_in(s, i);
  }
  if (i != NO_NODE)
    tell(s, i, out);
  pthread_mutex_unlock(&s->lock);
  return i == NO_NODE ? -ENOMEM : made;
}

bool pt_sessions_move(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms, uint32_t from, uint32_t to,
                      bool force, pt_session *out) {
  uint64_t hash = hash_of(t, kind, key);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, now_ms);
  if (i != NO_NODE) {
    node *x = &s->nodes[i];
    bool held = kind == PT_SESSION_CURSOR || (kind == PT_SESSION_LSID && !force && (x->in_txn || x->uses));
    if (x->backend == from && !held && to < PT_SESSION_BACKENDS) {
      if (kind == PT_SESSION_LSID)
        set_txn(t, x, -1, false);
      x->backend = (uint16_t)to;
      s->stats.moved++;
    }
    touch(s, i, now_ms);
    tell(s, i, out);
  }
  pthread_mutex_unlock(&s->lock);
  return i != NO_NODE;
}

void pt_sessions_release(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms) {
  give_back(t, kind, key, now_ms);
}

void pt_sessions_txn(pt_sessions *t, pt_session_key key, uint64_t now_ms, int64_t number, bool open) {
  uint64_t hash = hash_of(t, PT_SESSION_LSID, key);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, PT_SESSION_LSID, key, hash, now_ms);
  if (i != NO_NODE) {
    set_txn(t, &s->nodes[i], number, open);
    touch(s, i, now_ms);
  }
  pthread_mutex_unlock(&s->lock);
}

static void drop(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms) {
  pt_session_key owner = NOBODY;
  uint64_t hash = hash_of(t, kind, key);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, kind, key, hash, 0);
  if (i != NO_NODE)
    owner = take_out(t, s, i);
  pthread_mutex_unlock(&s->lock);
  one_cursor_less(t, owner, now_ms);
}

void pt_sessions_drop(pt_sessions *t, pt_session_kind kind, pt_session_key key) { drop(t, kind, key, 0); }

/* ---- cursors ---- */

/* Counts a cursor in its session. false: there is no such session. */
static bool hold(pt_sessions *t, pt_session_key owner, uint64_t now_ms) {
  if (is_nobody(owner))
    return false;
  uint64_t hash = hash_of(t, PT_SESSION_LSID, owner);
  shard *s = lock_of(t, hash);
  uint32_t i = look_up(t, s, PT_SESSION_LSID, owner, hash, now_ms);
  if (i != NO_NODE) {
    s->nodes[i].uses++;
    touch(s, i, now_ms);
  }
  pthread_mutex_unlock(&s->lock);
  return i != NO_NODE;
}

int64_t pt_sessions_cursor_open(pt_sessions *t, uint64_t now_ms, uint32_t backend, int64_t value, pt_session_key owner) {
  pt_session_key key = {0, 0};
  uint32_t i = NO_NODE;
  bool again = true;
  bool held = backend < PT_SESSION_BACKENDS && hold(t, owner, now_ms);
  while (backend < PT_SESSION_BACKENDS && again) {
    if (pt_random(&key.a, sizeof key.a)) /* nobody shall guess another's cursor */
      break;
    key.a &= INT64_MAX;
    uint64_t hash = hash_of(t, PT_SESSION_CURSOR, key);
    make_room(t, hash);
    shard *s = lock_of(t, hash);
    again = !key.a || look_up(t, s, PT_SESSION_CURSOR, key, hash, 0) != NO_NODE;
    if (!again && (i = put_in(t, s, PT_SESSION_CURSOR, key, hash, now_ms, backend)) != NO_NODE) {
      s->nodes[i].value = value;
      s->nodes[i].owner = held ? owner : NOBODY;
      s->nodes[i].uses = 1;
      ring_in(s, i);
    }
    pthread_mutex_unlock(&s->lock);
  }
  if (i == NO_NODE && held)
    give_back(t, PT_SESSION_LSID, owner, now_ms);
  return i == NO_NODE ? 0 : (int64_t)key.a;
}

void pt_sessions_cursor_close(pt_sessions *t, int64_t id, uint64_t now_ms) {
  drop(t, PT_SESSION_CURSOR, (pt_session_key){(uint64_t)id, 0}, now_ms);
}

/* ---- for the control thread ---- */

void pt_sessions_forget_backend(pt_sessions *t, uint32_t backend) {
  owners o;
  o.n = 0;
  for (unsigned k = 0; k < SHARDS; k++) {
    shard *s = &t->shards[k];
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = BUSY + 1; i < s->n; i++) {
      node *x = &s->nodes[i];
      if (x->backend == backend && x->kind == PT_SESSION_CURSOR) {
        note(&o, take_out(t, s, i));
      } else if (x->backend == backend && x->kind == PT_SESSION_LSID && x->txn >= 0) {
        set_txn(t, x, -1, false);
        touch(s, i, 0);
      }
      if (o.n == OWNERS) { /* nodes never change places */
        pthread_mutex_unlock(&s->lock);
        settle(t, &o);
        pthread_mutex_lock(&s->lock);
      }
    }
    pthread_mutex_unlock(&s->lock);
    settle(t, &o);
  }
}

size_t pt_sessions_pinned(pt_sessions *t, uint32_t backend) {
  return backend < PT_SESSION_BACKENDS ? atomic_load(&t->pinned[backend]) : 0;
}

pt_sessions_stats pt_sessions_stat(pt_sessions *t) {
  pt_sessions_stats sum = {0};
  for (unsigned k = 0; k < SHARDS; k++) {
    shard *s = &t->shards[k];
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < PT_SESSION_KINDS; i++)
      sum.entries[i] += s->stats.entries[i];
    sum.made += s->stats.made;
    sum.found += s->stats.found;
    sum.expired += s->stats.expired;
    sum.evicted += s->stats.evicted;
    sum.moved += s->stats.moved;
    pthread_mutex_unlock(&s->lock);
  }
  return sum;
}

/* From the back of a ring while entries are old. What is held counts as touched, or it would stand in the way each time. */
static void sweep_ring(pt_sessions *t, shard *s, uint32_t ring, uint64_t now_ms, owners *o) {
  uint64_t timeout = atomic_load(&t->timeout);
  while (s->cap && o->n < OWNERS) {
    uint32_t i = s->nodes[ring].prev;
    const node *x = &s->nodes[i];
    if (i == ring || now_ms <= x->last || now_ms - x->last < timeout)
      return;
    if (!is_over(t, x, now_ms)) {
      touch(s, i, now_ms);
      continue;
    }
    note(o, take_out(t, s, i));
    s->stats.expired++;
  }
}

void pt_sessions_sweep(pt_sessions *t, uint64_t now_ms) {
  shard *s = &t->shards[atomic_fetch_add(&t->swept, 1) % SHARDS];
  owners o;
  unsigned n;
  do {
    o.n = 0;
    pthread_mutex_lock(&s->lock);
    sweep_ring(t, s, IDLE, now_ms, &o);
    sweep_ring(t, s, BUSY, now_ms, &o);
    pthread_mutex_unlock(&s->lock);
    n = o.n;
    settle(t, &o);
  } while (n == OWNERS);
}
