/* The greeting of backends: hello in both forms, SCRAM in both, and answers that are refused, wrong or not MongoDB's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "core/mongo/greet.h"
#include "mongo_backend.h"

static pt_pool pool;
static pt_mongo_config mc;
static pt_greet g;
static backend b;
static pt_segq to, from;
static pt_greet_result result;
static unsigned messages; /* that the backend has answered */

static int set_up(void **state) {
  (void)state;
  pt_pool_init(&pool);
  mc = (pt_mongo_config){.compressors = 1 << 1 | 1 << 3};
  b = (backend){.mechanisms = NULL};
  g = (pt_greet){0};
  messages = 0;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  pt_segq_clear(&to);
  pt_segq_clear(&from);
  pt_pool_free(&pool);
  return 0;
}

/* Takes the only message of a queue. The buffer is static. */
static size_t message(pt_segq *q, uint8_t **p) {
  static uint8_t bytes[PT_MONGO_MAX_HELLO];
  size_t n = pt_segq_peek(q, bytes, sizeof bytes);
  pt_mongo_header h;
  const char *why;
  assert_true(n >= PT_MONGO_HEADER);
  assert_int_equal(pt_mongo_header_read(&h, bytes, PT_MONGO_MAX_HELLO, &why), 0);
  assert_int_equal(h.length, q->bytes);
  pt_segq_drop(q, q->bytes);
  *p = bytes;
  return n;
}

/* One message there and its answer back. */
static void step(void) {
  uint8_t *p;
  size_t n = message(&to, &p);
  assert_int_equal(backend_answer(&b, p, n, &from, &pool), 0);
  messages++;
  n = message(&from, &p);
  result = pt_greet_reply(&g, p, n, &to, &pool);
}

static pt_greet_result greet(bool legacy) {
  assert_int_equal(pt_greet_start(&g, &mc, legacy, &to, &pool), 0);
  do
    step();
  while (result == PT_GREET_SEND);
  assert_int_equal(to.bytes, 0);
  return result;
}

static void log_in_with(int mechanism, const char *source) {
  mc.backend_user = (char *)BACKEND_USER;
  mc.backend_password = (char *)BACKEND_PASSWORD;
  mc.backend_mechanism = mechanism;
  mc.backend_source = (char *)source;
}

static void hello_alone(void **state) {
  (void)state;
  assert_int_equal(greet(false), PT_GREET_DONE);
  assert_int_equal(messages, 1);
  assert_string_equal(b.last, "hello");
  assert_string_equal(b.db, "admin");
  assert_string_equal(b.asked_user, "");
  assert_string_equal(b.compression, "");
  assert_true(g.hello.ok && g.hello.writable && g.hello.isdbgrid);
  assert_int_equal(g.hello.max_batch, 100000);
}

static void is_master(void **state) {
  (void)state;
  b.no_op_msg = true;
  assert_int_equal(greet(false), PT_GREET_FAILED);
  assert_string_equal(g.error, "hello: no such command: 'hello'");
  assert_int_equal(greet(true), PT_GREET_DONE);
  assert_string_equal(b.last, "isMaster");
  assert_string_equal(b.db, ""); /* not in OP_QUERY */
  assert_true(g.hello.isdbgrid);
}

static void offers_compressors_when_told_so(void **state) {
  (void)state;
  g.compress = true;
  assert_int_equal(greet(false), PT_GREET_DONE);
  assert_string_equal(b.compression, "snappy zstd ");
  mc.compressors = 0;
  assert_int_equal(greet(false), PT_GREET_DONE);
  assert_string_equal(b.compression, "");
}

