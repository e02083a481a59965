/* A connection: a socket in an event loop. The one place where bytes enter and leave the process for clients and nodes alike, plain or in TLS.
 * A conn, its loop and its calls belong to one thread.
 *
 * TLS is out of sight: its owner watches, reads and writes as ever, and hears of no event before the handshake has ended, one way or the other; a
 * failed one is an error of the next call. A conn without TLS pays one branch a call.
 */
#ifndef PT_NET_CONN_H
#define PT_NET_CONN_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/chunk.h"
#include "net/tls.h"

typedef struct pt_secure pt_secure; /* conn_tls.c's own */
typedef struct pt_hall pt_hall; /* hall.h */

typedef struct pt_conn {
  ev_io io; /* io.fd is -1 while closed; io.data is the owner's */
  pt_secure *tls; /* NULL: plain */
} pt_conn;

typedef void pt_conn_ready(struct ev_loop *loop, ev_io *io, int events);

/* Takes over a nonblocking socket and watches it for events (EV_READ, EV_WRITE). */
void pt_conn_open(pt_conn *c, struct ev_loop *loop, int fd, int events, pt_conn_ready *ready, void *owner);
/* Changes what is watched; 0: nothing. Free of cost when nothing changes. */
void pt_conn_watch(pt_conn *c, struct ev_loop *loop, int events);
/* What is watched. */
int pt_conn_watched(const pt_conn *c);
/* Closes and forgets the socket; harmless when closed. */
void pt_conn_close(pt_conn *c, struct ev_loop *loop);

/* Bytes read (> 0), 0: the peer has ended its side, -EAGAIN: nothing there, else -errno. */
ssize_t pt_conn_read(pt_conn *c, void *out, size_t n);
/* Bytes the kernel took (> 0), -EAGAIN: none now, else -errno. n pieces, 1..64. After -EAGAIN or fewer bytes the next ones have to be those not taken. */
ssize_t pt_conn_write(pt_conn *c, struct iovec *iov, unsigned n);
/* Writes a queue as far as the kernel takes it; what it took leaves the queue, and an empty queue owns no memory. 0: all is out, -EAGAIN: the rest
 * waits for EV_WRITE, else -errno. */
int pt_conn_send(pt_conn *c, pt_segq *q);
/* Nothing more will be written. */
void pt_conn_end(pt_conn *c);
/* Of a plain conn: what would be read, and stays. As pt_conn_read. */
ssize_t pt_conn_peek(pt_conn *c, void *out, size_t n);

/* How a connect ended that was on its way when the conn was opened, TLS included: 0, -EAGAIN: not yet, else -errno. */
int pt_conn_connected(pt_conn *c);
/* What an error of the calls above means, in words. Good until the thread asks again, also after the conn was closed. */
const char *pt_conn_error(const pt_conn *c, int e);

/* ---- TLS; after pt_conn_open ---- */

/* Speaks TLS from the next byte on, as a server. hall: where the handshake is made. 0 or -ENOMEM. */
int pt_conn_accept_tls(pt_conn *c, struct ev_loop *loop, pt_tls_context *ctx, pt_hall *hall);
/* The same as a client, as soon as the socket has connected. name: of the server, copied; first: bytes to be sent before, copied. 0 or -ENOMEM. */
int pt_conn_connect_tls(pt_conn *c, struct ev_loop *loop, pt_tls_context *ctx, const char *name, const void *first, size_t n);
/* Logs an error of TLS (others: not), rate-limited: who is the listener, peer the one at the other end. Before the conn is closed. */
void pt_conn_blame(const pt_conn *c, int e, const char *who, const char *peer);

/* Bytes the kernel has taken that the peer has not: those on their way. */
size_t pt_conn_underway(const pt_conn *c);

#endif
