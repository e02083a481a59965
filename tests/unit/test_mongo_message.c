/* Framing: what a message is, what is there of it, and what is none. */
#include "mongo_cases.h"

static pt_text t, cases[10];
static int ncases;

static void add_case(void) { cases[ncases++] = t; }

/* Messages as drivers send them. */
static int make_cases(void **state) {
  (void)state;
  make_msg(&t, 0, FIND);
  add_case();
  begin_msg(&t, PT_MSG_MORE);
  put_body(&t, "{\"insert\": \"c\", \"ordered\": true, " LSID ", \"$db\": \"shop\"}");
  put_sequence(&t, "documents", "{\"_id\": 1, \"text\": \"hello\"}", 3);
  end(&t);
  add_case();
  begin_msg(&t, 0);
  put_sequence(&t, "ops", "{\"insert\": 0, \"document\": {}}", 2);
  put_sequence(&t, "nsInfo", "{\"ns\": \"shop.c\"}", 1);
  put_body(&t, "{\"bulkWrite\": 1, \"$db\": \"admin\"}");
  end(&t);
  add_case();
  begin_msg(&t, PT_MSG_CHECKSUM);
  put_sequence(&t, "documents", "{\"_id\": 1}", 1);
  put_body(&t, "{\"insert\": \"c\", \"$db\": \"shop\"}");
  put_sequence(&t, "", "{}", 0);
  put_checksum(&t);
  add_case();
  make_query(&t, "admin.$cmd", "{\"ismaster\": 1, \"helloOk\": true, " CLIENT_PYMONGO ", \"compression\": [\"zstd\"]}");
  add_case();
  make_reply(&t, SERVER_HELLO);
  add_case();
  make_msg(&t, PT_MSG_EXHAUST,
           "{\"hello\": 1, \"topologyVersion\": {\"processId\": {\"$oid\": \"650000000000000000000001\"}, \"counter\": "
           "{\"$numberLong\": \"3\"}}, \"maxAwaitTimeMS\": 10000, \"$db\": \"admin\"}");
  add_case();
  make_query(&t, "admin.$cmd", "{\"isMaster\": 1}");
  put_doc(&t, "{\"ok\": 1}");
  end(&t);
  add_case();
  return 0;
}

static void whole_messages(void **state) {
  (void)state;
  for (int i = 0; i < ncases; i++) {
    pt_mongo_message m;
    const char *why;
    assert_int_equal(pt_mongo_parse(&m, cases[i].p, cases[i].n, MAX, &why), PT_MONGO_OK);
    assert_int_equal(m.h.length, cases[i].n);
    assert_int_equal(m.h.request_id, 7);
    bson_t doc;
    assert_ptr_equal(m.body, cases[i].p + m.body_at);
    assert_true(bson_init_static(&doc, m.body, m.body_len));
    assert_true(bson_validate(&doc, BSON_VALIDATE_NONE, NULL));
    assert_int_equal(m.ns != NULL, m.h.opcode == PT_OP_QUERY);
    /* What follows is another message's. */
    t = cases[i];
    put(&t, "xxxxx", 5);
    assert_int_equal(parse_copy(&t, t.n, &m), PT_MONGO_OK);
    assert_int_equal(parse_copy(&t, m.h.length, &m), PT_MONGO_OK);
  }
  const char *why;
  pt_mongo_message m;
  assert_int_equal(pt_mongo_parse(&m, cases[4].p, cases[4].n, MAX, &why), PT_MONGO_OK);
  assert_string_equal(m.ns, "admin.$cmd");
  assert_int_equal(m.flags, 4);
  assert_int_equal(pt_mongo_parse(&m, cases[1].p, cases[1].n, MAX, &why), PT_MONGO_OK);
  assert_int_equal(m.body_at, 21);
  assert_int_equal(m.flags, PT_MSG_MORE);
  assert_int_equal(pt_mongo_parse(&m, cases[6].p, cases[6].n, MAX, &why), PT_MONGO_OK);
  assert_int_equal(m.flags, PT_MSG_EXHAUST);
}

