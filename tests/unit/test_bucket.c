/* A token bucket against a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bucket.h"

#define SECOND UINT64_C(1000000000)

static unsigned burst(pt_bucket *b, unsigned rate, uint64_t now) {
  unsigned n = 0;
  for (; n < 100000 && !pt_bucket_wait(b, rate, now); n++)
    pt_bucket_take(b);
  return n;
}

static void a_tenth_of_a_second_at_once(void **state) {
  (void)state;
  pt_bucket b = {0};
  assert_int_equal(burst(&b, 1000, SECOND), 100);
  assert_int_equal(burst(&b, 1000, SECOND), 0);
  assert_int_equal(burst(&b, 1000, SECOND + SECOND / 100), 10);
  assert_int_equal(burst(&b, 1000, 60 * SECOND), 100);
}

/* Whoever waits as long as he is told is let in, and over any time no more than the rate (and one burst) come. */
static void the_rate_holds(void **state) {
  (void)state;
  static const unsigned rates[] = {1, 3, 10, 999, 100000};
  for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++) {
    pt_bucket b = {0};
    uint64_t now = 5 * SECOND, end = now + 20 * SECOND;
    unsigned n = 0;
    while (now < end) {
      uint64_t wait = pt_bucket_wait(&b, rates[i], now);
      if (wait) {
        now += wait;
        assert_int_equal(pt_bucket_wait(&b, rates[i], now), 0);
      }
      pt_bucket_take(&b);
      n++;
    }
    assert_in_range(n, rates[i] * 20 - rates[i] / 100, rates[i] * 20 + rates[i] / 10 + 2);
  }
}

static void no_rate_no_wait(void **state) {
  (void)state;
  pt_bucket b = {0};
  assert_int_equal(burst(&b, 0, SECOND), 100000);
  assert_int_equal(burst(&b, 10, SECOND), 1); /* and what came before counts for nothing */
}

static void a_clock_that_goes_back(void **state) {
  (void)state;
  pt_bucket b = {0};
  burst(&b, 10, 10 * SECOND);
  assert_true(pt_bucket_wait(&b, 10, 9 * SECOND) > 0);
  assert_true(pt_bucket_wait(&b, 10, 9 * SECOND) <= SECOND);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_tenth_of_a_second_at_once),
      cmocka_unit_test(the_rate_holds),
      cmocka_unit_test(no_rate_no_wait),
      cmocka_unit_test(a_clock_that_goes_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
