/* Where the handshakes of one event loop's clients are made: by a greeter, a thread beside the loops, oldest first, one step (about what a signature
 * costs) at a time, so that a storm of them keeps nobody waiting who is connected. Where it and a loop want one processor the loop has nine tenths of
 * it, and as a greeter has PT_LOOPS_PER_GREETER loops the others find a processor without one. It takes no lock that a loop waits for, but for the moments of malloc's.
 * The loop's thread calls. While somebody is in the hall his pt_tls and his socket are the greeter's, and nobody else touches them.
 */
#ifndef PT_NET_HALL_H
#define PT_NET_HALL_H

#include <ev.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "net/conn.h"

enum {
  PT_LOOPS_PER_GREETER = 2
};

typedef struct pt_greeter {
  pthread_t thread; /* from the first handshake on */
  pthread_mutex_t start; /* of loops only */
  atomic_bool running, ended;
  sem_t come; /* somebody waits, or it has ended */
  _Atomic(pt_secure *) waiting; /* from all its halls, the newest first */
} pt_greeter;

struct pt_hall {
  struct ev_loop *loop;
  pt_greeter *greeter;
  ev_async back; /* somebody has had a turn */
  _Atomic(pt_secure *) served; /* the newest first */
  /* any thread may look */
  atomic_uint n; /* that are in it */
  atomic_ullong full, resumed, failed; /* handshakes */
};

void pt_greeter_init(pt_greeter *g);
/* The loops have ended. Whoever waits goes back to his hall. */
void pt_greeter_end(pt_greeter *g);

/* greeter: outlives it */
void pt_hall_init(pt_hall *h, struct ev_loop *loop, pt_greeter *greeter);
/* Its greeter has ended; whoever was in it has left. */
void pt_hall_free(pt_hall *h);
/* The next step of its handshake is to be made: pt_secure_stepped follows, at once where there can be no thread. */
void pt_hall_enter(pt_hall *h, pt_secure *s);

#endif
