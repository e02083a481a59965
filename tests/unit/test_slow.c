/* Who is slow, against a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/slow.h"

#define SECOND UINT64_C(1000000000)

/* Looked at every second; true when it was cut within `seconds`. */
static bool cut(unsigned seconds, uint64_t bytes_a_second, unsigned idle_every, uint64_t timeout_ms) {
  pt_slow s = {0};
  uint64_t moved = 1000;
  for (unsigned i = 1; i <= seconds; i++) {
    moved += bytes_a_second;
    if (pt_slow_look(&s, !idle_every || i % idle_every, moved, i * SECOND, timeout_ms))
      return true;
  }
  return false;
}

static void drops_are_cut(void **state) {
  (void)state;
  assert_true(cut(62, 0, 0, 60000));
  assert_false(cut(61, 0, 0, 60000)); /* the first look was at 1 s */
  assert_true(cut(62, 1, 0, 60000));
  assert_true(cut(62, 200, 0, 60000));
  assert_true(cut(4, 0, 0, 2000));
}

static void a_stream_is_not(void **state) {
  (void)state;
  assert_false(cut(100000, 300, 0, 60000));
  assert_false(cut(100000, 1 << 20, 0, 60000));
}

static void whoever_comes_to_an_end_begins_anew(void **state) {
  (void)state;
  assert_false(cut(100000, 1, 50, 60000));
  assert_true(cut(100000, 1, 70, 60000));
}

static void without_a_limit(void **state) {
  (void)state;
  assert_false(cut(100000, 0, 0, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(drops_are_cut),
      cmocka_unit_test(a_stream_is_not),
      cmocka_unit_test(whoever_comes_to_an_end_begins_anew),
      cmocka_unit_test(without_a_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
