/* Snapshots of backends: references, ids, and what clients are told over all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/mongo/backends.h"

static const pt_server_hello newest = {.ok = true,
                                       .writable = true,
                                       .isdbgrid = true,
                                       .has_topology_version = true,
                                       .process_id = "eleven byte",
                                       .counter = 6,
                                       .max_bson = 16777216,
                                       .max_message = 48000000,
                                       .max_batch = 100000,
                                       .min_wire = 6,
                                       .max_wire = 25,
                                       .session_minutes = 30,
                                       .compressors = 15};

static pt_backends *two(void) {
  pt_backends *b = pt_backends_new(2);
  assert_non_null(b);
  for (unsigned i = 0; i < 2; i++) {
    b->at[i].id = 10 + i;
    b->at[i].up = true;
    b->at[i].hello = newest;
  }
  return b;
}

static void are_found_by_id(void **state) {
  (void)state;
  pt_backends *b = two();
  assert_int_equal(pt_backends_index(b, 10), 0);
  assert_int_equal(pt_backends_index(b, 11), 1);
  assert_int_equal(pt_backends_index(b, 12), -1);
  assert_int_equal(pt_backends_index(b, PT_BACKEND_NONE), -1);
  assert_ptr_equal(pt_backends_ref(b), b);
  pt_backends_unref(b);
  assert_int_equal(b->n, 2);
  pt_backends_unref(b);
  pt_backends_unref(NULL);
}

static void one_alone_is_told_as_it_is(void **state) {
  (void)state;
  pt_backends *b = two();
  b->at[1].up = false;
  b->at[1].hello.max_wire = 1;
  pt_backends_sum_up(b);
  assert_int_equal(b->nup, 1);
  assert_true(b->known && b->hello.ok && b->hello.isdbgrid);
  assert_true(pt_backends_same_view(&b->hello, &newest));
  assert_false(b->hello.has_topology_version); /* theirs */
  pt_backends_unref(b);
}

static void what_holds_for_all_is_told(void **state) {
  (void)state;
  pt_backends *b = two();
  pt_server_hello *h = &b->at[1].hello;
  h->isdbgrid = false;
  h->max_bson = 1000;
  h->max_message = 2000;
  h->max_batch = 30;
  h->min_wire = 8;
  h->max_wire = 13;
  h->session_minutes = -1;
  h->compressors = 6;
  pt_backends_sum_up(b);
  const pt_server_hello want = {.ok = true,
                                .writable = true,
                                .max_bson = 1000,
                                .max_message = 2000,
                                .max_batch = 30,
                                .min_wire = 8,
                                .max_wire = 13,
                                .session_minutes = -1,
                                .compressors = 6};
  assert_int_equal(b->nup, 2);
  assert_true(pt_backends_same_view(&b->hello, &want));
  assert_true(pt_backends_same_view(&b->at[0].hello, &newest)); /* it is a copy */
  h->min_wire = 26;
  h->max_wire = 27; /* nothing in common */
  pt_backends_sum_up(b);
  assert_int_equal(b->hello.min_wire, 25);
  assert_int_equal(b->hello.max_wire, 25);
  pt_backends_unref(b);
}

static void with_none_up_the_last_word_stays(void **state) {
  (void)state;
  pt_backends *b = two();
  b->at[0].up = b->at[1].up = false;
  pt_backends_sum_up(b);
  assert_int_equal(b->nup, 0);
  assert_false(b->known);
  b->known = true;
  b->hello.max_batch = 77;
  pt_backends_sum_up(b);
  assert_true(b->known);
  assert_int_equal(b->hello.max_batch, 77);
  pt_backends_unref(b);
}

static void every_field_clients_see_counts(void **state) {
  (void)state;
  pt_server_hello h[9];
  for (unsigned i = 0; i < 9; i++)
    h[i] = newest;
  h[0].writable = false;
  h[1].isdbgrid = false;
  h[2].max_bson--;
  h[3].max_message--;
  h[4].max_batch--;
  h[5].min_wire--;
  h[6].max_wire--;
  h[7].session_minutes--;
  h[8].compressors--;
  for (unsigned i = 0; i < 9; i++)
    assert_false(pt_backends_same_view(&h[i], &newest));
  h[0] = newest;
  h[0].counter++;
  h[0].process_id[0]++;
  assert_true(pt_backends_same_view(&h[0], &newest));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(are_found_by_id),
      cmocka_unit_test(one_alone_is_told_as_it_is),
      cmocka_unit_test(what_holds_for_all_is_told),
      cmocka_unit_test(with_none_up_the_last_word_stays),
      cmocka_unit_test(every_field_clients_see_counts),
  };
  return cmocka_run_group_tests_name("backends", tests, NULL, NULL);
}
