/* Ranges of addresses: which have what, at every length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/cidr.h"

static pt_cidr range(const char *host, unsigned bits) {
  pt_cidr r;
  pt_address a;
  assert_int_equal(pt_address_parse(&a, host, 0), 0);
  pt_cidr_ip(&a, r.ip);
  r.bits = (uint8_t)(bits + (a.sa.sa_family == AF_INET ? 96 : 0));
  pt_cidr_mask(r.ip, r.bits);
  return r;
}

static bool has(const char *host, unsigned bits, const char *ip) {
  pt_cidr r = range(host, bits), one = range(ip, strchr(ip, ':') ? 128 : 32);
  return pt_cidr_has(&r, one.ip);
}

static void ranges_have_what_they_should(void **state) {
  (void)state;
  assert_true(has("10.0.0.0", 8, "10.255.255.255"));
  assert_false(has("10.0.0.0", 8, "11.0.0.0"));
  assert_true(has("10.1.2.3", 32, "10.1.2.3"));
  assert_false(has("10.1.2.3", 32, "10.1.2.2"));
  assert_true(has("10.1.2.3", 31, "10.1.2.2"));
  assert_true(has("0.0.0.0", 0, "255.1.2.3"));
  assert_false(has("0.0.0.0", 0, "2001:db8::1"));
  assert_true(has("::", 0, "2001:db8::1"));
  assert_true(has("::", 0, "1.2.3.4"));
  assert_true(has("2001:db8::", 33, "2001:db8:7fff::1"));
  assert_false(has("2001:db8::", 33, "2001:db8:8000::1"));
  assert_true(has("::1", 128, "::1"));
  assert_false(has("::1", 128, "::2"));
}

/* Two addresses that differ in one bit only are together up to that bit, and no further. */
static void every_length(void **state) {
  (void)state;
  for (unsigned differ = 0; differ < 128; differ++)
    for (unsigned bits = 0; bits <= 128; bits++) {
      pt_cidr r = {.bits = (uint8_t)bits};
      uint8_t ip[16];
      for (unsigned i = 0; i < 16; i++)
        r.ip[i] = ip[i] = (uint8_t)(i * 37);
      pt_cidr_mask(r.ip, bits);
      ip[differ / 8] ^= (uint8_t)(0x80 >> differ % 8);
      assert_int_equal(pt_cidr_has(&r, ip), differ >= bits);
    }
}

static void any_of_a_list(void **state) {
  (void)state;
  pt_cidr list[] = {range("10.0.0.0", 8), range("fd00::", 8)}, in = range("fd12::1", 128), out = range("11.0.0.1", 32);
  assert_true(pt_cidr_any(list, 2, in.ip));
  assert_false(pt_cidr_any(list, 1, in.ip));
  assert_false(pt_cidr_any(list, 2, out.ip));
  assert_false(pt_cidr_any(NULL, 0, in.ip));
}

static void text(void **state) {
  (void)state;
  char out[PT_ADDRESS_TEXT];
  pt_cidr v4 = range("10.1.2.3", 24), v6 = range("2001:db8:1:2:3::", 64);
  assert_string_equal(pt_cidr_format(v4.ip, v4.bits, out), "10.1.2.0/24");
  assert_string_equal(pt_cidr_format(v6.ip, v6.bits, out), "2001:db8:1:2::/64");
  assert_true(pt_cidr_is_v4(v4.ip));
  assert_false(pt_cidr_is_v4(v6.ip));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ranges_have_what_they_should),
      cmocka_unit_test(every_length),
      cmocka_unit_test(any_of_a_list),
      cmocka_unit_test(text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
