/* The asker against a real Redis Cluster that the test starts, and against nodes that are down, wrong, slow or hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ev.h>
#include <netdb.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/topology.h"
#include "redis_rig.h"

enum {
  PATIENCE_MS = 60000,
  HOUR = 3600000
};

/* ---- the name service: names ending in .test are ours, everything else has no name ---- */

static atomic_int names_fail, lookups, stuck;
static sem_t unstick;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
  (void)service;
  (void)hints;
  unsigned n = (unsigned)atomic_fetch_add(&lookups, 1), many = !strcmp(name, "many.test");
  if (!strcmp(name, "stuck.test")) {
    stuck = 1;
    sem_wait(&unstick);
    return EAI_AGAIN;
  }
  if (names_fail || (!many && strcmp(name, "one.test")))
    return EAI_NONAME;
  struct addrinfo *list = calloc(2, sizeof *list);
  struct sockaddr_in *a = calloc(2, sizeof *a);
  for (unsigned i = 0; i < 2; i++) {
    a[i].sin_family = AF_INET;
    a[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK + (many ? 1 + (n + i) % 2 : 1 - i)); /* one: a dead address first */
    list[i] = (struct addrinfo){.ai_family = AF_INET, .ai_addr = (struct sockaddr *)&a[i], .ai_addrlen = sizeof a[i]};
  }
  list[0].ai_next = &list[1];
  *out = list;
  return 0;
}

void freeaddrinfo(struct addrinfo *list) {
  free(list->ai_addr);
  free(list);
}

/* ---- a topology under test ---- */

static struct ev_loop *loop;
static pt_topology *topology;
static pt_cluster *shown; /* the last one published */
static int published;
static int log_fd, stderr_fd;

static void on_publish(void *arg, pt_cluster *c) {
  assert_ptr_equal(arg, &published);
  assert_ptr_equal(c, pt_topology_current(topology));
  assert_true(!shown || c->generation > shown->generation);
  pt_cluster_unref(shown);
  shown = c;
  published++;
}

static int set_up(void **state) {
  (void)state;
  loop = ev_loop_new(0);
  log_fd = memfd_create("log", MFD_CLOEXEC);
  stderr_fd = dup(STDERR_FILENO);
  return !loop || dup2(log_fd, STDERR_FILENO) < 0;
}

static int tear_down(void **state) {
  (void)state;
  pt_topology_stop(topology);
  topology = NULL;
  pt_cluster_unref(shown);
  shown = NULL;
  published = 0;
  names_fail = 0;
  end_fakes();
  ev_loop_destroy(loop);
  dup2(stderr_fd, STDERR_FILENO);
  close(stderr_fd);
  close(log_fd);
  return 0;
}

/* How often a text was logged. */
static int logged(const char *fmt, ...) {
  static char log[1 << 18];
  char text[300];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  ssize_t n = pread(log_fd, log, sizeof log - 1, 0);
  assert_true(n >= 0);
  log[n] = 0;
  int times = 0;
  for (const char *p = log; (p = strstr(p, text)); p++)
    times++;
  return times;
}

static void on_tick(struct ev_loop *l, ev_timer *w, int events) {
  (void)w;
  (void)events;
  ev_break(l, EVBREAK_ONE);
}

/* Runs the loop for a moment; fails when too many moments have passed. */
static void turn(uint64_t since) {
  ev_timer tick;
  ev_timer_init(&tick, on_tick, 0.005, 0);
  ev_timer_start(loop, &tick);
  ev_run(loop, 0);
  ev_timer_stop(loop, &tick);
  if (pt_now_ms() - since > PATIENCE_MS) {
    char log[4000];
    ssize_t n = pread(log_fd, log, sizeof log - 1, 0);
    dprintf(stderr_fd, "nothing happens; the log:\n%.*s", n > 0 ? (int)n : 0, log);
    fail();
  }
}

#define WAIT_FOR(condition)                                                                                                      \
  for (uint64_t since = pt_now_ms(); !(condition);)                                                                              \
  turn(since)

typedef struct seed {
  const char *host;
  uint16_t port;
} seed;

