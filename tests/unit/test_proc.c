/* Whether another process has ended, with and without a descriptor of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"

static pid_t child(unsigned ms) {
  pid_t pid = fork();
  if (!pid) {
    usleep(ms * 1000);
    _exit(0);
  }
  return pid;
}

static void one_that_lives(void **state) {
  (void)state;
  pt_proc p = pt_proc_open(child(60000));
  assert_true(p.pid > 0);
  assert_false(pt_proc_ended(&p, 0));
  assert_false(pt_proc_ended(&p, 20));
  pt_proc_kill(&p);
  assert_true(pt_proc_ended(&p, 0)); /* though nobody has waited for it */
  pt_proc_close(&p);
  assert_int_equal(p.fd, -1);
  waitpid(p.pid, NULL, 0);
}

static void on_alarm(int sig) { (void)sig; }

static void signals_do_not_end_the_wait(void **state) {
  (void)state;
  struct sigaction a = {.sa_handler = on_alarm};
  struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
  pt_proc p = pt_proc_open(child(100));
  sigaction(SIGALRM, &a, NULL);
  setitimer(ITIMER_REAL, &often, NULL);
  bool ended = pt_proc_ended(&p, 10000);
  setitimer(ITIMER_REAL, &never, NULL);
  assert_true(ended);
  pt_proc_close(&p);
  waitpid(p.pid, NULL, 0);
}

static void without_a_descriptor(void **state) {
  (void)state;
  pt_proc p = {.pid = child(60000), .fd = -1};
  assert_false(pt_proc_ended(&p, 5));
  kill(p.pid, SIGKILL);
  waitpid(p.pid, NULL, 0);
  assert_true(pt_proc_ended(&p, 0));
  pt_proc_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_that_lives),
      cmocka_unit_test(signals_do_not_end_the_wait),
      cmocka_unit_test(without_a_descriptor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
