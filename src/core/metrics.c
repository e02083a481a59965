#include "core/metrics.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "core/mongo/mongo.h"

enum {
  EVERY_BOUND = 2 /* buckets of one octave are told as one */
};

/* What one family is written with. */
typedef struct family {
  FILE *out;
  const pt_survey *p;
  const char *name;
} family;

static family begin(FILE *out, const pt_survey *p, const char *name, const char *type, const char *help) {
  fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
  return (family){out, p, name};
}

static void put_value(FILE *out, const char *text) {
  for (; *text; text++)
    if (*text == '\n')
      fputs("\\n", out);
    else if (*text == '"' || *text == '\\')
      fprintf(out, "\\%c", *text);
    else
      fputc(*text, out);
}

/* name, value, name, value, ..., NULL; written as {a="b",c="d"}. more: without the closing brace. */
static void put_labels(FILE *out, va_list labels, bool more) {
  const char *name, *sep = "{";
  while ((name = va_arg(labels, const char *))) {
    fprintf(out, "%s%s=\"", sep, name);
    put_value(out, va_arg(labels, const char *));
    fputc('"', out);
    sep = ",";
  }
  if (more)
    fputs(sep, out);
  else if (*sep == ',')
    fputc('}', out);
}

static void sample(family f, double v, ...) __attribute__((sentinel));
static void sample(family f, double v, ...) {
  va_list labels;
  fputs(f.name, f.out);
  va_start(labels, v);
  put_labels(f.out, labels, false);
  va_end(labels);
  fprintf(f.out, " %.17g\n", v);
}

/* A histogram in seconds. */
static void histogram(family f, const pt_histogram_sum *h, ...) __attribute__((sentinel));
static void histogram(family f, const pt_histogram_sum *h, ...) {
  va_list labels;
  uint64_t below = 0;
  for (unsigned i = 0; i < PT_BUCKETS; i++) {
    below += h->counts[i];
    bool last = i == PT_BUCKETS - 1;
    if (!last && i % EVERY_BOUND)
      continue;
    fprintf(f.out, "%s_bucket", f.name);
    va_start(labels, h);
    put_labels(f.out, labels, true);
    va_end(labels);
    if (last)
      fprintf(f.out, "le=\"+Inf\"} %llu\n", (unsigned long long)below);
    else
      fprintf(f.out, "le=\"%.9g\"} %llu\n", (double)pt_histogram_bound(i) / 1e6, (unsigned long long)below);
  }
  fprintf(f.out, "%s_sum", f.name);
  va_start(labels, h);
  put_labels(f.out, labels, false);
  va_end(labels);
  fprintf(f.out, " %.17g\n%s_count", (double)h->sum_us / 1e6, f.name);
  va_start(labels, h);
  put_labels(f.out, labels, false);
  va_end(labels);
  fprintf(f.out, " %llu\n", (unsigned long long)h->total);
}

/* ---- the process ---- */

uint64_t pt_metrics_resident(void) {
  unsigned long long pages = 0;
  FILE *f = fopen("/proc/self/statm", "re");
  if (f && fscanf(f, "%*u %llu", &pages) != 1)
    pages = 0;
  if (f)
    fclose(f);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static unsigned open_files(void) {
  DIR *d = opendir("/proc/self/fd");
  unsigned n = 0;
  while (d && readdir(d))
    n++;
  if (d)
    closedir(d);
  return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

static double unix_start(const pt_survey *p) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)(pt_now_ns() - p->started) / 1e9;
}

static void standard(FILE *out, const pt_survey *p) {
  struct rusage use;
  struct rlimit files;
  getrusage(RUSAGE_SELF, &use);
  getrlimit(RLIMIT_NOFILE, &files);
  double cpu =
      (double)use.ru_utime.tv_sec + (double)use.ru_stime.tv_sec + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
  sample(begin(out, p, "process_cpu_seconds_total", "counter", "CPU time spent, in seconds"), cpu, NULL);
  sample(begin(out, p, "process_resident_memory_bytes", "gauge", "Memory resident, in bytes"), (double)pt_metrics_resident(),
         NULL);
  sample(begin(out, p, "process_open_fds", "gauge", "Open file descriptors"), open_files(), NULL);
  sample(begin(out, p, "process_max_fds", "gauge", "File descriptors that may be open"), (double)files.rlim_cur, NULL);
  sample(begin(out, p, "process_start_time_seconds", "gauge", "Start of the process, UNIX time"), unix_start(p), NULL);
}

