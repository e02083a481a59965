/* The door from the C side: both implementations agree, a failing policy harms only its own requests, and a bad file is refused with its line. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc16.h"
#include "core/policy.h"
#include "script/policy_lua.h"
#include "wire/command.h"

enum {
  NODES = 6,
  NONE = 0x7fff
};

static pt_view_node nodes[NODES];
static int16_t owner[PT_SLOTS];
static char err[512];

/* Masters 0..2, replicas 3..5; every 10th slot has no owner. */
static void show_cluster(pt_policy *p) {
  for (int i = 0; i < NODES; i++) {
    nodes[i] = (pt_view_node){.port = 7000, .replica = i > 2, .up = 1, .master = (int16_t)(i % 3), .nreplicas = i < 3};
    nodes[i].replicas[0] = (int16_t)(i + 3);
  }
  for (int s = 0; s < PT_SLOTS; s++)
    owner[s] = (int16_t)(s % 10 == 9 ? NONE : s % 3);
  p->view->generation = 1;
  p->view->nnodes = NODES;
  p->view->owner = owner;
  p->view->nodes = nodes;
}

static pt_policy *load(const char *name, const char *opts) {
  pt_policy_config pc = {.name = (char *)name, .opts = (char *)opts, .where = "conf/x.lua:12"};
  err[0] = '\0';
  return pt_policy_lua(&pc, NULL, err, sizeof err);
}

/* Loads text as a policy file. path: where it was, for messages. */
static pt_policy *load_text(const char *text) {
  char path[] = "/tmp/test_policy_XXXXXX.lua";
  int fd = mkstemps(path, 4);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
  pt_policy *p = load(path, "{}");
  unlink(path);
  return p;
}

static pt_request ask(const char *key, unsigned slot, unsigned flags) {
  return (pt_request){.key = (const uint8_t *)key,
                      .key_len = key ? (uint32_t)strlen(key) : 0,
                      .slot = (uint16_t)slot,
                      .flags = flags,
                      .argc = 2,
                      .node = PT_ROUTE_DEFAULT};
}

static void c_and_lua_agree(void **state) {
  (void)state;
  pt_policy *c = pt_policy_c(), *l = load("slot_owner", "{}");
  assert_non_null(c);
  assert_non_null(l);
  assert_string_equal(l->name, "slot_owner (conf/x.lua:12)");
  assert_null(c->redirect);
  assert_null(l->redirect);
  for (int shown = 0; shown < 2; shown++) { /* first without a cluster: DEFAULT, and nothing breaks */
    if (shown) {
      show_cluster(c);
      show_cluster(l);
    }
    unsigned seed = 5;
    for (unsigned round = 0; round < 300; round++) {
      unsigned n = 1 + round % PT_BATCH;
      for (unsigned i = 0; i < n; i++)
        c->batch[i] = l->batch[i] = ask("k", i % 7 == 6 ? 0xffff : rand_r(&seed) % PT_SLOTS, PT_CMD_READONLY);
      c->route(c, n);
      l->route(l, n);
      for (unsigned i = 0; i < n; i++) {
        unsigned s = c->batch[i].slot;
        int want = shown && s < PT_SLOTS && owner[s] != NONE ? owner[s] : PT_ROUTE_DEFAULT;
        assert_int_equal(c->batch[i].node, want);
        assert_int_equal(l->batch[i].node, want);
      }
    }
  }
  assert_int_equal(c->calls, l->calls);
  assert_int_equal(l->failures, 0);
  c->free(c);
  l->free(l);
}

static void reads_go_to_replicas(void **state) {
  (void)state;
  pt_policy *p = load("read_replica", "{}");
  assert_non_null(p);
  show_cluster(p);
  for (unsigned i = 0; i < PT_BATCH; i++)
    p->batch[i] = ask("k", i % 3, i % 2 ? PT_CMD_READONLY : PT_CMD_WRITE);
  p->route(p, PT_BATCH);
  for (unsigned i = 0; i < PT_BATCH; i++)
    assert_int_equal(p->batch[i].node, i % 2 ? i % 3 + 3 : i % 3);
  nodes[3].up = 0;
  p->batch[0] = ask("k", 0, PT_CMD_READONLY);
  p->route(p, 1);
  assert_int_equal(p->batch[0].node, 0);
  assert_int_equal(p->failures, 0);
  p->free(p);
}

