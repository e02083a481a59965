/* Reply framing: every type, every fragmentation, and what is no reply. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/resp.h"

/* Feeds pieces of step bytes (what is not used is kept), each in memory of its own. Returns the last result; *end: where the reply ended. */
static int feed(const char *bytes, size_t n, size_t step, size_t *end) {
  pt_reply r = {0};
  size_t at = 0, have = 0;
  int e = PT_RESP_MORE;
  while (e == PT_RESP_MORE && at + have < n) {
    have = at + have + step < n ? have + step : n - at;
    uint8_t *piece = malloc(have);
    memcpy(piece, bytes + at, have);
    size_t used = 0;
    e = pt_reply_scan(&r, piece, have, &used);
    free(piece);
    assert_true(used <= have);
    at += used;
    have -= used;
    if (e != PT_RESP_BAD)
      assert_int_equal(r.inside, e == PT_RESP_MORE && at > 0);
  }
  *end = at;
  return e;
}

static const char *replies[] = {
    "+OK\r\n",
    "+\r\n",
    "+PONG\r\n",
    "+a\rb\nc\r\n",
    "-ERR unknown command 'x'\r\n",
    ":0\r\n",
    ":1\r\n",
    ":-1\r\n",
    ":1234567890\r\n",
    ":9223372036854775807\r\n",
    ":-9223372036854775808\r\n",
    "$0\r\n\r\n",
    "$-1\r\n",
    "$5\r\nhello\r\n",
    "$12\r\n\r\n$5\r\n*3\r\n:1\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*2\r\n$1\r\na\r\n$-1\r\n",
    "*3\r\n:1\r\n*2\r\n+a\r\n-ERR b\r\n*0\r\n",
    "_\r\n",
    "#t\r\n",
    "#f\r\n",
    ",3.25\r\n",
    ",inf\r\n",
    "(3492890328409238509324850943850943825024385\r\n",
    "=15\r\ntxt:Some string\r\n",
    "!21\r\nSYNTAX invalid syntax\r\n",
    "%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:1\r\n:2\r\n",
    "~3\r\n+a\r\n#t\r\n_\r\n",
    ">2\r\n+pubsub\r\n+message\r\n",
    "|1\r\n+ttl\r\n:3600\r\n*2\r\n:1\r\n:2\r\n",
    "|0\r\n:1\r\n",
    "*2\r\n|1\r\n+a\r\n*1\r\n:9\r\n:1\r\n:2\r\n",
    "|1\r\n+a\r\n|1\r\n+b\r\n:1\r\n:2\r\n+OK\r\n",
    "%0\r\n",
};
enum {
  NREPLIES = sizeof replies / sizeof *replies
};

static void every_fragmentation(void **state) {
  (void)state;
  for (size_t i = 0; i < NREPLIES; i++) {
    size_t n = strlen(replies[i]), end;
    /* What follows belongs to the next reply. */
    char text[128];
    strcpy(text, replies[i]);
    strcat(text, "+NEXT\r\n");
    for (size_t step = 1; step <= strlen(text); step++) {
      assert_int_equal(feed(text, strlen(text), step, &end), PT_RESP_OK);
      assert_int_equal(end, n);
    }
    for (size_t cut = 0; cut < n; cut++)
      assert_int_equal(feed(text, cut, cut ? cut : 1, &end), PT_RESP_MORE);
  }
}

static void pipelined(void **state) {
  (void)state;
  char text[4096] = "";
  for (size_t i = 0; i < NREPLIES; i++)
    strcat(text, replies[i]);
  pt_reply r = {0};
  size_t at = 0, used;
  for (size_t i = 0; i < NREPLIES; i++) {
    assert_int_equal(pt_reply_scan(&r, (uint8_t *)text + at, strlen(text) - at, &used), PT_RESP_OK);
    assert_int_equal(used, strlen(replies[i]));
    at += used;
  }
  assert_int_equal(at, strlen(text));
  assert_int_equal(pt_reply_scan(&r, (uint8_t *)text + at, 0, &used), PT_RESP_MORE);
  assert_int_equal(used, 0);
}

