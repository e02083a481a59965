/* What is read of command documents. */
#include "mongo_cases.h"

#include "wire/mongo_command.h"

static pt_text t;
static pt_mongo_message m;
static pt_mongo_command c;
static const char *why;

static const uint8_t uuid[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static int read_with(const char *s, uint32_t flags) {
  why = NULL;
  make_msg(&t, flags, s);
  assert_int_equal(pt_mongo_parse(&m, t.p, t.n, MAX, &why), PT_MONGO_OK);
  return pt_mongo_command_read(&c, &m, &why);
}
static int read_doc(const char *s) { return read_with(s, 0); }

static void refused(const char *s, const char *expect) {
  assert_int_equal(read_doc(s), -EPROTO);
  assert_string_equal(why, expect);
}

static void verbs(void **state) {
  (void)state;
  static const struct {
    const char *name;
    pt_mongo_verb verb;
  } list[] = {
      {"hello", PT_MVERB_HELLO},
      {"isMaster", PT_MVERB_HELLO},
      {"ismaster", PT_MVERB_HELLO},
      {"ISMASTER", PT_MVERB_OTHER},
      {"Hello", PT_MVERB_OTHER},
      {"ping", PT_MVERB_PING},
      {"find", PT_MVERB_FIND},
      {"Find", PT_MVERB_OTHER},
      {"fin", PT_MVERB_OTHER},
      {"findX", PT_MVERB_OTHER},
      {"aggregate", PT_MVERB_FIND},
      {"listCollections", PT_MVERB_FIND},
      {"listIndexes", PT_MVERB_FIND},
      {"count", PT_MVERB_READ},
      {"distinct", PT_MVERB_READ},
      {"listDatabases", PT_MVERB_READ},
      {"insert", PT_MVERB_WRITE},
      {"update", PT_MVERB_WRITE},
      {"delete", PT_MVERB_WRITE},
      {"findAndModify", PT_MVERB_WRITE},
      {"findandmodify", PT_MVERB_WRITE},
      {"bulkWrite", PT_MVERB_WRITE},
      {"endSessions", PT_MVERB_END_SESSIONS},
      {"commitTransaction", PT_MVERB_COMMIT},
      {"abortTransaction", PT_MVERB_ABORT},
      {"saslStart", PT_MVERB_SASL_START},
      {"saslContinue", PT_MVERB_SASL_CONTINUE},
      {"authenticate", PT_MVERB_AUTHENTICATE},
      {"logout", PT_MVERB_LOGOUT},
      {"killCursors", PT_MVERB_KILL_CURSORS},
      {"create", PT_MVERB_OTHER},
      {"explain", PT_MVERB_OTHER},
      {"", PT_MVERB_OTHER},
  };
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    char s[100];
    snprintf(s, sizeof s, "{\"%s\": 1, \"$db\": \"shop\"}", list[i].name);
    assert_int_equal(read_doc(s), 0);
    assert_int_equal(c.verb, list[i].verb);
    assert_string_equal(c.name, list[i].name);
    assert_string_equal(c.db, "shop");
  }
  /* Only the first key is the command. */
  assert_int_equal(read_doc("{\"create\": \"x\", \"find\": 1}"), 0);
  assert_int_equal(c.verb, PT_MVERB_OTHER);
  refused("{}", "an empty command document");
}

static void a_find(void **state) {
  (void)state;
  assert_int_equal(read_doc(FIND), 0);
  assert_int_equal(c.verb, PT_MVERB_FIND);
  assert_string_equal(c.db, "shop");
  assert_non_null(c.lsid);
  assert_memory_equal(c.lsid, uuid, 16);
  assert_int_equal(c.txn_number, -1);
  assert_false(c.in_transaction || c.start_transaction || c.exhaust);
  assert_int_equal(c.cursors_at, 0);
  assert_int_equal(read_doc("{\"ping\": 1}"), 0);
  assert_string_equal(c.db, "");
  assert_null(c.lsid);
}

