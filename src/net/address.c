#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint32_t scope_id(const char *zone) {
  uint32_t id = if_nametoindex(zone);
  if (id || !*zone || strspn(zone, "0123456789") != strlen(zone))
    return id;
  unsigned long n = strtoul(zone, NULL, 10);
  return n <= UINT32_MAX ? (uint32_t)n : 0;
}

int pt_address_parse(pt_address *a, const char *host, uint16_t port) {
  char text[PT_ADDRESS_TEXT];
  size_t n = strlen(host);
  int brackets = n >= 2 && host[0] == '[' && host[n - 1] == ']';
  if (brackets)
    host++, n -= 2;
  if (n == 0 || n >= sizeof text)
    return -EINVAL;
  memcpy(text, host, n);
  text[n] = 0;
  memset(a, 0, sizeof *a);
  if (!brackets && (!strcmp(text, "*") || inet_pton(AF_INET, text, &a->in.sin_addr) == 1)) {
    a->in.sin_family = AF_INET;
    a->in.sin_port = htons(port);
    a->len = sizeof a->in;
    return 0;
  }
  char *zone = strchr(text, '%');
  if (zone)
    *zone++ = 0;
  if (inet_pton(AF_INET6, text, &a->in6.sin6_addr) != 1)
    return -EINVAL;
  if (zone && !(a->in6.sin6_scope_id = scope_id(zone)))
    return -EINVAL;
  a->in6.sin6_family = AF_INET6;
  a->in6.sin6_port = htons(port);
  a->len = sizeof a->in6;
  return 0;
}

char *pt_address_host(const pt_address *a, char *out, size_t cap) {
  char text[INET6_ADDRSTRLEN] = "?", zone[IF_NAMESIZE];
  if (a->sa.sa_family == AF_INET6) {
    uint32_t scope = a->in6.sin6_scope_id;
    inet_ntop(AF_INET6, &a->in6.sin6_addr, text, sizeof text);
    if (scope && if_indextoname(scope, zone))
      snprintf(out, cap, "%s%%%s", text, zone);
    else if (scope)
      snprintf(out, cap, "%s%%%u", text, scope);
    else
      snprintf(out, cap, "%s", text);
    return out;
  }
  if (a->sa.sa_family == AF_INET)
    inet_ntop(AF_INET, &a->in.sin_addr, text, sizeof text);
  snprintf(out, cap, "%s", text);
  return out;
}

uint16_t pt_address_port(const pt_address *a) { return ntohs(a->sa.sa_family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port); }

char *pt_address_format(const pt_address *a, char *out, size_t cap) {
  char host[PT_ADDRESS_TEXT];
  pt_address_host(a, host, sizeof host);
  snprintf(out, cap, a->sa.sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, pt_address_port(a));
  return out;
}

int pt_listen(const pt_address *a, int backlog) {
  int one = 1, err;
  int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return -errno;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
    goto out;
  if (a->sa.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0)
    goto out;
  if (bind(fd, &a->sa, a->len) < 0 || listen(fd, backlog) < 0)
    goto out;
  return fd;
out:
  err = errno;
  close(fd);
  return -err;
}

static int tune(int fd) {
  int one = 1, idle = 120, interval = 30, count = 3;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
      setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) < 0 ||
      setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) < 0 ||
      setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval) < 0 ||
      setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count) < 0)
    return -errno;
  return 0;
}

int pt_connect(const pt_address *a) {
  int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return -errno;
  tune(fd); /* without it the connection is slower, not wrong */
  if (connect(fd, &a->sa, a->len) < 0 && errno != EINPROGRESS && errno != EINTR) { /* EINTR: it goes on all the same */
    int err = errno;
    close(fd);
    return -err;
  }
  return fd;
}

int pt_connect_error(int fd) {
  int err = 0;
  socklen_t n = sizeof err;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
    return -errno;
  if (err)
    return -err;
  pt_address here = {.len = sizeof here.in6}, there = {.len = sizeof there.in6};
  if (getsockname(fd, &here.sa, &here.len) < 0 || getpeername(fd, &there.sa, &there.len) < 0)
    return -errno;
  return here.len == there.len && !memcmp(&here.sa, &there.sa, here.len) ? -ECONNREFUSED : 0;
}

int pt_socket_tune(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
    return -errno;
  return tune(fd);
}
