/* A MongoDB listener as one worker serves it: its configuration, its affinity policy, its view of the backends, its clients. This header is the shape of
 * the state; the files of core/mongo each own one part. Everything belongs to the worker's thread but pt_mongo_shared.
 *
 *   client    accepts, PROXY header, the first message, identify; then one of two ways:
 *   pair      forward = "connection": a backend connection of its own, bytes relayed
 *   request   forward = "request": each message placed, sent over a pooled link (pool, link), local ones answered (local)
 *   place     which backend: session table, policy, default
 */
#ifndef PT_CORE_MONGO_MONGO_H
#define PT_CORE_MONGO_MONGO_H

#include <stdatomic.h>

#include "base/sessions.h"
#include "core/affinity.h"
#include "core/mongo/backends.h"
#include "core/mongo/health.h"
#include "core/worker.h"
#include "wire/handover.h"
#include "wire/mongo_command.h"
#include "wire/mongo_hello.h"

typedef struct pt_mongo pt_mongo;
typedef struct pt_mongo_client pt_mongo_client;
typedef struct pt_pair pt_pair; /* pair.c's own */
typedef struct pt_exchange pt_exchange; /* request.c's own */
typedef struct pt_mongo_pool pt_mongo_pool; /* pool.c's own: links to one backend */

/* What all workers share of a listener. Made by the control thread before the workers, freed after them. */
typedef struct pt_mongo_shared {
  pt_sessions *sessions;
  pt_health *health; /* for hints */
  pt_backends *last; /* control thread: the last snapshot handed out; NULL before */
  uint8_t process_id[12]; /* topologyVersion.processId of this puerta */
  uint64_t secret; /* seeds hashes of hostile keys */
  atomic_uint connections[PT_BACKEND_IDS]; /* clients bound to it (paired, or load balanced), by stable id */
  atomic_uint inflight[PT_BACKEND_IDS];
  atomic_uint moves; /* identities that have connections and were placed anew: those follow */
} pt_mongo_shared;

typedef struct pt_mongo_counters {
  atomic_ullong sessions, local, retried, lost, refused, policy_failures, waits, wait_timeouts;
} pt_mongo_counters;

enum {
  PT_MC_DIRTY = 1, /* in the listener's list of clients to write */
  PT_MC_BLOCKED_OUT = 2, /* waits for the socket to take more */
  PT_MC_CLOSING = 4, /* closes when its output is written */
  PT_MC_EOF = 8, /* has sent its last byte */
  PT_MC_LOAD_BALANCED = 16, /* loadBalanced: true: bound to one backend for life */
  PT_MC_BACKPRESSURE = 32, /* knows SystemOverloadedError */
  PT_MC_AUTHED = 64, /* has authenticated at puerta (forward = "request") */
  PT_MC_CLAIMED = 128, /* counts as a use of its identity */
  PT_MC_AWAY = 256, /* on its way to or from another process: not read */
  PT_MC_LEAVING = 512, /* AWAY, and not packed yet */
};

typedef enum pt_mc_state {
  PT_MC_PROXY, /* a PROXY header must come first */
  PT_MC_FIRST, /* its first message is awaited */
  PT_MC_PAIRED, /* belongs to pair.c */
  PT_MC_REQUESTS, /* belongs to request.c */
} pt_mc_state;

/* A client connection. Plain data; index and gen name it wherever it can be outlived. */
struct pt_mongo_client {
  pt_conn conn;
  pt_mongo *mongo;
  uint32_t index, gen; /* gen is odd while open */
  uint8_t state; /* pt_mc_state */
  uint16_t flags;
  uint16_t port;
  uint8_t ip[16]; /* where it comes from, by PROXY header or socket; IPv4 as ::ffff:a.b.c.d */
  uint64_t id; /* unique in the process */
  pt_source *source; /* NULL: it is not counted there */
  uint64_t since, last; /* ns: connected; last byte from it, paired: either way, else: or last answer to it */
  uint64_t moved; /* bytes that came from it or, out of its queue, went to it */
  uint64_t received, direct, asked; /* bytes of them that came from it; that went to it past its queue; messages */
  pt_slow slow;
  uint64_t identity; /* what identify said, 0: nothing */
  uint32_t backend; /* stable id it is bound to (paired, or load balanced), PT_BACKEND_NONE */
  uint32_t next; /* free list */
  pt_chunk *in; /* bytes of an unfinished message, or not yet looked at */
  uint32_t in_off, in_len;
  uint32_t need; /* not looked at before in_len reaches this */
  pt_segq out;
  pt_pair *pair;
  pt_exchange *exchange;
};

