/* Socket addresses (IPv4, IPv6) and the sockets made from them. Any thread; no name service. */
#ifndef PT_NET_ADDRESS_H
#define PT_NET_ADDRESS_H

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct pt_address {
  union {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
  };
  socklen_t len;
} pt_address;

enum {
  PT_ADDRESS_TEXT = 80
}; /* holds every formatted address, NUL included */

/* Numeric host ("10.0.0.1", "::1", "fe80::1%eth0", "[::1]"; "*": 0.0.0.0). 0, or -EINVAL when it is not numeric: resolve it. */
int pt_address_parse(pt_address *a, const char *host, uint16_t port);
/* "10.0.0.1:6379", "[::1]:6379". Returns out. */
char *pt_address_format(const pt_address *a, char *out, size_t cap);
/* The host alone, without brackets: what pt_address_parse takes again. Returns out. */
char *pt_address_host(const pt_address *a, char *out, size_t cap);
uint16_t pt_address_port(const pt_address *a);

/* A listening socket: nonblocking, close-on-exec, SO_REUSEADDR, IPv6 only where the address is. fd or -errno. The caller closes it. */
int pt_listen(const pt_address *a, int backlog);
/* A nonblocking, close-on-exec, tuned socket on its way to a (writable: look at pt_connect_error). fd or -errno. The caller closes it. */
int pt_connect(const pt_address *a);
/* How a pt_connect ended: 0 connected, else -errno. A socket that has met itself (a local port nobody listened at) counts as refused. */
int pt_connect_error(int fd);
/* For accepted sockets: nonblocking, close-on-exec, TCP_NODELAY, keepalive after 120 s. 0 or -errno (the socket stays usable but for the first). */
int pt_socket_tune(int fd);

/* An error of connecting that says nothing of the peer: no descriptor, memory or port is left here. */
static inline int pt_connect_ours(int e) {
  return e == -EMFILE || e == -ENFILE || e == -ENOBUFS || e == -ENOMEM || e == -EADDRNOTAVAIL;
}

#endif
