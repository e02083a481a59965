/* hello as drivers say it and servers answer it; the fingerprint of a client. */
#include "mongo_cases.h"

#include "wire/mongo_hello.h"

static pt_text t;
static pt_mongo_message m;
static pt_client_hello h;
static pt_server_hello sh;
static const char *why;

static void parse(void) {
  why = NULL;
  assert_int_equal(pt_mongo_parse(&m, t.p, t.n, MAX, &why), PT_MONGO_OK);
}
static int client(const char *s) {
  make_msg(&t, 0, s);
  parse();
  return pt_client_hello_read(&h, &m, &why);
}
static void refused(const char *s, const char *expect) {
  assert_int_equal(client(s), -EPROTO);
  assert_string_equal(why, expect);
}

static void pymongo(void **state) {
  (void)state;
  make_query(&t, "admin.$cmd",
             "{\"ismaster\": 1, \"helloOk\": true, " CLIENT_PYMONGO
             ", \"compression\": [\"lz4\", \"zstd\", \"snappy\"], " SPECULATIVE "}");
  parse();
  assert_int_equal(pt_client_hello_read(&h, &m, &why), 0);
  assert_true(h.has_client && h.hello_ok && h.legacy && h.speculative);
  assert_false(h.load_balanced || h.backpressure || h.awaitable || h.half_awaitable);
  assert_string_equal(h.app, "orders");
  assert_string_equal(h.driver, "PyMongo|c");
  assert_string_equal(h.driver_version, "4.10.1");
  assert_string_equal(h.sasl_user, "admin.app");
  assert_int_equal(h.compressors, 1 << 1 | 1 << 3);
  assert_int_equal(h.first_compressor, 3);
  bson_t doc;
  assert_true(bson_init_static(&doc, h.client, h.client_len));
  assert_true(bson_has_field(&doc, "driver"));
}

static void node(void **state) {
  (void)state;
  assert_int_equal(client("{\"hello\": 1, \"helloOk\": true, " CLIENT_NODE
                          ", \"compression\": [\"none\"], \"loadBalanced\": true, "
                          "\"backpressure\": true, \"$db\": \"admin\"}"),
                   0);
  assert_true(h.has_client && h.load_balanced && h.backpressure && !h.legacy && !h.speculative);
  assert_string_equal(h.driver, "nodejs");
  assert_int_equal(h.compressors, 0);
  assert_int_equal(h.first_compressor, 0);
  assert_string_equal(h.sasl_user, "");
}

static void go(void **state) {
  (void)state;
  assert_int_equal(client("{\"isMaster\": 1, \"helloOk\": true, " CLIENT_GO ", \"compression\": [], \"$db\": \"admin\"}"), 0);
  assert_true(h.has_client && h.legacy);
  assert_string_equal(h.driver, "mongo-go-driver");
  assert_string_equal(h.app, "");
}

static void monitors(void **state) {
  (void)state;
#define TV "\"topologyVersion\": {\"processId\": {\"$oid\": \"650000000000000000000001\"}, \"counter\": {\"$numberLong\": \"3\"}}"
  assert_int_equal(client("{\"hello\": 1, " TV ", \"maxAwaitTimeMS\": 10000, \"$db\": \"admin\"}"), 0);
  assert_true(h.awaitable && !h.half_awaitable && !h.has_client);
  assert_null(h.client);
  assert_memory_equal(h.tv_process, "\x65\0\0\0\0\0\0\0\0\0\0\1", 12);
  assert_int_equal(h.tv_counter, 3);
  assert_int_equal(h.max_await_ms, 10000);
  assert_int_equal(client("{\"hello\": 1, \"maxAwaitTimeMS\": {\"$numberLong\": \"500\"}, " TV "}"), 0);
  assert_true(h.awaitable && h.max_await_ms == 500);
  assert_int_equal(client("{\"hello\": 1, " TV "}"), 0);
  assert_true(h.half_awaitable && !h.awaitable);
  assert_int_equal(client("{\"hello\": 1, \"maxAwaitTimeMS\": 5}"), 0);
  assert_true(h.half_awaitable && !h.awaitable);
  refused("{\"hello\": 1, " TV ", \"maxAwaitTimeMS\": -1}", "hello: maxAwaitTimeMS is no number from 0");
  refused("{\"hello\": 1, " TV ", \"maxAwaitTimeMS\": \"5\"}", "hello: maxAwaitTimeMS is no number from 0");
  refused("{\"hello\": 1, \"topologyVersion\": 1}", "hello: topologyVersion is no document");
  refused("{\"hello\": 1, \"topologyVersion\": {\"counter\": {\"$numberLong\": \"3\"}}}", "hello: topologyVersion is incomplete");
  refused("{\"hello\": 1, \"topologyVersion\": {\"processId\": {\"$oid\": \"650000000000000000000001\"}}}",
          "hello: topologyVersion is incomplete");
}

