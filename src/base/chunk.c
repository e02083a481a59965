#include "base/chunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
  KEEP_SMALL = 256,
  KEEP_LARGE = 64,
  RESERVE = 8
};

void pt_pool_init(pt_pool *p) { memset(p, 0, sizeof *p); }

static void free_list(pt_pool *p, pt_chunk **list, unsigned *n) {
  for (pt_chunk *c = *list, *next; c; c = next) {
    next = c->next;
    p->bytes -= sizeof *c + c->cap;
    free(c);
  }
  *list = NULL;
  *n = 0;
}

static void free_kept(pt_pool *p) {
  for (int i = 0; i < 2; i++)
    free_list(p, &p->free[i], &p->nfree[i]);
}

void pt_pool_free(pt_pool *p) {
  free_kept(p);
  free_list(p, &p->reserve, &p->nreserve);
}

void pt_pool_lean(pt_pool *p, int lean) {
  p->lean = lean;
  if (lean)
    free_kept(p);
}

void pt_pool_refill(pt_pool *p) {
  while (p->nreserve < RESERVE) {
    pt_chunk *c = malloc(sizeof *c + PT_CHUNK_LARGE);
    if (!c)
      return;
    *c = (pt_chunk){.cap = PT_CHUNK_LARGE, .pool = p};
    p->bytes += sizeof *c + PT_CHUNK_LARGE;
    c->next = p->reserve;
    p->reserve = c;
    p->nreserve++;
  }
}

/* There is no memory. */
static pt_chunk *from_reserve(pt_pool *p, int pooled) {
  pt_chunk *c = pooled ? p->reserve : NULL;
  p->failed++;
  if (c) {
    p->reserve = c->next;
    p->nreserve--;
  }
  return c;
}

pt_chunk *pt_chunk_new(pt_pool *p, size_t want) {
  int cls = want <= PT_CHUNK_SMALL ? 0 : 1;
  size_t cap = cls ? PT_CHUNK_LARGE : PT_CHUNK_SMALL;
  int pooled = want <= PT_CHUNK_LARGE;
  pt_chunk *c = pooled ? p->free[cls] : NULL;
  if (c) {
    p->free[cls] = c->next;
    p->nfree[cls]--;
  } else {
    if (!pooled)
      cap = want;
    if (cap > UINT32_MAX)
      return NULL;
    c = malloc(sizeof *c + cap);
    if (c) {
      c->cap = (uint32_t)cap;
      c->pool = p;
      p->bytes += sizeof *c + cap;
    } else if (!(c = from_reserve(p, pooled))) {
      return NULL;
    }
  }
  c->refs = 1;
  c->fill = 0;
  c->writer = NULL;
  return c;
}

pt_chunk *pt_chunk_exact(pt_pool *p, size_t cap) {
  pt_chunk *c = cap <= UINT32_MAX ? malloc(sizeof *c + cap) : NULL;
  if (!c) {
    p->failed++;
    return NULL;
  }
  *c = (pt_chunk){.refs = 1, .cap = (uint32_t)cap, .pool = p};
  p->bytes += sizeof *c + cap;
  return c;
}

void pt_chunk_release(pt_chunk *c) {
  pt_pool *p = c->pool;
  int cls = c->cap == PT_CHUNK_SMALL ? 0 : c->cap == PT_CHUNK_LARGE ? 1 : -1;
  unsigned keep = cls == 0 ? KEEP_SMALL : KEEP_LARGE;
  if (cls >= 0 && p->nfree[cls] < keep && !p->lean) {
    c->next = p->free[cls];
    p->free[cls] = c;
    p->nfree[cls]++;
    return;
  }
  p->bytes -= sizeof *c + c->cap;
  free(c);
}

static void drop_array(pt_segq *q) {
  free(q->segs);
  q->segs = NULL;
  q->cap = q->head = 0;
}

void pt_segq_clear(pt_segq *q) {
  for (uint32_t i = 0; i < q->n; i++)
    pt_chunk_unref(pt_segq_at(q, i)->chunk);
  drop_array(q);
  q->n = 0;
  q->bytes = 0;
}

