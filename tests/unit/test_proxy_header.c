/* The PROXY protocol's header: what HAProxy and others send is read however it arrives, everything else is refused as early as it shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/socket.h>

#include "wire/proxy_header.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/* From memory of exactly n bytes, so that the sanitizer sees a read behind the end. */
static int read_exact(pt_proxy_header *h, const void *bytes, size_t n) {
  uint8_t *exact = malloc(n ? n : 1);
  memcpy(exact, bytes, n);
  int e = pt_proxy_header_read(h, exact, n);
  free(exact);
  return e;
}

/* Good however it is cut: each beginning wants more, and what follows does not belong to it. */
static void assert_good(pt_proxy_header *h, const void *bytes, size_t n) {
  uint8_t more[PT_PROXY_MAX + 64];
  for (size_t cut = 0; cut < n; cut++)
    assert_int_equal(read_exact(h, bytes, cut), 0);
  assert_int_equal(read_exact(h, bytes, n), n);
  memcpy(more, bytes, n);
  memset(more + n, '\n', 64);
  assert_int_equal(read_exact(h, more, n + 64), n);
}

static void version_1(void **state) {
  (void)state;
  pt_proxy_header h;
  static const char v4[] = "PROXY TCP4 192.168.0.1 10.0.0.255 56324 443\r\n";
  assert_good(&h, v4, sizeof v4 - 1);
  assert_int_equal(h.family, AF_INET);
  assert_memory_equal(h.src, "\xc0\xa8\x00\x01", 4);
  assert_memory_equal(h.dst, "\x0a\x00\x00\xff", 4);
  assert_int_equal(h.src_port, 56324);
  assert_int_equal(h.dst_port, 443);

  static const char v6[] = "PROXY TCP6 2001:db8::7 ::1 0 65535\r\n";
  assert_good(&h, v6, sizeof v6 - 1);
  assert_int_equal(h.family, AF_INET6);
  assert_memory_equal(h.src, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07", 16);
  assert_memory_equal(h.dst, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
  assert_int_equal(h.src_port, 0);
  assert_int_equal(h.dst_port, 65535);

  static const char *const unknown[] = {"PROXY UNKNOWN\r\n",
                                        "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                                        "PROXY UNKNOWN what ever\r\n"};
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
    h.family = 77;
    assert_good(&h, unknown[i], strlen(unknown[i]));
    assert_int_equal(h.family, AF_UNSPEC);
  }
  assert_int_equal(strlen(unknown[1]), 107); /* the longest there is */
}

static void version_1_refuses(void **state) {
  (void)state;
  static const char *const bad[] = {
      "PROXY \r\n",
      "PROXY \n",
      "PROXY TCP4\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
      "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
      "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 1 -1\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 1 99999999999\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7 1 2\r\n",
      "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
      "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
      "PROXY TCP4 ::1 ::1 1 2\r\n",
      "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
      "PROXY TCP6 ::1 ::g 1 2\r\n",
      "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
      "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
      "PROXY UNKNOWNS\r\n",
      "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
      "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
      "GET / HTTP/1.1\r\n",
      "PROXIMA",
      "\r\n\r\nX",
  };
  pt_proxy_header h;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(read_exact(&h, bad[i], strlen(bad[i])), -EPROTO);

  static const char nul[] = "PROXY UNKNOWN\0 x\r\n";
  assert_int_equal(read_exact(&h, nul, sizeof nul - 1), -EPROTO);
  char lengthy[108] = "PROXY UNKNOWN ";
  memset(lengthy + 14, 'x', sizeof lengthy - 14);
  assert_int_equal(read_exact(&h, lengthy, 106), 0);
  assert_int_equal(read_exact(&h, lengthy, 107), -EPROTO);
  memcpy(lengthy + 106, "\r\n", 2);
  assert_int_equal(read_exact(&h, lengthy, 108), -EPROTO); /* one byte more than may be */
}

/* A version 2 header with body_n bytes behind its head; returns its length. */
static size_t v2(uint8_t *out, int command, int family, const void *body, size_t body_n) {
  memcpy(out, SIGNATURE, 12);
  out[12] = (uint8_t)command;
  out[13] = (uint8_t)family;
  out[14] = (uint8_t)(body_n >> 8);
  out[15] = (uint8_t)body_n;
  memcpy(out + 16, body, body_n);
  return 16 + body_n;
}

static void version_2(void **state) {
  (void)state;
  uint8_t buf[PT_PROXY_MAX + 64], zeros[600] = {0};
  pt_proxy_header h;
  assert_good(&h, buf, v2(buf, 0x21, 0x11, "\x0a\x01\x02\x03\x7f\0\0\x01\xdc\x04\x69\x89", 12));
  assert_int_equal(h.family, AF_INET);
  assert_memory_equal(h.src, "\x0a\x01\x02\x03\0\0\0\0\0\0\0\0\0\0\0\0", 16);
  assert_memory_equal(h.dst, "\x7f\0\0\x01", 4);
  assert_int_equal(h.src_port, 0xdc04);
  assert_int_equal(h.dst_port, 27017);

  assert_good(&h, buf,
              v2(buf, 0x21, 0x11, "\x0a\x01\x02\x03\x7f\0\0\x01\xdc\x04\x69\x89\x01\0\x02h2", 17)); /* with an extension */
  assert_memory_equal(h.src, "\x0a\x01\x02\x03", 4);

  uint8_t body[520] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1, [16] = 0xfe, 0x80, [31] = 2, [32] = 1, 2, 3, 4};
  assert_good(&h, buf, v2(buf, 0x21, 0x21, body, sizeof body)); /* as long as may be */
  assert_int_equal(h.family, AF_INET6);
  assert_memory_equal(h.src, body, 16);
  assert_memory_equal(h.dst, body + 16, 16);
  assert_int_equal(h.src_port, 0x102);
  assert_int_equal(h.dst_port, 0x304);

  static const struct {
    int command, family;
    size_t n;
  } unspecific[] = {{0x20, 0x00, 0},  {0x20, 0x11, 12}, {0x20, 0x11, 0},   {0x21, 0x00, 0},  {0x21, 0x00, 9},
                    {0x21, 0x12, 12}, {0x21, 0x22, 36}, {0x21, 0x31, 216}, {0x21, 0x32, 216}};
  for (size_t i = 0; i < sizeof unspecific / sizeof *unspecific; i++) {
    h.family = 77;
    assert_good(&h, buf, v2(buf, unspecific[i].command, unspecific[i].family, zeros, unspecific[i].n));
    assert_int_equal(h.family, AF_UNSPEC);
  }
}

static void version_2_refuses(void **state) {
  (void)state;
  static const struct {
    int command, family;
    size_t n;
    size_t seen_at; /* bytes after which it shows */
  } bad[] = {{0x11, 0x11, 12, 13}, {0x22, 0x11, 12, 13}, {0x2f, 0x11, 12, 13},  {0x31, 0x11, 12, 13},
             {0x21, 0x41, 12, 16}, {0x21, 0x13, 12, 16}, {0x21, 0x11, 11, 16},  {0x21, 0x21, 35, 16},
             {0x21, 0x11, 0, 16},  {0x20, 0xf0, 0, 16},  {0x21, 0x11, 521, 16}, {0x20, 0x00, 521, 16}};
  uint8_t buf[PT_PROXY_MAX + 64], zeros[600] = {0};
  pt_proxy_header h;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    v2(buf, bad[i].command, bad[i].family, zeros, bad[i].n);
    assert_int_equal(read_exact(&h, buf, bad[i].seen_at - 1), 0);
    assert_int_equal(read_exact(&h, buf, bad[i].seen_at), -EPROTO);
    assert_int_equal(read_exact(&h, buf, 16 + bad[i].n), -EPROTO);
  }
  for (size_t i = 0; i < 12; i++) { /* each byte of the signature counts, at once */
    v2(buf, 0x20, 0, "", 0);
    buf[i] ^= 0x40;
    assert_int_equal(read_exact(&h, buf, i + 1), -EPROTO);
  }
}