static void what_servers_refuse(void **state) {
  (void)state;
  refused("{\"ping\": 1}", "no hello");
  refused("{\"HELLO\": 1}", "no hello");
  refused("{}", "hello: an empty document");
  refused("{\"hello\": 1, \"client\": 1}", "hello: client is no document");
  refused("{\"hello\": 1, \"client\": []}", "hello: client is no document");
  refused("{\"hello\": 1, \"client\": {\"application\": \"a\"}}", "hello: a document of client has a wrong type");
  refused("{\"hello\": 1, \"client\": {\"application\": {\"name\": 1}}}", "hello: a string is expected");
  refused("{\"hello\": 1, \"client\": {\"driver\": {\"name\": \"x\", \"version\": 1}}}", "hello: a string is expected");
  refused("{\"hello\": 1, \"compression\": \"snappy\"}", "hello: compression is no array");
  refused("{\"hello\": 1, \"saslSupportedMechs\": 1}", "hello: a string is expected");
  assert_int_equal(client("{\"hello\": 1, \"client\": {\"application\": {}, \"driver\": {}}, \"compression\": [1, \"zlib\"]}"),
                   0);
  assert_int_equal(h.first_compressor, 2);
}

/* {"hello": 1, "client": {"application": {"name": text}, "pad": pad bytes}} */
static int client_of(const char *text, int n, int pad) {
  char zeros[600];
  bson_t d = BSON_INITIALIZER, c, a;
  memset(zeros, 'z', sizeof zeros);
  bson_append_int32(&d, "hello", -1, 1);
  bson_append_document_begin(&d, "client", -1, &c);
  bson_append_document_begin(&c, "application", -1, &a);
  bson_append_utf8(&a, "name", -1, text, n);
  bson_append_document_end(&c, &a);
  if (pad)
    bson_append_utf8(&c, "pad", -1, zeros, pad);
  bson_append_document_end(&d, &c);
  begin_msg(&t, 0);
  put8(&t, 0);
  put(&t, bson_get_data(&d), d.len);
  end(&t);
  bson_destroy(&d);
  parse();
  return pt_client_hello_read(&h, &m, &why);
}

static void lengths(void **state) {
  (void)state;
  char name[600];
  memset(name, 'a', sizeof name);
  assert_int_equal(client_of(name, 128, 0), 0);
  assert_int_equal(strlen(h.app), 128);
  for (int n = 129; n < 200; n++)
    assert_int_equal(client_of(name, n, 0), -EPROTO);
  assert_string_equal(why, "hello: application.name is longer than 128 bytes");
  for (int i = 0; i < 150; i += 3)
    memcpy(name + i, "\xe2\x82\xac", 3);
  assert_int_equal(client_of(name, 126, 0), 0);
  assert_int_equal(client_of(name, 129, 0), -EPROTO);
  /* The document is 512 bytes, then 513. */
  int pad = 1;
  while (client_of("a", 1, pad) == 0 && h.client_len < 512)
    pad++;
  assert_int_equal(h.client_len, 512);
  assert_int_equal(client_of("a", 1, pad), 0);
  assert_int_equal(client_of("a", 1, pad + 1), -EPROTO);
  assert_string_equal(why, "hello: client is larger than 512 bytes");
  /* What is too long for its place is cut, between characters. */
  char s[600] = "{\"hello\": 1, \"saslSupportedMechs\": \"a";
  for (int i = 0; i < 100; i++)
    strcat(s, "\xe2\x82\xac");
  strcat(s, "\"}");
  assert_int_equal(client(s), 0);
  assert_int_equal(strlen(h.sasl_user), 1 + 84 * 3);
  assert_true(bson_utf8_validate(h.sasl_user, strlen(h.sasl_user), false));
  /* A NUL inside ends a text. */
  assert_int_equal(client_of("ab\0cd", 5, 0), 0);
  assert_string_equal(h.app, "ab");
}