/* Of every prefix: more is needed until the body is there, and what is needed is more than there is and no more than the message. */
static void every_prefix(void **state) {
  (void)state;
  for (int i = 0; i < ncases; i++) {
    pt_mongo_message m;
    assert_int_equal(parse_copy(&cases[i], cases[i].n, &m), PT_MONGO_OK);
    uint32_t body_end = m.body_at + m.body_len;
    for (size_t have = PT_MONGO_HEADER; have < cases[i].n; have++) {
      int e = parse_copy(&cases[i], have, &m);
      assert_int_equal(e, have >= body_end ? PT_MONGO_OK : PT_MONGO_MORE);
      if (e == PT_MONGO_MORE) {
        assert_true(m.need > have && m.need <= body_end);
        assert_null(m.body);
      }
    }
  }
}

/* Who collects what is asked for looks only a few times, however the bytes come. */
static void few_looks(void **state) {
  (void)state;
  for (int i = 0; i < ncases; i++) {
    pt_mongo_message m;
    size_t have = PT_MONGO_HEADER;
    int looks = 1;
    for (; parse_copy(&cases[i], have, &m) == PT_MONGO_MORE; looks++)
      have = m.need;
    assert_true(looks <= 5);
  }
}

/* A message that says it is as long as a prefix of it is malformed, unless it ends with a section and had its body. */
static void every_truncation(void **state) {
  (void)state;
  for (int i = 0; i < ncases; i++) {
    int good = 0;
    for (size_t n = PT_MONGO_HEADER; n < cases[i].n; n++) {
      pt_mongo_message m;
      t = cases[i];
      t.n = n;
      end(&t);
      int e = parse_copy(&t, n, &m);
      assert_int_not_equal(e, PT_MONGO_MORE);
      good += e == PT_MONGO_OK;
      /* Whoever looks early finds it later. */
      assert_true(parse_copy(&t, n - (n > PT_MONGO_HEADER), &m) <= PT_MONGO_OK);
    }
    /* insert without its documents; OP_REPLY without a document; OP_QUERY without the fields to return. */
    assert_int_equal(good, cases[i].p[12] == (PT_OP_REPLY & 255) || i == 1 || i == 7);
  }
}

static void refused(const char *expect) {
  pt_mongo_message m;
  const char *why = NULL;
  uint8_t *copy = copy_of(t.p, t.n);
  assert_int_equal(pt_mongo_parse(&m, copy, t.n, MAX, &why), -EPROTO);
  assert_string_equal(why, expect);
  free(copy);
}

static void accepted(void) {
  pt_mongo_message m;
  assert_int_equal(parse_copy(&t, t.n, &m), PT_MONGO_OK);
}

static void flags(void **state) {
  (void)state;
  for (int bit = 2; bit < 32; bit++) {
    make_msg(&t, 1u << bit, "{\"ping\": 1}");
    if (bit < 16)
      refused("unknown required flags");
    else
      accepted();
  }
  pt_mongo_message m;
  make_msg(&t, 0xffff0002, "{\"ping\": 1}");
  assert_int_equal(parse_copy(&t, t.n, &m), PT_MONGO_OK);
  assert_int_equal(m.flags, PT_MSG_MORE | PT_MSG_EXHAUST);
}

static void sections(void **state) {
  (void)state;
  begin_msg(&t, 0);
  put_sequence(&t, "documents", "{}", 1);
  end(&t);
  refused("no section of kind 0");
  begin_msg(&t, 0);
  put_body(&t, "{\"ping\": 1}");
  put_body(&t, "{\"ping\": 1}");
  end(&t);
  refused("two sections of kind 0");
  begin_msg(&t, 0);
  put8(&t, 2);
  put_doc(&t, "{\"ping\": 1}");
  end(&t);
  refused("unknown kind of section");
  for (int n = 8; n <= 9; n++) {
    begin_msg(&t, 0);
    for (int i = 0; i < n; i++)
      put_sequence(&t, "d", "{}", 1);
    put_body(&t, "{\"ping\": 1}");
    end(&t);
    if (n == 8)
      accepted();
    else
      refused("too many sections");
  }
  begin_msg(&t, 0);
  put_body(&t, "{\"ping\": 1}");
  put(&t, "\1\0\0\0\0", 5);
  end(&t);
  refused("a section is too short");
  begin_msg(&t, 0);
  put_body(&t, "{\"ping\": 1}");
  put(&t, "\1\4\0\0\0\0", 6);
  end(&t);
  refused("a section is longer than its message");
  begin_msg(&t, 0);
  put_body(&t, "{\"ping\": 1}");
  put(&t, "\1\6\0\0\0aa", 7);
  end(&t);
  refused("the name of a document sequence does not end");
  begin_msg(&t, 0);
  put_body(&t, "{\"ping\": 1}");
  put_sequence(&t, "d", "{}", 1);
  t.p[t.n - 5]++;
  end(&t);
  refused("a document is longer than its section");
}

