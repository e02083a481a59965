/* The process that will replace this one, started by it: so it has the same parent's place, environment, directory and limits (a unit of systemd keeps its
 * cgroup). Control thread. */
#ifndef PT_CORE_SPAWN_H
#define PT_CORE_SPAWN_H

#include <sys/types.h>

/* Starts binary (NULL: what now stands where this process's own was) with this process's arguments and --upgrade. Its pid, or -errno. */
pid_t pt_spawn_heir(const char *binary, char *const *argv);
/* The next child that has ended, <= 0: none. how: as waitpid says; 0: in good order (one that puts itself in the background does). */
pid_t pt_spawn_reap(int *how);

#endif
