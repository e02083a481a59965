/* Which requests the access log shows: every nth, however they come in batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/access.h"

static void every_nth(void **state) {
  (void)state;
  static const unsigned rates[] = {1, 2, 7, 64, 1000};
  for (unsigned r = 0; r < sizeof rates / sizeof rates[0]; r++) {
    pt_config cfg = {.access_every = rates[r]};
    pt_access a = {0};
    unsigned seen = 0;
    pt_access_configure(&a, &cfg);
    for (unsigned batch = 1; batch <= 200; batch++) {
      unsigned n = batch * 13 % 65;
      for (unsigned i = 0, before = 0; pt_access_next(&a, n, &i); before = i) {
        assert_in_range(i, before + 1, n);
        assert_int_equal((seen + i) % rates[r], 0);
      }
      seen += n;
    }
  }
}

static void none_when_off(void **state) {
  (void)state;
  pt_access a = {0};
  unsigned i = 0;
  for (unsigned n = 0; n < 1000; n++)
    assert_false(pt_access_next(&a, n, &i));
  pt_config cfg = {.access_connections = true};
  pt_access_configure(&a, &cfg);
  assert_false(pt_access_next(&a, 64, &i));
  assert_true(a.connections);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_nth),
      cmocka_unit_test(none_when_off),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
