#include "base/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file of at most size - 1 bytes, as text. Its length, -errno. O_NONBLOCK: it may be a pipe. */
static ssize_t read_small(const char *path, char *out, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0)
    return -errno;
  ssize_t n = read(fd, out, size - 1);
  if (n < 0)
    n = -errno;
  close(fd);
  out[n > 0 ? n : 0] = 0;
  return n;
}

/* The process the file names; 0: none, it is empty or not there; -EINVAL: it is something else; -errno. */
static pid_t named(const char *path) {
  char text[32], *end;
  ssize_t n = read_small(path, text, sizeof text);
  if (n <= 0)
    return n == -ENOENT ? 0 : (pid_t)n;
  long pid = strtol(text, &end, 10);
  while (*end == ' ' || *end == '\n')
    end++;
  return *end || end == text || pid <= 0 || pid > INT_MAX ? -EINVAL : (pid_t)pid;
}

/* Whether it lives (a zombie does not), and what it is called, "?" when that is not to be seen. */
static int lives(pid_t pid, char *name, size_t size) {
  char path[32], stat[128];
  if (kill(pid, 0) && errno == ESRCH)
    return 0;
  snprintf(name, size, "?");
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  if (read_small(path, stat, sizeof stat) <= 0)
    return 1;
  char *open = strchr(stat, '('), *close = strrchr(stat, ')'); /* 123 (name) S ... */
  if (!open || !close)
    return 1;
  *close = 0;
  snprintf(name, size, "%s", open + 1);
  return close[1] != ' ' || (close[2] != 'Z' && close[2] != 'X');
}

static int write_beside(const char *path, const char *beside) {
  char text[16];
  int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
  unlink(beside);
  int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0)
    return -errno;
  int e = write(fd, text, (size_t)n) == n ? 0 : -EIO;
  close(fd);
  if (!e && rename(beside, path))
    e = -errno;
  if (e)
    unlink(beside);
  return e;
}

int pt_pid_file_write(const char *path, pid_t heir_of, char *err, size_t errsize) {
  char beside[PATH_MAX], name[32];
  pid_t other = named(path);
  if (other == -EINVAL) {
    snprintf(err, errsize, "pid file %s: it is there and holds something else than a process id; name another file, or remove it",
             path);
    return -EEXIST;
  }
  if (other > 0 && other != getpid() && other != heir_of && lives(other, name, sizeof name)) {
    snprintf(err, errsize, "pid file %s: it names process %d (%s), which lives; stop that one, or remove the file", path,
             (int)other, name);
    return -EEXIST;
  }
  int e = other < 0                                                                               ? other
          : (size_t)snprintf(beside, sizeof beside, "%s.%d", path, (int)getpid()) < sizeof beside ? 0
                                                                                                  : -ENAMETOOLONG;
  if (!e)
    e = write_beside(path, beside);
  if (e)
    snprintf(err, errsize, "pid file %s: %s", path, strerror(-e));
  return e;
}

int pt_pid_file_remove(const char *path) {
  pid_t pid = named(path);
  if (pid < 0 && pid != -EINVAL)
    return pid;
  if (pid != getpid())
    return -ENOENT;
  return unlink(path) ? -errno : 0;
}
