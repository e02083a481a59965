/* Replies followed in any pieces: what is found, where they end, and what is none. */
#include "mongo_cases.h"

#include "wire/mongo_reply.h"

static pt_text t;

typedef struct found {
  pt_scan_result result;
  size_t end; /* bytes consumed */
  int cursors;
  size_t cursor_at;
  pt_mongo_scan s;
} found;

/* Feeds pieces of step bytes, each in memory of its own; what is not used comes again. */
static found feed(const uint8_t *p, size_t n, size_t step) {
  found f = {.result = PT_SCAN_MORE};
  size_t have = 0;
  while (f.result == PT_SCAN_MORE && f.end + have < n) {
    have = f.end + have + step < n ? have + step : n - f.end;
    uint8_t *piece = copy_of(p + f.end, have), *at;
    size_t used, off = 0;
    while ((f.result = pt_mongo_scan_feed(&f.s, piece + off, have - off, MAX, &used, &at)) == PT_SCAN_CURSOR) {
      assert_true(at >= piece + off && at + 8 <= piece + off + used);
      off += used;
      f.cursors++;
      f.cursor_at = f.end + (size_t)(at - piece);
      assert_memory_equal(at, &f.s.cursor, 8);
    }
    free(piece);
    if (f.result == PT_SCAN_BAD)
      break;
    off += used;
    assert_true(off <= have);
    f.end += off;
    have -= off;
    assert_true(f.result == PT_SCAN_END || have <= 20);
    assert_int_equal(f.s.seen, f.end);
    assert_int_equal(f.s.whole, f.result == PT_SCAN_END);
  }
  return f;
}

static void same(const found *a, const found *b) {
  assert_int_equal(a->result, b->result);
  assert_int_equal(a->end, b->end);
  assert_int_equal(a->cursors, b->cursors);
  assert_int_equal(a->cursor_at, b->cursor_at);
  assert_memory_equal(&a->s.h, &b->s.h, sizeof a->s.h);
  assert_int_equal(a->s.flags, b->s.flags);
  assert_int_equal(a->s.has_ok, b->s.has_ok);
  assert_int_equal(a->s.ok, b->s.ok);
  assert_int_equal(a->s.has_cursor, b->s.has_cursor);
  assert_true(a->s.cursor == b->s.cursor);
  assert_int_equal(a->s.code, b->s.code);
}

/* The message in t, in pieces of all sizes, with another one behind it, and cut off everywhere. */
static found everywhere(void) {
  size_t n = t.n;
  found whole = feed(t.p, n, n);
  assert_int_equal(whole.result, PT_SCAN_END);
  assert_int_equal(whole.end, n);
  put(&t, "next message", 12);
  for (size_t step = 1; step <= t.n; step += 1 + step / 50) {
    found f = feed(t.p, t.n, step);
    same(&f, &whole);
  }
  for (size_t cut = 1; cut < n; cut++) {
    found f = feed(t.p, cut, cut);
    assert_int_equal(f.result, PT_SCAN_MORE);
    f = feed(t.p, cut, 3);
    assert_int_equal(f.result, PT_SCAN_MORE);
  }
  t.n = n;
  return whole;
}

static void a_find(void **state) {
  (void)state;
  make_msg(
      &t, PT_MSG_MORE,
      "{\"cursor\": {\"firstBatch\": [{\"_id\": 1, \"ok\": 0, \"cursor\": {\"id\": {\"$numberLong\": \"9\"}}}, {\"code\": 5}], "
      "\"id\": {\"$numberLong\": \"1311768467463790320\"}, \"ns\": \"shop.c\"}, \"ok\": 1.0, " CLUSTER_TIME
      ", \"operationTime\": {\"$timestamp\": {\"t\": 1, \"i\": 2}}}");
  found f = everywhere();
  assert_true(f.s.has_ok && f.s.ok && f.s.has_cursor && f.s.whole);
  assert_int_equal(f.cursors, 1);
  assert_true(f.s.cursor == 0x123456789abcdef0);
  assert_int_equal(f.s.code, 0);
  assert_int_equal(f.s.flags, PT_MSG_MORE);
  assert_int_equal(f.s.h.length, t.n);
  assert_memory_equal(t.p + f.cursor_at, &f.s.cursor, 8);
}

