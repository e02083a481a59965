/* One probe of one backend: a connection of its own, the greeting, the judgement. Never blocks (but for what SCRAM computes).
 * Owner's thread only. */
#ifndef PT_CORE_MONGO_PROBE_H
#define PT_CORE_MONGO_PROBE_H

#include "core/mongo/greet.h"
#include "net/address.h"
#include "net/conn.h"

typedef struct pt_probe pt_probe;

/* It has ended; called from the loop, never from within start. The probe may be started again, stopped or freed. */
typedef void pt_probe_done(pt_probe *p, bool good);

struct pt_probe {
  struct ev_loop *loop;
  pt_pool *pool;
  pt_probe_done *done;
  void *owner;
  pt_greet greet; /* .hello: what the backend said, when the probe was good */
  char error[160]; /* why it was bad */
  bool ours; /* it was bad for want of descriptors or memory here: that says nothing of the backend */
  /* its own */
  const pt_listener_config *lc;
  const pt_mongo_config *mc; /* in lc */
  const char *host;
  pt_address to;
  pt_conn conn;
  ev_timer timer;
  uint64_t deadline; /* ns */
  bool running, connected;
  bool legacy; /* it is asked with isMaster: nothing else was understood */
  bool second; /* of this probe: the other way to ask is being tried */
  pt_segq out;
  pt_chunk *in; /* the reply so far; NULL: nothing yet */
};

/* Makes zeroed memory ready. */
void pt_probe_init(pt_probe *p, struct ev_loop *loop, pt_pool *pool, pt_probe_done *done, void *owner);
/* Asks the backend at to, which is called host, within health_timeout, and connects within connect_timeout. A running probe is stopped before. lc
 * and host are borrowed while it runs. */
void pt_probe_start(pt_probe *p, const pt_listener_config *lc, const char *host, const pt_address *to);
/* Ends it without a word; harmless when it does not run. */
void pt_probe_stop(pt_probe *p);

#endif
