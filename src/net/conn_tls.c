/* The TLS side of a conn: what the socket is watched for is what TLS needs for what the owner watches. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "net/address.h"
#include "net/hall.h"
#include "net/secure.h"

static int socket_event(int poll_event) { return poll_event == POLLOUT ? EV_WRITE : EV_READ; }

static int waits(const pt_secure *s, pt_tls_act act) { return socket_event(pt_tls_waits(s->tls, act)); }

/* What the socket is watched for. */
static void apply(pt_secure *s) {
  int events = 0;
  if (s->state == PT_SECURE_CONNECTING)
    events = EV_WRITE;
  else if (s->state == PT_SECURE_SHAKING && !s->away)
    events = waits(s, PT_TLS_HANDSHAKE);
  else if (s->state == PT_SECURE_OPEN)
    events = (s->wanted & EV_READ ? waits(s, PT_TLS_READ) : 0) | (s->wanted & EV_WRITE ? waits(s, PT_TLS_WRITE) : 0);
  pt_conn_watch_socket(s->conn, s->loop, events);
}

/* There is something to read that the socket does not tell of. */
static bool holds(const pt_secure *s) {
  return s->state == PT_SECURE_FAILED || (s->state == PT_SECURE_OPEN && pt_tls_pending(s->tls));
}

/* In the next turn, so that one that has much does not keep the others waiting. */
static void read_later(pt_secure *s) {
  if (s->state < PT_SECURE_OPEN || ev_is_active(&s->timer) || !(s->wanted & EV_READ) || !holds(s))
    return;
  ev_timer_set(&s->timer, 0., 0.);
  ev_timer_start(s->loop, &s->timer);
}

void pt_secure_watch(pt_secure *s, int events) {
  s->wanted = (uint8_t)events;
  apply(s);
  read_later(s);
}

/* ---- the handshake ---- */