struct pt_mongo {
  pt_worker *worker;
  unsigned index; /* of the listener */
  pt_config *cfg;
  const pt_listener_config *lc;
  const pt_mongo_config *mc; /* inside cfg */
  pt_mongo_shared *shared; /* borrowed */
  pt_backends *backends; /* NULL: no snapshot yet */
  pt_backend_view view[PT_MAX_BACKENDS]; /* what the policy sees, by index in backends */
  pt_affinity *affinity; /* never NULL */
  pt_trust trust; /* in affinity */
  uint64_t avoid[PT_MAX_BACKENDS]; /* ns, by index: it has just failed somebody here; others come first until then */
  pt_mongo_client **clients; /* blocks of PT_CLIENT_BLOCK */
  uint32_t nclients, free_client; /* free_client: index + 1, linked by next */
  pt_list dirty; /* client indexes */
  uint32_t round;
  struct pt_outbox *to; /* clients leave for another process: see move.h */
  pt_list packed; /* index and generation, in turn: those that are on their way */
  pt_mongo_pool **pools; /* forward = "request": by nothing in particular; pool.c's */
  unsigned npools;
  uint64_t held; /* bytes of buffers of unfinished requests */
  uint32_t logins; /* how often the credentials for backends have changed: links of before lead to another user */
  uint32_t next_id; /* requestIDs of what puerta itself sends */
  unsigned moves; /* of shared->moves, seen */
  uint64_t drain_next; /* ns: when a draining process looks again */
  uint32_t drain_left; /* what it found */
  uint64_t draws; /* keys of what has no identity */
  ev_timer tick; /* 100 ms: timeouts, drains, pools */
  pt_mongo_counters n;
  pt_meter meter; /* requests: messages */
};

/* The class of a command. */
pt_work pt_mongo_class(pt_mongo_verb verb);
/* The worker: a request of the class has been answered that came at stamp (now_us of then); the slow ones are remembered. name, backend: of the command
 * and of who answered it. */
void pt_mongo_measure(pt_mongo *m, pt_mongo_verb verb, uint32_t stamp, const char *name, const char *backend);

/* Worker's thread, but new (control thread). Takes over a reference of cfg and the affinity. NULL: no memory. */
pt_mongo *pt_mongo_new(pt_worker *w, unsigned index, pt_config *cfg, pt_affinity *affinity, pt_mongo_shared *shared);
void pt_mongo_free(pt_mongo *m);
/* A reload: takes both over. */
void pt_mongo_configure(pt_mongo *m, pt_config *cfg, pt_affinity *affinity);
/* A new snapshot (takes the reference over). */
void pt_mongo_apply(pt_mongo *m, pt_backends *b);
/* Memory is not tight any more: reads go on. */
void pt_mongo_watch_all(pt_mongo *m);
/* End of the turn: writes dirty clients and links. */
void pt_mongo_turn(pt_mongo *m);
/* Draining the process: closes clients that have nothing open; how many are left. */
uint32_t pt_mongo_drain(pt_mongo *m);

/* ---- client.c ---- */

static inline pt_mongo_client *pt_mongo_client_at(pt_mongo *m, uint32_t index) {
  return &m->clients[index / PT_CLIENT_BLOCK][index % PT_CLIENT_BLOCK];
}
/* The client of that name, NULL when it has gone. */
static inline pt_mongo_client *pt_mongo_client_get(pt_mongo *m, uint32_t index, uint32_t gen) {
  if (index >= m->nclients)
    return NULL;
  pt_mongo_client *c = pt_mongo_client_at(m, index);
  return c->gen == gen && (gen & 1) ? c : NULL;
}

