/* Chunks: reference counted pieces of memory that bytes travel in, and queues of segments of them.
 *
 * A pool, its chunks and every queue filled from it belong to one thread. A chunk is freed (or goes back to its pool) with its last reference.
 * Small messages are copied together into the queue's own open chunk; larger ones are queued by reference.
 */
#ifndef PT_BASE_CHUNK_H
#define PT_BASE_CHUNK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

enum {
  PT_CHUNK_SMALL = 16 * 1024 - 64, /* data bytes of the two pooled sizes; the header makes them whole pages */
  PT_CHUNK_LARGE = 64 * 1024 - 64,
  PT_COPY_MAX = 1024, /* messages up to this are copied, larger ones referenced */
};

typedef struct pt_pool pt_pool;

typedef struct pt_chunk {
  uint32_t refs;
  uint32_t cap; /* bytes of data */
  uint32_t fill; /* bytes in use; what lies behind may be written by the one who fills the chunk */
  uint32_t reserved;
  const void *writer; /* the queue that may append to it, NULL: nobody */
  pt_pool *pool; /* NULL: not pooled */
  struct pt_chunk *next; /* free list */
  uint8_t data[];
} pt_chunk;

struct pt_pool {
  pt_chunk *free[2];
  unsigned nfree[2];
  size_t bytes; /* handed out or kept, headers included */
  int lean; /* nothing is kept */
  pt_chunk *reserve; /* large ones, for when there is no memory */
  unsigned nreserve, failed; /* failed: how often there was none */
};

void pt_pool_init(pt_pool *p);
/* Frees the kept chunks. Those still referenced are freed by their last pt_chunk_unref. */
void pt_pool_free(pt_pool *p);
/* Keeps free chunks for later, or (lean) gives all back at once. */
void pt_pool_lean(pt_pool *p, int lean);
/* Brings the reserve to its size again. What is of a pooled size comes from it when there is no memory: the bytes of small clients, for whom somebody
 * else must go (core/memory). */
void pt_pool_refill(pt_pool *p);

/* A chunk with at least want data bytes, one reference, fill 0. NULL: no memory. */
pt_chunk *pt_chunk_new(pt_pool *p, size_t want);
/* The same, never pooled, with exactly cap data bytes: for what is kept long. */
pt_chunk *pt_chunk_exact(pt_pool *p, size_t cap);
void pt_chunk_release(pt_chunk *c); /* the cold half of unref */

static inline pt_chunk *pt_chunk_ref(pt_chunk *c) {
  c->refs++;
  return c;
}
static inline void pt_chunk_unref(pt_chunk *c) {
  if (--c->refs == 0)
    pt_chunk_release(c);
}

/* len bytes at c->data + off. */
typedef struct pt_seg {
  pt_chunk *chunk;
  uint32_t off, len;
} pt_seg;

/* A FIFO of bytes. Zeroed memory is an empty queue; a queue with one segment owns no memory of its own. */
typedef struct pt_segq {
  pt_seg *segs; /* NULL while cap is 0 */
  uint32_t head, n, cap; /* cap is 0 or a power of two */
  pt_seg one; /* the only segment while cap is 0 */
  uint64_t bytes;
} pt_segq;

/* Drops everything and all memory. */
void pt_segq_clear(pt_segq *q);
/* Queues bytes of a chunk by reference (takes one of its own). 0 or -ENOMEM. */
int pt_segq_ref(pt_segq *q, pt_chunk *c, uint32_t off, uint32_t len);
int pt_segq_copy_slow(pt_segq *q, pt_pool *p, const void *bytes, size_t len, size_t want);
/* Removes n <= q->bytes from the front. */
void pt_segq_drop(pt_segq *q, uint64_t n);
/* Describes up to max pieces starting skip bytes from the front. Returns how many; *total their sum. */
unsigned pt_segq_iov(const pt_segq *q, uint64_t skip, struct iovec *iov, unsigned max, size_t *total);
/* Queues the first n bytes of from by reference. 0 or -ENOMEM. */
int pt_segq_share(pt_segq *to, const pt_segq *from, uint64_t n);
/* Copies the first n bytes out; returns how many were there. */
size_t pt_segq_peek(const pt_segq *q, void *out, size_t n);

/* Bytes of memory that a queue holds on to: its part of the chunks it refers to. */
uint64_t pt_segq_held(const pt_segq *q);
static inline uint64_t pt_chunk_held(const pt_chunk *c) { return c ? (sizeof *c + c->cap) / c->refs : 0; }

static inline pt_seg *pt_segq_at(const pt_segq *q, uint32_t i) {
  return q->cap ? &q->segs[(q->head + i) & (q->cap - 1)] : (pt_seg *)&q->one;
}

/* Queues a copy; want: preferred data size of a new chunk. 0 or -ENOMEM (then nothing was queued). */
static inline int pt_segq_copy(pt_segq *q, pt_pool *p, const void *bytes, size_t len, size_t want) {
  pt_seg *s = q->n ? pt_segq_at(q, q->n - 1) : NULL;
  pt_chunk *c = s ? s->chunk : NULL;
  if (!c || c->writer != q || s->off + s->len != c->fill || c->cap - c->fill < len)
    return pt_segq_copy_slow(q, p, bytes, len, want);
  memcpy(c->data + c->fill, bytes, len);
  c->fill += (uint32_t)len;
  s->len += (uint32_t)len;
  q->bytes += len;
  return 0;
}

#endif
