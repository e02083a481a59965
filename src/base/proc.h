/* Another process, held by a descriptor where the kernel has them (Linux 5.3): one that is given the same id later is not mistaken for it. Any thread. */
#ifndef PT_BASE_PROC_H
#define PT_BASE_PROC_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct pt_proc {
  pid_t pid;
  int fd; /* -1: the kernel has none; then one that has ended and is not waited for yet counts as living */
} pt_proc;

/* pid: > 0, of a process that lives. The caller ends with pt_proc_close. */
pt_proc pt_proc_open(pid_t pid);
/* It has ended, or does so within ms (blocks; signals do not shorten it by more than 1 ms each). */
bool pt_proc_ended(const pt_proc *p, int ms);
/* SIGKILL; waits until it is dead, a second at most. */
void pt_proc_kill(const pt_proc *p);
void pt_proc_close(pt_proc *p);

#endif
