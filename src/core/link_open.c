/* Opening a link: connect, AUTH, HELLO 3, PING; requests wait in the log until the node has agreed to all. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "core/link.h"
#include "core/upstream.h"

static void on_io(struct ev_loop *loop, ev_io *io, int events);

/* Appends one command of up to three words. Returns the new length; cap fits what the schema allows for credentials. */
static size_t command(char *out, size_t cap, size_t at, const char *a, const char *b, const char *c) {
  const char *words[3] = {a, b, c};
  unsigned n = c ? 3 : b ? 2 : 1;
  at += (size_t)snprintf(out + at, cap - at, "*%u\r\n", n);
  for (unsigned i = 0; i < n; i++)
    at += (size_t)snprintf(out + at, cap - at, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
  return at;
}

static void greet(pt_link *l) {
  const pt_listener_config *lc = l->up->svc->lc;
  char words[4096];
  size_t n = 0;
  l->setup = 1;
  if (lc->backend_password) {
    n = lc->backend_user ? command(words, sizeof words, n, "AUTH", lc->backend_user, lc->backend_password)
                         : command(words, sizeof words, n, "AUTH", lc->backend_password, NULL);
    l->setup++;
  }
  if (l->proto == 3) {
    n = command(words, sizeof words, n, "HELLO", "3", NULL);
    l->setup++;
  }
  n = command(words, sizeof words, n, "PING", NULL, NULL);
  l->state = PT_LINK_SETUP;
  struct iovec iov = {words, n};
  ssize_t put = pt_conn_write(&l->conn, &iov, 1);
  explicit_bzero(words, n);
  if (put != (ssize_t)n) { /* a fresh socket's buffer takes these few bytes whole */
    pt_upstream_trip(l->up, put < 0 ? pt_conn_error(&l->conn, (int)put) : "cannot send the greeting");
    pt_link_cut(l, l->up->reason);
  }
}

/* Whom a node's certificate has to name. */
static const char *name_of(const pt_upstream *up) {
  const pt_cluster *c = up->svc->cluster;
  return c && up->node != PT_NODE_NONE ? c->nodes[up->node].name : up->host;
}

void pt_link_open(pt_link *l) {
  pt_address a;
  struct ev_loop *loop = l->up->svc->worker->loop;
  pt_tls_context *tls = l->up->svc->lc->backend_tls;
  l->opened = l->up->svc->worker->now;
  int fd = pt_address_parse(&a, l->up->host, l->up->port);
  if (fd == 0)
    fd = pt_connect(&a);
  if (fd < 0 && pt_connect_ours(fd)) { /* that says nothing of the node: requests try again as long as they may */
    static pt_log_rate rate;
    pt_log_every(&rate, PT_LOG_ERROR, "limit", "no connection to node %s:%u: %s here", l->up->host, l->up->port, strerror(-fd));
    pt_link_cut(l, strerror(-fd));
    return;
  }
  if (fd < 0) {
    pt_upstream_trip(l->up, fd == -EINVAL ? "its name is not resolved" : strerror(-fd));
    pt_link_cut(l, l->up->reason);
    return;
  }
  l->state = PT_LINK_CONNECTING;
  pt_conn_open(&l->conn, loop, fd, EV_WRITE, on_io, l);
  if (tls && pt_conn_connect_tls(&l->conn, loop, tls, name_of(l->up), NULL, 0))
    pt_link_cut(l, "out of memory");
}

static void on_io(struct ev_loop *loop, ev_io *io, int events) {
  pt_link *l = io->data;
  l->up->svc->worker->events++;
  if (l->state == PT_LINK_CONNECTING) {
    int e = pt_conn_connected(&l->conn);
    if (e) {
      pt_upstream_trip(l->up, pt_conn_error(&l->conn, e));
      pt_link_cut(l, l->up->reason);
      return;
    }
    pt_conn_watch(&l->conn, loop, EV_READ);
    greet(l);
    return;
  }
  if (events & EV_READ)
    pt_link_read(l);
  if ((events & EV_WRITE) && l->state == PT_LINK_READY) {
    l->blocked = false;
    pt_conn_watch(&l->conn, loop, EV_READ);
    if (pt_link_write_later(l))
      pt_link_flush(l);
  }
}
