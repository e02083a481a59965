#include "core/status.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/version.h"
#include "core/metrics.h"
#include "core/mongo/mongo.h"

enum {
  SLOW_SHOWN = 128
};

static const char *kind(const pt_listener_config *l) { return l->kind == PT_LISTENER_MONGODB ? "mongodb" : "redis"; }

/* ---- pieces ---- */

static void bind_text(pt_json *j, const pt_hostport *a) {
  char text[300];
  snprintf(text, sizeof text, strchr(a->host, ':') ? "[%s]:%u" : "%s:%u", a->host, a->port);
  pt_json_text(j, "bind", text);
}

/* All classes but hello, in which monitors of MongoDB drivers wait. */
static void latency(pt_json *j, const pt_survey *p, unsigned listener) {
  pt_histogram_sum sum = {0};
  for (unsigned w = 0; w < p->nworkers; w++)
    for (pt_work c = 0; c < PT_WORKS; c++)
      if (c != PT_WORK_HELLO)
        pt_histogram_gather(&sum, &pt_survey_meter(p, w, listener)->latency[c]);
  pt_json_open(j, "latency", '{');
  pt_json_open(j, "bounds_us", '[');
  for (unsigned i = 0; i + 1 < PT_BUCKETS; i++)
    pt_json_number(j, NULL, pt_histogram_bound(i));
  pt_json_close(j, ']');
  pt_json_open(j, "counts", '['); /* cumulative; one more than bounds: all */
  uint64_t below = 0;
  for (unsigned i = 0; i < PT_BUCKETS; i++)
    pt_json_number(j, NULL, below += sum.counts[i]);
  pt_json_close(j, ']');
  pt_json_number(j, "sum_us", sum.sum_us);
  pt_json_close(j, '}');
}

static void policy(pt_json *j, const pt_listener_config *l, const pt_meter_sum *sum) {
  pt_json_open(j, "policy", '{');
  pt_json_text(j, "name", l->policy.name);
  pt_json_number(j, "calls", sum->policy_calls);
  pt_json_number(j, "failures", sum->policy_failures);
  pt_json_number(j, "ns", sum->policy_ns);
  pt_json_bool(j, "suspended", sum->suspended);
  pt_json_close(j, '}');
}

static void node(pt_json *j, const pt_survey *p, unsigned listener, const pt_cluster_node *n) {
  char name[272];
  pt_node_sum sum;
  pt_survey_node(p, listener, pt_survey_node_name(n, name), &sum);
  pt_json_open(j, NULL, '{');
  pt_json_text(j, "address", name);
  if (strcmp(n->name, n->host))
    pt_json_text(j, "name", n->name);
  pt_json_text(j, "role", n->replica ? "replica" : "master");
  pt_json_bool(j, "up", n->healthy && !sum.open);
  pt_json_number(j, "inflight", sum.inflight);
  pt_json_number(j, "latency_us", sum.latency_us);
  pt_json_number(j, "requests", sum.latency.total);
  pt_json_number(j, "lost", sum.lost);
  pt_json_number(j, "slots", n->nslots);
  if (n->zone[0])
    pt_json_text(j, "zone", n->zone);
  pt_json_close(j, '}');
}

static void nodes(pt_json *j, const pt_survey *p, unsigned listener) {
  const pt_cluster *c = pt_survey_cluster(p, listener);
  pt_json_open(j, "nodes", '[');
  for (unsigned i = 0; c && i < c->nnodes; i++)
    node(j, p, listener, &c->nodes[i]);
  pt_json_close(j, ']');
}

/* [first, last, index in nodes], those without an owner left out. */
static void slots(pt_json *j, const pt_survey *p, unsigned listener) {
  const pt_cluster *c = pt_survey_cluster(p, listener);
  pt_json_open(j, "slots", '[');
  for (unsigned i = 0, first = 0; c && i < PT_SLOTS; first = ++i) {
    while (i + 1 < PT_SLOTS && c->owner[i + 1] == c->owner[first])
      i++;
    if (c->owner[first] == PT_NODE_NONE)
      continue;
    pt_json_open(j, NULL, '[');
    pt_json_number(j, NULL, first);
    pt_json_number(j, NULL, i);
    pt_json_number(j, NULL, (uint64_t)c->owner[first]);
    pt_json_close(j, ']');
  }
  pt_json_close(j, ']');
}

