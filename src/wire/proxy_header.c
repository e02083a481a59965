#include "wire/proxy_header.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
  V1_MAX = 107, /* bytes of a line, CRLF included */
  V2_HEAD = 16,
  V2_LOCAL = 0x20, /* version and command */
  V2_PROXY = 0x21,
  V2_TCP4 = 0x11, /* family and transport */
  V2_TCP6 = 0x21,
  V2_FAMILY_MAX = 3, /* unix */
  V2_TRANSPORT_MAX = 2 /* datagrams */
};

static const uint8_t v1_start[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const uint8_t v2_signature[] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

/* Takes a word and the one space behind it from the front of *s; the last word has none. NULL: there is no word. */
static char *word(char **s) {
  char *w = *s, *space = strchr(w, ' ');
  *s = space ? space + 1 : w + strlen(w);
  if (space)
    *space = 0;
  return *w ? w : NULL;
}

static int read_port(const char *s, uint16_t *port) {
  unsigned v = 0;
  size_t n = strlen(s);
  if (n > 5 || (n > 1 && s[0] == '0'))
    return -EPROTO;
  for (; *s; s++) {
    if (*s < '0' || *s > '9')
      return -EPROTO;
    v = v * 10 + (unsigned)(*s - '0');
  }
  *port = (uint16_t)v;
  return v <= 65535 ? 0 : -EPROTO;
}

/* "TCP4 src dst sport dport" or "UNKNOWN" and whatever. */
static int read_line(pt_proxy_header *h, char *line) {
  size_t len = strlen(line);
  const char *const end = line + len;
  char *protocol = word(&line), *src, *dst, *src_port, *dst_port;
  if (!protocol)
    return -EPROTO;
  if (!strcmp(protocol, "UNKNOWN"))
    return 0;
  h->family = !strcmp(protocol, "TCP4") ? AF_INET : !strcmp(protocol, "TCP6") ? AF_INET6 : AF_UNSPEC;
  if (h->family == AF_UNSPEC || !(src = word(&line)) || !(dst = word(&line)) || !(src_port = word(&line)) ||
      !(dst_port = word(&line)) || dst_port + strlen(dst_port) != end)
    return -EPROTO;
  if (inet_pton(h->family, src, h->src) != 1 || inet_pton(h->family, dst, h->dst) != 1)
    return -EPROTO;
  return read_port(src_port, &h->src_port) || read_port(dst_port, &h->dst_port) ? -EPROTO : 0;
}

static int read_v1(pt_proxy_header *h, const uint8_t *p, size_t n) {
  char line[V1_MAX];
  size_t most = n < V1_MAX ? n : V1_MAX;
  const uint8_t *lf = memchr(p, '\n', most);
  if (!lf)
    return n < V1_MAX ? 0 : -EPROTO;
  size_t len = (size_t)(lf - p) - sizeof v1_start;
  if (!len || lf[-1] != '\r')
    return -EPROTO;
  memcpy(line, p + sizeof v1_start, len);
  line[len - 1] = 0;
  if (strlen(line) != len - 1)
    return -EPROTO;
  return read_line(h, line) ? -EPROTO : (int)(lf + 1 - p);
}

static uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static int read_v2(pt_proxy_header *h, const uint8_t *p, size_t n) {
  if (n > 12 && p[12] != V2_LOCAL && p[12] != V2_PROXY)
    return -EPROTO;
  if (n < V2_HEAD)
    return 0;
  size_t len = be16(p + 14), size = p[13] == V2_TCP4 ? 4 : p[13] == V2_TCP6 ? 16 : 0;
  if (len > PT_PROXY_MAX - V2_HEAD || p[13] >> 4 > V2_FAMILY_MAX || (p[13] & 15) > V2_TRANSPORT_MAX)
    return -EPROTO;
  if (p[12] == V2_LOCAL)
    size = 0;
  if (size && len < 2 * size + 4)
    return -EPROTO;
  if (n < V2_HEAD + len)
    return 0;
  if (size) {
    const uint8_t *a = p + V2_HEAD;
    h->family = size == 4 ? AF_INET : AF_INET6;
    memcpy(h->src, a, size);
    memcpy(h->dst, a + size, size);
    h->src_port = be16(a + 2 * size);
    h->dst_port = be16(a + 2 * size + 2);
  }
  return (int)(V2_HEAD + len); /* extensions behind the addresses tell nothing that is used here */
}

/* 1: p starts with it as far as there is some of p. */
static int starts(const uint8_t *p, size_t n, const uint8_t *with, size_t with_n) {
  return memcmp(p, with, n < with_n ? n : with_n) == 0;
}

int pt_proxy_header_read(pt_proxy_header *h, const uint8_t *p, size_t n) {
  pt_proxy_header got = {.family = AF_UNSPEC};
  int e = n ? -EPROTO : 0;
  if (n && starts(p, n, v1_start, sizeof v1_start))
    e = n < sizeof v1_start ? 0 : read_v1(&got, p, n);
  else if (n && starts(p, n, v2_signature, sizeof v2_signature))
    e = read_v2(&got, p, n);
  if (e > 0)
    *h = got;
  return e;
}

static size_t write_v1(const pt_proxy_header *h, uint8_t *out) {
  char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
  if (h->family == AF_UNSPEC)
    return (size_t)sprintf((char *)out, "PROXY UNKNOWN\r\n");
  inet_ntop(h->family, h->src, src, sizeof src);
  inet_ntop(h->family, h->dst, dst, sizeof dst);
  return (size_t)snprintf((char *)out, PT_PROXY_MAX, "PROXY TCP%d %s %s %u %u\r\n", h->family == AF_INET ? 4 : 6, src, dst,
                          h->src_port, h->dst_port);
}

static void put16(uint8_t *p, uint16_t v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
}

static size_t write_v2(const pt_proxy_header *h, uint8_t *out) {
  size_t size = h->family == AF_INET ? 4 : h->family == AF_INET6 ? 16 : 0, len = size ? 2 * size + 4 : 0;
  memcpy(out, v2_signature, sizeof v2_signature);
  out[12] = size ? V2_PROXY : V2_LOCAL;
  out[13] = size == 4 ? V2_TCP4 : size ? V2_TCP6 : 0;
  put16(out + 14, (uint16_t)len);
  uint8_t *a = out + V2_HEAD;
  if (size) {
    memcpy(a, h->src, size);
    memcpy(a + size, h->dst, size);
    put16(a + 2 * size, h->src_port);
    put16(a + 2 * size + 2, h->dst_port);
  }
  return V2_HEAD + len;
}

size_t pt_proxy_header_write(const pt_proxy_header *h, int version, uint8_t *out) {
  return version == 1 ? write_v1(h, out) : write_v2(h, out);
}
