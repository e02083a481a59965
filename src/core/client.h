/* Clients: connections of those who ask. Reading requests, writing replies, back-pressure. Worker's thread. */
#ifndef PT_CORE_CLIENT_H
#define PT_CORE_CLIENT_H

#include "core/worker.h"

struct pt_ho_redis;

static inline pt_client *pt_client_at(pt_worker *w, uint32_t index) {
  return &w->clients[index / PT_CLIENT_BLOCK][index % PT_CLIENT_BLOCK];
}

/* The client of that name, NULL when it has gone. */
static inline pt_client *pt_client_get(pt_worker *w, uint32_t index, uint32_t gen) {
  if (index >= w->nclients)
    return NULL;
  pt_client *c = pt_client_at(w, index);
  return c->gen == gen && (gen & 1) ? c : NULL;
}

static inline pt_owner pt_client_owner(const pt_client *c, uint32_t seq) {
  return (pt_owner){.index = c->index, .kind = PT_KIND_CLIENT, .gen = c->gen, .seq = seq};
}

/* Takes over an accepted socket. 0, or -ENOMEM: then fd is still the caller's. */
int pt_client_open(pt_service *s, int fd, const pt_address *from, uint64_t id, pt_source *source);

/* Takes over a client of another process with its socket; it is not read (PT_CLIENT_AWAY) until pt_move_begin. NULL: no memory, the socket is still
 * the caller's. */
pt_client *pt_client_arrive(pt_service *s, int fd, const struct pt_ho_redis *m, pt_source *source);

/* Closes at once; requests in flight find it gone by its generation. reason: NULL, nothing special; else as pt_client_fail with PT_E_OTHER. */
void pt_client_close(pt_client *c, const char *reason);
/* The same for a reason that is counted under its code, and logged. */
void pt_client_fail(pt_client *c, pt_error e, const char *reason);

/* Puts it on the worker's list for the end of this turn: to write its output, to go on with input that had to wait, to look at its retries. */
void pt_client_write_later(pt_client *c);
void pt_client_resume_later(pt_client *c);
void pt_client_pump_later(pt_client *c);

/* End of the turn: what the lists hold. */
void pt_client_resume(pt_client *c);
void pt_client_flush(pt_client *c, bool final); /* final: a partly answered pipeline is not held back */

/* Bytes of memory that would be free without it, about. */
uint64_t pt_client_held(const pt_client *c);

/* Reads are wanted or not after something that decides it has changed. */
void pt_client_watch(pt_client *c);

#endif