static void takes_the_best_mechanism(void **state) {
  (void)state;
  static const struct {
    int wish, algorithm;
    const char *told, *asked, *mechanism;
  } cases[] = {
      {0, PT_SHA256, "SCRAM-SHA-256", "admin." BACKEND_USER, "SCRAM-SHA-256"},
      {0, PT_SHA1, "SCRAM-SHA-1", "admin." BACKEND_USER, "SCRAM-SHA-1"},
      {0, PT_SHA1, NULL, "admin." BACKEND_USER, "SCRAM-SHA-1"},
      {0, PT_SHA1, "SCRAM-SHA-256-PLUS", "admin." BACKEND_USER, "SCRAM-SHA-1"},
      {256, PT_SHA256, NULL, "", "SCRAM-SHA-256"},
      {1, PT_SHA1, "SCRAM-SHA-256", "", "SCRAM-SHA-1"},
  };
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    log_in_with(cases[i].wish, NULL);
    b = (backend){.algorithm = cases[i].algorithm, .mechanisms = cases[i].told};
    assert_int_equal(pt_greet_start(&g, &mc, false, &to, &pool), 0);
    step();
    assert_string_equal(b.asked_user, cases[i].asked);
    step();
    assert_string_equal(b.last, "saslStart");
    assert_string_equal(b.mechanism, cases[i].mechanism);
    step();
    assert_int_equal(result, PT_GREET_DONE);
    assert_int_equal(b.logins, 1);
    assert_true(g.hello.isdbgrid); /* not overwritten by what SCRAM said */
  }
}

static void logs_in_where_told(void **state) {
  (void)state;
  log_in_with(0, "users");
  b.algorithm = PT_SHA256;
  b.mechanisms = "SCRAM-SHA-256";
  assert_int_equal(pt_greet_start(&g, &mc, false, &to, &pool), 0);
  step();
  assert_string_equal(b.db, "admin");
  assert_string_equal(b.asked_user, "users." BACKEND_USER);
  step();
  assert_string_equal(b.db, "users");
  step();
  assert_string_equal(b.db, "users");
  assert_int_equal(result, PT_GREET_DONE);
}

static void says_one_more_empty_word(void **state) {
  (void)state;
  log_in_with(256, NULL);
  b.algorithm = PT_SHA256;
  b.needs_empty = true;
  assert_int_equal(greet(false), PT_GREET_DONE);
  assert_int_equal(messages, 4);
}

static void after_is_master_too(void **state) {
  (void)state;
  log_in_with(256, NULL);
  b.algorithm = PT_SHA256;
  assert_int_equal(greet(true), PT_GREET_DONE);
  assert_int_equal(b.logins, 1);
}

static void refusals(void **state) {
  (void)state;
  b.hello_fails = true;
  assert_int_equal(greet(false), PT_GREET_FAILED);
  assert_string_equal(g.error, "hello: it is leaving");
  assert_false(g.hello.ok);
  b.hello_fails = false;
  log_in_with(256, NULL);
  assert_int_equal(greet(false), PT_GREET_FAILED); /* it refuses saslStart */
  assert_string_equal(g.error, "authentication: Authentication failed.");
  assert_true(g.hello.ok);
  b.algorithm = PT_SHA256;
  b.lies = true; /* it knows another password: it refuses ours */
  assert_int_equal(greet(false), PT_GREET_FAILED);
  assert_string_equal(g.error, "authentication: Authentication failed.");
  assert_int_equal(b.logins, 0);
}

/* Lets a reply say something else than it did. */
static pt_greet_result reply(const bson_t *doc, int32_t response_to) {
  uint8_t *p;
  assert_int_equal(pt_mongo_answer(&from, &pool, PT_OP_MSG, 1, response_to, 0, doc), 0);
  size_t n = message(&from, &p);
  return pt_greet_reply(&g, p, n, &to, &pool);
}

static pt_greet_result sasl_reply(const char *payload, bool done) {
  bson_t doc = BSON_INITIALIZER;
  bson_append_double(&doc, "ok", -1, 1);
  bson_append_bool(&doc, "done", -1, done);
  if (payload)
    bson_append_binary(&doc, "payload", -1, BSON_SUBTYPE_BINARY, (const uint8_t *)payload, (uint32_t)strlen(payload));
  pt_greet_result r = reply(&doc, g.request_id);
  bson_destroy(&doc);
  return r;
}

