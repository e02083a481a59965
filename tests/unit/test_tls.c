/* TLS sessions over a socket that takes few bytes at a time, and conns that speak TLS: what blocks, what waits inside, who waits for his turn. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/address.h"
#include "net/conn.h"
#include "net/hall.h"
#include "net/secure.h"
#include "tls_pem.h"

enum {
  MUCH = 3 * 1024 * 1024,
  TURNS = 100000
};

static char path[] = "/tmp/puerta-tls-XXXXXX";
static pt_tls_context *server, *client;

static pt_tls_context *context(bool is_server, const char *name) {
  char err[256], warn[256];
  pt_tls_options o = {.server = is_server,
                      .cert = is_server ? path : NULL,
                      .key = is_server ? path : NULL,
                      .ca = path,
                      .verify = is_server ? PT_TLS_VERIFY_NONE : PT_TLS_VERIFY_REQUIRED,
                      .server_name = (char *)name,
                      .tickets = true,
                      .handshake_timeout = 10000};
  pt_tls_context *c = pt_tls_context_new(&o, err, sizeof err, warn, sizeof warn);
  if (!c)
    fail_msg("%s", err);
  assert_string_equal(warn, "");
  return c;
}

static int set_up(void **state) {
  (void)state;
  signal(SIGPIPE, SIG_IGN);
  int fd = mkstemp(path);
  if (fd < 0 || write(fd, pem, sizeof pem - 1) != (ssize_t)sizeof pem - 1)
    return -1;
  close(fd);
  server = context(true, NULL);
  client = context(false, "test");
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  pt_tls_context_unref(server);
  pt_tls_context_unref(client);
  return unlink(path);
}

/* ---- sessions ---- */

typedef struct two {
  int fds[2];
  pt_tls *a, *b; /* client, server */
} two;

static two connected(pt_tls_context *as_client) {
  two t;
  int little = 4096;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, t.fds), 0);
  for (int i = 0; i < 2; i++)
    assert_int_equal(setsockopt(t.fds[i], SOL_SOCKET, SO_SNDBUF, &little, sizeof little), 0);
  t.a = pt_tls_new(as_client, t.fds[0], NULL);
  t.b = pt_tls_new(server, t.fds[1], NULL);
  assert_true(t.a && t.b);
  return t;
}

static int shake(two *t) {
  int a = -EAGAIN, b = -EAGAIN;
  for (int i = 0; i < 100 && (a == -EAGAIN || b == -EAGAIN); i++) {
    a = a == -EAGAIN ? pt_tls_handshake(t->a) : a;
    b = b == -EAGAIN ? pt_tls_handshake(t->b) : b;
  }
  return a ? a : b;
}

static void end(two *t) {
  pt_tls_free(t->a);
  pt_tls_free(t->b);
  close(t->fds[0]);
  close(t->fds[1]);
}

static uint8_t byte(size_t i) { return (uint8_t)(i * 2654435761u >> 13); }

/* Everything that was taken arrives, in order, whatever the pieces; a record that does not go out keeps its last byte back. */
static void a_narrow_socket(void **state) {
  (void)state;
  two t = connected(client);
  static uint8_t out[MUCH], in[65536];
  size_t sent = 0, got = 0, blocked = 0;
  unsigned seed = 7;
  assert_int_equal(shake(&t), 0);
  for (size_t i = 0; i < MUCH; i++)
    out[i] = byte(i);
  for (int turn = 0; got < MUCH && turn < TURNS; turn++) {
    size_t left = MUCH - sent, n = left ? 1 + (size_t)rand_r(&seed) % (left < 50000 ? left : 50000) : 0, cut = n / 3;
    struct iovec iov[3] = {{out + sent, cut}, {out + sent + cut, 0}, {out + sent + cut, n - cut}};
    ssize_t put = n ? pt_tls_write(t.a, iov, 3) : 0;
    assert_true(put == -EAGAIN || (put >= 0 && put <= (ssize_t)n));
    if (n && put < (ssize_t)n) {
      blocked++;
      assert_int_equal(pt_tls_waits(t.a, PT_TLS_WRITE), POLLOUT);
    }
    sent += put > 0 ? (size_t)put : 0;
    ssize_t have = pt_tls_read(t.b, in, 1 + (size_t)rand_r(&seed) % sizeof in);
    assert_true(have == -EAGAIN || have > 0);
    for (ssize_t i = 0; i < have; i++)
      assert_int_equal(in[i], byte(got + (size_t)i));
    got += have > 0 ? (size_t)have : 0;
    assert_true(got <= sent + 1);
  }
  assert_int_equal(got, MUCH);
  assert_true(blocked > 10);
  end(&t);
}

