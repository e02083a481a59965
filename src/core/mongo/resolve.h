/* Names to addresses in a thread of its own, one after the other, since name services take their time. Owned by one thread, which asks,
 * takes and stops. */
#ifndef PT_CORE_MONGO_RESOLVE_H
#define PT_CORE_MONGO_RESOLVE_H

#include <stdbool.h>

#include "net/address.h"

enum {
  PT_RESOLVED_MAX = 8
};

typedef struct pt_resolver pt_resolver;

typedef struct pt_resolved {
  uint32_t id; /* as asked */
  unsigned n; /* 0: see why */
  pt_address at[PT_RESOLVED_MAX];
  char why[128];
} pt_resolved;

/* Answers are there to be taken. Called on the resolver's thread: may only wake the owner. Never after stop. */
typedef void pt_resolver_ready(void *arg);

/* NULL: no memory. The thread starts with the first question. */
pt_resolver *pt_resolver_new(pt_resolver_ready *ready, void *arg);
/* Asks for the addresses of a name; host is copied. 0, -ENOMEM or -EAGAIN (no thread): there will be no answer. */
int pt_resolver_ask(pt_resolver *r, uint32_t id, const char *host, uint16_t port);
/* The next answer. false: none is there. */
bool pt_resolver_take(pt_resolver *r, pt_resolved *out);
/* Ends it; a lookup that is stuck ends by itself. NULL is allowed. */
void pt_resolver_stop(pt_resolver *r);

#endif
