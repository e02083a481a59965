#include "net/hall.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "net/secure.h"

enum {
  NICE = 10 /* a tenth of the loop's weight */
};

typedef _Atomic(pt_secure *) line;

/* One thread pushes, another takes all there are. */
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

static void *run(void *arg) {
  pt_hall *h = arg;
  prctl(PR_SET_NAME, "puerta-hall");
  setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE); /* of this thread, in Linux */
  while (!atomic_load(&h->ended)) {
    pt_secure *next;
    sem_wait(&h->come);
    for (pt_secure *s = take(&h->waiting); s; s = next) {
      next = s->next;
      if (!atomic_load(&s->left) && !atomic_load(&h->ended))
        s->step = pt_tls_handshake(s->tls);
      push(&h->served, s);
      ev_async_send(h->loop, &h->back);
    }
  }
  return NULL;
}

/* Signals are for others. */
static bool start(pt_hall *h) {
  sigset_t all, was;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &was);
  h->running = !pthread_create(&h->thread, NULL, run, h);
  pthread_sigmask(SIG_SETMASK, &was, NULL);
  return h->running;
}

static void count(pt_hall *h, int by) {
  atomic_store_explicit(&h->n, atomic_load_explicit(&h->n, memory_order_relaxed) + (unsigned)by, memory_order_relaxed);
}

void pt_hall_enter(pt_hall *h, pt_secure *s) {
  if (!h->running && !start(h)) {
    pt_secure_stepped(s, pt_tls_handshake(s->tls));
    return;
  }
  s->away = true;
  count(h, 1);
  push(&h->waiting, s);
  sem_post(&h->come);
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

void pt_hall_init(pt_hall *h, struct ev_loop *loop) {
  *h = (pt_hall){.loop = loop};
  sem_init(&h->come, 0, 0);
  ev_async_init(&h->back, on_back);
  h->back.data = h;
  ev_async_start(loop, &h->back);
}

void pt_hall_free(pt_hall *h) {
  if (!h->loop)
    return;
  atomic_store(&h->ended, true);
  sem_post(&h->come);
  if (h->running)
    pthread_join(h->thread, NULL);
  ev_async_stop(h->loop, &h->back);
  on_back(h->loop, &h->back, 0);
  for (pt_secure *next, *s = take(&h->waiting); s; s = next) {
    next = s->next;
    pt_secure_free(s);
  }
  sem_destroy(&h->come);
}