static void start_sasl(void) {
  log_in_with(256, NULL);
  b.algorithm = PT_SHA256;
  assert_int_equal(pt_greet_start(&g, &mc, false, &to, &pool), 0);
  step();
  assert_int_equal(result, PT_GREET_SEND);
}

static void servers_that_prove_nothing(void **state) {
  (void)state;
  start_sasl();
  assert_int_equal(sasl_reply("v=AAAA", true), PT_GREET_FAILED);
  assert_string_equal(g.error, "authentication: it ends too early");
  pt_segq_clear(&to);
  start_sasl();
  assert_int_equal(sasl_reply("r=short,s=AAAA,i=1", false), PT_GREET_FAILED);
  assert_string_equal(g.error, "authentication: not a SCRAM answer");
  pt_segq_clear(&to);
  start_sasl();
  assert_int_equal(sasl_reply(NULL, false), PT_GREET_FAILED);
  assert_string_equal(g.error, "authentication: its answer has no payload");
  pt_segq_clear(&to);
  start_sasl();
  step();
  assert_int_equal(result, PT_GREET_SEND);
  assert_int_equal(sasl_reply("v=AAAA", true), PT_GREET_FAILED); /* to our proof: it does not know the user */
  assert_string_equal(g.error, "authentication: it does not prove that it knows the user");
  pt_segq_clear(&to);
  b.needs_empty = true;
  start_sasl();
  step();
  step();
  assert_int_equal(result, PT_GREET_SEND);
  assert_int_equal(sasl_reply("", false), PT_GREET_FAILED);
  assert_string_equal(g.error, "authentication: it does not end");
}

static void answers_to_something_else(void **state) {
  (void)state;
  bson_t doc = BSON_INITIALIZER;
  bson_append_double(&doc, "ok", -1, 1);
  assert_int_equal(pt_greet_start(&g, &mc, false, &to, &pool), 0);
  assert_int_equal(reply(&doc, g.request_id + 1), PT_GREET_FAILED);
  assert_string_equal(g.error, "hello: it answers something else");
  assert_int_equal(reply(&doc, g.request_id), PT_GREET_FAILED); /* it has ended */
  assert_string_equal(g.error, "it answers what was not asked");
  bson_destroy(&doc);
}

static void answers_that_are_none(void **state) {
  (void)state;
  uint8_t *p;
  bson_t doc = BSON_INITIALIZER;
  bson_append_double(&doc, "ok", -1, 1);
  assert_int_equal(pt_mongo_answer(&from, &pool, PT_OP_MSG, 1, 1, 0, &doc), 0);
  size_t n = message(&from, &p);
  for (size_t cut = 0; cut < n; cut++) { /* every shortened form, and every byte changed */
    assert_int_equal(pt_greet_start(&g, &mc, false, &to, &pool), 0);
    assert_int_equal(pt_greet_reply(&g, p, cut, &to, &pool), PT_GREET_FAILED);
    assert_true(g.error[0]);
    uint8_t was = p[cut];
    for (int x = 1; x < 256; x <<= 1) {
      p[cut] = was ^ (uint8_t)x;
      g.step = 0;
      assert_int_not_equal(pt_greet_reply(&g, p, n, &to, &pool), PT_GREET_SEND);
    }
    p[cut] = was;
    pt_segq_clear(&to);
  }
  assert_int_equal(pt_greet_start(&g, &mc, false, &to, &pool), 0);
  assert_int_equal(pt_greet_reply(&g, (const uint8_t *)"HTTP/1.1 400 Bad Request\r\n\r\n", 28, &to, &pool), PT_GREET_FAILED);
  bson_destroy(&doc);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(hello_alone),
      TEST(is_master),
      TEST(offers_compressors_when_told_so),
      TEST(takes_the_best_mechanism),
      TEST(logs_in_where_told),
      TEST(says_one_more_empty_word),
      TEST(after_is_master_too),
      TEST(refusals),
      TEST(servers_that_prove_nothing),
      TEST(answers_to_something_else),
      TEST(answers_that_are_none),
  };
  return cmocka_run_group_tests_name("greet", tests, NULL, NULL);
}
