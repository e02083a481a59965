/* The health checks against scripted backends: what makes one up and down, what snapshots say of it, names, hints, reloads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/resource.h>

#include "health_rig.h"

/* ---- up and down ---- */

static void good_ones_are_up_at_once(void **state) {
  (void)state;
  fake *f[3];
  mc->health_interval = HOUR;
  mc->health_rise = 5;
  for (unsigned i = 0; i < 3; i++)
    add(f[i] = fake_open(ANSWERS));
  FAKE_SET(f[1], max_batch = 500);
  mc->backends[2].weight = 7;
  mc->backends[2].drain = true;
  start();
  WAIT_FOR(published);
  assert_int_equal(shown->generation, 1);
  assert_int_equal(shown->view, 1);
  assert_int_equal(shown->n, 3);
  assert_int_equal(shown->nup, 3);
  assert_true(shown->known && shown->hello.isdbgrid && !shown->at[0].legacy);
  assert_int_equal(shown->hello.max_batch, 500);
  for (unsigned i = 0; i < 3; i++) {
    char name[64];
    snprintf(name, sizeof name, "127.0.0.1:%u", f[i]->port);
    assert_string_equal(shown->at[i].name, name);
    assert_string_equal(shown->at[i].why, "");
    assert_int_equal(shown->at[i].id, i);
    assert_int_equal(pt_address_port(&shown->at[i].address), f[i]->port);
    assert_int_equal(shown->at[i].up_since, 0);
    assert_int_equal(shown->at[i].epoch, 0);
    assert_int_equal(shown->at[i].weight, i == 2 ? 7 : 1);
    assert_int_equal(shown->at[i].draining, i == 2);
    assert_int_equal(logged("info  health: listener orders: backend %s is up\n", name), 1);
  }
}

/* A bad script: what it is called, and back again. */
static void out_and_back(fake *f, script how, const char *why) {
  if (how == ANSWERS)
    fake_refuse(f);
  else
    fake_serve(f, how);
  wait_down(1);
  assert_string_equal(shown->at[1].why, why);
  assert_true(shown->at[0].up);
  assert_int_equal(shown->nup, 1);
  assert_true(shown->known);
  uint32_t epoch = shown->at[1].epoch;
  int before = f->asked;
  uint64_t healed = pt_now_ns();
  fake_serve(f, ANSWERS);
  wait_up(1);
  assert_true(f->asked >= before + 2); /* rise */
  assert_int_equal(shown->at[1].epoch, epoch + 1);
  assert_true(shown->at[1].up_since > healed);
  assert_string_equal(shown->at[1].why, "");
}

static void bad_ones_are_taken_out_and_come_back(void **state) {
  (void)state;
  fake *well = fake_open(ANSWERS), *ill = fake_open(ANSWERS);
  add(well);
  add(ill);
  start();
  WAIT_FOR(published);
  out_and_back(ill, ANSWERS, "connection refused");
  assert_int_equal(logged("warn  health: listener orders: backend 127.0.0.1:%u is down: connection refused\n", ill->port), 1);
  out_and_back(ill, CLOSES, "it closed the connection");
  out_and_back(ill, RESETS, "it closed the connection");
  out_and_back(ill, CLOSES_LATER, "it closed the connection");
  out_and_back(ill, TALKS_HTTP, "not a MongoDB answer");
  out_and_back(ill, TALKS_LONG, "not a MongoDB answer");
  assert_int_equal(shown->view, 1); /* clients saw the same all the time */
  assert_int_equal(shown->at[0].epoch, 0);
  assert_int_equal(logged("no backend is up"), 0);
  WAIT_FOR(told_up_last(ill)); /* not every change of this quick row may have been told */
}

static void ok_0(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add(fake_open(ANSWERS));
  add(f);
  start();
  WAIT_FOR(published);
  FAKE_SET(f, hello_fails = true);
  wait_down(1);
  assert_string_equal(shown->at[1].why, "hello: it is leaving");
  FAKE_SET(f, hello_fails = false);
  FAKE_SET(f, secondary = true);
  WAIT_FOR(!strcmp(shown->at[1].why, "it is not writable"));
  FAKE_SET(f, secondary = false);
  wait_up(1);
}

static void a_hang_is_out_after_the_timeout(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add(fake_open(ANSWERS));
  add(f);
  mc->health_timeout = 1000;
  start();
  WAIT_FOR(published && shown->nup == 2);
  fake_serve(f, HANGS);
  wait_down(1);
  assert_string_equal(shown->at[1].why, "no answer in time");
  fake_serve(f, ANSWERS);
  wait_up(1);
}

