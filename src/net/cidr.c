#include "net/cidr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t v4_in_v6[12] = {[10] = 0xff, [11] = 0xff};

void pt_cidr_ip(const pt_address *a, uint8_t ip[16]) {
  if (a->sa.sa_family == AF_INET) {
    memcpy(ip, v4_in_v6, sizeof v4_in_v6);
    memcpy(ip + 12, &a->in.sin_addr, 4);
  } else {
    memcpy(ip, &a->in6.sin6_addr, 16);
  }
}

bool pt_cidr_is_v4(const uint8_t ip[16]) { return !memcmp(ip, v4_in_v6, sizeof v4_in_v6); }

void pt_cidr_mask(uint8_t ip[16], unsigned bits) {
  for (unsigned i = bits; i < 128; i++)
    ip[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

bool pt_cidr_has(const pt_cidr *range, const uint8_t ip[16]) {
  unsigned bytes = range->bits / 8, bits = range->bits % 8;
  if (memcmp(range->ip, ip, bytes))
    return false;
  return !bits || !((range->ip[bytes] ^ ip[bytes]) >> (8 - bits));
}

bool pt_cidr_any(const pt_cidr *ranges, unsigned n, const uint8_t ip[16]) {
  for (unsigned i = 0; i < n; i++)
    if (pt_cidr_has(&ranges[i], ip))
      return true;
  return false;
}

char *pt_cidr_format(const uint8_t ip[16], unsigned bits, char out[PT_ADDRESS_TEXT]) {
  char text[INET6_ADDRSTRLEN] = "?";
  bool v4 = bits >= 96 && pt_cidr_is_v4(ip);
  inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? ip + 12 : ip, text, sizeof text);
  snprintf(out, PT_ADDRESS_TEXT, "%s/%u", text, v4 ? bits - 96 : bits);
  return out;
}
