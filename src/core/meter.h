/* What a worker measures of one listener: cells that it alone writes and that the control thread reads at any time, without a lock.
 *
 * Latencies go into histograms of fixed buckets, two an octave, 16 us to 33 s. Requests that went to a node in one turn and came back in one read
 * have waited equally long: they are added at once, so what a request costs is a counter. Times are those of turns (pt_worker.now_us).
 */
#ifndef PT_CORE_METER_H
#define PT_CORE_METER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Kinds of commands that are told apart. The first three are the read and write flags of Redis' command table. */
typedef enum pt_work {
  PT_WORK_OTHER,
  PT_WORK_READ,
  PT_WORK_WRITE,
  PT_WORK_FAN, /* Redis: split over slots; counts once, until its last part has come */
  PT_WORK_CURSOR, /* MongoDB, as the rest: getMore, killCursors */
  PT_WORK_TRANSACTION, /* commit, abort, endSessions */
  PT_WORK_HELLO, /* hello and ping: monitors wait in it for as long as nothing changes */
  PT_WORK_AUTH,
  PT_WORKS
} pt_work;
extern const char *const pt_work_names[PT_WORKS];

enum {
  PT_BUCKETS = 44, /* the last one has no upper bound */
  PT_SLOW_MAX = 128
};

typedef struct pt_histogram {
  atomic_ullong counts[PT_BUCKETS]; /* of each bucket, not cumulative */
  atomic_ullong sum_us;
} pt_histogram;

/* A node or backend as the worker that talks to it sees it; lives as long as the listener. */
typedef struct pt_node_meter pt_node_meter;
struct pt_node_meter {
  pt_node_meter *next;
  char name[272]; /* "host:port" */
  pt_histogram latency; /* of what it answered */
  atomic_ullong lost;
  atomic_uint inflight, latency_us;
  atomic_uint open; /* 1: fails fast */
  atomic_ullong backlog; /* bytes of requests that wait for it, or for its answer */
  atomic_uint links, waiting; /* MongoDB: connections of the pool; requests that wait for one */
};

/* A request that took long. */
typedef struct pt_slow_entry {
  uint64_t at_ms; /* UNIX time */
  uint32_t us;
  int32_t slot; /* -1: none */
  char command[24];
  char node[80];
} pt_slow_entry;

typedef struct pt_meter {
  atomic_ullong requests, accepted, closed;
  atomic_ullong policy_calls, policy_failures, policy_ns; /* ns: estimated from samples */
  atomic_ullong suspensions, aborts; /* aborts: of LuaJIT's traces */
  atomic_ullong suspended_until; /* ns; the policy is not asked before */
  pt_histogram latency[PT_WORKS];
  _Atomic(pt_node_meter *) nodes; /* newest first; grows only */
  unsigned nnodes;
  uint64_t aborts_before; /* of policies that have been replaced */
  uint32_t sample_in, sample_every; /* calls of the policy to the next sample */
  pthread_mutex_t slow_lock; /* held for moments; the worker only tries it */
  pt_slow_entry slow[PT_SLOW_MAX];
  unsigned nslow; /* so far; the last PT_SLOW_MAX are there */
} pt_meter;

/* One writer: a plain add, visible to readers. */
static inline void pt_count_add(atomic_ullong *cell, uint64_t n) {
  atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void pt_count(atomic_ullong *cell) { pt_count_add(cell, 1); }
static inline uint64_t pt_counted(const atomic_ullong *cell) { return atomic_load_explicit(cell, memory_order_relaxed); }

/* Zeroed memory becomes a meter. free: what hangs on it. */
void pt_meter_init(pt_meter *m);
void pt_meter_free(pt_meter *m);

/* The upper bound of bucket i in us, inclusive; of the last: UINT64_MAX. */
uint64_t pt_histogram_bound(unsigned i);
static inline unsigned pt_histogram_bucket(uint32_t us) {
  uint32_t v = us ? us - 1 : 0;
  if (v < 16)
    return 0;
  unsigned e = 31 - (unsigned)__builtin_clz(v), i = 1 + (e - 4) * 2 + ((v >> (e - 1)) & 1);
  return i < PT_BUCKETS - 1 ? i : PT_BUCKETS - 1;
}
/* n requests that took us each; bucket: that of us. */
static inline void pt_histogram_put(pt_histogram *h, unsigned bucket, uint32_t us, uint32_t n) {
  pt_count_add(&h->counts[bucket], n);
  pt_count_add(&h->sum_us, (uint64_t)us * n);
}
static inline void pt_histogram_add(pt_histogram *h, uint32_t us, uint32_t n) {
  pt_histogram_put(h, pt_histogram_bucket(us), us, n);
}

/* The worker: the meter of a node, made when it is new. Beyond a few thousand names, or without memory: NULL. */
pt_node_meter *pt_meter_node(pt_meter *m, const char *name);

/* The worker: is this call of the policy one of the few that are timed? Then how long it took. */
static inline bool pt_meter_samples(pt_meter *m) { return m->sample_in-- == 0; }
void pt_meter_sampled(pt_meter *m, uint64_t ns);

/* The worker: remembers a slow request (not when somebody reads them this moment). node: cut when longer. */
void pt_meter_slow(pt_meter *m, const char *command, int slot, const char *node, uint32_t us);
/* Any thread: copies the slow requests there are, newest first; how many. */
unsigned pt_meter_slowest(pt_meter *m, pt_slow_entry out[PT_SLOW_MAX]);

#endif
