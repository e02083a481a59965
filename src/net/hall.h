/* Where handshakes of one event loop wait for their turn, so that a storm of them does not starve those that are connected. Oldest first; one step
 * (about what a signature costs) at a time: whenever nothing else is to be done, and, when there always is, after a pause of three times what the
 * last step took: they get a quarter of a busy thread's time. The loop's thread.
 */
#ifndef PT_NET_HALL_H
#define PT_NET_HALL_H

#include <ev.h>
#include <stdatomic.h>

#include "net/conn.h"

struct pt_hall {
  struct ev_loop *loop;
  ev_idle idle;
  ev_timer turn;
  pt_secure *first, *last;
  uint64_t pause; /* ns: ends then */
  /* any thread may look */
  atomic_uint n; /* that wait */
  atomic_ullong full, resumed, failed; /* handshakes */
};

void pt_hall_init(pt_hall *h, struct ev_loop *loop);
/* All have left. */
void pt_hall_free(pt_hall *h);
void pt_hall_enter(pt_hall *h, pt_secure *s);
void pt_hall_leave(pt_hall *h, pt_secure *s);

#endif
