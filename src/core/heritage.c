#include "core/heritage.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pt_heir *pt_heritage_find(pt_heritage *h, const char *name, pt_listener_kind kind) {
  for (unsigned i = 0; h && i < h->n; i++)
    if (h->at[i].kind == kind && !strcmp(h->at[i].name, name))
      return &h->at[i];
  return NULL;
}

int pt_heritage_socket(pt_heritage *h, const pt_hostport *bind) {
  for (unsigned i = 0; h && i < h->n; i++) {
    pt_heir *l = &h->at[i];
    if (l->fd < 0 || l->bind.port != bind->port || strcmp(l->bind.host, bind->host) != 0)
      continue;
    int fd = l->fd;
    l->fd = -1;
    return fd;
  }
  return -1;
}

static void heir_free(pt_heir *l) {
  free(l->name);
  free(l->bind.host);
  if (l->fd >= 0)
    close(l->fd);
  if (l->table >= 0)
    close(l->table);
  for (unsigned i = 0; i < l->nbackends; i++)
    free(l->backends[i].name);
  for (unsigned i = 0; i < l->nnodes; i++)
    free(l->nodes[i].host);
  free(l->backends);
  free(l->nodes);
}

void pt_heritage_free(pt_heritage *h) {
  for (unsigned i = 0; h && i < h->n; i++)
    heir_free(&h->at[i]);
  if (h)
    free(h->at);
  free(h);
}