/* The id is changed in place and the message goes on. */
static void the_id_may_be_changed(void **state) {
  (void)state;
  make_msg(&t, 0, "{\"cursor\": {\"id\": {\"$numberLong\": \"5\"}, \"nextBatch\": []}, \"ok\": 1}");
  pt_mongo_scan s = {0};
  size_t used, more;
  uint8_t *at;
  assert_int_equal(pt_mongo_scan_feed(&s, t.p, t.n, MAX, &used, &at), PT_SCAN_CURSOR);
  assert_ptr_equal(at + 8, t.p + used);
  int64_t id = 77;
  memcpy(at, &id, 8);
  assert_int_equal(pt_mongo_scan_feed(&s, t.p + used, t.n - used, MAX, &more, &at), PT_SCAN_END);
  assert_int_equal(used + more, t.n);
  assert_true(s.cursor == 5); /* as the backend gave it */
  assert_true(feed(t.p, t.n, t.n).s.cursor == 77);
  /* There is one id. */
  make_msg(
      &t, 0,
      "{\"cursor\": {\"id\": {\"$numberLong\": \"5\"}, \"id\": {\"$numberLong\": \"6\"}}, \"cursor\": {\"id\": {\"$numberLong\": "
      "\"7\"}}, \"ok\": 1}");
  found f = everywhere();
  assert_true(f.cursors == 1 && f.s.cursor == 5);
  /* Nothing behind the end is touched before the scan is made ready for the next. */
  assert_int_equal(pt_mongo_scan_feed(&s, t.p, t.n, MAX, &used, &at), PT_SCAN_END);
  assert_int_equal(used, 0);
}

static void ok_of_all_types(void **state) {
  (void)state;
  static const struct {
    const char *s;
    bool has, ok;
    int code;
  } list[] = {
      {"{\"ok\": 1}", true, true, 0},
      {"{\"ok\": 1.0}", true, true, 0},
      {"{\"ok\": {\"$numberLong\": \"1\"}}", true, true, 0},
      {"{\"ok\": true}", true, true, 0},
      {"{\"ok\": 0}", true, false, 0},
      {"{\"ok\": 0.0, \"errmsg\": \"no\", \"code\": 43, \"codeName\": \"CursorNotFound\"}", true, false, 43},
      {"{\"ok\": {\"$numberLong\": \"0\"}, \"code\": {\"$numberLong\": \"6\"}}", true, false, 6},
      {"{\"ok\": false, \"code\": -7.0}", true, false, -7},
      {"{\"ok\": 0, \"code\": 1e300}", true, false, 0},
      {"{\"ok\": \"1\"}", false, false, 0},
      {"{\"x\": {\"ok\": 1, \"code\": 5}, \"oks\": 1, \"o\": 1, \"code \": 1}", false, false, 0},
      {"{}", false, false, 0},
      {"{\"cursor\": 5, \"id\": {\"$numberLong\": \"5\"}, \"ok\": 1}", true, true, 0},
      {"{\"cursor\": {\"id\": 5, \"code\": 4, \"ok\": 1}}", false, false, 0},
      {"{\"cursor\": [{\"$numberLong\": \"5\"}], \"cursor\": {}, \"ok\": 1}", true, true, 0},
      {"{\"cursor\": {\"x\": {\"id\": {\"$numberLong\": \"5\"}}}, \"ok\": 1}", true, true, 0},
  };
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    for (int opcode = 0; opcode < 2; opcode++) {
      if (opcode)
        make_reply(&t, list[i].s);
      else
        make_msg(&t, 0, list[i].s);
      found f = everywhere();
      if (f.s.has_ok != list[i].has || f.s.ok != list[i].ok || f.s.code != list[i].code || f.cursors)
        fail_msg("%s", list[i].s);
    }
}

/* Values of every type, on the top and in "cursor", before and behind what is looked for. */
static void every_type_is_passed(void **state) {
  (void)state;
  bson_t *all = every_type(), cursor, d = BSON_INITIALIZER;
  bson_concat(&d, all);
  bson_append_document_begin(&d, "cursor", -1, &cursor);
  bson_concat(&cursor, all);
  bson_append_int64(&cursor, "id", -1, 12345);
  bson_concat(&cursor, all);
  bson_append_document_end(&d, &cursor);
  bson_append_utf8(&d, "a key that is longer than the scanner keeps: cursor", -1, "", 0);
  bson_append_double(&d, "ok", -1, 1);
  bson_concat(&d, all);
  begin_msg(&t, 0);
  put8(&t, 0);
  put(&t, bson_get_data(&d), d.len);
  end(&t);
  found f = everywhere();
  assert_true(f.s.ok && f.s.cursor == 12345 && f.cursors == 1);
  bson_destroy(all);
  bson_destroy(&d);
}

static void sections_and_checksums(void **state) {
  (void)state;
  begin_msg(&t, PT_MSG_CHECKSUM);
  put_sequence(&t, "documents", "{\"ok\": 0, \"code\": 7}", 3);
  put_body(&t, "{\"ok\": 1, \"cursor\": {\"id\": {\"$numberLong\": \"5\"}}}");
  put_sequence(&t, "x", "{\"ok\": 0}", 0);
  put_checksum(&t);
  found f = everywhere();
  assert_true(f.s.ok && f.s.cursor == 5 && !f.s.code);
  make_reply(&t, NULL);
  f = everywhere();
  assert_false(f.s.has_ok);
  make_reply(&t, "{\"ok\": 1}");
  put_doc(&t, "{\"ok\": 0}");
  end(&t);
  f = everywhere();
  assert_true(f.s.ok);
}

