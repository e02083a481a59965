#include "net/hall.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "net/secure.h"

enum {
  NICE = 10 /* a tenth of the loop's weight */
};

typedef _Atomic(pt_secure *) line;

/* Some threads push, one takes all there are. */
static void push(line *l, pt_secure *s) {
  s->next = atomic_load_explicit(l, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(l, &s->next, s, memory_order_release, memory_order_relaxed))
    ;
}

/* The oldest first. */
static pt_secure *take(line *l) {
  pt_secure *oldest = NULL, *next;
  for (pt_secure *s = atomic_exchange_explicit(l, NULL, memory_order_acquire); s; s = next) {
    next = s->next;
    s->next = oldest;
    oldest = s;
  }
  return oldest;
}

static void serve(pt_greeter *g, pt_secure *s) {
  pt_hall *h = s->hall;
  if (!atomic_load(&s->left) && !atomic_load(&g->ended))
    s->step = pt_tls_handshake(s->tls);
  push(&h->served, s);
  ev_async_send(h->loop, &h->back);
}

static void *run(void *arg) {
  pt_greeter *g = arg;
  prctl(PR_SET_NAME, "puerta-greeter");
  setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE); /* of this thread, in Linux */
  while (!atomic_load(&g->ended)) {
    pt_secure *next;
    sem_wait(&g->come);
    for (pt_secure *s = take(&g->waiting); s; s = next) {
      next = s->next;
      serve(g, s);
    }
  }
  return NULL;
}

/* Signals are for others. */
static bool start(pt_greeter *g) {
  sigset_t all, was;
  pthread_mutex_lock(&g->start);
  if (!atomic_load(&g->running)) {
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    atomic_store(&g->running, !pthread_create(&g->thread, NULL, run, g));
    pthread_sigmask(SIG_SETMASK, &was, NULL);
  }
  pthread_mutex_unlock(&g->start);
  return atomic_load(&g->running);
}

void pt_greeter_init(pt_greeter *g) {
  *g = (pt_greeter){.start = PTHREAD_MUTEX_INITIALIZER};
  sem_init(&g->come, 0, 0);
}

void pt_greeter_end(pt_greeter *g) {
  atomic_store(&g->ended, true);
  sem_post(&g->come);
  if (atomic_load(&g->running))
    pthread_join(g->thread, NULL);
  for (pt_secure *next, *s = take(&g->waiting); s; s = next) {
    next = s->next;
    serve(g, s);
  }
  sem_destroy(&g->come);
}

static void count(pt_hall *h, int by) {
  atomic_store_explicit(&h->n, atomic_load_explicit(&h->n, memory_order_relaxed) + (unsigned)by, memory_order_relaxed);
}

void pt_hall_enter(pt_hall *h, pt_secure *s) {
  pt_greeter *g = h->greeter;
  if (!atomic_load(&g->running) && !start(g)) {
    pt_secure_stepped(s, pt_tls_handshake(s->tls));
    return;
  }
  s->away = true;
  count(h, 1);
  push(&g->waiting, s);
  sem_post(&g->come);
}

/* What one of them hears can make another of them leave. */
static void on_back(struct ev_loop *loop, ev_async *w, int events) {
  (void)loop, (void)events;
  pt_hall *h = w->data;
  pt_secure *next;
  for (pt_secure *s = take(&h->served); s; s = next) {
    next = s->next;
    s->away = false;
    count(h, -1);
    if (atomic_load(&s->left))
      pt_secure_free(s);
    else
      pt_secure_stepped(s, s->step);
  }
}

void pt_hall_init(pt_hall *h, struct ev_loop *loop, pt_greeter *greeter) {
  *h = (pt_hall){.loop = loop, .greeter = greeter};
  ev_async_init(&h->back, on_back);
  h->back.data = h;
  ev_async_start(loop, &h->back);
}

void pt_hall_free(pt_hall *h) {
  if (!h->loop)
    return;
  ev_async_stop(h->loop, &h->back);
  on_back(h->loop, &h->back, 0);
}
