#include "base/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  OTHERS = 077,
  OTHERS_WRITE = 022
};

/* What is open, not what the path may name a moment later, is looked at. */
static int check(int fd, bool by_root) {
  struct stat st;
  if (fstat(fd, &st))
    return -errno;
  if (by_root)
    return st.st_mode & OTHERS_WRITE ? -EPERM : faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) ? -errno : 0;
  if (st.st_uid != geteuid())
    return -EPERM;
  return (st.st_mode & OTHERS) && fchmod(fd, 0700) ? -errno : 0;
}

int pt_run_dir_take(const char *path, bool by_root) {
  if (mkdir(path, 0700) && errno != EEXIST)
    return -errno;
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return errno == EACCES ? -EPERM : -errno;
  int e = check(fd, by_root);
  close(fd);
  return e;
}

int pt_run_dir(char *out, size_t cap) {
  const char *xdg = getenv("XDG_RUNTIME_DIR");
  int n = snprintf(out, cap, "/run/puerta");
  if (n < (int)cap && !pt_run_dir_take(out, true))
    return 0;
  if (xdg && *xdg == '/') {
    n = snprintf(out, cap, "%s/puerta", xdg);
    if (n < (int)cap && !pt_run_dir_take(out, false))
      return 0;
  }
  n = snprintf(out, cap, "/tmp/puerta-%u", (unsigned)geteuid());
  return n < (int)cap ? pt_run_dir_take(out, false) : -ENAMETOOLONG;
}
