#include "core/door.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

enum {
  HALL_MAX = 256, /* handshakes that may wait in each worker */
  HALL_MS = 5, /* then those outside do */
  ACCEPT_BURST = 64
};

static pt_worker *emptiest(pt_doors *d) {
  pt_worker *best = d->workers[0];
  for (unsigned i = 1; i < d->nworkers; i++)
    if (atomic_load(&d->workers[i]->connected) < atomic_load(&best->connected))
      best = d->workers[i];
  return best;
}

unsigned pt_doors_clients(const pt_doors *d) {
  unsigned n = 0;
  for (unsigned i = 0; i < d->nworkers; i++)
    n += atomic_load_explicit(&d->workers[i]->connected, memory_order_relaxed);
  return n;
}

unsigned pt_door_clients(const pt_door *door) {
  unsigned n = 0;
  for (unsigned i = 0; i < door->all->nworkers; i++)
    n += atomic_load_explicit(&door->all->workers[i]->connected_to[door->listener], memory_order_relaxed);
  return n;
}

static void post(pt_door *door, pt_msg *m) {
  pt_worker *w = emptiest(door->all);
  atomic_fetch_add(&w->connected, 1);
  atomic_fetch_add(&w->connected_to[door->listener], 1);
  pt_inbox_post(&w->inbox, m);
}

static void hand_over(pt_door *door, int fd, const pt_address *from) {
  pt_source *source = NULL;
  pt_limit limit = pt_admit(door, fd, from, &source);
  pt_msg *m = limit == PT_LIMIT_NONE ? calloc(1, sizeof *m) : NULL;
  if (!m) {
    pt_source_leave(source);
    pt_admit_refuse(door, limit ? limit : PT_LIMIT_MEMORY, fd, from);
    return;
  }
  if (pt_socket_tune(fd)) {
    pt_source_leave(source);
    close(fd);
    free(m);
    return;
  }
  *m = (pt_msg){
      .kind = PT_MSG_CLIENT, .listener = door->listener, .fd = fd, .id = ++door->all->next_id, .from = *from, .source = source};
  post(door, m);
}

void pt_door_pass_on(pt_door *door, pt_msg *m) {
  pt_address from = {.len = sizeof from.in6};
  if (!getpeername(m->parcel->fds[0], &from.sa, &from.len))
    m->source = pt_admit_arrived(door, &from);
  post(door, m);
}

/* Accepts when it is open and nothing makes it wait. */
static void settle(pt_door *door) {
  struct ev_loop *loop = door->all->loop;
  if (door->io.fd < 0)
    return;
  if (door->open && !door->all->resting && !ev_is_active(&door->all->pause) && !ev_is_active(&door->wait))
    ev_io_start(loop, &door->io);
  else
    ev_io_stop(loop, &door->io);
}

static void on_wait(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  settle(t->data);
}

static void wait_for(pt_door *door, double seconds) {
  ev_timer_set(&door->wait, seconds, 0.);
  ev_timer_start(door->all->loop, &door->wait);
  settle(door);
}

/* Handshakes wait in every worker: who wants one more waits outside, in the kernel's queue. */
static bool crowded(const pt_door *door) {
  const pt_doors *d = door->all;
  if (!d->cfg->listeners[door->listener].tls)
    return false;
  for (unsigned i = 0; i < d->nworkers; i++)
    if (atomic_load_explicit(&d->workers[i]->hall.n, memory_order_relaxed) < HALL_MAX)
      return false;
  return true;
}

/* accept_rate: one more may come in now; else the door waits. */
static bool in_time(pt_door *door) {
  pt_doors *d = door->all;
  if (crowded(door)) {
    wait_for(door, HALL_MS / 1e3);
    return false;
  }
  unsigned rate = d->cfg->accept_rate, own = d->cfg->listeners[door->listener].accept_rate;
  if (!rate && !own)
    return true;
  uint64_t now = pt_now_ns(), all = pt_bucket_wait(&d->rate, rate, now), mine = pt_bucket_wait(&door->rate, own, now);
  if (!all && !mine) {
    pt_bucket_take(&d->rate);
    pt_bucket_take(&door->rate);
    return true;
  }
  pt_log_every(&door->waits, PT_LOG_WARN, "limit", "%s: more than accept_rate = %u new clients a second%s: they wait", door->name,
               all > mine ? rate : own, all > mine ? " in all" : "");
  double seconds = (double)(all > mine ? all : mine) / 1e9;
  wait_for(door, seconds > 0.001 ? seconds : 0.001);
  return false;
}

