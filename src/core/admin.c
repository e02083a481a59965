#include "core/admin.h"

#include <errno.h>
#include <ev.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/run_dir.h"
#include "core/admin_page.h"
#include "core/admin_paths.h"
#include "net/address.h"

enum {
  CONNECTIONS = 64,
  IDLE_S = 10, /* a connection that says nothing, or does not read, for so long is closed */
  MEMORY = 32 * 1024, /* of a connection: request line and headers */
  BODY_MAX = 64 * 1024, /* bodies are of no use here */
  BACKLOG = 64,
  PAUSE_MS = 100 /* no descriptor was left */
};

struct pt_admin {
  struct ev_loop *loop;
  struct MHD_Daemon *http;
  pt_admin_hooks hooks;
  int fd;
  char path[sizeof((struct sockaddr_un *)0)->sun_path]; /* "": an address */
  dev_t device; /* of the socket file */
  ino_t inode;
  ev_io accepts, works;
  ev_timer timer, pause;
};

/* ---- who may ---- */

static const char *header(struct MHD_Connection *c, const char *name) {
  return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* In time that does not depend on how much of it is right. */
static bool knows(struct MHD_Connection *c, const char *token) {
  static const char bearer[] = "Bearer ";
  const char *given = header(c, MHD_HTTP_HEADER_AUTHORIZATION);
  uint8_t a[PT_SHA256], b[PT_SHA256];
  if (!given || strncasecmp(given, bearer, sizeof bearer - 1))
    return false;
  given += sizeof bearer - 1;
  return !pt_sha256(&(pt_piece){given, strlen(given)}, 1, a) && !pt_sha256(&(pt_piece){token, strlen(token)}, 1, b) &&
         pt_equal_secret(a, b, sizeof a);
}

/* "localhost", "127.0.0.1:9901", "[::1]": no name that a foreign name server could point here. */
static bool is_local_host(const char *host) {
  char name[PT_ADDRESS_TEXT];
  pt_address a;
  size_t n = strlen(host);
  const char *colon = strrchr(host, ':');
  if (colon && !strchr(colon, ']') && (host[0] == '[' || colon == strchr(host, ':')))
    n = (size_t)(colon - host);
  if (n >= sizeof name)
    return false;
  memcpy(name, host, n);
  name[n] = 0;
  return !strcasecmp(name, "localhost") || !pt_address_parse(&a, name, 0);
}

/* A page of ours, not one that somebody else has made. */
static bool is_own_origin(const char *origin, const char *host) {
  const char *at = strstr(origin, "://");
  return host && at && (!strncmp(origin, "http:", 5) || !strncmp(origin, "https:", 6)) && !strcasecmp(at + 3, host);
}

/* 0, or the status of the refusal, which is written to out. */
static unsigned refusal(pt_admin *a, struct MHD_Connection *c, const pt_admin_path *p, const char *token, FILE *out) {
  static pt_log_rate rate;
  const char *host = header(c, MHD_HTTP_HEADER_HOST), *origin = header(c, MHD_HTTP_HEADER_ORIGIN);
  if (token && !p->open && !knows(c, token)) {
    pt_log_every(&rate, PT_LOG_WARN, "admin", "%s asked for without the token", p->path);
    fputs("this needs the token of option admin: Authorization: Bearer TOKEN\n", out);
    return MHD_HTTP_UNAUTHORIZED;
  }
  if (!token && !a->path[0] && host && !is_local_host(host)) {
    fputs("without option admin.token only localhost and numeric addresses are served as Host\n", out);
    return MHD_HTTP_FORBIDDEN;
  }
  if (p->post && origin && !is_own_origin(origin, host)) {
    fputs("a page of another origin may not do this\n", out);
    return MHD_HTTP_FORBIDDEN;
  }
  return 0;
}

/* ---- requests ---- */

static const char *argument(void *query, const char *name) {
  return MHD_lookup_connection_value(query, MHD_GET_ARGUMENT_KIND, name);
}

static const pt_admin_path *find(const char *url) {
  for (const pt_admin_path *p = pt_admin_paths; p->path; p++)
    if (!strcmp(p->path, url))
      return p;
  return NULL;
}

static unsigned serve(pt_admin *a, struct MHD_Connection *c, const pt_admin_path *p, const char *method, FILE *out,
                      const char **type) {
  pt_survey now;
  a->hooks.look(a->hooks.arg, &now);
  if (!p) {
    fputs("no such path; /help lists them\n", out);
    return MHD_HTTP_NOT_FOUND;
  }
  unsigned no = refusal(a, c, p, now.cfg->admin.token, out);
  if (no)
    return no;
  bool get = !strcmp(method, MHD_HTTP_METHOD_GET) || !strcmp(method, MHD_HTTP_METHOD_HEAD);
  if (p->post ? strcmp(method, MHD_HTTP_METHOD_POST) : !get) {
    fprintf(out, "%s wants %s\n", p->path, p->post ? "POST" : "GET");
    return MHD_HTTP_METHOD_NOT_ALLOWED;
  }
  pt_admin_request r = {
      .hooks = &a->hooks, .loop = a->loop, .ours = a->path[0] != 0, .query = c, .argument = argument, .out = out, .type = *type};
  int code = p->serve(&r);
  *type = r.type;
  return (unsigned)code;
}

static void headers(struct MHD_Response *r, unsigned code, const pt_admin_path *p, const char *type) {
  MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
  MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
  MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
  MHD_add_response_header(r, "Content-Security-Policy", pt_admin_page_csp);
  if (code == MHD_HTTP_UNAUTHORIZED)
    MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
  if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
    MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, p->post ? "POST" : "GET, HEAD");
}

