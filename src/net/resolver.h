/* Host names to addresses, without ever stopping a loop: getaddrinfo(3) runs on helper threads (at most 4, started when needed), answers come
 * on the resolver's loop.
 *
 * All functions and callbacks belong to the thread that runs the loop. Helper threads touch no libev state but ev_async_send. A helper stuck
 * in getaddrinfo at pt_resolver_free is left alone: it ends by itself and its answer is dropped.
 */
#ifndef PT_NET_RESOLVER_H
#define PT_NET_RESOLVER_H

#include "net/address.h"

struct ev_loop;
typedef struct pt_resolver pt_resolver;
typedef struct pt_lookup pt_lookup;

enum { PT_LOOKUP_MAX = 4 };

/* The answer: n >= 1 addresses in the system's order of preference with their port set, or n == 0 and why (a constant text such as
 * "Name or service not known"). Both are valid during the call only. The lookup is over: do not cancel it. */
typedef void pt_lookup_done(void *arg, const pt_address *addresses, unsigned n, const char *why);

/* NULL: no memory or no threads. */
pt_resolver *pt_resolver_new(struct ev_loop *loop);
/* Cancels what is under way (no callbacks). NULL is allowed. */
void pt_resolver_free(pt_resolver *r);

/* 1: host is numeric, *direct is the answer and done is not called. 0: *lookup is under way and done will be called later, never from within
 * this call. -ENOMEM, -EAGAIN (no thread): nothing happens. */
int pt_resolver_lookup(pt_resolver *r, const char *host, uint16_t port, pt_address *direct, pt_lookup **lookup, pt_lookup_done *done,
                       void *arg);
/* done will not be called any more; the lookup is no longer the caller's. NULL is allowed. */
void pt_lookup_cancel(pt_lookup *lookup);

#endif
