#include "core/cluster.h"

#include <stdlib.h>
#include <string.h>

pt_cluster *pt_cluster_ref(pt_cluster *c) {
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

void pt_cluster_unref(pt_cluster *c) {
  if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
    free(c);
}

static int in_order(const void *a, const void *b, void *arg) {
  const pt_cluster *c = arg;
  int16_t i = *(const int16_t *)a, k = *(const int16_t *)b;
  const pt_cluster_node *x = &c->nodes[i], *y = &c->nodes[k];
  int d = x->replica - y->replica;
  if (!d)
    d = strcmp(x->host, y->host);
  if (!d)
    d = x->port - y->port;
  return d ? d : i - k;
}

pt_cluster *pt_cluster_arrange(pt_cluster *c) {
  int16_t from[PT_MAX_NODES], to[PT_MAX_NODES];
  pt_cluster *s = calloc(1, sizeof *s + c->nnodes * sizeof s->nodes[0]);
  if (!s)
    goto out;
  atomic_init(&s->refs, 1);
  s->generation = c->generation;
  s->nnodes = c->nnodes;
  for (unsigned i = 0; i < c->nnodes; i++)
    from[i] = (int16_t)i;
  qsort_r(from, c->nnodes, sizeof from[0], in_order, c);
  for (unsigned i = 0; i < c->nnodes; i++)
    to[from[i]] = (int16_t)i;
  for (unsigned i = 0; i < c->nnodes; i++) {
    pt_cluster_node *n = &s->nodes[i];
    *n = c->nodes[from[i]];
    n->master = to[n->master];
    n->nslots = 0;
    n->nreplicas = 0;
    memset(n->replicas, 0, sizeof n->replicas);
    pt_cluster_node *m = &s->nodes[n->master]; /* stands before its replicas */
    if (n->replica && m->nreplicas < PT_MAX_REPLICAS)
      m->replicas[m->nreplicas++] = (int16_t)i;
  }
  for (unsigned i = 0; i < PT_SLOTS; i++) {
    s->owner[i] = c->owner[i] == PT_NODE_NONE ? PT_NODE_NONE : to[c->owner[i]];
    if (s->owner[i] == PT_NODE_NONE)
      continue;
    s->nodes[s->owner[i]].nslots++;
    s->nslots++;
  }
out:
  pt_cluster_unref(c);
  return s;
}

static int same_node(const pt_cluster_node *a, const pt_cluster_node *b) {
  return a->port == b->port && a->replica == b->replica && a->healthy == b->healthy && a->master == b->master &&
         !strcmp(a->host, b->host) && !strcmp(a->name, b->name) && !strcmp(a->zone, b->zone);
}

int pt_cluster_same(const pt_cluster *a, const pt_cluster *b) {
  if (a->nnodes != b->nnodes || memcmp(a->owner, b->owner, sizeof a->owner))
    return 0;
  for (unsigned i = 0; i < a->nnodes; i++)
    if (!same_node(&a->nodes[i], &b->nodes[i]))
      return 0;
  return 1;
}

int pt_cluster_find(const pt_cluster *c, const char *host, uint16_t port) {
  for (unsigned i = 0; i < c->nnodes; i++)
    if (c->nodes[i].port == port && (!strcmp(c->nodes[i].host, host) || !strcmp(c->nodes[i].name, host)))
      return (int)i;
  return PT_NODE_NONE;
}