static void what_is_no_reply(void **state) {
  (void)state;
  static const char *bad[] = {
      "x\r\n",
      "\r\n",
      "PONG\r\n",
      ":\r\n",
      ":a\r\n",
      ":1a\r\n",
      ":01\r\n",
      ":9223372036854775808\r\n",
      ":1\rx",
      ":111111111111111111111111",
      "$a\r\n",
      "$\r\n",
      "$-2\r\n",
      "$1\rx",
      "$1\r\nab\r\n",
      "$1\r\na\rb",
      "$99999999999999999999\r\n",
      "$1099511627777\r\n",
      "$?\r\n",
      "*?\r\n",
      "*-2\r\n",
      "*4294967297\r\n",
      "%-1\r\n",
      "~-1\r\n",
      "|-1\r\n",
      "=-1\r\n",
      "!-1\r\n",
      ";1\r\n",
      ".\r\n",
      "_x\r\n",
      "#x\r\n",
      "#tt\r\n",
      "*1\r\n>1\r\n:1\r\n",
      "*1\r\nx\r\n",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    size_t end;
    for (size_t step = 1; step <= strlen(bad[i]); step++)
      if (feed(bad[i], strlen(bad[i]), step, &end) != PT_RESP_BAD)
        fail_msg("%s in pieces of %zu is taken", bad[i], step);
  }
}

/* Values pass without being kept: nothing but the CRLF of the payload is looked at. */
static void a_large_value_passes_in_pieces(void **state) {
  (void)state;
  enum {
    PIECE = 1000,
    PIECES = 1049
  };
  uint8_t piece[PIECE + 2];
  memset(piece, '\r', sizeof piece);
  pt_reply r = {0};
  size_t used;
  assert_int_equal(pt_reply_scan(&r, (const uint8_t *)"*2\r\n$1049000\r\n", 14, &used), PT_RESP_MORE);
  assert_int_equal(used, 14);
  for (int i = 0; i < PIECES; i++) {
    assert_int_equal(pt_reply_scan(&r, piece, PIECE, &used), PT_RESP_MORE);
    assert_int_equal(used, PIECE);
  }
  assert_int_equal(pt_reply_scan(&r, (const uint8_t *)"\r\n:1\r\n:2\r\n", 10, &used), PT_RESP_OK);
  assert_int_equal(used, 6);
}

/* A script can answer with an error of any length, and nest as deep as it likes: other clients' replies follow on the same link. */
static void scripts_cannot_break_a_link(void **state) {
  (void)state;
  enum {
    LONG = 3 * PT_RESP_MAX_INLINE
  };
  char *text = malloc(LONG + 16);
  size_t end;
  memset(text, 'e', LONG);
  text[0] = '-';
  text[LONG / 2] = '\n';
  text[LONG / 2 + 9] = '\r';
  memcpy(text + LONG, "\r\n+NEXT\r\n", 10);
  static const size_t steps[] = {1, 1000, PT_RESP_MAX_INLINE + 2, LONG + 1, LONG + 9};
  for (size_t i = 0; i < 5; i++) {
    assert_int_equal(feed(text, LONG + 9, steps[i], &end), PT_RESP_OK);
    assert_int_equal(end, LONG + 2);
  }
  for (size_t i = 0; i < LONG; i += 4)
    memcpy(text + i, "*1\r\n", 4);
  memcpy(text + LONG, ":1\r\n", 5);
  assert_int_equal(feed(text, LONG + 4, 1000, &end), PT_RESP_OK);
  assert_int_equal(end, LONG + 4);
  free(text);
}

/* Counts that would overflow a sum are refused before they do. */
static void sums_do_not_overflow(void **state) {
  (void)state;
  pt_reply r = {0};
  size_t used;
  int e = PT_RESP_MORE, n = 0;
  while (e == PT_RESP_MORE && ++n < 1000)
    e = pt_reply_scan(&r, (const uint8_t *)"%4294967296\r\n", 13, &used);
  assert_int_equal(e, PT_RESP_BAD);
  assert_true(r.left < 1ull << 42);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_fragmentation),
      cmocka_unit_test(pipelined),
      cmocka_unit_test(what_is_no_reply),
      cmocka_unit_test(a_large_value_passes_in_pieces),
      cmocka_unit_test(scripts_cannot_break_a_link),
      cmocka_unit_test(sums_do_not_overflow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
