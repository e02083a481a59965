/* Puerta as a process among others: the limit of its files, its pid file, the user it becomes, and what its supervisor (systemd, or whoever typed
 * `puerta -d`) hears about it. Control thread. What goes wrong is in the log. */
#ifndef PT_CORE_PROCESS_H
#define PT_CORE_PROCESS_H

#include <sys/types.h>

#include "core/control.h"

typedef struct pt_process {
  const char *pid_file; /* NULL: none was written */
  const char *next_pid_file; /* of the process that this one replaces, NULL */
  int foreground; /* of pt_daemon_start; -1: nobody waits */
  bool ready; /* it has been told */
  const char *log; /* where it goes */
} pt_process;

/* First of all: raises the limit of open files to the hard one and says what it allows; writes the pid file. 0, or -1. */
int pt_process_begin(pt_process *p, const pt_config *cfg, const pt_overrides *over);

/* Once everything is bound: becomes cfg's user, and sees whether that one can read all that a reload would. 0, or -1: end at once. */
int pt_process_settle(const pt_process *p, const pt_config *cfg, const char *lua_path, const pt_script *script);

/* The user cfg makes of this process; its own when it names none, or one that does not exist. */
uid_t pt_process_user(const pt_config *cfg);
/* This process has replaced another: the pid file names it now, and the supervisor hears of it. It serves. */
void pt_process_take_over(pt_process *p, pid_t from);
/* A daemon's foreground may end: the start has succeeded. Of an upgrade that is so once it could take over; else pt_process_ready does it. */
void pt_process_release(pt_process *p);
/* It serves; only the first call counts. */
void pt_process_ready(pt_process *p);
/* Around a reload, whether it succeeds or not; generation: the one that serves. */
void pt_process_reloading(void);
void pt_process_reloaded(const pt_process *p, unsigned long long generation);
/* The end has begun and takes at most ms. */
void pt_process_stopping(unsigned long long ms);
/* Last of all: removes the pid file. */
void pt_process_end(pt_process *p);

#endif
