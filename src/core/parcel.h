/* What a worker hands to the control thread while clients leave for another process: packed clients, and the end of a round. Posting never waits. */
#ifndef PT_CORE_PARCEL_H
#define PT_CORE_PARCEL_H

#include <ev.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/unix.h"
#include "wire/handover.h"

/* malloc'ed; fds belong to it. */
typedef struct pt_parcel {
  struct pt_parcel *next;
  int fds[PT_UNIX_FDS]; /* -1: none */
  uint32_t round;
  uint16_t format; /* of the message */
  bool last; /* no message: the worker has sent what it could in this round, and keeps `left` clients */
  uint32_t left;
  uint32_t n;
  uint8_t bytes[]; /* n of them: a handover message */
} pt_parcel;

typedef struct pt_outbox {
  _Atomic(pt_parcel *) newest;
  struct ev_loop *loop; /* of the control thread */
  ev_async wake;
  uint16_t format; /* of the messages */
  uint8_t takes[PT_HO_LISTENERS / 8]; /* bits: listeners whose clients may leave */
} pt_outbox;

/* Makes a message of that kind with copies of up to two descriptors (-1: none). 0, -EMSGSIZE: it does not fit, or -errno. Any thread. */
int pt_parcel_make(pt_parcel **out, uint16_t format, pt_ho_kind kind, const void *what, int fd, int other);
/* Makes one and posts it. */
int pt_outbox_send(pt_outbox *o, uint32_t round, pt_ho_kind kind, const void *what, int fd, int other);
/* The round of this worker has ended. 0 or -ENOMEM. */
int pt_outbox_end(pt_outbox *o, uint32_t round, uint32_t left);
static inline bool pt_outbox_takes(const pt_outbox *o, unsigned listener) {
  return listener < PT_HO_LISTENERS && o->takes[listener / 8] >> listener % 8 & 1;
}
/* The control thread: all parcels, oldest first; NULL: none. */
pt_parcel *pt_outbox_take(pt_outbox *o);
/* An empty one for a message of n bytes. NULL: no memory. */
pt_parcel *pt_parcel_new(size_t n);
void pt_parcel_free(pt_parcel *p);

#endif
