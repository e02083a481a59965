/* One pooled connection to a backend: connects, greets, then carries one request at a time and passes its reply to the client as it comes.
 * It belongs to its pool, which it tells what becomes of it. Worker's thread. */
#ifndef PT_CORE_MONGO_MLINK_H
#define PT_CORE_MONGO_MLINK_H

#include "core/mongo/exchange.h"
#include "core/mongo/greet.h"
#include "wire/mongo_reply.h"

typedef enum pt_mlink_state {
  PT_MLINK_CONNECTING,
  PT_MLINK_GREETING,
  PT_MLINK_IDLE,
  PT_MLINK_BUSY, /* x is its owner; NULL: the client has gone, what still comes is dropped */
} pt_mlink_state;

enum {
  PT_MLINK_LEFT = 24 /* bytes of a reply that make no sense yet */
};

struct pt_mlink {
  pt_conn conn;
  pt_mongo_pool *pool;
  pt_mlink *prev, *next; /* in the pool's list of idle, or of other links */
  uint32_t epoch; /* of the pool when it was opened */
  uint8_t state; /* pt_mlink_state */
  bool dirty; /* written at the end of the turn */
  bool blocked; /* waits for the socket to take more */
  bool stopped; /* not read: the client does not take what has come */
  bool reading; /* it is reading right now: must not be freed */
  bool slow; /* cut for one slow request, which says nothing of the backend */
  bool doomed; /* cut as soon as that ends */
  bool begun; /* a part of the reply has gone to the client */
  bool keeping; /* the reply is being kept whole */
  uint8_t nleft;
  uint8_t left[PT_MLINK_LEFT];
  pt_exchange *x;
  pt_segq out;
  uint64_t written; /* bytes of the request that the kernel took */
  int32_t expect; /* responseTo of the reply */
  pt_mongo_scan scan;
  uint32_t pass; /* bytes of the reply that may still go on: all but its checksum */
  pt_chunk *kept; /* a reply that is kept whole */
  uint64_t since; /* ns: connecting began, last used, client gone */
  uint64_t cursor_at; /* ns: last opened or read a cursor that goes on, 0: never */
  pt_greet *greet; /* while greeting */
  pt_config *cfg; /* a reference that the greeting needs */
};

/* Starts to connect; the pool is told how it ends. 0, -ENOMEM, or -errno of connecting (the pool was not told). */
int pt_mlink_open(pt_mongo_pool *p);
/* x's request goes over this idle link. Written at the end of the turn. */
void pt_mlink_send(pt_mlink *l, pt_exchange *x);
/* More was put into out. */
void pt_mlink_write_later(pt_mlink *l);
void pt_mlink_flush(pt_mlink *l);
/* The client takes bytes again. */
void pt_mlink_resume(pt_mlink *l);
/* Closes and frees it; its owner is told (unsent or lost). why: for that. */
void pt_mlink_cut(pt_mlink *l, const char *why);
/* Its owner's client is being closed. */
void pt_mlink_leave(pt_mlink *l);
/* Every 100 ms: connecting, answering or being left has taken too long. May cut it. */
void pt_mlink_tick(pt_mlink *l);

/* ---- between mlink.c and mlink_reply.c ---- */

/* The socket is readable. May cut it. */
void pt_mlink_read(pt_mlink *l);
void pt_mlink_watch(pt_mlink *l);
/* Takes the owner off and returns it. */
pt_exchange *pt_mlink_detach(pt_mlink *l);
void pt_mlink_drop_kept(pt_mlink *l);
void pt_mlink_end_greeting(pt_mlink *l);

#endif