static void results(FILE *out, const pt_survey *p, const char *name, const char *help, uint64_t ok, uint64_t failed) {
  family f = begin(out, p, name, "counter", help);
  sample(f, (double)ok, "result", "ok", NULL);
  sample(f, (double)failed, "result", "failed", NULL);
}

static void whole(FILE *out, const pt_survey *p) {
  char why[512], name[80];
  sample(begin(out, p, "puerta_build_info", "gauge", "Always 1; the labels tell the version"), 1, "version", PT_VERSION, NULL);
  sample(begin(out, p, "puerta_ready", "gauge", "1: serves; 0: is starting or draining"),
         pt_survey_unready(p, why, sizeof why) == NULL, NULL);
  sample(begin(out, p, "puerta_workers", "gauge", "Threads that serve clients"), p->nworkers, NULL);
  sample(begin(out, p, "puerta_config_generation", "gauge", "Rises with every configuration that is applied"),
         (double)p->cfg->generation, NULL);
  results(out, p, "puerta_reloads_total", "Reloads of the configuration", p->tally.reloads, p->tally.reloads_failed);
  results(out, p, "puerta_upgrades_total", "Upgrades of the binary", p->tally.upgrades, p->tally.upgrades_failed);
  sample(begin(out, p, "puerta_log_lost_total", "counter", "Lines of the log that could not be written"), (double)pt_log_lost(),
         NULL);
  for (const pt_exported *e = pt_exported_counters; e->name; e++) {
    if (e->at == offsetof(pt_counters, policy_failures))
      continue; /* told of each listener */
    snprintf(name, sizeof name, "puerta_%s_total", e->name);
    sample(begin(out, p, name, "counter", e->help), (double)pt_survey_counter(p, e->at), NULL);
  }
}

static void errors(FILE *out, const pt_survey *p) {
  family f = begin(out, p, "puerta_errors_total", "counter", "Errors given to clients, by code; docs/ERRORS.md explains them");
  for (unsigned e = 0; e < PT_ERRORS; e++) {
    uint64_t n = 0;
    for (unsigned i = 0; i < p->nworkers; i++)
      n += pt_counted(&p->workers[i]->errors[e]);
    sample(f, (double)n, "code", pt_errors[e].code, "class", pt_error_class_name(pt_errors[e].class), NULL);
  }
}

/* ---- listeners ---- */

/* A family of numbers that pt_survey_sum knows: one sample a listener. */
static void each_sum(FILE *out, const pt_survey *p, const char *name, const char *type, const char *help,
                     double (*of)(const pt_meter_sum *)) {
  family f = begin(out, p, name, type, help);
  pt_meter_sum sum;
  for (unsigned i = 0; i < p->cfg->nlisteners; i++) {
    pt_survey_sum(p, i, &sum);
    sample(f, of(&sum), "listener", p->cfg->listeners[i].name, NULL);
  }
}

#define SUM(function, expression)                                                                                                \
  static double function(const pt_meter_sum *s) { return (double)(expression); }
SUM(clients, s->accepted - s->closed)
SUM(requests, s->requests)
SUM(calls, s->policy_calls)
SUM(failures, s->policy_failures)
SUM(seconds, s->policy_ns) /* ns */
SUM(suspensions, s->suspensions)
SUM(suspended, s->suspended)
SUM(aborts, s->aborts)
#undef SUM
static double policy_seconds(const pt_meter_sum *s) { return seconds(s) / 1e9; }

