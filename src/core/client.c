#include "core/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/route.h"

enum {
  RING_MIN = 16,
  FLUSH_PIECES = 64,
};

static int mark_dirty(pt_client *c) {
  pt_worker *w = c->svc->worker;
  if (c->flags & (PT_CLIENT_DIRTY | PT_CLIENT_BLOCKED_OUT))
    return 0;
  if (w->ndirty == w->cap_dirty) {
    uint32_t cap = w->cap_dirty ? w->cap_dirty * 2 : 64;
    uint32_t *more = realloc(w->dirty, cap * sizeof *more);
    if (!more)
      return -ENOMEM;
    w->dirty = more;
    w->cap_dirty = cap;
  }
  w->dirty[w->ndirty++] = c->index;
  c->flags |= PT_CLIENT_DIRTY;
  return 0;
}

/* ---- replies in order ---- */

static int ring_room(pt_client *c, uint32_t seq) {
  uint32_t cap = c->ring ? c->mask + 1 : 0, want = RING_MIN;
  if (seq - c->head < cap)
    return 0;
  while (want <= seq - c->head)
    want *= 2;
  pt_early *ring = calloc(want, sizeof *ring);
  if (!ring)
    return -ENOMEM;
  /* A queue's address is the mark of its open chunk: moving it closes the chunk, which is only a few bytes lost. */
  for (uint32_t i = 0; i < cap; i++)
    ring[(c->head + i) & (want - 1)] = c->ring[(c->head + i) & c->mask];
  free(c->ring);
  c->ring = ring;
  c->mask = want - 1;
  return 0;
}

/* Bytes for the front: copied together while more replies are to come, by reference when this is the only one. */
static int append(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t len) {
  if (len <= PT_COPY_MAX && (c->out.n || c->tail - c->head > 1))
    return pt_segq_copy(&c->out, &c->svc->worker->pool, chunk->data + off, len, PT_CHUNK_SMALL);
  return pt_segq_ref(&c->out, chunk, off, len);
}

/* The oldest request has been answered: what came early and is next follows it. */
static int advance(pt_client *c) {
  int e = 0;
  for (c->head++; c->ring && c->head != c->tail && !e; c->head++) {
    pt_early *r = &c->ring[c->head & c->mask];
    for (uint32_t i = 0; i < r->bytes.n && !e; i++) {
      pt_seg *s = pt_segq_at(&r->bytes, i);
      e = append(c, s->chunk, s->off, s->len);
    }
    pt_segq_clear(&r->bytes);
    if (!r->done)
      break;
    r->done = false;
  }
  if (c->ring && c->head == c->tail) {
    free(c->ring);
    c->ring = NULL;
    c->mask = 0;
  }
  return e;
}

void pt_client_reply(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last) {
  pt_client *c = pt_client_get(w, who.index, who.gen);
  if (!c)
    return;
  int e;
  if (who.seq == c->head) {
    e = append(c, chunk, off, len);
    if (!e && last)
      e = advance(c);
    if (!e && (last || c->out.bytes >= PT_CHUNK_LARGE))
      e = mark_dirty(c);
  } else if (!(e = ring_room(c, who.seq))) {
    pt_early *r = &c->ring[who.seq & c->mask];
    e = pt_segq_ref(&r->bytes, chunk, off, len);
    r->done = last;
  }
  if (e)
    pt_client_close(c, strerror(-e));
  else if (c->out.bytes > c->svc->lc->client_buffer)
    pt_client_close(c, "it left more replies unread than client_buffer allows");
}

void pt_client_answer(pt_worker *w, pt_owner who, const char *resp, size_t len) {
  pt_chunk *chunk = pt_chunk_new(&w->pool, len);
  if (!chunk) {
    pt_client *c = pt_client_get(w, who.index, who.gen);
    if (c)
      pt_client_close(c, strerror(ENOMEM));
    return;
  }
  memcpy(chunk->data, resp, len);
  pt_client_reply(w, who, chunk, 0, (uint32_t)len, true);
  pt_chunk_unref(chunk);
}

/* ---- writing ---- */

static void watch(pt_client *c, int events) {
  struct ev_loop *loop = c->svc->worker->loop;
  ev_io_stop(loop, &c->io);
  ev_io_set(&c->io, c->io.fd, events);
  if (events)
    ev_io_start(loop, &c->io);
}

static int reads(const pt_client *c) { return c->flags & (PT_CLIENT_PAUSED | PT_CLIENT_EOF | PT_CLIENT_CLOSING) ? 0 : EV_READ; }

void pt_client_flush(pt_client *c) {
  c->flags &= (uint16_t)~PT_CLIENT_DIRTY;
  while (c->out.bytes) {
    struct iovec iov[FLUSH_PIECES];
    size_t total;
    struct msghdr m = {.msg_iov = iov};
    m.msg_iovlen = pt_segq_iov(&c->out, 0, iov, FLUSH_PIECES, &total);
    ssize_t n = m.msg_iovlen == 1 ? send(c->io.fd, iov[0].iov_base, total, MSG_NOSIGNAL)
                                  : sendmsg(c->io.fd, &m, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno != EAGAIN) {
      pt_client_close(c, strerror(errno));
      return;
    }
    if (n > 0)
      pt_segq_drop(&c->out, (uint64_t)n);
    if (n < (ssize_t)total) {
      c->flags |= PT_CLIENT_BLOCKED_OUT;
      watch(c, reads(c) | EV_WRITE);
      return;
    }
  }
  if (c->flags & PT_CLIENT_BLOCKED_OUT) {
    c->flags &= (uint16_t)~PT_CLIENT_BLOCKED_OUT;
    watch(c, reads(c));
  }
  if ((c->flags & (PT_CLIENT_CLOSING | PT_CLIENT_EOF)) && c->head == c->tail)
    pt_client_close(c, NULL);
}
