/* A connection: a socket in an event loop. The one place where bytes enter and leave the process for clients and nodes alike; a TLS side joins here.
 * A conn, its loop and its calls belong to one thread. */
#ifndef PT_NET_CONN_H
#define PT_NET_CONN_H

#include <ev.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/chunk.h"

typedef struct pt_conn {
  ev_io io; /* io.fd is -1 while closed; io.data is the owner's */
} pt_conn;

typedef void pt_conn_ready(struct ev_loop *loop, ev_io *io, int events);

/* Takes over a nonblocking socket and watches it for events (EV_READ, EV_WRITE). */
void pt_conn_open(pt_conn *c, struct ev_loop *loop, int fd, int events, pt_conn_ready *ready, void *owner);
/* Changes what is watched; 0: nothing. Free of cost when nothing changes. */
void pt_conn_watch(pt_conn *c, struct ev_loop *loop, int events);
/* Closes and forgets the socket; harmless when closed. */
void pt_conn_close(pt_conn *c, struct ev_loop *loop);

/* Bytes read (> 0), 0: the peer has ended its side, -EAGAIN: nothing there, else -errno. */
ssize_t pt_conn_read(pt_conn *c, void *out, size_t n);
/* Bytes the kernel took (> 0), -EAGAIN: none now, else -errno. n pieces, 1..64. */
ssize_t pt_conn_write(pt_conn *c, struct iovec *iov, unsigned n);
/* Writes a queue as far as the kernel takes it; what it took leaves the queue, and an empty queue owns no memory. 0: all is out, -EAGAIN: the rest
 * waits for EV_WRITE, else -errno. */
int pt_conn_send(pt_conn *c, pt_segq *q);

/* Bytes the kernel has taken that the peer has not: those on their way. */
size_t pt_conn_underway(const pt_conn *c);

#endif
