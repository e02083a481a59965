/* Inside the session table; for sessions*.c and their tests. It is one piece of memory that two processes may have mapped, at different addresses:
 * a head (pt_table), then for each shard room for its buckets and its nodes, of which only what is used takes memory. Nothing in it is a
 * pointer. All but atomics belongs to the holder of the shard's lock. A process may be killed at any instruction: what follows from the nodes
 * (chains, rings, counts) is made anew by whoever finds the lock orphaned, so only nodes must be whole at all times.
 */
#ifndef PT_BASE_SESSIONS_TABLE_H
#define PT_BASE_SESSIONS_TABLE_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "base/sessions.h"

enum {
  PT_TABLE_VERSION = 1, /* another with every change to what is below */
  SHARDS = 32,
  SHARD_SHIFT = 59, /* the top bits of a hash name the shard, the low ones the bucket */
  LINE = 64,
  FIRST_NODES = 64,
  REACH = 1 << 19, /* nodes of a shard at most: 10 million entries, and then some since hashes are not even */
  IDLE = 0, /* nodes 0 and 1 are the heads of two rings, most recently used first: entries that may go, and those in use */
  BUSY = 1,
  FIRST = 2, /* the first that can be an entry */
  NO_NODE = 0, /* a head is in no chain */
  FREE = PT_SESSION_KINDS /* a node's kind: it is no entry */
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
  uint32_t uses[2]; /* IDENTITY: of each party; others: the table's own, in [0] */
  uint32_t chain; /* next in its bucket; of free ones the next free */
  uint32_t prev, next; /* its ring */
  uint16_t backend;
  uint8_t kind;
  uint8_t in_txn; /* a bool, but one that another process may have written */
} node;

_Static_assert(sizeof(node) == LINE, "an entry is one cache line");
_Static_assert(PT_SESSION_BACKENDS <= UINT16_MAX, "ids fit");

typedef struct shard_head {
  pthread_mutex_t lock; /* process-shared, robust */
  uint32_t cap, n, free; /* a power of two, 0 at first; nodes ever used, heads included; NO_NODE: none */
  pt_sessions_stats stats;
} __attribute__((aligned(2 * LINE))) shard_head;

typedef struct pt_table {
  uint64_t magic;
  uint32_t version, size; /* of this */
  uint32_t reach; /* nodes a shard can have: as REACH, or less where address space is rationed */
  atomic_uint party[2]; /* 1: somebody is it */
  uint64_t secret[2];
  atomic_size_t max;
  _Atomic uint64_t timeout;
  _Alignas(LINE) atomic_size_t count;
  atomic_uint swept;
  shard_head shards[SHARDS];
  atomic_uint pinned[PT_SESSION_BACKENDS];
} pt_table;

/* As this process sees a shard. */
typedef struct shard {
  shard_head *head;
  uint32_t *buckets; /* head->cap of them */
  node *nodes;
} shard;

struct pt_sessions {
  pt_table *table;
  uint64_t secret[2];
  uint32_t party, reach;
  int fd; /* -1: the memory is our own */
  size_t size;
  pthread_rwlock_t crossing; /* shared: a call goes from one shard to another and both must fit; exclusive: counting again */
  shard shards[SHARDS];
};

/* Before and after a store that makes a node an entry, or none. A killed thread has done what is before it. */
static inline void pt_in_order(void) { atomic_signal_fence(memory_order_seq_cst); }

static inline uint64_t pt_hash_of(const pt_sessions *t, uint8_t kind, pt_session_key key) {
  uint64_t b = kind == PT_SESSION_CURSOR ? 0 : key.b;
  return pt_mix64(pt_mix64(pt_mix64(key.a ^ t->secret[0]) + b) ^ t->secret[1] ^ kind);
}

static inline uint64_t pt_hash_of_node(const pt_sessions *t, const node *x) {
  return pt_hash_of(t, x->kind, (pt_session_key){x->a, x->kind == PT_SESSION_CURSOR ? 0 : x->b});
}

static inline uint32_t *pt_bucket_of(const shard *s, uint64_t hash) { return &s->buckets[hash & (s->head->cap - 1)]; }

static inline uint32_t pt_uses(const node *x) { return x->uses[0] + x->uses[1]; }
static inline bool pt_is_pinned(const node *x) { return x->kind == PT_SESSION_CURSOR || x->in_txn; }
static inline bool pt_is_nobody(pt_session_key k) { return !k.a && !k.b; }

static inline void pt_chain_in(shard *s, uint64_t hash, uint32_t i) {
  uint32_t *at = pt_bucket_of(s, hash);
  s->nodes[i].chain = *at;
  *at = i;
}

static inline uint32_t pt_ring_of(const node *x) { return pt_uses(x) || x->in_txn ? BUSY : IDLE; }

static inline void pt_ring_in(shard *s, uint32_t i) {
  node *x = &s->nodes[i];
  uint32_t head = pt_ring_of(x);
  x->prev = head;
  x->next = s->nodes[head].next;
  s->nodes[x->next].prev = i;
  s->nodes[head].next = i;
}

static inline void pt_ring_out(shard *s, uint32_t i) {
  const node *x = &s->nodes[i];
  s->nodes[x->prev].next = x->next;
  s->nodes[x->next].prev = x->prev;
}

/* To the front of the ring it belongs to now. */
static inline void pt_ring_again(shard *s, uint32_t i) {
  pt_ring_out(s, i);
  pt_ring_in(s, i);
}

/* Empty rings. */
static inline void pt_ring_heads(shard *s) {
  for (uint32_t i = IDLE; i <= BUSY; i++)
    s->nodes[i] = (node){.prev = i, .next = i, .kind = FREE};
}

/* sessions_map.c: memory for a part of the table, so that touching it cannot fail. 0 or -errno. */
int pt_sessions_back(const pt_sessions *t, const void *part, size_t n);

/* sessions_repair.c. The shard is locked: makes all that follows from its nodes anew. */
void pt_sessions_rebuild(const pt_sessions *t, shard *s);
/* Whether its numbers stay inside it; whether all in it fits together besides. */
bool pt_sessions_bounded(const pt_sessions *t, const shard *s);
bool pt_sessions_fits(const pt_sessions *t, const shard *s);
/* The whole table, with its counts. */
bool pt_sessions_sound(pt_sessions *t);
/* A party's uses become 0. */
void pt_sessions_give_up(pt_sessions *t, uint32_t party);

/* Waits for a shard's lock so many milliseconds. 0: it is ours; EOWNERDEAD: and the shard is to be rebuilt and the lock made consistent; ETIMEDOUT. */
int pt_shard_wait(shard *s, unsigned ms);
/* After pthread_mutex_trylock said rc. */
void pt_shard_lock_slowly(const pt_sessions *t, shard *s, int rc);

static inline void pt_shard_lock(const pt_sessions *t, shard *s) {
  int rc = pthread_mutex_trylock(&s->head->lock);
  if (__builtin_expect(rc, 0))
    pt_shard_lock_slowly(t, s, rc);
}

static inline void pt_shard_unlock(shard *s) { pthread_mutex_unlock(&s->head->lock); }

#endif
