#include "core/link_reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/client.h"
#include "core/fan.h"
#include "core/retry.h"

enum { READ_MIN = 16 * 1024 };

/* The scratch chunk with room for a read behind what others still look at. NULL: no memory. */
static pt_chunk *scratch(pt_worker *w, uint32_t room) {
  pt_chunk *c = w->scratch;
  if (c && c->refs == 1)
    c->fill = 0;
  if (c && c->cap - c->fill >= room)
    return c;
  if (c)
    pt_chunk_unref(c);
  return w->scratch = pt_chunk_new(&w->pool, room > PT_CHUNK_LARGE ? room : PT_CHUNK_LARGE);
}

/* The oldest request has its whole reply: its bytes leave the log. */
static void pop(pt_link *l, pt_owner who) {
  l->fhead++;
  l->sent -= who.len;
  pt_segq_drop(&l->log, who.len);
}

static void deliver(pt_link *l, pt_owner who, pt_chunk *c, uint32_t off, uint32_t len, bool last) {
  pt_worker *w = l->up->svc->worker;
  switch (who.kind) {
  case PT_KIND_CLIENT:
    pt_client_reply(w, who, c, off, len, last);
    break;
  case PT_KIND_FAN:
    pt_fan_reply(w, who, c, off, len, last);
    break;
  case PT_KIND_RETRY: {
    pt_retry *r = &w->retries[who.index];
    deliver(l, r->owner, c, off, len, last);
    if (last)
      pt_retry_done(w, who.index, who.gen);
    break;
  }
  case PT_KIND_INTERNAL:
    break;
  }
}

/* A reply of the greeting. false: the node refused and the link is cut. */
static bool greeted(pt_link *l, const uint8_t *p, size_t n) {
  if (*p == '-') {
    char why[96];
    snprintf(why, sizeof why, "the node refused: %.*s", (int)(n - 3 < 70 ? n - 3 : 70), (const char *)p + 1);
    pt_link_cut(l, why);
    return false;
  }
  if (--l->setup == 0) {
    l->state = PT_LINK_READY;
    pt_link_flush(l);
  }
  return l->state != PT_LINK_CLOSED;
}

/* Passes on the replies in n bytes. Returns how many bytes are left unused, or -1 when the link was cut. */
static long replies(pt_link *l, pt_chunk *c, uint32_t off, uint32_t n) {
  uint32_t incarnation = l->incarnation;
  while (n) {
    bool first = !l->scan.inside;
    size_t used;
    int r = pt_reply_scan(&l->scan, c->data + off, n, &used);
    if (r == PT_RESP_BAD || (l->state == PT_LINK_READY && l->fhead == l->ftail)) {
      pt_link_cut(l, r == PT_RESP_BAD ? "it sent what is no RESP" : "it sent a reply nobody asked for");
      return -1;
    }
    if (l->state == PT_LINK_SETUP) {
      if (r == PT_RESP_OK && !greeted(l, c->data + off, used))
        return -1;
    } else if (used) {
      pt_owner who = l->fifo[l->fhead & l->fmask];
      bool redirected = first && r == PT_RESP_OK && c->data[off] == '-' && who.kind != PT_KIND_INTERNAL &&
                        pt_retry_on_error(l, who, c->data + off, used);
      if (!redirected)
        deliver(l, who, c, off, (uint32_t)used, r == PT_RESP_OK);
      if (l->incarnation != incarnation)
        return -1;
      if (r == PT_RESP_OK)
        pop(l, who);
    }
    off += (uint32_t)used;
    n -= (uint32_t)used;
    if (r == PT_RESP_MORE)
      break;
  }
  return n;
}

void pt_link_read(pt_link *l) {
  pt_chunk *c = scratch(l->up->svc->worker, READ_MIN + l->nleft);
  if (!c) {
    pt_link_cut(l, "out of memory");
    return;
  }
  uint32_t at = c->fill;
  if (l->nleft)
    memcpy(c->data + at, l->left, l->nleft);
  ssize_t n = recv(l->io.fd, c->data + at + l->nleft, c->cap - at - l->nleft, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (n <= 0) {
    pt_link_cut(l, n ? strerror(errno) : "connection closed by the node");
    return;
  }
  uint32_t have = l->nleft + (uint32_t)n;
  c->fill = at + have;
  free(l->left);
  l->left = NULL;
  l->nleft = 0;
  long rest = replies(l, c, at, have);
  if (rest > 0) {
    if (!(l->left = malloc((size_t)rest)))
      pt_link_cut(l, "out of memory");
    else
      memcpy(l->left, c->data + at + have - rest, l->nleft = (uint32_t)rest);
  }
  if (c->refs == 1)
    c->fill = 0;
}