/* ---- fingerprints ---- */

static const uint8_t ip[4] = {10, 0, 0, 0}, cert[32] = {1};

static void fingerprint(const char *s, uint8_t out[32]) {
  assert_int_equal(client(s), 0);
  assert_int_equal(pt_client_fingerprint(&h, ip, 3, "mongo.example.com", cert, out), 0);
}

static void one_client_one_fingerprint(void **state) {
  (void)state;
  uint8_t a[32], b[32];
  /* Its monitor, its pool with another first command, compression, authentication. */
  static const char *same[] = {
      "{\"hello\": 1, \"helloOk\": true, " CLIENT_PYMONGO ", \"$db\": \"admin\"}",
      "{\"isMaster\": 1, " CLIENT_PYMONGO ", \"compression\": [\"zstd\"], " SPECULATIVE ", \"$db\": \"admin\"}",
      "{\"ismaster\": 1, \"loadBalanced\": true, \"backpressure\": true, " CLIENT_PYMONGO "}",
      "{\"hello\": 1, \"client\": {\"application\": {\"name\": \"orders\"}, \"platform\": \"CPython 3.11.2.final.0|more\", "
      "\"os\": {\"type\": "
      "\"Linux\", \"name\": \"Linux\", \"architecture\": \"x86_64\", \"version\": \"6.1.0-18-amd64\"}, \"driver\": {\"version\": "
      "\"4.10.1|1.0\", \"name\": \"PyMongo\"}, \"unknown\": 1}}",
  };
  fingerprint(same[0], a);
  for (size_t i = 1; i < sizeof same / sizeof *same; i++) {
    fingerprint(same[i], b);
    assert_memory_equal(a, b, 32);
  }
}

static void other_clients_other_fingerprints(void **state) {
  (void)state;
  static const char *list[] = {
      "{\"hello\": 1}",
      "{\"hello\": 1, \"client\": {}}",
      "{\"hello\": 1, \"client\": {\"application\": {\"name\": \"a\"}}}",
      "{\"hello\": 1, \"client\": {\"application\": {\"name\": \"b\"}}}",
      "{\"hello\": 1, \"client\": {\"application\": {\"name\": \"a|\"}}}",
      "{\"hello\": 1, \"client\": {\"driver\": {\"name\": \"a\"}}}",
      "{\"hello\": 1, \"client\": {\"driver\": {\"version\": \"a\"}}}",
      "{\"hello\": 1, \"client\": {\"platform\": \"a\"}}",
      "{\"hello\": 1, \"client\": {\"os\": {\"type\": \"a\"}}}",
      "{\"hello\": 1, \"client\": {\"os\": {\"name\": \"a\"}}}",
      "{\"hello\": 1, \"client\": {\"env\": {\"name\": \"a\"}}}",
      "{\"hello\": 1, \"client\": {\"env\": {\"container\": {\"orchestrator\": \"kubernetes\"}}}}",
      "{\"hello\": 1, \"client\": {\"application\": {\"name\": \"ab\"}, \"driver\": {\"name\": \"c\"}}}",
      "{\"hello\": 1, \"client\": {\"application\": {\"name\": \"a\"}, \"driver\": {\"name\": \"bc\"}}}",
      "{\"hello\": 1, " CLIENT_PYMONGO "}",
      "{\"hello\": 1, " CLIENT_NODE "}",
      "{\"hello\": 1, " CLIENT_GO "}",
  };
  enum {
    N = sizeof list / sizeof *list
  };
  uint8_t f[N][32];
  for (size_t i = 0; i < N; i++)
    fingerprint(list[i], f[i]);
  assert_memory_equal(f[0], f[1], 32); /* both say nothing */
  for (size_t i = 1; i < N; i++)
    for (size_t k = 1; k < i; k++)
      assert_memory_not_equal(f[i], f[k], 32);
}