static enum MHD_Result answer(pt_admin *a, struct MHD_Connection *c, const char *url, const char *method) {
  char *body = NULL;
  size_t n = 0;
  const pt_admin_path *p = find(url);
  const char *type = "text/plain; charset=utf-8";
  FILE *out = open_memstream(&body, &n);
  if (!out)
    return MHD_NO;
  unsigned code = serve(a, c, p, method, out, &type);
  if (fclose(out)) {
    free(body);
    return MHD_NO;
  }
  struct MHD_Response *r = MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE);
  if (!r) {
    free(body);
    return MHD_NO;
  }
  headers(r, code, p, type);
  enum MHD_Result done = MHD_queue_response(c, code, r);
  MHD_destroy_response(r);
  return done;
}

/* Called for the headers, for each piece of a body, and at the end; *state counts 1 and the bytes. */
static enum MHD_Result on_request(void *admin, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                                  const char *body, size_t *n, void **state) {
  (void)version, (void)body;
  uintptr_t seen = (uintptr_t)*state;
  *state = (void *)(seen + (seen ? 0 : 1) + *n);
  if (seen + *n > BODY_MAX)
    return MHD_NO;
  if (seen && !*n)
    return answer(admin, c, url, method);
  *n = 0;
  return MHD_YES;
}

/* ---- the loop ---- */

static void work(pt_admin *a) {
  unsigned long long ms;
  MHD_run(a->http);
  ev_timer_stop(a->loop, &a->timer);
  if (MHD_get_timeout(a->http, &ms) == MHD_YES) {
    ev_timer_set(&a->timer, (double)ms / 1000, 0.);
    ev_timer_start(a->loop, &a->timer);
  }
}

static void on_work(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop, (void)events;
  work(io->data);
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  work(t->data);
}

static void on_pause(struct ev_loop *loop, ev_timer *t, int events) {
  (void)events;
  pt_admin *a = t->data;
  ev_io_start(loop, &a->accepts);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events) {
  (void)events;
  pt_admin *a = io->data;
  pt_address from = {.len = sizeof from.in6};
  struct sockaddr_un local = {.sun_family = AF_UNIX};
  bool here = a->path[0];
  int fd = accept4(io->fd, here ? NULL : &from.sa, here ? NULL : &from.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) {
    MHD_add_connection(a->http, fd, here ? (struct sockaddr *)&local : &from.sa, here ? sizeof local.sun_family : from.len);
    work(a); /* above its limit the connection has been closed */
  } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
    static pt_log_rate rate;
    pt_log_every(&rate, PT_LOG_ERROR, "admin", "cannot accept: %s", strerror(errno));
    ev_io_stop(loop, io);
    ev_timer_set(&a->pause, PAUSE_MS / 1000., 0.);
    ev_timer_start(loop, &a->pause);
  }
}

/* ---- the socket ---- */

