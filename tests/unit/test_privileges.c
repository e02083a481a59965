/* From root to nobody, for good. Without root only what is refused can be seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/privileges.h"

static char err[256];

static void nobody_of_that_name(void **state) {
  (void)state;
  assert_int_equal(pt_privileges_drop("no-such-user", NULL, err, sizeof err), -ENOENT);
  assert_string_equal(err, "user \"no-such-user\": there is no such user on this machine");
  assert_int_equal(pt_privileges_drop("root", "no-such-group", err, sizeof err), -ENOENT);
  assert_string_equal(err, "group \"no-such-group\": there is no such group on this machine");
  assert_int_equal(pt_privileges_drop("root", NULL, err, sizeof err), -EPERM);
}

/* In a child: what is left is looked at from inside. Its exit code is the line of the first check that fails. */
#define CHECK(x)                                                                                                                 \
  if (!(x))                                                                                                                      \
  _exit(1 + __LINE__ % 250)

static void as_nobody(const char *group) {
  const struct passwd *nobody = getpwnam("nobody");
  uid_t uid = nobody->pw_uid;
  gid_t gid = group ? getgrnam(group)->gr_gid : nobody->pw_gid, groups[64];
  CHECK(pt_privileges_drop("nobody", group, err, sizeof err) == 1);
  CHECK(getuid() == uid && geteuid() == uid && getgid() == gid && getegid() == gid);
  int n = getgroups(64, groups);
  CHECK(n >= 0);
  for (int i = 0; i < n; i++)
    CHECK(groups[i] != 0);
  CHECK(setuid(0) == -1 && setgid(0) == -1 && seteuid(0) == -1);
  CHECK(access("/etc/shadow", R_OK) == -1);
  CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
  for (int cap = 0; cap < 30; cap++)
    CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 0);
  CHECK(pt_privileges_drop("nobody", group, err, sizeof err) == 0); /* again: an upgrade starts as the user it becomes */
  CHECK(pt_privileges_drop("daemon", NULL, err, sizeof err) == -EPERM && strstr(err, "only root can"));
  _exit(0);
}

/* With keepcaps set by whoever started us capabilities would survive the change of user. */
static void as_nobody_with_keepcaps(const char *group) {
  CHECK(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
  as_nobody(group);
}

static void drops(void (*what)(const char *), const char *group) {
  int status;
  pid_t pid = fork();
  if (pid == 0)
    what(group);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static void there_is_no_way_back(void **state) {
  (void)state;
  if (geteuid() != 0) {
    print_message("skipped: %s: only root can become another user\n", __func__);
    skip();
  }
  drops(as_nobody, NULL);
  drops(as_nobody, "daemon");
  drops(as_nobody_with_keepcaps, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nobody_of_that_name),
      cmocka_unit_test(there_is_no_way_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
