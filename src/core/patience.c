#include "core/patience.h"

#include "core/client.h"
#include "core/stream.h"

enum {
  STEPS = 10 /* of 100 ms */
};

/* It could send more of what it has begun. */
static bool in_request(const pt_client *c) {
  if (c->flags & (PT_CLIENT_BARRIER | PT_CLIENT_FULL | PT_CLIENT_EOF | PT_CLIENT_CLOSING))
    return false;
  return c->stream ? !pt_stream_ended(c) && pt_stream_wants(c) : c->in_len > 0;
}

/* What it waits for too long, NULL: nothing. *e: its code. */
static const char *impatience(pt_client *c, uint64_t now, pt_error *e) {
  const pt_listener_config *lc = c->svc->lc;
  bool reads = in_request(c), writes = c->flags & PT_CLIENT_BLOCKED_OUT;
  uint64_t underway = writes ? pt_conn_underway(&c->conn) : 0, moved = c->moved > underway ? c->moved - underway : 0;
  *e = PT_E_STALLED;
  if (pt_slow_look(&c->slow, reads || writes, moved, now, lc->stall_timeout))
    return writes ? "it does not read its replies (stall_timeout)" : "it does not finish its request (stall_timeout)";
  *e = PT_E_HANDSHAKE_TIMEOUT;
  if (!(c->flags & PT_CLIENT_AUTHED) && lc->handshake_timeout && now - c->since > lc->handshake_timeout * PT_NS_PER_MS)
    return "it has not authenticated in time (handshake_timeout)";
  *e = PT_E_IDLE_TIMEOUT;
  bool idle = c->head == c->tail && !c->out.bytes && !c->stream;
  if (idle && lc->idle_timeout && now - c->last > lc->idle_timeout * PT_NS_PER_MS)
    return "it has been idle (idle_timeout)";
  return NULL;
}

static void on_patience(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  pt_worker *w = t->data;
  for (uint32_t n = w->nclients / STEPS + 1; n && w->nclients; n--) {
    pt_client *c = pt_client_at(w, w->patience_at++ % w->nclients);
    pt_error e;
    const char *why = c->gen & 1 ? impatience(c, w->now, &e) : NULL;
    if (why) {
      pt_count(&w->n.timeouts);
      pt_client_fail(c, e, why);
    }
  }
}

void pt_patience_start(pt_worker *w) {
  ev_timer_init(&w->patience, on_patience, 1. / STEPS, 1. / STEPS);
  w->patience.data = w;
  ev_timer_start(w->loop, &w->patience);
}
