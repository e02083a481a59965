#include "core/mongo/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* ---- up and down ---- */

/* Logs the state when the log has said something else, each state once a second at most: one that flaps does not fill the log, and what was
 * left out is told with a later round. */
static void tell(pt_check *c) {
  uint64_t now = pt_now_ns(), *after = &c->tell_after[c->b.up];
  if ((c->b.up ? c->told_up : c->told_down) || now < *after)
    return;
  *after = now + 1000000000u;
  c->told_up = c->b.up;
  c->told_down = !c->b.up;
  if (c->b.up)
    pt_info("health", "listener %s: backend %s is up", c->env->lc->name, c->b.name);
  else
    pt_warn("health", "listener %s: backend %s is down: %s", c->env->lc->name, c->b.name, c->b.why);
}

static void go_up(pt_check *c) {
  c->b.up = true;
  c->b.why[0] = 0;
  if (c->was_down)
    c->b.up_since = pt_now_ns();
  tell(c);
}

static void go_down(pt_check *c, const char *why) {
  c->b.up = false;
  c->was_down = true;
  snprintf(c->b.why, sizeof c->b.why, "%s", why);
  tell(c);
}

/* A bad round. Returns true when b has changed. */
static bool count_bad(pt_check *c, const char *why) {
  c->good = 0;
  c->bad++;
  if (c->b.up ? c->bad >= c->env->mc->health_fall : !c->was_down) {
    go_down(c, why);
    return true;
  }
  if (c->b.up || !strcmp(c->b.why, why))
    return false;
  snprintf(c->b.why, sizeof c->b.why, "%s", why);
  pt_log_every(&c->told_why, PT_LOG_DEBUG, "health", "listener %s: backend %s is still down: %s", c->env->lc->name, c->b.name,
               why);
  return true;
}

static bool same_address(const pt_address *a, const pt_address *b) { return a->len == b->len && !memcmp(&a->sa, &b->sa, a->len); }

/* Surely the same process as before: what it held is still there. */
static bool is_same(const pt_server_hello *was, const pt_server_hello *is) {
  return was->has_topology_version && is->has_topology_version && !memcmp(was->process_id, is->process_id, sizeof is->process_id);
}

/* Another process answers under this name now, though it was never seen down. */
static bool is_another(pt_check *c, const pt_server_hello *is) {
  const pt_server_hello *was = &c->b.hello;
  char from[PT_ADDRESS_TEXT], to[PT_ADDRESS_TEXT];
  if (!c->b.up)
    return false;
  if (!same_address(&c->b.address, &c->probe.to)) {
    pt_info("health", "listener %s: backend %s has moved from %s to %s", c->env->lc->name, c->b.name,
            pt_address_format(&c->b.address, from, sizeof from), pt_address_format(&c->probe.to, to, sizeof to));
    return true;
  }
  if (!was->has_topology_version || !is->has_topology_version || is_same(was, is))
    return false;
  pt_log_every(&c->told_restart, PT_LOG_INFO, "health", "listener %s: backend %s has been restarted", c->env->lc->name,
               c->b.name);
  return true;
}

static bool count_good(pt_check *c) {
  const pt_server_hello *is = &c->probe.greet.hello;
  bool another = is_another(c, is) || (!c->b.up && c->was_down && !c->good && !is_same(&c->b.hello, is));
  bool changed = another || c->b.legacy != c->probe.legacy || !pt_backends_same_view(&c->b.hello, is);
  c->b.epoch += another;
  c->b.hello = *is;
  c->b.legacy = c->probe.legacy;
  c->b.address = c->probe.to;
  c->bad = 0;
  c->good++;
  if (!c->b.up && (!c->probed || c->good >= c->env->mc->health_rise)) {
    go_up(c);
    changed = true;
  }
  return changed;
}

/* ---- rounds ---- */

static void schedule(pt_check *c) {
  const pt_mongo_config *mc = c->env->mc;
  double interval = (double)mc->health_interval / 1e3, random = (double)rand_r(&c->env->rng) / RAND_MAX;
  double due = interval * (1 - mc->health_jitter / 100.0 * random); /* never later, so that a failure is found in time */
  double passed = (double)(pt_now_ns() - c->started) / 1e9;
  ev_now_update(c->env->loop);
  ev_timer_stop(c->env->loop, &c->next);
  ev_timer_set(&c->next, due > passed ? due - passed : 0, 0);
  ev_timer_start(c->env->loop, &c->next);
}

