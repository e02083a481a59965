#include "core/inbox.h"

#include <stdlib.h>
#include <unistd.h>

void pt_inbox_post(pt_inbox *b, pt_msg *m) {
  m->next = atomic_load(&b->last);
  while (!atomic_compare_exchange_weak(&b->last, &m->next, m))
    ;
  ev_async_send(b->loop, &b->wake);
}

pt_msg *pt_inbox_take(pt_inbox *b) {
  pt_msg *newest = atomic_exchange(&b->last, NULL), *oldest = NULL;
  while (newest) {
    pt_msg *m = newest;
    newest = m->next;
    m->next = oldest;
    oldest = m;
  }
  return oldest;
}

void pt_policies_free(pt_listener_policy *p, unsigned n) {
  for (unsigned i = 0; p && i < n; i++) {
    if (p[i].route)
      p[i].route->free(p[i].route);
    if (p[i].affinity)
      p[i].affinity->free(p[i].affinity);
  }
  free(p);
}

void pt_msg_free(pt_msg *m) {
  if (m->kind == PT_MSG_CLIENT && m->fd >= 0)
    close(m->fd);
  pt_policies_free(m->policies, m->cfg ? m->cfg->nlisteners : 0);
  pt_config_unref(m->cfg);
  if (m->cluster)
    pt_cluster_unref(m->cluster);
  pt_backends_unref(m->backends);
  free(m->totals);
  if (m->parcel)
    pt_parcel_free(m->parcel);
  free(m);
}