static uint64_t total(const uint32_t *counts) {
  uint64_t n = 0;
  for (unsigned k = 0; k < PT_SESSION_KINDS; k++)
    n += counts[k];
  return n;
}

/* [PT_SESSION_BACKENDS][kinds], to be freed. NULL: no memory. */
static uint32_t (*by_backend(const pt_mongo_shared *s))[PT_SESSION_KINDS] {
  uint32_t(*counts)[PT_SESSION_KINDS] = calloc(PT_SESSION_BACKENDS, sizeof *counts);
  if (counts)
    pt_sessions_by_backend(s->sessions, counts);
  return counts;
}

static void backend(pt_json *j, const pt_survey *p, unsigned listener, const pt_backend *b, const uint32_t *sessions) {
  pt_mongo_shared *s = p->subjects->at[listener].mongo;
  pt_node_sum sum;
  pt_survey_node(p, listener, b->name, &sum);
  pt_json_open(j, NULL, '{');
  pt_json_text(j, "name", b->name);
  pt_json_text(j, "state", !b->up ? "down" : b->draining ? "draining" : "up");
  if (!b->up && b->why[0])
    pt_json_text(j, "why", b->why);
  pt_json_number(j, "weight", b->weight);
  pt_json_number(j, "connections", atomic_load_explicit(&s->connections[b->id], memory_order_relaxed));
  pt_json_number(j, "inflight", atomic_load_explicit(&s->inflight[b->id], memory_order_relaxed));
  pt_json_number(j, "requests", sum.latency.total);
  pt_json_number(j, "latency_us", sum.latency.total ? sum.latency.sum_us / sum.latency.total : 0);
  if (p->cfg->listeners[listener].mongo->per_request) {
    pt_json_number(j, "links", sum.links);
    pt_json_number(j, "waiting", sum.waiting);
  }
  pt_json_number(j, "sessions", sessions ? total(sessions) : 0);
  pt_json_close(j, '}');
}

static void backends(pt_json *j, const pt_survey *p, unsigned listener) {
  const pt_backends *b = pt_survey_backends(p, listener);
  uint32_t(*counts)[PT_SESSION_KINDS] = b ? by_backend(p->subjects->at[listener].mongo) : NULL;
  pt_json_open(j, "backends", '[');
  for (unsigned i = 0; b && i < b->n; i++)
    backend(j, p, listener, &b->at[i], counts ? counts[b->at[i].id] : NULL);
  pt_json_close(j, ']');
  free(counts);
}

/* ---- the whole ---- */

static void listener(pt_json *j, const pt_survey *p, unsigned i) {
  const pt_listener_config *l = &p->cfg->listeners[i];
  pt_meter_sum sum;
  pt_survey_sum(p, i, &sum);
  pt_json_open(j, NULL, '{');
  pt_json_text(j, "name", l->name);
  pt_json_text(j, "kind", kind(l));
  bind_text(j, &l->bind);
  pt_json_number(j, "clients", sum.accepted - sum.closed);
  pt_json_number(j, "requests", sum.requests);
  latency(j, p, i);
  policy(j, l, &sum);
  if (l->kind == PT_LISTENER_MONGODB) {
    pt_json_text(j, "forward", l->mongo->per_request ? "request" : "connection");
    backends(j, p, i);
    pt_sessions_stats s = pt_sessions_stat(p->subjects->at[i].mongo->sessions);
    uint64_t n = 0;
    for (unsigned k = 0; k < PT_SESSION_KINDS; k++)
      n += s.entries[k];
    pt_json_number(j, "sessions", n);
  } else {
    nodes(j, p, i);
    slots(j, p, i);
  }
  pt_json_close(j, '}');
}

