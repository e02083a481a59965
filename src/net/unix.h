/* Local sockets of whole messages (SOCK_SEQPACKET) that carry descriptors: how two processes of one user talk. Any thread. */
#ifndef PT_NET_UNIX_H
#define PT_NET_UNIX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
  PT_UNIX_FDS = 2 /* descriptors a message may carry */
};

/* Listens at path, mode 0600. It appears there whole: what stood there is replaced, and whoever connects meets the new one. fd or -errno
 * (-ENAMETOOLONG). The caller closes it and unlinks path. */
int pt_unix_listen(const char *path);
/* Somebody listens there. */
int pt_unix_alive(const char *path);
/* Connects, blocking. fd (close-on-exec) or -errno. */
int pt_unix_connect(const char *path);
/* The next connection, nonblocking, close-on-exec. fd or -errno. */
int pt_unix_accept(int fd);
/* Who is at the other end, as the kernel knows it. 0 or -errno. */
int pt_unix_peer(int fd, pid_t *pid, uid_t *uid);

/* Sends one message with up to PT_UNIX_FDS descriptors (which stay the caller's). 0, -EAGAIN, else -errno. */
int pt_unix_send(int fd, const void *bytes, size_t n, const int *fds, unsigned nfds);
/* Receives one message and its descriptors (close-on-exec, the caller's; -1 where there is none). Its length, 0: the peer has ended,
 * -EAGAIN, -EMSGSIZE: longer than cap or too many descriptors, which are closed, else -errno. */
ssize_t pt_unix_recv(int fd, void *bytes, size_t cap, int fds[PT_UNIX_FDS]);

#endif
