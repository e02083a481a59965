/* One backend under its checks: rounds of probes, its addresses, up and down. Belongs to the thread of a pt_health; never blocks. */
#ifndef PT_CORE_MONGO_CHECK_H
#define PT_CORE_MONGO_CHECK_H

#include "base/log.h"
#include "core/mongo/backends.h"
#include "core/mongo/probe.h"
#include "core/mongo/resolve.h"

typedef struct pt_check pt_check;

/* What the checks of a listener share. */
typedef struct pt_check_env pt_check_env;
struct pt_check_env {
  struct ev_loop *loop;
  pt_pool pool;
  pt_resolver *resolver;
  pt_config *cfg; /* a reference; no probe runs while it is replaced */
  const pt_listener_config *lc; /* in cfg */
  const pt_mongo_config *mc;
  unsigned rng;
  void (*changed)(pt_check *c); /* c->b says something new, or its first round has ended */
  void *owner;
};

struct pt_check {
  pt_backend b; /* as the snapshots have it */
  bool probed; /* a round has ended: what b says is known */
  /* its own */
  pt_check_env *env;
  pt_probe probe;
  ev_timer next; /* the next round */
  char host[256];
  uint16_t port;
  bool numeric; /* needs no name service */
  bool asking; /* the resolver */
  bool waiting; /* the round waits for the resolver */
  bool was_down;
  pt_address at[PT_RESOLVED_MAX];
  unsigned nat, cur; /* b.address is at[cur] */
  unsigned addresses, retries; /* left to try in this round */
  unsigned good, bad; /* rounds in a row */
  uint64_t started; /* ns; the round */
  bool told_up, told_down; /* what the log said last */
  uint64_t tell_after[2]; /* ns: down, up; one line a second */
  pt_log_rate told_restart, told_ours, told_why;
};

/* "host:port" as backends are called. */
void pt_check_name(const pt_backend_config *bc, char *out, size_t cap);
/* NULL: no memory. Checks nothing before pt_check_configure. */
pt_check *pt_check_new(pt_check_env *env, uint32_t id, uint32_t epoch, const pt_backend_config *bc);
void pt_check_free(pt_check *c);
/* The configuration is a new one (env has it), bc its part: a round begins at once. */
void pt_check_configure(pt_check *c, const pt_backend_config *bc);
/* Before env's configuration is replaced. */
void pt_check_pause(pt_check *c);
/* A worker met an error: a round begins at once. What counts is what it finds. */
void pt_check_hint(pt_check *c);
/* Time to look the name up again. */
void pt_check_resolve(pt_check *c);
/* The answer to that. */
void pt_check_resolved(pt_check *c, const pt_resolved *r);

#endif
