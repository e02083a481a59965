#include "core/mongo/backends.h"

#include <stdlib.h>
#include <string.h>

#include "base/sessions.h"

_Static_assert((int)PT_BACKEND_IDS == (int)PT_SESSION_BACKENDS, "every stable id fits into the session table");

pt_backends *pt_backends_new(unsigned n) {
  pt_backends *b = calloc(1, sizeof *b + n * sizeof b->at[0]);
  if (!b)
    return NULL;
  atomic_init(&b->refs, 1);
  b->n = n;
  return b;
}

pt_backends *pt_backends_ref(pt_backends *b) {
  atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
  return b;
}

void pt_backends_unref(pt_backends *b) {
  if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
    free(b);
}

int pt_backends_index(const pt_backends *b, uint32_t id) {
  for (unsigned i = 0; i < b->n; i++)
    if (b->at[i].id == id)
      return (int)i;
  return -1;
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* What holds for both. */
static void join(pt_server_hello *sum, const pt_server_hello *h) {
  sum->writable &= h->writable;
  sum->isdbgrid &= h->isdbgrid;
  sum->max_bson = least(sum->max_bson, h->max_bson);
  sum->max_message = least(sum->max_message, h->max_message);
  sum->max_batch = least(sum->max_batch, h->max_batch);
  sum->max_wire = least(sum->max_wire, h->max_wire);
  sum->min_wire = h->min_wire > sum->min_wire ? h->min_wire : sum->min_wire;
  sum->session_minutes = least(sum->session_minutes, h->session_minutes); /* -1 wins: no sessions */
  sum->compressors &= h->compressors;
}

void pt_backends_sum_up(pt_backends *b) {
  pt_server_hello sum;
  b->nup = 0;
  for (unsigned i = 0; i < b->n; i++) {
    const pt_server_hello *h = &b->at[i].hello;
    if (!b->at[i].up)
      continue;
    if (b->nup++)
      join(&sum, h);
    else
      sum = *h;
  }
  if (!b->nup)
    return;
  sum.has_topology_version = false; /* theirs, not ours */
  memset(sum.process_id, 0, sizeof sum.process_id);
  sum.counter = 0;
  sum.sasl_mechs[0] = 0;
  sum.min_wire = least(sum.min_wire, sum.max_wire); /* two that have no version in common: clients of the older one work */
  b->known = true;
  b->hello = sum;
}

bool pt_backends_same_view(const pt_server_hello *a, const pt_server_hello *b) {
  return a->writable == b->writable && a->isdbgrid == b->isdbgrid && a->max_bson == b->max_bson &&
         a->max_message == b->max_message && a->max_batch == b->max_batch && a->min_wire == b->min_wire &&
         a->max_wire == b->max_wire && a->session_minutes == b->session_minutes && a->compressors == b->compressors;
}

char *pt_backend_host(const char name[264], char out[264]) {
  size_t skip = name[0] == '[';
  snprintf(out, sizeof((pt_backend *)0)->name, "%s", name + skip);
  char *end = strrchr(out, ':');
  if (end)
    end[-(ptrdiff_t)skip] = 0; /* the bracket is right before it */
  return out;
}