static void what_waits_inside(void **state) {
  (void)state;
  two t = connected(client);
  uint8_t in[100];
  assert_int_equal(shake(&t), 0);
  assert_int_equal(pt_tls_read(t.b, in, sizeof in), -EAGAIN);
  assert_false(pt_tls_pending(t.b));
  for (int i = 0; i < 3; i++)
    assert_int_equal(pt_tls_write(t.a, &(struct iovec){"0123456789", 10}, 1), 10);
  assert_int_equal(pt_tls_read(t.b, in, 5), 5);
  assert_true(pt_tls_pending(t.b));
  assert_int_equal(pt_tls_read(t.b, in, sizeof in), 25);
  assert_false(pt_tls_pending(t.b));
  end(&t);
}

static void one_side_ends(void **state) {
  (void)state;
  two t = connected(client);
  uint8_t in[100];
  assert_int_equal(shake(&t), 0);
  assert_int_equal(pt_tls_write(t.a, &(struct iovec){"last", 4}, 1), 4);
  pt_tls_end(t.a);
  assert_int_equal(pt_tls_read(t.b, in, sizeof in), 4);
  assert_true(pt_tls_pending(t.b)); /* the end */
  assert_int_equal(pt_tls_read(t.b, in, sizeof in), 0);
  assert_int_equal(pt_tls_write(t.b, &(struct iovec){"answer", 6}, 1), 6);
  assert_int_equal(pt_tls_read(t.a, in, sizeof in), 6);
  end(&t);
}

static void what_is_no_tls(void **state) {
  (void)state;
  two t = connected(client);
  uint8_t in[100];
  assert_int_equal(pt_tls_read(t.b, in, sizeof in), -EAGAIN);
  assert_int_equal(pt_tls_write(t.b, &(struct iovec){"x", 1}, 1), -EAGAIN);
  assert_int_equal(write(t.fds[0], "*1\r\n$4\r\nPING\r\n", 14), 14);
  assert_int_equal(pt_tls_handshake(t.b), -EPROTO);
  assert_string_equal(pt_tls_why(t.b), "it does not speak TLS: a plain client at a TLS port?");
  assert_int_equal(pt_tls_read(t.b, in, sizeof in), -EPROTO);
  assert_int_equal(pt_tls_write(t.b, &(struct iovec){"x", 1}, 1), -EPROTO);
  end(&t);
}

static void another_name(void **state) {
  (void)state;
  pt_tls_context *other = context(false, "other");
  two t = connected(other);
  assert_int_equal(shake(&t), -EPROTO);
  assert_string_equal(pt_tls_why(t.a), "its certificate is not accepted: hostname mismatch");
  end(&t);
  pt_tls_context_unref(other);
}

static void junk_in_the_middle(void **state) {
  (void)state;
  two t = connected(client);
  uint8_t in[100];
  assert_int_equal(shake(&t), 0);
  assert_int_equal(write(t.fds[0], "\x17\x03\x03\x00\x20 this is nothing that was sealed", 37), 37);
  assert_int_equal(pt_tls_read(t.b, in, sizeof in), -EPROTO);
  assert_true(*pt_tls_why(t.b));
  end(&t);
}

static void bad_files(void **state) {
  (void)state;
  char err[256], warn[256];
  pt_tls_options o = {.server = true, .cert = "/nowhere", .key = path};
  assert_null(pt_tls_context_new(&o, err, sizeof err, warn, sizeof warn));
  assert_string_equal(err, "cert: /nowhere: No such file or directory");
  o.cert = "/dev/null";
  assert_null(pt_tls_context_new(&o, err, sizeof err, warn, sizeof warn));
  assert_string_equal(err, "cert: /dev/null: no PEM file with a certificate");
  o = (pt_tls_options){.server = true, .cert = path, .key = "/dev/null"};
  assert_null(pt_tls_context_new(&o, err, sizeof err, warn, sizeof warn));
  assert_string_equal(err, "key: /dev/null: no PEM file with a private key");
}

