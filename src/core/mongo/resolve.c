#include "core/mongo/resolve.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/ask.h"

/* A question, later its answer. */
typedef struct job {
  struct job *next;
  char host[256];
  uint16_t port;
  pt_resolved found;
} job;

typedef struct queue {
  job *first, **end;
} queue;

struct pt_resolver {
  pthread_mutex_t lock; /* guards all of it; not held during a lookup */
  pthread_cond_t asked;
  unsigned holders; /* owner and thread; the last one frees */
  bool running, stopped;
  queue questions, answers;
  pt_resolver_ready *ready;
  void *arg;
};

static void put(queue *q, job *j) {
  j->next = NULL;
  *q->end = j;
  q->end = &j->next;
}

static job *get(queue *q) {
  job *j = q->first;
  if (j && !(q->first = j->next))
    q->end = &q->first;
  return j;
}

/* Called locked. */
static void drop(pt_resolver *r) {
  unsigned left = --r->holders;
  pthread_mutex_unlock(&r->lock);
  if (left)
    return;
  for (job *j; (j = get(&r->questions)) || (j = get(&r->answers));)
    free(j);
  pthread_cond_destroy(&r->asked);
  pthread_mutex_destroy(&r->lock);
  free(r);
}

static void *run(void *arg) {
  pt_resolver *r = arg;
  pthread_setname_np(pthread_self(), "resolver");
  pthread_mutex_lock(&r->lock);
  while (!r->stopped) {
    job *j = get(&r->questions);
    if (!j) {
      pthread_cond_wait(&r->asked, &r->lock);
      continue;
    }
    pthread_mutex_unlock(&r->lock);
    j->found.n = pt_ask_resolve(j->host, j->port, j->found.at, PT_RESOLVED_MAX, j->found.why, sizeof j->found.why);
    pthread_mutex_lock(&r->lock);
    put(&r->answers, j);
    if (!r->stopped)
      r->ready(r->arg);
  }
  drop(r);
  return NULL;
}

pt_resolver *pt_resolver_new(pt_resolver_ready *ready, void *arg) {
  pt_resolver *r = calloc(1, sizeof *r);
  if (!r)
    return NULL;
  pthread_mutex_init(&r->lock, NULL);
  pthread_cond_init(&r->asked, NULL);
  r->holders = 1;
  r->questions.end = &r->questions.first;
  r->answers.end = &r->answers.first;
  r->ready = ready;
  r->arg = arg;
  return r;
}

/* Signals belong to the control thread. */
static bool start_thread(pt_resolver *r) {
  sigset_t all, was;
  pthread_t thread;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &was);
  bool started = !pthread_create(&thread, NULL, run, r);
  pthread_sigmask(SIG_SETMASK, &was, NULL);
  if (started)
    pthread_detach(thread);
  return started;
}

int pt_resolver_ask(pt_resolver *r, uint32_t id, const char *host, uint16_t port) {
  job *j = calloc(1, sizeof *j);
  if (!j)
    return -ENOMEM;
  snprintf(j->host, sizeof j->host, "%s", host);
  j->port = port;
  j->found.id = id;
  pthread_mutex_lock(&r->lock);
  if (!r->running && (r->running = start_thread(r)))
    r->holders++;
  bool running = r->running;
  if (running) {
    put(&r->questions, j);
    pthread_cond_signal(&r->asked);
  }
  pthread_mutex_unlock(&r->lock);
  if (!running)
    free(j);
  return running ? 0 : -EAGAIN;
}

bool pt_resolver_take(pt_resolver *r, pt_resolved *out) {
  pthread_mutex_lock(&r->lock);
  job *j = get(&r->answers);
  pthread_mutex_unlock(&r->lock);
  if (j)
    *out = j->found;
  free(j);
  return j != NULL;
}

void pt_resolver_stop(pt_resolver *r) {
  if (!r)
    return;
  pthread_mutex_lock(&r->lock);
  r->stopped = true;
  pthread_cond_signal(&r->asked);
  drop(r);
}
