/* The pid file: whole or not at all, and never in the way of somebody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pid_file.h"

static char dir[] = "/tmp/puerta-pid-XXXXXX", path[64], err[512];

static int set_up(void **state) {
  (void)state;
  if (!mkdtemp(dir))
    return -1;
  snprintf(path, sizeof path, "%s/puerta.pid", dir);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  return rmdir(dir);
}

static void put(const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static const char *content(void) {
  static char text[64];
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  return text;
}

static const char *of(pid_t pid) {
  static char text[16];
  snprintf(text, sizeof text, "%d\n", (int)pid);
  return text;
}

static pid_t child(void) {
  pid_t pid = fork();
  if (pid == 0)
    for (;;)
      pause();
  return pid;
}

static void is_written_and_removed(void **state) {
  (void)state;
  struct stat st;
  assert_int_equal(pt_pid_file_write(path, 0, err, sizeof err), 0);
  assert_string_equal(content(), of(getpid()));
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777 & ~0644, 0);
  assert_int_equal(pt_pid_file_write(path, 0, err, sizeof err), 0); /* our own is no other's */
  assert_int_equal(pt_pid_file_remove(path), 0);
  assert_int_equal(pt_pid_file_remove(path), -ENOENT);
  assert_int_equal(access(path, F_OK), -1); /* and nothing beside it: the directory is removed at the end */
}

static void a_living_process_is_not_replaced(void **state) {
  (void)state;
  pid_t pid = child();
  put(of(pid));
  assert_int_equal(pt_pid_file_write(path, 0, err, sizeof err), -EEXIST);
  assert_non_null(strstr(err, path));
  assert_non_null(strstr(err, "(test_pid_file), which lives"));
  assert_string_equal(content(), of(pid));
  assert_int_equal(pt_pid_file_remove(path), -ENOENT); /* it is not ours to remove */
  assert_int_equal(pt_pid_file_write(path, pid, err, sizeof err), 0); /* but to inherit */
  assert_string_equal(content(), of(getpid()));
  kill(pid, SIGKILL);
  siginfo_t info;
  waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
  put(of(pid)); /* a zombie is not alive */
  assert_int_equal(pt_pid_file_write(path, 0, err, sizeof err), 0);
  waitpid(pid, NULL, 0);
  put(of(pid)); /* one that is gone neither */
  assert_int_equal(pt_pid_file_write(path, 0, err, sizeof err), 0);
  assert_string_equal(content(), of(getpid()));
  assert_int_equal(pt_pid_file_remove(path), 0);
}

static void an_empty_one_names_nobody(void **state) {
  (void)state;
  put("");
  assert_int_equal(pt_pid_file_write(path, 0, err, sizeof err), 0);
  assert_int_equal(pt_pid_file_remove(path), 0);
}

static void another_file_is_left_alone(void **state) {
  (void)state;
  static const char *const others[] = {
      "root:x:0:0:root:/root:/bin/bash\n", "12 monkeys", "-1", "0", "\n", "99999999999999999999"};
  for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
    put(others[i]);
    assert_int_equal(pt_pid_file_write(path, 0, err, sizeof err), -EEXIST);
    assert_non_null(strstr(err, "something else"));
    assert_string_equal(content(), others[i]);
    assert_int_equal(pt_pid_file_remove(path), -ENOENT);
  }
  unlink(path);
}

static void nowhere(void **state) {
  (void)state;
  assert_int_equal(pt_pid_file_write("/nowhere/puerta.pid", 0, err, sizeof err), -ENOENT);
  assert_string_equal(err, "pid file /nowhere/puerta.pid: No such file or directory");
  assert_int_equal(pt_pid_file_write(dir, 0, err, sizeof err), -EISDIR);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(is_written_and_removed),
      cmocka_unit_test(a_living_process_is_not_replaced),
      cmocka_unit_test(an_empty_one_names_nobody),
      cmocka_unit_test(another_file_is_left_alone),
      cmocka_unit_test(nowhere),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