static pt_config *config(const char *name, const char *password, uint64_t refresh, const seed *seeds) {
  pt_config *c = pt_config_new();
  pt_listener_config *l = c->listeners = calloc(2, sizeof *l);
  c->nlisteners = 2;
  l[0].kind = PT_LISTENER_MONGODB;
  l[0].name = strdup("cache");
  l = &l[1];
  l->kind = PT_LISTENER_REDIS;
  l->name = strdup(name);
  l->nodes = calloc(16, sizeof *l->nodes);
  for (; seeds->host; seeds++)
    l->nodes[l->nnodes++] = (pt_hostport){strdup(seeds->host), seeds->port};
  l->backend_password = password ? strdup(password) : NULL;
  l->slot_refresh = refresh;
  l->connect_timeout = PATIENCE_MS / 4; /* never met, however busy the machine is */
  return c;
}

static void start_config(pt_config *c) {
  topology = pt_topology_start(loop, c, 1, on_publish, &published);
  pt_config_unref(c);
  assert_non_null(topology);
  assert_null(pt_topology_current(topology));
}

static void reconfigure(pt_config *c) {
  pt_topology_reconfigure(topology, c);
  pt_config_unref(c);
}

#define SEEDS(...) ((const seed[]){__VA_ARGS__, {NULL, 0}})
#define LOCAL "127.0.0.1"

/* ---- a real cluster ---- */

static void publishes_what_a_cluster_says(void **state) {
  (void)state;
  start_config(config("cache", NULL, HOUR, SEEDS({LOCAL, servers[1].port})));
  WAIT_FOR(published);
  assert_int_equal(shown->nnodes, 3);
  assert_int_equal(shown->nslots, PT_SLOTS);
  assert_int_equal(shown->generation, 1);
  for (int i = 0; i < MASTERS; i++) {
    int k = pt_cluster_find(shown, LOCAL, servers[i].port);
    assert_int_not_equal(k, PT_NODE_NONE);
    assert_true(shown->nodes[k].healthy);
    assert_int_equal(shown->owner[i * PT_SLOTS / MASTERS], k);
  }
  assert_int_equal(
      logged("info  topology: listener cache: 3 masters, 0 replicas, 16384 of 16384 slots, asked 127.0.0.1:%u, generation 1\n",
             servers[1].port),
      1);
}

static void a_hint_shows_a_moved_slot(void **state) {
  (void)state;
  start_config(config("cache", NULL, HOUR, SEEDS({LOCAL, servers[0].port})));
  WAIT_FOR(published);
  give_slot(0, 1);
  pt_topology_hint(topology, LOCAL, servers[1].port);
  WAIT_FOR(published == 2);
  assert_int_equal(shown->owner[0], pt_cluster_find(shown, LOCAL, servers[1].port));
  assert_int_equal(shown->generation, 2);
  give_slot(0, 0);
  WAIT_FOR((pt_topology_hint(topology, NULL, 0), published == 3));
  assert_int_equal(shown->owner[0], pt_cluster_find(shown, LOCAL, servers[0].port));
}

static void so_does_the_period(void **state) {
  (void)state;
  start_config(config("cache", NULL, 20, SEEDS({LOCAL, servers[0].port})));
  WAIT_FOR(published);
  give_slot(16383, 0);
  WAIT_FOR(published >= 2 && shown->owner[16383] == pt_cluster_find(shown, LOCAL, servers[0].port));
  give_slot(16383, 2);
  WAIT_FOR(shown->owner[16383] == pt_cluster_find(shown, LOCAL, servers[2].port));
}

static void passwords(void **state) {
  (void)state;
  uint16_t port = servers[PASSWORD_NODE].port;
  start_config(config("cache", NULL, HOUR, SEEDS({LOCAL, port})));
  WAIT_FOR(logged("seed 127.0.0.1:%u: it asks for a password and none is configured\n", port));
  reconfigure(config("cache", "swordfish", HOUR, SEEDS({LOCAL, port})));
  WAIT_FOR(logged("seed 127.0.0.1:%u: wrong user or password\n", port));
  pt_config *c = config("cache", "sesame", HOUR, SEEDS({LOCAL, port}));
  c->listeners[1].backend_user = strdup("nobody");
  reconfigure(c);
  WAIT_FOR(logged("seed 127.0.0.1:%u: wrong user or password\n", port) == 2);
  c = config("cache", "sesame", HOUR, SEEDS({LOCAL, port}));
  c->listeners[1].backend_user = strdup("default");
  reconfigure(c);
  WAIT_FOR(published);
  assert_int_equal(shown->nslots, PT_SLOTS);
  reconfigure(config("cache", "sesame", HOUR, SEEDS({LOCAL, servers[0].port}))); /* has none, which is no reason to stop */
  WAIT_FOR(published == 2);
  assert_int_equal(shown->nnodes, MASTERS);
  reconfigure(config("cache", "sesame", HOUR, SEEDS({LOCAL, port})));
  WAIT_FOR(published == 3);
  assert_int_equal(logged("sesame") + logged("swordfish"), 0);
}