/* A hostile length is seen before its bytes are waited for. */
static void lengths_are_looked_at_first(void **state) {
  (void)state;
  pt_mongo_message m;
  make_msg(&t, 0, "{\"ping\": 1}");
  set32(&t, 0, 20000000);
  set32(&t, 21, 20000000 - 21 + 1);
  assert_int_equal(parse_copy(&t, 25, &m), -EPROTO);
  set32(&t, 21, 20000000 - 21);
  assert_int_equal(parse_copy(&t, 25, &m), -EPROTO); /* above what a document may have */
  set32(&t, 21, PT_MONGO_MAX_DOCUMENT);
  assert_int_equal(parse_copy(&t, 25, &m), PT_MONGO_MORE);
  assert_int_equal(m.need, 21 + PT_MONGO_MAX_DOCUMENT);
  /* Only a document sequence. */
  begin_msg(&t, 0);
  put_sequence(&t, "documents", "{}", 1);
  end(&t);
  assert_int_equal(parse_copy(&t, 25, &m), -EPROTO);
  make_msg(&t, 0, "{\"ping\": 1}");
  for (uint32_t len = 0; len < 5; len++) {
    set32(&t, 21, len);
    assert_int_equal(parse_copy(&t, 25, &m), -EPROTO);
  }
}

static void checksums(void **state) {
  (void)state;
  make_msg(&t, PT_MSG_CHECKSUM, "{\"ping\": 1}");
  put_checksum(&t);
  accepted();
  pt_mongo_message m;
  assert_int_equal(parse_copy(&t, t.n - 1, &m), PT_MONGO_OK); /* its body is there */
  t.p[20 + 5 + 1] ^= 32;
  refused("wrong checksum");
  pt_mongo_seal(t.p, t.n);
  accepted();
  /* No checksum, no whole message, another opcode: nothing changes. */
  for (int i = 0; i < 3; i++) {
    pt_text before;
    make_msg(&t, i ? PT_MSG_CHECKSUM : 0, "{\"ping\": 1}");
    t.p[12] = i == 2 ? 0xdc : t.p[12];
    before = t;
    pt_mongo_seal(t.p, i == 1 ? t.n - 1 : t.n);
    assert_memory_equal(t.p, before.p, t.n);
  }
  /* No room for it. */
  make_msg(&t, PT_MSG_CHECKSUM, "{}");
  refused("a section is too short");
}

static void queries(void **state) {
  (void)state;
  make_query(&t, "admin.$cmd", "{\"isMaster\": 1}");
  put_doc(&t, "{\"ok\": 1}");
  end(&t);
  accepted();
  put8(&t, 0);
  end(&t);
  refused("OP_QUERY has bytes left over");
  make_query(&t, "", "{\"isMaster\": 1}");
  accepted();
  char name[400];
  memset(name, 'n', sizeof name);
  name[255] = 0;
  make_query(&t, name, "{\"isMaster\": 1}");
  accepted();
  name[255] = 'n';
  name[256] = 0;
  make_query(&t, name, "{\"isMaster\": 1}");
  refused("the name in OP_QUERY does not end");
  begin(&t, PT_OP_QUERY);
  put32(&t, 0);
  put(&t, "0123456789", 10);
  put32(&t, 0x01010101);
  end(&t);
  refused("the name in OP_QUERY does not end");
  begin(&t, PT_OP_QUERY);
  put32(&t, 0);
  put(&t, "admin.$cmd", 11);
  put(&t, "\0\0\0\0\1\0\0\0\0\0\0", 11);
  end(&t);
  refused("OP_QUERY without a document");
}