static void sums(FILE *out, const pt_survey *p) {
  each_sum(out, p, "puerta_clients", "gauge", "Client connections", clients);
  each_sum(out, p, "puerta_requests_total", "counter", "Requests of clients", requests);
  each_sum(out, p, "puerta_policy_calls_total", "counter", "Requests, or connections and sessions, a policy was asked about",
           calls);
  each_sum(out, p, "puerta_policy_failures_total", "counter", "Those whose call failed", failures);
  each_sum(out, p, "puerta_policy_seconds_total", "counter", "Time spent in the policy, estimated from samples", policy_seconds);
  each_sum(out, p, "puerta_policy_suspensions_total", "counter", "Times the policy was suspended", suspensions);
  each_sum(out, p, "puerta_policy_suspended", "gauge", "1: the policy is suspended in some worker", suspended);
  each_sum(out, p, "puerta_policy_trace_aborts_total", "counter", "Traces that LuaJIT gave up", aborts);
}

static void refusals(FILE *out, const pt_survey *p) {
  family f = begin(out, p, "puerta_refused_total", "counter", "Connections refused, by the limit that did it");
  for (unsigned i = 0; i < p->doors->n; i++)
    for (unsigned k = PT_LIMIT_NONE + 1; k < PT_LIMITS; k++)
      sample(f, (double)pt_counted(&p->doors->doors[i].admission.refused[k]), "listener", p->doors->doors[i].name, "limit",
             pt_limit_names[k], NULL);
}

static void memory(FILE *out, const pt_survey *p) {
  const pt_memory *m = p->doors->memory;
  long long used = atomic_load_explicit(&m->used, memory_order_relaxed);
  sample(begin(out, p, "puerta_buffer_bytes", "gauge", "Memory of buffers in all workers"), used > 0 ? (double)used : 0, NULL);
  sample(begin(out, p, "puerta_buffer_limit_bytes", "gauge", "memory.max; 0: none"), (double)pt_counted(&m->max), NULL);
  sample(begin(out, p, "puerta_buffer_shed_total", "counter", "Clients closed because memory was scarce and they held much"),
         (double)pt_counted(&m->shed), NULL);
}

static void tls(FILE *out, const pt_survey *p) {
  uint64_t full = 0, resumed = 0, failed = 0, waiting = 0;
  for (unsigned i = 0; i < p->nworkers; i++) {
    const pt_hall *h = &p->workers[i]->hall;
    full += pt_counted(&h->full);
    resumed += pt_counted(&h->resumed);
    failed += pt_counted(&h->failed);
    waiting += atomic_load_explicit(&h->n, memory_order_relaxed);
  }
  family f = begin(out, p, "puerta_tls_handshakes_total", "counter", "TLS handshakes of clients");
  sample(f, (double)full, "result", "full", NULL);
  sample(f, (double)resumed, "result", "resumed", NULL);
  sample(f, (double)failed, "result", "failed", NULL);
  sample(begin(out, p, "puerta_tls_handshakes_waiting", "gauge", "TLS handshakes that wait for their turn"), (double)waiting,
         NULL);
  f = begin(out, p, "puerta_tls_certificate_expires_seconds", "gauge", "When a certificate of ours ends, in seconds since 1970");
  for (unsigned i = 0; i < p->cfg->nlisteners; i++) {
    const pt_listener_config *l = &p->cfg->listeners[i];
    if (l->tls)
      sample(f, (double)pt_tls_context_expires(l->tls), "listener", l->name, "side", "tls", NULL);
    if (l->backend_tls && pt_tls_context_expires(l->backend_tls))
      sample(f, (double)pt_tls_context_expires(l->backend_tls), "listener", l->name, "side", "backend_tls", NULL);
  }
}

static bool has_class(const pt_survey *p, unsigned listener, pt_work c) {
  bool mongo = p->cfg->listeners[listener].kind == PT_LISTENER_MONGODB;
  return mongo ? c != PT_WORK_FAN : c <= PT_WORK_FAN;
}

