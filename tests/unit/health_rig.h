/* What test_health.c runs against: scripted backends on threads, a name service, a log that can be looked at, and the checks under test. */
#ifndef PT_TESTS_HEALTH_RIG_H
#define PT_TESTS_HEALTH_RIG_H

#include <ev.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/mongo/health.h"
#include "mongo_backend.h"
#include "net/address.h"

/* ---- the name service: names ending in .test are ours, everything else has no name ---- */

static atomic_int names_fail, moved, stuck, lookups;
static sem_t unstick;

/* stuck: no answer before unstick. two: an address where nobody is, and 127.0.0.1. turning: 127.0.0.1 and another, in turning order.
 * moving: 127.0.0.1, once moved 127.0.0.3. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
  (void)service;
  (void)hints;
  int n = atomic_fetch_add(&lookups, 1), last[2] = {1, 1};
  if (!strcmp(name, "stuck.test")) {
    stuck = 1;
    sem_wait(&unstick);
    return EAI_AGAIN;
  }
  if (names_fail)
    return EAI_AGAIN;
  if (!strcmp(name, "two.test"))
    last[0] = 2;
  else if (!strcmp(name, "turning.test"))
    last[n % 2] = 2;
  else if (!strcmp(name, "moving.test"))
    last[0] = last[1] = moved ? 3 : 1;
  else
    return EAI_NONAME;
  struct addrinfo *list = calloc(2, sizeof *list);
  struct sockaddr_in *a = calloc(2, sizeof *a);
  for (unsigned i = 0; i < 2; i++) {
    a[i].sin_family = AF_INET;
    a[i].sin_addr.s_addr = htonl((uint32_t)(INADDR_LOOPBACK - 1 + last[i]));
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

/* ---- backends ---- */

typedef enum script {
  ANSWERS, /* as its backend says */
  HANGS,
  CLOSES, /* at once */
  RESETS,
  CLOSES_LATER, /* when it has read something */
  TALKS_HTTP,
  TALKS_LONG /* a message that is larger than any hello */
} script;

typedef struct fake {
  char host[16];
  uint16_t port;
  int door, end; /* listening socket, -1: refuses; eventfd */
  bool runs;
  atomic_int script, asked; /* connections met */
  atomic_int fails; /* so many hellos more are answered with ok: 0 */
  atomic_int header; /* bytes of a PROXY header that must come first */
  char header_seen[32];
  pthread_t thread;
  pthread_mutex_t lock; /* guards: */
  backend b;
} fake;

static fake fakes[16];
static unsigned nfakes;

/* Reads n bytes. false: not any more. */
static bool fake_read(fake *f, int fd, void *out, size_t n) {
  struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = f->end, .events = POLLIN}};
  for (size_t got = 0; got < n;) {
    poll(p, 2, -1);
    if (p[1].revents)
      return false;
    ssize_t k = recv(fd, (char *)out + got, n - got, 0);
    if (k <= 0)
      return false;
    got += (size_t)k;
  }
  return true;
}

