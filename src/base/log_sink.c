#include "base/log_sink.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/log.h"

enum {
  PATIENCE_MS = 1000
};

/* ---- the queue: many writers, one reader ---- */

static bool push(pt_log_sink *s, pt_log_line *line) {
  size_t at = atomic_load_explicit(&s->tail, memory_order_relaxed);
  for (;;) {
    pt_log_cell *c = &s->cells[at % PT_LOG_QUEUE];
    size_t turn = atomic_load_explicit(&c->turn, memory_order_acquire);
    if (turn == at) {
      if (atomic_compare_exchange_weak_explicit(&s->tail, &at, at + 1, memory_order_relaxed, memory_order_relaxed)) {
        c->line = line;
        atomic_store_explicit(&c->turn, at + 1, memory_order_release);
        return true;
      }
    } else if ((ptrdiff_t)(turn - at) < 0) {
      return false;
    } else {
      at = atomic_load_explicit(&s->tail, memory_order_relaxed);
    }
  }
}

static pt_log_line *pop(pt_log_sink *s) {
  size_t at = atomic_load_explicit(&s->head, memory_order_relaxed);
  pt_log_cell *c = &s->cells[at % PT_LOG_QUEUE];
  if (atomic_load_explicit(&c->turn, memory_order_acquire) != at + 1)
    return NULL;
  pt_log_line *line = c->line;
  atomic_store_explicit(&c->turn, at + PT_LOG_QUEUE, memory_order_release);
  return line;
}

/* ---- the last lines ---- */

/* Takes the line over; it lives at least until PT_LOG_TAIL more have come. */
static void keep(pt_log_sink *s, pt_log_line *line) {
  pthread_mutex_lock(&s->keep);
  pt_log_line **place = &s->kept[s->nkept++ % PT_LOG_TAIL];
  pt_log_line *old = *place;
  *place = line;
  pthread_mutex_unlock(&s->keep);
  free(old);
}

size_t pt_log_sink_tail(pt_log_sink *s, char *out, size_t cap) {
  char line[PT_LOG_LINE];
  size_t n = 0;
  if (cap < 3)
    return 0;
  pthread_mutex_lock(&s->keep);
  /* From the newest backwards, growing down from the end of out; then moved to its beginning. */
  size_t at = cap - 2; /* "]" and NUL */
  unsigned long long have = s->nkept < PT_LOG_TAIL ? s->nkept : PT_LOG_TAIL;
  for (unsigned long long i = 1; i <= have; i++) {
    size_t len = pt_log_line_write(s->kept[(s->nkept - i) % PT_LOG_TAIL], PT_FORM_JSON, line) - 1; /* without its newline */
    if (at < len + 2)
      break;
    if (i > 1)
      out[--at] = ',';
    memcpy(out + (at -= len), line, len);
  }
  pthread_mutex_unlock(&s->keep);
  n = cap - 2 - at;
  memmove(out + 1, out + at, n);
  out[0] = '[';
  memcpy(out + 1 + n, "]", 2);
  return n + 2;
}

/* ---- writing ---- */

static bool switches(pt_log_sink *s) {
  pt_log_target *t = atomic_exchange(&s->next, NULL);
  if (!t)
    return false;
  pt_log_target_free(s->target);
  s->target = t;
  return true;
}

static bool no_news(void *arg) {
  pt_log_sink *s = arg;
  return !atomic_load(&s->next) && !atomic_load(&s->stopping);
}

static bool write_line(pt_log_sink *s, const pt_log_line *line, int patience) {
  static pt_log_target standard = {.kind = PT_LOG_STDERR, .fd = 2};
  int e;
  do {
    switches(s);
    bool waits = patience == INT_MAX && !atomic_load(&s->stopping);
    e = pt_log_target_write(s->target ? s->target : &standard, line, atomic_load(&s->json), waits ? patience : PATIENCE_MS,
                            waits ? no_news : NULL, s);
  } while (e == -ECANCELED);
  if (e)
    atomic_fetch_add(&s->lost, 1);
  return !e;
}