/* ---- conns ---- */

typedef struct peer {
  pt_conn conn;
  size_t got, calls;
  bool connected;
  int error;
} peer;

static pt_greeter greeter;
static __thread struct ev_loop *loop;
static __thread pt_hall hall;

static void on_client(struct ev_loop *l, ev_io *io, int events) {
  (void)events;
  peer *p = io->data;
  if (p->connected)
    return;
  p->error = pt_conn_connected(&p->conn);
  p->connected = true;
  pt_conn_watch(&p->conn, l, 0);
}

static void on_server(struct ev_loop *l, ev_io *io, int events) {
  (void)l, (void)events;
  peer *p = io->data;
  uint8_t in[10];
  p->calls++;
  ssize_t n = pt_conn_read(&p->conn, in, sizeof in);
  if (n > 0)
    p->got += (size_t)n;
  else if (n != -EAGAIN)
    p->error = n ? (int)n : -EPIPE;
}

/* The hall's thread gets on meanwhile. */
static void turns(int n) {
  for (; n > 0; n--) {
    ev_run(loop, EVRUN_NOWAIT);
    usleep(10);
  }
}

/* A client that has said the first bytes and its hello, and the server side of its connection, which has read the first bytes. */
static void stand(peer *c, peer *s, const char *first) {
  pt_address a;
  char seen[16] = "";
  assert_int_equal(pt_address_parse(&a, "127.0.0.1", 0), 0);
  int door = pt_listen(&a, 8);
  assert_true(door >= 0);
  assert_int_equal(getsockname(door, &a.sa, &a.len), 0);
  *c = *s = (peer){0};
  int fd = pt_connect(&a), other = -1;
  pt_conn_open(&c->conn, loop, fd, EV_WRITE, on_client, c);
  assert_int_equal(pt_conn_connect_tls(&c->conn, loop, client, "127.0.0.1", first, strlen(first)), 0);
  for (int i = 0; i < TURNS && other < 0; i++) {
    turns(1);
    other = accept4(door, NULL, NULL, SOCK_NONBLOCK);
  }
  assert_true(other >= 0);
  pt_conn_open(&s->conn, loop, other, 0, on_server, s);
  for (int i = 0; i < TURNS && pt_conn_peek(&s->conn, seen, strlen(first)) < (ssize_t)strlen(first); i++)
    turns(1);
  assert_int_equal(pt_conn_read(&s->conn, seen, strlen(first)), strlen(first));
  assert_string_equal(seen, first);
  close(door);
}

static void speak(peer *s) {
  assert_int_equal(pt_conn_accept_tls(&s->conn, loop, server, &hall), 0);
  pt_conn_watch(&s->conn, loop, EV_READ);
}

static void finish(peer *c, peer *s) {
  pt_conn_close(&c->conn, loop);
  pt_conn_close(&s->conn, loop);
}

static void open_loop(void) {
  loop = ev_loop_new(0);
  pt_hall_init(&hall, loop, &greeter);
}

static void start_loop(void) {
  pt_greeter_init(&greeter);
  open_loop();
}

static void end_loop(void) {
  assert_int_equal(hall.n, 0);
  pt_greeter_end(&greeter);
  pt_hall_free(&hall);
  ev_loop_destroy(loop);
}

/* Reads stop with bytes inside that the socket knows nothing of, and go on. */
static void stop_and_go(void **state) {
  (void)state;
  peer c, s;
  static uint8_t text[1000];
  start_loop();
  stand(&c, &s, "HEAD");
  speak(&s);
  for (int i = 0; i < TURNS && !c.connected; i++)
    turns(1);
  assert_true(c.connected);
  assert_int_equal(c.error, 0);
  assert_int_equal(pt_conn_write(&c.conn, &(struct iovec){text, sizeof text}, 1), sizeof text);
  for (int i = 0; i < TURNS && s.got < 50; i++)
    turns(1);
  pt_conn_watch(&s.conn, loop, 0);
  size_t had = s.got, calls = s.calls;
  assert_true(had >= 50 && had < sizeof text);
  turns(50);
  assert_int_equal(s.calls, calls);
  pt_conn_watch(&s.conn, loop, EV_READ);
  for (int i = 0; i < TURNS && s.got < sizeof text; i++)
    turns(1);
  assert_int_equal(s.got, sizeof text);
  calls = s.calls;
  turns(50);
  assert_int_equal(s.calls, calls); /* nothing is there, nothing is said */
  pt_conn_end(&c.conn);
  for (int i = 0; i < TURNS && !s.error; i++)
    turns(1);
  assert_int_equal(s.error, -EPIPE);
  finish(&c, &s);
  end_loop();
}

