/* CRC-32C: the published values, and that all ways to it agree. The source is included for the way that this processor does not take. */
#include "mongo_cases.h"

#include "wire/crc32c.c"

static uint32_t bit_by_bit(const uint8_t *p, size_t n) {
  uint32_t crc = ~0u;
  for (; n; n--) {
    crc ^= *p++;
    for (int i = 0; i < 8; i++)
      crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
  }
  return ~crc;
}

/* RFC 3720, B.4. */
static void published(void **state) {
  (void)state;
  uint8_t p[32] = {0};
  assert_int_equal(pt_crc32c((const uint8_t *)"123456789", 9), 0xe3069283);
  assert_int_equal(pt_crc32c(p, 0), 0);
  assert_int_equal(pt_crc32c(p, 32), 0x8a9136aa);
  memset(p, 0xff, 32);
  assert_int_equal(pt_crc32c(p, 32), 0x62a8ab43);
  for (int i = 0; i < 32; i++)
    p[i] = (uint8_t)i;
  assert_int_equal(pt_crc32c(p, 32), 0x46dd794e);
}

static void all_ways(void **state) {
  (void)state;
  uint8_t p[80];
  for (size_t i = 0; i < sizeof p; i++)
    p[i] = (uint8_t)(i * 37 + 11);
  for (size_t at = 0; at < 9; at++)
    for (size_t n = 0; at + n <= sizeof p; n++) {
      uint8_t *copy = copy_of(p + at, n);
      assert_int_equal(pt_crc32c(copy, n), bit_by_bit(p + at, n));
      assert_int_equal(~crc_plain(~0u, copy, n), bit_by_bit(p + at, n));
      free(copy);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published),
      cmocka_unit_test(all_ways),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
