#include "core/memory.h"

#include <stdio.h>

#include "base/log.h"
#include "core/client.h"
#include "core/mongo/mongo.h"
#include "core/worker.h"

enum {
  GRAIN = 64 * 1024, /* smaller changes are not told: the shared cell stays in peace */
  SMALL_MIN = 1024,
  SMALL_MAX = 64 * 1024,
  PATIENCE_MS = 1000,
  SIZES = 48 /* powers of two */
};

static unsigned long long percent(unsigned long long max, unsigned p) { return max / 100 * p; }

bool pt_memory_room(const pt_worker *w, size_t n) {
  const pt_memory_part *p = &w->memory;
  unsigned long long max = atomic_load_explicit(&p->all->max, memory_order_relaxed);
  long long used = atomic_load_explicit(&p->all->used, memory_order_relaxed) + (long long)w->pool.bytes - (long long)p->told;
  return !max || (used < 0 ? 0 : (unsigned long long)used) + n <= percent(max, 95);
}

static void tighten(pt_worker *w) {
  pt_memory_part *p = &w->memory;
  static pt_log_rate rate;
  p->tight = true;
  p->since = w->now;
  atomic_fetch_add_explicit(&p->all->pressed, 1, memory_order_relaxed);
  pt_pool_lean(&w->pool, true);
  pt_log_every(&rate, PT_LOG_WARN, "memory",
               "buffers hold %lld of %llu MiB: new clients are refused, those that hold much are not read; raise memory.max",
               atomic_load(&p->all->used) >> 20, atomic_load(&p->all->max) >> 20);
}

bool pt_memory_tight(pt_worker *w) {
  pt_memory_part *p = &w->memory;
  if (p->limited && !p->tight && w->pool.bytes >= p->most)
    tighten(w);
  return p->tight;
}

static void relax(pt_worker *w) {
  w->memory.tight = false;
  pt_pool_lean(&w->pool, false);
  for (uint32_t i = 0; i < w->nclients; i++) {
    pt_client *c = pt_client_at(w, i);
    if ((c->gen & 1) && (c->flags & PT_CLIENT_FULL))
      pt_client_resume_later(c);
  }
  for (unsigned i = 0; i < w->nlisteners; i++)
    if (w->mongos[i])
      pt_mongo_watch_all(w->mongos[i]);
}

/* ---- closing who holds most ---- */

/* Clients by what they hold: bytes of those with 2^i and more, but less than twice that. */
typedef struct census {
  uint64_t bytes[SIZES];
  uint64_t small; /* of a client that holds less nothing is said */
  uint64_t least; /* those that hold so much go */
  uint64_t freed, need;
  unsigned closed;
} census;

static unsigned size_class(uint64_t held) {
  unsigned i = 63 - (unsigned)__builtin_clzll(held | 1);
  return i < SIZES ? i : SIZES - 1;
}

static void count(census *s, uint64_t held) {
  if (held > s->small)
    s->bytes[size_class(held)] += held;
}

/* Is it its turn to go? */
static bool goes(census *s, uint64_t held, char *why, size_t cap) {
  if (held <= s->small || held < s->least || s->freed >= s->need)
    return false;
  s->freed += held;
  s->closed++;
  snprintf(why, cap, "memory is scarce, and it held %llu KiB of buffers", (unsigned long long)(held >> 10));
  return true;
}

static void each(pt_worker *w, census *s, bool close) {
  char why[96];
  for (uint32_t i = 0; i < w->nclients; i++) {
    pt_client *c = pt_client_at(w, i);
    uint64_t held = c->gen & 1 ? pt_client_held(c) : 0;
    if (!close)
      count(s, held);
    else if (goes(s, held, why, sizeof why))
      pt_client_fail(c, PT_E_SCARCE, why);
  }
  for (unsigned k = 0; k < w->nlisteners; k++)
    for (uint32_t i = 0; w->mongos[k] && i < w->mongos[k]->nclients; i++) {
      pt_mongo_client *c = pt_mongo_client_at(w->mongos[k], i);
      uint64_t held = c->gen & 1 ? pt_mongo_client_held(c) : 0;
      if (!close)
        count(s, held);
      else if (goes(s, held, why, sizeof why))
        pt_mongo_client_fail(c, PT_E_SCARCE, why);
    }
}