static void latencies(FILE *out, const pt_survey *p) {
  family f = begin(out, p, "puerta_request_duration_seconds", "histogram",
                   "From a request's arrival to its answer by a node, by class of command");
  pt_histogram_sum sum;
  for (unsigned i = 0; i < p->cfg->nlisteners; i++)
    for (pt_work c = 0; c < PT_WORKS; c++)
      if (has_class(p, i, c)) {
        pt_survey_latency(p, i, c, &sum);
        histogram(f, &sum, "listener", p->cfg->listeners[i].name, "class", pt_work_names[c], NULL);
      }
}

/* ---- nodes and backends ---- */

/* A node of a cluster, or a backend, with what its meters say: gathered once, told by several families. */
typedef struct place {
  unsigned listener;
  char name[272];
  const pt_cluster_node *node;
  const pt_backend *backend; /* one of the two is NULL */
  pt_node_sum sum;
} place;

static place *put(place *at, const pt_survey *p, unsigned listener, const pt_cluster_node *n, const pt_backend *b) {
  at->listener = listener;
  at->node = n;
  at->backend = b;
  if (n)
    pt_survey_node_name(n, at->name);
  else
    snprintf(at->name, sizeof at->name, "%s", b->name);
  pt_survey_node(p, listener, at->name, &at->sum);
  return at + 1;
}

/* All of them, to be freed; *n: how many. NULL: no memory, or none. */
static place *gather(const pt_survey *p, size_t *n) {
  size_t most = 0;
  for (unsigned i = 0; i < p->cfg->nlisteners; i++) {
    const pt_cluster *c = pt_survey_cluster(p, i);
    const pt_backends *b = pt_survey_backends(p, i);
    most += (c ? c->nnodes : 0) + (b ? b->n : 0);
  }
  place *all = most ? calloc(most, sizeof *all) : NULL, *at = all;
  *n = all ? most : 0;
  for (unsigned i = 0; all && i < p->cfg->nlisteners; i++) {
    const pt_cluster *c = pt_survey_cluster(p, i);
    const pt_backends *b = pt_survey_backends(p, i);
    for (unsigned k = 0; c && k < c->nnodes; k++)
      at = put(at, p, i, &c->nodes[k], NULL);
    for (unsigned k = 0; b && k < b->n; k++)
      at = put(at, p, i, NULL, &b->at[k]);
  }
  return all;
}

static const char *listener(family f, unsigned i) { return f.p->cfg->listeners[i].name; }

/* What is told of each node: from its meter, and what only the listener's kind has. */
typedef enum figure {
  UP,
  INFLIGHT,
  LOST,
  BACKLOG,
  CONNECTIONS,
  WEIGHT,
  DRAINING,
  LINKS,
  WAITING
} figure;

static void node_figure(family f, const place *at, figure what) {
  const pt_backend *b = at->backend;
  const pt_node_sum *sum = &at->sum;
  const pt_mongo_shared *shared = f.p->subjects->at[at->listener].mongo;
  bool pooled = b && f.p->cfg->listeners[at->listener].mongo->per_request;
  double v;
  if ((!b && what >= CONNECTIONS) || (b && (what == LOST || what == BACKLOG)) || (what >= LINKS && !pooled))
    return;
  switch (what) {
  case UP:
    v = b ? b->up : at->node->healthy && !sum->open;
    break;
  case INFLIGHT:
    v = b ? atomic_load_explicit(&shared->inflight[b->id], memory_order_relaxed) : sum->inflight;
    break;
  case LOST:
    v = (double)sum->lost;
    break;
  case BACKLOG:
    v = (double)sum->backlog;
    break;
  case CONNECTIONS:
    v = atomic_load_explicit(&shared->connections[b->id], memory_order_relaxed);
    break;
  case WEIGHT:
    v = b->weight;
    break;
  case DRAINING:
    v = b->draining;
    break;
  case LINKS:
    v = sum->links;
    break;
  case WAITING:
  default:
    v = sum->waiting;
  }
  sample(f, v, "listener", listener(f, at->listener), "node", at->name, NULL);
}

