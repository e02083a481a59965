#include "core/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/reply.h"
#include "core/retry.h"
#include "core/stream.h"
#include "core/upstream.h"

enum {
  FIFO_MIN = 64,
  PIECES = 64
};

static const char asking[] = "*1\r\n$6\r\nASKING\r\n", readonly[] = "*1\r\n$8\r\nREADONLY\r\n",
                  readwrite[] = "*1\r\n$9\r\nREADWRITE\r\n";

void pt_link_init(pt_link *l, pt_upstream *up, unsigned proto) {
  memset(l, 0, sizeof *l);
  l->up = up;
  l->proto = (uint8_t)proto;
  l->conn.io.fd = -1;
  l->run_stamp = PT_NO_STAMP;
}

void pt_link_free(pt_link *l) {
  pt_worker *w = l->up->svc->worker;
  pt_conn_close(&l->conn, w->loop);
  w->inflight -= l->ftail - l->fhead;
  l->fhead = l->ftail;
  l->state = PT_LINK_CLOSED;
  l->incarnation++;
  pt_segq_clear(&l->log);
  free(l->fifo);
  free(l->left);
  l->fifo = NULL;
  l->left = NULL;
  for (uint32_t i = 0; l->dirty && i < w->ndirty_links; i++)
    if (w->dirty_links[i] == l)
      w->dirty_links[i] = NULL;
  l->dirty = false;
}

static int fifo_grow(pt_link *l) {
  uint32_t cap = l->fifo ? (l->fmask + 1) * 2 : FIFO_MIN;
  pt_owner *fifo = malloc(cap * (sizeof *fifo + sizeof *l->stamps));
  if (!fifo)
    return -ENOMEM;
  uint32_t *stamps = (uint32_t *)(fifo + cap);
  for (uint32_t i = l->fhead; i != l->ftail; i++) {
    fifo[i & (cap - 1)] = l->fifo[i & l->fmask];
    stamps[i & (cap - 1)] = l->stamps[i & l->fmask];
  }
  free(l->fifo);
  l->fifo = fifo;
  l->stamps = stamps;
  l->fmask = cap - 1;
  return 0;
}

/* Room for n entries. */
static inline int fifo_room(pt_link *l, uint32_t n) {
  while (!l->fifo || l->ftail - l->fhead + n > l->fmask + 1) {
    int e = fifo_grow(l);
    if (e)
      return e;
  }
  return 0;
}

static inline void fifo_put(pt_link *l, pt_owner who, uint32_t len) {
  pt_worker *w = l->up->svc->worker;
  who.len = len;
  l->fifo[l->ftail & l->fmask] = who;
  l->stamps[l->ftail++ & l->fmask] = w->now_us;
  w->inflight++;
}

int pt_link_write_later(pt_link *l) {
  pt_worker *w = l->up->svc->worker;
  if (l->dirty)
    return 0;
  if (w->ndirty_links == w->cap_dirty_links) {
    uint32_t cap = w->cap_dirty_links ? w->cap_dirty_links * 2 : 16;
    pt_link **more = realloc(w->dirty_links, cap * sizeof(pt_link *));
    if (!more)
      return -ENOMEM;
    w->dirty_links = more;
    w->cap_dirty_links = cap;
  }
  w->dirty_links[w->ndirty_links++] = l;
  l->dirty = true;
  return 0;
}

static inline int append(pt_link *l, pt_chunk *c, uint32_t off, uint32_t len) {
  return len <= PT_COPY_MAX ? pt_segq_copy(&l->log, &l->up->svc->worker->pool, c->data + off, len, PT_CHUNK_LARGE)
                            : pt_segq_ref(&l->log, c, off, len);
}

/* A command of ours before the next request; its reply is swallowed. Room in the FIFO is there. */
static int internal(pt_link *l, const char *resp, uint32_t len) {
  int e = pt_segq_copy(&l->log, &l->up->svc->worker->pool, resp, len, PT_CHUNK_LARGE);
  if (!e)
    fifo_put(l, (pt_owner){.kind = PT_KIND_INTERNAL}, len);
  return e;
}

/* Everything that may refuse a request of len bytes. A replica answers reads on a connection that has said READONLY; a request meant for the owner must
 * not go over such a one, or a master that was just demoted would answer it from old data instead of MOVED. */
static int ready(pt_link *l, uint64_t len, uint32_t entries, bool replica) {
  if (l->doomed)
    return -ENOMEM;
  if (l->log.bytes + len > l->up->svc->lc->node_backlog && l->log.bytes)
    return -ENOBUFS;
  int e = fifo_room(l, entries + 1);
  if (!e && !l->dirty)
    e = pt_link_write_later(l);
  if (!e && l->readonly != replica)
    e = replica ? internal(l, readonly, sizeof readonly - 1) : internal(l, readwrite, sizeof readwrite - 1);
  if (!e)
    l->readonly = replica;
  return e;
}

int pt_link_push(pt_link *l, pt_owner who, pt_chunk *c, uint32_t off, uint32_t len, bool replica) {
  /* The usual case: a busy link with room. */
  bool easy = l->dirty && !l->doomed && l->ftail - l->fhead < l->fmask && l->readonly == replica &&
              l->log.bytes + len <= l->up->svc->lc->node_backlog;
  int e = easy ? 0 : ready(l, len, 1, replica);
  if (!e)
    e = append(l, c, off, len);
  if (!e)
    fifo_put(l, who, len);
  return e;
}