/* Closes clients until about so much is free. How many. */
static unsigned shed(pt_worker *w, uint64_t need, const char *why) {
  static pt_log_rate rate;
  census s = {.small = w->memory.small, .need = need};
  uint64_t sum = 0;
  unsigned i = SIZES;
  each(w, &s, false);
  while (i-- > 0 && sum < s.need) {
    sum += s.bytes[i];
    s.least = UINT64_C(1) << i;
  }
  each(w, &s, true);
  atomic_fetch_add_explicit(&w->memory.all->shed, s.closed, memory_order_relaxed);
  if (s.closed)
    pt_log_every(&rate, PT_LOG_WARN, "memory", "%s: closed %u clients that held most, %llu MiB", why, s.closed,
                 (unsigned long long)(s.freed >> 20));
  return s.closed;
}

/* Too much is held. The worker's part of what is above the low mark goes, when it has its share of it. */
static void shed_ceiling(pt_worker *w, uint64_t used, uint64_t max) {
  static pt_log_rate helpless;
  uint64_t own = w->memory.told, low = percent(max, 70);
  unsigned workers = atomic_load_explicit(&w->memory.all->workers, memory_order_relaxed);
  if (own * workers < used || used <= low)
    return;
  uint64_t need = (uint64_t)((double)(used - low) * ((double)own / (double)used)) + 1;
  if (!shed(w, need, "memory.max is near") && used >= max)
    pt_log_every(&helpless, PT_LOG_ERROR, "memory", "buffers hold %llu of %llu MiB, and no client much of it; raise memory.max",
                 (unsigned long long)(used >> 20), (unsigned long long)(max >> 20));
}

/* The machine had no memory in this turn: a quarter of what is held goes, and the reserve is filled again. */
static void shed_failed(pt_worker *w) {
  static pt_log_rate rate;
  pt_log_every(&rate, PT_LOG_ERROR, "memory", "out of memory; buffers hold %llu MiB: set memory.max below what there is",
               (unsigned long long)(w->pool.bytes >> 20));
  pt_pool_lean(&w->pool, true);
  w->memory.small = w->memory.small ? w->memory.small : SMALL_MAX;
  shed(w, w->pool.bytes / 4, "out of memory");
  pt_pool_lean(&w->pool, w->memory.tight);
  w->pool.failed = 0;
}

/* ---- the turn ---- */

static uint64_t tell(pt_worker *w) {
  pt_memory_part *p = &w->memory;
  long long delta = (long long)w->pool.bytes - (long long)p->told;
  if (delta >= GRAIN || delta <= -GRAIN) {
    atomic_fetch_add_explicit(&p->all->used, delta, memory_order_relaxed);
    p->told = w->pool.bytes;
  }
  long long used = atomic_load_explicit(&p->all->used, memory_order_relaxed);
  return used > 0 ? (uint64_t)used : 0;
}

void pt_memory_turn(pt_worker *w) {
  pt_memory_part *p = &w->memory;
  uint64_t used = tell(w), max = atomic_load_explicit(&p->all->max, memory_order_relaxed), high = percent(max, 80);
  unsigned workers = atomic_load_explicit(&p->all->workers, memory_order_relaxed);
  if (w->pool.failed)
    shed_failed(w);
  pt_pool_refill(&w->pool);
  p->limited = max;
  p->small = SMALL_MAX;
  if (max) {
    uint64_t clients = (uint64_t)atomic_load_explicit(&w->connected, memory_order_relaxed) * workers + 1,
             share = max / 4 / clients;
    p->small = share < SMALL_MIN ? SMALL_MIN : share > SMALL_MAX ? SMALL_MAX : (uint32_t)share;
    p->most = w->pool.bytes + (used < high ? (high - used) / workers : 0);
  }
  if (p->tight && (!max || used < percent(max, 72)))
    relax(w);
  else if (max && used >= high && !p->tight)
    tighten(w);
  if (p->tight && (used >= percent(max, 95) || w->now - p->since > PATIENCE_MS * PT_NS_PER_MS)) {
    shed_ceiling(w, used, max);
    tell(w);
  }
}
