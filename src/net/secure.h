/* Between conn.c, conn_tls.c and hall.c. */
#ifndef PT_NET_SECURE_H
#define PT_NET_SECURE_H

#include <stdatomic.h>

#include "net/conn.h"

typedef enum pt_secure_state {
  PT_SECURE_CONNECTING, /* the socket is */
  PT_SECURE_SHAKING, /* hands */
  PT_SECURE_OPEN,
  PT_SECURE_FAILED
} pt_secure_state;

/* The TLS side of a conn. */
struct pt_secure {
  pt_conn *conn;
  struct ev_loop *loop;
  pt_conn_ready *ready; /* the owner's */
  pt_tls_context *ctx;
  pt_tls *tls; /* NULL: the socket has not connected yet */
  ev_timer timer; /* SHAKING: the handshake takes too long; later: bytes wait inside though the socket has none */
  uint8_t state; /* pt_secure_state */
  uint8_t wanted; /* by the owner: EV_READ, EV_WRITE */
  bool away; /* in the hall: tls and the socket are its thread's */
  atomic_bool left; /* its owner has closed it meanwhile: it is freed when it comes back */
  bool late; /* failed by the timer */
  int failed; /* -errno */
  int step; /* what came of the one made in the hall */
  int fd; /* to be closed with it, -1: none */
  char *name; /* of the server */
  uint8_t *first; /* what is sent before the handshake */
  size_t nfirst;
  pt_hall *hall; /* NULL: makes its handshake in the loop */
  pt_secure *next; /* in the hall */
};

/* Changes what the socket is watched for. */
void pt_conn_watch_socket(pt_conn *c, struct ev_loop *loop, int events);

void pt_secure_watch(pt_secure *s, int events);
/* Closes the socket, too. */
void pt_secure_close(pt_secure *s);
ssize_t pt_secure_read(pt_secure *s, void *out, size_t n);
ssize_t pt_secure_write(pt_secure *s, const struct iovec *iov, unsigned n);
void pt_secure_end(pt_secure *s);
int pt_secure_connected(const pt_secure *s);
const char *pt_secure_error(const pt_secure *s, int e);
/* A step of its handshake has been made, e: as of pt_tls_handshake. May free it. */
void pt_secure_stepped(pt_secure *s, int e);
/* With the socket, if it was left to it. */
void pt_secure_free(pt_secure *s);

#endif
