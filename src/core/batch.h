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
  pt_batched at[PT_BATCH];
} pt_batch;

/* Adds request seq of the client, to be answered to who, whose bytes are at chunk->data + off. slot < 0: none. key: the first key or NULL.
 * owned: takes over a reference of chunk; else the caller keeps it alive until the dispatch. */
void pt_batch_add(pt_batch *b, pt_batched what, const pt_command *cmd, uint32_t argc, int slot, const pt_arg *key);

/* Asks the policy and hands everything on. */
void pt_batch_dispatch(pt_batch *b);

#endif
