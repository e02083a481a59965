#include "net/unix.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  BACKLOG = 8,
  BUFFER = 1024 * 1024 /* asked for; the kernel gives what it allows */
};

static int address_of(struct sockaddr_un *a, const char *path) {
  *a = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof a->sun_path)
    return -ENAMETOOLONG;
  strcpy(a->sun_path, path);
  return 0;
}

static int new_socket(int flags) {
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0), size = BUFFER;
  if (fd < 0)
    return -errno;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return fd;
}

/* Bound under another name first: nobody meets a socket with the wrong mode or one that does not listen yet. */
int pt_unix_listen(const char *path) {
  struct sockaddr_un a;
  char fresh[sizeof a.sun_path + 16];
  snprintf(fresh, sizeof fresh, "%s.%d", path, (int)getpid());
  int e = address_of(&a, fresh), fd = e ? e : new_socket(SOCK_NONBLOCK);
  if (fd < 0)
    return fd;
  unlink(fresh);
  if (bind(fd, (struct sockaddr *)&a, sizeof a))
    e = -errno;
  else if (chmod(fresh, 0600) || listen(fd, BACKLOG) || rename(fresh, path)) {
    e = -errno;
    unlink(fresh);
  }
  if (e)
    close(fd);
  return e ? e : fd;
}

int pt_unix_connect(const char *path) {
  struct sockaddr_un a;
  int e = address_of(&a, path), fd = e ? e : new_socket(0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a)) {
    e = -errno;
    close(fd);
    return e;
  }
  return fd;
}

int pt_unix_alive(const char *path) {
  int fd = pt_unix_connect(path);
  if (fd >= 0)
    close(fd);
  return fd >= 0;
}

int pt_unix_accept(int fd) {
  int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), size = BUFFER;
  if (c < 0)
    return -errno;
  setsockopt(c, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return c;
}

int pt_unix_peer(int fd, pid_t *pid, uid_t *uid) {
  struct ucred who;
  socklen_t n = sizeof who;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n))
    return -errno;
  *pid = who.pid;
  *uid = who.uid;
  return 0;
}

int pt_unix_send(int fd, const void *bytes, size_t n, const int *fds, unsigned nfds) {
  struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
  union {
    char space[CMSG_SPACE(PT_UNIX_FDS * sizeof(int))];
    struct cmsghdr align;
  } control = {0};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
  if (nfds) {
    m.msg_control = control.space;
    m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
    memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
  }
  ssize_t put;
  do
    put = sendmsg(fd, &m, MSG_NOSIGNAL);
  while (put < 0 && errno == EINTR);
  return put < 0 ? (errno == ETOOMANYREFS ? -EAGAIN : -errno) : 0; /* too many descriptors on their way: they will arrive */
}

/* The descriptors of a message; too many of them are closed. */
static int take_fds(struct msghdr *m, int fds[PT_UNIX_FDS]) {
  unsigned n = 0;
  int e = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
      continue;
    for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
      int one;
      memcpy(&one, CMSG_DATA(c) + i * sizeof one, sizeof one);
      if (n < PT_UNIX_FDS) {
        fds[n++] = one;
      } else {
        close(one);
        e = -EMSGSIZE;
      }
    }
  }
  return m->msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : e;
}

ssize_t pt_unix_recv(int fd, void *bytes, size_t cap, int fds[PT_UNIX_FDS]) {
  struct iovec iov = {.iov_base = bytes, .iov_len = cap};
  union {
    char space[CMSG_SPACE((PT_UNIX_FDS + 2) * sizeof(int))];
    struct cmsghdr align;
  } control = {0};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
  ssize_t got;
  for (unsigned i = 0; i < PT_UNIX_FDS; i++)
    fds[i] = -1;
  do
    got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got <= 0)
    return got < 0 ? -errno : 0;
  int e = take_fds(&m, fds);
  for (unsigned i = 0; e && i < PT_UNIX_FDS; i++)
    if (fds[i] >= 0) {
      close(fds[i]);
      fds[i] = -1;
    }
  return e ? e : got;
}
