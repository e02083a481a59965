/* Where the handshakes of one event loop's clients are made: by a thread beside it, oldest first, one step (about what a signature costs) at a time, so
 * that a storm of them keeps nobody waiting who is connected. Where both want one processor the loop has nine tenths of it: the thread is NICE,
 * and holds no lock, so that the loop never waits for it.
 * The loop's thread calls. While somebody is in the hall his pt_tls and his socket are the hall's thread's, and nobody else touches them.
 */
#ifndef PT_NET_HALL_H
#define PT_NET_HALL_H

#include <ev.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "net/conn.h"

struct pt_hall {
  struct ev_loop *loop;
  pthread_t thread; /* from the first handshake on */
  bool running;
  sem_t come; /* somebody waits, or it has ended */
  ev_async back; /* somebody has had a turn */
  _Atomic(pt_secure *) waiting, served; /* the newest first */
  atomic_bool ended;
  /* any thread may look */
  atomic_uint n; /* that are in it */
  atomic_ullong full, resumed, failed; /* handshakes */
};

void pt_hall_init(pt_hall *h, struct ev_loop *loop);
/* The loop has ended; whoever was in it has left. */
void pt_hall_free(pt_hall *h);
/* The next step of its handshake is to be made: pt_secure_stepped follows, at once where there can be no thread. */
void pt_hall_enter(pt_hall *h, pt_secure *s);

#endif