static void replies(void **state) {
  (void)state;
  pt_mongo_message m;
  make_reply(&t, NULL);
  assert_int_equal(parse_copy(&t, t.n, &m), PT_MONGO_OK);
  assert_null(m.body);
  make_reply(&t, "{\"ok\": 1}");
  put_doc(&t, "{}");
  end(&t);
  assert_int_equal(parse_copy(&t, t.n, &m), PT_MONGO_OK);
  assert_int_equal(m.body_at, 36);
  put8(&t, 1);
  end(&t);
  refused("a document is longer than its section");
  make_reply(&t, NULL);
  put(&t, "\5\0\0\0", 4);
  end(&t);
  refused("OP_REPLY with a broken document");
}

static void headers(void **state) {
  (void)state;
  static const struct {
    int32_t opcode;
    uint32_t min;
    const char *name;
  } list[] = {
      {PT_OP_REPLY, 36, "OP_REPLY"},
      {PT_OP_UPDATE, 35, "OP_UPDATE"},
      {PT_OP_INSERT, 26, "OP_INSERT"},
      {PT_OP_QUERY, 34, "OP_QUERY"},
      {PT_OP_GET_MORE, 33, "OP_GET_MORE"},
      {PT_OP_DELETE, 30, "OP_DELETE"},
      {PT_OP_KILL_CURSORS, 24, "OP_KILL_CURSORS"},
      {PT_OP_COMPRESSED, 25, "OP_COMPRESSED"},
      {PT_OP_MSG, 26, "OP_MSG"},
  };
  pt_mongo_header h, back;
  uint8_t p[16];
  const char *why;
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    assert_string_equal(pt_mongo_opcode_name(list[i].opcode), list[i].name);
    for (int delta = -1; delta <= 1; delta++) {
      h = (pt_mongo_header){list[i].min + (uint32_t)delta, -5, 77, list[i].opcode};
      pt_mongo_header_write(&h, p);
      int e = pt_mongo_header_read(&back, p, list[i].min, &why);
      assert_int_equal(e, delta ? -EPROTO : 0);
      assert_memory_equal(&h, &back, sizeof h);
      if (delta)
        assert_string_equal(why, delta < 0 ? "message too short for its opcode" : "message too long");
    }
    /* Legacy and compressed messages are nothing to parse. */
    bool plain = list[i].opcode == PT_OP_MSG || list[i].opcode == PT_OP_QUERY || list[i].opcode == PT_OP_REPLY;
    begin(&t, list[i].opcode);
    while (t.n < 40)
      put8(&t, 0);
    end(&t);
    if (!plain)
      refused(list[i].opcode == PT_OP_COMPRESSED ? "OP_COMPRESSED where a plain message is expected" : "legacy opcode");
  }
  for (int opcode = 0; opcode < 3000; opcode++) {
    h = (pt_mongo_header){100, 1, 0, opcode};
    pt_mongo_header_write(&h, p);
    bool known = false;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
      known |= list[i].opcode == opcode;
    assert_int_equal(pt_mongo_header_read(&back, p, MAX, &why), known ? 0 : -EPROTO);
  }
  assert_string_equal(pt_mongo_opcode_name(2010), "opcode 2010");
  assert_string_equal(pt_mongo_opcode_name(-1), "opcode -1");
  h = (pt_mongo_header){(uint32_t)-1, 1, 0, PT_OP_MSG};
  pt_mongo_header_write(&h, p);
  assert_int_equal(pt_mongo_header_read(&back, p, MAX, &why), -EPROTO);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_messages),
      cmocka_unit_test(every_prefix),
      cmocka_unit_test(few_looks),
      cmocka_unit_test(every_truncation),
      cmocka_unit_test(flags),
      cmocka_unit_test(sections),
      cmocka_unit_test(lengths_are_looked_at_first),
      cmocka_unit_test(checksums),
      cmocka_unit_test(queries),
      cmocka_unit_test(replies),
      cmocka_unit_test(headers),
  };
  return cmocka_run_group_tests(tests, make_cases, NULL);
}
