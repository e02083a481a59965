#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/run_dir.h"

static char base[64], path[128];

static int setup(void **state) {
  (void)state;
  strcpy(base, "/tmp/puerta-test-XXXXXX");
  if (!mkdtemp(base))
    return -1;
  snprintf(path, sizeof path, "%s/run", base);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  unlink(path);
  rmdir(path);
  return rmdir(base);
}

static unsigned mode(void) {
  struct stat st;
  assert_int_equal(lstat(path, &st), 0);
  return st.st_mode & 07777;
}

static void a_new_one_is_private(void **state) {
  (void)state;
  mode_t was = umask(0);
  assert_int_equal(pt_run_dir_take(path, false), 0);
  umask(was);
  assert_int_equal(mode(), 0700);
  assert_int_equal(pt_run_dir_take(path, false), 0); /* and is taken again */
  assert_int_equal(pt_run_dir_take(path, true), 0);
}

static void one_of_ours_is_closed_to_others(void **state) {
  (void)state;
  assert_int_equal(mkdir(path, 0755), 0);
  assert_int_equal(pt_run_dir_take(path, false), 0);
  assert_int_equal(mode(), 0700);
}

static void below_run_others_may_read_but_not_write(void **state) {
  (void)state;
  assert_int_equal(mkdir(path, 0755), 0);
  assert_int_equal(pt_run_dir_take(path, true), 0);
  assert_int_equal(mode(), 0755);
  assert_int_equal(chmod(path, 0775), 0);
  assert_int_equal(pt_run_dir_take(path, true), -EPERM);
}

static void links_and_files_are_refused(void **state) {
  (void)state;
  assert_int_equal(symlink("/tmp", path), 0);
  assert_int_equal(pt_run_dir_take(path, false), -ENOTDIR);
  assert_int_equal(unlink(path), 0);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fclose(f);
  assert_int_equal(pt_run_dir_take(path, false), -ENOTDIR);
}

/* Only root can give directories away: as somebody else the root directory stands for one of another owner. */
static void anothers_is_refused(void **state) {
  (void)state;
  if (geteuid() != 0) {
    assert_int_equal(pt_run_dir_take("/", false), -EPERM);
    return;
  }
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(chown(path, 12345, 12345), 0);
  assert_int_equal(pt_run_dir_take(path, false), -EPERM);
  assert_int_equal(pt_run_dir_take(path, true), 0); /* /run/puerta of the service's user, seen by root */
}

/* As a user who cannot write to /run. */
static void as_nobody(const char *xdg, const char *want, int error) {
  char out[128];
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) {
    if (geteuid() == 0 && (setgid(54321) || setuid(54321)))
      _exit(2);
    if (xdg)
      setenv("XDG_RUNTIME_DIR", xdg, 1);
    else
      unsetenv("XDG_RUNTIME_DIR");
    int e = pt_run_dir(out, sizeof out);
    if (e != error || (!e && strcmp(out, want)))
      fprintf(stderr, "got %d %s\n", e, out);
    _exit(e != error || (!e && strcmp(out, want)) ? 1 : 0);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
}

static void the_first_place_that_can_be_had(void **state) {
  (void)state;
  char want[160], fallback[64];
  unsigned uid = geteuid() ? geteuid() : 54321;
  snprintf(want, sizeof want, "%s/puerta", path);
  snprintf(fallback, sizeof fallback, "/tmp/puerta-%u", uid);
  assert_int_equal(chmod(base, 0755), 0);
  assert_int_equal(mkdir(path, 0700), 0);
  if (geteuid() == 0)
    assert_int_equal(chown(path, uid, uid), 0);
  as_nobody(path, want, 0);
  assert_int_equal(rmdir(want), 0);
  as_nobody("relative", fallback, 0);
  as_nobody(NULL, fallback, 0);
  if (geteuid() == 0) { /* somebody else was there first */
    assert_int_equal(chown(fallback, 12345, 12345), 0);
    as_nobody(NULL, NULL, -EPERM);
    assert_int_equal(rmdir(fallback), 0);
  }
}

static void no_room(void **state) {
  (void)state;
  char out[4];
  assert_int_equal(pt_run_dir(out, sizeof out), -ENAMETOOLONG);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_new_one_is_private, setup, teardown),
      cmocka_unit_test_setup_teardown(one_of_ours_is_closed_to_others, setup, teardown),
      cmocka_unit_test_setup_teardown(below_run_others_may_read_but_not_write, setup, teardown),
      cmocka_unit_test_setup_teardown(links_and_files_are_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(anothers_is_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(the_first_place_that_can_be_had, setup, teardown),
      cmocka_unit_test(no_room),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
