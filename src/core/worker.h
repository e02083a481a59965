/* A worker: one thread, one event loop, its clients, links and policies. This header is the shape of its state; the files of core/ each own one
 * part of it. Everything here belongs to the worker's thread, but the inbox and the atomic cells.
 */
#ifndef PT_CORE_WORKER_H
#define PT_CORE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/chunk.h"
#include "base/errors.h"
#include "base/log.h"
#include "core/access.h"
#include "base/sources.h"
#include "core/cluster.h"
#include "core/config.h"
#include "core/inbox.h"
#include "core/memory.h"
#include "core/meter.h"
#include "core/policy.h"
#include "core/slow.h"
#include "net/address.h"
#include "net/conn.h"
#include "net/hall.h"
#include "wire/command.h"
#include "wire/resp.h"

typedef struct pt_worker pt_worker;
typedef struct pt_service pt_service;
typedef struct pt_client pt_client;
typedef struct pt_upstream pt_upstream;
typedef struct pt_retry pt_retry;
typedef struct pt_fanout pt_fanout;
typedef struct pt_stream pt_stream;
typedef struct pt_subject pt_subject;

#define PT_NS_PER_MS UINT64_C(1000000)

enum {
  PT_CLIENT_BLOCK = 64
};

/* ---- names that may outlive what they name: index and generation ---- */

typedef enum pt_kind {
  PT_KIND_CLIENT,
  PT_KIND_FAN,
  PT_KIND_RETRY,
  PT_KIND_INTERNAL
} pt_kind;

/* Who waits for a reply: an entry of a link's FIFO. seq: the client's sequence number, or the part of a fan. */
typedef struct pt_owner {
  uint32_t index : 28, class : 2, kind : 2; /* class: the first of pt_work */
  uint32_t gen;
  uint32_t seq;
  uint32_t len; /* bytes of the request in the link's log */
} pt_owner;

/* A reply kept until its turn comes: one piece, or, for a large one, more in a queue. Zeroed memory is empty. */
typedef struct pt_kept {
  pt_chunk *chunk;
  uint32_t off, len;
  pt_segq *more; /* what follows the first piece */
  bool done; /* the reply is whole */
} pt_kept;

/* ---- clients ---- */

enum {
  PT_CLIENT_DIRTY = 1, /* in the worker's list of clients to write */
  PT_CLIENT_HELD = 2, /* partly answered pipeline, waits up to 1 ms for the rest */
  PT_CLIENT_BLOCKED_OUT = 4, /* waits for the socket to take more */
  PT_CLIENT_BARRIER = 8, /* its next request waits until nothing is in flight */
  PT_CLIENT_FULL = 16, /* pipeline or output is full: not read */
  PT_CLIENT_EOF = 32, /* sent its last byte; is answered what it is owed */
  PT_CLIENT_CLOSING = 64, /* closes when it is answered and its output is written */
  PT_CLIENT_AUTHED = 128,
  PT_CLIENT_RESUME = 256, /* in the worker's list of clients to go on with */
  PT_CLIENT_PUMP = 512, /* in the worker's list of clients whose retries to look at */
  PT_CLIENT_REPLY_PART = 1024, /* the reply at its head is begun in out, not ended */
  PT_CLIENT_AWAY = 2048, /* on its way to or from another process: not read */
};

/* A client connection. Plain data, so that a handover can serialise it; index and gen name it everywhere else. */
struct pt_client {
  pt_conn conn;
  pt_service *svc;
  uint32_t index, gen; /* gen is odd while open */
  uint32_t head, tail; /* oldest unanswered request, next sequence number */
  pt_kept *ring; /* replies before their turn, indexed by seq & mask; NULL when none */
  uint64_t early; /* bytes in the ring */
  uint64_t parked; /* bytes of requests in retry objects */
  uint32_t mask;
  uint16_t flags;
  uint8_t proto; /* 2 or 3 */
  pt_segq out;
  pt_chunk *in; /* bytes of an unfinished frame, or not yet looked at */
  uint32_t in_off, in_len;
  uint32_t need; /* the unfinished frame is not looked at before in_len reaches this */
  uint32_t ip; /* IPv4 source, host order */
  uint16_t port;
  uint64_t id; /* CLIENT ID, unique in the process */
  uint64_t since; /* ns, when it connected */
  uint64_t last; /* ns: bytes came from it or went to it */
  uint64_t moved; /* bytes that did so, in its life */
  uint64_t received; /* of them: from it */
  pt_slow slow;
  pt_retry *retries; /* its retry objects by seq, a ring list; NULL: none */
  pt_stream *stream; /* a large request on its way through; NULL: none */
  char *name; /* CLIENT SETNAME, NULL: none */
  char *user; /* as whom it has authenticated, NULL: the default user */
  pt_source *source; /* NULL: it is not counted there */
};

