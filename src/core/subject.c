#include "core/subject.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "core/mongo/mongo.h"
#include "core/topology.h"

/* Hands a copy of m to every worker; hold takes the reference each needs. */
static void tell(pt_subjects *s, pt_msg m, void (*hold)(const pt_msg *)) {
  for (unsigned i = 0; i < s->nworkers; i++) {
    pt_msg *copy = malloc(sizeof *copy);
    if (!copy) {
      pt_error("memory", "out of memory: worker %u keeps what it knows", i);
      continue;
    }
    *copy = m;
    hold(copy);
    pt_inbox_post(&s->workers[i]->inbox, copy);
  }
}

static void hold_cluster(const pt_msg *m) { pt_cluster_ref(m->cluster); }
static void hold_backends(const pt_msg *m) { pt_backends_ref(m->backends); }

static void on_topology(void *arg, pt_cluster *c) {
  pt_subject *about = arg;
  pt_subjects *s = about->all;
  tell(s, (pt_msg){.kind = PT_MSG_CLUSTER, .listener = about->listener, .fd = -1, .cluster = c}, hold_cluster);
  pt_cluster_unref(c);
  s->news(s->arg, about->listener);
}

/* What a backend held is lost when it has been away. */
static void forget_lost(pt_subject *about, const pt_backends *was, const pt_backends *is) {
  for (unsigned i = 0; was && i < was->n; i++) {
    int k = pt_backends_index(is, was->at[i].id);
    if (k < 0 || is->at[k].epoch != was->at[i].epoch)
      pt_sessions_forget_backend(about->mongo->sessions, was->at[i].id);
  }
}

static void on_health(void *arg, pt_backends *b) {
  pt_subject *about = arg;
  pt_subjects *s = about->all;
  forget_lost(about, about->mongo->last, b);
  tell(s, (pt_msg){.kind = PT_MSG_BACKENDS, .listener = about->listener, .fd = -1, .backends = b}, hold_backends);
  pt_backends_unref(about->mongo->last);
  about->mongo->last = b;
  s->news(s->arg, about->listener);
}

static void on_sweep(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  pt_subjects *s = t->data;
  for (unsigned i = 0; i < s->n; i++)
    if (s->at[i].mongo)
      pt_sessions_sweep(s->at[i].mongo->sessions, pt_now_ms());
}

/* The session table that the process before uses too; NULL: a new one is needed. */
static pt_sessions *inherit_table(pt_heir *from) {
  pt_sessions *t = NULL;
  if (!from || from->table < 0)
    return NULL;
  int e = pt_sessions_attach(from->table, &t);
  from->table = -1;
  if (e)
    pt_warn("upgrade", "%s: the session table cannot be taken over (%s): clients are placed anew", from->name, strerror(-e));
  return e ? NULL : t;
}

static int start_mongo(pt_subject *about, pt_config *cfg, pt_heir *from) {
  const pt_mongo_config *mc = cfg->listeners[about->listener].mongo;
  pt_mongo_shared *shared = about->mongo = calloc(1, sizeof *shared);
  if (!shared || pt_random(shared->process_id, sizeof shared->process_id) || pt_random(&shared->secret, sizeof shared->secret))
    return -ENOMEM;
  if (from) {
    memcpy(shared->process_id, from->process_id, sizeof shared->process_id);
    shared->secret = from->secret;
  }
  if ((shared->sessions = inherit_table(from)))
    pt_sessions_configure(shared->sessions, mc->max_sessions, mc->session_timeout);
  else
    shared->sessions = pt_sessions_new(mc->max_sessions, mc->session_timeout);
  if (!shared->sessions)
    return -ENOMEM;
  about->health = shared->health = pt_health_start(about->all->loop, cfg, about->listener, from, on_health, about);
  return about->health ? 0 : -ENOMEM;
}

