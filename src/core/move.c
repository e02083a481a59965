#include "core/move.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/client.h"
#include "core/mongo/move.h"

enum {
  ROUND_MS = 500,
  PATIENCE_MS = 20, /* without anybody becoming ready: those who are have waited long enough */
  LOOK_US = 500 /* between two looks at who is ready */
};

/* ---- Redis clients that leave ---- */

static void stop_reading(pt_worker *w) {
  for (uint32_t i = 0; i < w->nclients; i++) {
    pt_client *c = pt_client_at(w, i);
    if (!(c->gen & 1) || (c->flags & PT_CLIENT_AWAY) || c->conn.tls /* its keys stay */ ||
        !pt_outbox_takes(w->move.to, c->svc->index) || pt_list_add(&w->move.waiting, i))
      continue;
    c->flags |= PT_CLIENT_AWAY;
    pt_client_watch(c);
  }
}

/* Serves it on, as if nothing had been. */
static void read_again(pt_client *c) {
  c->flags &= (uint16_t)~PT_CLIENT_AWAY;
  pt_client_resume_later(c);
}

/* Nothing in flight, nothing to write. What it has sent ahead goes with it. */
static bool ready(const pt_client *c) {
  return c->head == c->tail && !c->out.bytes && !c->stream && !c->retries && c->in_len <= PT_HO_INPUT &&
         !(c->flags & (PT_CLIENT_EOF | PT_CLIENT_CLOSING | PT_CLIENT_REPLY_PART));
}

static int post(pt_worker *w, const pt_client *c) {
  pt_ho_redis m = {.listener = c->svc->index,
                   .id = c->id,
                   .since = c->since,
                   .ip = c->ip,
                   .port = c->port,
                   .proto = c->proto,
                   .authed = !!(c->flags & PT_CLIENT_AUTHED),
                   .user = {c->user, c->user ? (uint32_t)strlen(c->user) : 0},
                   .name = {c->name, c->name ? (uint32_t)strlen(c->name) : 0}};
  if (c->in)
    m.input = (pt_ho_blob){c->in->data + c->in_off, c->in_len};
  return pt_outbox_send(w->move.to, w->move.round, PT_HO_REDIS, &m, c->conn.io.fd, -1);
}

/* Remembers it as being on its way. 0 or -ENOMEM. */
static int remember(pt_worker *w, const pt_client *c) {
  pt_list *l = &w->move.packed;
  int e = pt_list_add(l, c->index);
  if (!e && (e = pt_list_add(l, c->gen)))
    l->n--;
  return e;
}

static void pack(pt_worker *w, pt_client *c) {
  uint32_t before = w->move.packed.n;
  if (!remember(w, c) && !post(w, c))
    return;
  w->move.packed.n = before;
  read_again(c);
}

/* Packs who is ready; the others stay in the list. */
static void pack_ready(pt_worker *w) {
  pt_list *l = &w->move.waiting;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < l->n; i++) {
    pt_client *c = pt_client_at(w, l->at[i]);
    if (!(c->gen & 1) || !(c->flags & PT_CLIENT_AWAY))
      continue;
    if (!ready(c))
      l->at[kept++] = l->at[i];
    else
      pack(w, c);
  }
  l->n = kept;
}

/* ---- rounds ---- */

void pt_move_leave(pt_worker *w, pt_outbox *o, uint32_t round) {
  w->move.to = o;
  w->move.round = round;
  w->move.next = 0;
  w->move.busy = UINT32_MAX;
  w->move.on = true;
  w->move.until = w->now + ROUND_MS * PT_NS_PER_MS;
  w->move.packed.n = w->move.waiting.n = 0;
  stop_reading(w);
  for (unsigned i = 0; i < w->nlisteners; i++)
    if (w->mongos[i] && pt_outbox_takes(o, i))
      pt_mongo_leave(w->mongos[i], o, round);
  ev_timer_again(w->loop, &w->retry_timer); /* makes turns */
}

static void give_up_waiting(pt_worker *w) {
  for (uint32_t i = 0; i < w->move.waiting.n; i++) {
    pt_client *c = pt_client_at(w, w->move.waiting.at[i]);
    if ((c->gen & 1) && (c->flags & PT_CLIENT_AWAY))
      read_again(c);
  }
  w->move.waiting.n = 0;
}

void pt_move_turn(pt_worker *w) {
  bool late = w->now >= w->move.until || (w->move.busy != UINT32_MAX && w->now - w->move.progress > PATIENCE_MS * PT_NS_PER_MS);
  if (w->now < w->move.next && !late)
    return;
  w->move.next = w->now + LOOK_US * UINT64_C(1000);
  pack_ready(w);
  uint32_t busy = w->move.waiting.n;
  for (unsigned i = 0; i < w->nlisteners; i++)
    busy += w->mongos[i] && pt_outbox_takes(w->move.to, i) ? pt_mongo_leave_turn(w->mongos[i], late) : 0;
  if (busy < w->move.busy) {
    w->move.busy = busy;
    w->move.progress = w->now;
  }
  if (busy && !late)
    return;
  give_up_waiting(w);
  w->move.on =
      pt_outbox_end(w->move.to, w->move.round, atomic_load(&w->connected)) != 0; /* no memory: said again at the next turn */
}

void pt_move_left(pt_worker *w, bool taken) {
  w->move.on = false;
  give_up_waiting(w);
  pt_list *l = &w->move.packed;
  for (uint32_t i = 0; i + 1 < l->n; i += 2) {
    pt_client *c = pt_client_get(w, l->at[i], l->at[i + 1]);
    if (!c || !(c->flags & PT_CLIENT_AWAY))
      continue;
    if (taken)
      pt_client_close(c, NULL);
    else
      read_again(c);
  }
  l->n = 0;
  for (unsigned i = 0; i < w->nlisteners; i++)
    if (w->mongos[i])
      pt_mongo_left(w->mongos[i], taken);
}

/* ---- those that arrive ---- */

static char *copy(pt_ho_blob b) { return b.n ? strndup(b.at, b.n) : NULL; }

static int redis(pt_worker *w, unsigned listener, pt_parcel *p, pt_source *source) {
  pt_ho_redis m;
  const char *why;
  if (pt_ho_read(p->bytes, p->n, PT_HO_REDIS, &m, &why) || p->fds[0] < 0 || !w->svcs[listener])
    return -EPROTO;
  pt_client *c = pt_client_arrive(w->svcs[listener], p->fds[0], &m, source);
  if (!c)
    return -ENOMEM;
  p->fds[0] = -1;
  c->name = copy(m.name);
  c->user = copy(m.user);
  if (remember(w, c))
    pt_client_fail(c, PT_E_MEMORY, "out of memory");
  return 0;
}

int pt_move_arrive(pt_worker *w, unsigned listener, pt_parcel *p, pt_source *source) {
  return w->mongos[listener] ? pt_mongo_arrive(w->mongos[listener], p, source) : redis(w, listener, p, source);
}

void pt_move_begin(pt_worker *w) { pt_move_left(w, false); }

void pt_move_free(pt_worker *w) {
  free(w->move.packed.at);
  free(w->move.waiting.at);
}
