/* A token bucket: so many a second, a tenth of a second's worth at once. Zeroed memory is a full one. One thread. */
#ifndef PT_BASE_BUCKET_H
#define PT_BASE_BUCKET_H

#include <stdint.h>

typedef struct pt_bucket {
  double used; /* tokens that are not there */
  uint64_t at; /* ns: used was so much then */
} pt_bucket;

/* ns until there is a token, 0: now. rate: tokens a second, 0: as many as are wanted. */
uint64_t pt_bucket_wait(pt_bucket *b, unsigned rate, uint64_t now_ns);
/* Takes one that is there. */
static inline void pt_bucket_take(pt_bucket *b) { b->used += 1; }

#endif