static void transactions(void **state) {
  (void)state;
  assert_int_equal(read_doc("{\"insert\": \"c\", " LSID ", \"txnNumber\": {\"$numberLong\": \"7\"}, \"startTransaction\": true, "
                            "\"autocommit\": false, \"$db\": \"shop\"}"),
                   0);
  assert_int_equal(c.txn_number, 7);
  assert_true(c.in_transaction && c.start_transaction);
  assert_int_equal(
      read_doc("{\"commitTransaction\": 1, " LSID ", \"txnNumber\": {\"$numberLong\": \"0\"}, \"autocommit\": false}"), 0);
  assert_int_equal(c.txn_number, 0);
  assert_true(c.in_transaction && !c.start_transaction);
  assert_int_equal(read_doc("{\"insert\": \"c\", " LSID ", \"txnNumber\": {\"$numberLong\": \"9223372036854775807\"}}"), 0);
  assert_true(c.txn_number == INT64_MAX);
  assert_false(c.in_transaction);
  assert_int_equal(read_doc("{\"insert\": \"c\", \"autocommit\": true, \"startTransaction\": false}"), 0);
  assert_false(c.in_transaction || c.start_transaction);
  refused("{\"insert\": \"c\", \"txnNumber\": 7}", "txnNumber is no int64 from 0");
  refused("{\"insert\": \"c\", \"txnNumber\": {\"$numberLong\": \"-1\"}}", "txnNumber is no int64 from 0");
  refused("{\"insert\": \"c\", \"autocommit\": 0}", "autocommit and startTransaction are booleans");
  refused("{\"insert\": \"c\", \"startTransaction\": 1}", "autocommit and startTransaction are booleans");
}

static void what_is_no_session(void **state) {
  (void)state;
  static const char *bad[] = {
      "1",
      "[]",
      "{}",
      "{\"id\": 1}",
      "{\"id\": {\"$binary\": {\"base64\": \"AAECAwQFBgcICQoLDA0ODw==\", \"subType\": \"03\"}}}",
      "{\"id\": {\"$binary\": {\"base64\": \"AAECAwQFBgcICQoLDA0O\", \"subType\": \"04\"}}}",
      "{\"id\": {\"$binary\": {\"base64\": \"AAECAwQFBgcICQoLDA0ODxA=\", \"subType\": \"04\"}}}",
      "{\"uid\": {\"$binary\": {\"base64\": \"AAECAwQFBgcICQoLDA0ODw==\", \"subType\": \"04\"}}}",
      "{\"id\": {\"id\": {\"$binary\": {\"base64\": \"AAECAwQFBgcICQoLDA0ODw==\", \"subType\": \"04\"}}}}",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char s[300];
    snprintf(s, sizeof s, "{\"find\": \"c\", \"lsid\": %s}", bad[i]);
    refused(s, "lsid.id is no UUID");
  }
  /* Only at the top. */
  assert_int_equal(read_doc("{\"find\": \"c\", \"filter\": {\"lsid\": 1, \"txnNumber\": 1, \"$db\": 1}}"), 0);
  assert_null(c.lsid);
  refused("{\"find\": \"c\", \"$db\": 1}", "$db is no string");
}

static void cursors(void **state) {
  (void)state;
  assert_int_equal(read_doc("{\"getMore\": {\"$numberLong\": \"1311768467463790320\"}, \"collection\": \"c\", " LSID "}"), 0);
  assert_int_equal(c.verb, PT_MVERB_GET_MORE);
  assert_true(c.cursor == 0x123456789abcdef0);
  assert_memory_equal(m.body + c.cursor_at, &c.cursor, 8);
  refused("{\"getMore\": 5, \"collection\": \"c\"}", "getMore: the cursor id is no int64");

  assert_int_equal(read_doc("{\"killCursors\": \"c\", \"cursors\": [{\"$numberLong\": \"5\"}, {\"$numberLong\": \"-6\"}, "
                            "{\"$numberLong\": \"7000000000\"}], " LSID "}"),
                   0);
  static const int64_t ids[] = {5, -6, 7000000000};
  uint32_t next = 0, at;
  int64_t id;
  for (int i = 0; i < 3; i++) {
    assert_int_equal(pt_mongo_kill_next(&m, &c, &next, &id, &at), 1);
    assert_true(id == ids[i]);
    assert_memory_equal(m.body + at, &ids[i], 8);
  }
  assert_int_equal(pt_mongo_kill_next(&m, &c, &next, &id, &at), 0);
  assert_int_equal(pt_mongo_kill_next(&m, &c, &next, &id, &at), 0);

  assert_int_equal(read_doc("{\"killCursors\": \"c\", \"cursors\": []}"), 0);
  next = 0;
  assert_int_equal(pt_mongo_kill_next(&m, &c, &next, &id, &at), 0);
  assert_int_equal(read_doc("{\"killCursors\": \"c\"}"), 0);
  assert_int_equal(c.cursors_at, 0);
  assert_int_equal(pt_mongo_kill_next(&m, &c, &next, &id, &at), 0);
  assert_int_equal(read_doc("{\"killCursors\": \"c\", \"cursors\": [{\"$numberLong\": \"5\"}, 6]}"), 0);
  assert_int_equal(pt_mongo_kill_next(&m, &c, &next, &id, &at), 1);
  assert_int_equal(pt_mongo_kill_next(&m, &c, &next, &id, &at), -EPROTO);
  refused("{\"killCursors\": \"c\", \"cursors\": {}}", "killCursors: cursors is no array");
  /* Another command's field of that name. */
  assert_int_equal(read_doc("{\"find\": \"c\", \"cursors\": 1}"), 0);
}