static void round_trips(void **state) {
  (void)state;
  uint8_t out[PT_PROXY_MAX];
  pt_proxy_header back;
  for (int version = 1; version <= 2; version++)
    for (unsigned i = 0; i < 2000; i++) {
      pt_proxy_header h = {.family = i % 3 == 0 ? AF_UNSPEC : i % 3 == 1 ? AF_INET : AF_INET6};
      unsigned seed = i, size = h.family == AF_INET ? 4 : h.family == AF_INET6 ? 16 : 0;
      for (unsigned k = 0; k < size; k++) {
        h.src[k] = (uint8_t)(i & 4 ? rand_r(&seed) : 0xff); /* longest texts and any */
        h.dst[k] = (uint8_t)(i & 8 ? rand_r(&seed) : 0xff);
      }
      if (size) {
        h.src_port = (uint16_t)rand_r(&seed);
        h.dst_port = (uint16_t)(i & 16 ? 65535 : i);
      }
      memset(out, 0, sizeof out);
      size_t n = pt_proxy_header_write(&h, version, out);
      assert_true(n <= PT_PROXY_MAX);
      assert_good(&back, out, n);
      assert_int_equal(back.family, h.family);
      assert_memory_equal(back.src, h.src, 16);
      assert_memory_equal(back.dst, h.dst, 16);
      assert_int_equal(back.src_port, h.src_port);
      assert_int_equal(back.dst_port, h.dst_port);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(version_1),         cmocka_unit_test(version_1_refuses), cmocka_unit_test(version_2),
      cmocka_unit_test(version_2_refuses), cmocka_unit_test(round_trips),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
