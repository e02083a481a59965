#include "core/asker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/ask.h"

enum {
  KNOWN_ASKED = 3,
  REASON = 200,
  NO_SEED = -1,
  SLOW_LOOKUP_MS = 1000,
  LOOKUPS = 16
};

struct pt_asker_seed {
  char trouble[REASON]; /* as reported; "": none */
  pt_log_rate told[2]; /* bad, good */
  bool asked; /* in this round */
};

/* Somebody to ask. */
typedef struct target {
  pt_asker_node node;
  int seed; /* index of the seed it is, or NO_SEED */
} target;

/* ---- one node ---- */

/* Logs what became of a seed, when that changed. reason: "" when it answered. What the rate leaves out is told in a later round. */
static void report(pt_asker *a, int seed, const char *name, const char *reason) {
  char *was = a->seeds[seed].trouble;
  if (!strcmp(was, reason))
    return;
  if (!pt_log_may(&a->seeds[seed].told[!*reason]))
    return;
  snprintf(was, REASON, "%s", reason);
  if (*reason)
    pt_warn("topology", "listener %s: seed %s: %s", a->lc->name, name, reason);
  else
    pt_info("topology", "listener %s: seed %s answers again", a->lc->name, name);
}

/* The name it goes by, which an address of the last snapshot does not tell. */
static const char *name_of(const pt_asker *a, const pt_asker_node *n) {
  int k = a->last ? pt_cluster_find(a->last, n->host, n->port) : PT_NODE_NONE;
  return k == PT_NODE_NONE ? n->host : a->last->nodes[k].name;
}

/* Its view, NULL: none. */
static pt_cluster *ask(pt_asker *a, const target *to, pt_address *from) {
  char reason[REASON] = "", name[300];
  pt_cluster *view = NULL;
  if (to->seed != NO_SEED)
    a->seeds[to->seed].asked = true;
  int e = pt_ask_cluster(a->lc, to->node.host, to->node.port, name_of(a, &to->node), a->stop, &view, from, reason, sizeof reason);
  if (e == -ECANCELED) {
    a->stopped = true;
    return NULL;
  }
  snprintf(name, sizeof name, strchr(to->node.host, ':') ? "[%s]:%u" : "%s:%u", to->node.host, to->node.port);
  if (to->seed != NO_SEED)
    report(a, to->seed, name, reason);
  else if (e)
    pt_log_every(&a->told_node, PT_LOG_DEBUG, "topology", "listener %s: node %s: %s", a->lc->name, name, reason);
  return view;
}

/* ---- whom to ask ---- */

/* Appends a target, or tells the one already there which seed it is. */
static void add(target *list, unsigned *n, const char *host, uint16_t port, int seed) {
  for (unsigned i = 0; i < *n; i++)
    if (list[i].node.port == port && !strcmp(list[i].node.host, host)) {
      if (list[i].seed == NO_SEED)
        list[i].seed = seed;
      return;
    }
  target *to = &list[(*n)++];
  snprintf(to->node.host, sizeof to->node.host, "%s", host);
  to->node.port = port;
  to->seed = seed;
}

static void add_seeds(const pt_asker *a, target *list, unsigned *n) {
  for (unsigned i = 0; i < a->lc->nnodes; i++)
    add(list, n, a->lc->nodes[i].host, a->lc->nodes[i].port, (int)i);
}

static void add_known(pt_asker *a, target *list, unsigned *n) {
  unsigned from = (unsigned)rand_r(&a->rng), left = KNOWN_ASKED;
  for (unsigned i = 0; a->last && i < a->last->nnodes && left; i++) {
    const pt_cluster_node *node = &a->last->nodes[(from + i) % a->last->nnodes];
    if (!node->healthy)
      continue;
    add(list, n, node->host, node->port, NO_SEED);
    left--;
  }
}

static void add_hint(const pt_asker *a, target *list, unsigned *n, const pt_asker_node *hint) {
  const char *host = hint->host;
  uint16_t port = hint->port;
  for (unsigned i = 0; port && i < a->lc->nremap; i++) {
    const pt_remap *m = &a->lc->remap[i];
    if (m->from.port != port || strcmp(m->from.host, host))
      continue;
    host = m->to.host;
    port = m->to.port;
    break;
  }
  if (port)
    add(list, n, host, port, NO_SEED);
}

/* Allocates the list of *n targets. */
static target *list_targets(pt_asker *a, const pt_asker_node *hint, bool seeds_first, unsigned *n) {
  target *list = malloc((2 + KNOWN_ASKED + a->lc->nnodes) * sizeof *list);
  *n = 0;
  if (!list)
    return NULL;
  if (seeds_first)
    add_seeds(a, list, n);
  add_hint(a, list, n, hint);
  if (a->answered.port)
    add(list, n, a->answered.host, a->answered.port, NO_SEED);
  add_known(a, list, n);
  add_seeds(a, list, n);
  return list;
}

/* ---- what counts ---- */

