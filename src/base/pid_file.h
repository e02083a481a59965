/* The file that names our process to others. It appears whole or not at all (written beside its place and renamed). Control thread. */
#ifndef PT_BASE_PID_FILE_H
#define PT_BASE_PID_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Writes our process id. A file that names another process that lives is refused, unless that is `heir_of` (0: nobody), which an upgrade replaces; one that
 * is no pid file at all is not touched. 0, or -errno (-EEXIST: refused) with what is wrong in err. */
int pt_pid_file_write(const char *path, pid_t heir_of, char *err, size_t errsize);

/* Removes it if it names us: not the one of a process that has replaced us. 0, -ENOENT: it is not ours, -errno: it stays. */
int pt_pid_file_remove(const char *path);

#endif
