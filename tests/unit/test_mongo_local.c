/* What puerta itself answers: hello from what the backends say, SCRAM against the users of the configuration. */
#include "mongo_cases.h"

#include "core/mongo/local.h"
#include "core/mongo/sasl.h"

static const uint8_t process[12] = "PROCESS.....", service[12] = "SERVICE.....";
static pt_server_hello server;
static pt_client_hello client;
static pt_local_facts facts;
static pt_mongo_user users[3];
static char verifiers[3][256];

static int setup(void **state) {
  (void)state;
  server = (pt_server_hello){.ok = true,
                             .writable = true,
                             .isdbgrid = true,
                             .max_bson = 16777216,
                             .max_message = 48000000,
                             .max_batch = 100000,
                             .min_wire = 0,
                             .max_wire = 21,
                             .session_minutes = 30};
  client = (pt_client_hello){0};
  facts = (pt_local_facts){.hello = &server, .process_id = process, .counter = 7, .connection = 42, .now = 1700000000000};
  for (int i = 0; i < 3; i++) {
    pt_scram_verifier v;
    const char *names[] = {"ada", "ada", "bob"};
    assert_int_equal(pt_scram_verifier_make(&v, i == 1 ? PT_SHA1 : PT_SHA256, names[i], "secret", 4096), 0);
    assert_true(pt_scram_verifier_write(&v, verifiers[i], sizeof verifiers[i]) >= 0);
    users[i] = (pt_mongo_user){.name = (char *)names[i], .verifier = verifiers[i]};
  }
  return 0;
}

/* The answer as JSON, without the outer braces' blanks. */
static char *hello(void) {
  bson_t doc = BSON_INITIALIZER;
  pt_local_hello(&doc, &facts, &client);
  char *s = bson_as_relaxed_extended_json(&doc, NULL);
  bson_destroy(&doc);
  return s;
}

static void expect(const char *part, bool there) {
  char *s = hello();
  if (!strstr(s, part) == there)
    fail_msg("%s%s in %s", there ? "no " : "", part, s);
  bson_free(s);
}

static void a_mongos(void **state) {
  (void)state;
  expect("\"isWritablePrimary\" : true", true);
  expect("\"ismaster\"", false);
  expect("\"helloOk\"", false);
  expect("\"msg\" : \"isdbgrid\"", true);
  expect("\"counter\" : 7", true);
  expect("50524f434553532e2e2e2e2e", true);
  expect("\"maxWireVersion\" : 21", true);
  expect("\"logicalSessionTimeoutMinutes\" : 30", true);
  expect("\"connectionId\" : 42", true);
  expect("\"ok\" : 1.0", true);
  expect("compression", false);
  expect("saslSupportedMechs", false);
  expect("serviceId", false);
}

static void as_it_was_asked(void **state) {
  (void)state;
  client.legacy = client.hello_ok = true;
  expect("\"ismaster\" : true", true);
  expect("isWritablePrimary", false);
  expect("\"helloOk\" : true", true);
  facts.service_id = service;
  expect("\"serviceId\" : { \"$oid\" : \"534552564943452e2e2e2e2e\" }", true);
}

static void no_more_than_the_backends(void **state) {
  (void)state;
  server.isdbgrid = false;
  server.session_minutes = -1;
  server.max_message = 100000000;
  expect("isdbgrid", false);
  expect("logicalSessionTimeoutMinutes", false);
  expect("\"maxMessageSizeBytes\" : 48000000", true);
}

static void compression_in_common(void **state) {
  (void)state;
  client.compressors = 1 << 1 | 1 << 3;
  facts.compressors = 1 << 2 | 1 << 3;
  expect("\"compression\" : [ \"zstd\" ]", true);
  facts.compressors = 1 << 2;
  expect("compression", false);
}

static void mechanisms_of(const char *user, const char *list) {
  char part[128];
  snprintf(client.sasl_user, sizeof client.sasl_user, "%s", user);
  snprintf(part, sizeof part, "\"saslSupportedMechs\" : [ %s ]", list);
  expect(part, true);
}

static void mechanisms(void **state) {
  (void)state;
  strcpy(client.sasl_user, "admin.ada");
  expect("saslSupportedMechs", false); /* nobody authenticates here */
  facts.users = users;
  facts.nusers = 3;
  mechanisms_of("admin.ada", "\"SCRAM-SHA-1\", \"SCRAM-SHA-256\"");
  mechanisms_of("test.bob", "\"SCRAM-SHA-256\"");
  mechanisms_of("admin.nobody", "\"SCRAM-SHA-1\", \"SCRAM-SHA-256\"");
}

/* ---- SCRAM ---- */

static pt_sasl *conversation;
static bson_t reply;
static const char *user;

/* One step; doc is destroyed. */
static pt_sasl_result step(bson_t *doc) {
  pt_mongo_message m = {.body = bson_get_data(doc), .body_len = doc->len};
  pt_mongo_command c;
  const char *why;
  assert_int_equal(pt_mongo_command_read(&c, &m, &why), 0);
  bson_reinit(&reply);
  pt_sasl_result r = pt_sasl_step(&conversation, users, 3, &m, &c, &reply, &user);
  bson_destroy(doc);
  return r;
}

