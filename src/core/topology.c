#include "core/topology.h"

#include <ev.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/asker.h"

enum {
  RETRY_MS = 500,
  GAP_MIN_MS = 100,
  GAP_MAX_MS = 2000,
  POLL_MAX_MS = 60000
};

/* What the asker has to hear of; the higher includes the lower. */
enum {
  NEWS_NONE,
  NEWS_HINT,
  NEWS_NODE,
  NEWS_CONFIG
};

struct pt_topology {
  atomic_int holders; /* control thread and asker; the last one frees */

  /* control thread */
  struct ev_loop *loop;
  pt_topology_publish *publish;
  void *arg;
  char *name; /* of the listener */
  uint64_t patience; /* its connect_timeout */
  pt_cluster *current;
  pthread_t thread;

  /* shared */
  int stop_fd, wake_fd; /* eventfds: readable for ever once stopping; readable when there is news */
  atomic_bool stopping;
  atomic_int news;
  pthread_mutex_t lock; /* held for moments; guards what follows, and no async is sent once stopping */
  ev_async async;
  pt_config *cfg; /* new, NULL: the asker has taken it */
  unsigned listener;
  pt_asker_node hint;
  pt_cluster *ready; /* to be published, NULL: none */

  /* asker */
  pt_asker asker;
  uint64_t ended, gap; /* ms: when the last round ended; from there to the next hinted one */
};

static void wake(int fd) {
  uint64_t one = 1;
  ssize_t n = write(fd, &one, sizeof one);
  (void)n; /* cannot fail but when it is readable anyway */
}

static void drop(pt_topology *t) {
  if (atomic_fetch_sub(&t->holders, 1) > 1)
    return;
  if (t->stop_fd >= 0)
    close(t->stop_fd);
  if (t->wake_fd >= 0)
    close(t->wake_fd);
  pt_asker_free(&t->asker);
  pt_config_unref(t->cfg);
  pt_cluster_unref(t->ready);
  pt_cluster_unref(t->current);
  pthread_mutex_destroy(&t->lock);
  free(t->name);
  free(t);
}

/* ---- the asker ---- */

/* Takes the news. Returns which. */
static int take_news(pt_topology *t, pt_asker_node *hint) {
  pthread_mutex_lock(&t->lock);
  pt_config *cfg = t->cfg;
  unsigned listener = t->listener;
  *hint = t->hint;
  t->cfg = NULL;
  t->hint.port = 0;
  int news = atomic_exchange(&t->news, NEWS_NONE);
  pthread_mutex_unlock(&t->lock);
  if (cfg && !pt_asker_configure(&t->asker, cfg, listener))
    pt_error("topology", "listener %s: out of memory, the seeds stay as they were", t->asker.lc->name);
  return news;
}

static void hand_over(pt_topology *t, pt_cluster *c) {
  pthread_mutex_lock(&t->lock);
  pt_cluster_unref(t->ready);
  t->ready = c;
  if (!t->stopping)
    ev_async_send(t->loop, &t->async);
  pthread_mutex_unlock(&t->lock);
}

/* least..most ms, at random. */
static uint64_t between(pt_topology *t, uint64_t least, uint64_t most) {
  return least + (uint64_t)rand_r(&t->asker.rng) % (most - least + 1);
}

/* Waits until it is time for a round. false: no more. */
static bool wait_for_turn(pt_topology *t) {
  struct pollfd p[2] = {{.fd = t->stop_fd, .events = POLLIN}, {.fd = t->wake_fd, .events = POLLIN}};
  const pt_cluster *last = t->asker.last;
  uint64_t soon = t->ended + between(t, t->gap, t->gap * 3 / 2), later = soon;
  if (!last)
    later = t->ended + between(t, RETRY_MS * 9 / 10, RETRY_MS * 11 / 10);
  else if (!t->asker.silent && last->nslots == PT_SLOTS)
    later = t->ended + between(t, t->asker.lc->slot_refresh * 9 / 10, t->asker.lc->slot_refresh * 11 / 10);
  while (!t->stopping) {
    int news = t->news;
    uint64_t due = news && soon < later ? soon : later, now = pt_now_ms(), drained;
    if (news == NEWS_CONFIG || now >= due)
      return true;
    poll(p, 2, due - now < POLL_MAX_MS ? (int)(due - now) : POLL_MAX_MS);
    if (p[1].revents && read(t->wake_fd, &drained, sizeof drained) < 0)
      continue;
  }
  return false;
}