enum {
  MANY = 40
};

/* n more come into the hall in one turn. */
static void enter(peer *s, int n) {
  for (int i = 0; i < n; i++)
    speak(&s[i]);
  ev_run(loop, EVRUN_NOWAIT);
}

/* All are in the hall. */
static void crowd(peer *c, peer *s) {
  for (int i = 0; i < MANY; i++)
    stand(&c[i], &s[i], "HEAD");
  enter(s, MANY);
  assert_int_equal(hall.n, MANY);
}

static int files_open(void) {
  int n = 0;
  for (int fd = 0; fd < 1000; fd++)
    n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

/* Those who leave while they wait or have their turn are forgotten, and their sockets are closed; the others come in. */
static void leaving_the_hall(void **state) {
  (void)state;
  static peer c[MANY], s[MANY];
  start_loop();
  int files = files_open();
  crowd(c, s);
  for (int i = 0; i < MANY; i += 2)
    finish(&c[i], &s[i]);
  assert_int_equal(files_open(),
                   files + MANY + MANY / 2); /* the number of a socket that the thread may use is not another's meanwhile */
  for (int i = 1; i < MANY; i += 2)
    for (int k = 0; k < TURNS && !c[i].connected; k++)
      turns(1);
  for (int i = 1; i < MANY; i += 2) {
    assert_true(c[i].connected);
    assert_int_equal(c[i].error, 0);
    finish(&c[i], &s[i]);
  }
  for (int k = 0; k < TURNS && hall.n; k++)
    turns(1);
  assert_int_equal(files_open(), files);
  end_loop();
}

static bool no_threads; /* can be had */

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg) {
  return no_threads ? EAGAIN : __real_pthread_create(t, a, f, arg);
}

/* Where there can be no thread the loop makes the handshakes; later there can be one. */
static void a_hall_without_a_thread(void **state) {
  (void)state;
  static peer c[MANY], s[MANY];
  start_loop();
  for (int i = 0; i < MANY; i++)
    stand(&c[i], &s[i], "HEAD");
  no_threads = true;
  enter(s, MANY);
  assert_int_equal(hall.n, 0);
  for (int k = 0; k < TURNS && hall.full + hall.resumed < MANY; k++)
    turns(1);
  assert_int_equal(hall.full + hall.resumed, MANY);
  assert_false(greeter.running);
  no_threads = false;
  peer late_c, late_s;
  stand(&late_c, &late_s, "HEAD");
  enter(&late_s, 1);
  assert_true(greeter.running);
  for (int k = 0; k < TURNS && hall.full + hall.resumed <= MANY; k++)
    turns(1);
  assert_int_equal(hall.full + hall.resumed, MANY + 1);
  finish(&late_c, &late_s);
  for (int i = 0; i < MANY; i++)
    finish(&c[i], &s[i]);
  end_loop();
}

static atomic_bool holds; /* the greeter, in a handshake */
static sem_t held, go;

int __real_pt_tls_handshake(pt_tls *t);
int __wrap_pt_tls_handshake(pt_tls *t);
int __wrap_pt_tls_handshake(pt_tls *t) {
  if (!loop && atomic_load(&holds)) {
    sem_post(&held);
    sem_wait(&go);
  }
  return __real_pt_tls_handshake(t);
}

/* The loop ends while some wait, some are next, and one has his turn. */
static void the_hall_ends(void **state) {
  (void)state;
  static peer c[MANY], s[MANY];
  start_loop();
  int files = files_open();
  for (int i = 0; i < MANY; i++)
    stand(&c[i], &s[i], "HEAD");
  sem_init(&held, 0, 0);
  sem_init(&go, 0, 0);
  holds = true;
  enter(s, MANY / 2);
  sem_wait(&held);
  holds = false;
  enter(s + MANY / 2, MANY / 2);
  for (int i = 0; i < MANY; i++)
    finish(&c[i], &s[i]);
  greeter.ended = true; /* seen by the greeter before it looks who waits */
  sem_post(&go);
  pt_greeter_end(&greeter);
  assert_null(greeter.waiting);
  pt_hall_free(&hall);
  assert_int_equal(files_open(), files);
  ev_loop_destroy(loop);
}

