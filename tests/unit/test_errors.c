/* The table of errors: codes that name one error each, and their class. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/errors.h"

static void codes(void **state) {
  (void)state;
  static const char letters[] = "CPBTOLI";
  assert_int_equal(PT_CLASSES, sizeof letters - 1);
  for (int i = 0; i < PT_ERRORS; i++) {
    const char *code = pt_errors[i].code;
    assert_int_equal(strlen(code), 6);
    assert_memory_equal(code, "PT-", 3);
    assert_int_equal(code[3], letters[pt_errors[i].class]);
    assert_in_range(atoi(code + 4), 1, 99);
    for (int k = 0; k < i; k++)
      assert_string_not_equal(code, pt_errors[k].code);
  }
}

/* Codes are for ever: what people and dashboards have learnt stays true. */
static void some_that_never_change(void **state) {
  (void)state;
  assert_string_equal(pt_errors[PT_E_UNKNOWN_COMMAND].code, "PT-C01");
  assert_string_equal(pt_errors[PT_E_FAILS_FAST].code, "PT-B02");
  assert_string_equal(pt_errors[PT_E_OUTCOME_UNKNOWN].code, "PT-B04");
  assert_string_equal(pt_errors[PT_E_REQUEST_TIMEOUT].code, "PT-T04");
  assert_string_equal(pt_errors[PT_E_MEMORY].code, "PT-O03");
  assert_string_equal(pt_errors[PT_E_REJECTED].code, "PT-L01");
  assert_string_equal(pt_errors[PT_E_ENDS].code, "PT-I01");
}

static void sentences(void **state) {
  (void)state;
  for (int i = 0; i < PT_ERRORS; i++) {
    const char *both[] = {pt_errors[i].text, pt_errors[i].remedy};
    for (int k = 0; k < 2; k++) {
      assert_in_range(strlen(both[k]), 10, 200);
      assert_int_equal(both[k][strlen(both[k]) - 1], '.');
    }
  }
  for (int c = 0; c < PT_CLASSES; c++)
    assert_non_null(pt_error_class_name((pt_error_class)c));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(codes),
      cmocka_unit_test(some_that_never_change),
      cmocka_unit_test(sentences),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
