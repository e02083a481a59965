#include "core/taker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proc.h"
#include "base/version.h"
#include "core/parcel.h"

enum {
  ANSWER_S = 10, /* the running process answers within */
  DEATH_MS = 1000 /* one that dies closes its sockets so long before it is dead */
};

struct pt_taker {
  pt_taker_env env;
  int fd;
  pt_proc old; /* the old process */
  uint16_t format;
  pt_heritage *heritage;
  ev_io io;
  int map[PT_HO_LISTENERS]; /* its listeners' indexes here, -1: not served here */
  bool begun;
  bool owed; /* clients have come since the last GO */
  uint8_t msg[PT_HO_MAX];
};

/* ---- before the start ---- */

static int send_message(pt_taker *t, pt_ho_kind kind, const void *what) {
  uint8_t msg[1024];
  static uint8_t large[PT_HO_MAX];
  int n = pt_ho_write(large, t->format, kind, what);
  if (n < 0 || n > (int)sizeof msg)
    return -EMSGSIZE;
  return pt_unix_send(t->fd, large, (size_t)n, NULL, 0);
}

static char *text(pt_ho_blob b) { return strndup(b.n ? b.at : "", b.n); }

static int add_listener(pt_heritage *h, const pt_ho_listener *m, int fds[PT_UNIX_FDS]) {
  pt_heir *more = h->n < PT_HO_LISTENERS ? realloc(h->at, (h->n + 1) * sizeof *more) : NULL;
  if (!more)
    return -ENOMEM;
  h->at = more;
  pt_heir *l = &more[h->n++];
  *l = (pt_heir){.name = text(m->name),
                 .kind = (pt_listener_kind)m->kind,
                 .per_request = m->mode,
                 .bind = {.host = text(m->host), .port = m->port},
                 .fd = fds[0],
                 .table = m->table ? fds[1] : -1,
                 .secret = m->secret,
                 .view = m->view};
  memcpy(l->process_id, m->process_id, sizeof l->process_id);
  fds[0] = -1;
  if (m->table)
    fds[1] = -1;
  return l->name && l->bind.host ? 0 : -ENOMEM;
}

static int add_backend(pt_heritage *h, const pt_ho_backend *m) {
  pt_heir *l = m->listener < h->n ? &h->at[m->listener] : NULL;
  pt_heir_backend *more = l && l->nbackends < 4096 ? realloc(l->backends, (l->nbackends + 1) * sizeof *more) : NULL;
  if (!more)
    return l ? -ENOMEM : -EPROTO;
  l->backends = more;
  more[l->nbackends] = (pt_heir_backend){.name = text(m->name), .id = m->id, .epoch = m->epoch};
  return more[l->nbackends++].name ? 0 : -ENOMEM;
}

static int add_node(pt_heritage *h, const pt_ho_node *m) {
  pt_heir *l = m->listener < h->n ? &h->at[m->listener] : NULL;
  pt_hostport *more = l && l->nnodes < 4096 ? realloc(l->nodes, (l->nnodes + 1) * sizeof *more) : NULL;
  if (!more)
    return l ? -ENOMEM : -EPROTO;
  l->nodes = more;
  more[l->nnodes] = (pt_hostport){.host = text(m->host), .port = m->port};
  return more[l->nnodes++].host ? 0 : -ENOMEM;
}

static int on_hello(pt_taker *t, const pt_ho_hello *m) {
  if (m->newest < PT_HO_OLDEST || m->oldest > PT_HO_FORMAT)
    return -EPROTO;
  t->format = m->newest < PT_HO_FORMAT ? m->newest : PT_HO_FORMAT;
  pt_info("upgrade", "taking over from process %d (puerta %.*s)", (int)t->old.pid, (int)(m->version.n < 32 ? m->version.n : 32),
          (const char *)m->version.at);
  return 0;
}

static int refused(const pt_ho_text *m) {
  pt_error("upgrade", "the running process refuses: %.*s", (int)m->text.n, (const char *)m->text.at);
  return -ECONNREFUSED;
}

