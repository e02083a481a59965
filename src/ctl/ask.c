#include "ctl/ask.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/run_dir.h"

enum {
  WAIT_S = 10,
  ANSWER_MAX = 64 * 1024 * 1024
};

/* ---- connecting ---- */

static int fail(int fd, char *err, size_t errsize, const char *at, const char *why) {
  if (fd >= 0)
    close(fd);
  snprintf(err, errsize, "%s: %s", at, why);
  return -1;
}

static void be_patient(int fd) {
  struct timeval t = {.tv_sec = WAIT_S};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

static int connect_unix(const char *path, char *err, size_t errsize) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof a.sun_path)
    return fail(-1, err, errsize, path, "the path is too long");
  strcpy(a.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return fail(fd, err, errsize, path, strerror(errno));
  be_patient(fd);
  return connect(fd, (struct sockaddr *)&a, sizeof a) ? fail(fd, err, errsize, path, strerror(errno)) : fd;
}

static int connect_tcp(const char *at, char *err, size_t errsize) {
  struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list = NULL;
  char host[256];
  const char *colon = strrchr(at, ':');
  size_t n = colon ? (size_t)(colon - at) : 0;
  if (!n || n >= sizeof host)
    return fail(-1, err, errsize, at, "expected unix:/path or host:port");
  bool brackets = at[0] == '[' && at[n - 1] == ']';
  snprintf(host, sizeof host, "%.*s", (int)(brackets ? n - 2 : n), at + brackets);
  int e = getaddrinfo(host, colon + 1, &want, &list), fd = -1, why = 0;
  if (e)
    return fail(-1, err, errsize, at, gai_strerror(e));
  for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
    fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
      be_patient(fd);
    if (fd >= 0 && !connect(fd, a->ai_addr, a->ai_addrlen))
      break;
    why = errno;
    if (fd >= 0)
      close(fd);
    fd = -1;
  }
  freeaddrinfo(list);
  return fd < 0 ? fail(-1, err, errsize, at, strerror(why)) : fd;
}

/* The socket of one of the run directories; only one that nobody else can have put there. */
static int connect_default(char *err, size_t errsize) {
  char dirs[3][80] = {"/run/puerta"}, path[256];
  struct stat st;
  const char *xdg = getenv("XDG_RUNTIME_DIR");
  if (xdg && *xdg == '/')
    snprintf(dirs[1], sizeof dirs[1], "%s/puerta", xdg);
  snprintf(dirs[2], sizeof dirs[2], "/tmp/puerta-%u", (unsigned)geteuid());
  for (unsigned i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "%s/admin.sock", dirs[i]);
    if (dirs[i][0] && !stat(path, &st) && !pt_run_dir_take(dirs[i], i == 0))
      return connect_unix(path, err, errsize);
  }
  snprintf(err, errsize,
           "no admin.sock in %s%s%s or %s: has the running puerta `admin = {}` in its configuration? Else say --admin", dirs[0],
           dirs[1][0] ? ", " : "", dirs[1], dirs[2]);
  return -1;
}

/* ---- HTTP ---- */

static int send_all(int fd, const char *p, size_t n) {
  while (n) {
    ssize_t put = send(fd, p, n, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR)
      continue;
    if (put <= 0)
      return -1;
    p += put;
    n -= (size_t)put;
  }
  return 0;
}

/* Everything until the server closes; it was asked to. */
static int read_all(int fd, pt_ctl_answer *out) {
  size_t cap = 0;
  for (;;) {
    if (out->n + 1 >= cap) {
      cap = cap ? cap * 2 : 64 * 1024;
      char *more = cap > ANSWER_MAX ? NULL : realloc(out->body, cap);
      if (!more)
        return -1;
      out->body = more;
    }
    ssize_t got = recv(fd, out->body + out->n, cap - out->n - 1, 0);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return -1;
    if (!got)
      break;
    out->n += (size_t)got;
  }
  out->body[out->n] = 0;
  return 0;
}

/* Takes the head off. The server tells the length, and a shorter body was cut. */
static int parse(pt_ctl_answer *out) {
  char *end = strstr(out->body, "\r\n\r\n"), *length;
  if (!end || sscanf(out->body, "HTTP/1.%*d %d", &out->status) != 1)
    return -1;
  *end = 0;
  length = strcasestr(out->body, "\r\ncontent-length:");
  size_t head = (size_t)(end + 4 - out->body), want = length ? strtoul(length + 17, NULL, 10) : out->n - head;
  out->n -= head;
  memmove(out->body, out->body + head, out->n + 1);
  return out->n == want ? 0 : -1;
}

int pt_ctl_ask(const pt_ctl_server *s, const char *method, const char *path, pt_ctl_answer *out, char *err, size_t errsize) {
  char head[1024];
  const char *at = s->at ? s->at : "the admin socket";
  bool local = !s->at || !strncmp(s->at, "unix:", 5);
  *out = (pt_ctl_answer){0};
  int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: 0\r\n%s%s%s\r\n",
                   method, path, local ? "localhost" : s->at, s->token ? "Authorization: Bearer " : "", s->token ? s->token : "",
                   s->token ? "\r\n" : "");
  if (n < 0 || (size_t)n >= sizeof head)
    return fail(-1, err, errsize, at, "the address or the token is too long");
  int fd = !s->at  ? connect_default(err, errsize)
           : local ? connect_unix(s->at + 5, err, errsize)
                   : connect_tcp(s->at, err, errsize);
  if (fd < 0)
    return -1;
  if (send_all(fd, head, (size_t)n) || read_all(fd, out)) {
    free(out->body);
    return fail(fd, err, errsize, at, errno == EAGAIN ? "no answer in time" : strerror(errno));
  }
  if (!parse(out)) {
    close(fd);
    return 0;
  }
  free(out->body);
  return fail(fd, err, errsize, at, "what answers is no puerta");
}
