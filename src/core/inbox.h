/* What the control thread hands to a worker. Posting never waits for the worker; the worker takes everything between two turns, in order. */
#ifndef PT_CORE_INBOX_H
#define PT_CORE_INBOX_H

#include <ev.h>
#include <stdatomic.h>

#include "base/sources.h"
#include "core/affinity.h"
#include "core/cluster.h"
#include "core/config.h"
#include "core/mongo/backends.h"
#include "core/parcel.h"
#include "core/policy.h"
#include "net/address.h"

typedef enum pt_msg_kind {
  PT_MSG_CLIENT,
  PT_MSG_CONFIG,
  PT_MSG_CLUSTER,
  PT_MSG_BACKENDS,
  PT_MSG_LEAVE,
  PT_MSG_LEFT,
  PT_MSG_ARRIVE,
  PT_MSG_BEGIN,
  PT_MSG_TOTALS,
  PT_MSG_DRAIN,
  PT_MSG_STOP
} pt_msg_kind;

/* The policy of a listener: one of the two, by its kind. */
typedef struct pt_listener_policy {
  pt_policy *route;
  pt_affinity *affinity;
} pt_listener_policy;

/* Frees an array of n and what is still in it. NULL is allowed. */
void pt_policies_free(pt_listener_policy *p, unsigned n);

/* malloc'ed by the sender, freed by the receiver; what it holds changes hands with it. */
typedef struct pt_msg {
  struct pt_msg *next;
  pt_msg_kind kind;
  unsigned listener; /* CLIENT, CLUSTER, BACKENDS */
  int fd; /* CLIENT */
  pt_address from; /* CLIENT */
  uint64_t id; /* CLIENT */
  pt_source *source; /* CLIENT: its use of it, NULL: none */
  pt_config *cfg; /* CONFIG: one reference */
  pt_listener_policy *policies; /* CONFIG: malloc'ed array, one a listener */
  pt_cluster *cluster; /* CLUSTER: one reference */
  pt_backends *backends; /* BACKENDS: one reference */
  uint64_t drain_ms; /* DRAIN */
  struct pt_outbox *outbox; /* LEAVE: borrowed */
  uint32_t round; /* LEAVE */
  bool taken; /* LEFT */
  pt_parcel *parcel; /* ARRIVE */
  uint64_t *totals; /* TOTALS: counters of the process before, malloc'ed, PT_HO_COUNTERS of them */
} pt_msg;

typedef struct pt_inbox {
  _Atomic(pt_msg *) last; /* newest first */
  struct ev_loop *loop;
  ev_async wake;
} pt_inbox;

/* Any thread. */
void pt_inbox_post(pt_inbox *b, pt_msg *m);
/* The worker: all messages, oldest first; NULL: none. */
pt_msg *pt_inbox_take(pt_inbox *b);
/* Frees a message and what it still holds. */
void pt_msg_free(pt_msg *m);

#endif