static void where_it_comes_from(void **state) {
  (void)state;
  uint8_t f[8][32];
  assert_int_equal(client("{\"hello\": 1, " CLIENT_GO "}"), 0);
  assert_int_equal(pt_client_fingerprint(&h, ip, 4, NULL, NULL, f[0]), 0);
  assert_int_equal(pt_client_fingerprint(&h, ip, 3, NULL, NULL, f[1]), 0);
  assert_int_equal(pt_client_fingerprint(&h, NULL, 0, NULL, NULL, f[2]), 0);
  assert_int_equal(pt_client_fingerprint(&h, NULL, 0, "a", NULL, f[3]), 0);
  assert_int_equal(pt_client_fingerprint(&h, NULL, 0, "b", NULL, f[4]), 0);
  assert_int_equal(pt_client_fingerprint(&h, NULL, 0, "a", cert, f[5]), 0);
  assert_int_equal(pt_client_fingerprint(&h, (const uint8_t *)"a", 1, NULL, NULL, f[6]), 0);
  assert_int_equal(pt_client_fingerprint(&h, (const uint8_t *)"\13\0\0\0", 4, NULL, NULL, f[7]), 0);
  for (int i = 0; i < 8; i++)
    for (int k = 0; k < i; k++)
      assert_memory_not_equal(f[i], f[k], 32);
}

/* It must never change by itself: every instance of the process, old and new, says the same. */
static void it_stays_what_it_is(void **state) {
  (void)state;
  static const uint8_t expect[32] = {0x3e, 0x48, 0x2c, 0x4e, 0x6b, 0x60, 0x24, 0xd0, 0x36, 0x99, 0x46,
                                     0xec, 0xd2, 0xed, 0x6b, 0xa9, 0xc6, 0x06, 0x8a, 0x75, 0x43, 0xa7,
                                     0x72, 0x70, 0x03, 0x50, 0xf2, 0xff, 0x30, 0x44, 0xe5, 0xf8};
  uint8_t f[32];
  fingerprint("{\"hello\": 1, " CLIENT_GO "}", f);
  assert_memory_equal(f, expect, 32);
}

/* ---- servers ---- */

static int server(const char *s) {
  make_msg(&t, 0, s);
  parse();
  return pt_server_hello_read(&sh, &m, &why);
}

static void a_mongos(void **state) {
  (void)state;
  for (int opcode = 0; opcode < 2; opcode++) {
    if (opcode)
      make_reply(&t, SERVER_HELLO);
    else
      make_msg(&t, 0, SERVER_HELLO);
    parse();
    assert_int_equal(pt_server_hello_read(&sh, &m, &why), 0);
    assert_true(sh.ok && sh.writable && sh.isdbgrid && sh.has_topology_version);
    assert_memory_equal(sh.process_id, "\x65\0\0\0\0\0\0\0\0\0\0\1", 12);
    assert_int_equal(sh.counter, 3);
    assert_int_equal(sh.max_bson, 16777216);
    assert_int_equal(sh.max_message, 48000000);
    assert_int_equal(sh.max_batch, 100000);
    assert_int_equal(sh.session_minutes, 30);
    assert_int_equal(sh.min_wire, 0);
    assert_int_equal(sh.max_wire, 21);
    assert_int_equal(sh.compressors, 1 << 1 | 1 << 2 | 1 << 3);
    assert_string_equal(sh.sasl_mechs, "SCRAM-SHA-1 SCRAM-SHA-256");
    assert_int_equal(sh.code, 0);
  }
}

