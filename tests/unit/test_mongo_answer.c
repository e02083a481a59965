/* Messages made here: what a driver or a server reads of them. */
#include "mongo_cases.h"

static pt_text t;
static pt_pool pool;
static pt_segq out;
static pt_mongo_message m;

static int set_up(void **state) {
  (void)state;
  pt_pool_init(&pool);
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  pt_segq_clear(&out);
  pt_pool_free(&pool);
  return 0;
}

/* Takes the message out of the queue and parses it; its document must be doc. */
static void check(const bson_t *doc) {
  const char *why = NULL;
  bson_t got;
  t.n = out.bytes;
  assert_true(t.n <= sizeof t.p);
  assert_int_equal(pt_segq_peek(&out, t.p, t.n), t.n);
  pt_segq_clear(&out);
  assert_int_equal(pt_mongo_parse(&m, t.p, t.n, MAX, &why), PT_MONGO_OK);
  assert_int_equal(m.h.length, t.n);
  assert_true(bson_init_static(&got, m.body, m.body_len));
  assert_true(bson_equal(&got, doc));
}

static void answers(void **state) {
  (void)state;
  for (int size = 0; size<3000; size += size> 900 && size < 1000 ? 1 : 50) {
    bson_t doc = BSON_INITIALIZER;
    char text[3000];
    memset(text, 'x', sizeof text);
    bson_append_utf8(&doc, "s", -1, text, size);
    assert_int_equal(pt_mongo_answer(&out, &pool, PT_OP_MSG, -3, 44, PT_MSG_MORE | PT_MSG_CHECKSUM, &doc), 0);
    check(&doc);
    assert_int_equal(m.h.opcode, PT_OP_MSG);
    assert_int_equal(m.h.request_id, -3);
    assert_int_equal(m.h.response_to, 44);
    assert_int_equal(m.flags, PT_MSG_MORE); /* there is no checksum, so it must not say so */
    assert_int_equal(pt_mongo_answer(&out, &pool, PT_OP_QUERY, 5, 6, PT_MSG_MORE, &doc), 0);
    check(&doc);
    assert_int_equal(m.h.opcode, PT_OP_REPLY);
    assert_int_equal(m.h.response_to, 6);
    assert_int_equal(m.flags, 8);
    assert_memory_equal(t.p + 20, "\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0", 16);
    bson_destroy(&doc);
  }
}

static void commands(void **state) {
  (void)state;
  bson_t *doc = json("{\"hello\": 1, \"$db\": \"admin\"}");
  assert_int_equal(pt_mongo_command_write(&out, &pool, PT_OP_MSG, 9, doc), 0);
  check(doc);
  assert_int_equal(m.h.opcode, PT_OP_MSG);
  assert_int_equal(m.h.request_id, 9);
  assert_int_equal(m.h.response_to, 0);
  assert_int_equal(m.flags, 0);
  assert_int_equal(pt_mongo_command_write(&out, &pool, PT_OP_QUERY, 9, doc), 0);
  check(doc);
  assert_int_equal(m.h.opcode, PT_OP_QUERY);
  assert_string_equal(m.ns, "admin.$cmd");
  assert_int_equal(m.flags, 4);
  assert_memory_equal(t.p + 31, "\0\0\0\0\xff\xff\xff\xff", 8);
  bson_destroy(doc);
}

static void several_in_one_queue(void **state) {
  (void)state;
  bson_t *doc = json("{\"ping\": 1, \"$db\": \"admin\"}");
  for (int i = 0; i < 5; i++)
    assert_int_equal(pt_mongo_command_write(&out, &pool, PT_OP_MSG, i, doc), 0);
  t.n = pt_segq_peek(&out, t.p, sizeof t.p);
  for (size_t at = 0, i = 0; at < t.n; at += m.h.length, i++) {
    const char *why;
    assert_int_equal(pt_mongo_parse(&m, t.p + at, t.n - at, MAX, &why), PT_MONGO_OK);
    assert_int_equal(m.h.request_id, i);
  }
  pt_segq_clear(&out);
  bson_destroy(doc);
}

static void error_is(const bson_t *doc, const char *expect) {
  bson_t *want = json(expect);
  char *a = bson_as_canonical_extended_json(doc, NULL), *b = bson_as_canonical_extended_json(want, NULL);
  assert_string_equal(a, b);
  assert_true(bson_equal(doc, want)); /* the keys of arrays too */
  bson_free(a);
  bson_free(b);
  bson_destroy(want);
}

static void errors(void **state) {
  (void)state;
  bson_t doc = BSON_INITIALIZER;
  pt_mongo_error(&doc, 43, "CursorNotFound", 0, "cursor id %d not found", 5);
  error_is(&doc, "{\"ok\": 0.0, \"errmsg\": \"cursor id 5 not found\", \"code\": 43, \"codeName\": \"CursorNotFound\"}");
  bson_reinit(&doc);
  pt_mongo_error(&doc, 462, "X", PT_LABEL_OVERLOADED, "busy");
  error_is(&doc,
           "{\"ok\": 0.0, \"errmsg\": \"busy\", \"code\": 462, \"codeName\": \"X\", \"errorLabels\": [\"SystemOverloadedError\", "
           "\"RetryableError\"]}");
  bson_reinit(&doc);
  pt_mongo_error(&doc, 6, "HostUnreachable", PT_LABEL_RETRYABLE_WRITE | PT_LABEL_TRANSIENT | PT_LABEL_OVERLOADED, "x");
  error_is(&doc, "{\"ok\": 0.0, \"errmsg\": \"x\", \"code\": 6, \"codeName\": \"HostUnreachable\", \"errorLabels\": "
                 "[\"RetryableWriteError\", \"TransientTransactionError\", \"SystemOverloadedError\", \"RetryableError\"]}");
  bson_destroy(&doc);
}

/* Whatever is put into it, the message is text that drivers can read. */
static void messages_are_text(void **state) {
  (void)state;
  char name[2000];
  for (int way = 0; way < 3; way++) {
    bson_t doc = BSON_INITIALIZER;
    bson_iter_t it;
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = 0;
    if (way == 1)
      strcpy(name, "bad \xff name");
    for (size_t i = 0; way == 2 && i + 3 < sizeof name; i += 3)
      memcpy(name + i, "\xe2\x82\xac", 3);
    pt_mongo_error(&doc, 1, "InternalError", 0, "no such command: %s", name);
    assert_true(bson_validate(&doc, BSON_VALIDATE_UTF8, NULL));
    assert_true(bson_iter_init_find(&it, &doc, "errmsg"));
    assert_true(strlen(bson_iter_utf8(&it, NULL)) < 512);
    if (way == 1)
      assert_string_equal(bson_iter_utf8(&it, NULL), "no such command: bad ? name");
    bson_destroy(&doc);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(answers), cmocka_unit_test(commands),          cmocka_unit_test(several_in_one_queue),
      cmocka_unit_test(errors),  cmocka_unit_test(messages_are_text),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