/* Reads one request and answers it. */
static bool fake_answer(fake *f, int fd, pt_pool *pool) {
  static _Thread_local uint8_t bytes[1 << 16];
  pt_mongo_header h;
  const char *why;
  pt_segq out = {0};
  if (!fake_read(f, fd, bytes, PT_MONGO_HEADER) || pt_mongo_header_read(&h, bytes, sizeof bytes, &why) ||
      !fake_read(f, fd, bytes + PT_MONGO_HEADER, h.length - PT_MONGO_HEADER))
    return false;
  pthread_mutex_lock(&f->lock);
  backend b = f->b;
  int fails = f->fails;
  if (fails)
    f->fails--;
  f->b.hello_fails |= fails > 0;
  int e = backend_answer(&f->b, bytes, h.length, &out, pool);
  f->b.hello_fails = b.hello_fails;
  pthread_mutex_unlock(&f->lock);
  size_t n = pt_segq_peek(&out, bytes, sizeof bytes);
  pt_segq_clear(&out);
  return !e && send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void fake_meet(fake *f, int fd, pt_pool *pool) {
  static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
  static const uint8_t large[16] = {0, 0, 0, 2, [12] = 0xdd, [13] = 7};
  char byte;
  switch ((script)f->script) {
  case CLOSES:
    return;
  case RESETS:
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    return;
  case HANGS:
    while (fake_read(f, fd, &byte, 1))
      ;
    return;
  case CLOSES_LATER:
    fake_read(f, fd, &byte, 1);
    return;
  case TALKS_HTTP:
    if (fake_read(f, fd, &byte, 1))
      send(fd, http, sizeof http, MSG_NOSIGNAL);
    return;
  case TALKS_LONG:
    if (fake_read(f, fd, &byte, 1))
      send(fd, large, sizeof large, MSG_NOSIGNAL);
    return;
  case ANSWERS:
    if (f->header && !fake_read(f, fd, f->header_seen, (size_t)f->header))
      return;
    while (f->script == ANSWERS && fake_answer(f, fd, pool))
      ;
  }
}

static void *fake_run(void *arg) {
  fake *f = arg;
  pt_pool pool;
  pt_pool_init(&pool);
  struct pollfd p[2] = {{.fd = f->door, .events = POLLIN}, {.fd = f->end, .events = POLLIN}};
  while (poll(p, 2, -1) >= 0 && !p[1].revents) {
    int fd = accept4(f->door, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
      continue;
    f->asked++;
    fake_meet(f, fd, &pool);
    close(fd);
  }
  pt_pool_free(&pool);
  return NULL;
}

/* From now on it refuses connections. */
static void fake_refuse(fake *f) {
  uint64_t one = 1;
  if (!f->runs)
    return;
  assert_int_equal(write(f->end, &one, sizeof one), sizeof one);
  pthread_join(f->thread, NULL);
  close(f->door);
  close(f->end);
  f->runs = false;
}

/* From now on it takes them. Port 0: any, which it keeps. */
static void fake_serve(fake *f, script how) {
  pt_address a;
  f->script = (int)how;
  if (f->runs)
    return;
  assert_int_equal(pt_address_parse(&a, f->host, f->port), 0);
  f->door = pt_listen(&a, 64);
  assert_true(f->door >= 0);
  socklen_t n = sizeof a.in6;
  assert_int_equal(getsockname(f->door, &a.sa, &n), 0);
  f->port = pt_address_port(&a);
  f->end = eventfd(0, EFD_CLOEXEC);
  f->runs = true;
  assert_int_equal(pthread_create(&f->thread, NULL, fake_run, f), 0);
}

static fake *fake_open_at(const char *host, uint16_t port, script how) {
  fake *f = &fakes[nfakes++];
  assert_in_range(nfakes, 1, sizeof fakes / sizeof fakes[0]);
  memset(f, 0, sizeof *f);
  pthread_mutex_init(&f->lock, NULL);
  snprintf(f->host, sizeof f->host, "%s", host);
  f->port = port;
  fake_serve(f, how);
  return f;
}

static fake *fake_open(script how) { return fake_open_at("127.0.0.1", 0, how); }

/* Changes what a fake says: FAKE_SET(f, max_batch = 5). */
#define FAKE_SET(f, what)                                                                                                        \
  do {                                                                                                                           \
    pthread_mutex_lock(&(f)->lock);                                                                                              \
    (f)->b.what;                                                                                                                 \
    pthread_mutex_unlock(&(f)->lock);                                                                                            \
  } while (0)

static backend fake_look(fake *f) {
  pthread_mutex_lock(&f->lock);
  backend b = f->b;
  pthread_mutex_unlock(&f->lock);
  return b;
}

static void end_fakes(void) {
  while (nfakes)
    fake_refuse(&fakes[--nfakes]);
}

/* ---- the health checks under test ---- */

enum {
  PATIENCE_MS = 60000,
  HOUR = 3600000,
  SOON = 10 /* ms; an interval */
};

static struct ev_loop *loop;
static pt_health *health;
static pt_backends *shown; /* the last one published */
static pt_config *next; /* what start and reload take */
static pt_mongo_config *mc; /* in it */
static int published;
static int log_fd, stderr_fd;

static void on_publish(void *arg, pt_backends *b) {
  assert_ptr_equal(arg, &published);
  assert_ptr_equal(b, pt_health_current(health));
  assert_true(!shown || (b->generation > shown->generation && b->view >= shown->view));
  pt_backends_unref(shown);
  shown = b;
  published++;
}

/* ---- a configuration ---- */

static void new_config(void) {
  next = pt_config_new();
  next->nlisteners = 2;
  next->listeners = calloc(2, sizeof *next->listeners);
  next->listeners[0].kind = PT_LISTENER_REDIS;
  next->listeners[0].name = strdup("orders");
  pt_listener_config *l = &next->listeners[1];
  l->kind = PT_LISTENER_MONGODB;
  l->name = strdup("orders");
  mc = l->mongo = calloc(1, sizeof *mc);
  mc->backends = calloc(PT_MAX_BACKENDS, sizeof *mc->backends);
  mc->connect_timeout = mc->health_timeout = PATIENCE_MS / 4; /* never met, however busy the machine is */
  mc->health_interval = SOON;
  mc->health_jitter = 10;
  mc->health_rise = mc->health_fall = 2;
  mc->resolve = HOUR;
}

static void add_at(const char *host, uint16_t port) {
  mc->backends[mc->nbackends++] = (pt_backend_config){.at = {strdup(host), port}, .weight = 1};
}

static void add(const fake *f) { add_at(f->host, f->port); }

static void start(void) {
  health = pt_health_start(loop, next, 1, NULL, on_publish, &published);
  pt_config_unref(next);
  next = NULL;
  assert_non_null(health);
  assert_null(pt_health_current(health));
}

static void reload(void) {
  pt_health_reconfigure(health, next);
  pt_config_unref(next);
  next = NULL;
}

static int set_up(void **state) {
  (void)state;
  loop = ev_loop_new(0);
  log_fd = memfd_create("log", MFD_CLOEXEC);
  stderr_fd = dup(STDERR_FILENO);
  new_config();
  return !loop || dup2(log_fd, STDERR_FILENO) < 0;
}

static int tear_down(void **state) {
  (void)state;
  pt_health_stop(health);
  health = NULL;
  pt_backends_unref(shown);
  shown = NULL;
  pt_config_unref(next);
  next = NULL;
  published = 0;
  names_fail = moved = 0;
  end_fakes();
  ev_loop_destroy(loop);
  dup2(stderr_fd, STDERR_FILENO);
  close(stderr_fd);
  close(log_fd);
  return 0;
}

/* ---- waiting and looking ---- */

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

/* What the log says last of a backend. */
static bool told_up_last(const fake *f) {
  char log[1 << 14], up[64], down[64];
  snprintf(up, sizeof up, "127.0.0.1:%u is up\n", f->port);
  snprintf(down, sizeof down, "127.0.0.1:%u is down", f->port);
  ssize_t n = pread(log_fd, log, sizeof log - 1, 0);
  assert_in_range(n, 0, sizeof log - 2);
  log[n] = 0;
  const char *last_up = NULL, *last_down = NULL;
  for (const char *p = log; (p = strstr(p, up)); p++)
    last_up = p;
  for (const char *p = log; (p = strstr(p, down)); p++)
    last_down = p;
  return last_up && last_up > last_down;
}

static void on_tick(struct ev_loop *l, ev_timer *w, int events) {
  (void)w;
  (void)events;
  ev_break(l, EVBREAK_ONE);
}

/* Runs the loop for a moment; fails when too many moments have passed. */
static void turn(uint64_t since, int line) {
  ev_timer tick;
  ev_timer_init(&tick, on_tick, 0.005, 0);
  ev_timer_start(loop, &tick);
  ev_run(loop, 0);
  ev_timer_stop(loop, &tick);
  if (pt_now_ms() - since > PATIENCE_MS) {
    char log[4000];
    ssize_t n = pread(log_fd, log, sizeof log - 1, 0);
    dprintf(stderr_fd, "line %d: nothing happens; the log:\n%.*s", line, n > 0 ? (int)n : 0, log);
    fail();
  }
}

#define WAIT_FOR(condition)                                                                                                      \
  for (uint64_t since = pt_now_ms(); !(condition);)                                                                              \
  turn(since, __LINE__)

/* Waits until a fake has met so many connections more. */
static void wait_asked(fake *f, int more) {
  int before = f->asked;
  WAIT_FOR(f->asked >= before + more);
}

static void wait_up(unsigned i) { WAIT_FOR(shown && shown->at[i].up); }
static void wait_down(unsigned i) { WAIT_FOR(shown && !shown->at[i].up); }

#endif