static pt_seg *push(pt_segq *q) {
  if (q->n < (q->cap ? q->cap : 1)) {
    q->n++;
    return pt_segq_at(q, q->n - 1);
  }
  uint32_t cap = q->cap ? q->cap * 2 : 4;
  pt_seg *segs = malloc(cap * sizeof *segs);
  if (!segs)
    return NULL;
  for (uint32_t i = 0; i < q->n; i++)
    segs[i] = *pt_segq_at(q, i);
  free(q->segs);
  q->segs = segs;
  q->cap = cap;
  q->head = 0;
  return &segs[q->n++];
}

int pt_segq_ref(pt_segq *q, pt_chunk *c, uint32_t off, uint32_t len) {
  pt_seg *last = q->n ? pt_segq_at(q, q->n - 1) : NULL;
  if (last && last->chunk == c && last->off + last->len == off) {
    last->len += len;
  } else {
    pt_seg *s = push(q);
    if (!s)
      return -ENOMEM;
    *s = (pt_seg){pt_chunk_ref(c), off, len};
  }
  q->bytes += len;
  return 0;
}

/* The last chunk is not the queue's own, or full: the copy goes into a new one. */
int pt_segq_copy_slow(pt_segq *q, pt_pool *p, const void *bytes, size_t len, size_t want) {
  pt_chunk *c = pt_chunk_new(p, len > want ? len : want);
  pt_seg *s = c ? push(q) : NULL;
  if (!s) {
    if (c)
      pt_chunk_unref(c);
    return -ENOMEM;
  }
  c->writer = q;
  memcpy(c->data, bytes, len);
  c->fill = (uint32_t)len;
  *s = (pt_seg){c, 0, (uint32_t)len};
  q->bytes += len;
  return 0;
}

void pt_segq_drop(pt_segq *q, uint64_t n) {
  q->bytes -= n;
  while (q->n) {
    pt_seg *s = pt_segq_at(q, 0);
    if (n < s->len) {
      s->off += (uint32_t)n;
      s->len -= (uint32_t)n;
      return;
    }
    /* An emptied open chunk that nobody else looks at is filled again from its start. */
    if (n == s->len && q->n == 1 && s->chunk->writer == q && s->chunk->refs == 1 && s->chunk->cap == PT_CHUNK_LARGE) {
      s->chunk->fill = s->off = s->len = 0;
      return;
    }
    n -= s->len;
    pt_chunk_unref(s->chunk);
    q->n--;
    if (q->cap)
      q->head = (q->head + 1) & (q->cap - 1);
  }
  if (q->cap)
    drop_array(q);
}

uint64_t pt_segq_held(const pt_segq *q) {
  uint64_t held = q->cap * sizeof *q->segs;
  for (uint32_t i = 0; i < q->n; i++)
    held += pt_chunk_held(pt_segq_at(q, i)->chunk);
  return held;
}

unsigned pt_segq_iov(const pt_segq *q, uint64_t skip, struct iovec *iov, unsigned max, size_t *total) {
  unsigned k = 0;
  *total = 0;
  for (uint32_t i = 0; i < q->n && k < max; i++) {
    const pt_seg *s = pt_segq_at(q, i);
    if (skip >= s->len) {
      skip -= s->len;
      continue;
    }
    iov[k].iov_base = s->chunk->data + s->off + skip;
    iov[k].iov_len = s->len - skip;
    *total += iov[k++].iov_len;
    skip = 0;
  }
  return k;
}

int pt_segq_share(pt_segq *to, const pt_segq *from, uint64_t n) {
  for (uint32_t i = 0; n && i < from->n; i++) {
    const pt_seg *s = pt_segq_at(from, i);
    uint32_t len = s->len < n ? s->len : (uint32_t)n;
    int e = len ? pt_segq_ref(to, s->chunk, s->off, len) : 0;
    if (e)
      return e;
    n -= len;
  }
  return 0;
}

size_t pt_segq_peek(const pt_segq *q, void *out, size_t n) {
  size_t got = 0;
  for (uint32_t i = 0; got < n && i < q->n; i++) {
    const pt_seg *s = pt_segq_at(q, i);
    size_t len = s->len < n - got ? s->len : n - got;
    memcpy((uint8_t *)out + got, s->chunk->data + s->off, len);
    got += len;
  }
  return got;
}