/* One message of those before END. 1: it was END, 0, -ECONNREFUSED: it has been said why, else -errno. */
static int on_gift(pt_taker *t, size_t n, int fds[PT_UNIX_FDS], const char **why) {
  union {
    pt_ho_hello hello;
    pt_ho_text text;
    pt_ho_listener listener;
    pt_ho_backend backend;
    pt_ho_node node;
  } m;
  pt_ho_kind kind;
  if (pt_ho_check(t->msg, n, t->format, &kind, why))
    return -EPROTO;
  if (kind == PT_HO_END)
    return 1;
  if (kind != PT_HO_HELLO && kind != PT_HO_REFUSE && kind != PT_HO_LISTENER && kind != PT_HO_BACKEND && kind != PT_HO_NODE) {
    *why = "a message out of place";
    return -EPROTO;
  }
  if (pt_ho_read(t->msg, n, kind, &m, why))
    return -EPROTO;
  switch (kind) {
  case PT_HO_HELLO:
    return on_hello(t, &m.hello);
  case PT_HO_LISTENER:
    return add_listener(t->heritage, &m.listener, fds);
  case PT_HO_BACKEND:
    return add_backend(t->heritage, &m.backend);
  case PT_HO_NODE:
    return add_node(t->heritage, &m.node);
  default:
    return refused(&m.text);
  }
}

static void close_fds(int fds[PT_UNIX_FDS]) {
  for (unsigned i = 0; i < PT_UNIX_FDS; i++)
    if (fds[i] >= 0)
      close(fds[i]);
}

/* Everything up to END; e: how sending HELLO ended. 0, or -errno: it has been said why. */
static int receive(pt_taker *t, const char *path, int e) {
  const char *why = NULL;
  int fds[PT_UNIX_FDS];
  while (!e) {
    ssize_t n = pt_unix_recv(t->fd, t->msg, sizeof t->msg, fds);
    if (n <= 0)
      e = n ? (int)n : -ECONNRESET;
    else {
      e = on_gift(t, (size_t)n, fds, &why);
      close_fds(fds);
    }
  }
  if (e < 0 && e != -ECONNREFUSED)
    pt_error("upgrade", "%s: %s", path,
             why            ? why
             : e == -EAGAIN ? "the running process does not answer"
             : e == -ECONNRESET || e == -EPIPE
                 ? "the running process sent this one away: it is being upgraded already, or belongs to another user"
                 : strerror(-e));
  return e > 0 ? 0 : e;
}

