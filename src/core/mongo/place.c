/* Which backend: what the session table remembers, else what the policy picks, else weighted rendezvous. */
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "core/mongo/mongo.h"
#include "core/trust.h"

enum {
  AVOID_MS = 500, /* a backend that failed somebody is not picked for so long, while another can be */
  SLOW_MIN = 10 /* slow start begins with this share, of 100 */
};

static uint64_t now_ms(const pt_mongo *m) { return m->worker->now / PT_NS_PER_MS; }

/* ---- who ---- */

/* The part of the address that counts. Returns its bytes in out. */
static unsigned prefix(const pt_mongo_client *c, uint8_t out[17]) {
  static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};
  bool four = !memcmp(c->ip, v4, sizeof v4);
  unsigned bits = four ? 96 + c->mongo->mc->prefix_v4 : c->mongo->mc->prefix_v6;
  out[0] = four ? 4 : 6;
  memcpy(out + 1, c->ip, 16);
  for (unsigned i = 0; i < 16; i++)
    if (i * 8 + 8 > bits)
      out[1 + i] &= i * 8 >= bits ? 0 : (uint8_t)(0xff << (8 - bits % 8));
  return 17;
}

static uint64_t first8(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v ? v : 1;
}

static int describe(pt_mongo_client *c, const pt_client_hello *h, pt_conn_view *v) {
  uint8_t ip[17], digest[PT_SHA256];
  unsigned n = prefix(c, ip);
  memset(v, 0, sizeof *v);
  if (pt_sha256(&(pt_piece){ip, n}, 1, digest))
    return -1;
  v->address = first8(digest);
  memcpy(v->ip, c->ip, sizeof v->ip);
  v->port = c->port;
  char where[PT_ADDRESS_TEXT];
  pt_mongo_client_where(c, where);
  char *colon = strrchr(where, ':');
  size_t len = colon ? (size_t)(colon - where) : strlen(where);
  bool brackets = where[0] == '[';
  len = len < sizeof v->ip_text ? len : sizeof v->ip_text - 1;
  if (brackets && len >= 2)
    memcpy(v->ip_text, where + 1, len - 2);
  else
    memcpy(v->ip_text, where, len);
  if (!h)
    return 0;
  v->has_client = h->has_client;
  v->load_balanced = h->load_balanced;
  memcpy(v->app, h->app, sizeof h->app);
  memcpy(v->driver, h->driver, sizeof h->driver);
  memcpy(v->driver_version, h->driver_version, sizeof h->driver_version);
  if (h->has_client) {
    if (pt_client_fingerprint(h, ip, c->mongo->mc->fingerprint_ip ? n : 0, NULL, NULL, digest))
      return -1;
    v->fingerprint = first8(digest);
  }
  return 0;
}

static void note_failure(pt_mongo *m) {
  pt_affinity *a = m->affinity;
  uint64_t until = m->trust.suspended_until;
  pt_count(&m->n.policy_failures);
  pt_count(&m->meter.policy_failures);
  pt_trust_failed(&m->trust, m->worker, a->name, a->error[0] ? a->error : "it picked a backend that cannot be used", a->calls,
                  a->failures);
  if (m->trust.suspended_until == until)
    return;
  pt_count(&m->meter.suspensions);
  atomic_store_explicit(&m->meter.suspended_until, m->trust.suspended_until, memory_order_relaxed);
}

/* The policy's calls are few: all are timed. */
static uint64_t enter(pt_mongo *m) {
  uint64_t now = pt_now_ns();
  pt_trust_enter(m->worker, m->affinity->name, now);
  return now;
}
static void leave(pt_mongo *m, uint64_t entered) {
  pt_trust_leave(m->worker);
  pt_count(&m->meter.policy_calls);
  pt_count_add(&m->meter.policy_ns, pt_now_ns() - entered);
}

void pt_place_identify(pt_mongo_client *c, const pt_client_hello *h) {
  pt_mongo *m = c->mongo;
  pt_affinity *a = m->affinity;
  if (describe(c, h, a->conn)) {
    c->identity = 0; /* no memory to hash in: it is placed for itself */
    return;
  }
  c->identity = a->conn->fingerprint ? a->conn->fingerprint : a->conn->address;
  if (h && h->load_balanced)
    c->identity = 0; /* balanced by the connection */
  if (!a->identify || !pt_trust_asks(&m->trust, m->worker))
    return;
  uint64_t key = 0, entered = enter(m);
  int e = a->identify(a, &key);
  leave(m, entered);
  if (e)
    note_failure(m);
  else
    c->identity = key;
}

/* ---- which ---- */

static uint32_t effective(const pt_mongo *m, const pt_backend *b) {
  uint64_t whole = (uint64_t)b->weight * 1000, span = m->mc->slow_start * PT_NS_PER_MS;
  if (!b->up_since || !span || m->worker->now >= b->up_since + span)
    return (uint32_t)whole;
  uint64_t since = m->worker->now > b->up_since ? m->worker->now - b->up_since : 0;
  uint64_t share = since * 100 / span;
  whole = whole * (share > SLOW_MIN ? share : SLOW_MIN) / 100;
  return (uint32_t)(whole ? whole : 1);
}