/* ---- seeds that are down or wrong ---- */

static void bad_seeds_are_named_once(void **state) {
  (void)state;
  fake *refuses = fake_bind(LOCAL);
  fake *garbage = fake_open("HTTP/1.1 400 Bad Request\r\n\r\n");
  fake *silent = fake_open(NULL);
  fake *closes = fake_open("");
  fake *loading = fake_open("-LOADING Redis is loading the dataset in memory\r\n");
  pt_config *c = config("cache", NULL, 20,
                        SEEDS({LOCAL, refuses->port}, {LOCAL, garbage->port}, {LOCAL, silent->port}, {"nowhere.test", 7},
                              {LOCAL, servers[0].port}, {LOCAL, closes->port}, {LOCAL, servers[PLAIN_NODE].port},
                              {LOCAL, loading->port}, {"one.test", servers[1].port}));
  c->listeners[1].connect_timeout = 2000; /* for the silent one */
  start_config(c);
  WAIT_FOR(published);
  assert_int_equal(shown->nslots, PT_SLOTS);
  WAIT_FOR(loading->asked > 2 && silent->asked > 1);
  assert_int_equal(logged("warn  topology: listener cache: seed 127.0.0.1:%u: connection refused\n", refuses->port), 1);
  assert_int_equal(logged("seed 127.0.0.1:%u: not a Redis server\n", garbage->port), 1);
  assert_int_equal(logged("seed 127.0.0.1:%u: no answer in time\n", silent->port), 1);
  assert_int_equal(logged("seed nowhere.test:7: its name does not resolve: Name or service not known\n"), 1);
  assert_int_equal(logged("seed 127.0.0.1:%u: it closed the connection\n", closes->port), 1);
  assert_int_equal(logged("seed 127.0.0.1:%u: cluster mode is off there\n", servers[PLAIN_NODE].port), 1);
  assert_int_equal(logged("seed 127.0.0.1:%u: it says: LOADING Redis is loading the dataset in memory\n", loading->port), 1);
  assert_int_equal(logged("warn"), 7);
  assert_int_equal(published, 1);
  fake_start(refuses, view(16383, LOCAL, 1));
  WAIT_FOR(logged("info  topology: listener cache: seed 127.0.0.1:%u answers again\n", refuses->port));
  fake_end(refuses);
  WAIT_FOR(logged("seed 127.0.0.1:%u: connection refused\n", refuses->port) == 2);
}

static void waits_for_the_first_seed(void **state) {
  (void)state;
  fake *late = fake_bind("::1");
  start_config(config("cache", NULL, HOUR, SEEDS({"::1", late->port})));
  WAIT_FOR(logged("seed [::1]:%u: connection refused\n", late->port));
  WAIT_FOR(logged("warn  topology: listener cache: nobody answers, asking again and again\n"));
  fake_start(late, view(16383, "", 7001));
  WAIT_FOR(published);
  assert_string_equal(shown->nodes[0].host, "::1");
  assert_int_equal(shown->nodes[0].port, 7001);
  assert_int_equal(logged("asked [::1]:%u, generation 1\n", late->port), 1);
  assert_int_equal(logged("the cluster answers\n"), 1);
  fake_end(late);
  WAIT_FOR((pt_topology_hint(topology, NULL, 0), logged("nobody answers, the last topology stays\n")));
  assert_int_equal(published, 1);
}

