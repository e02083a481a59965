/* The access log: a line for each connection that has ended, and for one of `every` requests. It is off unless log.access is given; then the path of a
 * request pays for it one branch a batch and one a reply, of a flag that never changes. Keys, documents and other arguments are never in it.
 *
 *   access: connection listener=cache at=0.0.0.0:6379 from=10.0.0.7:51000 s=12.345 requests=88 in=4096 out=91234 why="it speaks HTTP (PT-C07)"
 *   access: request listener=cache command=get slot=1234 node=10.0.0.1:7000 us=210 outcome=ok
 *   access: request listener=orders command=find ns=shop.carts node=mongos-a:27017 us=1800 outcome=ok
 *
 * Worker's thread. */
#ifndef PT_CORE_ACCESS_H
#define PT_CORE_ACCESS_H

#include "base/errors.h"
#include "core/config.h"

struct pt_worker;
struct pt_owner;

enum {
  PT_ACCESS_PENDING = 256 /* sampled requests that wait for their replies; more are not sampled */
};

typedef struct pt_access_request pt_access_request; /* access.c's own */

/* Zeroed memory is off. */
typedef struct pt_access {
  bool connections;
  uint32_t every; /* requests; 0: none is sampled */
  uint32_t left; /* until the next one */
  uint32_t n; /* that wait */
  pt_access_request *pending[PT_ACCESS_PENDING]; /* of Redis clients */
  const char *why; /* of the connection that is being closed, NULL: its client or puerta has ended it */
  pt_error error; /* of why */
} pt_access;

void pt_access_configure(pt_access *a, const pt_config *cfg);
void pt_access_free(pt_access *a);

/* Are there sampled ones among n requests? *i: how many of the n have been passed, 0 at first; after true the last of them is one. */
bool pt_access_next(pt_access *a, unsigned n, unsigned *i);

/* ---- connections ---- */

typedef struct pt_access_connection {
  const pt_listener_config *listener;
  const char *from;
  uint64_t since, now; /* ns */
  uint64_t requests, in, out;
} pt_access_connection;

void pt_access_closed(pt_access *a, const pt_access_connection *c);

/* ---- requests ---- */

/* One begins. where: "slot=12" or "ns=db.collection", cut at 160 bytes; command at 32. NULL: no memory. */
pt_access_request *pt_access_begin(const pt_listener_config *listener, const char *command, const char *where);
/* It has ended: the line, and r is freed. NULL is allowed. code: of a MongoDB error, 0: it went well, -1: nobody was answered. node: NULL: nobody. */
void pt_access_end(pt_access_request *r, const char *node, int code);

/* A Redis request that will be answered to who. */
void pt_access_await(struct pt_worker *w, struct pt_owner who, pt_access_request *r, const char *node);
/* A part of a reply, while some are awaited; the last one ends it. */
void pt_access_reply(struct pt_worker *w, struct pt_owner who, const uint8_t *p, uint32_t n, bool last) __attribute__((cold));

#endif
