/* Histograms, meters of nodes, the ring of slow requests; JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "core/meter.h"

static void buckets_cover_everything_in_order(void **state) {
  (void)state;
  uint64_t last = 0;
  for (unsigned i = 0; i < PT_BUCKETS; i++) {
    uint64_t bound = pt_histogram_bound(i);
    assert_true(bound > last);
    if (i + 1 < PT_BUCKETS) {
      assert_int_equal(pt_histogram_bucket((uint32_t)bound), i); /* bounds are inclusive */
      assert_int_equal(pt_histogram_bucket((uint32_t)bound + 1), i + 1);
    }
    last = bound;
  }
  assert_int_equal(pt_histogram_bucket(0), 0);
  assert_int_equal(pt_histogram_bucket(1), 0);
  assert_int_equal(pt_histogram_bucket(UINT32_MAX), PT_BUCKETS - 1);
  assert_true(pt_histogram_bound(PT_BUCKETS - 2) > 30 * 1000 * 1000);
  for (uint32_t us = 1; us < 40 * 1000 * 1000; us += us / 7 + 1)
    assert_true(us <= pt_histogram_bound(pt_histogram_bucket(us)) &&
                (pt_histogram_bucket(us) == 0 || us > pt_histogram_bound(pt_histogram_bucket(us) - 1)));
}

static void histograms_add_up(void **state) {
  (void)state;
  pt_histogram h = {0};
  pt_histogram_add(&h, 100, 3);
  pt_histogram_add(&h, 1000, 2);
  uint64_t n = 0;
  for (unsigned i = 0; i < PT_BUCKETS; i++)
    n += pt_counted(&h.counts[i]);
  assert_int_equal(n, 5);
  assert_int_equal(pt_counted(&h.sum_us), 2300);
  assert_int_equal(pt_counted(&h.counts[pt_histogram_bucket(100)]), 3);
}

static void a_node_has_one_meter(void **state) {
  pt_meter *m = *state;
  pt_node_meter *a = pt_meter_node(m, "10.0.0.1:6379"), *b = pt_meter_node(m, "10.0.0.2:6379");
  assert_non_null(a);
  assert_ptr_not_equal(a, b);
  assert_ptr_equal(pt_meter_node(m, "10.0.0.1:6379"), a);
  char name[32];
  for (unsigned i = 0; i < 10000; i++) { /* a cluster that names ever new nodes */
    snprintf(name, sizeof name, "n%u:1", i);
    pt_meter_node(m, name);
  }
  assert_true(m->nnodes <= 4096);
  assert_null(pt_meter_node(m, "one more:1"));
  assert_ptr_equal(pt_meter_node(m, "10.0.0.2:6379"), b);
}

static void slow_requests_are_kept_newest_first(void **state) {
  pt_meter *m = *state;
  static pt_slow_entry out[PT_SLOW_MAX];
  char node[200];
  memset(node, 'n', sizeof node);
  node[sizeof node - 1] = 0;
  assert_int_equal(pt_meter_slowest(m, out), 0);
  for (unsigned i = 0; i < PT_SLOW_MAX + 10; i++)
    pt_meter_slow(m, i ? "get" : "a command with a name that is longer than there is room", (int)i, node, i);
  assert_int_equal(pt_meter_slowest(m, out), PT_SLOW_MAX);
  assert_int_equal(out[0].us, PT_SLOW_MAX + 9);
  assert_int_equal(out[PT_SLOW_MAX - 1].us, 10);
  assert_string_equal(out[0].command, "get");
  assert_int_equal(strlen(out[0].node), sizeof out[0].node - 1);
  pthread_mutex_lock(&m->slow_lock); /* somebody reads: the worker does not wait */
  pt_meter_slow(m, "set", 1, "n", 7);
  pthread_mutex_unlock(&m->slow_lock);
  pt_meter_slowest(m, out);
  assert_string_equal(out[0].command, "get");
}

static void few_calls_are_sampled_and_stand_for_all(void **state) {
  pt_meter *m = *state;
  unsigned sampled = 0;
  for (unsigned i = 0; i < 61 * 100 + 1; i++)
    if (pt_meter_samples(m)) {
      sampled++;
      pt_meter_sampled(m, 100);
    }
  assert_int_equal(sampled, 101);
  assert_int_equal(pt_counted(&m->policy_ns), 100 + 100 * 61 * 100);
}

static int setup(void **state) {
  *state = calloc(1, sizeof(pt_meter));
  pt_meter_init(*state);
  return 0;
}

static int teardown(void **state) {
  pt_meter_free(*state);
  free(*state);
  return 0;
}

static void json_is_well_formed(void **state) {
  (void)state;
  char *text;
  size_t n;
  pt_json j = {.out = open_memstream(&text, &n)};
  pt_json_open(&j, NULL, '{');
  pt_json_text(&j, "a\"b", "line\nquote\" back\\ \x01 \xc3\xa9 bad\xff\xc3");
  pt_json_open(&j, "list", '[');
  pt_json_number(&j, NULL, UINT64_MAX);
  pt_json_null(&j, NULL);
  pt_json_open(&j, NULL, '[');
  pt_json_close(&j, ']');
  pt_json_open(&j, NULL, '{');
  pt_json_close(&j, '}');
  pt_json_bool(&j, NULL, false);
  pt_json_close(&j, ']');
  pt_json_real(&j, "real", 1.5);
  pt_json_close(&j, '}');
  fclose(j.out);
  assert_string_equal(text, "{\"a\\\"b\":\"line\\u000aquote\\\" back\\\\ \\u0001 \xc3\xa9 bad\\ufffd\\ufffd\","
                            "\"list\":[18446744073709551615,null,[],{},false],\"real\":1.500000}");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(buckets_cover_everything_in_order),
      cmocka_unit_test(histograms_add_up),
      cmocka_unit_test_setup_teardown(a_node_has_one_meter, setup, teardown),
      cmocka_unit_test_setup_teardown(slow_requests_are_kept_newest_first, setup, teardown),
      cmocka_unit_test_setup_teardown(few_calls_are_sampled_and_stand_for_all, setup, teardown),
      cmocka_unit_test(json_is_well_formed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
