/* Slots against the specification's check value, a bit-by-bit CRC, and the rule of the hash tag. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc16.h"

static uint16_t slow(const uint8_t *p, size_t n) {
  uint16_t c = 0;
  while (n--) {
    c ^= (uint16_t)(*p++ << 8);
    for (int i = 0; i < 8; i++)
      c = (uint16_t)(c & 0x8000 ? c << 1 ^ 0x1021 : c << 1);
  }
  return c;
}

static void matches_the_definition(void **state) {
  (void)state;
  assert_int_equal(pt_crc16((const uint8_t *)"123456789", 9), 0x31c3);
  uint8_t b[100];
  unsigned seed = 3;
  for (size_t n = 0; n <= sizeof b; n++) {
    for (size_t i = 0; i < n; i++)
      b[i] = (uint8_t)rand_r(&seed);
    assert_int_equal(pt_crc16(b, n), slow(b, n));
  }
}

static uint16_t slot(const char *k) { return pt_key_slot((const uint8_t *)k, strlen(k)); }

static void hash_tags(void **state) {
  (void)state;
  assert_int_equal(slot("{user1000}.following"), slot("user1000"));
  assert_int_equal(slot("foo{}{bar}"), slow((const uint8_t *)"foo{}{bar}", 10) & 16383);
  assert_int_equal(slot("foo{{bar}}zap"), slot("{bar"));
  assert_int_equal(slot("foo{bar}{zap}"), slot("bar"));
  assert_int_equal(slot("foo{bar"), slow((const uint8_t *)"foo{bar", 7) & 16383);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(matches_the_definition), cmocka_unit_test(hash_tags)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
