#include "ctl/show.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "ctl/doc.h"

enum {
  NAME = 64
};

/* ---- the parts of /status ---- */

static void head(FILE *out, const bson_t *d) {
  char version[32], state[16], up[PT_DOC_HUMAN], rss[PT_DOC_HUMAN];
  fprintf(out, "puerta %s, pid %.0f, %s for %s; generation %.0f, %.0f workers, %s\n",
          pt_doc_text(d, version, sizeof version, "version"), pt_doc_number(d, "pid"),
          pt_doc_text(d, state, sizeof state, "state"), pt_doc_time(pt_doc_number(d, "uptime_s"), up),
          pt_doc_number(d, "generation"), pt_doc_number(d, "workers"), pt_doc_bytes(pt_doc_number(d, "memory.rss"), rss));
}

static void totals(FILE *out, const bson_t *d) {
  static const char *const names[] = {"requests", "redirects", "retries", "lost", "failfast", "timeouts"};
  fprintf(out, "%.0f clients now, %.0f so far", pt_doc_number(d, "clients"), pt_doc_number(d, "totals.accepted"));
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    fprintf(out, "; %s %.0f", names[i], pt_doc_number(d, "totals.%s", names[i]));
  fprintf(out, "; reloads %.0f, %.0f failed\n", pt_doc_number(d, "totals.reloads"), pt_doc_number(d, "totals.reloads_failed"));
}

static void listener(FILE *out, const bson_t *d, unsigned i) {
  char name[NAME], kind[16], bind[NAME], p50[PT_DOC_HUMAN], p99[PT_DOC_HUMAN], policy[NAME];
  fprintf(out, "\n%s: %s at %s; %.0f clients, %.0f requests, half within %s, 99%% within %s\n",
          pt_doc_text(d, name, sizeof name, "listeners.%u.name", i), pt_doc_text(d, kind, sizeof kind, "listeners.%u.kind", i),
          pt_doc_text(d, bind, sizeof bind, "listeners.%u.bind", i), pt_doc_number(d, "listeners.%u.clients", i),
          pt_doc_number(d, "listeners.%u.requests", i), pt_doc_us(pt_doc_percentile(d, NULL, i, .5), p50),
          pt_doc_us(pt_doc_percentile(d, NULL, i, .99), p99));
  double calls = pt_doc_number(d, "listeners.%u.policy.calls", i);
  fprintf(out, "policy %s: %.0f calls, %.0f ns each, %.0f failed%s\n",
          pt_doc_text(d, policy, sizeof policy, "listeners.%u.policy.name", i), calls,
          calls > 0 ? pt_doc_number(d, "listeners.%u.policy.ns", i) / calls : 0,
          pt_doc_number(d, "listeners.%u.policy.failures", i),
          pt_doc_bool(d, "listeners.%u.policy.suspended", i) ? "; SUSPENDED" : "");
}

/* ---- nodes and backends; at: the path of what holds the list ---- */

static void node_table(FILE *out, const bson_t *d, const char *at) {
  char name[NAME], role[16], us[PT_DOC_HUMAN];
  unsigned n = pt_doc_count(d, "%s.nodes", at);
  if (n)
    fprintf(out, "  %-28s %-8s %-5s %8s %10s %9s %6s %6s\n", "NODE", "ROLE", "STATE", "INFLIGHT", "REQUESTS", "LATENCY", "LOST",
            "SLOTS");
  for (unsigned i = 0; i < n; i++) {
    double latency = pt_doc_number(d, "%s.nodes.%u.latency_us", at, i);
    fprintf(out, "  %-28s %-8s %-5s %8.0f %10.0f %9s %6.0f %6.0f\n",
            pt_doc_text(d, name, sizeof name, "%s.nodes.%u.address", at, i),
            pt_doc_text(d, role, sizeof role, "%s.nodes.%u.role", at, i), pt_doc_bool(d, "%s.nodes.%u.up", at, i) ? "up" : "DOWN",
            pt_doc_number(d, "%s.nodes.%u.inflight", at, i), pt_doc_number(d, "%s.nodes.%u.requests", at, i),
            pt_doc_us(latency > 0 ? latency : -1, us), pt_doc_number(d, "%s.nodes.%u.lost", at, i),
            pt_doc_number(d, "%s.nodes.%u.slots", at, i));
  }
}