static pt_sasl_result say_start(const char *mechanism, const char *payload, bool skip) {
  bson_t doc = BSON_INITIALIZER, options;
  bson_append_int32(&doc, "saslStart", -1, 1);
  bson_append_utf8(&doc, "mechanism", -1, mechanism, -1);
  bson_append_binary(&doc, "payload", -1, BSON_SUBTYPE_BINARY, (const uint8_t *)payload, (uint32_t)strlen(payload));
  bson_append_document_begin(&doc, "options", -1, &options);
  bson_append_bool(&options, "skipEmptyExchange", -1, skip);
  bson_append_document_end(&doc, &options);
  return step(&doc);
}

static pt_sasl_result say_more(int32_t id, const char *payload) {
  bson_t doc = BSON_INITIALIZER;
  bson_append_int32(&doc, "saslContinue", -1, 1);
  bson_append_int32(&doc, "conversationId", -1, id);
  bson_append_binary(&doc, "payload", -1, BSON_SUBTYPE_BINARY, (const uint8_t *)payload, (uint32_t)strlen(payload));
  return step(&doc);
}

static bson_iter_t field(const char *name) {
  bson_iter_t i;
  if (!bson_iter_init_find(&i, &reply, name))
    fail_msg("no %s in the answer", name);
  return i;
}

static int64_t number(const char *name) {
  bson_iter_t i = field(name);
  return bson_iter_as_int64(&i);
}

static const char *payload(uint32_t *n) {
  bson_iter_t i = field("payload");
  const uint8_t *p;
  bson_iter_binary(&i, NULL, n, &p);
  return (const char *)p;
}

/* A whole conversation; what its last step says. */
static pt_sasl_result talk(int algorithm, const char *name, const char *password, bool skip) {
  pt_scram_client c = {0};
  char out[PT_SCRAM_TEXT];
  uint32_t n;
  const char *mechanism = algorithm == PT_SHA256 ? "SCRAM-SHA-256" : "SCRAM-SHA-1";
  assert_int_equal(pt_scram_client_first(&c, algorithm, name, out, sizeof out), 0);
  assert_int_equal(say_start(mechanism, out, skip), PT_SASL_MORE);
  assert_string_equal(user, name);
  assert_int_equal(number("ok"), 1);
  assert_int_equal(number("done"), 0);
  const char *p = payload(&n);
  assert_int_equal(pt_scram_client_final(&c, name, password, p, n, out, sizeof out), 0);
  pt_sasl_result r = say_more((int32_t)number("conversationId"), out);
  if (r == PT_SASL_REFUSED)
    return r;
  p = payload(&n);
  assert_int_equal(pt_scram_client_verify(&c, p, n), 0);
  assert_int_equal(number("done"), skip);
  if (skip)
    return r;
  assert_int_equal(r, PT_SASL_MORE);
  r = say_more((int32_t)number("conversationId"), "");
  assert_int_equal(number("done"), 1);
  return r;
}

static int talk_setup(void **state) {
  bson_init(&reply);
  return setup(state);
}

static int talk_end(void **state) {
  (void)state;
  pt_sasl_free(conversation);
  conversation = NULL;
  bson_destroy(&reply);
  return 0;
}

static void who_knows_the_password(void **state) {
  (void)state;
  for (int skip = 0; skip < 2; skip++) {
    assert_int_equal(talk(PT_SHA256, "ada", "secret", skip), PT_SASL_IN);
    assert_int_equal(talk(PT_SHA1, "ada", "secret", skip), PT_SASL_IN);
    assert_int_equal(talk(PT_SHA256, "bob", "secret", skip), PT_SASL_IN);
  }
}

static void who_does_not(void **state) {
  (void)state;
  assert_int_equal(talk(PT_SHA256, "ada", "Secret", true), PT_SASL_REFUSED);
  assert_int_equal(number("code"), 18);
  assert_string_equal(user, "ada");
  assert_int_equal(talk(PT_SHA1, "bob", "secret", true), PT_SASL_REFUSED); /* no such verifier */
  assert_int_equal(talk(PT_SHA256, "nobody", "secret", true), PT_SASL_REFUSED);
}

static void out_of_turn(void **state) {
  (void)state;
  assert_int_equal(say_more(1, ""), PT_SASL_REFUSED);
  assert_int_equal(say_start("GSSAPI", "x", true), PT_SASL_REFUSED);
  assert_int_equal(number("code"), 334);
  assert_int_equal(say_start("SCRAM-SHA-256", "no SCRAM", true), PT_SASL_REFUSED);
  assert_int_equal(say_start("SCRAM-SHA-256", "n,,n=ada,r=abcdefghijklmnop", true), PT_SASL_MORE);
  assert_int_equal(say_more(2, "c=biws"), PT_SASL_REFUSED);
  assert_int_equal(say_more(1, ""), PT_SASL_REFUSED); /* nothing is left of it */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(a_mongos, setup),
      cmocka_unit_test_setup(as_it_was_asked, setup),
      cmocka_unit_test_setup(no_more_than_the_backends, setup),
      cmocka_unit_test_setup(compression_in_common, setup),
      cmocka_unit_test_setup(mechanisms, setup),
      cmocka_unit_test_setup_teardown(who_knows_the_password, talk_setup, talk_end),
      cmocka_unit_test_setup_teardown(who_does_not, talk_setup, talk_end),
      cmocka_unit_test_setup_teardown(out_of_turn, talk_setup, talk_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
