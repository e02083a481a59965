/* The door to affinities from the C side: the built-in ones answer, a failing hook is told from a default, a bad file is refused with its line. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "script/affinity_lua.h"

enum {
  N = 4
};

static pt_backend_view at[N];
static char err[512];

/* Backends n0..n3, weights 1 to 4, all usable. */
static void show_backends(pt_affinity *a) {
  for (unsigned i = 0; i < N; i++) {
    at[i] = (pt_backend_view){
        .seed = pt_mix64(i + 77), .weight = i + 1, .effective = (i + 1) * 1000, .id = i + 10, .up = 1, .usable = 1};
    snprintf(at[i].name, sizeof at[i].name, "n%u:27017", i);
  }
  *a->backends = (pt_backends_view){.generation = 1, .n = N, .usable = N, .at = at};
}

static pt_affinity *load(const char *name, const char *opts) {
  pt_policy_config pc = {.name = (char *)name, .opts = (char *)opts, .where = "conf/x.lua:12"};
  err[0] = '\0';
  return pt_affinity_lua(&pc, NULL, err, sizeof err);
}

/* Loads text as a policy file. */
static pt_affinity *load_text(const char *text) {
  char path[] = "/tmp/test_affinity_XXXXXX.lua";
  int fd = mkstemps(path, 4);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
  pt_affinity *a = load(path, NULL);
  unlink(path);
  return a;
}

static int pick(pt_affinity *a, uint64_t key, uint64_t identity, uint8_t kind) {
  *a->session = (pt_session_view){.key = key, .identity = identity, .kind = kind};
  return a->pick(a);
}

static uint64_t identify(pt_affinity *a, pt_conn_view conn) {
  uint64_t key = 1234;
  *a->conn = conn;
  assert_int_equal(a->identify(a, &key), 0);
  return key;
}

static void the_built_in_ones_know_a_client(void **state) {
  (void)state;
  static const struct {
    const char *name;
    uint64_t known, silent;
    bool by_session;
  } all[] = {{"hybrid", 0xfedcba9876543210u, 22, true},
             {"fingerprint", 0xfedcba9876543210u, 22, false},
             {"socket_addr", 22, 22, false},
             {"session_id", 0, 0, true}};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
    pt_affinity *a = load(all[i].name, "{}");
    char name[64];
    if (!a)
      fail_msg("%s", err);
    snprintf(name, sizeof name, "%s (conf/x.lua:12)", all[i].name);
    assert_string_equal(a->name, name);
    assert_int_equal(a->by_session, all[i].by_session);
    assert_int_equal(a->backends->n, 0);
    assert_true(identify(a, (pt_conn_view){.fingerprint = 0xfedcba9876543210u, .address = 22, .has_client = 1}) == all[i].known);
    assert_true(identify(a, (pt_conn_view){.address = 22}) == all[i].silent);
    assert_true(identify(a, (pt_conn_view){.fingerprint = 1, .address = 22, .has_client = 1, .load_balanced = 1}) == 0);
    assert_int_equal(a->calls, 3);
    assert_int_equal(a->failures, 0);
    assert_string_equal(a->error, "");
    a->free(a);
  }
}

/* What core/mongo/place.c takes when a policy fails. */
static int rendezvous(uint64_t key) {
  int best = -1;
  double most = 0;
  for (int i = 0; i < N; i++) {
    double h = ((double)(pt_mix64(key ^ at[i].seed) >> 11) + 0.5) / 9007199254740992.0;
    double score = at[i].effective / -log(h);
    if (at[i].usable && (best < 0 || score > most))
      best = i, most = score;
  }
  return best;
}

static void rendezvous_is_the_same_in_both_languages(void **state) {
  (void)state;
  pt_affinity *a = load("hybrid", NULL);
  assert_non_null(a);
  assert_int_equal(pick(a, 1, 1, 0), PT_PICK_DEFAULT); /* no backend yet */
  show_backends(a);
  unsigned count[N] = {0};
  for (unsigned round = 0; round < 2; round++) {
    for (uint64_t k = 1; k <= 10000; k++) {
      uint64_t key = k % 2 ? k : pt_mix64(k);
      int i = pick(a, key, key, (uint8_t)(k % 3));
      assert_int_equal(i, rendezvous(key));
      count[i] += round == 0;
    }
    at[3].usable = 0;
  }
  for (unsigned i = 0; i < N; i++)
    assert_in_range(count[i], 1000 * (i + 1) - 300, 1000 * (i + 1) + 300);
  assert_int_equal(a->failures, 0);
  a->free(a);
}

static void who_is_nobody_goes_in_turn(void **state) {
  (void)state;
  pt_affinity *a = load("session_id", "{}");
  assert_non_null(a);
  show_backends(a);
  unsigned count[N] = {0};
  for (uint64_t k = 1; k <= 1000; k++)
    count[pick(a, pt_mix64(k), 0, 2)]++;
  for (unsigned i = 0; i < N; i++)
    assert_int_equal(count[i], 100 * (i + 1));
  a->free(a);
}

