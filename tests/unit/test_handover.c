/* Messages of a handover: what is written is read, what is not whole is refused; and the sockets that carry them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/unix.h"
#include "wire/handover.h"

static uint8_t msg[PT_HO_MAX];

static pt_ho_blob blob(const char *s) { return (pt_ho_blob){s, (uint32_t)strlen(s)}; }

static bool equal(pt_ho_blob b, const char *s) { return b.n == strlen(s) && !memcmp(b.at, s, b.n); }

static int check(int n) {
  pt_ho_kind kind;
  const char *why = NULL;
  int e = n < 0 ? n : pt_ho_check(msg, (size_t)n, PT_HO_FORMAT, &kind, &why);
  assert_true(!e == !why || n < 0);
  return e ? e : (int)kind;
}

static void test_redis(void **state) {
  (void)state;
  const char *why;
  pt_ho_redis in = {.listener = 3,
                    .id = UINT64_C(0x1122334455667788),
                    .since = 42,
                    .ip = 0x7f000001,
                    .port = 65535,
                    .proto = 3,
                    .authed = 1,
                    .user = blob("app"),
                    .name = blob(""),
                    .input = blob("*1\r\n$4\r\nPI")};
  pt_ho_redis out;
  int n = pt_ho_write(msg, PT_HO_FORMAT, PT_HO_REDIS, &in);
  assert_int_equal(check(n), PT_HO_REDIS);
  assert_int_equal(pt_ho_read(msg, (size_t)n, PT_HO_REDIS, &out, &why), 0);
  assert_int_equal(out.listener, 3);
  assert_true(out.id == in.id && out.since == 42 && out.ip == in.ip && out.port == 65535 && out.proto == 3 && out.authed == 1);
  assert_true(equal(out.user, "app") && equal(out.name, "") && equal(out.input, "*1\r\n$4\r\nPI"));
}

static void test_pair(void **state) {
  (void)state;
  const char *why;
  pt_ho_pair in = {.c = {.listener = 1, .identity = 7, .backend = 4095, .input = blob("abc")},
                   .movable = 1,
                   .epoch = 9,
                   .max_wire = 21,
                   .nasks = 2,
                   .asks = {{-5, 2013, 3, 4, -1}, {6, 2004, 1, 0, INT64_MAX}},
                   .hello = blob("hello"),
                   .cursors = blob("0123456789abcdef")};
  pt_ho_pair out;
  int n = pt_ho_write(msg, PT_HO_FORMAT, PT_HO_PAIR, &in);
  assert_int_equal(check(n), PT_HO_PAIR);
  assert_int_equal(pt_ho_read(msg, (size_t)n, PT_HO_PAIR, &out, &why), 0);
  assert_true(out.c.identity == 7 && out.c.backend == 4095 && out.epoch == 9 && out.max_wire == 21 && out.nasks == 2);
  assert_memory_equal(out.asks, in.asks, sizeof in.asks);
  assert_true(equal(out.hello, "hello") && equal(out.cursors, "0123456789abcdef") && out.txns.n == 0);
}

static void test_every_cut_is_refused(void **state) {
  (void)state;
  const char *why;
  pt_ho_listener in = {.kind = 1, .port = 27017, .name = blob("orders"), .host = blob("0.0.0.0"), .secret = 5, .view = 2}, out;
  int n = pt_ho_write(msg, PT_HO_FORMAT, PT_HO_LISTENER, &in);
  assert_int_equal(check(n), PT_HO_LISTENER);
  for (int i = 0; i < n; i++) {
    assert_int_equal(check(i), -EPROTO);
    if (i >= PT_HO_HEADER)
      assert_int_equal(pt_ho_read(msg, (size_t)i, PT_HO_LISTENER, &out, &why), -EPROTO);
    msg[i] ^= 0x10;
    assert_int_equal(check(n), -EPROTO);
    msg[i] ^= 0x10;
  }
  assert_int_equal(pt_ho_read(msg, (size_t)n + 1, PT_HO_LISTENER, &out, &why), -EPROTO); /* something left over */
}

