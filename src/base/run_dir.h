/* The run directory: where sockets that only we may use lie (admin.sock, the one of upgrades). Any thread but for changes of the environment.
 *
 *   /run/puerta                when it is there and ours to write, or can be made (root; systemd's RuntimeDirectory)
 *   $XDG_RUNTIME_DIR/puerta    else, when that is set
 *   /tmp/puerta-<uid>          else
 *
 * A directory made here has mode 0700. One that is there must be a real one (no link) and belong to us, and nobody else may write to it; below
 * /run, where only root makes directories, it is enough that we may write.
 */
#ifndef PT_BASE_RUN_DIR_H
#define PT_BASE_RUN_DIR_H

#include <stdbool.h>
#include <stddef.h>

/* The run directory's path, made when it is not there. 0, or -errno: -EPERM, the last of them belongs to somebody else; -ENAMETOOLONG, cap. */
int pt_run_dir(char *out, size_t cap);
/* Makes path, or checks it by the rules above. by_root: only root can have made it. 0 or -errno. */
int pt_run_dir_take(const char *path, bool by_root);

#endif
