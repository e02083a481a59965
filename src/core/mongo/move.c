#include "core/mongo/move.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/mongo/exchange.h"
#include "core/mongo/local.h"
#include "core/mongo/pair_state.h"
#include "core/mongo/request.h"

enum {
  LASTING = PT_MC_LOAD_BALANCED | PT_MC_BACKPRESSURE | PT_MC_AUTHED /* flags that go with a client */
};

_Static_assert((int)PT_HO_ASKS == (int)PT_PAIR_ASKS, "all asks fit");
_Static_assert(sizeof(struct pt_open) == 16 && PT_PAIR_OPEN_MAX * sizeof(struct pt_open) <= 4096, "all that is open fits");

/* ---- leaving ---- */

static bool quiet(const pt_mongo_client *c) {
  return !c->out.bytes && c->in_len <= PT_HO_INPUT && !(c->flags & (PT_MC_EOF | PT_MC_CLOSING));
}

/* The keys of TLS do not go with it. */
static bool stays(const pt_mongo_client *c) { return c->conn.tls || (c->state == PT_MC_PAIRED && c->pair->conn.tls); }

/* Between two frames, either way. */
static bool pair_ready(const pt_mongo_client *c) {
  const pt_pair *p = c->pair;
  return quiet(c) && (p->state == PT_PAIR_READY || p->state == PT_PAIR_LOST) && !p->first && !p->ending && !p->left &&
         !p->out.bytes && !(p->in && p->in->fill) && !p->scan.seen;
}

static bool request_ready(const pt_mongo_client *c) {
  const pt_exchange *x = c->exchange;
  return quiet(c) && x->state == PT_X_IDLE && !x->rest && !x->sasl && !x->split && !x->wait;
}

static pt_ho_mongo common(const pt_mongo_client *c) {
  pt_ho_mongo h = {.listener = c->mongo->index,
                   .id = c->id,
                   .since = c->since,
                   .last = c->last,
                   .port = c->port,
                   .flags = c->flags & LASTING,
                   .identity = c->identity,
                   .backend = c->backend};
  memcpy(h.ip, c->ip, sizeof h.ip);
  if (c->in_len)
    h.input = (pt_ho_blob){c->in->data + c->in_off, c->in_len};
  return h;
}

static pt_ho_blob opens(const pt_opens *o) { return (pt_ho_blob){o->at, o->n * (uint32_t)sizeof *o->at}; }

static int pack_pair(pt_mongo_client *c, pt_outbox *o) {
  pt_pair *p = c->pair;
  pt_ho_pair h = {.c = common(c),
                  .movable = p->movable,
                  .worked = p->worked,
                  .sealed = p->sealed,
                  .compressors = p->compressors,
                  .epoch = p->epoch,
                  .max_wire = (uint32_t)p->max_wire,
                  .nasks = p->n,
                  .cursors = opens(&p->cursors),
                  .txns = opens(&p->txns)};
  for (unsigned i = 0; i < p->n; i++) {
    const pt_ask *a = pt_pair_ask(p, i);
    h.asks[i] = (pt_ho_ask){a->id, a->opcode, a->verb, a->flags, a->cursor};
  }
  if (p->hello)
    h.hello = (pt_ho_blob){p->hello->data, p->hello->fill};
  return pt_outbox_send(o, c->mongo->round, PT_HO_PAIR, &h, c->conn.io.fd, p->state == PT_PAIR_READY ? p->conn.io.fd : -1);
}

static int pack_request(pt_mongo_client *c, pt_outbox *o) {
  const pt_exchange *x = c->exchange;
  pt_ho_request h = {.c = common(c), .has_session = x->has_session};
  memcpy(h.lsid, x->lsid, sizeof h.lsid);
  return pt_outbox_send(o, c->mongo->round, PT_HO_REQUEST, &h, c->conn.io.fd, -1);
}

static void watch(pt_mongo_client *c) {
  if (c->state == PT_MC_PAIRED)
    pt_pair_watch(c);
  else
    pt_request_watch(c);
}

static void serve_on(pt_mongo_client *c) {
  c->flags &= (uint16_t)~PT_MC_AWAY;
  if (c->state == PT_MC_REQUESTS)
    pt_request_next(c);
  else
    pt_pair_watch(c);
}

static void remember(pt_mongo_client *c) {
  pt_list *l = &c->mongo->packed;
  if (pt_list_add(l, c->index))
    return;
  if (pt_list_add(l, c->gen))
    l->n--;
}

static void pack(pt_mongo_client *c, pt_outbox *o) {
  pt_list *l = &c->mongo->packed;
  uint32_t before = l->n;
  c->flags |= PT_MC_AWAY;
  watch(c);
  remember(c);
  if (l->n == before || (c->state == PT_MC_PAIRED ? pack_pair : pack_request)(c, o)) {
    l->n = before;
    serve_on(c);
  }
}