static void failures(void **state) {
  (void)state;
  pt_affinity *a = load_text("local policy = {}\n"
                             "function policy.identify(conn)\n"
                             "  if conn.app == 'bad' then error 'I do not like it' end\n"
                             "  return conn.app == 'odd' and 'x' or 5\n"
                             "end\n"
                             "function policy.pick(session, backends)\n"
                             "  if session.key == 7ULL then return backends.n end\n"
                             "  if session.key == 8ULL then return end\n"
                             "  return 1\n"
                             "end\n"
                             "return policy\n");
  if (!a)
    fail_msg("%s", err);
  show_backends(a);
  uint64_t key = 1234;
  *a->conn = (pt_conn_view){.app = "bad"};
  assert_int_equal(a->identify(a, &key), -1);
  assert_int_equal(key, 0);
  assert_non_null(strstr(a->error, ".lua:3: I do not like it"));
  *a->conn = (pt_conn_view){.app = "odd"};
  assert_int_equal(a->identify(a, &key), -1);
  assert_non_null(strstr(a->error, ".lua:2: identify returned a string"));
  assert_int_equal(identify(a, (pt_conn_view){.app = "good"}), 5);
  assert_int_equal(pick(a, 7, 0, 0), PT_PICK_FAILED);
  assert_non_null(strstr(a->error, ".lua:6: pick returned 4"));
  assert_int_equal(pick(a, 8, 0, 0), PT_PICK_FAILED);
  assert_int_equal(pick(a, 9, 0, 0), 1);
  at[1].usable = 0;
  assert_int_equal(pick(a, 9, 0, 0), PT_PICK_FAILED);
  assert_int_equal(a->failures, 5);
  assert_int_equal(a->calls, 7);
  a->free(a);
}

static void missing_hooks(void **state) {
  (void)state;
  pt_affinity *a = load_text("return { pick = function() return require('puerta').DEFAULT end }");
  assert_non_null(a);
  assert_null(a->identify);
  assert_false(a->by_session);
  assert_int_equal(pick(a, 1, 0, 0), PT_PICK_DEFAULT);
  a->free(a);
  a = load_text("return { sessions = true, identify = function() return 1 end }");
  assert_non_null(a);
  assert_null(a->pick);
  assert_true(a->by_session);
  a->free(a);
}

static void refused(const char *text, const char *why) {
  assert_null(load_text(text));
  if (!strstr(err, why))
    fail_msg("\"%s\" is not in \"%s\"", why, err);
}

static void bad_files_are_refused(void **state) {
  (void)state;
  refused("return {\n", ".lua:2: unexpected symbol");
  refused("local p = {}\nfunction p.identify(c) return c.foo end\nreturn p", ".lua:2: a connection has no field 'foo'");
  refused("local p = {}\nfunction p.route() return 0 end\nreturn p",
          ".lua:2: hook route belongs to the policy of a Redis listener");
  refused("local p = {}\nfunction p.pick(s, b)\n  return b.n\nend\nreturn p", ".lua:2: pick returned 3");
  refused("while true do\nend", ".lua:1: no end after 100 million instructions");
  refused("local p = {}\nfunction p.pick()\n while true do pcall(function() while true do end end) end\nend\nreturn p",
          ".lua:3: no end");
  assert_null(load("no_such", "{}"));
  assert_non_null(strstr(err, "affinity no_such (conf/x.lua:12): unknown affinity \"no_such\""));
  assert_null(load("read_near", "{}"));
  assert_null(load("hybrid", "{pick='random'}"));
  assert_non_null(strstr(err, "pick: expected \"rendezvous\""));
  assert_null(load("hybrid", "nonsense("));
}

static void *use(void *arg) {
  pt_affinity *a = arg;
  for (uint64_t k = 1; k <= 2000; k++)
    if (identify(a, (pt_conn_view){.fingerprint = k, .has_client = 1}) != k || pick(a, k, k, 0) != rendezvous(k))
      return a;
  return NULL;
}

static void made_here_used_there(void **state) {
  (void)state;
  for (int i = 0; i < 5; i++) {
    pt_affinity *a = load("fingerprint", "{pick='rendezvous'}");
    assert_non_null(a);
    show_backends(a);
    pthread_t t;
    void *wrong = NULL;
    assert_int_equal(pthread_create(&t, NULL, use, a), 0);
    pthread_join(t, &wrong);
    assert_null(wrong);
    assert_int_equal(a->calls, 4000);
    assert_int_equal(a->failures, 0);
    a->free(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_built_in_ones_know_a_client),
      cmocka_unit_test(rendezvous_is_the_same_in_both_languages),
      cmocka_unit_test(who_is_nobody_goes_in_turn),
      cmocka_unit_test(failures),
      cmocka_unit_test(missing_hooks),
      cmocka_unit_test(bad_files_are_refused),
      cmocka_unit_test(made_here_used_there),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
