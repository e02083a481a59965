#include "core/mongo/pair.h"
#include "core/mongo/errors.h"

#include <stdlib.h>
#include <string.h>

#include "core/mongo/pair_state.h"

enum {
  QUIET_MS = 2000 /* idle for so long: may leave a draining backend */
};

/* Its first message is kept, to be said again to another backend. */
static int keep_hello(pt_mongo_client *c, const pt_client_hello *h) {
  const uint8_t *bytes = c->in->data + c->in_off;
  const char *why;
  pt_mongo_header m;
  pt_pair *p = c->pair;
  p->movable = !(c->flags & PT_MC_LOAD_BALANCED) && !(h && h->speculative);
  if (!h || !p->movable || pt_mongo_header_read(&m, bytes, PT_MONGO_MAX_HELLO, &why))
    return 0;
  if (m.length > PT_PAIR_HELLO) {
    p->movable = false;
    return 0;
  }
  p->hello = pt_chunk_exact(&c->mongo->worker->pool, m.length);
  if (!p->hello)
    return -1;
  memcpy(p->hello->data, bytes, p->hello->fill = m.length);
  return 0;
}

void pt_pair_begin(pt_mongo_client *c, const pt_client_hello *h) {
  pt_pair *p = c->pair = calloc(1, sizeof *p);
  if (p)
    p->conn.io.fd = -1;
  if (!p || keep_hello(c, h)) {
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
    return;
  }
  p->first = h;
  pt_pair_open(c, PT_BACKEND_NONE);
}

void pt_pair_end(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  if (!p)
    return;
  pt_pair_detach(c);
  if (p->hello)
    pt_chunk_unref(p->hello);
  free(p);
  c->pair = NULL;
}

uint64_t pt_pair_held(const pt_mongo_client *c) {
  const pt_pair *p = c->pair;
  return pt_segq_held(&p->out) + pt_chunk_held(p->in) + pt_chunk_held(p->hello);
}

void pt_pair_client_io(pt_mongo_client *c, int events) {
  uint32_t gen = c->gen;
  if (events & EV_WRITE) {
    pt_mongo_client_flush(c);
    if (c->gen != gen)
      return;
    if (pt_pair_done(c)) {
      pt_mongo_client_close(c, NULL);
      return;
    }
    pt_pair_watch(c);
  }
  if ((events & EV_READ) && (c->pair->state == PT_PAIR_READY || c->pair->state == PT_PAIR_LOST))
    pt_pair_client_readable(c);
}

/* ---- being idle, leaving ---- */

/* A monitor's hello that waits for news is nothing in flight. */
static bool idle(const pt_mongo_client *c) {
  pt_pair *p = c->pair;
  if (p->state == PT_PAIR_CONNECTING || p->state == PT_PAIR_GREETING)
    return false;
  return (!p->n || pt_pair_only_hello(p)) && !p->left && !c->in_len && !c->out.bytes && !p->out.bytes &&
         !pt_pair_holds(p, c->mongo->worker->now);
}

bool pt_pair_leaves(const pt_mongo_client *c) {
  bool monitor = pt_pair_only_hello(c->pair) && pt_pair_ask(c->pair, 0)->cursor > 0;
  return (monitor || c->mongo->worker->now - c->last > (uint64_t)QUIET_MS * PT_NS_PER_MS) && idle(c);
}

void pt_pair_look(pt_mongo_client *c) {
  const pt_backends *all = c->mongo->backends;
  pt_pair *p = c->pair;
  if (p->state == PT_PAIR_LOST || !all)
    return;
  int i = pt_backends_index(all, c->backend);
  p->leave = i < 0 || all->at[i].draining || all->at[i].epoch != p->epoch;
  p->strayed = pt_place_strayed(c);
  p->down = i >= 0 && !all->at[i].up;
}

/* Its backend gets nothing new, or does not work: what is idle goes, but a monitor, which would take it for the death of the server,
 * asks another one. What waits for a backend that is down waits no longer than the checks have taken to say so. */
static void leave(pt_mongo_client *c, uint64_t quiet) {
  pt_pair *p = c->pair;
  const pt_mongo_config *mc = c->mongo->mc;
  uint64_t grace = (mc->health_interval * mc->health_fall + mc->health_timeout) * PT_NS_PER_MS;
  bool leaves = pt_pair_leaves(c);
  if (p->down && (leaves || (p->n && quiet > grace)))
    pt_pair_lost(c, c->backend, "it is down");
  else if (p->strayed && p->movable && idle(c)) /* unseen: its next request opens it anew */
    pt_pair_lost(c, PT_BACKEND_NONE, "its client is elsewhere");
  else if (leaves && (p->n || (p->movable && !p->worked))) {
    if (pt_place_unclaim(c))
      pt_pair_lost(c, PT_BACKEND_NONE, "it is draining");
  } else if (leaves)
    pt_mongo_client_fail(c, PT_E_BACKEND_LEAVES, "its backend is draining");
}

void pt_pair_tick(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  const pt_mongo_config *mc = c->mongo->mc;
  uint64_t now = c->mongo->worker->now, quiet = now - c->last;
  const pt_ask *a = pt_pair_ask(p, 0);
  bool waits = p->n && !(a->flags & PT_ASK_SEALED);
  bool streams = p->n && (a->flags & (PT_ASK_SEALED | PT_ASK_EXHAUST)); /* who reads a stream may take his time */
  if (pt_mongo_client_stalls(c, p->left || c->in_len, !streams))
    return;
  if (p->state == PT_PAIR_CONNECTING || p->state == PT_PAIR_GREETING) {
    if (now - p->opened > mc->connect_timeout * PT_NS_PER_MS)
      pt_pair_failed(c, p->state == PT_PAIR_CONNECTING ? "connecting timed out" : "it does not answer hello");
  } else if ((!p->n || (c->flags & PT_MC_EOF)) && quiet > mc->idle_timeout * PT_NS_PER_MS) {
    pt_mongo_client_late(c, PT_E_IDLE_TIMEOUT, "idle timeout");
  } else if (waits && mc->request_timeout && a->verb != PT_MVERB_HELLO && quiet > mc->request_timeout * PT_NS_PER_MS) {
    pt_pair_lost(c, c->backend, pt_mongo_late);
  } else if (p->state == PT_PAIR_READY && (p->leave || p->down || p->strayed)) {
    leave(c, quiet);
  }
}
