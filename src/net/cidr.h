/* Ranges of addresses. An address is 16 bytes here, IPv4 as ::ffff:a.b.c.d. Any thread; no state. */
#ifndef PT_NET_CIDR_H
#define PT_NET_CIDR_H

#include <stdbool.h>
#include <stdint.h>

#include "net/address.h"

/* A range of addresses; IPv4 as ::ffff:a.b.c.d/96+n. */
typedef struct pt_cidr {
  uint8_t ip[16];
  uint8_t bits; /* 0..128 */
} pt_cidr;

/* The 16 bytes of a socket address. */
void pt_cidr_ip(const pt_address *a, uint8_t ip[16]);
bool pt_cidr_is_v4(const uint8_t ip[16]);
/* Clears what is behind the first bits. */
void pt_cidr_mask(uint8_t ip[16], unsigned bits);
bool pt_cidr_has(const pt_cidr *range, const uint8_t ip[16]);
/* One of n ranges has it. */
bool pt_cidr_any(const pt_cidr *ranges, unsigned n, const uint8_t ip[16]);
/* "10.0.0.0/8" as people write it. Returns out. */
char *pt_cidr_format(const uint8_t ip[16], unsigned bits, char out[PT_ADDRESS_TEXT]);

#endif
