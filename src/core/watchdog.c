#include "core/watchdog.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/log.h"

enum {
  LOOK_MS = 20
};

struct pt_watchdog {
  pthread_t thread;
  pt_worker **workers;
  unsigned n;
  atomic_ullong warn_ms, abort_ms;
  atomic_bool stop;
  struct seen {
    uint64_t since; /* the entry into the policy seen last */
    unsigned looks; /* how often: the watchdog's own time, which stops when the whole process does */
    bool warned;
  } seen[]; /* per worker */
};

static void look(pt_watchdog *d, unsigned i) {
  static pt_log_rate rate; /* a request can make a policy slow */
  pt_worker *w = d->workers[i];
  struct seen *s = &d->seen[i];
  uint64_t since = atomic_load_explicit(&w->in_lua, memory_order_acquire);
  if (!since || since != s->since) {
    *s = (struct seen){.since = since};
    return;
  }
  uint64_t ms = (uint64_t)++s->looks * LOOK_MS, limit = atomic_load(&d->abort_ms);
  const char *name = atomic_load_explicit(&w->lua_name, memory_order_relaxed);
  if (ms >= atomic_load(&d->warn_ms) && !s->warned) {
    s->warned = true;
    pt_log_every(&rate, PT_LOG_WARN, "watchdog", "worker %u has been in policy %s for %llu ms", i, name, (unsigned long long)ms);
  }
  if (limit && ms >= limit) {
    pt_error("watchdog", "worker %u has been in policy %s for %llu ms: aborting", i, name, (unsigned long long)ms);
    pt_log_flush(1000);
    abort();
  }
}

static void *run(void *arg) {
  pt_watchdog *d = arg;
  struct timespec t = {0, LOOK_MS * PT_NS_PER_MS};
  prctl(PR_SET_NAME, "puerta-watchdog");
  while (!atomic_load(&d->stop)) {
    for (unsigned i = 0; i < d->n; i++)
      look(d, i);
    nanosleep(&t, NULL);
  }
  return NULL;
}

pt_watchdog *pt_watchdog_start(pt_worker **workers, unsigned n, uint64_t warn_ms, uint64_t abort_ms) {
  pt_watchdog *d = calloc(1, sizeof *d + n * sizeof *d->seen);
  sigset_t all, was;
  if (!d)
    return NULL;
  d->workers = workers;
  d->n = n;
  pt_watchdog_limits(d, warn_ms, abort_ms);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &was);
  int e = pthread_create(&d->thread, NULL, run, d);
  pthread_sigmask(SIG_SETMASK, &was, NULL);
  if (e) {
    free(d);
    return NULL;
  }
  return d;
}

void pt_watchdog_limits(pt_watchdog *d, uint64_t warn_ms, uint64_t abort_ms) {
  atomic_store(&d->warn_ms, warn_ms);
  atomic_store(&d->abort_ms, abort_ms);
}

void pt_watchdog_stop(pt_watchdog *d) {
  if (!d)
    return;
  atomic_store(&d->stop, true);
  pthread_join(d->thread, NULL);
  free(d);
}