/* Requests are held back from now on, so that each client comes to rest; a hello that waits for news is answered. */
void pt_mongo_leave(pt_mongo *m, pt_outbox *o, uint32_t round) {
  m->to = o;
  m->round = round;
  m->packed.n = 0;
  for (uint32_t i = 0; i < m->nclients; i++) {
    pt_mongo_client *c = pt_mongo_client_at(m, i);
    if (!(c->gen & 1) || c->state != PT_MC_REQUESTS || stays(c))
      continue;
    c->flags |= PT_MC_AWAY | PT_MC_LEAVING;
    pt_request_watch(c);
    if (c->exchange->wait)
      pt_local_finish(c->exchange);
  }
}

uint32_t pt_mongo_leave_turn(pt_mongo *m, bool late) {
  uint32_t busy = 0;
  for (uint32_t i = 0; i < m->nclients; i++) {
    pt_mongo_client *c = pt_mongo_client_at(m, i);
    bool pair = c->state == PT_MC_PAIRED, request = c->state == PT_MC_REQUESTS;
    if (!(c->gen & 1) || stays(c) || !(pair ? !(c->flags & PT_MC_AWAY) : request && c->flags & PT_MC_LEAVING))
      continue;
    if (pair ? pair_ready(c) : request_ready(c)) {
      c->flags &= (uint16_t)~PT_MC_LEAVING;
      pack(c, m->to);
    } else if (!late) {
      busy++;
    } else if (request) {
      c->flags &= (uint16_t)~PT_MC_LEAVING;
      serve_on(c);
    }
  }
  return busy;
}

void pt_mongo_left(pt_mongo *m, bool taken) {
  for (uint32_t i = 0; i < m->nclients; i++) { /* a round that was broken off */
    pt_mongo_client *c = pt_mongo_client_at(m, i);
    if ((c->gen & 1) && (c->flags & PT_MC_LEAVING)) {
      c->flags &= (uint16_t)~PT_MC_LEAVING;
      serve_on(c);
    }
  }
  for (uint32_t i = 0; i + 1 < m->packed.n; i += 2) {
    pt_mongo_client *c = pt_mongo_client_get(m, m->packed.at[i], m->packed.at[i + 1]);
    if (!c || !(c->flags & PT_MC_AWAY))
      continue;
    if (taken)
      pt_mongo_client_close(c, NULL);
    else
      serve_on(c);
  }
  m->packed.n = 0;
}

/* ---- arriving ---- */

static int arrive_pair(pt_mongo *m, pt_parcel *from, pt_source *source, pt_mongo_client **out) {
  int *fds = from->fds;
  pt_ho_pair h;
  const char *why;
  if (pt_ho_read(from->bytes, from->n, PT_HO_PAIR, &h, &why) || fds[0] < 0 || m->mc->per_request)
    return -EPROTO;
  pt_mongo_client *c = *out = pt_mongo_client_arrive(m, fds[0], &h.c, source);
  if (!c)
    return -ENOMEM;
  fds[0] = -1;
  int e = pt_pair_arrive(c, &h, fds[1]);
  if (!e)
    fds[1] = -1;
  return e;
}

static int arrive_request(pt_mongo *m, pt_parcel *from, pt_source *source, pt_mongo_client **out) {
  int *fds = from->fds;
  pt_ho_request h;
  const char *why;
  if (pt_ho_read(from->bytes, from->n, PT_HO_REQUEST, &h, &why) || fds[0] < 0 || !m->mc->per_request)
    return -EPROTO;
  pt_mongo_client *c = *out = pt_mongo_client_arrive(m, fds[0], &h.c, source);
  if (!c)
    return -ENOMEM;
  fds[0] = -1;
  return pt_request_arrive(c, h.has_session ? h.lsid : NULL);
}

int pt_mongo_arrive(pt_mongo *m, pt_parcel *p, pt_source *source) {
  pt_mongo_client *c = NULL;
  pt_ho_kind kind;
  const char *why;
  int e = pt_ho_check(p->bytes, p->n, p->format, &kind, &why);
  if (!e)
    e = kind == PT_HO_PAIR ? arrive_pair(m, p, source, &c) : kind == PT_HO_REQUEST ? arrive_request(m, p, source, &c) : -EPROTO;
  if (!e) {
    uint32_t before = m->packed.n;
    pt_place_arrived(c);
    remember(c);
    watch(c);
    e = m->packed.n == before ? -ENOMEM : 0;
  }
  if (!e || !c)
    return e;
  pt_mongo_client_fail(c, e == -ENOMEM ? PT_E_MEMORY : PT_E_MOVE,
                       e == -ENOMEM ? "out of memory" : "its state did not arrive whole");
  return 0;
}