static void ask_around(pt_topology *t) {
  pt_asker_node hint;
  if (pt_now_ms() - t->ended > 2 * GAP_MAX_MS)
    t->gap = GAP_MIN_MS; /* it was quiet */
  int news = take_news(t, &hint);
  bool changed = pt_asker_round(&t->asker, &hint, news == NEWS_CONFIG);
  if (changed)
    hand_over(t, pt_cluster_ref(t->asker.last));
  if (news == NEWS_NONE || news == NEWS_CONFIG)
    while (!t->stopping && !t->news && pt_asker_check_seed(&t->asker))
      ; /* the other seeds, for the log, until something more urgent comes */
  t->gap = changed ? GAP_MIN_MS : 2 * t->gap < GAP_MAX_MS ? 2 * t->gap : GAP_MAX_MS;
  t->ended = pt_now_ms();
}

static void *run(void *arg) {
  pt_topology *t = arg;
  pthread_setname_np(pthread_self(), "topology");
  while (wait_for_turn(t))
    ask_around(t);
  drop(t);
  return NULL;
}

/* ---- the control thread ---- */

static void on_ready(struct ev_loop *loop, ev_async *w, int events) {
  (void)loop;
  (void)events;
  pt_topology *t = w->data;
  pthread_mutex_lock(&t->lock);
  pt_cluster *c = t->ready;
  t->ready = NULL;
  pthread_mutex_unlock(&t->lock);
  if (!c)
    return;
  pt_cluster_unref(t->current);
  t->current = c;
  t->publish(t->arg, pt_cluster_ref(c)); /* may stop t */
}

/* Signals belong to the control thread, so the asker takes none. */
static bool start_thread(pt_topology *t) {
  sigset_t all, was;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &was);
  atomic_store(&t->holders, 2);
  bool started = !pthread_create(&t->thread, NULL, run, t);
  if (!started)
    atomic_store(&t->holders, 1);
  pthread_sigmask(SIG_SETMASK, &was, NULL);
  return started;
}

pt_topology *pt_topology_start(struct ev_loop *loop, pt_config *cfg, unsigned listener, pt_topology_publish *publish, void *arg) {
  pt_topology *t = calloc(1, sizeof *t);
  if (!t)
    return NULL;
  atomic_init(&t->holders, 1);
  atomic_init(&t->news, NEWS_CONFIG);
  pthread_mutex_init(&t->lock, NULL);
  t->loop = loop;
  t->publish = publish;
  t->arg = arg;
  t->name = strdup(cfg->listeners[listener].name);
  t->patience = cfg->listeners[listener].connect_timeout;
  t->gap = GAP_MIN_MS;
  t->stop_fd = t->asker.stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  t->asker.rng = (unsigned)(pt_now_ns() ^ (uint64_t)getpid() << 16);
  if (!pt_asker_configure(&t->asker, pt_config_ref(cfg), listener) || !t->name || t->stop_fd < 0 || t->wake_fd < 0)
    goto out;
  ev_async_init(&t->async, on_ready);
  t->async.data = t;
  ev_async_start(loop, &t->async);
  if (start_thread(t))
    return t;
  ev_async_stop(loop, &t->async);
out:
  drop(t);
  return NULL;
}

void pt_topology_reconfigure(pt_topology *t, pt_config *cfg) {
  unsigned i = 0;
  while (i < cfg->nlisteners && (cfg->listeners[i].kind != PT_LISTENER_REDIS || strcmp(cfg->listeners[i].name, t->name)))
    i++;
  if (i == cfg->nlisteners)
    return;
  t->patience = cfg->listeners[i].connect_timeout;
  pthread_mutex_lock(&t->lock);
  pt_config *old = t->cfg;
  t->cfg = pt_config_ref(cfg);
  t->listener = i;
  atomic_store(&t->news, NEWS_CONFIG);
  pthread_mutex_unlock(&t->lock);
  pt_config_unref(old);
  wake(t->wake_fd);
}

void pt_topology_hint(pt_topology *t, const char *host, uint16_t port) {
  int news = host && port ? NEWS_NODE : NEWS_HINT;
  if (t->news >= news)
    return;
  pthread_mutex_lock(&t->lock);
  bool first = t->news < news;
  if (first && news == NEWS_NODE) {
    snprintf(t->hint.host, sizeof t->hint.host, "%s", host);
    t->hint.port = port;
  }
  if (first)
    atomic_store(&t->news, news);
  pthread_mutex_unlock(&t->lock);
  if (first)
    wake(t->wake_fd);
}

pt_cluster *pt_topology_current(const pt_topology *t) { return t->current; }

void pt_topology_stop(pt_topology *t) {
  if (!t)
    return;
  pthread_mutex_lock(&t->lock);
  t->stopping = true;
  pthread_mutex_unlock(&t->lock);
  ev_async_stop(t->loop, &t->async);
  wake(t->stop_fd);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  uint64_t ns = (uint64_t)until.tv_nsec + t->patience % 1000 * 1000000;
  until.tv_sec += (time_t)(t->patience / 1000 + ns / 1000000000);
  until.tv_nsec = (long)(ns % 1000000000);
  if (pthread_timedjoin_np(t->thread, NULL, &until))
    pthread_detach(t->thread);
  drop(t);
}
