/* What a supervisor hears, on a socket with a path and on an abstract one; and that nobody is waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/notify.h"

/* A supervisor's socket; name as in NOTIFY_SOCKET. */
static int supervise(const char *name) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  strcpy(a.sun_path, name);
  if (*name == '@')
    a.sun_path[0] = 0;
  assert_int_equal(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))), 0);
  setenv("NOTIFY_SOCKET", name, 1);
  return fd;
}

static void hears(const char *name) {
  char got[128] = "";
  int fd = supervise(name);
  assert_int_equal(pt_notify("READY=1"), 1);
  assert_int_equal(recv(fd, got, sizeof got, 0), 7);
  assert_string_equal(got, "READY=1");
  assert_int_equal(pt_notify("RELOADING=1\nMONOTONIC_USEC=5"), 1);
  assert_int_equal(recv(fd, got, sizeof got, 0), 28);
  close(fd);
}

static void a_path(void **state) {
  (void)state;
  char dir[] = "/tmp/puerta-notify-XXXXXX", path[64];
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/notify", dir);
  hears(path);
  assert_int_equal(pt_notify("READY=1"), -ECONNREFUSED); /* its socket is closed */
  unlink(path);
  assert_int_equal(pt_notify("READY=1"), -ENOENT);
  rmdir(dir);
}

static void an_abstract_name(void **state) {
  (void)state;
  char name[64];
  snprintf(name, sizeof name, "@puerta-notify-%d", (int)getpid());
  hears(name);
  assert_int_equal(pt_notify("READY=1"), -ECONNREFUSED);
}

static void nobody(void **state) {
  (void)state;
  unsetenv("NOTIFY_SOCKET");
  assert_int_equal(pt_notify("READY=1"), 0);
  setenv("NOTIFY_SOCKET", "", 1);
  assert_int_equal(pt_notify("READY=1"), 0);
}

static void nonsense(void **state) {
  (void)state;
  char name[200] = "/";
  setenv("NOTIFY_SOCKET", "relative", 1);
  assert_int_equal(pt_notify("READY=1"), -EINVAL);
  memset(name + 1, 'x', sizeof name - 2);
  setenv("NOTIFY_SOCKET", name, 1);
  assert_int_equal(pt_notify("READY=1"), -EINVAL);
}

static void one_that_does_not_listen(void **state) {
  (void)state;
  char name[64];
  int e = 1;
  snprintf(name, sizeof name, "@puerta-deaf-%d", (int)getpid());
  int fd = supervise(name);
  for (int i = 0; i < 100000 && e == 1; i++)
    e = pt_notify("STATUS=serving");
  assert_int_equal(e, -EAGAIN);
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_path),   cmocka_unit_test(an_abstract_name),         cmocka_unit_test(nobody),
      cmocka_unit_test(nonsense), cmocka_unit_test(one_that_does_not_listen),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
