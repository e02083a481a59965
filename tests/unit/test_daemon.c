/* What the foreground of a daemon ends with, and what the daemon keeps of its terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/daemon.h"

static int from, to; /* a pipe: what a daemon wrote */

/* Runs daemon(ready) as one, with its stderr in the pipe (or where err says); its foreground's wait status. */
static int run(void (*daemon)(int), int err) {
  int ends[2], status;
  assert_int_equal(pipe(ends), 0);
  from = ends[0], to = ends[1];
  pid_t pid = fork();
  if (pid == 0) {
    dup2(err >= 0 ? err : to, STDERR_FILENO);
    close(from);
    close(to);
    daemon(pt_daemon_start("some.log"));
    _exit(0);
  }
  close(to);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

/* All of the pipe: returns when nobody holds its other end any more. */
static const char *said(void) {
  static char text[512];
  size_t n = 0;
  ssize_t got;
  while ((got = read(from, text + n, sizeof text - 1 - n)) > 0)
    n += (size_t)got;
  close(from);
  text[n] = 0;
  return text;
}

static void ready(int fd) {
  fprintf(stderr, "%d", (int)getpid());
  pt_daemon_ready(fd);
  for (;;)
    pause();
}

static void becomes_ready(void **state) {
  (void)state;
  assert_int_equal(run(ready, -1), 0);
  pid_t pid = atoi(said()); /* comes to its end while the daemon lives: whoever captures the output of puerta -d is not held up */
  assert_true(pid > 0);
  assert_int_equal(getsid(pid), pid);
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void fails(int fd) {
  (void)fd;
  fprintf(stderr, "why\n");
  _exit(7);
}

static void dies(int fd) {
  (void)fd;
  signal(SIGABRT, SIG_DFL);
  raise(SIGABRT);
}

static void ends_early(int fd) { (void)fd; }

static void does_not_become_ready(void **state) {
  (void)state;
  int status = run(fails, -1);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 7);
  assert_string_equal(said(), "why\npuerta: the daemon did not start; some.log says why\n");
  status = run(dies, -1);
  assert_int_equal(WEXITSTATUS(status), 128 + SIGABRT);
  assert_non_null(strstr(said(), "died before it was ready: Aborted"));
  status = run(ends_early, -1);
  assert_int_equal(WEXITSTATUS(status), 1);
  said();
}

static void writes_later(int fd) {
  pt_daemon_ready(fd);
  fprintf(stderr, "later\n");
  if (!pt_daemon_keeps_stderr())
    _exit(1);
}

static void keeps_a_file_for_its_stderr(void **state) {
  (void)state;
  char text[16] = "";
  int file = memfd_create("stderr", MFD_CLOEXEC);
  assert_int_equal(run(writes_later, file), 0);
  said();
  assert_int_equal(waitpid(-1, NULL, 0) > 0, 1); /* the daemon has ended */
  assert_int_equal(pread(file, text, sizeof text - 1, 0), 6);
  assert_string_equal(text, "later\n");
  close(file);
}

/* Daemons become children of ours when their foregrounds end. */
static int adopt(void **state) {
  (void)state;
  return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(becomes_ready),
      cmocka_unit_test(does_not_become_ready),
      cmocka_unit_test(keeps_a_file_for_its_stderr),
  };
  return cmocka_run_group_tests(tests, adopt, NULL);
}