/* Its queue of connections is full, and it takes none. */
static void so_is_one_that_does_not_connect(void **state) {
  (void)state;
  pt_address a;
  int fill[4], door;
  pt_address_parse(&a, "127.0.0.1", 0);
  socklen_t n = sizeof a.in6;
  door = pt_listen(&a, 0);
  assert_int_equal(getsockname(door, &a.sa, &n), 0);
  for (int i = 0; i < 4; i++)
    fill[i] = pt_connect(&a);
  add_at("127.0.0.1", pt_address_port(&a));
  mc->connect_timeout = 300;
  start();
  WAIT_FOR(published);
  assert_string_equal(shown->at[0].why, "no connection in time");
  for (int i = 0; i < 4; i++)
    close(fill[i]);
  close(door);
}

static void one_bad_check_is_not_enough(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add(f);
  start();
  wait_up(0);
  for (int i = 0; i < 3; i++) {
    f->fails = 2; /* a check asks in two ways */
    WAIT_FOR(!f->fails);
    wait_asked(f, 4);
  }
  assert_int_equal(published, 1);
}

static void retries_are_made_at_once(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add(f);
  mc->health_fall = 1;
  mc->health_retries = 2;
  start();
  wait_up(0);
  f->fails = 4;
  WAIT_FOR(!f->fails);
  wait_asked(f, 4);
  assert_int_equal(published, 1);
  f->fails = 6;
  wait_down(0);
  wait_up(0);
}

static void what_is_missing_here_is_not_its_fault(void **state) {
  (void)state;
  struct rlimit was, none;
  fake *f = fake_open(ANSWERS);
  add(f);
  mc->health_fall = 1;
  start();
  wait_up(0);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
  none = was;
  none.rlim_cur = 3;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  for (uint64_t from = pt_now_ms(); !logged("cannot be checked: too many open files\n");)
    turn(from, __LINE__);
  for (int i = 0; i < 20; i++)
    turn(pt_now_ms(), __LINE__);
  setrlimit(RLIMIT_NOFILE, &was);
  wait_asked(f, 2);
  assert_int_equal(published, 1);
}

static void mongos_may_be_required(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  FAKE_SET(f, no_mongos = true);
  add(f);
  start();
  WAIT_FOR(published);
  assert_true(shown->at[0].up && !shown->hello.isdbgrid);
  new_config();
  add(f);
  mc->require_mongos = true;
  reload();
  wait_down(0);
  assert_string_equal(shown->at[0].why, "it is no mongos");
  FAKE_SET(f, no_mongos = false);
  wait_up(0);
  assert_true(shown->hello.isdbgrid);
}

static void is_master_will_do(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  FAKE_SET(f, no_op_msg = true);
  add(f);
  start();
  wait_up(0);
  assert_true(shown->at[0].legacy);
  assert_string_equal(fake_look(f).last, "isMaster");
  unsigned hellos = fake_look(f).hellos;
  wait_asked(f, 3);
  assert_int_equal(fake_look(f).hellos, hellos); /* it is asked this way first from now on */
  fake_serve(f, CLOSES);
  wait_down(0);
  FAKE_SET(f, no_op_msg = false);
  fake_serve(f, ANSWERS);
  wait_up(0);
}

/* ---- what is published, and when ---- */

static void the_first_snapshot_waits_for_everybody(void **state) {
  (void)state;
  fake *f = fake_open(HANGS);
  mc->health_interval = HOUR;
  for (int i = 0; i < 4; i++)
    add(fake_open(ANSWERS));
  add(f);
  start();
  WAIT_FOR(f->asked && logged("is up\n") == 4);
  for (int i = 0; i < 20; i++)
    turn(pt_now_ms(), __LINE__);
  assert_int_equal(published, 0);
  fake_serve(f, CLOSES);
  fake_refuse(f);
  WAIT_FOR(published);
  assert_int_equal(shown->nup, 4);
  assert_string_equal(shown->at[4].why, "it closed the connection");
}

