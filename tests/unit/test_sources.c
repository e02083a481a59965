/* Sources: counted right, bounded whatever comes, left from other threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>

#include "base/sources.h"

static void ip_of(uint64_t n, uint8_t ip[16]) {
  memset(ip, 0, 16);
  ip[0] = 0x20;
  memcpy(ip + 1, &n, 7); /* as /64 prefixes differ */
}

static void counted_by_source(void **state) {
  (void)state;
  pt_sources *t = pt_sources_new(1);
  pt_source *a[3], *b, *more = NULL;
  uint8_t one[16], two[16];
  ip_of(1, one);
  ip_of(2, two);
  for (int i = 0; i < 3; i++)
    assert_int_equal(pt_sources_enter(t, one, 64, 3, &a[i]), 0);
  assert_int_equal(pt_sources_enter(t, one, 64, 3, &more), -EDQUOT);
  assert_null(more);
  assert_int_equal(pt_sources_enter(t, two, 64, 3, &b), 0);
  assert_int_equal(pt_sources_enter(t, one, 56, 3, &more), 0); /* another prefix is another source */
  assert_int_equal(pt_sources_count(t), 3);
  pt_source_leave(a[0]);
  assert_int_equal(pt_sources_enter(t, one, 64, 3, &a[0]), 0);
  assert_int_equal(pt_sources_enter(t, one, 64, 3, &more), -EDQUOT);
  assert_int_equal(pt_sources_enter(t, one, 64, 0, &more), 0); /* no limit, but counted */
  assert_int_equal(pt_sources_enter(t, one, 64, 5, &more), 0);
  assert_int_equal(pt_sources_enter(t, one, 64, 5, &more), -EDQUOT);
  pt_source_leave(NULL);
  pt_sources_free(t);
  pt_sources_free(NULL);
}

/* A million sources that come and go leave nothing; those that stay are found again. */
static void bounded_by_who_is_there(void **state) {
  (void)state;
  pt_sources *t = pt_sources_new(2);
  uint8_t ip[16];
  pt_source *s, *stays[500];
  for (uint64_t i = 0; i < 500; i++) {
    ip_of(i, ip);
    assert_int_equal(pt_sources_enter(t, ip, 64, 1, &stays[i]), 0);
  }
  for (uint64_t i = 1000; i < 1000000; i++) {
    ip_of(i, ip);
    assert_int_equal(pt_sources_enter(t, ip, 64, 1, &s), 0);
    pt_source_leave(s);
    assert_in_range(pt_sources_count(t), 500, 1002);
  }
  for (uint64_t i = 0; i < 500; i++) {
    ip_of(i, ip);
    assert_int_equal(pt_sources_enter(t, ip, 64, 1, &s), -EDQUOT);
    pt_source_leave(stays[i]);
    assert_int_equal(pt_sources_enter(t, ip, 64, 1, &s), 0);
  }
  pt_sources_free(t);
}

enum {
  PASSED = 20000
};
static pt_source *handed[PASSED];
static atomic_int given;

static void *leaver(void *arg) {
  for (int i = 0; i < PASSED; i++) {
    while (atomic_load(&given) <= i)
      ;
    pt_source_leave(handed[i]);
  }
  return arg;
}

static void left_from_another_thread(void **state) {
  (void)state;
  pt_sources *t = pt_sources_new(3);
  pthread_t thread;
  uint8_t ip[16];
  assert_int_equal(pthread_create(&thread, NULL, leaver, NULL), 0);
  for (int i = 0; i < PASSED; i++) {
    ip_of((uint64_t)(i % 3000), ip);
    assert_int_equal(pt_sources_enter(t, ip, 64, 0, &handed[i]), 0);
    atomic_store(&given, i + 1);
  }
  pthread_join(thread, NULL);
  for (uint64_t i = 0; i < 3000; i++) {
    pt_source *s;
    ip_of(i, ip);
    assert_int_equal(pt_sources_enter(t, ip, 64, 1, &s), 0); /* nobody is there any more */
  }
  pt_sources_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counted_by_source),
      cmocka_unit_test(bounded_by_who_is_there),
      cmocka_unit_test(left_from_another_thread),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
