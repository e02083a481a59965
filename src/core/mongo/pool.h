/* The links to one backend in one worker: how many, who gets one, who waits. Requests wait in the order they came; links beyond pool_min that
 * nobody used for pool_idle are closed, but for those that opened a cursor within the last ten minutes (with some servers cursors die with their connection).
 * Owned by the listener, in the order of its backends; pools of backends that have left follow until their last request is answered. Worker's thread. */
#ifndef PT_CORE_MONGO_POOL_H
#define PT_CORE_MONGO_POOL_H

#include "core/mongo/mlink.h"

struct pt_mongo_pool {
  pt_mongo *mongo;
  uint32_t backend; /* stable id */
  char name[264];
  pt_node_meter *meter; /* NULL: no memory for one */
  pt_address address;
  uint32_t epoch; /* of the backend and its login: links of an earlier one lead to another process, or as another user */
  bool usable; /* in the snapshot */
  bool draining; /* links go as soon as they have been idle for a moment */
  bool legacy; /* knows isMaster only */
  bool dirty; /* some link has to be written */
  unsigned n, nconnecting; /* links of all states; those not ready yet */
  pt_mlink *idle, *others;
  pt_exchange *first, *last; /* the queue */
  unsigned nwaiting;
  uint64_t retry_at; /* ns: connecting failed; not before, while other links live */
};

static inline pt_worker *pt_mlink_worker(const pt_mlink *l) { return l->pool->mongo->worker; }

/* Puts x on a link, or into the queue; tells it when neither can be. */
void pt_mongo_pool_checkout(pt_mongo_pool *p, pt_exchange *x);
/* Leaves the queue. */
void pt_mongo_pool_forget(pt_mongo_pool *p, pt_exchange *x);
/* The pool of a stable id, NULL: none. */
pt_mongo_pool *pt_mongo_pool_find(const pt_mongo *m, uint32_t backend);

/* ---- told by links ---- */

/* Greeted, or its request is answered: takes the next one. */
void pt_mongo_pool_ready(pt_mlink *l);
/* Is being freed. failed: while connecting or greeting. */
void pt_mongo_pool_gone(pt_mlink *l, bool failed, const char *why);
/* Between the lists. */
void pt_mongo_pool_move(pt_mlink *l, pt_mlink **from, pt_mlink **to);

/* ---- told by request.c ---- */

void pt_mongo_pools_look(pt_mongo *m);
void pt_mongo_pools_turn(pt_mongo *m);
void pt_mongo_pools_tick(pt_mongo *m);
void pt_mongo_pools_free(pt_mongo *m);

#endif