static void but_not_for_ever(void **state) {
  (void)state;
  add(fake_open(ANSWERS));
  add(fake_open(HANGS));
  add_at("stuck.test", 1);
  mc->health_timeout = 1000;
  start();
  WAIT_FOR(published);
  wait_up(0);
  assert_int_equal(shown->nup, 1);
  assert_string_equal(shown->at[2].why, "not checked yet");
  assert_false(shown->at[2].up);
  WAIT_FOR(stuck);
  pt_health_stop(health); /* while a lookup is stuck */
  health = NULL;
  sem_post(&unstick);
}

static void with_nobody_up(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  fake_refuse(f);
  add(f);
  start();
  WAIT_FOR(published);
  assert_int_equal(shown->nup, 0);
  assert_false(shown->known);
  assert_int_equal(shown->view, 0);
  assert_int_equal(logged("error health: listener orders: no backend is up\n"), 1);
  assert_string_equal(shown->at[0].why, "connection refused");
  FAKE_SET(f, max_batch = 123);
  fake_serve(f, ANSWERS);
  wait_up(0);
  assert_true(shown->known);
  assert_int_equal(shown->view, 1);
  assert_int_equal(shown->at[0].epoch, 1);
  assert_true(shown->at[0].up_since > 0);
  fake_refuse(f);
  wait_down(0);
  assert_true(shown->known); /* the last word stays */
  assert_int_equal(shown->hello.max_batch, 123);
  assert_int_equal(shown->view, 1);
  assert_int_equal(logged("no backend is up\n"), 2);
}

static void the_view_follows_what_clients_see(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add(fake_open(ANSWERS));
  add(f);
  start();
  WAIT_FOR(published);
  FAKE_SET(f, max_batch = 9);
  WAIT_FOR(shown->view == 2);
  assert_int_equal(shown->hello.max_batch, 9);
  assert_int_equal(shown->nup, 2);
  assert_int_equal(shown->at[1].epoch, 0);
  fake_refuse(f);
  wait_down(1);
  assert_int_equal(shown->view, 3); /* the other allows more */
  assert_int_equal(shown->hello.max_batch, 100000);
}

static void a_restart_between_two_checks_is_seen(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  FAKE_SET(f, process = 1);
  add(f);
  start();
  wait_up(0);
  wait_asked(f, 2);
  assert_int_equal(published, 1);
  FAKE_SET(f, process = 2);
  WAIT_FOR(shown->at[0].epoch == 1);
  assert_true(shown->at[0].up);
  assert_int_equal(shown->view, 1);
  assert_int_equal(logged("backend 127.0.0.1:%u has been restarted\n", f->port), 1);
  wait_asked(f, 2);
  assert_int_equal(published, 2);
}

/* ---- hints ---- */

static void a_hint_takes_a_dead_one_out_at_once(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add(fake_open(ANSWERS));
  add(f);
  mc->health_interval = HOUR;
  start();
  WAIT_FOR(published);
  pt_health_hint(health, PT_BACKEND_NONE);
  pt_health_hint(health, 77);
  pt_health_hint(health, 1);
  WAIT_FOR(f->asked == 2); /* it is well, so it stays */
  fake_refuse(f);
  WAIT_FOR((pt_health_hint(health, 1), published == 2));
  assert_false(shown->at[1].up);
  assert_true(shown->at[0].up);
  assert_int_equal(logged("backend 127.0.0.1:%u is down: ", f->port), 1);
}

static void a_hint_takes_no_healthy_one_out(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add(f);
  mc->health_interval = HOUR;
  mc->health_fall = mc->health_rise = 1;
  start();
  wait_up(0);
  for (int asked = f->asked; f->asked < asked + 3;)
    WAIT_FOR((pt_health_hint(health, 0), f->asked > asked));
  assert_true(shown->at[0].up);
  assert_int_equal(published, 1);
}

static void hints_are_rate_limited(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add(f);
  mc->health_interval = HOUR;
  mc->health_fall = 1000000;
  start();
  wait_up(0);
  uint64_t began = pt_now_ms();
  for (int i = 0; i < 100000; i++)
    pt_health_hint(health, 0);
  WAIT_FOR(f->asked >= 2);
  uint64_t took = pt_now_ms() - began;
  assert_true((uint64_t)f->asked <= 2 + took / 100);
}

/* ---- reloads ---- */

