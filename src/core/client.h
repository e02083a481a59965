/* Clients: reading requests, and replies in the order of the requests whatever order they come in. Worker's thread. */
#ifndef PT_CORE_CLIENT_H
#define PT_CORE_CLIENT_H

#include "core/worker.h"

/* The client of that name, NULL when it has gone. */
static inline pt_client *pt_client_get(pt_worker *w, uint32_t index, uint32_t gen) {
  if (index >= w->nclients)
    return NULL;
  pt_client *c = &w->clients[index / PT_CLIENT_BLOCK][index % PT_CLIENT_BLOCK];
  return c->gen == gen ? c : NULL;
}

/* Takes over an accepted socket. 0, or -ENOMEM: then fd is still the caller's. */
int pt_client_open(pt_service *s, int fd, uint32_t ip, uint16_t port, uint64_t id);

/* Bytes of the reply to request seq, by reference; last: the reply ends with them. Unknown clients are ignored. */
void pt_client_reply(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last);

/* The same with bytes that lie in no chunk, whole. */
void pt_client_answer(pt_worker *w, pt_owner who, const char *resp, size_t len);

/* Writes what is ready, at the end of the turn. */
void pt_client_flush(pt_client *c);

/* Closes at once; requests in flight find it gone by its generation. */
void pt_client_close(pt_client *c, const char *reason);

#endif
