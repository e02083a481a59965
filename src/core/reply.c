#include "core/reply.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/fan.h"
#include "core/retry.h"
#include "core/told.h"

enum {
  RING_MIN = 16,
  RING_KEEP = 64
};

/* ---- replies kept until their turn ---- */

int pt_kept_add(pt_kept *k, pt_chunk *chunk, uint32_t off, uint32_t len) {
  if (!k->chunk) {
    k->chunk = pt_chunk_ref(chunk);
    k->off = off;
    k->len = len;
    return 0;
  }
  if (!k->more && !(k->more = calloc(1, sizeof *k->more)))
    return -ENOMEM;
  return pt_segq_ref(k->more, chunk, off, len);
}

void pt_kept_clear(pt_kept *k) {
  if (k->chunk)
    pt_chunk_unref(k->chunk);
  if (k->more) {
    pt_segq_clear(k->more);
    free(k->more);
  }
  memset(k, 0, sizeof *k);
}

static int ring_grow(pt_client *c, uint32_t distance) {
  uint32_t cap = c->ring ? c->mask + 1 : 0, want = RING_MIN;
  while (want <= distance)
    want *= 2;
  pt_kept *ring = calloc(want, sizeof *ring);
  if (!ring)
    return -ENOMEM;
  for (uint32_t i = 0; i < cap; i++)
    ring[(c->head + i) & (want - 1)] = c->ring[(c->head + i) & c->mask];
  free(c->ring);
  c->ring = ring;
  c->mask = want - 1;
  return 0;
}

/* ---- a client's output, in order ---- */

/* Copied together while more replies are to come, by reference when this is the only one or it is large. */
static inline int append(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t len) {
  if (len <= PT_COPY_MAX && (c->out.n || c->tail - c->head > 1))
    return pt_segq_copy(&c->out, &c->svc->worker->pool, chunk->data + off, len, PT_CHUNK_SMALL);
  return pt_segq_ref(&c->out, chunk, off, len);
}

static int append_kept(pt_client *c, pt_kept *k) {
  for (unsigned i = 0, n = pt_kept_pieces(k); i < n; i++) {
    pt_seg s = pt_kept_piece(k, i);
    c->early -= s.len;
    int e = append(c, s.chunk, s.off, s.len);
    if (e)
      return e;
  }
  return 0;
}

/* The oldest request is answered: what came early and is next follows it. */
static int advance(pt_client *c) {
  int e = 0;
  for (c->head++; c->ring && c->head != c->tail && !e; c->head++) {
    pt_kept *k = &c->ring[c->head & c->mask];
    if (!k->chunk)
      break;
    bool done = k->done;
    e = append_kept(c, k);
    pt_kept_clear(k);
    if (!done) {
      c->flags |= PT_CLIENT_REPLY_PART;
      break;
    }
  }
  if (c->head == c->tail && c->ring && c->mask >= RING_KEEP) {
    free(c->ring);
    c->ring = NULL;
    c->mask = 0;
  }
  if (c->retries)
    pt_client_pump_later(c);
  if (c->flags & (PT_CLIENT_BARRIER | PT_CLIENT_FULL))
    pt_client_resume_later(c);
  return e;
}

static void to_client(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last) {
  pt_client *c = pt_client_get(w, who.index, who.gen);
  if (!c)
    return;
  int e;
  uint32_t distance = who.seq - c->head;
  if (distance == 0) {
    e = append(c, chunk, off, len);
    if (last) {
      c->flags &= (uint16_t)~PT_CLIENT_REPLY_PART;
      e = e ? e : advance(c);
    } else {
      c->flags |= PT_CLIENT_REPLY_PART;
    }
    pt_client_write_later(c);
  } else if (!(e = c->ring && distance <= c->mask ? 0 : ring_grow(c, distance))) {
    pt_kept *k = &c->ring[who.seq & c->mask];
    e = pt_kept_add(k, chunk, off, len);
    k->done = last;
    c->early += e ? 0 : len;
  }
  if (e)
    pt_client_fail(c, PT_E_MEMORY, "out of memory");
  else if (c->out.bytes + c->early > c->svc->lc->client_buffer)
    pt_client_fail(c, PT_E_UNREAD, "it left more replies unread than client_buffer allows");
}

/* ---- whoever asked ---- */

void pt_reply_to(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last) {
  if (w->access.n)
    pt_access_reply(w, who, chunk->data + off, len, last);
  if (who.kind == PT_KIND_CLIENT)
    to_client(w, who, chunk, off, len, last);
  else if (who.kind == PT_KIND_FAN)
    pt_fan_reply(w, who, chunk, off, len, last);
  else if (who.kind == PT_KIND_RETRY)
    pt_retry_reply(w, who, chunk, off, len, last);
}

void pt_reply_bytes(pt_worker *w, pt_owner who, const void *resp, size_t len) {
  pt_chunk *chunk = len <= PT_COPY_MAX ? pt_worker_scratch(w, (uint32_t)len) : pt_chunk_new(&w->pool, len);
  if (!chunk) {
    pt_reply_broken(w, who, PT_E_MEMORY, "out of memory");
    return;
  }
  uint32_t off = chunk->fill;
  memcpy(chunk->data + off, resp, len);
  chunk->fill += (uint32_t)len;
  pt_chunk_ref(chunk);
  pt_reply_to(w, who, chunk, off, (uint32_t)len, true);
  pt_chunk_unref(chunk);
  if (len > PT_COPY_MAX)
    pt_chunk_unref(chunk);
}

void pt_reply_error(pt_worker *w, pt_owner who, pt_error e, const char *fmt, ...) {
  char line[512] = "-";
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(line + 1, sizeof line - 3 - PT_TOLD_CODE, fmt, args);
  va_end(args);
  size_t len = n < 0 ? 1 : strlen(line);
  for (size_t i = 0; i < len; i++)
    if (line[i] == '\r' || line[i] == '\n')
      line[i] = ' ';
  pt_told(w, e, line + 1);
  if (pt_errors[e].shown) {
    pt_told_code(e, line + len);
    len += strlen(line + len);
  }
  memcpy(line + len, "\r\n", 2);
  pt_reply_bytes(w, who, line, len + 2);
}

void pt_reply_broken(pt_worker *w, pt_owner who, pt_error e, const char *reason) {
  if (who.kind == PT_KIND_RETRY && !pt_retry_owner(w, &who))
    return;
  pt_owner part = who;
  if (who.kind == PT_KIND_FAN && !pt_fan_owner(w, &who))
    return;
  if (part.kind == PT_KIND_FAN)
    pt_fan_cancel(w, part);
  pt_client *c = who.kind == PT_KIND_CLIENT ? pt_client_get(w, who.index, who.gen) : NULL;
  if (c)
    pt_client_fail(c, e, reason);
}
