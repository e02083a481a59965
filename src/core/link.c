#include "core/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/link_open.h"
#include "core/retry.h"

enum { FIFO_MIN = 64, IOV_MAX_PIECES = 64 };

static int fifo_grow(pt_link *l) {
  uint32_t cap = l->fifo ? (l->fmask + 1) * 2 : FIFO_MIN;
  pt_owner *fifo = malloc(cap * sizeof *fifo);
  if (!fifo)
    return -ENOMEM;
  for (uint32_t i = l->fhead; i != l->ftail; i++)
    fifo[i & (cap - 1)] = l->fifo[i & l->fmask];
  free(l->fifo);
  l->fifo = fifo;
  l->fmask = cap - 1;
  return 0;
}

static inline int fifo_room(pt_link *l) {
  return l->fifo && l->ftail - l->fhead <= l->fmask ? 0 : fifo_grow(l);
}

static int mark_dirty(pt_link *l) {
  pt_worker *w = l->up->svc->worker;
  if (l->dirty)
    return 0;
  if (w->ndirty_links == w->cap_dirty_links) {
    uint32_t cap = w->cap_dirty_links ? w->cap_dirty_links * 2 : 16;
    pt_link **more = realloc(w->dirty_links, cap * sizeof *more);
    if (!more)
      return -ENOMEM;
    w->dirty_links = more;
    w->cap_dirty_links = cap;
  }
  w->dirty_links[w->ndirty_links++] = l;
  l->dirty = true;
  return 0;
}

int pt_link_push(pt_link *l, pt_owner who, pt_chunk *c, uint32_t off, uint32_t len) {
  pt_service *s = l->up->svc;
  if (l->log.bytes + len > s->lc->node_backlog && l->log.bytes)
    return -ENOBUFS;
  int e = fifo_room(l);
  if (!e)
    e = mark_dirty(l);
  if (!e)
    e = len <= PT_COPY_MAX ? pt_segq_copy(&l->log, &s->worker->pool, c->data + off, len, PT_CHUNK_LARGE)
                           : pt_segq_ref(&l->log, c, off, len);
  if (e)
    return e;
  who.len = len;
  l->fifo[l->ftail++ & l->fmask] = who;
  return 0;
}

int pt_link_push_internal(pt_link *l, const char *resp, size_t len) {
  int e = fifo_room(l);
  if (!e)
    e = mark_dirty(l);
  if (!e)
    e = pt_segq_copy(&l->log, &l->up->svc->worker->pool, resp, len, PT_CHUNK_LARGE);
  if (e)
    return e;
  l->fifo[l->ftail++ & l->fmask] = (pt_owner){.kind = PT_KIND_INTERNAL, .len = (uint32_t)len};
  return 0;
}

static void watch(pt_link *l, int events) {
  struct ev_loop *loop = l->up->svc->worker->loop;
  if ((l->io.events & (EV_READ | EV_WRITE)) == events)
    return;
  ev_io_stop(loop, &l->io);
  ev_io_modify(&l->io, events);
  ev_io_start(loop, &l->io);
}

void pt_link_flush(pt_link *l) {
  l->dirty = false;
  if (l->state == PT_LINK_CLOSED) {
    pt_link_open(l);
    return;
  }
  if (l->state != PT_LINK_READY || l->blocked)
    return;
  while (l->sent < l->log.bytes) {
    struct iovec iov[IOV_MAX_PIECES];
    size_t total;
    struct msghdr m = {.msg_iov = iov};
    m.msg_iovlen = pt_segq_iov(&l->log, l->sent, iov, IOV_MAX_PIECES, &total);
    ssize_t n = m.msg_iovlen == 1 ? send(l->io.fd, iov[0].iov_base, total, MSG_NOSIGNAL)
                                  : sendmsg(l->io.fd, &m, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno != EAGAIN) {
      pt_link_cut(l, strerror(errno));
      return;
    }
    if (n > 0)
      l->sent += (uint64_t)n;
    if (n < (ssize_t)total) {
      l->blocked = true;
      watch(l, EV_READ | EV_WRITE);
      return;
    }
  }
}

void pt_link_tick(pt_link *l) {
  uint32_t old = l->ticks[l->tick % PT_LINK_TICKS];
  l->ticks[l->tick++ % PT_LINK_TICKS] = l->ftail;
  /* Positions only rise and wrap: everything before old was pushed a whole request_timeout ago. */
  if (l->state != PT_LINK_CLOSED && l->fhead != l->ftail && (int32_t)(l->fhead - old) < 0)
    pt_link_cut(l, "request timed out");
}

void pt_link_cut(pt_link *l, const char *reason) {
  pt_worker *w = l->up->svc->worker;
  if (l->io.fd >= 0) {
    ev_io_stop(w->loop, &l->io);
    close(l->io.fd);
    l->io.fd = -1;
  }
  l->state = PT_LINK_CLOSED;
  l->incarnation++;
  uint64_t off = 0;
  for (; l->fhead != l->ftail; l->fhead++) {
    pt_owner who = l->fifo[l->fhead & l->fmask];
    if (who.kind != PT_KIND_INTERNAL)
      pt_retry_on_loss(l, who, off, off + who.len <= l->sent, reason);
    off += who.len;
  }
  pt_segq_clear(&l->log);
  l->sent = 0;
  l->blocked = l->readonly_sent = false;
  memset(&l->scan, 0, sizeof l->scan);
  for (unsigned i = 0; i < PT_LINK_TICKS; i++)
    l->ticks[i] = l->ftail;
  free(l->left);
  l->left = NULL;
  l->nleft = 0;
}
