#include "core/parcel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void post(pt_outbox *o, pt_parcel *p) {
  p->next = atomic_load(&o->newest);
  while (!atomic_compare_exchange_weak(&o->newest, &p->next, p))
    ;
  ev_async_send(o->loop, &o->wake);
}

pt_parcel *pt_parcel_new(size_t n) {
  pt_parcel *p = calloc(1, sizeof *p + n);
  for (unsigned i = 0; p && i < PT_UNIX_FDS; i++)
    p->fds[i] = -1;
  return p;
}

int pt_parcel_make(pt_parcel **out, uint16_t format, pt_ho_kind kind, const void *what, int fd, int other) {
  static _Thread_local uint8_t msg[PT_HO_MAX];
  const int from[PT_UNIX_FDS] = {fd, other};
  int n = pt_ho_write(msg, format, kind, what);
  if (n < 0)
    return n;
  pt_parcel *p = pt_parcel_new((size_t)n);
  if (!p)
    return -ENOMEM;
  for (unsigned i = 0; i < PT_UNIX_FDS && from[i] >= 0; i++)
    if ((p->fds[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 0)) < 0) {
      int e = -errno;
      pt_parcel_free(p);
      return e;
    }
  memcpy(p->bytes, msg, p->n = (uint32_t)n);
  *out = p;
  return 0;
}

int pt_outbox_send(pt_outbox *o, uint32_t round, pt_ho_kind kind, const void *what, int fd, int other) {
  pt_parcel *p;
  int e = pt_parcel_make(&p, o->format, kind, what, fd, other);
  if (e)
    return e;
  p->round = round;
  post(o, p);
  return 0;
}

int pt_outbox_end(pt_outbox *o, uint32_t round, uint32_t left) {
  pt_parcel *p = pt_parcel_new(0);
  if (!p)
    return -ENOMEM;
  p->round = round;
  p->last = true;
  p->left = left;
  post(o, p);
  return 0;
}

pt_parcel *pt_outbox_take(pt_outbox *o) {
  pt_parcel *newest = atomic_exchange(&o->newest, NULL), *oldest = NULL;
  while (newest) {
    pt_parcel *p = newest;
    newest = p->next;
    p->next = oldest;
    oldest = p;
  }
  return oldest;
}

void pt_parcel_free(pt_parcel *p) {
  for (unsigned i = 0; i < PT_UNIX_FDS; i++)
    if (p->fds[i] >= 0)
      close(p->fds[i]);
  free(p);
}