static void hostile_answers(void **state) {
  (void)state;
  static const struct {
    const char *shards, *reason;
    size_t junk;
  } answers[] = {
      {"$999999999\r\n", "its answer is larger than 16 MiB", 17 << 20},
      {"*1\r\n", "not a Redis server", 100},
      {"+OK\r\n", "not an answer to CLUSTER SHARDS or CLUSTER SLOTS", 0},
      {"*0\r\n", "it shows no nodes", 0},
      {"*0\r\n+more\r\n", "not a Redis server", 0},
      {"-ERR \x1b[2J\nred\r\n", "it says: ERR \\x1b[2J\\nred", 0},
      {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*"
       "1\r\n*1\r\n*1\r\n"
       "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*0\r\n",
       "its answer has too many values", 0},
  };
  enum {
    N = sizeof answers / sizeof answers[0]
  };
  fake *f[N];
  seed seeds[N + 1] = {{NULL, 0}};
  for (unsigned i = 0; i < N; i++) {
    f[i] = fake_bind(LOCAL);
    f[i]->junk = answers[i].junk;
    fake_start(f[i], answers[i].shards);
    seeds[i] = (seed){LOCAL, f[i]->port};
  }
  start_config(config("cache", NULL, HOUR, seeds));
  WAIT_FOR(logged("nobody answers"));
  for (unsigned i = 0; i < N; i++) {
    if (!logged("seed 127.0.0.1:%u: %s\n", f[i]->port, answers[i].reason))
      fail_msg("not logged: %s", answers[i].reason);
  }
  assert_int_equal(published, 0);
}

static void an_answer_that_does_not_end(void **state) {
  (void)state;
  fake *f = fake_open("*2\r\n:1\r\n");
  pt_config *c = config("cache", NULL, HOUR, SEEDS({LOCAL, f->port}));
  c->listeners[1].connect_timeout = 2000;
  start_config(c);
  WAIT_FOR(logged("seed 127.0.0.1:%u: no whole answer in time\n", f->port));
}

/* Servers repeat the arguments of a command they do not know. */
static void the_password_is_not_logged(void **state) {
  (void)state;
  fake *f = fake_bind(LOCAL);
  f->auth = "-ERR unknown command 'AUTH', with args beginning with: 'swordfish' \r\n";
  fake_start(f, view(16383, "", 1));
  pt_log_setup(PT_LOG_DEBUG, 0);
  start_config(config("cache", "swordfish", HOUR, SEEDS({LOCAL, f->port})));
  WAIT_FOR(logged("seed 127.0.0.1:%u: AUTH refused\n", f->port));
  f->auth = "+OK\r\n";
  WAIT_FOR(published);
  pt_log_setup(PT_LOG_INFO, 0);
  assert_int_equal(logged("swordfish"), 0);
}

/* ---- what counts as the answer ---- */

static void old_servers_are_asked_for_slots(void **state) {
  (void)state;
  static const char *const unknown[] = {
      "-ERR Unknown subcommand or wrong number of arguments for 'SHARDS'. Try CLUSTER HELP.\r\n",
      "-ERR unknown subcommand 'SHARDS'. Try CLUSTER HELP.\r\n",
  };
  for (int i = 0; i < 2; i++) {
    fake *f = fake_bind(LOCAL);
    f->slots = view(16383, "10.0.0.1", 7001);
    fake_start(f, unknown[i]);
    start_config(config("cache", NULL, HOUR, SEEDS({LOCAL, f->port})));
    WAIT_FOR(published);
    assert_int_equal(shown->nslots, PT_SLOTS);
    assert_string_equal(shown->nodes[0].host, "10.0.0.1");
    fake_end(f);
    tear_down(NULL);
    set_up(NULL);
  }
}

static void a_node_that_was_reset_does_not_count(void **state) {
  (void)state;
  start_config(config("cache", NULL, HOUR, SEEDS({LOCAL, servers[EMPTY_NODE].port}, {LOCAL, servers[0].port})));
  WAIT_FOR(published);
  assert_int_equal(shown->nslots, PT_SLOTS);
  WAIT_FOR((pt_topology_hint(topology, LOCAL, servers[EMPTY_NODE].port), pt_now_ms() - since > 500));
  assert_int_equal(published, 1);
}

static void fewer_slots_count_when_nobody_shows_more(void **state) {
  (void)state;
  static const char none[] =
      "*1\r\n*4\r\n$5\r\nslots\r\n*0\r\n$5\r\nnodes\r\n*1\r\n*6\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$4\r\nport\r\n:7001\r\n"
      "$2\r\nip\r\n$0\r\n\r\n";
  fake *a = fake_open(view(16383, "10.0.0.1", 7001));
  fake *b = fake_open(view(16383, "10.0.0.1", 7001));
  start_config(config("cache", NULL, 20, SEEDS({LOCAL, a->port}, {LOCAL, b->port})));
  WAIT_FOR(published);
  a->shards = view(99, "10.0.0.1", 7001);
  int asked = a->asked;
  WAIT_FOR(a->asked > asked + 3);
  assert_int_equal(published, 1);
  b->shards = view(199, "10.0.0.1", 7001);
  WAIT_FOR(published == 2);
  assert_int_equal(shown->nslots, 200);
  a->shards = none;
  b->shards = none;
  asked = b->asked;
  WAIT_FOR(b->asked > asked + 3);
  assert_int_equal(published, 2);
  a->shards = view(16383, "10.0.0.1", 7001);
  WAIT_FOR(published == 3);
  assert_int_equal(shown->nslots, PT_SLOTS);
}

