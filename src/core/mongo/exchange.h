/* One client's request on its way, in forward = "request": what request, exchange, pool, mlink, local, split and cursors share of it. Worker's thread.
 *
 *   IDLE    nothing is asked; what comes is looked at (request.c)
 *   GATHER  unacknowledged writes are put together (request.c)
 *   QUEUED  its bytes are in req, it waits for a link (pool.c)
 *   SENT    its bytes are on a link, which has it as its owner (mlink.c)
 *   LOCAL   a hello that waits for news (local.c)
 *
 * Every function here that takes an exchange may close its client, which frees the exchange: touch neither afterwards but by the client's generation.
 */
#ifndef PT_CORE_MONGO_EXCHANGE_H
#define PT_CORE_MONGO_EXCHANGE_H

#include "core/mongo/mongo.h"
#include "wire/mongo_command.h"

typedef struct pt_mlink pt_mlink; /* mlink.h */
typedef struct pt_split pt_split; /* split.c's own: a command split over backends */
typedef struct pt_local_wait pt_local_wait; /* local.c's own: a hello that waits */
typedef struct pt_sasl pt_sasl; /* sasl.c's own: a SCRAM conversation */

typedef enum pt_exchange_state {
  PT_X_IDLE,
  PT_X_GATHER,
  PT_X_QUEUED,
  PT_X_SENT,
  PT_X_LOCAL
} pt_exchange_state;

typedef enum pt_exchange_kind {
  PT_X_PASS, /* the reply goes to the client as it comes */
  PT_X_UNACKED, /* no reply: a ping of ours behind it tells that it is done */
  PT_X_PART /* a part of a split command: the reply is kept whole for it */
} pt_exchange_kind;

struct pt_exchange {
  pt_mongo_client *client;
  uint8_t state, kind;
  uint8_t attempts; /* backends it could not be sent to */
  int8_t compressor; /* the request was packed by it, -1: it was not */
  bool working; /* its input is being looked at: whoever ends a request leaves the next one to that */
  bool pinned; /* it must go where it was placed, or nowhere */
  bool recoverable; /* commit or abort with a recoveryToken */
  bool timed; /* its latency has still to be taken */
  bool has_session; /* lsid holds the last one that was seen */
  uint8_t lsid[16];
  pt_mongo_command cmd; /* name and db are NULL; lsid: the above or NULL */
  int32_t opcode,
      request_id; /* of the request; in a stream of replies request_id is that of the last one: what answers made here respond to */
  int32_t expect; /* what the responseTo of the backend's reply has to be */
  uint32_t rest; /* bytes of the request that its client has still to send */
  uint32_t backend; /* stable id */
  int64_t cursor; /* the id its client knows of the cursor it reads, 0: none yet */
  uint32_t stamp; /* us: when it was read */
  uint64_t since; /* ns: it was read; while queued: queued */
  pt_segq req; /* what is on no link yet */
  pt_mlink *link;
  pt_exchange *prev, *next; /* in the queue of a pool */
  pt_split *split;
  pt_local_wait *wait;
  pt_sasl *sasl;
  pt_access_request *sample; /* it is in the access log; NULL: it is not */
  int32_t code; /* for that: of the error it was answered with, 0 */
};

static inline pt_mongo *pt_exchange_mongo(const pt_exchange *x) { return x->client->mongo; }
static inline uint64_t pt_exchange_ms(const pt_exchange *x) { return x->client->mongo->worker->now / PT_NS_PER_MS; }

/* ---- exchange.c ---- */

/* Finds the backend of a request whose bytes are in req (not: a stable id that has just failed) and puts it on a link or into the queue; answers when there is none. */
void pt_exchange_place(pt_exchange *x, uint32_t except);
/* Nothing of it was written (req has it again): placed elsewhere if it may be. */
void pt_exchange_unsent(pt_exchange *x, const char *backend, const char *why);
/* It was written and will not be answered. begun: part of the reply has gone to the client. */
void pt_exchange_lost(pt_exchange *x, const char *backend, bool begun, const char *why);
/* It has waited too long, or too many wait. */
void pt_exchange_overloaded(pt_exchange *x, pt_error e, const char *why);
/* Its bytes go on a link now. */
void pt_exchange_started(pt_exchange *x);
/* Its reply is whole, and passed on (or was dropped, for UNACKED). code: of its error, 0. */
void pt_exchange_answered(pt_exchange *x, int32_t code);
/* Answers and ends it. */
void pt_exchange_answer(pt_exchange *x, const bson_t *doc);
/* Nothing is asked any more: the next request, if it is there. */
void pt_exchange_done(pt_exchange *x);
/* For a reply on its way: writes now when more waits than the buffer limit allows. false: the client is closed. */
bool pt_exchange_push(pt_exchange *x);

/* ---- request.c ---- */

/* What is watched on the client's socket, after something that decides it has changed. */
void pt_request_watch(pt_mongo_client *c);
/* The exchange is idle: looks at what the client has sent meanwhile. */
void pt_request_next(pt_mongo_client *c);

/* ---- cursors.c: ids that clients see are ours ---- */

/* A whole getMore at p: its id becomes the backend's, x is bound there. false: no such cursor. */
bool pt_cursor_route(pt_exchange *x, uint8_t *p, const pt_mongo_message *msg, const pt_mongo_command *cmd);
/* cursor.id in a reply: becomes ours. true: it is open. */
bool pt_cursor_reply(pt_exchange *x, uint8_t *at);
/* The table's key of an id clients see. */
static inline pt_session_key pt_cursor_key(int64_t id) { return (pt_session_key){(uint64_t)id, 0}; }

/* ---- split.c: killCursors and endSessions, one backend after the other ---- */

void pt_split_begin(pt_exchange *x, const pt_mongo_message *msg, const pt_mongo_command *cmd);
/* A part's whole reply. */
void pt_split_reply(pt_exchange *x, uint8_t *p, size_t n);
/* A part cannot be answered. */
void pt_split_lost(pt_exchange *x);
void pt_split_free(pt_split *f); /* NULL is allowed */

#endif