/* Of all listeners. */
static void totals(pt_json *j, const pt_survey *p) {
  uint64_t requests = 0;
  pt_meter_sum sum;
  for (unsigned i = 0; i < p->cfg->nlisteners; i++) {
    pt_survey_sum(p, i, &sum);
    requests += sum.requests;
  }
  pt_json_open(j, "totals", '{');
  pt_json_number(j, "requests", requests);
  for (const pt_exported *e = pt_exported_counters; e->name; e++)
    pt_json_number(j, e->name, pt_survey_counter(p, e->at));
  pt_json_number(j, "reloads", p->tally.reloads);
  pt_json_number(j, "reloads_failed", p->tally.reloads_failed);
  pt_json_number(j, "upgrades", p->tally.upgrades);
  pt_json_number(j, "upgrades_failed", p->tally.upgrades_failed);
  pt_json_close(j, '}');
}

void pt_status_write(FILE *out, const pt_survey *p) {
  pt_json j = {.out = out};
  struct timespec now;
  char why[512];
  uint64_t clients = 0, aborts = 0;
  pt_meter_sum sum;
  for (unsigned i = 0; i < p->cfg->nlisteners; i++) {
    pt_survey_sum(p, i, &sum);
    clients += sum.accepted - sum.closed;
    aborts += sum.aborts;
  }
  clock_gettime(CLOCK_REALTIME, &now);
  const char *unready = pt_survey_unready(p, why, sizeof why);
  pt_json_open(&j, NULL, '{');
  pt_json_text(&j, "version", PT_VERSION);
  pt_json_number(&j, "pid", (uint64_t)getpid());
  pt_json_real(&j, "time", (double)now.tv_sec + (double)now.tv_nsec / 1e9);
  pt_json_real(&j, "uptime_s", (double)(pt_now_ns() - p->started) / 1e9);
  pt_json_number(&j, "generation", p->cfg->generation);
  pt_json_number(&j, "workers", p->nworkers);
  pt_json_text(&j, "state", p->draining ? "draining" : unready ? "starting" : "ready");
  pt_json_number(&j, "clients", clients);
  pt_json_open(&j, "memory", '{');
  pt_json_number(&j, "rss", pt_metrics_resident());
  pt_json_close(&j, '}');
  totals(&j, p);
  pt_json_open(&j, "listeners", '[');
  for (unsigned i = 0; i < p->cfg->nlisteners; i++)
    listener(&j, p, i);
  pt_json_close(&j, ']');
  pt_json_number(&j, "trace_aborts", aborts);
  pt_json_close(&j, '}');
  fputc('\n', out);
}

/* ---- parts of it ---- */

/* [{ "listener", "kind", ... what fn writes }] */
static void each(FILE *out, const pt_survey *p, pt_listener_kind only, bool all,
                 void (*fn)(pt_json *, const pt_survey *, unsigned)) {
  pt_json j = {.out = out};
  pt_json_open(&j, NULL, '[');
  for (unsigned i = 0; i < p->cfg->nlisteners; i++) {
    const pt_listener_config *l = &p->cfg->listeners[i];
    if (!all && l->kind != only)
      continue;
    pt_json_open(&j, NULL, '{');
    pt_json_text(&j, "listener", l->name);
    pt_json_text(&j, "kind", kind(l));
    fn(&j, p, i);
    pt_json_close(&j, '}');
  }
  pt_json_close(&j, ']');
  fputc('\n', out);
}

static void nodes_or_backends(pt_json *j, const pt_survey *p, unsigned i) {
  (p->cfg->listeners[i].kind == PT_LISTENER_MONGODB ? backends : nodes)(j, p, i);
}

void pt_status_backends(FILE *out, const pt_survey *p) { each(out, p, PT_LISTENER_REDIS, true, nodes_or_backends); }

