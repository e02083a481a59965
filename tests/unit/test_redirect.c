/* What a node's error line means: every form that redis-server 7 sends, and what must stay an ordinary error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/redirect.h"

static pt_redirect parse(const char *line, pt_redirect_target *t) {
  char heap[512]; /* exact size, so that the sanitizer sees a read behind the end */
  size_t n = strlen(line);
  memcpy(heap + sizeof heap - n, line, n);
  memset(t, 0, sizeof *t);
  return pt_redirect_parse((const uint8_t *)heap + sizeof heap - n, n, t);
}

static void targets(void **state) {
  (void)state;
  pt_redirect_target t;
  assert_int_equal(parse("-MOVED 3999 127.0.0.1:6381\r\n", &t), PT_REDIRECT_MOVED);
  assert_int_equal(t.slot, 3999);
  assert_string_equal(t.host, "127.0.0.1");
  assert_int_equal(t.port, 6381);
  assert_int_equal(parse("-ASK 16383 cache-3.example.com:6380\r\n", &t), PT_REDIRECT_ASK);
  assert_int_equal(t.slot, 16383);
  assert_string_equal(t.host, "cache-3.example.com");
  assert_int_equal(parse("-MOVED 0 :6381\r\n", &t), PT_REDIRECT_MOVED);
  assert_string_equal(t.host, "");
  assert_int_equal(parse("-MOVED 0 ?:6381\r\n", &t), PT_REDIRECT_MOVED);
  assert_string_equal(t.host, "");
  assert_int_equal(parse("-MOVED 1 ::1:6381\r\n", &t), PT_REDIRECT_MOVED);
  assert_string_equal(t.host, "::1");
  assert_int_equal(parse("-MOVED 1 [fe80::2]:6381\r\n", &t), PT_REDIRECT_MOVED);
  assert_string_equal(t.host, "fe80::2");
}

static void malformed_ones_are_plain_errors(void **state) {
  (void)state;
  pt_redirect_target t;
  char line[400];
  static const char *const bad[] = {"-MOVED\r\n",
                                    "-MOVED \r\n",
                                    "-MOVED 1\r\n",
                                    "-MOVED 1 \r\n",
                                    "-MOVED 16384 a:1\r\n",
                                    "-MOVED x a:1\r\n",
                                    "-MOVED 1 a:0\r\n",
                                    "-MOVED 1 a:65536\r\n",
                                    "-MOVED 1 a:\r\n",
                                    "-MOVED 1 a:12x\r\n",
                                    "-MOVED 1 nocolon\r\n",
                                    "-MOVED 99999999999 a:1\r\n",
                                    "-MOVEDX 1 a:1\r\n",
                                    "-ASK\r\n",
                                    "-\r\n",
                                    "-A\r\n"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(parse(bad[i], &t), PT_REDIRECT_NONE);
  snprintf(line, sizeof line, "-MOVED 1 %0300d:1\r\n", 7);
  assert_int_equal(parse(line, &t), PT_REDIRECT_NONE);
}

static void later_and_down(void **state) {
  (void)state;
  pt_redirect_target t;
  assert_int_equal(parse("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", &t), PT_REDIRECT_LATER);
  assert_int_equal(parse("-CLUSTERDOWN The cluster is down\r\n", &t), PT_REDIRECT_DOWN);
  assert_int_equal(parse("-LOADING Redis is loading the dataset in memory\r\n", &t), PT_REDIRECT_DOWN);
  assert_int_equal(parse("-MASTERDOWN Link with MASTER is down\r\n", &t), PT_REDIRECT_DOWN);
  assert_int_equal(parse("-READONLY You can't write against a read only replica.\r\n", &t), PT_REDIRECT_DOWN);
  assert_int_equal(parse("-ERR no such key\r\n", &t), PT_REDIRECT_NONE);
  assert_int_equal(parse("-WRONGTYPE Operation against a key\r\n", &t), PT_REDIRECT_NONE);
  assert_int_equal(parse("-LOADINGS x\r\n", &t), PT_REDIRECT_NONE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(targets),
      cmocka_unit_test(malformed_ones_are_plain_errors),
      cmocka_unit_test(later_and_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