static void backend_table(FILE *out, const bson_t *d, const char *at) {
  char name[NAME], state[16], why[NAME];
  unsigned n = pt_doc_count(d, "%s.backends", at);
  if (n)
    fprintf(out, "  %-28s %-9s %6s %11s %8s %10s %8s\n", "BACKEND", "STATE", "WEIGHT", "CONNECTIONS", "INFLIGHT", "REQUESTS",
            "SESSIONS");
  for (unsigned i = 0; i < n; i++)
    fprintf(out, "  %-28s %-9s %6.0f %11.0f %8.0f %10.0f %8.0f  %s\n",
            pt_doc_text(d, name, sizeof name, "%s.backends.%u.name", at, i),
            pt_doc_text(d, state, sizeof state, "%s.backends.%u.state", at, i), pt_doc_number(d, "%s.backends.%u.weight", at, i),
            pt_doc_number(d, "%s.backends.%u.connections", at, i), pt_doc_number(d, "%s.backends.%u.inflight", at, i),
            pt_doc_number(d, "%s.backends.%u.requests", at, i), pt_doc_number(d, "%s.backends.%u.sessions", at, i),
            pt_doc_text(d, why, sizeof why, "%s.backends.%u.why", at, i));
}

void pt_show_status(FILE *out, const bson_t *d) {
  char at[32];
  head(out, d);
  totals(out, d);
  for (unsigned i = 0; i < pt_doc_count(d, "listeners"); i++) {
    snprintf(at, sizeof at, "listeners.%u", i);
    listener(out, d, i);
    node_table(out, d, at);
    backend_table(out, d, at);
  }
}

/* The name of a listener in a list of them. */
static void title(FILE *out, const bson_t *d, unsigned i, char at[32]) {
  char name[NAME];
  snprintf(at, 32, "list.%u", i);
  fprintf(out, "%s%s\n", i ? "\n" : "", pt_doc_text(d, name, sizeof name, "%s.listener", at));
}

void pt_show_backends(FILE *out, const bson_t *d) {
  char at[32];
  for (unsigned i = 0; i < pt_doc_count(d, "list"); i++) {
    title(out, d, i, at);
    node_table(out, d, at);
    backend_table(out, d, at);
  }
}

void pt_show_sessions(FILE *out, const bson_t *d) {
  char at[32], name[NAME];
  if (!pt_doc_count(d, "list"))
    fputs("no listener keeps sessions: those of puerta.mongodb do\n", out);
  for (unsigned i = 0; i < pt_doc_count(d, "list"); i++) {
    title(out, d, i, at);
    fprintf(out,
            "  %.0f clients, %.0f sessions, %.0f cursors, of at most %.0f; %.0f made, %.0f expired, %.0f evicted, %.0f moved\n",
            pt_doc_number(d, "%s.identities", at), pt_doc_number(d, "%s.sessions", at), pt_doc_number(d, "%s.cursors", at),
            pt_doc_number(d, "%s.max", at), pt_doc_number(d, "%s.made", at), pt_doc_number(d, "%s.expired", at),
            pt_doc_number(d, "%s.evicted", at), pt_doc_number(d, "%s.moved", at));
    fprintf(out, "  %-28s %8s %8s %8s %8s\n", "BACKEND", "CLIENTS", "SESSIONS", "CURSORS", "PINNED");
    for (unsigned k = 0; k < pt_doc_count(d, "%s.backends", at); k++)
      fprintf(out, "  %-28s %8.0f %8.0f %8.0f %8.0f\n", pt_doc_text(d, name, sizeof name, "%s.backends.%u.name", at, k),
              pt_doc_number(d, "%s.backends.%u.identities", at, k), pt_doc_number(d, "%s.backends.%u.sessions", at, k),
              pt_doc_number(d, "%s.backends.%u.cursors", at, k), pt_doc_number(d, "%s.backends.%u.pinned", at, k));
  }
}

