#include "core/reserve.h"

#include <bson/bson.h>
#include <ev.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

enum {
  RESERVE = 1024 * 1024,
  WAIT_US = 10000,
  TRIES = 100 /* a second in all */
};

static _Atomic(void *) reserve;

static void refill(void) {
  void *none = NULL, *more = malloc(RESERVE);
  if (!atomic_compare_exchange_strong(&reserve, &none, more))
    free(more);
}

/* malloc, calloc (zero) or realloc (of p) that does not fail. */
static void *insist(void *p, size_t n, bool zero) {
  for (int i = 0; i <= TRIES; i++) {
    void *got = zero ? calloc(1, n) : realloc(p, n);
    if (got && !atomic_load_explicit(&reserve, memory_order_relaxed))
      refill();
    if (got || !n)
      return got;
    free(atomic_exchange(&reserve, NULL));
    if (i)
      usleep(WAIT_US);
    else
      pt_error("memory", "out of memory: the reserve is used");
  }
  pt_error("memory", "out of memory, and nobody frees any: the end");
  abort();
}

static void *for_ev(void *p, long n) {
  if (n)
    return insist(p, (size_t)n, false);
  free(p);
  return NULL;
}

static void *for_bson(size_t n) { return insist(NULL, n, false); }
static void *for_bson_zeroed(size_t n, size_t size) { return insist(NULL, n * size, true); }
static void *for_bson_more(void *p, size_t n) { return insist(p, n, false); }

void pt_reserve_setup(void) {
  static const bson_mem_vtable_t table = {.malloc = for_bson, .calloc = for_bson_zeroed, .realloc = for_bson_more, .free = free};
  refill();
  ev_set_allocator(for_ev);
  bson_mem_set_vtable(&table);
}