static bool usable(const pt_mongo *m, unsigned i, uint32_t except) {
  const pt_backend *b = &m->backends->at[i];
  return b->up && !b->draining && b->id != except;
}

/* Brings the view up to date; those that have just failed somebody only when nobody else is left. How many may be answered. */
static uint32_t look(pt_mongo *m, uint32_t except) {
  unsigned good = 0, n = m->backends->n;
  for (unsigned i = 0; i < n; i++)
    good += usable(m, i, except) && m->worker->now >= m->avoid[i];
  uint32_t count = 0;
  for (unsigned i = 0; i < n; i++) {
    const pt_backend *b = &m->backends->at[i];
    pt_backend_view *v = &m->view[i];
    v->up = b->up;
    v->usable = usable(m, i, except) && (!good || m->worker->now >= m->avoid[i]);
    v->effective = effective(m, b);
    v->connections = atomic_load_explicit(&m->shared->connections[b->id], memory_order_relaxed);
    v->inflight = atomic_load_explicit(&m->shared->inflight[b->id], memory_order_relaxed);
    count += v->usable;
  }
  m->affinity->backends->usable = count;
  return count;
}

/* Weighted rendezvous without floating point noise: the backend whose weighted draw is best. The same as the Lua half's. */
static int rendezvous(const pt_mongo *m, uint64_t key) {
  int best = -1;
  double best_score = 0;
  for (unsigned i = 0; i < m->backends->n; i++) {
    const pt_backend_view *v = &m->view[i];
    if (!v->usable)
      continue;
    double h = ((double)(pt_mix64(key ^ v->seed) >> 11) + 0.5) / 9007199254740992.0;
    double score = (double)v->effective / -__builtin_log(h);
    if (best < 0 || score > best_score)
      best = (int)i, best_score = score;
  }
  return best;
}

static int pick(pt_mongo *m, uint64_t key, uint64_t identity, uint8_t kind, uint32_t except) {
  pt_affinity *a = m->affinity;
  if (!m->backends || !look(m, except))
    return -1;
  int i = PT_PICK_DEFAULT;
  if (a->pick && pt_trust_asks(&m->trust, m->worker)) {
    *a->session = (pt_session_view){.key = key, .identity = identity, .kind = kind};
    uint64_t entered = enter(m);
    i = a->pick(a);
    leave(m, entered);
    if (i == PT_PICK_FAILED || (i >= 0 && ((unsigned)i >= m->backends->n || !m->view[i].usable))) {
      note_failure(m);
      i = PT_PICK_DEFAULT;
    }
  }
  return i >= 0 ? i : rendezvous(m, key);
}

static uint64_t draw(pt_mongo *m) {
  m->draws += 0x9e3779b97f4a7c15u;
  uint64_t key = pt_mix64(m->draws ^ m->shared->secret);
  return key ? key : 1;
}

/* The backend an entry names, when it can still be used: index, else -1. loyal: it is in use, so a draining backend keeps it. */
static int still(pt_mongo *m, const pt_session *s, uint32_t except, bool loyal) {
  int i = m->backends && s->backend != except ? pt_backends_index(m->backends, s->backend) : -1;
  if (i < 0 || !m->backends->at[i].up || (m->backends->at[i].draining && !loyal))
    return -1;
  return i;
}

/* ---- where ---- */

static int remembered(pt_mongo *m, pt_session_kind kind, pt_session_key key, uint64_t identity, uint8_t view_kind, uint32_t uses,
                      uint32_t except, bool *pinned) {
  pt_session s;
  bool there = pt_sessions_find(m->shared->sessions, kind, key, now_ms(m), &s);
  bool held =
      there && kind == PT_SESSION_LSID && s.in_txn; /* its cursors are lost with a backend, the session goes on elsewhere */
  int i = there ? still(m, &s, except, s.uses || s.in_txn) : -1;
  if (i >= 0 && !held && !s.uses && !uses && m->worker->now < m->avoid[i])
    i = -1; /* what it asked there has just failed: its driver's second try goes elsewhere */
  if (pinned)
    *pinned = held;
  if (held && i < 0)
    return m->backends ? pt_backends_index(m->backends, s.backend) : -1;
  if (i < 0) {
    i = pick(m, kind == PT_SESSION_LSID ? key.a ^ key.b ? key.a ^ key.b : 1 : key.a, identity, view_kind, except);
    if (i < 0)
      return -1;
    if (there)
      there = pt_sessions_move(m->shared->sessions, kind, key, now_ms(m), s.backend, m->backends->at[i].id, true, &s);
    if (there && kind == PT_SESSION_IDENTITY && s.uses)
      atomic_fetch_add_explicit(&m->shared->moves, 1, memory_order_relaxed);
  }
  if (!there || uses) {
    if (pt_sessions_claim(m->shared->sessions, kind, key, now_ms(m), m->backends->at[i].id, uses, &s) < 0)
      return uses ? -1 : i; /* no memory to remember it */
    pt_count(&m->n.sessions);
  }
  int where = still(m, &s, except, true); /* somebody else may have been first */
  return where < 0 ? i : where;
}