/* Takes over an accepted socket. 0, or -ENOMEM: fd is still the caller's. */
int pt_mongo_client_open(pt_mongo *m, int fd, const pt_address *from, uint64_t id, pt_source *source);
/* Takes over a client of another process with its socket (PT_MC_AWAY), without state of its way of forwarding. NULL: no memory, fd is still the caller's. */
pt_mongo_client *pt_mongo_client_arrive(pt_mongo *m, int fd, const pt_ho_mongo *h, pt_source *source);
/* Closes at once. reason: NULL, nothing special; else as pt_mongo_client_fail with PT_E_OTHER. */
void pt_mongo_client_close(pt_mongo_client *c, const char *reason);
/* The same for a reason that is counted under its code, and logged. */
void pt_mongo_client_fail(pt_mongo_client *c, pt_error e, const char *reason);
/* The same: its socket failed (-errno), or has ended (0). */
void pt_mongo_client_broken(pt_mongo_client *c, int error);
/* Either for one that has been waited for in vain. */
void pt_mongo_client_late(pt_mongo_client *c, pt_error e, const char *reason);
/* On the tick: is it in the middle of a request, may it be waiting for a reply? Closes it, and says true, when it gets on with neither. */
bool pt_mongo_client_stalls(pt_mongo_client *c, bool in_request, bool in_reply);
/* Writes c->out at the end of the turn; closes after it when PT_MC_CLOSING is set. */
void pt_mongo_client_write_later(pt_mongo_client *c);
/* Queues an answer to a request and writes it later; closes the client when there is no memory. */
void pt_mongo_client_answer(pt_mongo_client *c, int request_opcode, int32_t response_to, const bson_t *doc);
/* Writes what it can of c->out now. */
void pt_mongo_client_flush(pt_mongo_client *c);
/* Bytes of memory that would be free without it, about. */
uint64_t pt_mongo_client_held(const pt_mongo_client *c);
/* So many bytes may wait in one direction: the buffer of the configuration; when memory is tight, what a client may hold untouched. */
uint64_t pt_mongo_buffer(pt_mongo *m);
/* For logs: "10.0.0.1:5123". Returns out. */
char *pt_mongo_client_where(const pt_mongo_client *c, char out[PT_ADDRESS_TEXT]);

/* ---- place.c ---- */

/* Asks identify and stores c->identity. h: NULL when its first message was no hello. */
void pt_place_identify(pt_mongo_client *c, const pt_client_hello *h);
/* The backend for a whole connection (paired, or load balanced): its identity's, or a new pick. Claims a use of the identity (PT_MC_CLAIMED) and binds c->backend.
 * except: a stable id that has just failed it, PT_BACKEND_NONE: none. Index into m->backends, -1: none is usable. */
int pt_place_connection(pt_mongo_client *c, uint32_t except);
/* A client of another process keeps the place it had there. */
void pt_place_arrived(pt_mongo_client *c);
/* Gives the binding back (close, or before another place). */
void pt_place_release(pt_mongo_client *c);
/* Its client has been placed elsewhere since. */
bool pt_place_strayed(pt_mongo_client *c);
/* Stays where it is, but holds its client there no longer. true: nobody does. */
bool pt_place_unclaim(pt_mongo_client *c);
/* The backend for one request of a session: lsid's entry, else the identity's, else a new pick, which is remembered under lsid (by_session) or identity.
 * lsid NULL: none. except: as above. Index, -1: none is usable. An entry whose backend is down is moved, unless a transaction holds it there: then
 * its index is returned all the same and *pinned is true. */
int pt_place_request(pt_mongo_client *c, const uint8_t *lsid, uint32_t except, bool *pinned);
/* The key of an lsid in the session table. */
pt_session_key pt_place_lsid(const pt_mongo *m, const uint8_t lsid[16]);
/* A connection or request met an error at a backend (index): hints the health checks. */
void pt_place_failed(pt_mongo *m, unsigned index, const char *why);

#endif