static void compressed(void **state) {
  (void)state;
  begin(&t, PT_OP_COMPRESSED);
  put(&t, "\335\7\0\0\377\377\0\0\1 anything at all, it is not looked at", 46);
  end(&t);
  found f = everywhere();
  assert_int_equal(f.s.h.opcode, PT_OP_COMPRESSED);
  assert_false(f.s.has_ok);
}

static void large_values(void **state) {
  (void)state;
  bson_t d = BSON_INITIALIZER;
  static uint8_t blob[200000];
  memset(blob, 0xff, sizeof blob);
  bson_append_binary(&d, "b", -1, BSON_SUBTYPE_BINARY, blob, sizeof blob);
  bson_append_double(&d, "ok", -1, 1);
  begin_msg(&t, 0);
  put8(&t, 0);
  put(&t, bson_get_data(&d), d.len);
  end(&t);
  for (size_t step = 1; step < t.n; step = step * 3 + 1) {
    found f = feed(t.p, t.n, step);
    assert_int_equal(f.result, PT_SCAN_END);
    assert_true(f.s.ok);
  }
  bson_destroy(&d);
}

static void bad(void) {
  for (size_t step = 1; step <= t.n; step += 1 + step / 20)
    assert_int_equal(feed(t.p, t.n, step).result, PT_SCAN_BAD);
}

static void what_is_no_reply(void **state) {
  (void)state;
  static const char body[] = "{\"a\": \"b\", \"ok\": 1}";
  static const int opcodes[] = {0, 5, PT_OP_QUERY, PT_OP_INSERT, 2010};
  for (size_t i = 0; i < sizeof opcodes / sizeof *opcodes; i++) {
    make_msg(&t, 0, body);
    set32(&t, 12, (uint32_t)opcodes[i]);
    bad();
  }
  static const uint32_t lengths[] = {0, 16, 25, MAX + 1u, 0x80000000, 0xffffffff};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    make_msg(&t, 0, body);
    set32(&t, 0, lengths[i]);
    bad();
  }
  make_msg(&t, 4, body);
  bad();
  static const uint32_t sizes[] = {0, 4, 6, 1000, 0xffffffff};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    make_msg(&t, 0, body);
    set32(&t, 21, sizes[i]); /* of the document */
    bad();
    make_msg(&t, 0, body);
    set32(&t, 28, sizes[i] == 6 ? 0 : sizes[i] ? sizes[i] + 20 : 0); /* of the string */
    bad();
    make_reply(&t, body);
    set32(&t, 36, sizes[i]);
    bad();
    begin_msg(&t, 0);
    put_sequence(&t, "d", "{}", 1);
    put_body(&t, body);
    end(&t);
    set32(&t, 21, sizes[i] == 6 ? 4 : sizes[i]); /* of the sequence */
    bad();
  }
  make_msg(&t, 0, body);
  t.p[20] = 2; /* a kind of section */
  bad();
  make_msg(&t, 0, body);
  t.p[25] = 0x20; /* a type */
  bad();
  make_msg(&t, 0, body);
  t.p[25] = 0; /* an end before the end */
  bad();
  make_reply(&t, body);
  t.p[40] = 0;
  bad();
  make_msg(&t, 0, body);
  t.p[t.n - 1] = 1; /* no end at the end */
  bad();
  make_msg(&t, 0, "{\"a\": {\"$regularExpression\": {\"pattern\": \"xxx\", \"options\": \"\"}}}");
  t.p[t.n - 3] = t.p[t.n - 2] = 'x'; /* no end of a string */
  bad();
  static const char *documents[] = {
      "\14\0\0\0\2a\0\0\0\0\0", /* a string of length 0 */
      "\10\0\0\0\12abc", /* a key without an end */
      "\14\0\0\0\22a\0\1\1\1\1", /* an int64 that is too short */
      "\15\0\0\0\22ok\0\1\1\1\1", /* one that matters */
  };
  for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
    for (int behind = 0; behind < 2; behind++) {
      begin_msg(&t, 0);
      put8(&t, 0);
      put(&t, documents[i], (size_t)documents[i][0] - (i != 1));
      put(&t, "", i != 1);
      end(&t);
      put(&t, "another message", behind ? 15 : 0);
      bad();
    }
  /* The end of "cursor" is behind that of the body. */
  make_msg(&t, 0, "{\"cursor\": {\"id\": {\"$numberLong\": \"5\"}}}");
  set32(&t, 33, 18);
  bad();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_find),
      cmocka_unit_test(the_id_may_be_changed),
      cmocka_unit_test(ok_of_all_types),
      cmocka_unit_test(every_type_is_passed),
      cmocka_unit_test(sections_and_checksums),
      cmocka_unit_test(compressed),
      cmocka_unit_test(large_values),
      cmocka_unit_test(what_is_no_reply),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