/* ---- nodes and links ---- */

typedef enum pt_link_state {
  PT_LINK_CLOSED,
  PT_LINK_CONNECTING,
  PT_LINK_SETUP,
  PT_LINK_READY
} pt_link_state;

enum {
  PT_LINK_TICKS = 32
};
#define PT_NO_STAMP UINT64_MAX

/* A connection to a node: a log of request bytes (sent, or not yet), the FIFO of who waits, and the reply scanner. */
typedef struct pt_link {
  pt_conn conn;
  pt_upstream *up;
  uint8_t state; /* pt_link_state */
  uint8_t proto;
  bool dirty, blocked, readonly;
  bool discard; /* a stream: bytes leave the log when sent */
  bool doomed; /* half a request stands in the log: cut before the next write */
  uint32_t incarnation; /* rises with every cut: marks of an earlier one have passed */
  pt_segq log;
  uint64_t sent; /* bytes at the log's front already handed to the kernel */
  uint32_t answered; /* bytes at the log's front whose replies have come in this read */
  pt_owner *fifo;
  uint32_t *stamps; /* when each was put there: us, in the FIFO's memory */
  uint32_t fhead, ftail, fmask; /* positions only rise */
  uint64_t run_stamp; /* the stamp of those answered last, PT_NO_STAMP: none yet in this read */
  uint32_t run_us; /* how long they have waited */
  bool run_slow; /* that is long enough to be remembered */
  uint32_t run[16]; /* how many, by their top four bits: kind and class */
  uint32_t setup; /* replies of the greeting still to come */
  uint64_t opened; /* ns, when connecting began */
  uint32_t timed; /* position whose latency is being taken */
  uint64_t timed_at; /* ns, 0: none */
  pt_reply scan;
  bool begun; /* a part of the oldest reply has been passed on */
  bool heard; /* bytes have come since the last tick */
  bool push; /* what is being scanned is a push */
  uint8_t *left; /* an unfinished header line */
  uint32_t nleft;
  uint32_t ticks[PT_LINK_TICKS]; /* ftail at the last ticks: how old the oldest request is */
  uint32_t tick;
} pt_link;

/* A node as this worker knows it, by address; lives while the topology names it, a link owes replies or something refers to it. */
struct pt_upstream {
  pt_service *svc;
  char host[256];
  uint16_t port;
  int16_t node; /* index in the current topology, PT_NODE_NONE: only a MOVED named it */
  bool replica;
  bool open; /* the circuit is open: requests fail at once */
  uint64_t open_until; /* ns: then a probe connects */
  char reason[96]; /* why it is open */
  pt_log_rate told_open, told_back; /* a node can flap as often as it likes */
  unsigned refs; /* retry objects and streams that aim at it */
  uint32_t latency_us;
  pt_node_meter *meter; /* NULL: no memory for one */
  unsigned nlinks; /* per protocol */
  pt_link *links; /* [2 * nlinks]: RESP2 then RESP3 */
};

/* ---- a listener in a worker ---- */

/* Trust in a policy; see trust.h. */
typedef struct pt_trust {
  uint64_t second; /* ns: start of the second in which failures are counted */
  uint64_t calls, failures; /* at that moment */
  uint64_t suspended_until; /* ns; the policy is not asked before */
} pt_trust;

/* Requests of some slots may still be in flight on links of their former owner: until those are answered the slots are fenced. */
typedef struct pt_fence pt_fence;

struct pt_service {
  pt_worker *worker;
  unsigned index;
  pt_config *cfg;
  const pt_listener_config *lc; /* inside cfg */
  pt_cluster *cluster; /* NULL: no topology yet */
  pt_policy *policy; /* never NULL */
  struct pt_topology *topology; /* for hints; outlives the worker */
  pt_trust trust; /* in policy */
  uint64_t view_turn; /* turn in which view was refreshed */
  unsigned next_master; /* round robin for requests without keys */
  int16_t owner[PT_SLOTS]; /* node index, PT_NODE_NONE */
  uint64_t gated[PT_SLOTS / 64]; /* bit: gates or fences stand on the slot */
  uint16_t gates[PT_SLOTS]; /* retry objects on the slot */
  uint16_t fenced[PT_SLOTS]; /* fences on the slot */
  pt_fence *fences;
  pt_stream *streams;
  pt_upstream **ups; /* all known, in no order */
  unsigned nups;
  pt_upstream *by_node[PT_MAX_NODES];
  pt_view_node view[PT_MAX_NODES];
  ev_timer tick; /* request_timeout / PT_LINK_TICKS */
  pt_meter meter;
};

