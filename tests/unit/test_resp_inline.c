/* Inline commands: split and unquoted as redis-server 7.0 does it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/resp.h"

/* The arguments of a line joined with '|', "" for an empty line, NULL when the quotes are unbalanced. */
static const char *split(const char *line, size_t n) {
  static char text[4096];
  size_t cap = 8 * n + 32;
  uint8_t *in = malloc(n ? n : 1), *out = malloc(cap);
  memcpy(in, line, n);
  long len = pt_inline_to_resp(in, n, out, cap);
  text[0] = 0;
  if (len > 0) {
    const pt_resp_limits limits = {.max_bulk = 1 << 20, .max_args = 1000};
    pt_frame f;
    pt_arg args[64];
    assert_int_equal(pt_request_scan(out, (size_t)len, &limits, &f), PT_RESP_OK);
    assert_int_equal(f.len, len);
    uint32_t argc = pt_request_args(out, (size_t)len, args, 64);
    assert_int_equal(argc, f.argc);
    size_t at = 0;
    for (uint32_t i = 0; i < argc; i++) {
      memcpy(text + at, args[i].p, args[i].n);
      at += args[i].n;
      text[at++] = '|';
    }
    text[at] = 0;
    /* One byte less does not fit. */
    assert_int_equal(pt_inline_to_resp(in, n, out, (size_t)len - 1), -2);
    assert_int_equal(pt_inline_to_resp(in, n, out, (size_t)len), len);
  }
  free(in);
  free(out);
  assert_true(len >= -1);
  return len < 0 ? NULL : text;
}

static void words_and_quotes(void **state) {
  (void)state;
  static const char *cases[][2] = {
      {"PING\r\n", "PING|"},
      {"PING\n", "PING|"},
      {"PING", "PING|"},
      {"  SET\tk   v \r\n", "SET|k|v|"},
      {"\v\fPING\r\n", "PING|"},
      {"PING a\vb\r\n", "PING|a\vb|"},
      {"PING a\rb\r\n", "PING|a|b|"},
      {"PING \"a b\"\r\n", "PING|a b|"},
      {"PING \"\"\r\n", "PING||"},
      {"PING ''\r\n", "PING||"},
      {"PING \"a\\x41\\n\\r\\t\\b\\a\\q\\\"\\\\\"\r\n", "PING|aA\n\r\t\b\aq\"\\|"},
      {"PING \"\\x4\"\r\n", "PING|x4|"},
      {"PING \"\\xzz\"\r\n", "PING|xzz|"},
      {"PING \"\\xfF\"\r\n", "PING|\xff|"},
      {"PING 'a\\'b\\n\"'\r\n", "PING|a'b\\n\"|"},
      {"PING a\\x41\r\n", "PING|a\\x41|"},
      {"PI\"NG\"\r\n", "PING|"},
      {"\r\n", ""},
      {"\n", ""},
      {"", ""},
      {"   \t \r\n", ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_string_equal(split(cases[i][0], strlen(cases[i][0])), cases[i][1]);
}

static void unbalanced_quotes(void **state) {
  (void)state;
  static const char *cases[] = {"PING \"a\r\n",   "PING 'a\r\n",      "PING \"a\"b\r\n", "PI\"N\"G\r\n", "PING 'a'\"b\"\r\n",
                                "PING \"a\\\r\n", "PING \"a\\\"\r\n", "PING 'a\\'\r\n",  "\"\r\n",       "'",
                                "PING ok \"\\x4"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_null(split(cases[i], strlen(cases[i])));
}

static void a_scan_leads_here(void **state) {
  (void)state;
  const pt_resp_limits limits = {.max_bulk = 1 << 20, .max_args = 1000};
  const char *text = "get k\r\n*1\r\n";
  pt_frame f;
  for (size_t n = 0; n < 7; n++)
    assert_int_equal(pt_request_scan((const uint8_t *)text, n, &limits, &f), PT_RESP_MORE);
  assert_int_equal(pt_request_scan((const uint8_t *)text, strlen(text), &limits, &f), PT_RESP_OK);
  assert_int_equal(f.inlined, 1);
  assert_int_equal(f.argc, 0);
  assert_int_equal(f.nargs, 0);
  assert_int_equal(f.len, 7);
  assert_string_equal(split(text, f.len), "get|k|");
}

/* The worst line there is: one-byte words. */
static void the_promised_room_is_enough(void **state) {
  (void)state;
  enum {
    N = 4095
  };
  uint8_t line[N], *out = malloc(8 * N + 32);
  for (int i = 0; i < N; i++)
    line[i] = i % 2 ? ' ' : 'a';
  assert_int_equal(pt_inline_to_resp(line, N, out, 8 * N + 32), strlen("*2048\r\n") + 2048 * 7);
  free(out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(words_and_quotes),
      cmocka_unit_test(unbalanced_quotes),
      cmocka_unit_test(a_scan_leads_here),
      cmocka_unit_test(the_promised_room_is_enough),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
