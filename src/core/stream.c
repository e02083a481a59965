#include "core/stream.h"

#include <stdlib.h>
#include <string.h>

#include "core/link.h"
#include "core/reply.h"
#include "core/service.h"
#include "core/upstream.h"

enum {
  LOG_HIGH = 1024 * 1024,
  HEADER_MAX = 40
};

struct pt_stream {
  pt_stream *prev, *next; /* the service's list */
  pt_client *client;
  pt_link link;
  pt_reply scan; /* a request is an array of strings, as a reply could be */
  uint8_t head[HEADER_MAX]; /* an unfinished header line, already passed on */
  uint32_t nhead;
  uint32_t seq;
  bool ended; /* the request is whole */
  uint64_t moved; /* ns: when bytes last went to the node */
};

static bool answered(const pt_stream *t) { return t->client->head != t->seq; }

/* The node for a frame whose first key is there; NULL: only the whole request tells. */
static pt_upstream *node_for(pt_client *c, const pt_frame *f) {
  int sub = 0;
  const pt_command *cmd = pt_command_find(f->args, f->nargs, &sub);
  if (!cmd || sub || cmd->verb != PT_VERB_KEYED || !pt_command_arity_ok(cmd, f->argc) || cmd->keyspec != PT_KEYS_RANGE ||
      cmd->first != cmd->last || (uint32_t)cmd->first >= f->nargs || !(c->flags & PT_CLIENT_AUTHED))
    return NULL;
  const pt_arg *key = &f->args[cmd->first];
  return pt_service_owner(c->svc, pt_key_slot(key->p, key->n));
}

bool pt_stream_start(pt_client *c, const pt_frame *f, pt_chunk *chunk, uint32_t off, uint32_t n) {
  pt_service *s = c->svc;
  pt_upstream *up = node_for(c, f);
  if (!up || up->open)
    return false;
  if (c->head != c->tail) {
    c->flags |= PT_CLIENT_BARRIER;
    return false;
  }
  pt_stream *t = calloc(1, sizeof *t);
  if (!t)
    return false;
  pt_link_init(&t->link, up, c->proto);
  t->link.discard = true;
  t->client = c;
  t->seq = c->tail++;
  t->moved = s->worker->now;
  t->next = s->streams;
  if (t->next)
    t->next->prev = t;
  s->streams = t;
  up->refs++;
  c->stream = t;
  pt_owner who = pt_client_owner(c, t->seq);
  who.class = PT_WORK_WRITE;
  if (pt_link_push_part(&t->link, who)) {
    pt_client_fail(c, PT_E_MEMORY, "out of memory");
    return true;
  }
  pt_stream_input(c, chunk, off, n);
  return true;
}

/* How many of n bytes belong to the request; sets ended. -1: it is broken. */
static long measure(pt_stream *t, const uint8_t *p, uint32_t n) {
  uint32_t at = 0;
  if (t->nhead) { /* finish the header line that the last bytes broke off in */
    uint8_t line[2 * HEADER_MAX];
    uint32_t more = n < HEADER_MAX ? n : HEADER_MAX;
    size_t used;
    memcpy(line, t->head, t->nhead);
    memcpy(line + t->nhead, p, more);
    uint8_t *end = memchr(line, '\n', t->nhead + more);
    uint32_t len = end ? (uint32_t)(end - line) + 1 : t->nhead + more;
    if (!end) {
      memcpy(t->head + t->nhead, p, more <= HEADER_MAX - t->nhead ? more : 0);
      t->nhead += more;
      return t->nhead < HEADER_MAX ? (long)n : -1;
    }
    int r = pt_reply_scan(&t->scan, line, len, &used);
    if (r == PT_RESP_BAD || used != len)
      return -1;
    at = len - t->nhead;
    t->nhead = 0;
    t->ended = r == PT_RESP_OK;
  }
  if (at < n && !t->ended) {
    size_t used;
    int r = pt_reply_scan(&t->scan, p + at, n - at, &used);
    at += (uint32_t)used;
    t->ended = r == PT_RESP_OK;
    if (r == PT_RESP_BAD || (r == PT_RESP_MORE && n - at >= HEADER_MAX))
      return -1;
    if (r == PT_RESP_MORE && at < n) {
      memcpy(t->head, p + at, t->nhead = n - at);
      at = n;
    }
  }
  return t->scan.bulk_left > t->client->svc->lc->max_bulk + 2 ? -1 : (long)at;
}

void pt_stream_input(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t n) {
  pt_stream *t = c->stream;
  long mine = measure(t, chunk->data + off, n);
  if (mine < 0) {
    pt_link_cut(&t->link, "its request broke the protocol");
    pt_client_fail(c, PT_E_BAD_REQUEST, "protocol error in a streamed request");
    return;
  }
  if (!answered(t) && (pt_segq_ref(&t->link.log, chunk, off, (uint32_t)mine) || pt_link_write_later(&t->link))) {
    pt_client_fail(c, PT_E_MEMORY, "out of memory");
    return;
  }
  if (t->ended) {
    c->flags |= PT_CLIENT_BARRIER;
    uint32_t rest = n - (uint32_t)mine;
    if (rest) {
      c->in = pt_chunk_exact(&c->svc->worker->pool, rest);
      if (!c->in) {
        pt_client_fail(c, PT_E_MEMORY, "out of memory");
        return;
      }
      memcpy(c->in->data, chunk->data + off + mine, rest);
      c->in_len = rest;
    }
    if (answered(t))
      pt_client_resume_later(c);
  }
  pt_client_watch(c);
}

bool pt_stream_wants(const pt_client *c) {
  return !c->stream->ended && (answered(c->stream) || c->stream->link.log.bytes < LOG_HIGH);
}

uint64_t pt_stream_held(const pt_client *c) { return c->stream ? pt_segq_held(&c->stream->link.log) : 0; }

bool pt_stream_ended(const pt_client *c) { return c->stream->ended; }
bool pt_stream_done(const pt_client *c) { return c->stream->ended && answered(c->stream); }

void pt_stream_drained(pt_link *l) {
  pt_stream *t = (pt_stream *)((char *)l - offsetof(pt_stream, link));
  t->moved = l->up->svc->worker->now;
  pt_client_watch(t->client);
}

void pt_stream_tick(pt_service *s) {
  uint64_t now = s->worker->now;
  for (pt_stream *t = s->streams, *next; t; t = next) {
    next = t->next;
    bool waits = t->link.log.bytes || (t->ended && !answered(t));
    if (!waits)
      t->moved = now;
    else if (now - t->moved > s->lc->request_timeout * PT_NS_PER_MS)
      pt_link_cut(&t->link, "the node made no progress");
  }
}

void pt_stream_forget(pt_client *c) {
  pt_stream *t = c->stream;
  if (!t)
    return;
  c->stream = NULL;
  if (t->prev)
    t->prev->next = t->next;
  else
    c->svc->streams = t->next;
  if (t->next)
    t->next->prev = t->prev;
  t->link.up->refs--;
  pt_link_free(&t->link);
  t->next = c->svc->worker->dead_streams; /* its link may be at work right now */
  c->svc->worker->dead_streams = t;
}

void pt_stream_bury(pt_worker *w) {
  for (pt_stream *t; (t = w->dead_streams);) {
    w->dead_streams = t->next;
    free(t);
  }
}
