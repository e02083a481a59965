/* A batch: requests that one policy call decides about, and how each goes on from there: to a link, behind a gate, or to an error.
 * A batch never waits to fill: it is dispatched when its client's input is worked through, or when it is full. Worker's thread. */
#ifndef PT_CORE_BATCH_H
#define PT_CORE_BATCH_H

#include "core/worker.h"

/* What the core keeps of a request beside what the policy sees. */
typedef struct pt_batched {
  pt_owner who;
  uint32_t seq;
  uint32_t off, len;
  pt_chunk *chunk;
  bool owned; /* the batch holds a reference of chunk */
} pt_batched;

typedef struct pt_batch {
  pt_client *c;
  unsigned n;
  const pt_command *last; /* the command of the last request and the letters that named it; NULL: none to go by */
  uint32_t last_len;
  uint8_t last_name[16];
  pt_batched at[PT_BATCH];
} pt_batch;

/* Asks the policy and hands everything on. */
void pt_batch_dispatch(pt_batch *b);

/* Adds request seq of the client, to be answered to who, whose len bytes are at chunk->data + off. slot < 0: none. key: the first key or NULL.
 * owned: takes over a reference of chunk; else the caller keeps it alive until the dispatch. */
static inline void pt_batch_add(pt_batch *b, pt_owner who, uint32_t seq, pt_chunk *chunk, uint32_t off, uint32_t len, bool owned,
                                const pt_command *cmd, uint32_t argc, int slot, const pt_arg *key) {
  if (b->n == PT_BATCH)
    pt_batch_dispatch(b);
  const pt_client *c = b->c;
  pt_batched *a = &b->at[b->n];
  who.class = cmd->flags; /* its two lowest bits: read, write */
  a->who = who;
  a->seq = seq;
  a->off = off;
  a->len = len;
  a->chunk = chunk;
  a->owned = owned;
  pt_request *r = &c->svc->policy->batch[b->n++];
  r->key = key ? key->p : NULL;
  r->key_len = key ? key->n : 0;
  r->frame = chunk->data + off;
  r->frame_len = len;
  r->flags = cmd->flags;
  r->slot = (uint16_t)slot; /* -1: 0xffff */
  r->cmd = cmd->id;
  r->argc = argc;
  r->client = c->index;
  r->node = PT_ROUTE_DEFAULT;
  r->client_ip = c->ip;
}

#endif