pt_taker *pt_taker_connect(const char *path, uid_t user) {
  struct timeval limit = {.tv_sec = ANSWER_S};
  pt_ho_hello hello = {
      .oldest = PT_HO_OLDEST, .newest = PT_HO_FORMAT, .pid = (uint32_t)getpid(), .version = {PT_VERSION, sizeof PT_VERSION - 1}};
  uid_t uid = 0;
  pid_t pid = 0;
  int fd = pt_unix_connect(path), e;
  pt_taker *t = fd < 0 ? NULL : calloc(1, sizeof *t);
  if (!t || !(t->heritage = calloc(1, sizeof *t->heritage))) {
    pt_error("upgrade", "%s: %s", path,
             fd == -ENOENT || fd == -ECONNREFUSED ? "no puerta waits there to be upgraded"
             : fd < 0                             ? strerror(-fd)
                                                  : "out of memory");
    if (fd >= 0)
      close(fd);
    free(t);
    return NULL;
  }
  t->fd = fd;
  t->format = PT_HO_FORMAT;
  ev_io_init(&t->io, NULL, -1, 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  t->old.fd = -1;
  e = pt_unix_peer(fd, &pid, &uid);
  if (!e && uid != geteuid() && uid != 0 && uid != user)
    e = -EPERM;
  if (!e && !pid)
    e = -ESRCH;
  if (e)
    pt_error("upgrade", "%s: %s", path,
             e == -EPERM   ? "it belongs to another user"
             : e == -ESRCH ? "the running process is not to be seen from here (another PID namespace)"
                           : strerror(-e));
  else {
    t->old = pt_proc_open(pid);
    e = send_message(t, PT_HO_HELLO, &hello);
    e = receive(t, path, e);
  }
  if (!e)
    return t;
  pt_taker_free(t);
  return NULL;
}

pid_t pt_taker_pid(const pt_taker *t) { return t->old.pid; }

pt_heritage *pt_taker_heritage(pt_taker *t) { return t ? t->heritage : NULL; }

/* ---- clients ---- */

static void tell_workers(pt_taker *t, pt_msg what) {
  for (unsigned i = 0; i < t->env.nworkers; i++) {
    pt_msg *m = calloc(1, sizeof *m);
    if (!m)
      abort(); /* clients would wait for ever */
    *m = what;
    pt_inbox_post(&t->env.workers[i]->inbox, m);
  }
}

/* The index of its listener stands first in every message of a client. 0 or -errno. */
static int on_client(pt_taker *t, size_t n, int fds[PT_UNIX_FDS]) {
  const uint8_t *p = t->msg + PT_HO_HEADER;
  uint32_t i = n >= PT_HO_HEADER + 4 ? p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : UINT32_MAX;
  if (i >= PT_HO_LISTENERS || t->map[i] < 0)
    return -EPROTO;
  pt_msg *m = calloc(1, sizeof *m);
  pt_parcel *parcel = m ? pt_parcel_new(n) : NULL;
  if (!parcel) {
    free(m);
    return -ENOMEM;
  }
  memcpy(parcel->bytes, t->msg, parcel->n = (uint32_t)n);
  memcpy(parcel->fds, fds, sizeof parcel->fds);
  parcel->format = t->format;
  for (unsigned k = 0; k < PT_UNIX_FDS; k++)
    fds[k] = -1;
  *m = (pt_msg){.kind = PT_MSG_ARRIVE, .listener = (unsigned)t->map[i], .fd = -1, .parcel = parcel};
  pt_door_pass_on(&t->env.doors->doors[t->map[i]], m);
  t->owed = true;
  return 0;
}

static void begin(pt_taker *t) {
  if (!t->begun)
    t->env.begin(t->env.arg, t->heritage);
  t->begun = true;
  t->owed = false;
  tell_workers(t, (pt_msg){.kind = PT_MSG_BEGIN, .fd = -1});
}

static void stop_listening(pt_taker *t) {
  ev_io_stop(t->env.loop, &t->io);
  close(t->fd);
  t->fd = -1;
}

/* The old process breaks off, or says what it must not: clients that it has not let go are still its own. */
static void broken(pt_taker *t, const char *why) {
  pt_error("upgrade", "process %d: %s", (int)t->old.pid, why);
  if (!t->begun) { /* it hears of our end when everything here has ended */
    ev_io_stop(t->env.loop, &t->io);
    t->env.fail(t->env.arg);
    return;
  }
  stop_listening(t);
  tell_workers(t, (pt_msg){.kind = PT_MSG_LEFT, .fd = -1, .taken = true}); /* closed here only */
  t->env.end(t->env.arg);
}

/* The connection is closed. One that lives has closed it on purpose, and serves on. */
static void ended(pt_taker *t) {
  if ((!t->begun || t->owed) && !pt_proc_ended(&t->old, DEATH_MS)) {
    broken(t, "it has broken off the handover");
    return;
  }
  if (!t->begun)
    pt_warn("upgrade", "process %d has died: this one serves now", (int)t->old.pid);
  else
    pt_info("upgrade", "process %d has ended", (int)t->old.pid);
  begin(t); /* whoever arrived and was not let go has nobody else */
  stop_listening(t);
  t->env.end(t->env.arg);
}

static void on_go(pt_taker *t, pt_ho_round *r) {
  begin(t);
  int e = send_message(t, PT_HO_TAKEN, r);
  if (e && e != -EPIPE)
    pt_error("upgrade", "process %d cannot be told: %s", (int)t->old.pid, strerror(-e));
}

static void on_totals(pt_taker *t, const pt_ho_totals *m) {
  pt_heritage *h = t->heritage;
  h->next_id = m->next_id;
  h->upgrades = m->upgrades;
  memcpy(h->counters, m->counters, sizeof h->counters);
}

static int on_message(pt_taker *t, size_t n, int fds[PT_UNIX_FDS], const char **why) {
  union {
    pt_ho_totals totals;
    pt_ho_round round;
    pt_ho_redis redis;
    pt_ho_pair pair;
    pt_ho_request request;
  } m;
  pt_ho_kind kind;
  *why = "a message out of place";
  int e = pt_ho_check(t->msg, n, t->format, &kind, why);
  if (e)
    return e;
  if (kind != PT_HO_TOTALS && kind != PT_HO_GO && kind != PT_HO_REDIS && kind != PT_HO_PAIR && kind != PT_HO_REQUEST)
    return -EPROTO;
  if ((e = pt_ho_read(t->msg, n, kind, &m, why)))
    return e;
  if (kind == PT_HO_GO)
    on_go(t, &m.round);
  else if (kind == PT_HO_TOTALS)
    on_totals(t, &m.totals);
  else
    e = on_client(t, n, fds);
  if (e == -ENOMEM)
    *why = "no memory for its clients";
  return e;
}

static void on_io(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop, (void)events;
  pt_taker *t = io->data;
  for (unsigned i = 0; i < 256; i++) { /* then others have their turn */
    int fds[PT_UNIX_FDS];
    const char *why = NULL;
    ssize_t n = pt_unix_recv(t->fd, t->msg, sizeof t->msg, fds);
    if (n == -EAGAIN)
      return;
    if (n == 0 || n == -ECONNRESET) {
      ended(t);
      return;
    }
    int e = n < 0 ? (int)n : on_message(t, (size_t)n, fds, &why);
    close_fds(fds);
    if (e) {
      broken(t, why ? why : strerror(-e));
      return;
    }
  }
}

static void map_listeners(pt_taker *t, const pt_config *cfg, pt_ho_ready *r) {
  for (unsigned i = 0; i < PT_HO_LISTENERS; i++)
    t->map[i] = -1;
  for (unsigned i = 0; i < t->heritage->n; i++)
    for (unsigned k = 0; k < cfg->nlisteners; k++) {
      const pt_heir *l = &t->heritage->at[i];
      const pt_listener_config *lc = &cfg->listeners[k];
      if (lc->kind != l->kind || strcmp(lc->name, l->name) || (lc->mongo && lc->mongo->per_request != l->per_request))
        continue;
      t->map[i] = (int)k;
      r->takes[i / 8] |= (uint8_t)(1 << i % 8);
    }
}

void pt_taker_ready(pt_taker *t, const pt_taker_env *env, const pt_config *cfg) {
  pt_ho_ready r = {0};
  t->env = *env;
  fcntl(t->fd, F_SETFL, fcntl(t->fd, F_GETFL) | O_NONBLOCK);
  map_listeners(t, cfg, &r);
  int e = send_message(t, PT_HO_READY, &r);
  ev_io_init(&t->io, on_io, t->fd, EV_READ);
  t->io.data = t;
  ev_io_start(env->loop, &t->io);
  if (e) /* it is read what has happened */
    pt_warn("upgrade", "process %d cannot be told: %s", (int)t->old.pid, strerror(-e));
  else
    pt_info("upgrade", "ready to take over from process %d: send QUIT to it", (int)t->old.pid);
}

void pt_taker_free(pt_taker *t) {
  if (!t)
    return;
  if (t->fd >= 0) {
    if (t->env.loop)
      ev_io_stop(t->env.loop, &t->io);
    close(t->fd);
  }
  pt_proc_close(&t->old);
  pt_heritage_free(t->heritage);
  free(t);
}