static void a_reload_keeps_those_that_stay(void **state) {
  (void)state;
  fake *a = fake_open(ANSWERS), *b = fake_open(ANSWERS), *c = fake_open(ANSWERS);
  add(a);
  add(b);
  start();
  WAIT_FOR(published);
  fake_refuse(b);
  wait_down(1);
  fake_serve(b, ANSWERS);
  wait_up(1);
  uint64_t up_since = shown->at[1].up_since;
  new_config();
  mc->health_interval = HOUR;
  add(c);
  add(b);
  add(b); /* twice the same is once */
  mc->backends[1].weight = 5;
  mc->backends[1].drain = true;
  reload();
  WAIT_FOR(shown->n != 2 || shown->at[0].id == 2);
  assert_int_equal(shown->n, 2);
  assert_int_equal(shown->nup, 2); /* the new one was checked first */
  assert_int_equal(shown->at[1].id, 1);
  assert_int_equal(shown->at[1].epoch, 1);
  assert_true(shown->at[1].up_since == up_since);
  assert_int_equal(shown->at[1].weight, 5);
  assert_true(shown->at[1].draining);
  assert_int_equal(pt_backends_index(shown, 0), -1);
  new_config();
  add(a);
  reload();
  WAIT_FOR(shown->n == 1);
  assert_int_equal(shown->at[0].id, 0); /* the name is known */
  assert_int_equal(shown->at[0].epoch, 1); /* and what it held is not */
  assert_true(shown->at[0].up);
  new_config();
  free(next->listeners[1].name);
  next->listeners[1].name = strdup("others");
  add(b);
  int before = published;
  reload();
  wait_asked(a, 3);
  assert_int_equal(published, before);
}

static void a_reload_during_a_check(void **state) {
  (void)state;
  fake *f = fake_open(HANGS);
  add(f);
  start();
  WAIT_FOR(f->asked);
  for (int i = 0; i < 20; i++) {
    new_config();
    add(f);
    reload();
  }
  fake_serve(f, ANSWERS);
  new_config();
  add(f);
  reload();
  wait_up(0);
}

static void ids_end(void **state) {
  (void)state;
  pt_log_setup(PT_LOG_ERROR, 0);
  fake *f = fake_open(ANSWERS);
  add(f);
  start();
  wait_up(0);
  for (unsigned round = 0, id = 0; id <= PT_BACKEND_IDS; round++) {
    new_config();
    mc->health_interval = HOUR;
    add(f);
    for (unsigned i = 1; i < PT_MAX_BACKENDS; i++) {
      char host[32];
      snprintf(host, sizeof host, "127.1.%u.%u", round, i);
      add_at(host, 1);
      id++;
    }
    int before = published;
    reload();
    WAIT_FOR(published > before);
    assert_true(shown->at[0].up);
    assert_int_equal(shown->at[0].id, 0);
  }
  assert_true(shown->n < PT_MAX_BACKENDS);
  assert_int_equal(shown->at[shown->n - 1].id, PT_BACKEND_IDS - 1);
  assert_true(logged("is left out: too many names since the start of the process\n") > 0);
  pt_log_setup(PT_LOG_INFO, 0);
}

/* ---- authentication, PROXY headers ---- */

static void log_in(const char *password) {
  mc->backend_user = strdup(BACKEND_USER);
  mc->backend_password = strdup(password);
}

static void credentials(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  FAKE_SET(f, algorithm = PT_SHA256);
  FAKE_SET(f, mechanisms = "SCRAM-SHA-256");
  add(f);
  log_in("swordfish");
  start();
  WAIT_FOR(published);
  assert_false(shown->at[0].up);
  assert_string_equal(shown->at[0].why, "authentication: Authentication failed.");
  new_config();
  add(f);
  log_in(BACKEND_PASSWORD);
  reload();
  wait_up(0);
  unsigned logins = fake_look(f).logins;
  wait_asked(f, 10);
  assert_true(fake_look(f).logins >= logins + 9);
  assert_int_equal(logged("swordfish") + logged(BACKEND_PASSWORD), 0);
}

static void proxy_headers(void **state) {
  (void)state;
  static const uint8_t local[16] = "\r\n\r\n\0\r\nQUIT\n\x20";
  fake *f = fake_open(ANSWERS);
  f->header = 15;
  add(f);
  mc->proxy_send = PT_PROXY_V1;
  start();
  wait_up(0);
  pt_health_stop(health);
  health = NULL;
  fake_refuse(f);
  assert_memory_equal(f->header_seen, "PROXY UNKNOWN\r\n", 15);
  f->header = 16;
  fake_serve(f, ANSWERS);
  new_config();
  add(f);
  mc->proxy_send = PT_PROXY_V2;
  pt_backends_unref(shown);
  shown = NULL;
  start();
  wait_up(0);
  pt_health_stop(health);
  health = NULL;
  fake_refuse(f);
  assert_memory_equal(f->header_seen, local, sizeof local);
}

