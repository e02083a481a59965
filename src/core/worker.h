/* A worker: one thread, one event loop, its clients, links and policies. This header is the shape of its state; the files of core/ that work on
 * it (client, link, route, retry, fan, local) each own one part. Everything here belongs to the worker's thread, but the inbox and the counters.
 */
#ifndef PT_CORE_WORKER_H
#define PT_CORE_WORKER_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/chunk.h"
#include "core/cluster.h"
#include "core/config.h"
#include "core/policy.h"
#include "wire/command.h"
#include "wire/resp.h"

typedef struct pt_worker pt_worker;
typedef struct pt_service pt_service;

/* ---- names that may outlive what they name: index and generation ---- */

typedef enum pt_kind { PT_KIND_CLIENT, PT_KIND_FAN, PT_KIND_RETRY, PT_KIND_INTERNAL } pt_kind;

/* Who waits for a reply: an entry of a link's FIFO. seq: the client's sequence number, or the part of a fan. */
typedef struct pt_owner {
  uint32_t index : 30, kind : 2;
  uint32_t gen;
  uint32_t seq;
  uint32_t len; /* bytes of the request in the link's log */
} pt_owner;

/* ---- clients ---- */

/* A reply that came before its turn. */
typedef struct pt_early {
  pt_segq bytes;
  bool done;
} pt_early;

enum {
  PT_CLIENT_DIRTY = 1,     /* in the worker's list of clients to write */
  PT_CLIENT_PAUSED = 2,    /* not read: barrier, full pipeline, or full output */
  PT_CLIENT_CLOSING = 4,   /* closes when its output is written */
  PT_CLIENT_RETRIES = 8,   /* has retry objects that wait for its head */
  PT_CLIENT_AUTHED = 16,
  PT_CLIENT_EOF = 32,      /* sent its last byte; is answered what it is owed */
  PT_CLIENT_BLOCKED_OUT = 64, /* waits for the socket to take more */
};

/* A client connection. Plain data, so that a handover can serialise it; index and gen name it everywhere else. */
typedef struct pt_client {
  ev_io io;
  pt_service *svc;
  uint32_t index, gen;
  uint32_t head, tail;     /* oldest unanswered request, next sequence number */
  pt_early *ring;          /* replies before their turn, indexed by seq & mask; NULL when none */
  uint32_t mask;
  uint16_t flags;
  uint8_t proto;           /* 2 or 3 */
  pt_segq out;
  pt_chunk *in;            /* bytes of an unfinished frame, or not yet looked at while paused */
  uint32_t in_off, in_len;
  uint32_t ip;             /* IPv4 source, host order */
  uint16_t port;
  uint64_t id;             /* CLIENT ID, unique in the process */
  char *name;              /* CLIENT SETNAME */
} pt_client;

/* ---- nodes and links ---- */

typedef struct pt_upstream pt_upstream;

typedef enum pt_link_state { PT_LINK_CLOSED, PT_LINK_CONNECTING, PT_LINK_SETUP, PT_LINK_READY } pt_link_state;

enum { PT_LINK_TICKS = 32 };

/* A connection to a node: a log of request bytes (sent, or not yet), the FIFO of who waits, and the reply scanner. */
typedef struct pt_link {
  ev_io io;
  pt_upstream *up;
  pt_link_state state;
  uint8_t proto;
  bool dirty, readonly_sent, blocked;
  uint32_t incarnation;    /* rises with every connect: marks of an earlier one have passed */
  pt_segq log;
  uint64_t sent;           /* bytes at the log's front already handed to the kernel */
  pt_owner *fifo;
  uint32_t fhead, ftail, fmask; /* positions only rise */
  uint32_t setup;          /* internal replies still to come before READY */
  pt_reply scan;
  uint8_t *left;           /* an unfinished header line */
  uint32_t nleft;
  uint32_t ticks[PT_LINK_TICKS]; /* ftail at the last ticks: how old the oldest request is */
  uint32_t tick;
} pt_link;

/* A node as this worker knows it, by address; lives while the topology names it or a link still owes replies. */
struct pt_upstream {
  pt_service *svc;
  char name[280];          /* host:port */
  char host[256];
  uint16_t port;
  int16_t node;            /* index in the current topology, PT_NODE_NONE: only a MOVED named it */
  bool open;               /* failing fast */
  bool probing;
  uint64_t open_until;     /* ns */
  char reason[96];         /* why it is open */
  unsigned nlinks;         /* per protocol */
  pt_link *links[2];       /* [proto - 2][nlinks] */
};

/* ---- retry objects ---- */

typedef struct pt_retry {
  pt_owner owner;          /* the client or fan part it answers to; kind never PT_KIND_RETRY */
  uint32_t gen;
  bool used, flying;
  pt_segq bytes;
  int32_t slot;            /* -1: none, holds no gate */
  unsigned redirects;
  bool asking;
  char target[280];        /* host:port from MOVED or ASK; "": by the slot map */
  uint64_t due, deadline;  /* ns */
  char last[160];          /* the error that brought it here, given to the client at the deadline */
} pt_retry;

/* ---- a listener in a worker ---- */

enum { PT_GATED = 0x8000 };

struct pt_service {
  pt_worker *worker;
  unsigned index;
  pt_config *cfg;
  const pt_listener_config *lc; /* inside cfg */
  pt_cluster *cluster;          /* NULL: no topology yet */
  pt_policy *policy;            /* never NULL */
  uint16_t map[PT_SLOTS];       /* node index, PT_NODE_NONE, | PT_GATED */
  uint16_t gates[PT_SLOTS];
  pt_upstream **ups;            /* all known, by no order */
  unsigned nups;
  pt_upstream *by_node[PT_MAX_NODES];
  pt_view_node view[PT_MAX_NODES];
};

struct pt_worker {
  struct ev_loop *loop;
  unsigned index;
  pthread_t thread;
  pt_pool pool;
  pt_chunk *scratch;            /* the bump buffer of reads */
  pt_service **svcs;
  unsigned nsvcs;
  pt_client **clients;          /* blocks of PT_CLIENT_BLOCK, by index */
  uint32_t nclients, free_client;
  uint32_t *dirty;              /* client indexes to write at the end of the turn */
  uint32_t ndirty, cap_dirty;
  pt_link **dirty_links;
  uint32_t ndirty_links, cap_dirty_links;
  pt_retry *retries;
  uint32_t nretries, waiting;
  uint64_t now;                 /* ns, taken once a turn */
  atomic_uint connected;        /* read by the control thread: the worker with the fewest gets the next */
};

enum { PT_CLIENT_BLOCK = 64 };

#endif
