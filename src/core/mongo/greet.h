/* The greeting of a connection that puerta opens to a backend on its own behalf (health probes, pools): hello, then SCRAM when credentials are
 * configured. A state machine over messages; whoever owns the socket moves the bytes. */
#ifndef PT_CORE_MONGO_GREET_H
#define PT_CORE_MONGO_GREET_H

#include "core/config.h"
#include "wire/mongo_hello.h"
#include "wire/scram.h"

typedef struct pt_greet {
  const pt_mongo_config *mc; /* borrowed; must outlive the greeting */
  uint8_t step;
  bool legacy; /* isMaster in OP_QUERY */
  bool compress; /* set before the start: the hello offers mc->compressors */
  int32_t request_id;
  int32_t conversation;
  int algorithm;
  pt_scram_client scram;
  pt_server_hello hello; /* once it has been answered */
  char error[160]; /* why it failed */
} pt_greet;

typedef enum pt_greet_result {
  PT_GREET_SEND, /* out has the next message */
  PT_GREET_DONE,
  PT_GREET_FAILED /* see error */
} pt_greet_result;

/* Queues the first message. legacy: with isMaster. g: zeroed, or with compress set. 0 or -ENOMEM. */
int pt_greet_start(pt_greet *g, const pt_mongo_config *mc, bool legacy, pt_segq *out, pt_pool *pool);
/* One whole reply of n bytes. May queue the next message. */
pt_greet_result pt_greet_reply(pt_greet *g, const uint8_t *p, size_t n, pt_segq *out, pt_pool *pool);

#endif