/* Made under another name and moved into place, so that the one who serves there until now (an upgrade), or has left it behind, gives way. */
static int listen_unix(pt_admin *a, const char *path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  struct stat st;
  int n = snprintf(at.sun_path, sizeof at.sun_path, "%s.%x", path, (unsigned)getpid() & 0xffffu);
  if (n < 0 || (size_t)n >= sizeof at.sun_path)
    return -ENAMETOOLONG;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return -errno;
  unlink(at.sun_path);
  mode_t was = umask(0177);
  int e = bind(fd, (struct sockaddr *)&at, sizeof at) ? -errno : 0;
  umask(was);
  if (e)
    goto out;
  if (listen(fd, BACKLOG) || stat(at.sun_path, &st) || rename(at.sun_path, path)) {
    e = -errno;
    unlink(at.sun_path);
    goto out;
  }
  snprintf(a->path, sizeof a->path, "%s", path);
  a->device = st.st_dev;
  a->inode = st.st_ino;
  return fd;
out:
  close(fd);
  return e;
}

/* The new process of an upgrade binds while the old one still serves. */
static int listen_tcp(const pt_hostport *bind_to) {
  pt_address at;
  return pt_address_parse(&at, bind_to->host, bind_to->port) ? -EINVAL : pt_listen(&at, BACKLOG);
}

static int listen_at(pt_admin *a, const pt_admin_config *ac, char *shown, size_t cap) {
  char dir[sizeof a->path];
  if (ac->bind.host) {
    snprintf(shown, cap, strchr(ac->bind.host, ':') ? "[%s]:%u" : "%s:%u", ac->bind.host, ac->bind.port);
    return listen_tcp(&ac->bind);
  }
  if (ac->path) {
    snprintf(shown, cap, "unix:%s", ac->path);
    return listen_unix(a, ac->path);
  }
  int e = pt_run_dir(dir, sizeof dir);
  snprintf(shown, cap, "unix:%s/admin.sock", dir);
  return e ? e : listen_unix(a, shown + 5);
}

/* ---- life ---- */

static void watch(pt_admin *a, const union MHD_DaemonInfo *epoll) {
  ev_io_init(&a->accepts, on_accept, a->fd, EV_READ);
  ev_io_init(&a->works, on_work, epoll->epoll_fd, EV_READ);
  a->accepts.data = a->works.data = a->timer.data = a->pause.data = a;
  ev_io_start(a->loop, &a->accepts);
  ev_io_start(a->loop, &a->works);
}

pt_admin *pt_admin_start(struct ev_loop *loop, const pt_config *cfg, const pt_admin_hooks *hooks) {
  char shown[300];
  pt_admin *a = calloc(1, sizeof *a);
  if (!a)
    return NULL;
  a->loop = loop;
  a->hooks = *hooks;
  ev_timer_init(&a->timer, on_timer, 0., 0.);
  ev_timer_init(&a->pause, on_pause, 0., 0.);
  a->fd = listen_at(a, &cfg->admin, shown, sizeof shown);
  if (a->fd < 0) {
    pt_error("admin", "%s: admin: cannot listen at %s: %s", cfg->admin.where, shown, strerror(-a->fd));
    goto fail;
  }
  a->http = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, a, MHD_OPTION_CONNECTION_LIMIT,
                             (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY, MHD_OPTION_END);
  const union MHD_DaemonInfo *epoll = a->http ? MHD_get_daemon_info(a->http, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
  if (!epoll) {
    pt_error("admin", "the HTTP server does not start: out of memory or descriptors");
    goto fail;
  }
  watch(a, epoll);
  pt_info("admin", "%s", shown);
  return a;
fail:
  pt_admin_stop(a);
  return NULL;
}

void pt_admin_stop(pt_admin *a) {
  struct stat st;
  if (!a)
    return;
  ev_timer_stop(a->loop, &a->timer);
  ev_timer_stop(a->loop, &a->pause);
  ev_io_stop(a->loop, &a->accepts);
  ev_io_stop(a->loop, &a->works);
  if (a->http)
    MHD_stop_daemon(a->http);
  if (a->fd >= 0)
    close(a->fd);
  if (a->path[0] && !stat(a->path, &st) && st.st_dev == a->device && st.st_ino == a->inode)
    unlink(a->path);
  free(a);
}