/* While slots have no owner the period is not waited for. */
static void a_cluster_that_is_being_formed(void **state) {
  (void)state;
  fake *f = fake_open(view(99, "", 7001));
  start_config(config("cache", NULL, HOUR, SEEDS({LOCAL, f->port})));
  WAIT_FOR(published);
  assert_int_equal(shown->nslots, 100);
  f->shards = view(16383, "", 7001);
  WAIT_FOR(published == 2);
  assert_int_equal(shown->nslots, PT_SLOTS);
}

static void names_become_addresses(void **state) {
  (void)state;
  static char shards[2000]; /* the fake outlives this function */
  int n = sprintf(shards, "*3\r\n");
  static const char *const names[] = {"one.test", "many.test", "gone.test"};
  for (int i = 0; i < 3; i++)
    n += sprintf(shards + n, "*3\r\n:%d\r\n:%d\r\n*2\r\n$%zu\r\n%s\r\n:%d\r\n", i * 5000, i == 2 ? 16383 : i * 5000 + 4999,
                 strlen(names[i]), names[i], 7001 + i);
  fake *f = fake_open(shards);
  start_config(config("cache", NULL, 20, SEEDS({"one.test", f->port})));
  WAIT_FOR(published);
  assert_int_equal(shown->nslots, PT_SLOTS);
  int one = pt_cluster_find(shown, "one.test", 7001), many = pt_cluster_find(shown, "many.test", 7002),
      gone = pt_cluster_find(shown, "gone.test", 7003);
  assert_string_equal(shown->nodes[one].host, "127.0.0.2");
  assert_memory_equal(shown->nodes[many].host, "127.0.0.", 8);
  assert_true(shown->nodes[one].healthy && shown->nodes[many].healthy && !shown->nodes[gone].healthy);
  assert_string_equal(shown->nodes[gone].host, "gone.test");
  assert_int_equal(pt_cluster_find(shown, shown->nodes[many].host, 7002), many);
  int looked = lookups;
  WAIT_FOR(lookups > looked + 20); /* the addresses come in another order each time */
  assert_int_equal(published, 1);
  names_fail = 1;
  looked = lookups;
  WAIT_FOR(lookups > looked + 20);
  assert_int_equal(published, 1);
}

static void hints_are_remapped(void **state) {
  (void)state;
  fake *a = fake_open(view(16383, "10.0.0.1", 7001));
  fake *b = fake_open(view(16383, "10.0.0.1", 7002));
  pt_config *c = config("cache", NULL, HOUR, SEEDS({LOCAL, a->port}));
  c->listeners[1].remap = calloc(1, sizeof(pt_remap));
  c->listeners[1].nremap = 1;
  c->listeners[1].remap[0] = (pt_remap){{strdup("10.0.0.1"), 7002}, {strdup(LOCAL), b->port}};
  start_config(c);
  WAIT_FOR(published);
  pt_topology_hint(topology, "10.0.0.1", 7002);
  WAIT_FOR(published == 2);
  assert_int_equal(pt_cluster_find(shown, LOCAL, b->port), 0);
}

static void a_new_configuration(void **state) {
  (void)state;
  fake *a = fake_open(view(16383, "10.0.0.1", 7001));
  fake *b = fake_open(view(99, "10.0.0.2", 7002));
  start_config(config("cache", NULL, HOUR, SEEDS({LOCAL, a->port})));
  WAIT_FOR(published);
  reconfigure(config("other", NULL, HOUR, SEEDS({LOCAL, b->port})));
  reconfigure(config("cache", NULL, HOUR, SEEDS({LOCAL, a->port})));
  WAIT_FOR(a->asked == 2);
  assert_int_equal(b->asked, 0);
  fake_end(a);
  reconfigure(config("cache", NULL, HOUR, SEEDS({LOCAL, b->port})));
  WAIT_FOR(published == 2);
  assert_int_equal(shown->generation, 2);
  assert_string_equal(shown->nodes[0].host, "10.0.0.2");
}

/* ---- threads ---- */

