#include "base/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log_target.h"

/* A byte means ready; an end without one, that the daemon has ended. */
static _Noreturn void foreground(pid_t daemon, int fd, const char *log) {
  char ready;
  ssize_t n;
  int status = 0;
  do
    n = read(fd, &ready, 1);
  while (n < 0 && errno == EINTR);
  if (n == 1)
    _exit(0);
  while (waitpid(daemon, &status, 0) < 0 && errno == EINTR)
    ;
  if (WIFSIGNALED(status)) {
    fprintf(stderr, "puerta: the daemon died before it was ready: %s\n", strsignal(WTERMSIG(status)));
    _exit(128 + WTERMSIG(status));
  }
  if (log)
    fprintf(stderr, "puerta: the daemon did not start; %s says why\n", log);
  _exit(WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

int pt_daemon_start(const char *log) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC))
    return -errno;
  fflush(NULL); /* else both would write it */
  pid_t pid = fork();
  if (pid < 0) {
    int e = -errno;
    close(ends[0]);
    close(ends[1]);
    return e;
  }
  if (pid > 0) {
    close(ends[1]);
    foreground(pid, ends[0], log);
  }
  close(ends[0]);
  setsid(); /* cannot fail: we lead no group yet */
  return ends[1];
}

int pt_daemon_keeps_stderr(void) {
  struct stat st;
  return (fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode)) || pt_log_stderr_is_journal();
}

void pt_daemon_ready(int fd) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (null >= 0) {
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    if (!pt_daemon_keeps_stderr())
      dup2(null, STDERR_FILENO);
    if (null > STDERR_FILENO)
      close(null);
  }
  ssize_t n; /* a foreground that was killed meanwhile is nobody's loss */
  do
    n = write(fd, "", 1);
  while (n < 0 && errno == EINTR);
  close(fd);
}