/* A thread with a loop, all of whose clients come in; it lives longer than the greeter. */
static void *a_loop(void *step) {
  static __thread peer c[MANY], s[MANY];
  open_loop();
  crowd(c, s);
  for (int k = 0; k < TURNS && hall.full + hall.resumed < MANY; k++)
    turns(1);
  assert_int_equal(hall.full + hall.resumed, MANY);
  assert_int_equal(hall.n, 0);
  for (int i = 0; i < MANY; i++)
    finish(&c[i], &s[i]);
  pthread_barrier_wait(step);
  pthread_barrier_wait(step); /* the greeter has ended */
  pt_hall_free(&hall);
  ev_loop_destroy(loop);
  return NULL;
}

/* Loops that share a greeter come to it at the same time: each gets its own clients back. */
static void loops_share_a_greeter(void **state) {
  (void)state;
  pthread_t thread[3];
  pthread_barrier_t step;
  pt_greeter_init(&greeter);
  pthread_barrier_init(&step, NULL, 4);
  for (int i = 0; i < 3; i++)
    assert_int_equal(pthread_create(&thread[i], NULL, a_loop, &step), 0);
  pthread_barrier_wait(&step);
  pt_greeter_end(&greeter);
  pthread_barrier_wait(&step);
  for (int i = 0; i < 3; i++)
    pthread_join(thread[i], NULL);
  pthread_barrier_destroy(&step);
}

/* Their time is over while they are in the hall: they hear of that, and not of what came of it later (the clients have left). */
static void too_late(void **state) {
  (void)state;
  static peer c[MANY], s[MANY];
  start_loop();
  crowd(c, s);
  for (int i = 0; i < MANY; i++) {
    pt_conn_close(&c[i].conn, loop);
    ev_timer *patience = &s[i].conn.tls->timer;
    ev_timer_stop(loop, patience);
    ev_invoke(loop, patience, EV_TIMER);
  }
  for (int k = 0; k < TURNS && hall.n; k++)
    turns(1);
  for (int i = 0; i < MANY; i++) {
    assert_int_equal(s[i].error, -ETIMEDOUT);
    assert_string_equal(pt_conn_error(&s[i].conn, s[i].error), "its TLS handshake takes too long");
    pt_conn_close(&s[i].conn, loop);
  }
  assert_int_equal(hall.failed, MANY);
  end_loop();
}

static void nobody_is_there(void **state) {
  (void)state;
  pt_address a;
  peer c = {0};
  start_loop();
  assert_int_equal(pt_address_parse(&a, "127.0.0.1", 0), 0);
  int door = pt_listen(&a, 1);
  assert_int_equal(getsockname(door, &a.sa, &a.len), 0);
  close(door);
  pt_conn_open(&c.conn, loop, pt_connect(&a), EV_WRITE, on_client, &c);
  assert_int_equal(pt_conn_connect_tls(&c.conn, loop, client, NULL, NULL, 0), 0);
  for (int i = 0; i < TURNS && !c.connected; i++)
    turns(1);
  assert_int_equal(c.error, -ECONNREFUSED);
  assert_string_equal(pt_conn_error(&c.conn, c.error), "Connection refused");
  pt_conn_close(&c.conn, loop);
  end_loop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_narrow_socket),  cmocka_unit_test(what_waits_inside),
      cmocka_unit_test(one_side_ends),    cmocka_unit_test(what_is_no_tls),
      cmocka_unit_test(another_name),     cmocka_unit_test(junk_in_the_middle),
      cmocka_unit_test(bad_files),        cmocka_unit_test(stop_and_go),
      cmocka_unit_test(leaving_the_hall), cmocka_unit_test(a_hall_without_a_thread),
      cmocka_unit_test(the_hall_ends),    cmocka_unit_test(loops_share_a_greeter),
      cmocka_unit_test(too_late),         cmocka_unit_test(nobody_is_there),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