static int start_redis(pt_subject *about, pt_config *cfg, const pt_heir *from) {
  about->topology = pt_topology_start(about->all->loop, cfg, about->listener, on_topology, about);
  if (about->topology && from && from->nnodes) /* seeds may have gone meanwhile */
    pt_topology_hint(about->topology, from->nodes[0].host, from->nodes[0].port);
  return about->topology ? 0 : -ENOMEM;
}

int pt_subjects_start(pt_subjects *s, pt_config *cfg, pt_heritage *from) {
  s->at = calloc(cfg->nlisteners, sizeof *s->at);
  if (!s->at)
    return -ENOMEM;
  for (; s->n < cfg->nlisteners; s->n++) {
    pt_subject *about = &s->at[s->n];
    *about = (pt_subject){.all = s, .listener = s->n};
    const pt_listener_config *lc = &cfg->listeners[s->n];
    pt_heir *heir = pt_heritage_find(from, lc->name, lc->kind);
    if (lc->kind == PT_LISTENER_MONGODB ? start_mongo(about, cfg, heir) : start_redis(about, cfg, heir)) {
      s->n++;
      return -ENOMEM;
    }
  }
  ev_timer_init(&s->sweep, on_sweep, 0.1, 0.1);
  s->sweep.data = s;
  ev_timer_start(s->loop, &s->sweep);
  return 0;
}

void pt_subjects_reconfigure(pt_subjects *s, pt_config *cfg) {
  for (unsigned i = 0; i < s->n; i++) {
    const pt_mongo_config *mc = cfg->listeners[i].mongo;
    if (s->at[i].mongo) {
      pt_sessions_configure(s->at[i].mongo->sessions, mc->max_sessions, mc->session_timeout);
      pt_health_reconfigure(s->at[i].health, cfg);
    } else {
      pt_topology_reconfigure(s->at[i].topology, cfg);
    }
  }
}

void pt_subjects_abandon(pt_subjects *s) {
  for (unsigned i = 0; i < s->n; i++)
    if (s->at[i].mongo)
      pt_sessions_abandon(s->at[i].mongo->sessions);
}

bool pt_subject_known(const pt_subject *s) {
  return s->mongo ? pt_health_current(s->health) != NULL : pt_topology_current(s->topology) != NULL;
}

static void sum_up(const pt_subjects *s, unsigned listener) {
  const char *name = "";
  unsigned long long messages = 0, lost = 0, retried = 0, refused = 0;
  for (unsigned i = 0; i < s->nworkers; i++) {
    const pt_mongo *m = s->workers[i]->mongos[listener];
    name = m->lc->name;
    messages += pt_counted(&m->meter.requests);
    lost += atomic_load(&m->n.lost);
    retried += atomic_load(&m->n.retried);
    refused += atomic_load(&m->n.refused);
  }
  pt_sessions_stats t = pt_sessions_stat(s->at[listener].mongo->sessions);
  pt_info("stop",
          "%s: %llu messages; %llu lost on a backend, %llu sent elsewhere, %llu refused; %llu clients, sessions and cursors "
          "remembered, %llu moved, "
          "%llu evicted",
          name, messages, lost, retried, refused, (unsigned long long)t.made, (unsigned long long)t.moved,
          (unsigned long long)t.evicted);
}

void pt_subjects_sum_up(const pt_subjects *s) {
  for (unsigned i = 0; i < s->n; i++)
    if (s->at[i].mongo && s->nworkers)
      sum_up(s, i);
}

void pt_subjects_free(pt_subjects *s) {
  if (ev_is_active(&s->sweep))
    ev_timer_stop(s->loop, &s->sweep);
  for (unsigned i = 0; i < s->n; i++) {
    pt_mongo_shared *shared = s->at[i].mongo;
    pt_topology_stop(s->at[i].topology);
    pt_health_stop(s->at[i].health);
    if (!shared)
      continue;
    if (shared->sessions)
      pt_sessions_free(shared->sessions);
    pt_backends_unref(shared->last);
    free(shared);
  }
  free(s->at);
}