/* why NULL: it was good. */
static void end_round(pt_check *c, const char *why) {
  bool changed = why ? count_bad(c, why) : count_good(c);
  bool first = !c->probed;
  c->probed = true;
  c->waiting = false;
  tell(c);
  schedule(c);
  if (changed || first)
    c->env->changed(c);
}

static void probe(pt_check *c) { pt_probe_start(&c->probe, c->env->lc, c->host, &c->at[c->cur]); }

static void on_probe(pt_probe *p, bool good) {
  pt_check *c = p->owner;
  if (good) {
    end_round(c, NULL);
  } else if (p->ours && c->b.up) {
    pt_log_every(&c->told_ours, PT_LOG_WARN, "health", "listener %s: backend %s cannot be checked: %s", c->env->lc->name,
                 c->b.name, p->error);
    schedule(c);
  } else if (c->addresses) {
    c->addresses--;
    c->cur = (c->cur + 1) % c->nat;
    probe(c);
  } else if (c->retries) {
    c->retries--;
    c->addresses = c->b.up ? 0 : c->nat - 1;
    probe(c);
  } else {
    end_round(c, p->error);
  }
}

static bool ask(pt_check *c) {
  if (c->numeric || c->asking)
    return c->asking;
  return c->asking = !pt_resolver_ask(c->env->resolver, c->b.id, c->host, c->port);
}

static void begin_round(pt_check *c) {
  ev_timer_stop(c->env->loop, &c->next);
  c->started = pt_now_ns();
  c->retries = c->env->mc->health_retries;
  bool asked = !c->b.up && ask(c);
  if (c->nat) {
    c->addresses = c->b.up ? 0 : c->nat - 1;
    probe(c);
  } else {
    c->waiting = asked;
    if (!asked)
      end_round(c, "out of memory for its name");
  }
}

static void on_next(struct ev_loop *loop, ev_timer *w, int events) {
  (void)loop;
  (void)events;
  begin_round(w->data);
}

/* ---- from outside ---- */

void pt_check_name(const pt_backend_config *bc, char *out, size_t cap) {
  snprintf(out, cap, strchr(bc->at.host, ':') ? "[%s]:%u" : "%s:%u", bc->at.host, bc->at.port);
}

pt_check *pt_check_new(pt_check_env *env, uint32_t id, uint32_t epoch, const pt_backend_config *bc) {
  pt_check *c = calloc(1, sizeof *c);
  if (!c)
    return NULL;
  c->env = env;
  c->b.id = id;
  c->b.epoch = epoch;
  pt_check_name(bc, c->b.name, sizeof c->b.name);
  snprintf(c->b.why, sizeof c->b.why, "not checked yet");
  snprintf(c->host, sizeof c->host, "%s", bc->at.host);
  c->port = bc->at.port;
  c->numeric = !pt_address_parse(&c->at[0], c->host, c->port);
  c->nat = c->numeric;
  if (c->numeric)
    c->b.address = c->at[0];
  pt_probe_init(&c->probe, env->loop, &env->pool, on_probe, c);
  ev_timer_init(&c->next, on_next, 0, 0);
  c->next.data = c;
  return c;
}

void pt_check_free(pt_check *c) {
  pt_check_pause(c);
  free(c);
}

void pt_check_pause(pt_check *c) {
  pt_probe_stop(&c->probe);
  ev_timer_stop(c->env->loop, &c->next);
}

void pt_check_configure(pt_check *c, const pt_backend_config *bc) {
  c->b.weight = bc->weight;
  c->b.draining = bc->drain;
  begin_round(c);
}

void pt_check_hint(pt_check *c) {
  if (c->b.up && !c->probe.running)
    begin_round(c);
}

void pt_check_resolve(pt_check *c) { ask(c); }

/* The address in use is kept while it is still one of them; another is used once it has passed a check. */
void pt_check_resolved(pt_check *c, const pt_resolved *r) {
  c->asking = false;
  if (!r->n) {
    pt_log_every(&c->told_why, PT_LOG_DEBUG, "health", "listener %s: backend %s: %s", c->env->lc->name, c->b.name, r->why);
    if (c->waiting)
      end_round(c, r->why);
    return;
  }
  memcpy(c->at, r->at, r->n * sizeof r->at[0]);
  c->nat = r->n;
  c->cur = 0;
  while (c->cur < c->nat && !same_address(&c->at[c->cur], &c->b.address))
    c->cur++;
  bool moved = c->cur == c->nat;
  if (moved)
    c->cur = 0;
  if (c->waiting) {
    c->waiting = false;
    c->addresses = c->nat - 1;
    probe(c);
  } else if (moved && c->b.up) {
    begin_round(c);
  }
}
