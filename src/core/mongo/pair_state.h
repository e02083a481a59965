/* The state of a pair and what its files offer each other. Everything belongs to the worker's thread.
 *
 *   pair        the contract of pair.h: events, timeouts, drains
 *   pair_relay  bytes from one socket to the other
 *   pair_track  what frames say: who waits for a reply, what is open
 *   pair_open   placing, connecting, PROXY header, saying hello again
 *   pair_lost   what becomes of a client whose backend is lost
 *
 * The client's unfinished message stands in c->in, what it has not taken yet in c->out. A pair without a backend is LOST: the next
 * request places and connects it again. In CONNECTING and GREETING the client is not read. */
#ifndef PT_CORE_MONGO_PAIR_STATE_H
#define PT_CORE_MONGO_PAIR_STATE_H

#include "core/mongo/pair.h"
#include "wire/mongo_command.h"
#include "wire/mongo_reply.h"

enum {
  PT_PAIR_ASKS = 16, /* requests that may wait for replies; beyond it the client is not read */
  PT_PAIR_PEEK =
      16 * 1024, /* so much of a request is there before it is looked at and sent on; commands that matter are smaller */
  PT_PAIR_HELLO = 4 * 1024, /* larger first messages are not kept: such a client is closed when its backend is lost */
  PT_PAIR_OPEN_MAX = 256 /* cursors or transactions of one connection that are remembered */
};

typedef enum pt_pair_state {
  PT_PAIR_LOST, /* no backend */
  PT_PAIR_CONNECTING,
  PT_PAIR_GREETING, /* the client's hello has been said again, its reply is awaited */
  PT_PAIR_READY
} pt_pair_state;

enum { /* of a request */
  PT_ASK_TXN = 1, /* in a transaction */
  PT_ASK_RETRYABLE = 2, /* has a txnNumber */
  PT_ASK_EXHAUST = 4, /* may be answered by a stream of replies; id is that of the last one */
  PT_ASK_UNSEEN = 16, /* its command is larger than what is looked at: its labels are not known */
  PT_ASK_SEALED = 8 /* compressed: whether it waits at all, or its stream has ended, is not known */
};

/* A request that waits for its reply. */
typedef struct pt_ask {
  int32_t id;
  uint16_t opcode;
  uint8_t verb, flags;
  int64_t cursor; /* getMore; hello: its maxAwaitTimeMS */
  uint32_t stamp; /* us: when it came */
  uint8_t known; /* its command, pt_mongo_command.known */
} pt_ask;

/* Open cursors by id, or transactions by session: what nobody has touched for the server's own timeout is gone. */
typedef struct pt_opens {
  struct pt_open {
    uint64_t key, last; /* ns */
  } * at;
  uint32_t n, cap;
} pt_opens;

struct pt_pair {
  pt_conn conn; /* to the backend */
  pt_node_meter *meter; /* of the backend; NULL: no memory for one */
  pt_segq out; /* what the backend has not taken yet */
  uint8_t state;
  bool greeted; /* the first message has been sent */
  bool movable; /* has not authenticated, is not load balanced: may go on with another backend */
  bool first; /* the next reply is the first hello's: what it promises is remembered, and it may get a serviceId */
  bool worked; /* has asked for more than hello: no monitor */
  bool sealed; /* has used compression: what is open is not known */
  bool ending; /* is closed when the rest of its request has come and its answer is out */
  bool leave, down, strayed; /* the backend is draining, gone or another process; is down; its client has been placed elsewhere */
  uint32_t epoch; /* of its backend when it was opened */
  uint8_t compressors; /* of that reply, and its maxWireVersion: no backend that has less can follow */
  int32_t max_wire;
  uint16_t tries; /* connections tried since one held for a second */
  uint8_t head, n; /* asks: a ring */
  uint32_t left; /* bytes of the client's current message still to come; LOST: they go nowhere, it has been answered */
  uint64_t opened; /* ns: connecting began */
  pt_chunk *in; /* bytes of the backend that cannot be passed on yet: fill of them */
  pt_chunk *hello; /* the client's first message, NULL: it was none, or is not kept */
  pt_opens cursors, txns;
  pt_access_request *sample; /* a request that is in the access log; NULL: none */
  int32_t sample_id; /* its id */
  pt_mongo_scan scan;
  pt_ask asks[PT_PAIR_ASKS];
};

