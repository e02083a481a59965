/* Peers that are in the middle of something and do not get on with it: they send a request, or take a reply, in drops. What is slow is not the
 * network: less than 16 KiB in a whole timeout is somebody who holds buffers on purpose, or is stuck. */
#ifndef PT_CORE_SLOW_H
#define PT_CORE_SLOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
  PT_SLOW_BYTES = 16 * 1024
};

/* The stretch of time that is looked at; zeroed memory is ready. */
typedef struct pt_slow {
  uint64_t since; /* ns, 0: it is in the middle of nothing */
  uint64_t moved; /* its bytes at that moment */
} pt_slow;

/* Called now and then. busy: it is in the middle of something now; moved: bytes that have come from it and reached it, in its life. True: it has been
 * busy for timeout_ms and moved next to nothing. timeout_ms 0: never. */
static inline bool pt_slow_look(pt_slow *s, bool busy, uint64_t moved, uint64_t now_ns, uint64_t timeout_ms) {
  if (!busy) {
    s->since = 0;
  } else if (!s->since || moved >= s->moved + PT_SLOW_BYTES) {
    s->since = now_ns;
    s->moved = moved;
  }
  return s->since && timeout_ms && now_ns - s->since > timeout_ms * UINT64_C(1000000);
}

#endif