int pt_place_connection(pt_mongo_client *c, uint32_t except) {
  pt_mongo *m = c->mongo;
  int i;
  pt_place_release(c);
  if (c->identity) {
    i = remembered(m, PT_SESSION_IDENTITY, (pt_session_key){c->identity, 0}, c->identity, 0, 1, except, NULL);
    if (i >= 0)
      c->flags |= PT_MC_CLAIMED;
  } else {
    i = pick(m, draw(m), 0, 0, except);
  }
  if (i >= 0) {
    c->backend = m->backends->at[i].id;
    atomic_fetch_add_explicit(&m->shared->connections[c->backend], 1, memory_order_relaxed);
  }
  return i;
}

void pt_place_arrived(pt_mongo_client *c) {
  pt_mongo *m = c->mongo;
  pt_session s;
  if (c->backend == PT_BACKEND_NONE)
    return;
  atomic_fetch_add_explicit(&m->shared->connections[c->backend], 1, memory_order_relaxed);
  if (c->identity && !m->mc->per_request &&
      pt_sessions_claim(m->shared->sessions, PT_SESSION_IDENTITY, (pt_session_key){c->identity, 0}, now_ms(m), c->backend, 1,
                        &s) >= 0)
    c->flags |= PT_MC_CLAIMED;
}

void pt_place_release(pt_mongo_client *c) {
  pt_mongo *m = c->mongo;
  if (c->flags & PT_MC_CLAIMED)
    pt_sessions_release(m->shared->sessions, PT_SESSION_IDENTITY, (pt_session_key){c->identity, 0}, now_ms(m));
  c->flags &= (uint16_t)~PT_MC_CLAIMED;
  if (c->backend != PT_BACKEND_NONE)
    atomic_fetch_sub_explicit(&m->shared->connections[c->backend], 1, memory_order_relaxed);
  c->backend = PT_BACKEND_NONE;
}

bool pt_place_strayed(pt_mongo_client *c) {
  pt_session s;
  return c->identity && c->backend != PT_BACKEND_NONE &&
         pt_sessions_find(c->mongo->shared->sessions, PT_SESSION_IDENTITY, (pt_session_key){c->identity, 0}, now_ms(c->mongo),
                          &s) &&
         s.backend != c->backend;
}

bool pt_place_unclaim(pt_mongo_client *c) {
  pt_mongo *m = c->mongo;
  pt_session_key key = {c->identity, 0};
  pt_session s;
  if (c->flags & PT_MC_CLAIMED)
    pt_sessions_release(m->shared->sessions, PT_SESSION_IDENTITY, key, now_ms(m));
  c->flags &= (uint16_t)~PT_MC_CLAIMED;
  return !c->identity || !pt_sessions_find(m->shared->sessions, PT_SESSION_IDENTITY, key, now_ms(m), &s) || !s.uses ||
         s.backend != c->backend;
}

int pt_place_request(pt_mongo_client *c, const uint8_t *lsid, uint32_t except, bool *pinned) {
  pt_mongo *m = c->mongo;
  *pinned = false;
  if (lsid && m->affinity->by_session)
    return remembered(m, PT_SESSION_LSID, pt_place_lsid(m, lsid), c->identity, 1, 0, except, pinned);
  if (lsid) { /* placed by identity, but a transaction or cursor holds it where it is */
    pt_session s;
    if (pt_sessions_find(m->shared->sessions, PT_SESSION_LSID, pt_place_lsid(m, lsid), now_ms(m), &s) && (s.in_txn || s.uses)) {
      *pinned = true;
      return m->backends ? pt_backends_index(m->backends, s.backend) : -1;
    }
  }
  if (c->identity)
    return remembered(m, PT_SESSION_IDENTITY, (pt_session_key){c->identity, 0}, c->identity, 0, 0, except, NULL);
  return pick(m, draw(m), 0, 2, except);
}

pt_session_key pt_place_lsid(const pt_mongo *m, const uint8_t lsid[16]) {
  (void)m;
  pt_session_key key;
  memcpy(&key, lsid, sizeof key);
  return key;
}

void pt_place_failed(pt_mongo *m, unsigned index, const char *why) {
  m->avoid[index] = m->worker->now + (uint64_t)AVOID_MS * PT_NS_PER_MS;
  static pt_log_rate rate;
  pt_log_every(&rate, PT_LOG_DEBUG, "mongo", "%s: backend %s: %s", m->lc->name, m->backends->at[index].name, why);
  pt_health_hint(m->shared->health, m->backends->at[index].id);
}
