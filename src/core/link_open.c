#include "core/link_open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/link_reply.h"
#include "net/address.h"

/* Appends one RESP bulk string; returns the new length (bounded by cap: the caller's buffer fits two credentials). */
static size_t bulk(char *out, size_t cap, size_t at, const char *s) {
  int n = snprintf(out + at, cap - at, "$%zu\r\n%s\r\n", strlen(s), s);
  return at + (size_t)n;
}

/* The first words on a connection, and how many replies they get. */
static size_t greeting(const pt_link *l, char *out, size_t cap, uint32_t *replies) {
  const pt_listener_config *lc = l->up->svc->lc;
  size_t n = 0;
  *replies = 0;
  if (lc->backend_password) {
    const char *user = lc->backend_user ? lc->backend_user : "default";
    n += (size_t)snprintf(out, cap, "*3\r\n");
    n = bulk(out, cap, n, "AUTH");
    n = bulk(out, cap, n, user);
    n = bulk(out, cap, n, lc->backend_password);
    ++*replies;
  }
  if (l->proto == 3) {
    n += (size_t)snprintf(out + n, cap - n, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n");
    ++*replies;
  }
  return n;
}

static void on_io(struct ev_loop *loop, ev_io *io, int events);

static void greet(pt_link *l) {
  char words[2048];
  size_t n = greeting(l, words, sizeof words, &l->setup);
  l->state = l->setup ? PT_LINK_SETUP : PT_LINK_READY;
  /* A fresh socket's buffer takes these few bytes whole. */
  if (n && send(l->io.fd, words, n, MSG_NOSIGNAL) != (ssize_t)n)
    pt_link_cut(l, "cannot send the greeting");
  else
    pt_link_flush(l);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events) {
  pt_link *l = io->data;
  if (l->state == PT_LINK_CONNECTING) {
    int e = pt_connect_error(io->fd);
    if (e) {
      pt_link_cut(l, strerror(-e));
      return;
    }
    ev_io_stop(loop, io);
    ev_io_set(io, io->fd, EV_READ);
    ev_io_start(loop, io);
    greet(l);
    return;
  }
  if (events & EV_WRITE) {
    ev_io_stop(loop, io);
    ev_io_set(io, io->fd, EV_READ);
    ev_io_start(loop, io);
    l->blocked = false;
    pt_link_flush(l);
  }
  if ((events & EV_READ) && l->state != PT_LINK_CLOSED)
    pt_link_read(l);
}

void pt_link_open(pt_link *l) {
  pt_address a;
  int fd = pt_address_parse(&a, l->up->host, l->up->port);
  if (fd == 0)
    fd = pt_connect(&a);
  if (fd < 0) {
    pt_link_cut(l, strerror(-fd));
    return;
  }
  l->state = PT_LINK_CONNECTING;
  ev_io_init(&l->io, on_io, fd, EV_WRITE);
  l->io.data = l;
  ev_io_start(l->up->svc->worker->loop, &l->io);
}
