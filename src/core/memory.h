/* The memory ceiling (memory.max): how many bytes of buffers all workers hold, and what goes when they become too many. What is counted is what the
 * chunk pools have handed out or keep for later: everything whose size a client decides. In this order:
 *
 *   80 %   the pools keep nothing for later, new clients are refused, and clients that hold more than their share, or have a long pipeline, are not
 *          read until less is held
 *   95 %, or 80 % for a second   the clients that hold most are closed, until it is 70 %
 *
 * A client's share is a quarter of what all would have if they held the same (at least 1 KiB, at most 64 KiB): who holds less is never touched.
 * Each worker does this with its own clients, when it holds at least as much as the average one. When the machine itself has no memory, which may be long
 * before any ceiling, small clients draw on the pool's reserve, and those that hold most are closed as well. */
#ifndef PT_CORE_MEMORY_H
#define PT_CORE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pt_worker pt_worker;

/* One a process; any thread. */
typedef struct pt_memory {
  atomic_llong used; /* bytes; each worker's part as of its last turn */
  atomic_ullong max; /* 0: no ceiling */
  atomic_uint workers;
  atomic_ullong shed, pressed; /* clients closed for it; times 80 % was reached in a worker */
} pt_memory;

static inline void pt_memory_limit(pt_memory *m, unsigned long long max) { atomic_store(&m->max, max); }

/* Are new clients refused? Any thread. */
static inline bool pt_memory_scarce(const pt_memory *m) {
  unsigned long long max = atomic_load_explicit(&m->max, memory_order_relaxed);
  long long used = atomic_load_explicit(&m->used, memory_order_relaxed);
  return max && used > 0 && (unsigned long long)used >= max / 10 * 8;
}

/* What a worker keeps for it. Zeroed memory is ready. */
typedef struct pt_memory_part {
  pt_memory *all;
  size_t told; /* bytes that are in used */
  size_t most; /* the pool may have so many until the end of the turn before it is tight */
  bool limited; /* there is a ceiling, so most means something */
  bool tight;
  uint64_t since; /* ns: tight since then */
  uint32_t small; /* bytes a client may hold untouched */
} pt_memory_part;

/* ---- worker's thread ---- */

/* Once a turn: tells what is held, and closes who holds most when it is too much, or when the machine had no memory in the last turn. */
void pt_memory_turn(pt_worker *w);
/* Is memory tight now? */
bool pt_memory_tight(pt_worker *w);
/* May n bytes be had at once, within the ceiling? */
bool pt_memory_room(const pt_worker *w, size_t n);

#endif