void pt_show_slots(FILE *out, const bson_t *d) {
  char at[32], name[NAME];
  if (!pt_doc_count(d, "list"))
    fputs("no listener has slots: those of puerta.redis do\n", out);
  for (unsigned i = 0; i < pt_doc_count(d, "list"); i++) {
    title(out, d, i, at);
    fprintf(out, "  %.0f of 16384 slots have an owner\n", pt_doc_number(d, "%s.owned", at));
    for (unsigned k = 0; k < pt_doc_count(d, "%s.slots", at); k++)
      fprintf(out, "  %5.0f-%-5.0f %s\n", pt_doc_number(d, "%s.slots.%u.0", at, k), pt_doc_number(d, "%s.slots.%u.1", at, k),
              pt_doc_text(d, name, sizeof name, "%s.nodes.%.0f.address", at, pt_doc_number(d, "%s.slots.%u.2", at, k)));
  }
}

void pt_show_slow(FILE *out, const bson_t *d) {
  char command[32], node[NAME], us[PT_DOC_HUMAN], when[32], slot[16];
  unsigned n = pt_doc_count(d, "list");
  if (n)
    fprintf(out, "%-19s %9s %-20s %5s %s\n", "TIME", "TOOK", "COMMAND", "SLOT", "NODE");
  else
    fputs("no slow requests\n", out);
  for (unsigned i = 0; i < n; i++) {
    time_t t = (time_t)pt_doc_number(d, "list.%u.time", i);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
    snprintf(slot, sizeof slot, "%.0f", pt_doc_number(d, "list.%u.slot", i));
    fprintf(out, "%-19s %9s %-20s %5s %s\n", when, pt_doc_us(pt_doc_number(d, "list.%u.us", i), us),
            pt_doc_text(d, command, sizeof command, "list.%u.command", i), pt_doc_has(d, "list.%u.slot", i) ? slot : "-",
            pt_doc_text(d, node, sizeof node, "list.%u.node", i));
  }
}

/* ---- top ---- */

/* A stream that ends each line at the width and stops below the last row. */
typedef struct screen {
  FILE *out;
  unsigned rows, columns, row;
} screen;

static __attribute__((format(printf, 2, 3))) void line(screen *s, const char *fmt, ...) {
  char text[512];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (s->rows && s->row >= s->rows)
    return;
  s->row++;
  fprintf(s->out, "%.*s\n", (int)(s->columns < sizeof text ? s->columns : sizeof text), text);
}

/* A second, between the two answers. */
typedef struct window {
  const bson_t *is, *was;
  double seconds;
} window;

#define RATE(w, ...)                                                                                                             \
  (((w)->seconds > 0 && pt_doc_number((w)->is, __VA_ARGS__) >= pt_doc_number((w)->was, __VA_ARGS__))                             \
       ? (pt_doc_number((w)->is, __VA_ARGS__) - pt_doc_number((w)->was, __VA_ARGS__)) / (w)->seconds                             \
       : 0)

static void top_nodes(screen *s, const window *w, unsigned i) {
  char name[NAME], role[16], us[PT_DOC_HUMAN], rate[PT_DOC_HUMAN];
  unsigned n = pt_doc_count(w->is, "listeners.%u.nodes", i);
  if (n)
    line(s, "  %-24s %-8s %-5s %8s %10s %9s %6s", "NODE", "ROLE", "STATE", "INFLIGHT", "REQUESTS/s", "LATENCY", "LOST");
  for (unsigned k = 0; k < n; k++) {
    double latency = pt_doc_number(w->is, "listeners.%u.nodes.%u.latency_us", i, k);
    line(s, "  %-24.24s %-8s %-5s %8.0f %10s %9s %6.0f",
         pt_doc_text(w->is, name, sizeof name, "listeners.%u.nodes.%u.address", i, k),
         pt_doc_text(w->is, role, sizeof role, "listeners.%u.nodes.%u.role", i, k),
         pt_doc_bool(w->is, "listeners.%u.nodes.%u.up", i, k) ? "up" : "DOWN",
         pt_doc_number(w->is, "listeners.%u.nodes.%u.inflight", i, k),
         pt_doc_amount(RATE(w, "listeners.%u.nodes.%u.requests", i, k), rate), pt_doc_us(latency > 0 ? latency : -1, us),
         pt_doc_number(w->is, "listeners.%u.nodes.%u.lost", i, k));
  }
}

