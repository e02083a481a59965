#include "base/log_target.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  LOOK_MS = 50 /* how often a wait looks whether it should end */
};

static int connect_to(const char *path) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof a.sun_path)
    return -ENAMETOOLONG;
  strcpy(a.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return -errno;
  if (connect(fd, (struct sockaddr *)&a, sizeof a)) {
    int e = -errno;
    close(fd);
    return e;
  }
  return fd;
}

/* O_NONBLOCK: a FIFO without a reader is an error and no wait. */
static int open_file(const char *path) {
  int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
  return fd < 0 ? -errno : fd;
}

/* systemd says by device and inode which stream leads to the journal; it may have been redirected since. */
bool pt_log_stderr_is_journal(void) {
  const char *stream = getenv("JOURNAL_STREAM");
  unsigned long long device, inode;
  struct stat s;
  return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &s) == 0 && s.st_dev == device &&
         s.st_ino == inode;
}

/* The path behind "name" or "name:/path"; NULL: to is something else. */
static const char *socket_of(const char *to, const char *name, const char *usual) {
  size_t n = strlen(name);
  if (strncmp(to, name, n))
    return NULL;
  return !to[n] ? usual : to[n] == ':' ? to + n + 1 : NULL;
}

pt_log_target *pt_log_target_open(const char *to, int *error) {
  pt_log_target *t = calloc(1, sizeof *t);
  const char *path;
  *error = -ENOMEM;
  if (!t)
    return NULL;
  t->fd = STDERR_FILENO;
  if (!strcmp(to, "stderr")) {
    t->kind = pt_log_stderr_is_journal() ? PT_LOG_STDERR_JOURNAL : PT_LOG_STDERR;
    return t;
  }
  if ((path = socket_of(to, "syslog", "/dev/log")))
    t->kind = PT_LOG_SYSLOG;
  else if ((path = socket_of(to, "journald", "/run/systemd/journal/socket")))
    t->kind = PT_LOG_JOURNAL;
  else
    t->kind = PT_LOG_FILE;
  t->path = strdup(path ? path : to);
  if (t->path) {
    t->fd = *error = t->kind == PT_LOG_FILE ? open_file(t->path) : connect_to(t->path);
    if (t->fd >= 0)
      return t;
  }
  pt_log_target_free(t);
  return NULL;
}

void pt_log_target_free(pt_log_target *t) {
  if (t && t->path && t->fd >= 0)
    close(t->fd);
  if (t)
    free(t->path);
  free(t);
}

static pt_log_form form_of(const pt_log_target *t, bool json) {
  switch (t->kind) {
  case PT_LOG_STDERR_JOURNAL:
    return json ? PT_FORM_PREFIX_JSON : PT_FORM_PREFIX;
  case PT_LOG_SYSLOG:
    return json ? PT_FORM_SYSLOG_JSON : PT_FORM_SYSLOG;
  case PT_LOG_JOURNAL:
    return PT_FORM_JOURNAL;
  default:
    return json ? PT_FORM_JSON : PT_FORM_TEXT;
  }
}

/* A syslog or journal that was restarted: its socket is another one. */
static bool again(pt_log_target *t, int e) {
  if ((t->kind != PT_LOG_SYSLOG && t->kind != PT_LOG_JOURNAL) ||
      (e != ECONNREFUSED && e != ENOTCONN && e != ECONNRESET && e != ENOENT))
    return false;
  int fd = connect_to(t->path);
  if (fd < 0)
    return false;
  close(t->fd);
  t->fd = fd;
  return true;
}

/* A pipe that is writable takes a whole line (PIPE_BUF), so write(2) is asked only then; O_NONBLOCK on a stderr would be everybody's who has it. */
int pt_log_target_write(pt_log_target *t, const pt_log_line *l, bool json, int patience, bool (*go_on)(void *), void *arg) {
  char bytes[PT_LOG_LINE];
  size_t n = pt_log_line_write(l, form_of(t, json), bytes), at = 0;
  bool retried = false;
  while (at < n) {
    struct pollfd p = {.fd = t->fd, .events = POLLOUT};
    int wait = patience < LOOK_MS ? patience : LOOK_MS;
    if (go_on && !go_on(arg))
      return -ECANCELED;
    int r = poll(&p, 1, wait);
    if (r == 0) {
      if ((patience -= wait) <= 0)
        return -ETIMEDOUT;
      continue;
    }
    ssize_t wrote = r < 0 ? -1 : write(t->fd, bytes + at, n - at);
    if (wrote >= 0) {
      at += (size_t)wrote;
    } else if (errno == EAGAIN) {
      struct timespec moment = {0, 1000000}; /* poll has another opinion */
      nanosleep(&moment, NULL);
      if (--patience <= 0)
        return -ETIMEDOUT;
    } else if (errno != EINTR && (retried || !(retried = again(t, errno)))) {
      return -errno;
    }
  }
  return 0;
}
