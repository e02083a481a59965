#include "core/door.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

enum {
  ACCEPT_BURST = 64
};

static pt_worker *emptiest(pt_doors *d) {
  pt_worker *best = d->workers[0];
  for (unsigned i = 1; i < d->nworkers; i++)
    if (atomic_load(&d->workers[i]->connected) < atomic_load(&best->connected))
      best = d->workers[i];
  return best;
}

static void hand_over(pt_door *door, int fd, const pt_address *from) {
  pt_msg *m = calloc(1, sizeof *m);
  if (!m || pt_socket_tune(fd)) {
    close(fd);
    free(m);
    return;
  }
  pt_worker *w = emptiest(door->all);
  *m = (pt_msg){.kind = PT_MSG_CLIENT, .listener = door->listener, .fd = fd, .id = ++door->all->next_id, .from = *from};
  atomic_fetch_add(&w->connected, 1);
  pt_inbox_post(&w->inbox, m);
}

/* No descriptor, no memory: new clients wait in the kernel's queue for a moment. */
static void pause_all(pt_door *door, int error) {
  pt_doors *d = door->all;
  static pt_log_rate rate;
  pt_log_every(&rate, PT_LOG_ERROR, "accept", "%s: %s: new clients wait", door->name, strerror(error));
  for (unsigned i = 0; i < d->n; i++)
    ev_io_stop(d->loop, &d->doors[i].io);
  ev_timer_stop(d->loop, &d->pause);
  ev_timer_set(&d->pause, 0.1, 0.);
  ev_timer_start(d->loop, &d->pause);
}

static void on_pause(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  pt_doors *d = t->data;
  for (unsigned i = 0; i < d->n; i++)
    if (d->doors[i].open)
      pt_door_let_in(d, i);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop, (void)events;
  pt_door *door = io->data;
  for (unsigned i = 0; i < ACCEPT_BURST; i++) {
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
  pt_door *door = &d->doors[listener];
  if (door->io.fd < 0)
    return;
  door->open = true;
  if (!ev_is_active(&d->pause))
    ev_io_start(d->loop, &door->io);
}

static int listen_at(pt_door *door, const pt_listener_config *lc) {
  pt_address a;
  int fd = pt_address_parse(&a, lc->bind.host, lc->bind.port);
  if (fd == 0)
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

int pt_doors_open(pt_doors *d, struct ev_loop *loop, const pt_config *cfg) {
  d->loop = loop;
  d->doors = calloc(cfg->nlisteners, sizeof *d->doors);
  ev_timer_init(&d->pause, on_pause, 0.1, 0.);
  d->pause.data = d;
  if (!d->doors) {
    pt_error("listen", "out of memory");
    return -1;
  }
  for (; d->n < cfg->nlisteners; d->n++) {
    pt_door *door = &d->doors[d->n];
    const pt_listener_config *lc = &cfg->listeners[d->n];
    *door = (pt_door){.all = d, .listener = d->n, .name = strdup(lc->name)};
    ev_io_init(&door->io, on_accept, -1, EV_READ);
    door->io.data = door;
    if (!door->name || listen_at(door, lc)) {
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
    close(door->io.fd);
    door->io.fd = -1;
  }
}

void pt_doors_free(pt_doors *d) {
  pt_doors_close(d);
  for (unsigned i = 0; i < d->n; i++)
    free(d->doors[i].name);
  free(d->doors);
}
