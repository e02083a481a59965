#include "base/proc.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  DEATH_MS = 1000
};

pt_proc pt_proc_open(pid_t pid) { return (pt_proc){.pid = pid, .fd = (int)syscall(SYS_pidfd_open, pid, 0)}; }

static bool has_ended(const pt_proc *p) {
  struct pollfd f = {.fd = p->fd, .events = POLLIN};
  int n;
  if (p->fd < 0)
    return kill(p->pid, 0) && errno == ESRCH;
  do
    n = poll(&f, 1, 0);
  while (n < 0 && errno == EINTR);
  return n > 0;
}

/* In short sleeps: a signal cuts one of them short, never the whole wait. */
bool pt_proc_ended(const pt_proc *p, int ms) {
  for (; !has_ended(p); ms--) {
    if (ms <= 0)
      return false;
    poll(NULL, 0, 1);
  }
  return true;
}

void pt_proc_kill(const pt_proc *p) {
  if (p->fd >= 0)
    syscall(SYS_pidfd_send_signal, p->fd, SIGKILL, NULL, 0);
  else
    kill(p->pid, SIGKILL);
  pt_proc_ended(p, DEATH_MS);
}

void pt_proc_close(pt_proc *p) {
  if (p->fd >= 0)
    close(p->fd);
  p->fd = -1;
}