static atomic_bool hinting;
static fake *hinted;

static void *hint(void *arg) {
  for (unsigned i = (unsigned)(uintptr_t)arg; hinting; i++)
    pt_topology_hint(topology, i % 2 ? LOCAL : NULL, i % 2 ? hinted->port : 0);
  return NULL;
}

static void hints_of_many_threads_are_few_questions(void **state) {
  (void)state;
  pthread_t t[3];
  hinted = fake_open(view(16383, "", 1));
  start_config(config("cache", NULL, HOUR, SEEDS({LOCAL, hinted->port})));
  WAIT_FOR(published);
  hinting = true;
  uint64_t began = pt_now_ms();
  for (uintptr_t i = 0; i < 3; i++)
    pthread_create(&t[i], NULL, hint, (void *)i);
  WAIT_FOR(hinted->asked > 2);
  hinted->shards = view(16383, "", 2);
  WAIT_FOR(published == 2);
  hinting = false;
  for (int i = 0; i < 3; i++)
    pthread_join(t[i], NULL);
  assert_in_range(hinted->asked, 3, 2 + (pt_now_ms() - began) / 100);
}

static void stops_in_the_middle_of_a_question(void **state) {
  (void)state;
  fake *silent = fake_open(NULL);
  pt_config *c = config("cache", NULL, HOUR, SEEDS({LOCAL, silent->port}, {LOCAL, servers[0].port}));
  c->listeners[1].connect_timeout = HOUR; /* nobody waits for that */
  start_config(c);
  WAIT_FOR(silent->asked);
  pt_topology_stop(topology);
  topology = NULL;
  fake_end(silent);
  turn(pt_now_ms());
  assert_int_equal(published, 0);
  assert_int_equal(logged("topology"), 0);
}

static void nothing_is_published_once_stopped(void **state) {
  (void)state;
  start_config(config("cache", NULL, HOUR, SEEDS({LOCAL, servers[0].port})));
  for (uint64_t since = pt_now_ms(); !logged("generation 1\n") && pt_now_ms() - since < PATIENCE_MS;)
    usleep(1000);
  usleep(10000); /* it is on its way to the loop */
  pt_topology_stop(topology);
  topology = NULL;
  turn(pt_now_ms());
  assert_int_equal(logged("generation 1\n"), 1);
  assert_int_equal(published, 0);
}

static void leaves_a_stuck_lookup_behind(void **state) {
  (void)state;
  pt_config *c = config("cache", NULL, HOUR, SEEDS({"stuck.test", 1}, {LOCAL, servers[0].port}));
  c->listeners[1].connect_timeout = 50;
  start_config(c);
  WAIT_FOR(stuck);
  pt_topology_stop(topology);
  topology = NULL;
  sem_post(&unstick);
  for (int i = 0; i < 10; i++)
    turn(pt_now_ms());
  assert_int_equal(published, 0);
}

static void starts_and_stops(void **state) {
  (void)state;
  for (int i = 0; i < 50; i++) {
    start_config(config("cache", NULL, 1, SEEDS({LOCAL, servers[i % MASTERS].port})));
    if (i % 2)
      pt_topology_hint(topology, NULL, 0);
    if (i % 3 == 0)
      WAIT_FOR(published);
    pt_topology_stop(topology);
    topology = NULL;
    turn(pt_now_ms());
    pt_cluster_unref(shown);
    shown = NULL;
    published = 0;
  }
  pt_topology_stop(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(publishes_what_a_cluster_says),
      TEST(a_hint_shows_a_moved_slot),
      TEST(so_does_the_period),
      TEST(passwords),
      TEST(bad_seeds_are_named_once),
      TEST(waits_for_the_first_seed),
      TEST(hostile_answers),
      TEST(an_answer_that_does_not_end),
      TEST(the_password_is_not_logged),
      TEST(old_servers_are_asked_for_slots),
      TEST(a_node_that_was_reset_does_not_count),
      TEST(fewer_slots_count_when_nobody_shows_more),
      TEST(a_cluster_that_is_being_formed),
      TEST(names_become_addresses),
      TEST(hints_are_remapped),
      TEST(a_new_configuration),
      TEST(hints_of_many_threads_are_few_questions),
      TEST(stops_in_the_middle_of_a_question),
      TEST(nothing_is_published_once_stopped),
      TEST(leaves_a_stuck_lookup_behind),
      TEST(starts_and_stops),
  };
  return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
