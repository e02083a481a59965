/* The PROXY header: every beginning of a good one wants more, what follows changes nothing, a bad one stays bad; what is read is written and
 * read again as the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wire/proxy_header.h"

static void check(int ok) {
  if (!ok)
    abort();
}

/* From memory of its own size, so that a read too far is seen. */
static int read_copy(pt_proxy_header *h, const uint8_t *buf, size_t n) {
  uint8_t *copy = malloc(n ? n : 1);
  memcpy(copy, buf, n);
  int e = pt_proxy_header_read(h, copy, n);
  free(copy);
  return e;
}

static void check_writes(const pt_proxy_header *h) {
  for (int version = 1; version <= 2; version++) {
    uint8_t out[PT_PROXY_MAX];
    pt_proxy_header back;
    size_t n = pt_proxy_header_write(h, version, out);
    check(n <= PT_PROXY_MAX && read_copy(&back, out, n) == (int)n);
    check(back.family == h->family && !memcmp(back.src, h->src, 16) && !memcmp(back.dst, h->dst, 16));
    check(back.src_port == h->src_port && back.dst_port == h->dst_port);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n) {
  if (n > 2 * PT_PROXY_MAX)
    return 0;
  pt_proxy_header h;
  int verdict = 0; /* of the shortest beginning that has one */
  for (size_t i = 0; i <= n; i++) {
    int e = read_copy(&h, buf, i);
    check(e == 0 || e == -EPROTO || (e > 0 && e <= PT_PROXY_MAX && (size_t)e <= i));
    check(!verdict || e == verdict);
    check(verdict || e <= 0 || (size_t)e == i);
    check(e != 0 || i < PT_PROXY_MAX);
    verdict = e;
  }
  if (verdict > 0) {
    check(h.family == AF_INET || h.family == AF_INET6 || h.family == AF_UNSPEC);
    check_writes(&h);
  }
  return 0;
}
