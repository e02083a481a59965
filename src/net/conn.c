#include "net/conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/address.h"
#include "net/secure.h"

enum {
  PIECES = 64 /* of one write */
};

void pt_conn_open(pt_conn *c, struct ev_loop *loop, int fd, int events, pt_conn_ready *ready, void *owner) {
  ev_io_init(&c->io, ready, fd, events);
  c->io.data = owner;
  c->tls = NULL;
  ev_io_start(loop, &c->io);
}

/* What the socket is watched for. */
static inline int watched(const pt_conn *c) { return ev_is_active(&c->io) ? c->io.events & (EV_READ | EV_WRITE) : 0; }

void pt_conn_watch_socket(pt_conn *c, struct ev_loop *loop, int events) {
  if (watched(c) == events)
    return;
  ev_io_stop(loop, &c->io);
  if (events) {
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(loop, &c->io);
  }
}

void pt_conn_watch(pt_conn *c, struct ev_loop *loop, int events) {
  if (c->tls)
    pt_secure_watch(c->tls, events);
  else
    pt_conn_watch_socket(c, loop, events);
}

int pt_conn_watched(const pt_conn *c) { return c->tls ? c->tls->wanted : watched(c); }

void pt_conn_close(pt_conn *c, struct ev_loop *loop) {
  if (c->io.fd < 0)
    return;
  ev_io_stop(loop, &c->io);
  if (c->tls)
    pt_secure_close(c->tls);
  else
    close(c->io.fd);
  c->io.fd = -1;
}

static inline ssize_t receive(int fd, void *out, size_t n, int flags) {
  ssize_t got;
  do
    got = recv(fd, out, n, flags);
  while (got < 0 && errno == EINTR);
  return got < 0 ? -errno : got;
}

ssize_t pt_conn_read(pt_conn *c, void *out, size_t n) {
  return c->tls ? pt_secure_read(c->tls, out, n) : receive(c->io.fd, out, n, 0);
}

ssize_t pt_conn_peek(pt_conn *c, void *out, size_t n) { return receive(c->io.fd, out, n, MSG_PEEK); }

ssize_t pt_conn_write(pt_conn *c, struct iovec *iov, unsigned n) {
  if (c->tls)
    return pt_secure_write(c->tls, iov, n);
  struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
  ssize_t put;
  do
    put = n == 1 ? send(c->io.fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL) : sendmsg(c->io.fd, &m, MSG_NOSIGNAL);
  while (put < 0 && errno == EINTR);
  return put < 0 ? -errno : put;
}

int pt_conn_send(pt_conn *c, pt_segq *q) {
  while (q->bytes) {
    struct iovec iov[PIECES];
    size_t total;
    unsigned pieces = pt_segq_iov(q, 0, iov, PIECES, &total);
    ssize_t n = pt_conn_write(c, iov, pieces);
    if (n < 0)
      return (int)n;
    pt_segq_drop(q, (uint64_t)n);
    if (n < (ssize_t)total)
      return -EAGAIN;
  }
  if (q->n || q->cap)
    pt_segq_clear(q);
  return 0;
}

size_t pt_conn_underway(const pt_conn *c) {
  int n;
  return ioctl(c->io.fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

void pt_conn_end(pt_conn *c) {
  if (c->tls)
    pt_secure_end(c->tls);
  shutdown(c->io.fd, SHUT_WR);
}

int pt_conn_connected(pt_conn *c) { return c->tls ? pt_secure_connected(c->tls) : pt_connect_error(c->io.fd); }

const char *pt_conn_error(const pt_conn *c, int e) { return c->tls ? pt_secure_error(c->tls, e) : strerror(-e); }
