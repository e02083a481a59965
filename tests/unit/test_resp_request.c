/* Request framing: whole, at every fragmentation, at the limits, and every error in Redis' own words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/resp.h"

static const pt_resp_limits limits = {.max_bulk = 512 << 20, .max_args = PT_RESP_MAX_ARGS};

/* Scans a copy that ends with its last byte, so that AddressSanitizer sees a read too far. */
static int scan(const void *bytes, size_t n, pt_frame *f) {
  static uint8_t *copy;
  free(copy);
  copy = malloc(n ? n : 1);
  memcpy(copy, bytes, n);
  return pt_request_scan(copy, n, &limits, f);
}

static int scan_text(const char *text, pt_frame *f) { return scan(text, strlen(text), f); }

static void assert_arg(const pt_arg *a, const char *text) {
  assert_int_equal(a->n, strlen(text));
  assert_memory_equal(a->p, text, a->n);
}

static void finds_one_request(void **state) {
  (void)state;
  pt_frame f;
  assert_int_equal(scan_text("*3\r\n$3\r\nSET\r\n$12\r\nkey:00000001\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n", &f), PT_RESP_OK);
  assert_int_equal(f.len, strlen("*3\r\n$3\r\nSET\r\n$12\r\nkey:00000001\r\n$0\r\n\r\n"));
  assert_int_equal(f.argc, 3);
  assert_int_equal(f.nargs, 3);
  assert_int_equal(f.inlined, 0);
  assert_arg(&f.args[0], "SET");
  assert_arg(&f.args[1], "key:00000001");
  assert_arg(&f.args[2], "");
}

static void keeps_the_first_eight_arguments(void **state) {
  (void)state;
  char text[512] = "*12\r\n";
  for (int i = 0; i < 12; i++)
    strcat(text, i % 2 ? "$1\r\nb\r\n" : "$3\r\naaa\r\n");
  pt_frame f;
  assert_int_equal(scan_text(text, &f), PT_RESP_OK);
  assert_int_equal(f.argc, 12);
  assert_int_equal(f.nargs, PT_FRAME_ARGS);
  assert_arg(&f.args[7], "b");
  pt_arg all[12];
  assert_int_equal(pt_request_args((uint8_t *)text, f.len, all, 12), 12);
  for (int i = 0; i < 12; i++)
    assert_arg(&all[i], i % 2 ? "b" : "aaa");
  pt_arg two[3] = {{0}, {0}, {(uint8_t *)text, 77}};
  assert_int_equal(pt_request_args((uint8_t *)text, f.len, two, 2), 12);
  assert_arg(&two[1], "b");
  assert_int_equal(two[2].n, 77);
}

/* Bytes of every kind of request; each prefix is incomplete, with the arguments that are there and a need that never exceeds the truth. */
static void every_prefix_is_incomplete(void **state) {
  (void)state;
  char three[1100] = "*2\r\n$1000\r\n";
  memset(three + strlen(three), 'v', 1000);
  strcat(three, "\r\n$1\r\nx\r\n");
  const char *samples[] = {"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000012\r\n",
                           "*1\r\n$4\r\nPING\r\n",
                           "*2\r\n$0\r\n\r\n$0\r\n\r\n",
                           three,
                           "*0\r\n",
                           "*-1\r\n",
                           "*-12\r\n"};
  for (size_t s = 0; s < sizeof samples / sizeof *samples; s++) {
    size_t whole = strlen(samples[s]);
    pt_frame f, part;
    assert_int_equal(scan_text(samples[s], &f), PT_RESP_OK);
    assert_int_equal(f.len, whole);
    uint64_t need = 0;
    for (size_t n = 0; n < whole; n++) {
      assert_int_equal(scan(samples[s], n, &part), PT_RESP_MORE);
      assert_true(part.need <= whole);
      assert_true(part.need >= need);
      assert_true(part.need == 0 || part.need > n);
      assert_true(part.nargs <= f.nargs);
      for (int i = 0; i < part.nargs; i++)
        assert_int_equal(part.args[i].n, f.args[i].n);
      need = part.need;
    }
  }
}

static void tells_what_it_needs(void **state) {
  (void)state;
  pt_frame f;
  assert_int_equal(scan_text("*", &f), PT_RESP_MORE);
  assert_int_equal(f.need, 0);
  assert_int_equal(scan_text("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000000\r\nabc", &f), PT_RESP_MORE);
  assert_int_equal(f.argc, 3);
  assert_int_equal(f.nargs, 2);
  assert_arg(&f.args[1], "k");
  assert_int_equal(f.need, strlen("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000000\r\n") + 100000000 + 2);
  /* A long header of which the end is missing is more than the least argument. */
  assert_int_equal(scan_text("*3\r\n$100000", &f), PT_RESP_MORE);
  assert_int_equal(f.need, strlen("*3\r\n$100000") + 1 + 2 * 6);
  /* Each argument still to come takes six bytes at least. */
  assert_int_equal(scan_text("*1000000\r\n", &f), PT_RESP_MORE);
  assert_int_equal(f.need, 10 + 6 * 1000000);
}

static void nothing_to_do(void **state) {
  (void)state;
  const char *empty[] = {"*0\r\n", "*-1\r\n", "*-5\r\n"};
  pt_frame f;
  for (int i = 0; i < 3; i++) {
    assert_int_equal(scan_text(empty[i], &f), PT_RESP_OK);
    assert_int_equal(f.argc, 0);
    assert_int_equal(f.inlined, 0);
    assert_int_equal(f.len, strlen(empty[i]));
  }
}