/* Replaces names by addresses. A name keeps the address it had while that is one of its addresses, or while the name service fails. */
static void resolve(pt_asker *a, pt_cluster *c) {
  bool dead = false; /* the name service: do not wait for it once a node */
  for (unsigned i = 0; i < c->nnodes; i++) {
    pt_cluster_node *node = &c->nodes[i];
    pt_address found[LOOKUPS];
    char reason[REASON] = "not looked up", host[PT_ADDRESS_TEXT];
    if (!pt_address_parse(found, node->host, node->port))
      continue;
    int k = a->last ? pt_cluster_find(a->last, node->name, node->port) : PT_NODE_NONE;
    const char *had = k == PT_NODE_NONE ? "" : a->last->nodes[k].host, *now = had;
    uint64_t began = pt_now_ms();
    unsigned n = dead ? 0 : pt_ask_resolve(node->host, node->port, found, LOOKUPS, reason, sizeof reason);
    dead |= !n && pt_now_ms() - began > SLOW_LOOKUP_MS;
    for (unsigned f = n; f-- > 0;) {
      now = pt_address_host(&found[f], host, sizeof host);
      if (!strcmp(now, had))
        break;
    }
    if (n || !pt_address_parse(found, had, node->port)) {
      snprintf(node->host, sizeof node->host, "%s", now);
      continue;
    }
    node->healthy = false;
    pt_log_every(&a->told_node, PT_LOG_DEBUG, "topology", "listener %s: node %s: %s", a->lc->name, node->name, reason);
  }
}

/* Makes a view the last one when it says something else. Takes it over. */
static bool settle(pt_asker *a, pt_cluster *view, const pt_address *from) {
  char asked[PT_ADDRESS_TEXT];
  unsigned masters = 0;
  resolve(a, view);
  if (!(view = pt_cluster_arrange(view)))
    return false;
  if (a->last && (pt_cluster_same(view, a->last) || (!view->nslots && a->last->nslots))) {
    pt_cluster_unref(view);
    return false;
  }
  view->generation = a->last ? a->last->generation + 1 : 1;
  pt_cluster_unref(a->last);
  a->last = view;
  while (masters < view->nnodes && !view->nodes[masters].replica)
    masters++;
  pt_log_every(&a->told, PT_LOG_INFO, "topology",
               "listener %s: %u masters, %u replicas, %u of %u slots, asked %s, generation %llu", a->lc->name, masters,
               view->nnodes - masters, view->nslots, (unsigned)PT_SLOTS, pt_address_format(from, asked, sizeof asked),
               (unsigned long long)view->generation);
  return true;
}

/* Notes who answered and logs when nobody does any more (from: NULL), or somebody does again. */
static void note_answer(pt_asker *a, const pt_address *from) {
  bool silent = !from;
  if (from) {
    pt_address_host(from, a->answered.host, sizeof a->answered.host);
    a->answered.port = pt_address_port(from);
  }
  a->silent = silent;
  if (silent == a->told_silent || !pt_log_may(&a->told_answer[silent]))
    return;
  a->told_silent = silent;
  if (!silent)
    pt_info("topology", "listener %s: the cluster answers", a->lc->name);
  else
    pt_warn("topology", "listener %s: nobody answers, %s", a->lc->name,
            a->last ? "the last topology stays" : "asking again and again");
}

/* ---- the round ---- */

bool pt_asker_round(pt_asker *a, const pt_asker_node *hint, bool seeds_first) {
  unsigned n, want = a->last ? a->last->nslots : PT_SLOTS;
  target *list = list_targets(a, hint, seeds_first, &n);
  pt_cluster *best = NULL;
  pt_address from, best_from;
  for (unsigned i = 0; i < a->lc->nnodes; i++)
    a->seeds[i].asked = false;
  for (unsigned i = 0; i < n && !a->stopped && !(best && best->nslots >= want); i++) {
    pt_cluster *view = ask(a, &list[i], &from);
    if (!view || (best && view->nslots <= best->nslots)) {
      pt_cluster_unref(view);
      continue;
    }
    pt_cluster_unref(best);
    best = view;
    best_from = from;
  }
  free(list);
  if (a->stopped) {
    pt_cluster_unref(best);
    return false;
  }
  note_answer(a, best ? &best_from : NULL);
  return best && settle(a, best, &best_from);
}

bool pt_asker_check_seed(pt_asker *a) {
  for (unsigned i = 0; i < a->lc->nnodes && !a->stopped; i++) {
    if (a->seeds[i].asked)
      continue;
    target to = {.node.port = a->lc->nodes[i].port, .seed = (int)i};
    snprintf(to.node.host, sizeof to.node.host, "%s", a->lc->nodes[i].host);
    pt_address from;
    pt_cluster_unref(ask(a, &to, &from));
    return true;
  }
  return false;
}

bool pt_asker_configure(pt_asker *a, pt_config *cfg, unsigned listener) {
  pt_asker_seed *seeds = calloc(cfg->listeners[listener].nnodes + 1, sizeof *seeds);
  if (!seeds) {
    pt_config_unref(cfg);
    return false;
  }
  pt_config_unref(a->cfg);
  free(a->seeds);
  a->cfg = cfg;
  a->lc = &cfg->listeners[listener];
  a->seeds = seeds;
  return true;
}

void pt_asker_free(pt_asker *a) {
  pt_config_unref(a->cfg);
  pt_cluster_unref(a->last);
  free(a->seeds);
}