static void nodes(FILE *out, const pt_survey *p) {
  static const struct {
    figure what;
    const char *name, *type, *help;
  } figures[] = {
      {UP, "puerta_node_up", "gauge", "1: the node is healthy and asked"},
      {INFLIGHT, "puerta_node_inflight", "gauge", "Requests the node has still to answer"},
      {LOST, "puerta_node_lost_total", "counter", "Requests on a connection to the node that was lost"},
      {BACKLOG, "puerta_node_backlog_bytes", "gauge", "Bytes of requests the node has still to answer"},
      {CONNECTIONS, "puerta_backend_connections", "gauge", "Client connections bound to the backend"},
      {WEIGHT, "puerta_backend_weight", "gauge", "The backend's weight"},
      {DRAINING, "puerta_backend_draining", "gauge", "1: gets nothing new"},
      {LINKS, "puerta_pool_connections", "gauge", "Pooled connections to the backend"},
      {WAITING, "puerta_pool_waiting", "gauge", "Requests that wait for a pooled connection"},
  };
  size_t n;
  place *all = gather(p, &n);
  for (unsigned k = 0; k < sizeof figures / sizeof *figures; k++) {
    family f = begin(out, p, figures[k].name, figures[k].type, figures[k].help);
    for (size_t i = 0; i < n; i++)
      node_figure(f, &all[i], figures[k].what);
  }
  family f = begin(out, p, "puerta_node_duration_seconds", "histogram", "From a request's way to the node to its answer");
  for (size_t i = 0; i < n; i++)
    histogram(f, &all[i].sum.latency, "listener", listener(f, all[i].listener), "node", all[i].name, NULL);
  free(all);
  family slots = begin(out, p, "puerta_cluster_slots", "gauge", "Slots that have an owner");
  for (unsigned i = 0; i < p->cfg->nlisteners; i++)
    if (pt_survey_cluster(p, i))
      sample(slots, pt_survey_cluster(p, i)->nslots, "listener", listener(slots, i), NULL);
}

/* ---- MongoDB ---- */

static void mongo(FILE *out, const pt_survey *p) {
  static const char *const kinds[PT_SESSION_KINDS] = {"identity", "session", "cursor"};
  char name[80];
  for (const pt_exported *e = pt_exported_mongo; e->name; e++) {
    snprintf(name, sizeof name, "puerta_mongodb_%s_total", e->name);
    family f = begin(out, p, name, "counter", e->help);
    for (unsigned i = 0; i < p->cfg->nlisteners; i++)
      if (p->subjects->at[i].mongo)
        sample(f, (double)pt_survey_mongo_counter(p, i, e->at), "listener", listener(f, i), NULL);
  }
  family f = begin(out, p, "puerta_sessions", "gauge", "Entries of the session table");
  for (unsigned i = 0; i < p->cfg->nlisteners; i++) {
    if (!p->subjects->at[i].mongo)
      continue;
    pt_sessions_stats s = pt_sessions_stat(p->subjects->at[i].mongo->sessions);
    for (unsigned k = 0; k < PT_SESSION_KINDS; k++)
      sample(f, (double)s.entries[k], "listener", listener(f, i), "kind", kinds[k], NULL);
  }
  f = begin(out, p, "puerta_session_events_total", "counter", "What became of entries of the session table");
  for (unsigned i = 0; i < p->cfg->nlisteners; i++) {
    if (!p->subjects->at[i].mongo)
      continue;
    pt_sessions_stats s = pt_sessions_stat(p->subjects->at[i].mongo->sessions);
    sample(f, (double)s.made, "listener", listener(f, i), "event", "made", NULL);
    sample(f, (double)s.expired, "listener", listener(f, i), "event", "expired", NULL);
    sample(f, (double)s.evicted, "listener", listener(f, i), "event", "evicted", NULL);
    sample(f, (double)s.moved, "listener", listener(f, i), "event", "moved", NULL);
  }
}

void pt_metrics_write(FILE *out, const pt_survey *p) {
  whole(out, p);
  sums(out, p);
  errors(out, p);
  refusals(out, p);
  memory(out, p);
  tls(out, p);
  latencies(out, p);
  nodes(out, p);
  mongo(out, p);
  standard(out, p);
}