int pt_link_push_queue(pt_link *l, pt_owner who, const pt_segq *bytes, bool ask) {
  int e = ready(l, bytes->bytes, 2, false);
  if (!e && ask)
    e = internal(l, asking, sizeof asking - 1);
  if (e)
    return e;
  uint64_t before = l->log.bytes;
  for (uint32_t i = 0; i < bytes->n && !e; i++) {
    pt_seg *s = pt_segq_at(bytes, i);
    e = append(l, s->chunk, s->off, s->len);
  }
  if (!e)
    fifo_put(l, who, (uint32_t)bytes->bytes);
  else
    l->doomed |= l->log.bytes != before; /* half a request must not stay in the log: the flush cuts the link */
  return e;
}

int pt_link_push_part(pt_link *l, pt_owner who) {
  int e = fifo_room(l, 1);
  if (!e)
    fifo_put(l, who, 0);
  return e;
}

void pt_link_flush(pt_link *l) {
  pt_worker *w = l->up->svc->worker;
  if (l->doomed)
    pt_link_cut(l, "out of memory");
  if (l->state == PT_LINK_CLOSED && l->log.bytes)
    pt_link_open(l);
  if (l->state != PT_LINK_READY || l->blocked)
    return;
  if (!l->timed_at && l->fhead != l->ftail) {
    l->timed = l->ftail - 1;
    l->timed_at = w->now;
  }
  while (l->sent < l->log.bytes) {
    struct iovec iov[PIECES];
    size_t total;
    unsigned pieces = pt_segq_iov(&l->log, l->sent, iov, PIECES, &total);
    ssize_t n = pt_conn_write(&l->conn, iov, pieces);
    if (n < 0 && n != -EAGAIN) {
      pt_link_cut(l, pt_conn_error(&l->conn, (int)n));
      return;
    }
    if (n > 0 && l->discard) {
      pt_segq_drop(&l->log, (uint64_t)n);
      pt_stream_drained(l);
    } else if (n > 0)
      l->sent += (uint64_t)n;
    if (n < (ssize_t)total) {
      l->blocked = true;
      pt_conn_watch(&l->conn, w->loop, EV_READ | EV_WRITE);
      return;
    }
  }
}

const char pt_link_late[] = "a request timed out";

void pt_link_tick(pt_link *l) {
  uint32_t old = l->ticks[l->tick % PT_LINK_TICKS];
  l->ticks[l->tick++ % PT_LINK_TICKS] = l->ftail;
  const pt_listener_config *lc = l->up->svc->lc;
  if (l->state == PT_LINK_CLOSED)
    return;
  if (l->begun && l->heard) { /* a large reply on its way may take long, and so may what stands behind it */
    for (unsigned i = 0; i < PT_LINK_TICKS; i++)
      l->ticks[i] = l->fhead;
    old = l->fhead;
  }
  l->heard = false;
  if (l->state != PT_LINK_READY && l->up->svc->worker->now - l->opened > lc->connect_timeout * PT_NS_PER_MS) {
    pt_upstream_trip(l->up, l->state == PT_LINK_CONNECTING ? "connecting timed out" : "it does not answer");
    pt_link_cut(l, l->up->reason);
  } else if (l->fhead != l->ftail && (int32_t)(l->fhead - old) < 0 && !l->discard) {
    /* Everything before old was pushed a whole request_timeout ago. */
    pt_upstream_trip(l->up, pt_link_late);
    pt_link_cut(l, l->up->reason);
  }
}

void pt_link_cut(pt_link *l, const char *reason) {
  pt_worker *w = l->up->svc->worker;
  char name[PT_UPSTREAM_NAME];
  pt_conn_close(&l->conn, w->loop);
  l->incarnation++;
  pt_link_end_run(l);
  /* Taken off the link first: what becomes of the requests may put new ones on it. */
  pt_owner *fifo = l->fifo;
  const uint32_t *stamps = l->stamps;
  uint32_t head = l->fhead, tail = l->ftail, mask = l->fmask;
  uint64_t sent = l->sent;
  pt_segq log = l->log;
  bool begun = l->begun, unsent = l->state != PT_LINK_READY;
  l->state = PT_LINK_CLOSED;
  l->fifo = NULL;
  l->fmask = 0; /* no room: pt_link_push makes some */
  l->fhead = l->ftail;
  l->log = (pt_segq){0};
  l->sent = l->timed_at = 0;
  l->blocked = l->readonly = l->begun = l->doomed = false;
  memset(&l->scan, 0, sizeof l->scan);
  for (unsigned i = 0; i < PT_LINK_TICKS; i++)
    l->ticks[i] = l->ftail;
  free(l->left);
  l->left = NULL;
  l->nleft = 0;
  w->inflight -= tail - head;
  for (; head != tail; head++) {
    pt_owner who = fifo[head & mask];
    l->run_us = w->now_us - stamps[head & mask];
    bool written = who.len <= sent;
    sent -= written ? who.len : sent;
    if (begun)
      pt_reply_broken(w, who, PT_E_BROKE_OFF, "its reply broke off: the node's connection was lost");
    else if (l->discard && unsent)
      pt_reply_error(w, who, PT_E_LOST_UNSENT, "ERR node %s: %s; request not sent", pt_upstream_name(l->up, name), reason);
    else if (who.kind != PT_KIND_INTERNAL)
      pt_retry_on_loss(l, who, &log, written, reason);
    begun = false;
    pt_segq_drop(&log, who.len < log.bytes ? who.len : log.bytes);
  }
  pt_segq_clear(&log);
  free(fifo);
}