static void other_servers(void **state) {
  (void)state;
  assert_int_equal(server("{\"ok\": 1}"), 0);
  assert_true(sh.ok && !sh.writable && !sh.isdbgrid && !sh.has_topology_version);
  assert_int_equal(sh.max_bson, 16777216);
  assert_int_equal(sh.max_message, 48000000);
  assert_int_equal(sh.max_batch, 1000);
  assert_int_equal(sh.session_minutes, -1);
  assert_int_equal(sh.max_wire, 0);
  assert_int_equal(server("{\"isWritablePrimary\": true, \"msg\": \"other\", \"ok\": {\"$numberLong\": \"1\"}, "
                          "\"logicalSessionTimeoutMinutes\": null, \"maxMessageSizeBytes\": 100000000}"),
                   0);
  assert_true(sh.ok && sh.writable && !sh.isdbgrid);
  assert_int_equal(sh.max_message, 48000000);
  assert_int_equal(server("{\"ismaster\": true, \"isWritablePrimary\": false, \"ok\": true}"), 0);
  assert_true(sh.ok && sh.writable);
  assert_int_equal(server("{\"ok\": 0.0, \"errmsg\": \"shutting down\", \"code\": 91, \"codeName\": \"ShutdownInProgress\"}"), 0);
  assert_true(!sh.ok && sh.code == 91);
  assert_string_equal(sh.errmsg, "shutting down");
  assert_int_equal(server("{\"ok\": 1, \"maxBsonObjectSize\": 0}"), -EPROTO);
  assert_int_equal(server("{\"ok\": 1, \"maxWriteBatchSize\": \"many\"}"), -EPROTO);
  assert_int_equal(server("{\"ok\": 1, \"maxMessageSizeBytes\": {\"$numberLong\": \"3000000000\"}}"), -EPROTO);
  assert_int_equal(server("{\"ok\": 1, \"topologyVersion\": {}}"), -EPROTO);
  make_reply(&t, NULL);
  parse();
  assert_int_equal(pt_server_hello_read(&sh, &m, &why), -EPROTO);
  /* More mechanisms than there is room for: whole names. */
  char s[2000] = "{\"ok\": 1, \"saslSupportedMechs\": [\"SCRAM-SHA-256\"";
  for (int i = 0; i < 20; i++)
    strcat(s, ", \"A-LONG-MECHANISM\"");
  strcat(s, ", 1]}");
  assert_int_equal(server(s), 0);
  assert_true(strlen(sh.sasl_mechs) < sizeof sh.sasl_mechs);
  assert_string_equal(strrchr(sh.sasl_mechs, ' '), " A-LONG-MECHANISM");
  for (int n = 62; n <= 64; n++) {
    snprintf(s, sizeof s, "{\"saslSupportedMechs\": [\"%0*d\", \"%064d\"], \"ok\": 1}", n, 1, 1);
    assert_int_equal(server(s), 0);
    assert_int_equal(strlen(sh.sasl_mechs), n + (n == 62 ? 1 + 64 : 0));
    assert_int_equal(sh.code, 0);
  }
}

static const uint8_t service[12] = "serviceID123";

/* Adds to a copy of the message in t; the new message is in t then. */
static int add(size_t n) {
  pt_pool pool;
  pt_segq out = {0};
  pt_pool_init(&pool);
  uint8_t *copy = copy_of(t.p, n);
  int e = pt_hello_add_service(&out, &pool, copy, n, service);
  free(copy);
  if (!e) {
    t.n = out.bytes;
    assert_true(t.n < sizeof t.p);
    pt_segq_peek(&out, t.p, t.n);
  } else {
    assert_int_equal(out.bytes, 0);
  }
  pt_segq_clear(&out);
  pt_pool_free(&pool);
  return e;
}