/* At most once a second: a full disk takes this line no better than the others. */
static void tell_lost(pt_log_sink *s, int patience) {
  enum {
    ROOM = 80
  };
  unsigned long long lost = atomic_load(&s->lost);
  uint64_t now = lost > s->told ? pt_now_ns() : 0;
  pt_log_line *l = now && now >= s->tell_after ? malloc(sizeof *l + ROOM) : NULL;
  if (!l)
    return;
  s->tell_after = now + 1000000000u;
  *l = (pt_log_line){.level = PT_LOG_WARN, .event = "log"};
  clock_gettime(CLOCK_REALTIME, &l->at);
  snprintf(l->msg, ROOM, "%llu lines were lost: they could not be written", lost - s->told);
  if (write_line(s, l, patience))
    s->told = lost;
  keep(s, l);
}

static void deliver(pt_log_sink *s, pt_log_line *line, int patience) {
  tell_lost(s, patience);
  keep(s, line);
  write_line(s, line, patience);
}

static void *run(void *arg) {
  pt_log_sink *s = arg;
  pt_log_line *line;
  prctl(PR_SET_NAME, "puerta-log");
  for (;;) {
    while (sem_wait(&s->wake) && errno == EINTR)
      ;
    switches(s);
    while ((line = pop(s))) {
      deliver(s, line, INT_MAX);
      atomic_fetch_add_explicit(&s->head, 1, memory_order_release);
    }
    if (atomic_load(&s->stopping)) {
      s->tell_after = 0;
      tell_lost(s, PATIENCE_MS);
      return NULL;
    }
  }
}

void pt_log_sink_put(pt_log_sink *s, pt_log_line *line) {
  if (!line) {
    atomic_fetch_add(&s->lost, 1);
  } else if (!atomic_load_explicit(&s->threaded, memory_order_acquire)) {
    write_line(s, line, PATIENCE_MS);
    keep(s, line);
  } else if (push(s, line)) {
    sem_post(&s->wake);
  } else {
    free(line);
    atomic_fetch_add(&s->lost, 1);
  }
}

void pt_log_sink_use(pt_log_sink *s, pt_log_target *t) {
  pt_log_target_free(atomic_exchange(&s->next, t));
  if (atomic_load(&s->threaded))
    sem_post(&s->wake);
  else
    switches(s);
}

/* ---- life ---- */

int pt_log_sink_start(pt_log_sink *s) {
  sigset_t all, was;
  for (size_t i = 0; i < PT_LOG_QUEUE; i++)
    atomic_store_explicit(&s->cells[i].turn, i, memory_order_relaxed);
  atomic_store(&s->head, 0);
  atomic_store(&s->tail, 0);
  atomic_store(&s->stopping, false);
  if (sem_init(&s->wake, 0, 0))
    return -errno;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &was);
  int e = pthread_create(&s->thread, NULL, run, s);
  pthread_sigmask(SIG_SETMASK, &was, NULL);
  if (e) {
    sem_destroy(&s->wake);
    return -e;
  }
  atomic_store_explicit(&s->threaded, true, memory_order_release);
  return 0;
}

void pt_log_sink_stop(pt_log_sink *s) {
  struct timespec end;
  if (!atomic_load(&s->threaded))
    return;
  atomic_store(&s->stopping, true);
  sem_post(&s->wake);
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += 2 * PATIENCE_MS / 1000;
  if (pthread_timedjoin_np(s->thread, NULL, &end)) {
    pthread_detach(s->thread); /* it is in a write that does not end: what is in the queue goes with the process */
    return;
  }
  atomic_store(&s->threaded, false);
  sem_destroy(&s->wake);
}

void pt_log_sink_flush(pt_log_sink *s, unsigned ms) {
  size_t until = atomic_load(&s->tail);
  struct timespec moment = {0, 1000000};
  for (; atomic_load(&s->threaded) && (ptrdiff_t)(atomic_load_explicit(&s->head, memory_order_acquire) - until) < 0 && ms; ms--)
    nanosleep(&moment, NULL);
}