/* One writer. */
static void count(atomic_ullong *cell) {
  atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* It has ended: the owner may go on, or hears why not. May free s. */
static void finish(pt_secure *s, int e) {
  ev_timer_stop(s->loop, &s->timer);
  if (s->hall)
    count(e ? &s->hall->failed : pt_tls_resumed(s->tls) ? &s->hall->resumed : &s->hall->full);
  s->state = e ? PT_SECURE_FAILED : PT_SECURE_OPEN;
  s->failed = e;
  apply(s);
  int events = s->wanted & (EV_WRITE | (holds(s) ? EV_READ : 0));
  if (events)
    s->ready(s->loop, &s->conn->io, events);
}

void pt_secure_stepped(pt_secure *s, int e) {
  if (s->state != PT_SECURE_SHAKING) /* it was too late */
    return;
  if (e == -EAGAIN)
    apply(s);
  else
    finish(s, e);
}

static void on_connected(pt_secure *s) {
  int fd = s->conn->io.fd, e = pt_connect_error(fd);
  if (!e && s->nfirst && send(fd, s->first, s->nfirst, MSG_NOSIGNAL) != (ssize_t)s->nfirst)
    e = -EPIPE; /* a fresh socket's buffer takes these few bytes whole */
  if (!e && !(s->tls = pt_tls_new(s->ctx, fd, s->name)))
    e = -ENOMEM;
  if (e) {
    finish(s, e);
    return;
  }
  s->state = PT_SECURE_SHAKING;
  pt_secure_stepped(s, pt_tls_handshake(s->tls));
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int events) {
  (void)events;
  pt_secure *s = t->data;
  if (s->state < PT_SECURE_OPEN) {
    s->late = true;
    finish(s, -ETIMEDOUT);
  } else if ((s->wanted & EV_READ) && holds(s)) {
    s->ready(loop, &s->conn->io, EV_READ);
  }
}

static void on_io(struct ev_loop *loop, ev_io *io, int events) {
  pt_secure *s = ((pt_conn *)io)->tls;
  if (s->state == PT_SECURE_CONNECTING) {
    on_connected(s);
  } else if (s->state == PT_SECURE_SHAKING && s->hall) {
    pt_conn_watch_socket(s->conn, loop, 0);
    pt_hall_enter(s->hall, s);
  } else if (s->state == PT_SECURE_SHAKING) {
    pt_secure_stepped(s, pt_tls_handshake(s->tls));
  } else if (s->state == PT_SECURE_OPEN) {
    int told = (events & waits(s, PT_TLS_READ) ? EV_READ : 0) | (events & waits(s, PT_TLS_WRITE) ? EV_WRITE : 0);
    if (told & s->wanted)
      s->ready(loop, io, told & s->wanted);
  }
}

/* ---- opening and closing ---- */

static pt_secure *attach(pt_conn *c, struct ev_loop *loop, pt_tls_context *ctx) {
  pt_secure *s = calloc(1, sizeof *s);
  if (!s)
    return NULL;
  s->conn = c;
  s->fd = -1;
  s->loop = loop;
  s->ctx = pt_tls_context_ref(ctx);
  s->ready = ev_cb(&c->io);
  s->wanted = (uint8_t)pt_conn_watched(c);
  ev_timer_init(&s->timer, on_timer, 0., 0.);
  s->timer.data = s;
  return s;
}

void pt_secure_free(pt_secure *s) {
  ev_timer_stop(s->loop, &s->timer);
  pt_tls_free(s->tls);
  pt_tls_context_unref(s->ctx);
  free(s->name);
  free(s->first);
  if (s->fd >= 0)
    close(s->fd);
  free(s);
}

static void start(pt_secure *s) {
  s->conn->tls = s;
  ev_set_cb(&s->conn->io, on_io);
  apply(s);
}

int pt_conn_accept_tls(pt_conn *c, struct ev_loop *loop, pt_tls_context *ctx, pt_hall *hall) {
  pt_secure *s = attach(c, loop, ctx);
  if (!s)
    return -ENOMEM;
  s->hall = hall;
  s->state = PT_SECURE_SHAKING;
  if (!(s->tls = pt_tls_new(ctx, c->io.fd, NULL))) {
    pt_secure_free(s);
    return -ENOMEM;
  }
  ev_timer_set(&s->timer, (double)pt_tls_context_patience(ctx) / 1e3, 0.);
  ev_timer_start(loop, &s->timer);
  start(s);
  return 0;
}

int pt_conn_connect_tls(pt_conn *c, struct ev_loop *loop, pt_tls_context *ctx, const char *name, const void *first, size_t n) {
  pt_secure *s = attach(c, loop, ctx);
  if (!s)
    return -ENOMEM;
  if ((name && !(s->name = strdup(name))) || (n && !(s->first = malloc(n)))) {
    pt_secure_free(s);
    return -ENOMEM;
  }
  if (n)
    memcpy(s->first, first, s->nfirst = n);
  start(s);
  return 0;
}

void pt_secure_close(pt_secure *s) {
  if (s->state == PT_SECURE_OPEN)
    pt_tls_end(s->tls);
  s->fd = s->conn->io.fd;
  s->conn->tls = NULL;
  if (!s->away) {
    pt_secure_free(s);
    return;
  }
  ev_timer_stop(s->loop, &s->timer);
  shutdown(s->fd, SHUT_RDWR); /* its number has to stay taken while the hall's thread uses it */
  atomic_store(&s->left, true);
}

/* ---- bytes ---- */

ssize_t pt_secure_read(pt_secure *s, void *out, size_t n) {
  if (s->state != PT_SECURE_OPEN)
    return s->state == PT_SECURE_FAILED ? s->failed : -EAGAIN;
  int before = waits(s, PT_TLS_READ);
  ssize_t got = pt_tls_read(s->tls, out, n);
  if (waits(s, PT_TLS_READ) != before)
    apply(s);
  read_later(s);
  return got;
}

ssize_t pt_secure_write(pt_secure *s, const struct iovec *iov, unsigned n) {
  if (s->state != PT_SECURE_OPEN)
    return s->state == PT_SECURE_FAILED ? s->failed : -EAGAIN;
  int before = waits(s, PT_TLS_WRITE);
  ssize_t put = pt_tls_write(s->tls, iov, n);
  if (waits(s, PT_TLS_WRITE) != before)
    apply(s);
  return put;
}

void pt_secure_end(pt_secure *s) {
  if (s->state == PT_SECURE_OPEN)
    pt_tls_end(s->tls);
}

/* ---- how it went ---- */

int pt_secure_connected(const pt_secure *s) { return s->state < PT_SECURE_OPEN ? -EAGAIN : s->failed; }

const char *pt_secure_error(const pt_secure *s, int e) {
  static __thread char text[PT_TLS_WHY];
  const char *why = s->late ? "its TLS handshake takes too long" : s->tls ? pt_tls_why(s->tls) : "";
  strcpy(text, *why ? why : "");
  return *text ? text : strerror(-e);
}

void pt_conn_blame(const pt_conn *c, int e, const char *who, const char *peer) {
  static pt_log_rate rate;
  if (c->tls && (e == -EPROTO || e == -ETIMEDOUT))
    pt_log_every(&rate, PT_LOG_WARN, "tls", "%s: %s: %s", who, peer, pt_secure_error(c->tls, e));
}
