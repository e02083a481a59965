#include "core/meter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  NODES_MAX = 4096, /* names of nodes come from the cluster: it is not trusted to have few */
  EVERY = 61 /* a prime: calls that come in turns are all met */
};

const char *const pt_work_names[PT_WORKS] = {"other", "read", "write", "fan", "cursor", "transaction", "hello", "auth"};

void pt_meter_init(pt_meter *m) {
  pthread_mutex_init(&m->slow_lock, NULL);
  m->sample_every = 1;
}

void pt_meter_free(pt_meter *m) {
  for (pt_node_meter *n = atomic_load(&m->nodes), *next; n; n = next) {
    next = n->next;
    free(n);
  }
  pthread_mutex_destroy(&m->slow_lock);
}

uint64_t pt_histogram_bound(unsigned i) {
  if (i == 0 || i >= PT_BUCKETS - 1)
    return i ? UINT64_MAX : 16;
  uint64_t octave = UINT64_C(16) << ((i - 1) / 2);
  return i % 2 ? octave + octave / 2 : octave * 2;
}

pt_node_meter *pt_meter_node(pt_meter *m, const char *name) {
  pt_node_meter *first = atomic_load_explicit(&m->nodes, memory_order_relaxed), *n = first;
  while (n && strcmp(n->name, name))
    n = n->next;
  if (n || m->nnodes >= NODES_MAX || !(n = calloc(1, sizeof *n)))
    return n;
  snprintf(n->name, sizeof n->name, "%s", name);
  n->next = first;
  m->nnodes++;
  atomic_store_explicit(&m->nodes, n, memory_order_release);
  return n;
}

/* The sample stands for all calls since the last one. */
void pt_meter_sampled(pt_meter *m, uint64_t ns) {
  pt_count_add(&m->policy_ns, ns * m->sample_every);
  m->sample_every = EVERY;
  m->sample_in = EVERY - 1;
}

void pt_meter_slow(pt_meter *m, const char *command, int slot, const char *node, uint32_t us) {
  struct timespec now;
  if (pthread_mutex_trylock(&m->slow_lock))
    return;
  clock_gettime(CLOCK_REALTIME, &now);
  pt_slow_entry *s = &m->slow[m->nslow++ % PT_SLOW_MAX];
  *s = (pt_slow_entry){.at_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, .us = us, .slot = slot};
  snprintf(s->command, sizeof s->command, "%.*s", (int)sizeof s->command - 1, command);
  snprintf(s->node, sizeof s->node, "%.*s", (int)sizeof s->node - 1, node);
  pthread_mutex_unlock(&m->slow_lock);
}

unsigned pt_meter_slowest(pt_meter *m, pt_slow_entry out[PT_SLOW_MAX]) {
  pthread_mutex_lock(&m->slow_lock);
  unsigned n = m->nslow < PT_SLOW_MAX ? m->nslow : PT_SLOW_MAX;
  for (unsigned i = 0; i < n; i++)
    out[i] = m->slow[(m->nslow - 1 - i) % PT_SLOW_MAX];
  pthread_mutex_unlock(&m->slow_lock);
  return n;
}