static inline pt_ask *pt_pair_ask(pt_pair *p, unsigned i) { return &p->asks[(p->head + i) % PT_PAIR_ASKS]; }
/* No room for one more. */
static inline bool pt_pair_full(pt_pair *p) { return p->n == PT_PAIR_ASKS && !(pt_pair_ask(p, 0)->flags & PT_ASK_SEALED); }

/* ---- pair_relay.c; each may close the client ---- */

/* What the sockets are watched for, after anything has changed. Free of cost when it is the same. */
void pt_pair_watch(pt_mongo_client *c);
/* READY: sends on what stands in c->in. */
void pt_pair_resume(pt_mongo_client *c);
void pt_pair_client_readable(pt_mongo_client *c);
void pt_pair_backend_readable(pt_mongo_client *c);
void pt_pair_backend_writable(pt_mongo_client *c);

/* ---- pair_track.c ---- */

/* Follows n bytes of the client and notes its requests. *used: so many may be sent on; the rest is an unfinished start, or has to wait
 * for room among the asks. 0, or -EPROTO: the client must go, *why. */
int pt_pair_requests(pt_mongo_client *c, const uint8_t *p, uint32_t n, uint32_t *used, const char **why);
/* Follows n bytes of the backend. *used: so many may be sent on; the rest is at most 20 bytes. 0, or -EPROTO. */
int pt_pair_replies(pt_mongo_client *c, uint8_t *p, uint32_t n, uint32_t *used);
/* The oldest request has its answer. */
void pt_pair_answered(pt_pair *p);
/* A hello waits, and nothing else. */
bool pt_pair_only_hello(pt_pair *p);
/* A cursor or a transaction is open, or may be. */
bool pt_pair_holds(pt_pair *p, uint64_t now);
/* Forgets what is open. */
void pt_pair_forget(pt_pair *p);

/* ---- pair_open.c; each may close the client ---- */

/* Places a LOST pair and connects it; not: a backend that has just failed it, or PT_BACKEND_NONE. */
void pt_pair_open(pt_mongo_client *c, uint32_t except);
/* The backend cannot be had, and nothing of the client has been sent to it: another one. */
void pt_pair_failed(pt_mongo_client *c, const char *why);
/* Looks at n bytes of the backend for the reply to a hello that is needed whole: the one said again, or a load balanced client's. How
 * many of them it was, 0: more are needed (or it has no business here any more: p->first), -EPROTO: it is none, or not ok. */
int pt_pair_hello_reply(pt_mongo_client *c, const uint8_t *p, uint32_t n);
/* A pair of another process (PT_MC_AWAY) with its backend's socket, -1: it has none. 0; -ENOMEM or -EPROTO: fd is still the caller's. */
int pt_pair_arrive(pt_mongo_client *c, const pt_ho_pair *h, int fd);
/* The hello said again has been answered, or there was none to say. */
void pt_pair_ready(pt_mongo_client *c);

/* ---- pair_lost.c; each but detach may close the client ---- */

/* Closes the client when it has taken what is queued for it. */
void pt_pair_finish(pt_mongo_client *c);
/* The client has ended its side, and nothing is left to deliver either way. */
static inline bool pt_pair_done(const pt_mongo_client *c) {
  return (c->flags & PT_MC_EOF) && !c->pair->n && !c->pair->out.bytes && !c->out.bytes;
}
/* Leaves the backend; the pair is LOST. */
void pt_pair_detach(pt_mongo_client *c);
/* The backend is lost: tells who waits, goes on with another (but not that one) or closes. The health checks are not told: what a
 * client makes a backend do to its connection says nothing about the backend. */
void pt_pair_lost(pt_mongo_client *c, uint32_t except, const char *why);
/* No backend can be had: what the client has sent is refused. */
void pt_pair_refuse(pt_mongo_client *c);

#endif