/* Answers of a real redis-server 7.0 to the same bytes; the last three are ours, where it looks away. */
static void errors_in_redis_words(void **state) {
  (void)state;
  static const struct {
    const char *bytes, *error;
  } bad[] = {
      {"*a\r\n", "invalid multibulk length"},
      {"*\r\n", "invalid multibulk length"},
      {"* 1\r\n", "invalid multibulk length"},
      {"*+1\r\n", "invalid multibulk length"},
      {"*01\r\n", "invalid multibulk length"},
      {"*00\r\n", "invalid multibulk length"},
      {"*-0\r\n", "invalid multibulk length"},
      {"*1048577\r\n", "invalid multibulk length"},
      {"*2147483648\r\n", "invalid multibulk length"},
      {"*4294967298\r\n", "invalid multibulk length"},
      {"*99999999999999999999\r\n", "invalid multibulk length"},
      {"*1\r\n:4\r\n", "expected '$', got ':'"},
      {"*1\r\n\x01\r\n", "expected '$', got '\x01'"},
      {"*1\r\n\xff"
       "4\r\n",
       "expected '$', got '\xff'"},
      {"*1\r\n\r\n", "expected '$', got ' '"},
      {"*1\r\n\n\r\n", "expected '$', got ' '"},
      {"*2\r\n$1\r\na\r\nx\r\n", "expected '$', got 'x'"},
      {"*1\r\n$-1\r\n", "invalid bulk length"},
      {"*1\r\n$a\r\n", "invalid bulk length"},
      {"*1\r\n$\r\n", "invalid bulk length"},
      {"*1\r\n$04\r\n", "invalid bulk length"},
      {"*1\r\n$1 \r\n", "invalid bulk length"},
      {"*1\r\n$536870913\r\n", "invalid bulk length"},
      {"*1\r\n$4294967297\r\n", "invalid bulk length"},
      {"*1\r\n$9223372036854775808\r\n", "invalid bulk length"},
      {"*1\rx", "invalid multibulk length"},
      {"*1\r\n$4\rx", "invalid bulk length"},
      {"*1\r\n$4\r\nPINGxx", "invalid bulk length"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char want[128] = "ERR Protocol error: ";
    strcat(want, bad[i].error);
    pt_frame f;
    for (size_t n = 0; n < strlen(bad[i].bytes); n++)
      assert_int_equal(scan(bad[i].bytes, n, &f), PT_RESP_MORE);
    assert_int_equal(scan_text(bad[i].bytes, &f), PT_RESP_BAD);
    assert_string_equal(f.error, want);
  }
}

static void lines_without_end(void **state) {
  (void)state;
  static const struct {
    const char *start, *error;
  } bad[] = {
      {"*1", "ERR Protocol error: too big mbulk count string"},
      {"*1\r\n$1", "ERR Protocol error: too big bulk count string"},
      {"*1\r\nx", "ERR Protocol error: too big bulk count string"},
      {"PING ", "ERR Protocol error: too big inline request"},
  };
  static char text[PT_RESP_MAX_INLINE + 16];
  for (int i = 0; i < 4; i++) {
    memset(text, '1', sizeof text);
    memcpy(text, bad[i].start, strlen(bad[i].start));
    size_t line = i == 1 || i == 2 ? 4 : 0;
    pt_frame f;
    assert_int_equal(scan(text, line + PT_RESP_MAX_INLINE, &f), PT_RESP_MORE);
    assert_int_equal(scan(text, line + PT_RESP_MAX_INLINE + 1, &f), PT_RESP_BAD);
    assert_string_equal(f.error, bad[i].error);
    /* An end that comes too late changes nothing. */
    memcpy(text + sizeof text - 2, "\r\n", 2);
    assert_int_equal(scan(text, sizeof text, &f), PT_RESP_BAD);
    assert_string_equal(f.error, bad[i].error);
  }
}

static void limits_are_inclusive(void **state) {
  (void)state;
  const pt_resp_limits small = {.max_bulk = 4, .max_args = 2};
  pt_frame f;
  const char *fits = "*2\r\n$4\r\nECHO\r\n$4\r\nabcd\r\n", *long_bulk = "*2\r\n$4\r\nECHO\r\n$5\r\nabcde\r\n", *many = "*3\r\n";
  assert_int_equal(pt_request_scan((const uint8_t *)fits, strlen(fits), &small, &f), PT_RESP_OK);
  assert_int_equal(pt_request_scan((const uint8_t *)long_bulk, strlen(long_bulk), &small, &f), PT_RESP_BAD);
  assert_string_equal(f.error, "ERR Protocol error: invalid bulk length");
  assert_int_equal(pt_request_scan((const uint8_t *)many, strlen(many), &small, &f), PT_RESP_BAD);
  assert_string_equal(f.error, "ERR Protocol error: invalid multibulk length");
  /* A length that no pt_arg can hold is refused, whatever the configuration says. */
  const pt_resp_limits vast = {.max_bulk = UINT64_MAX, .max_args = UINT32_MAX};
  const char *huge = "*1\r\n$4294967296\r\n", *large = "*2\r\n$4294967295\r\n";
  assert_int_equal(pt_request_scan((const uint8_t *)huge, strlen(huge), &vast, &f), PT_RESP_BAD);
  assert_int_equal(pt_request_scan((const uint8_t *)large, strlen(large), &vast, &f), PT_RESP_MORE);
  assert_true(f.need > UINT32_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_one_request),
      cmocka_unit_test(keeps_the_first_eight_arguments),
      cmocka_unit_test(every_prefix_is_incomplete),
      cmocka_unit_test(tells_what_it_needs),
      cmocka_unit_test(nothing_to_do),
      cmocka_unit_test(errors_in_redis_words),
      cmocka_unit_test(lines_without_end),
      cmocka_unit_test(limits_are_inclusive),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
