/* Addresses as text and back, and the sockets made from them, on both loopbacks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "net/address.h"

static void check(const char *host, const char *again, const char *formatted) {
  pt_address a;
  char text[PT_ADDRESS_TEXT];
  assert_int_equal(pt_address_parse(&a, host, 6379), 0);
  assert_string_equal(pt_address_host(&a, text, sizeof text), again);
  assert_string_equal(pt_address_format(&a, text, sizeof text), formatted);
  assert_int_equal(pt_address_port(&a), 6379);
}

static void numeric_hosts(void **state) {
  (void)state;
  check("10.0.0.1", "10.0.0.1", "10.0.0.1:6379");
  check("*", "0.0.0.0", "0.0.0.0:6379");
  check("::1", "::1", "[::1]:6379");
  check("[::1]", "::1", "[::1]:6379");
  check("::", "::", "[::]:6379");
  check("2001:DB8:0:0:0:0:0:1", "2001:db8::1", "[2001:db8::1]:6379");
  check("::ffff:10.0.0.1", "::ffff:10.0.0.1", "[::ffff:10.0.0.1]:6379");
  check("fe80::1%lo", "fe80::1%lo", "[fe80::1%lo]:6379");
  check("fe80::1%4000000000", "fe80::1%4000000000", "[fe80::1%4000000000]:6379");
}

static void what_is_not_numeric(void **state) {
  (void)state;
  static const char *const names[] = {"",
                                      "localhost",
                                      "10.0.0",
                                      "10.0.0.256",
                                      "10.0.0.1 ",
                                      "0x7f.1",
                                      "[]",
                                      "[",
                                      "]",
                                      "[::1",
                                      "::1]",
                                      "[[::1]]",
                                      "[10.0.0.1]",
                                      "[*]",
                                      "**",
                                      ":::",
                                      "1::2::3",
                                      "fe80::1%",
                                      "fe80::1%nosuchif",
                                      "fe80::1%-1",
                                      "fe80::1%4294967296",
                                      "fe80::1%99999999999999999999",
                                      "%lo",
                                      "10.0.0.1%lo",
                                      "[::1]:80",
                                      "10.0.0.1:80"};
  pt_address a;
  char longer[300];
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (pt_address_parse(&a, names[i], 1) != -EINVAL)
      fail_msg("%s is taken for an address", names[i]);
  memset(longer, '1', sizeof longer);
  longer[sizeof longer - 1] = 0;
  assert_int_equal(pt_address_parse(&a, longer, 1), -EINVAL);
}

static void text_is_cut_to_its_room(void **state) {
  (void)state;
  pt_address a;
  char text[6];
  assert_int_equal(pt_address_parse(&a, "10.0.0.1", 65535), 0);
  assert_string_equal(pt_address_format(&a, text, sizeof text), "10.0.");
  assert_int_equal(pt_address_port(&a), 65535);
}

static void wait_for(int fd, short events) {
  struct pollfd p = {.fd = fd, .events = events};
  assert_int_equal(poll(&p, 1, 10000), 1);
}

static int option(int fd, int level, int name) {
  int v = -1;
  socklen_t n = sizeof v;
  assert_int_equal(getsockopt(fd, level, name, &v, &n), 0);
  return v;
}

/* Where a socket is bound. */
static pt_address bound(int fd) {
  pt_address a = {.len = sizeof a.in6};
  assert_int_equal(getsockname(fd, &a.sa, &a.len), 0);
  return a;
}

static void check_tuned(int fd) {
  assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
  assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
  assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 120);
}

static void listens_and_connects(const char *host) {
  pt_address a;
  assert_int_equal(pt_address_parse(&a, host, 0), 0);
  int door = pt_listen(&a, 16);
  assert_true(door >= 0);
  assert_true(fcntl(door, F_GETFL) & O_NONBLOCK);
  assert_true(fcntl(door, F_GETFD) & FD_CLOEXEC);
  pt_address there = bound(door);
  assert_int_equal(pt_listen(&there, 16), -EADDRINUSE);

  int client = pt_connect(&there);
  assert_true(client >= 0);
  wait_for(client, POLLOUT);
  assert_int_equal(pt_connect_error(client), 0);
  check_tuned(client);

  wait_for(door, POLLIN);
  int server = accept(door, NULL, NULL);
  assert_true(server >= 0);
  assert_int_equal(pt_socket_tune(server), 0);
  check_tuned(server);
  assert_int_equal(write(client, "hello", 5), 5);
  char text[8];
  wait_for(server, POLLIN);
  assert_int_equal(read(server, text, sizeof text), 5);
  close(server);
  close(client);
  close(door);
}

static void both_loopbacks(void **state) {
  (void)state;
  listens_and_connects("127.0.0.1");
  listens_and_connects("[::1]");
}

/* Both families may have the same port: an IPv6 socket takes no IPv4 connections. */
static void ipv6_only(void **state) {
  (void)state;
  pt_address six, four;
  assert_int_equal(pt_address_parse(&six, "::", 0), 0);
  int door6 = pt_listen(&six, 16);
  assert_true(door6 >= 0);
  assert_int_equal(option(door6, IPPROTO_IPV6, IPV6_V6ONLY), 1);
  pt_address there = bound(door6);
  assert_int_equal(pt_address_parse(&four, "127.0.0.1", pt_address_port(&there)), 0);
  int door4 = pt_listen(&four, 16);
  assert_true(door4 >= 0 || door4 == -EADDRINUSE); /* somebody else may have that one */
  if (door4 >= 0)
    close(door4);
  close(door6);
}

static void refused(void **state) {
  (void)state;
  pt_address a;
  assert_int_equal(pt_address_parse(&a, "127.0.0.1", 0), 0);
  int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound and not listening: nobody else gets the port */
  assert_int_equal(bind(fd, &a.sa, a.len), 0);
  pt_address there = bound(fd);
  int client = pt_connect(&there);
  if (client >= 0) {
    wait_for(client, POLLOUT);
    assert_int_equal(pt_connect_error(client), -ECONNREFUSED);
    close(client);
  } else {
    assert_int_equal(client, -ECONNREFUSED);
  }
  close(fd);
}

static void a_socket_that_meets_itself_is_refused(void **state) {
  (void)state;
  pt_address a;
  assert_int_equal(pt_address_parse(&a, "127.0.0.1", 0), 0);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, &a.sa, a.len), 0);
  pt_address self = bound(fd);
  assert_int_equal(connect(fd, &self.sa, self.len), 0);
  assert_int_equal(pt_connect_error(fd), -ECONNREFUSED);
  close(fd);
}

static void errors_are_numbers(void **state) {
  (void)state;
  pt_address a;
  assert_int_equal(pt_address_parse(&a, "192.0.2.1", 0), 0); /* documentation's: never ours */
  assert_int_equal(pt_listen(&a, 16), -EADDRNOTAVAIL);
  a.sa.sa_family = AF_MAX;
  assert_int_equal(pt_connect(&a), -EAFNOSUPPORT);
  assert_int_equal(pt_listen(&a, 16), -EAFNOSUPPORT);
  assert_int_equal(pt_connect_error(-1), -EBADF);
  assert_int_equal(pt_socket_tune(-1), -EBADF);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numeric_hosts),
      cmocka_unit_test(what_is_not_numeric),
      cmocka_unit_test(text_is_cut_to_its_room),
      cmocka_unit_test(both_loopbacks),
      cmocka_unit_test(ipv6_only),
      cmocka_unit_test(refused),
      cmocka_unit_test(a_socket_that_meets_itself_is_refused),
      cmocka_unit_test(errors_are_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