/* No descriptor, no memory: new clients wait in the kernel's queue for a moment. */
static void pause_all(pt_door *door, int error) {
  pt_doors *d = door->all;
  static pt_log_rate rate;
  pt_log_every(&rate, PT_LOG_ERROR, "accept", "%s: %s: new clients wait", door->name, strerror(error));
  ev_timer_stop(d->loop, &d->pause);
  ev_timer_set(&d->pause, 0.1, 0.);
  ev_timer_start(d->loop, &d->pause);
  for (unsigned i = 0; i < d->n; i++)
    settle(&d->doors[i]);
}

static void on_pause(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  pt_doors *d = t->data;
  for (unsigned i = 0; i < d->n; i++)
    settle(&d->doors[i]);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop, (void)events;
  pt_door *door = io->data;
  struct rlimit files;
  door->all->files = getrlimit(RLIMIT_NOFILE, &files) ? ULLONG_MAX : files.rlim_cur;
  for (unsigned i = 0; i < ACCEPT_BURST && in_time(door); i++) {
    pt_address from = {.len = sizeof from.in6};
    int fd = accept4(io->fd, &from.sa, &from.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      hand_over(door, fd, &from);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      pause_all(door, errno);
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

void pt_door_let_in(pt_doors *d, unsigned listener) {
  d->doors[listener].open = true;
  settle(&d->doors[listener]);
}

void pt_doors_rest(pt_doors *d) {
  d->resting = true;
  for (unsigned i = 0; i < d->n; i++)
    settle(&d->doors[i]);
}

void pt_doors_wake(pt_doors *d) {
  d->resting = false;
  for (unsigned i = 0; i < d->n; i++)
    settle(&d->doors[i]);
}

void pt_doors_configure(pt_doors *d, const pt_config *cfg) { d->cfg = cfg; }

static int listen_at(pt_door *door, const pt_listener_config *lc, pt_heritage *from) {
  pt_address a;
  int e = pt_address_parse(&a, lc->bind.host, lc->bind.port), fd = e ? e : pt_heritage_socket(from, &lc->bind);
  if (!e && fd < 0)
    fd = pt_listen(&a, (int)lc->backlog);
  if (fd < 0) {
    pt_error("listen", "%s: listener \"%s\": cannot bind %s:%u: %s", lc->where, lc->name, lc->bind.host, lc->bind.port,
             fd == -EINVAL ? "bind needs a numeric address" : strerror(-fd));
    return -1;
  }
  ev_io_set(&door->io, fd, EV_READ);
  pt_info("listen", "%s: %s:%u", lc->name, lc->bind.host, lc->bind.port);
  return 0;
}
int pt_doors_open(pt_doors *d, struct ev_loop *loop, const pt_config *cfg, pt_heritage *from) {
  uint64_t seed;
  d->loop = loop;
  d->cfg = cfg;
  d->doors = calloc(cfg->nlisteners, sizeof *d->doors);
  ev_timer_init(&d->pause, on_pause, 0.1, 0.);
  d->pause.data = d;
  if (!d->doors || pt_random(&seed, sizeof seed)) {
    pt_error("listen", "out of memory, or of random bytes");
    return -1;
  }
  for (; d->n < cfg->nlisteners; d->n++) {
    pt_door *door = &d->doors[d->n];
    const pt_listener_config *lc = &cfg->listeners[d->n];
    *door = (pt_door){.all = d, .listener = d->n, .name = strdup(lc->name)};
    door->admission.sources = pt_sources_new(seed + d->n);
    ev_io_init(&door->io, on_accept, -1, EV_READ);
    ev_timer_init(&door->wait, on_wait, 0., 0.);
    door->io.data = door->wait.data = door;
    if (!door->name || !door->admission.sources || listen_at(door, lc, from)) {
      pt_sources_free(door->admission.sources);
      free(door->name);
      return -1;
    }
  }
  return 0;
}

void pt_doors_close(pt_doors *d) {
  for (unsigned i = 0; i < d->n; i++) {
    pt_door *door = &d->doors[i];
    if (door->io.fd < 0)
      continue;
    ev_io_stop(d->loop, &door->io);
    ev_timer_stop(d->loop, &door->wait);
    close(door->io.fd);
    door->io.fd = -1;
  }
}

void pt_doors_free(pt_doors *d) {
  pt_doors_close(d);
  for (unsigned i = 0; i < d->n; i++) {
    pt_sources_free(d->doors[i].admission.sources);
    free(d->doors[i].name);
  }
  free(d->doors);
}
