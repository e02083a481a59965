/* Replies as trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/resp.h"

static pt_node pool[64];

static pt_node *tree(const char *text) { return pt_reply_tree((const uint8_t *)text, strlen(text), pool, 64); }

static void assert_text(const pt_node *n, char type, const char *text) {
  assert_int_equal(n->type, type);
  assert_int_equal(n->n, strlen(text));
  assert_memory_equal(n->p, text, n->n);
}

static void scalars(void **state) {
  (void)state;
  assert_text(tree("+OK\r\n"), '+', "OK");
  assert_text(tree("-ERR x\r\n"), '-', "ERR x");
  assert_text(tree("$5\r\na\r\nbc\r\n"), '$', "a\r\nbc");
  assert_text(tree("$0\r\n\r\n"), '$', "");
  assert_text(tree("=7\r\ntxt:abc\r\n"), '=', "abc");
  assert_text(tree("=2\r\nab\r\n"), '=', "ab");
  assert_text(tree("!5\r\nERR x\r\n"), '-', "ERR x");
  assert_text(tree(",1.5\r\n"), ',', "1.5");
  assert_text(tree("(123\r\n"), '(', "123");
  assert_int_equal(tree(":0\r\n")->num, 0);
  assert_int_equal(tree(":-42\r\n")->num, -42);
  assert_true(tree(":-9223372036854775808\r\n")->num == INT64_MIN);
  assert_int_equal(tree("#t\r\n")->num, 1);
  assert_int_equal(tree("#f\r\n")->num, 0);
  assert_int_equal(tree("_\r\n")->type, '_');
  assert_int_equal(tree("$-1\r\n")->type, '_');
  assert_int_equal(tree("*-1\r\n")->type, '_');
}

static void aggregates(void **state) {
  (void)state;
  pt_node *n = tree("*3\r\n:1\r\n*2\r\n+a\r\n$1\r\nb\r\n%1\r\n+k\r\n~0\r\n");
  assert_int_equal(n->type, '*');
  assert_int_equal(n->num, 3);
  n = n->child;
  assert_int_equal(n->num, 1);
  n = n->next;
  assert_text(n->child, '+', "a");
  assert_text(n->child->next, '$', "b");
  assert_null(n->child->next->next);
  n = n->next;
  assert_int_equal(n->type, '%');
  assert_int_equal(n->num, 2);
  assert_text(n->child, '+', "k");
  assert_int_equal(n->child->next->type, '~');
  assert_null(n->child->next->child);
  assert_null(n->next);
  assert_int_equal(tree(">1\r\n+x\r\n")->type, '>');
}

static void attributes_are_left_out(void **state) {
  (void)state;
  assert_int_equal(tree("|1\r\n+ttl\r\n*1\r\n:9\r\n:7\r\n")->num, 7);
  pt_node *n = tree("*2\r\n|0\r\n|1\r\n|1\r\n+a\r\n:1\r\n+b\r\n:2\r\n:7\r\n:8\r\n");
  assert_int_equal(n->child->num, 7);
  assert_int_equal(n->child->next->num, 8);
}

static void what_has_no_tree(void **state) {
  (void)state;
  const char *text = "*2\r\n:1\r\n$1\r\na\r\n";
  for (size_t n = 0; n < strlen(text); n++)
    assert_null(pt_reply_tree((const uint8_t *)text, n, pool, 64));
  assert_null(tree("*1\r\nx\r\n"));
  /* The pool's size is exact. */
  assert_non_null(pt_reply_tree((const uint8_t *)text, strlen(text), pool, 3));
  assert_null(pt_reply_tree((const uint8_t *)text, strlen(text), pool, 2));
  assert_null(pt_reply_tree((const uint8_t *)text, strlen(text), pool, 0));
  /* So is the depth. */
  char deep[256] = "";
  for (int i = 0; i < PT_RESP_MAX_DEPTH; i++)
    strcat(deep, "*1\r\n");
  strcat(deep, ":1\r\n");
  assert_non_null(tree(deep));
  char deeper[256] = "*1\r\n";
  assert_null(tree(strcat(deeper, deep)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scalars),
      cmocka_unit_test(aggregates),
      cmocka_unit_test(attributes_are_left_out),
      cmocka_unit_test(what_has_no_tree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