/* A growing list. */
typedef struct pt_list {
  uint32_t n, cap;
  uint32_t *at;
} pt_list;

/* Clients that leave for another process or have arrived from one; see move.h. */
typedef struct pt_move {
  struct pt_outbox *to;
  uint32_t round;
  uint64_t until, next; /* ns: the end of the round; when to look again */
  uint64_t progress; /* ns: when busy fell */
  uint32_t busy; /* clients that were not ready at the last look */
  bool on; /* a round goes on */
  pt_list waiting; /* indexes: something of them is in flight */
  pt_list packed; /* index and generation, in turn */
} pt_move;

/* Counters of one worker; others read them without a lock. */
typedef struct pt_counters {
  atomic_ullong requests, redirects, retries, lost, failfast, policy_failures, suspensions, accepted, closed, timeouts;
} pt_counters;

struct pt_worker {
  struct ev_loop *loop;
  unsigned index;
  pthread_t thread;
  pt_inbox inbox;
  pt_pool pool;
  pt_memory_part memory;
  pt_chunk *scratch; /* the bump buffer of reads */
  unsigned nlisteners;
  pt_service **svcs; /* [nlisteners] the Redis ones; NULL: of the other kind */
  struct pt_mongo **mongos; /* [nlisteners] the MongoDB ones */
  pt_client **clients; /* blocks of PT_CLIENT_BLOCK, by index */
  uint32_t nclients, free_client; /* free_client: index + 1 of the first free one, linked by need; 0: none */
  pt_list dirty, held, resume, pump; /* client indexes; see the client's flags */
  pt_link **dirty_links;
  uint32_t ndirty_links, cap_dirty_links;
  pt_retry **retries; /* by index */
  uint32_t nretries, free_retry, waiting; /* waiting: retry objects that exist */
  pt_stream *dead_streams; /* freed at the end of the turn */
  pt_fanout **fans;
  uint32_t nfans, free_fan;
  uint32_t stamp[PT_SLOTS], epoch; /* marks slots within one pass */
  uint16_t part[PT_SLOTS]; /* the fan part of a stamped slot */
  pt_arg *args; /* of the request that is being routed, when they are many */
  uint32_t cap_args;
  uint32_t inflight, events; /* requests on links; I/O events of this turn */
  uint64_t turn, now; /* now: ns, taken once a turn */
  uint32_t now_us; /* the same; wraps */
  uint32_t slow_us; /* requests that take so long are remembered */
  ev_prepare prepare;
  ev_check check;
  ev_timer held_timer, retry_timer, patience;
  uint32_t patience_at; /* the next client it looks at */
  pt_hall hall; /* TLS handshakes of clients; the greeter, too */
  uint64_t coalesce_ns;
  pt_move move;
  bool draining;
  uint64_t drain_until;
  atomic_uint connected; /* the control thread gives the next client to the worker with the fewest */
  atomic_uint *connected_to; /* [nlisteners] the same, by listener */
  _Atomic uint64_t in_lua; /* ns when the worker entered the policy, 0: outside; the watchdog looks */
  _Atomic(const char *) lua_name;
  atomic_bool ended; /* the thread has left its loop */
  pt_counters n;
  pt_access access;
  atomic_ullong errors
      [PT_ERRORS]; /* given to clients, or a connection's end, by code; counted as the others, but not handed on by an upgrade */
  pt_log_rate told[PT_ERRORS], told_closed[PT_ERRORS]; /* told.c's */
};

/* Adds to a list; 0 or -ENOMEM. */
int pt_list_add(pt_list *l, uint32_t v);

/* Takes the time. */
void pt_worker_clock(pt_worker *w);
/* The scratch chunk with room bytes behind what others still look at. NULL: no memory. */
pt_chunk *pt_worker_scratch(pt_worker *w, uint32_t room);

/* A client that the control thread has counted in is gone. */
void pt_worker_left(pt_worker *w, unsigned listener, pt_source *source);

/* ---- control thread ---- */

/* Makes a worker that serves every listener of cfg and starts its thread. policies: one for each listener, what is taken is NULL afterwards;
 * subjects: one for each listener, borrowed, as are memory and greeter. NULL: no memory or no thread. */
pt_worker *pt_worker_start(unsigned index, pt_config *cfg, pt_listener_policy *policies, const pt_subject *subjects,
                           pt_memory *memory, pt_greeter *greeter);
/* Waits for the thread to end (after PT_MSG_STOP or PT_MSG_DRAIN). */
void pt_worker_join(pt_worker *w);
/* Its greeter has ended, too. */
void pt_worker_free(pt_worker *w);

#endif
