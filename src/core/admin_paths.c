#include "core/admin_paths.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/admin_page.h"
#include "core/metrics.h"
#include "core/status.h"

enum {
  DRAIN_AFTER_MS = 50, /* the answer leaves first */
  LOG_TAIL = 256 * 1024
};

#define JSON "application/json"

static pt_survey look(pt_admin_request *r) {
  pt_survey p;
  r->hooks->look(r->hooks->arg, &p);
  return p;
}

/* ---- what is shown ---- */

static int help(pt_admin_request *r) {
  for (const pt_admin_path *p = pt_admin_paths; p->path; p++)
    fprintf(r->out, "%-5s %-12s %s\n", p->post ? "POST" : "GET", p->path, p->help);
  return 200;
}

static int page(pt_admin_request *r) {
  r->type = "text/html; charset=utf-8";
  fwrite(pt_admin_page, 1, pt_admin_page_size, r->out);
  return 200;
}

static int metrics(pt_admin_request *r) {
  pt_survey p = look(r);
  r->type = "text/plain; version=0.0.4; charset=utf-8";
  pt_metrics_write(r->out, &p);
  return 200;
}

static int json(pt_admin_request *r, void (*write)(FILE *, const pt_survey *)) {
  pt_survey p = look(r);
  r->type = JSON;
  write(r->out, &p);
  return 200;
}

static int status(pt_admin_request *r) { return json(r, pt_status_write); }
static int backends(pt_admin_request *r) { return json(r, pt_status_backends); }
static int sessions(pt_admin_request *r) { return json(r, pt_status_sessions); }
static int slots(pt_admin_request *r) { return json(r, pt_status_slots); }
static int slowlog(pt_admin_request *r) { return json(r, pt_status_slow); }

static int tail(pt_admin_request *r) {
  static char lines[LOG_TAIL];
  r->type = JSON;
  fwrite(lines, 1, pt_log_tail(lines, sizeof lines), r->out);
  fputc('\n', r->out);
  return 200;
}

static int healthz(pt_admin_request *r) {
  fputs("ok\n", r->out);
  return 200;
}

static int readyz(pt_admin_request *r) {
  pt_survey p = look(r);
  char why[512];
  const char *unready = pt_survey_unready(&p, why, sizeof why);
  fprintf(r->out, "%s\n", unready ? unready : "ready");
  return unready ? 503 : 200;
}

/* ---- what is changed ---- */

static int reload(pt_admin_request *r) {
  if (r->hooks->reload(r->hooks->arg, r->out))
    return 422;
  pt_survey p = look(r);
  fprintf(r->out, "generation %llu serves\n", (unsigned long long)p.cfg->generation);
  return 200;
}

typedef struct later {
  ev_timer timer;
  pt_admin_hooks hooks;
} later;

static void on_drain(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  later *l = t->data;
  l->hooks.drain(l->hooks.arg);
  free(l);
}

static int drain(pt_admin_request *r) {
  pt_survey p = look(r);
  later *l = p.draining ? NULL : calloc(1, sizeof *l);
  if (l) {
    l->hooks = *r->hooks;
    ev_timer_init(&l->timer, on_drain, DRAIN_AFTER_MS / 1000., 0.);
    l->timer.data = l;
    ev_timer_start(r->loop, &l->timer);
  }
  if (!p.draining && !l) {
    fputs("out of memory\n", r->out);
    return 500;
  }
  fprintf(r->out, "draining: no new clients; what is in flight is finished within %llu ms\n",
          (unsigned long long)p.cfg->drain_timeout);
  return 202;
}

/* Whoever can name a binary can run it as us: only over the socket that is ours alone. */
static int upgrade(pt_admin_request *r) {
  const char *binary = r->argument(r->query, "binary");
  if (binary && (!r->ours || *binary != '/')) {
    fputs(r->ours ? "expected ?binary=/absolute/path\n" : "a binary can only be named over the unix socket (admin = {})\n",
          r->out);
    return r->ours ? 400 : 403;
  }
  pid_t pid = r->hooks->upgrade(r->hooks->arg, binary);
  if (pid < 0) {
    fprintf(r->out, "no new process: %s\n", pid == -EBUSY ? "this one cannot be replaced now" : strerror((int)-pid));
    return 409;
  }
  fprintf(r->out, "process %d has been started to take over; /status tells who serves\n", (int)pid);
  return 202;
}

static int log_level(pt_admin_request *r) {
  const char *name = r->argument(r->query, "level");
  int level = name ? pt_log_level(name) : -1;
  if (level < 0) {
    fputs("expected ?level=debug, info, warn or error\n", r->out);
    return 400;
  }
  pt_log_level_set(level);
  fprintf(r->out, "level %s, until the next reload\n", name);
  return 200;
}

const pt_admin_path pt_admin_paths[] = {
    {"/", false, true, "the live page", page},
    {"/help", false, true, "this", help},
    {"/healthz", false, true, "200 while the process lives", healthz},
    {"/readyz", false, true, "200 when it serves; 503 and why while it starts or drains", readyz},
    {"/metrics", false, false, "everything that is counted, for Prometheus", metrics},
    {"/status", false, false, "listeners, nodes, backends, latencies, policies, as JSON", status},
    {"/backends", false, false, "nodes and backends of each listener", backends},
    {"/sessions", false, false, "entries of the session tables, by backend", sessions},
    {"/slots", false, false, "who owns which slots", slots},
    {"/slowlog", false, false, "the last requests that took longer than admin.slow", slowlog},
    {"/log", false, false, "the last 200 lines of the log", tail},
    {"/reload", true, false, "reads the configuration again; 422 and the errors when it is not applied", reload},
    {"/drain", true, false, "as SIGTERM: finishes what is in flight and ends", drain},
    {"/upgrade", true, false,
     "as SIGUSR2: starts what now stands at the path of the binary, or ?binary=PATH (unix socket only), and hands over", upgrade},
    {"/log/level", true, false, "?level=debug, info, warn or error, until the next reload", log_level},
    {0},
};