/* ---- names ---- */

static void shown_at(const char *host, const fake *f) {
  char text[PT_ADDRESS_TEXT], want[PT_ADDRESS_TEXT];
  snprintf(want, sizeof want, "%s:%u", host, f->port);
  assert_string_equal(pt_address_format(&shown->at[0].address, text, sizeof text), want);
}

static void every_address_of_a_name_is_tried(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add_at("two.test", f->port);
  start();
  WAIT_FOR(published);
  assert_true(shown->at[0].up);
  shown_at("127.0.0.1", f);
  char name[40];
  snprintf(name, sizeof name, "two.test:%u", f->port);
  assert_string_equal(shown->at[0].name, name);
  fake_refuse(f);
  wait_down(0);
  fake_serve(f, ANSWERS);
  wait_up(0);
}

static void an_address_that_is_still_given_is_kept(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add_at("turning.test", f->port);
  mc->resolve = SOON;
  start();
  wait_up(0);
  int before = lookups, was = published;
  WAIT_FOR(lookups >= before + 6);
  names_fail = 1; /* as it is when there is no answer */
  before = lookups;
  WAIT_FOR(lookups >= before + 3);
  assert_int_equal(published, was);
  shown_at("127.0.0.1", f);
}

static void a_name_that_moves_is_followed(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS), *g = fake_open_at("127.0.0.3", f->port, ANSWERS);
  add_at("moving.test", f->port);
  mc->resolve = SOON;
  start();
  wait_up(0);
  shown_at("127.0.0.1", f);
  moved = 1;
  WAIT_FOR(published == 2);
  shown_at("127.0.0.3", f);
  assert_true(shown->at[0].up);
  assert_int_equal(shown->at[0].epoch, 1); /* it is another process */
  assert_int_equal(logged("backend moving.test:%u has moved from 127.0.0.1:%u to 127.0.0.3:%u\n", f->port, f->port, f->port), 1);
  wait_asked(g, 2);
}

static void one_that_is_down_is_looked_up_again(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS), *g = fake_open_at("127.0.0.3", f->port, ANSWERS);
  add_at("moving.test", f->port);
  start();
  wait_up(0);
  moved = 1;
  fake_refuse(f);
  wait_down(0);
  wait_up(0);
  shown_at("127.0.0.3", g);
}

static void names_that_do_not_exist(void **state) {
  (void)state;
  fake *f = fake_open(ANSWERS);
  add_at("nowhere.test", 27017);
  add(f);
  start();
  WAIT_FOR(published);
  assert_string_equal(shown->at[0].why, "its name does not resolve: Name or service not known");
  assert_int_equal(shown->at[0].address.len, 0);
  assert_true(shown->at[1].up);
  wait_asked(f, 5);
  assert_int_equal(logged("is down"), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(good_ones_are_up_at_once),
      TEST(bad_ones_are_taken_out_and_come_back),
      TEST(ok_0),
      TEST(a_hang_is_out_after_the_timeout),
      TEST(so_is_one_that_does_not_connect),
      TEST(one_bad_check_is_not_enough),
      TEST(retries_are_made_at_once),
      TEST(what_is_missing_here_is_not_its_fault),
      TEST(mongos_may_be_required),
      TEST(is_master_will_do),
      TEST(the_first_snapshot_waits_for_everybody),
      TEST(but_not_for_ever),
      TEST(with_nobody_up),
      TEST(the_view_follows_what_clients_see),
      TEST(a_restart_between_two_checks_is_seen),
      TEST(a_hint_takes_a_dead_one_out_at_once),
      TEST(a_hint_takes_no_healthy_one_out),
      TEST(hints_are_rate_limited),
      TEST(a_reload_keeps_those_that_stay),
      TEST(a_reload_during_a_check),
      TEST(ids_end),
      TEST(credentials),
      TEST(proxy_headers),
      TEST(every_address_of_a_name_is_tried),
      TEST(an_address_that_is_still_given_is_kept),
      TEST(a_name_that_moves_is_followed),
      TEST(one_that_is_down_is_looked_up_again),
      TEST(names_that_do_not_exist),
  };
  sem_init(&unstick, 0, 0);
  return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