static void a_bad_request_stays_alone(void **state) {
  (void)state;
  pt_policy *p = load_text("local policy = {}\n"
                           "function policy.route(req, cluster)\n"
                           "  if req.key == 'bad' then error 'I do not like it' end\n"
                           "  if req.key == 'odd' then return 'x' end\n"
                           "  return cluster:owner(req.slot)\n"
                           "end\n"
                           "return policy\n");
  assert_non_null(p);
  show_cluster(p);
  uint64_t failures = 0;
  for (unsigned round = 0; round < 500; round++) {
    unsigned bad = round % PT_BATCH, odd = round * 7 % PT_BATCH;
    for (unsigned i = 0; i < PT_BATCH; i++)
      p->batch[i] = ask(i == bad ? "bad" : i == odd ? "odd" : "ok", i % 3, PT_CMD_READONLY);
    p->route(p, PT_BATCH);
    for (unsigned i = 0; i < PT_BATCH; i++)
      assert_int_equal(p->batch[i].node, i == bad || i == odd ? PT_ROUTE_FAILED : (int)(i % 3));
    failures += 1 + (bad != odd);
    assert_int_equal(p->failures, failures);
  }
  assert_int_equal(p->calls, 500 * PT_BATCH);
  p->batch[0] = ask("bad", 0, PT_CMD_READONLY);
  p->route(p, 1);
  assert_int_equal(p->batch[0].node, PT_ROUTE_FAILED);
  assert_non_null(strstr(p->error, ".lua:3: I do not like it"));
  p->batch[0] = ask("odd", 0, PT_CMD_READONLY);
  p->route(p, 1);
  assert_non_null(strstr(p->error, ".lua:2: route returned a string"));
  p->free(p);
}

static void redirects(void **state) {
  (void)state;
  pt_policy *p = load_text("local puerta, policy = require 'puerta', {}\n"
                           "function policy.redirect(req, why, cluster)\n"
                           "  if why == puerta.MOVED then return puerta.RETRY, req.node + 1 end\n"
                           "  if why == puerta.ASK then return puerta.DEFAULT end\n"
                           "  if why == puerta.LOST and req.slot == 7 then error 'lost' end\n"
                           "  return puerta.FAIL\n"
                           "end\n"
                           "return policy\n");
  assert_non_null(p);
  show_cluster(p);
  assert_null(p->route);
  pt_request r = ask("k", 7, PT_CMD_WRITE);
  int16_t node = 2;
  assert_int_equal(p->redirect(p, &r, PT_WHY_MOVED, &node), PT_ACT_RETRY);
  assert_int_equal(node, 3);
  assert_int_equal(r.node, PT_ROUTE_DEFAULT);
  assert_int_equal(p->redirect(p, &r, PT_WHY_ASK, &node), PT_ACT_DEFAULT);
  assert_int_equal(p->redirect(p, &r, PT_WHY_CLUSTERDOWN, &node), PT_ACT_FAIL);
  assert_int_equal(p->failures, 0);
  assert_int_equal(p->redirect(p, &r, PT_WHY_LOST, &node), PT_ACT_DEFAULT);
  assert_int_equal(node, 3);
  assert_int_equal(p->failures, 1);
  assert_non_null(strstr(p->error, ".lua:5: lost"));
  p->free(p);
}

static void refused(const char *text, const char *why) {
  assert_null(load_text(text));
  if (!strstr(err, why))
    fail_msg("\"%s\" is not in \"%s\"", why, err);
}

static void bad_files_are_refused(void **state) {
  (void)state;
  refused("return {\n", ".lua:2: unexpected symbol");
  refused("local p = {}\nfunction p.route(r) return r.foo end\nreturn p", ".lua:2: a request has no field 'foo'");
  refused("local p = {}\nfunction p.tick() end\nreturn p", ".lua:2: hook tick is not built yet");
  assert_null(load("no_such", "{}"));
  assert_non_null(strstr(err, "policy no_such (conf/x.lua:12): unknown policy \"no_such\""));
  assert_null(load("slot_owner", "nonsense("));
  assert_null(load("read_near", "{}"));
  assert_non_null(strstr(err, "zone: expected"));
}

static void endless_loops_are_refused(void **state) {
  (void)state;
  refused("while true do\nend", ".lua:1: no end after 100 million instructions");
  refused("local p = {}\nfunction p.init() repeat until false end\nfunction p.route() return 0 end\nreturn p", ".lua:2: no end");
  refused("local p = {}\nfunction p.route()\n while true do end\nend\nreturn p", ".lua:3: no end");
  refused("local p = {}\nfunction p.route()\n while true do pcall(function() while true do end end) end\nend\nreturn p",
          ".lua:3: no end");
  refused("local p = {}\nfunction p.route() return 0 end\nfunction p.redirect() while true do end end\nreturn p",
          ".lua:3: no end");
}

static void *use(void *arg) {
  pt_policy *p = arg;
  for (int i = 0; i < 1000; i++) {
    for (unsigned k = 0; k < PT_BATCH; k++)
      p->batch[k] = ask("k", k % 3, PT_CMD_READONLY);
    p->route(p, PT_BATCH);
  }
  return NULL;
}

static void made_here_used_there(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++) {
    pt_policy *p = load("read_replica", "{prefer='any'}");
    assert_non_null(p);
    show_cluster(p);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, use, p), 0);
    pthread_join(t, NULL);
    assert_int_equal(p->failures, 0);
    assert_int_equal(p->calls, 1000 * PT_BATCH);
    assert_true(pt_policy_lua_heap(p) > 0 && pt_policy_lua_heap(p) < 4 << 20);
    p->free(p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(c_and_lua_agree),           cmocka_unit_test(reads_go_to_replicas),
      cmocka_unit_test(a_bad_request_stays_alone), cmocka_unit_test(redirects),
      cmocka_unit_test(bad_files_are_refused),     cmocka_unit_test(endless_loops_are_refused),
      cmocka_unit_test(made_here_used_there),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