static void exhaust(void **state) {
  (void)state;
  assert_int_equal(read_with("{\"getMore\": {\"$numberLong\": \"5\"}}", PT_MSG_EXHAUST), 0);
  assert_true(c.exhaust);
  assert_int_equal(read_with("{\"hello\": 1}", PT_MSG_EXHAUST), 0);
  assert_true(c.exhaust);
  assert_int_equal(read_with("{\"hello\": 1}", 0), 0);
  assert_false(c.exhaust);
  /* find may say so as well; it has one answer. */
  assert_int_equal(read_with("{\"find\": \"c\"}", PT_MSG_EXHAUST), 0);
  assert_false(c.exhaust);
  make_query(&t, "admin.$cmd", "{\"ismaster\": 1}");
  set32(&t, 16, PT_MSG_EXHAUST);
  assert_int_equal(pt_mongo_parse(&m, t.p, t.n, MAX, &why), PT_MONGO_OK);
  assert_int_equal(pt_mongo_command_read(&c, &m, &why), 0);
  assert_int_equal(c.verb, PT_MVERB_HELLO);
  assert_false(c.exhaust);
  make_reply(&t, NULL);
  assert_int_equal(pt_mongo_parse(&m, t.p, t.n, MAX, &why), PT_MONGO_OK);
  assert_int_equal(pt_mongo_command_read(&c, &m, &why), -EPROTO);
}

/* Whatever a byte of a document is changed to: it is refused, or what is read lies inside. */
static void broken_documents(void **state) {
  (void)state;
  bson_t *doc = json("{\"killCursors\": \"c\", \"cursors\": [{\"$numberLong\": \"5\"}, {\"$numberLong\": \"6\"}], " LSID
                     ", \"txnNumber\": {\"$numberLong\": \"7\"}, \"autocommit\": false, \"$db\": \"shop\"}");
  int good = 0;
  for (uint32_t i = 4; i < doc->len; i++)
    for (int v = 0; v < 256; v++) {
      uint8_t *p = copy_of(bson_get_data(doc), doc->len);
      p[i] = (uint8_t)v;
      m = (pt_mongo_message){.h.opcode = PT_OP_MSG, .body = p, .body_len = doc->len};
      why = NULL;
      if (pt_mongo_command_read(&c, &m, &why)) {
        assert_non_null(why);
      } else {
        uint32_t next = 0, at;
        int64_t id;
        good++;
        assert_true(strlen(c.name) + strlen(c.db) < doc->len);
        assert_true(!c.lsid || (c.lsid > p && c.lsid + 16 < p + doc->len));
        while (pt_mongo_kill_next(&m, &c, &next, &id, &at) > 0)
          assert_memory_equal(p + at, &id, 8);
      }
      free(p);
    }
  assert_true(good > 1000);
  bson_destroy(doc);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(verbs),
      cmocka_unit_test(a_find),
      cmocka_unit_test(transactions),
      cmocka_unit_test(what_is_no_session),
      cmocka_unit_test(cursors),
      cmocka_unit_test(exhaust),
      cmocka_unit_test(broken_documents),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