static void nodes_and_slots(pt_json *j, const pt_survey *p, unsigned i) {
  const pt_cluster *c = pt_survey_cluster(p, i);
  pt_json_number(j, "generation", c ? c->generation : 0);
  pt_json_number(j, "owned", c ? c->nslots : 0);
  nodes(j, p, i);
  slots(j, p, i);
}

void pt_status_slots(FILE *out, const pt_survey *p) { each(out, p, PT_LISTENER_REDIS, false, nodes_and_slots); }

static void sessions(pt_json *j, const pt_survey *p, unsigned i) {
  pt_mongo_shared *shared = p->subjects->at[i].mongo;
  const pt_backends *b = pt_survey_backends(p, i);
  pt_sessions_stats s = pt_sessions_stat(shared->sessions);
  pt_json_number(j, "identities", s.entries[PT_SESSION_IDENTITY]);
  pt_json_number(j, "sessions", s.entries[PT_SESSION_LSID]);
  pt_json_number(j, "cursors", s.entries[PT_SESSION_CURSOR]);
  pt_json_number(j, "max", p->cfg->listeners[i].mongo->max_sessions);
  pt_json_number(j, "made", s.made);
  pt_json_number(j, "expired", s.expired);
  pt_json_number(j, "evicted", s.evicted);
  pt_json_number(j, "moved", s.moved);
  uint32_t(*counts)[PT_SESSION_KINDS] = by_backend(shared);
  pt_json_open(j, "backends", '[');
  for (unsigned k = 0; b && counts && k < b->n; k++) {
    const uint32_t *n = counts[b->at[k].id];
    pt_json_open(j, NULL, '{');
    pt_json_text(j, "name", b->at[k].name);
    pt_json_number(j, "identities", n[PT_SESSION_IDENTITY]);
    pt_json_number(j, "sessions", n[PT_SESSION_LSID]);
    pt_json_number(j, "cursors", n[PT_SESSION_CURSOR]);
    pt_json_number(j, "pinned", pt_sessions_pinned(shared->sessions, b->at[k].id));
    pt_json_close(j, '}');
  }
  pt_json_close(j, ']');
  free(counts);
}

void pt_status_sessions(FILE *out, const pt_survey *p) { each(out, p, PT_LISTENER_MONGODB, false, sessions); }

/* ---- slow requests ---- */

typedef struct slow {
  pt_slow_entry is;
  const char *listener;
} slow;

static int newest_first(const void *a, const void *b) {
  const slow *x = a, *y = b;
  return (x->is.at_ms < y->is.at_ms) - (x->is.at_ms > y->is.at_ms);
}

void pt_status_slow(FILE *out, const pt_survey *p) {
  pt_json j = {.out = out};
  unsigned n = 0;
  pt_slow_entry some[PT_SLOW_MAX];
  slow *all = calloc((size_t)p->nworkers * p->cfg->nlisteners * PT_SLOW_MAX, sizeof *all);
  for (unsigned w = 0; all && w < p->nworkers; w++)
    for (unsigned i = 0; i < p->cfg->nlisteners; i++)
      for (unsigned k = pt_meter_slowest(pt_survey_meter(p, w, i), some); k-- > 0;)
        all[n++] = (slow){some[k], p->cfg->listeners[i].name};
  if (n)
    qsort(all, n, sizeof *all, newest_first);
  pt_json_open(&j, NULL, '[');
  for (unsigned i = 0; i < n && i < SLOW_SHOWN; i++) {
    pt_json_open(&j, NULL, '{');
    pt_json_real(&j, "time", (double)all[i].is.at_ms / 1000);
    pt_json_text(&j, "listener", all[i].listener);
    pt_json_text(&j, "command", all[i].is.command);
    if (all[i].is.slot >= 0)
      pt_json_number(&j, "slot", (uint64_t)all[i].is.slot);
    else
      pt_json_null(&j, "slot");
    pt_json_text(&j, "node", all[i].is.node);
    pt_json_number(&j, "us", all[i].is.us);
    pt_json_close(&j, '}');
  }
  pt_json_close(&j, ']');
  fputc('\n', out);
  free(all);
}