static void test_what_is_too_long_is_not_written(void **state) {
  (void)state;
  char *much = calloc(1, PT_HO_MAX);
  pt_ho_redis r = {.input = {much, PT_HO_INPUT + 1}};
  assert_int_equal(pt_ho_write(msg, PT_HO_FORMAT, PT_HO_REDIS, &r), -EMSGSIZE);
  r.input.n = PT_HO_INPUT;
  assert_int_equal(check(pt_ho_write(msg, PT_HO_FORMAT, PT_HO_REDIS, &r)), PT_HO_REDIS);
  pt_ho_pair p = {.nasks = PT_HO_ASKS + 1};
  assert_int_equal(pt_ho_write(msg, PT_HO_FORMAT, PT_HO_PAIR, &p), -EMSGSIZE);
  free(much);
}

static void test_formats(void **state) {
  (void)state;
  const char *why;
  pt_ho_kind kind;
  pt_ho_round r = {.round = 1};
  pt_ho_hello h = {.oldest = 1, .newest = 9, .version = blob("1")};
  int n = pt_ho_write(msg, PT_HO_FORMAT + 1, PT_HO_GO, &r);
  assert_int_equal(check(n), -EPROTO);
  n = pt_ho_write(msg, PT_HO_FORMAT + 1, PT_HO_HELLO, &h); /* a greeting is understood whatever else is spoken */
  assert_int_equal(pt_ho_check(msg, (size_t)n, PT_HO_FORMAT, &kind, &why), 0);
}

/* ---- sockets ---- */

static void test_messages_carry_descriptors(void **state) {
  (void)state;
  char dir[] = "/tmp/handover-XXXXXX", path[64], got[16];
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/s", dir);
  struct stat st;
  pid_t pid;
  uid_t uid;
  int fds[PT_UNIX_FDS], pipes[2], door = pt_unix_listen(path);
  assert_true(door >= 0 && !stat(path, &st) && (st.st_mode & 0777) == 0600 && pt_unix_alive(path));
  close(pt_unix_accept(door)); /* of pt_unix_alive */
  int a = pt_unix_connect(path), b = pt_unix_accept(door);
  assert_true(a >= 0 && b >= 0);
  assert_true(!pt_unix_peer(b, &pid, &uid) && pid == getpid() && uid == geteuid());
  assert_int_equal(pt_unix_recv(b, got, sizeof got, fds), -EAGAIN);
  assert_int_equal(pipe(pipes), 0);
  assert_int_equal(pt_unix_send(a, "one", 3, pipes, 2), 0);
  assert_int_equal(pt_unix_send(a, "two", 3, NULL, 0), 0);
  assert_int_equal(pt_unix_send(a, "longer than that", 16, pipes, 1), 0);
  assert_int_equal(pt_unix_recv(b, got, sizeof got, fds), 3);
  assert_memory_equal(got, "one", 3);
  assert_true(fds[0] >= 0 && fds[1] >= 0 && (fcntl(fds[0], F_GETFD) & FD_CLOEXEC));
  assert_int_equal(write(fds[1], "x", 1), 1);
  assert_int_equal(read(pipes[0], got, 1), 1);
  close(fds[0]);
  close(fds[1]);
  assert_int_equal(pt_unix_recv(b, got, sizeof got, fds), 3);
  assert_true(fds[0] == -1 && fds[1] == -1);
  assert_int_equal(pt_unix_recv(b, got, 4, fds), -EMSGSIZE); /* its descriptor is closed, not lost */
  assert_true(fds[0] == -1);
  close(a);
  assert_int_equal(pt_unix_recv(b, got, sizeof got, fds), 0);
  int again = pt_unix_listen(path); /* a second one takes the place */
  assert_true(again >= 0);
  close(again);
  assert_false(pt_unix_alive(path));
  assert_int_equal(pt_unix_connect(path), -ECONNREFUSED);
  unlink(path);
  assert_int_equal(pt_unix_connect(path), -ENOENT);
  memset(got, 'x', sizeof got);
  char deep[300];
  memset(deep, 'x', sizeof deep - 1);
  deep[sizeof deep - 1] = 0;
  assert_int_equal(pt_unix_listen(deep), -ENAMETOOLONG);
  rmdir(dir);
  close(b);
  close(door);
  close(pipes[0]);
  close(pipes[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_redis),
      cmocka_unit_test(test_pair),
      cmocka_unit_test(test_every_cut_is_refused),
      cmocka_unit_test(test_what_is_too_long_is_not_written),
      cmocka_unit_test(test_formats),
      cmocka_unit_test(test_messages_carry_descriptors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
