/* The PROXY protocol's header, versions 1 and 2: where a connection really comes from. Pure functions.
 * Source: haproxy.org proxy-protocol.txt. */
#ifndef PT_WIRE_PROXY_HEADER_H
#define PT_WIRE_PROXY_HEADER_H

#include <stddef.h>
#include <stdint.h>

enum {
  PT_PROXY_MAX = 536 /* bytes looked at and written at most: v2 with 520 bytes of addresses and extensions */
};

typedef struct pt_proxy_header {
  int family; /* AF_INET, AF_INET6, or AF_UNSPEC: LOCAL, UNKNOWN, unix: the connection's own address holds */
  uint8_t src[16], dst[16]; /* IPv4 in the first four bytes, network order */
  uint16_t src_port, dst_port;
} pt_proxy_header;

/* Bytes of the header (> 0), 0: more are needed, -EPROTO: it is none, or not a good one. */
int pt_proxy_header_read(pt_proxy_header *h, const uint8_t *p, size_t n);
/* Writes version 1 or 2; bytes written (at most PT_PROXY_MAX). */
size_t pt_proxy_header_write(const pt_proxy_header *h, int version, uint8_t *out);

#endif
