#include "core/policy.h"

#include <stdlib.h>

#include "base/crc16.h"

typedef struct c_policy {
  pt_request batch[PT_BATCH];
  pt_policy base;
  pt_view view;
  int16_t none[PT_SLOTS]; /* what the view shows before the core points it elsewhere */
} c_policy;

enum {
  NODE_NONE = 0x7fff
};

static void route(pt_policy *p, unsigned n) {
  const pt_view *v = p->view;
  for (unsigned i = 0; i < n; i++) {
    pt_request *r = &p->batch[i];
    int node = r->slot < PT_SLOTS ? v->owner[r->slot] : NODE_NONE;
    r->node = (int16_t)(node < (int)v->nnodes ? node : PT_ROUTE_DEFAULT);
  }
  p->calls += n;
}

static void destroy(pt_policy *p) { free((char *)p - offsetof(c_policy, base)); }

pt_policy *pt_policy_c(void) {
  c_policy *c = aligned_alloc(64, (sizeof *c + 63) & ~(size_t)63);
  if (!c)
    return NULL;
  *c = (c_policy){.base = {.name = "c", .batch = c->batch, .view = &c->view, .route = route, .free = destroy}};
  for (unsigned i = 0; i < PT_SLOTS; i++)
    c->none[i] = NODE_NONE;
  c->view.owner = c->none;
  return &c->base;
}