static void top_backends(screen *s, const window *w, unsigned i) {
  char name[NAME], state[16], rate[PT_DOC_HUMAN];
  unsigned n = pt_doc_count(w->is, "listeners.%u.backends", i);
  if (n)
    line(s, "  %-24s %-9s %11s %8s %10s %8s", "BACKEND", "STATE", "CONNECTIONS", "INFLIGHT", "REQUESTS/s", "SESSIONS");
  for (unsigned k = 0; k < n; k++)
    line(s, "  %-24.24s %-9s %11.0f %8.0f %10s %8.0f",
         pt_doc_text(w->is, name, sizeof name, "listeners.%u.backends.%u.name", i, k),
         pt_doc_text(w->is, state, sizeof state, "listeners.%u.backends.%u.state", i, k),
         pt_doc_number(w->is, "listeners.%u.backends.%u.connections", i, k),
         pt_doc_number(w->is, "listeners.%u.backends.%u.inflight", i, k),
         pt_doc_amount(RATE(w, "listeners.%u.backends.%u.requests", i, k), rate),
         pt_doc_number(w->is, "listeners.%u.backends.%u.sessions", i, k));
}

static void top_listener(screen *s, const window *w, unsigned i) {
  char name[NAME], kind[16], rate[PT_DOC_HUMAN], p[3][PT_DOC_HUMAN], policy[NAME];
  static const double parts[] = {.5, .95, .99};
  for (unsigned k = 0; k < 3; k++)
    pt_doc_us(pt_doc_percentile(w->is, w->was, i, parts[k]), p[k]);
  line(s, "%s", "");
  line(s, "%.24s (%s)  %.0f clients  %s requests/s  p50 %s  p95 %s  p99 %s",
       pt_doc_text(w->is, name, sizeof name, "listeners.%u.name", i),
       pt_doc_text(w->is, kind, sizeof kind, "listeners.%u.kind", i), pt_doc_number(w->is, "listeners.%u.clients", i),
       pt_doc_amount(RATE(w, "listeners.%u.requests", i), rate), p[0], p[1], p[2]);
  double calls = RATE(w, "listeners.%u.policy.calls", i), ns = RATE(w, "listeners.%u.policy.ns", i);
  line(s, "  policy %.30s  %s calls/s  %.0f ns each  %.2f%% of a core  %.0f failed/s%s",
       pt_doc_text(w->is, policy, sizeof policy, "listeners.%u.policy.name", i), pt_doc_amount(calls, rate),
       calls > 0 ? ns / calls : 0, ns / 1e7, RATE(w, "listeners.%u.policy.failures", i),
       pt_doc_bool(w->is, "listeners.%u.policy.suspended", i) ? "  SUSPENDED" : "");
  top_nodes(s, w, i);
  top_backends(s, w, i);
}

void pt_show_top(FILE *out, const bson_t *is, const bson_t *was, unsigned rows, unsigned columns) {
  screen s = {out, rows, columns, 0};
  window w = {is, was, was ? pt_doc_number(is, "time") - pt_doc_number(was, "time") : 0};
  char version[32], state[16], up[PT_DOC_HUMAN], rss[PT_DOC_HUMAN], rate[PT_DOC_HUMAN];
  line(&s, "puerta %s  pid %.0f  %s for %s  generation %.0f  %.0f workers  %s",
       pt_doc_text(is, version, sizeof version, "version"), pt_doc_number(is, "pid"),
       pt_doc_text(is, state, sizeof state, "state"), pt_doc_time(pt_doc_number(is, "uptime_s"), up),
       pt_doc_number(is, "generation"), pt_doc_number(is, "workers"), pt_doc_bytes(pt_doc_number(is, "memory.rss"), rss));
  line(&s, "%.0f clients  %s requests/s  redirects %.0f/s  lost %.0f/s  failfast %.0f/s", pt_doc_number(is, "clients"),
       pt_doc_amount(RATE(&w, "totals.requests"), rate), RATE(&w, "totals.redirects"), RATE(&w, "totals.lost"),
       RATE(&w, "totals.failfast"));
  for (unsigned i = 0; i < pt_doc_count(is, "listeners"); i++)
    top_listener(&s, &w, i);
}