static void service_is_added(void **state) {
  (void)state;
  bson_t *want = json(SERVER_HELLO), got;
  bson_oid_t id;
  bson_oid_init_from_data(&id, service);
  bson_append_oid(want, "serviceId", -1, &id);
  for (int way = 0; way < 4; way++) {
    if (way == 0)
      make_reply(&t, SERVER_HELLO);
    else
      make_msg(&t, PT_MSG_MORE, SERVER_HELLO);
    if (way == 2) {
      t.p[16] |= PT_MSG_CHECKSUM;
      put_checksum(&t);
    }
    set32(&t, 4, 1234);
    set32(&t, 8, 5678);
    pt_mongo_seal(t.p, t.n);
    assert_int_equal(add(t.n), 0);
    if (way == 3) /* what there is already is replaced */
      assert_int_equal(add(t.n), 0);
    parse();
    assert_int_equal(m.h.length, t.n);
    assert_int_equal(m.h.request_id, 1234);
    assert_int_equal(m.h.response_to, 5678);
    assert_int_equal(m.h.opcode, way ? PT_OP_MSG : PT_OP_REPLY);
    assert_int_equal(m.flags, way ? PT_MSG_MORE : 8);
    assert_true(bson_init_static(&got, m.body, m.body_len));
    assert_true(bson_equal(&got, want));
  }
  bson_destroy(want);
  /* One that fills more than a small message, and the smallest. */
  char *big = malloc(100000);
  memset(big, 'x', 100000);
  memcpy(big, "{\"errmsg\": \"", 12);
  strcpy(big + 99990, "\"}");
  make_msg(&t, 0, big);
  free(big);
  size_t n = t.n;
  assert_int_equal(add(t.n), 0);
  assert_int_equal(t.n, n + 23);
  make_msg(&t, 0, "{}");
  assert_int_equal(add(t.n), 0);
  parse();
  assert_int_equal(m.body_len, 28);
}

static void service_to_no_reply(void **state) {
  (void)state;
  make_msg(&t, 0, SERVER_HELLO);
  for (size_t n = 0; n < t.n; n++)
    assert_int_equal(add(n), -EPROTO);
  t.n++;
  assert_int_equal(add(t.n), -EPROTO);
  make_query(&t, "admin.$cmd", "{\"isMaster\": 1}");
  assert_int_equal(add(t.n), -EPROTO);
  make_reply(&t, NULL);
  assert_int_equal(add(t.n), -EPROTO);
}

/* Every byte of a hello changed: it is read or refused, and what is said of it stays inside. */
static void broken_documents(void **state) {
  (void)state;
  bson_t *doc = json("{\"hello\": 1, \"helloOk\": true, " CLIENT_GO
                     ", \"compression\": [\"zstd\"], \"saslSupportedMechs\": \"a.b\", " TV ", \"maxAwaitTimeMS\": 5}");
  int good = 0;
  for (uint32_t i = 4; i < doc->len; i++)
    for (int v = 0; v < 256; v += 1 + v / 20) {
      uint8_t *p = copy_of(bson_get_data(doc), doc->len), f[32];
      p[i] = (uint8_t)v;
      m = (pt_mongo_message){.h.opcode = PT_OP_MSG, .body = p, .body_len = doc->len};
      if (!pt_bson_check(p, doc->len, &why) && !pt_client_hello_read(&h, &m, &why)) {
        good++;
        assert_true(!h.client || (h.client > p && h.client + h.client_len < p + doc->len));
        assert_int_equal(pt_client_fingerprint(&h, ip, 4, NULL, NULL, f), 0);
      }
      (void)pt_server_hello_read(&sh, &m, &why);
      free(p);
    }
  assert_true(good > 1000);
  bson_destroy(doc);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pymongo),
      cmocka_unit_test(node),
      cmocka_unit_test(go),
      cmocka_unit_test(monitors),
      cmocka_unit_test(what_servers_refuse),
      cmocka_unit_test(lengths),
      cmocka_unit_test(one_client_one_fingerprint),
      cmocka_unit_test(other_clients_other_fingerprints),
      cmocka_unit_test(where_it_comes_from),
      cmocka_unit_test(it_stays_what_it_is),
      cmocka_unit_test(a_mongos),
      cmocka_unit_test(other_servers),
      cmocka_unit_test(service_is_added),
      cmocka_unit_test(service_to_no_reply),
      cmocka_unit_test(broken_documents),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
