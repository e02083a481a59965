#include "core/giver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proc.h"
#include "core/mongo/mongo.h"
#include "core/topology.h"
#include "base/version.h"

enum {
  HELLO_MS = 5000,
  TAKEN_MS = 10000,
  BETWEEN_MS = 20, /* rounds; doubled while nobody can leave */
  MOST_BETWEEN_MS = 500
};

typedef enum giver_state {
  ALONE, /* no new process */
  GREETING, /* its HELLO is awaited */
  OFFERED, /* its READY is awaited */
  READY, /* SIGQUIT is awaited */
  ROUND, /* workers pack clients */
  GIVEN, /* GO has been sent, TAKEN is awaited */
  PAUSE /* between rounds */
} giver_state;

struct pt_giver {
  pt_giver_env env;
  char *path;
  ino_t inode;
  ev_io door, peer; /* fd -1: none */
  ev_timer timer;
  giver_state state;
  bool wanted; /* to hand over as soon as READY comes */
  bool gone; /* a round has been taken: new clients go to the new process */
  pt_proc heir; /* the new process */
  pt_outbox outbox;
  pt_parcel *first, **last; /* to be sent */
  unsigned ended; /* workers that have ended the round */
  uint32_t round, left;
  uint64_t moved, before; /* clients; before this round */
  uint32_t pause; /* ms before the next round */
  uint64_t until; /* ns: no rounds after */
};

static void drop(pt_giver *g, const char *why);
static void expel(pt_giver *g, const char *why);

/* ---- sending ---- */

static void clear_queue(pt_giver *g) {
  for (pt_parcel *p = g->first, *next; p; p = next) {
    next = p->next;
    pt_parcel_free(p);
  }
  g->first = NULL;
  g->last = &g->first;
}

static void watch(pt_giver *g) {
  int events = EV_READ | (g->first ? EV_WRITE : 0);
  if ((g->peer.events & (EV_READ | EV_WRITE)) == events)
    return;
  ev_io_stop(g->env.loop, &g->peer);
  ev_io_set(&g->peer, g->peer.fd, events);
  ev_io_start(g->env.loop, &g->peer);
}

static void send_queue(pt_giver *g) {
  while (g->first) {
    pt_parcel *p = g->first;
    unsigned nfds = 0;
    while (nfds < PT_UNIX_FDS && p->fds[nfds] >= 0)
      nfds++;
    int e = pt_unix_send(g->peer.fd, p->bytes, p->n, p->fds, nfds);
    if (e == -EAGAIN)
      break;
    if (e) {
      drop(g, strerror(-e));
      return;
    }
    if (!(g->first = p->next))
      g->last = &g->first;
    pt_parcel_free(p);
  }
  watch(g);
}

static void append(pt_giver *g, pt_parcel *p) {
  p->next = NULL;
  *g->last = p;
  g->last = &p->next;
}

/* Queues a message; fds are copied. 0 or -errno. */
static int say(pt_giver *g, pt_ho_kind kind, const void *what, int fd, int other) {
  pt_parcel *p;
  int e = pt_parcel_make(&p, g->outbox.format, kind, what, fd, other);
  if (!e)
    append(g, p);
  return e;
}

/* ---- what is offered ---- */

static pt_ho_blob text(const char *s) { return (pt_ho_blob){s, (uint32_t)strlen(s)}; }

static int offer_backends(pt_giver *g, unsigned i) {
  const pt_backends *b = pt_health_current(g->env.subjects->at[i].health);
  int e = 0;
  for (unsigned k = 0; b && k < b->n && !e; k++) {
    pt_ho_backend m = {.listener = i, .id = b->at[k].id, .epoch = b->at[k].epoch, .name = text(b->at[k].name)};
    e = say(g, PT_HO_BACKEND, &m, -1, -1);
  }
  return e;
}

static int offer_nodes(pt_giver *g, unsigned i) {
  const pt_cluster *c = pt_topology_current(g->env.subjects->at[i].topology);
  int e = 0;
  for (unsigned k = 0; c && k < c->nnodes && !e; k++) {
    pt_ho_node m = {.listener = i, .port = c->nodes[k].port, .host = text(c->nodes[k].host)};
    e = say(g, PT_HO_NODE, &m, -1, -1);
  }
  return e;
}

static int offer_listener(pt_giver *g, unsigned i) {
  const pt_listener_config *lc = &(*g->env.cfg)->listeners[i];
  const pt_subject *about = &g->env.subjects->at[i];
  pt_ho_listener m = {.kind = (uint8_t)lc->kind, .port = lc->bind.port, .name = text(lc->name), .host = text(lc->bind.host)};
  int table = -1;
  if (about->mongo) {
    table = pt_sessions_fd(about->mongo->sessions);
    m.mode = lc->mongo->per_request;
    m.table = table >= 0;
    m.secret = about->mongo->secret;
    m.view = about->mongo->last ? about->mongo->last->view : 0;
    memcpy(m.process_id, about->mongo->process_id, sizeof m.process_id);
  }
  int e = say(g, PT_HO_LISTENER, &m, g->env.doors->doors[i].io.fd, table);
  if (!e)
    e = about->mongo ? offer_backends(g, i) : offer_nodes(g, i);
  return e;
}

static int offer(pt_giver *g) {
  int e = 0;
  for (unsigned i = 0; i < (*g->env.cfg)->nlisteners && !e; i++)
    e = offer_listener(g, i);
  return e ? e : say(g, PT_HO_END, NULL, -1, -1);
}

static int totals(pt_giver *g) {
  pt_ho_totals t = {.next_id = g->env.doors->next_id, .upgrades = g->env.upgrades + 1};
  _Static_assert(sizeof(pt_counters) <= sizeof t.counters, "all counters fit");
  for (unsigned i = 0; i < g->env.nworkers && !g->gone; i++)
    for (unsigned k = 0; k < sizeof(pt_counters) / sizeof(atomic_ullong); k++)
      t.counters[k] += atomic_load(&((atomic_ullong *)&g->env.workers[i]->n)[k]);
  return say(g, PT_HO_TOTALS, &t, -1, -1);
}

/* ---- rounds ---- */

static void after(pt_giver *g, uint64_t ms) {
  ev_timer_stop(g->env.loop, &g->timer);
  ev_timer_set(&g->timer, (double)ms / 1e3, 0.);
  ev_timer_start(g->env.loop, &g->timer);
}

static void tell_workers(pt_giver *g, pt_msg m) {
  for (unsigned i = 0; i < g->env.nworkers; i++) {
    pt_msg *copy = malloc(sizeof *copy);
    if (!copy)
      abort(); /* clients would hang between two processes */
    *copy = m;
    pt_inbox_post(&g->env.workers[i]->inbox, copy);
  }
}

static void begin_round(pt_giver *g) {
  pt_doors_rest(g->env.doors);
  g->state = ROUND;
  g->round++;
  g->ended = 0;
  g->left = 0;
  tell_workers(g, (pt_msg){.kind = PT_MSG_LEAVE, .fd = -1, .outbox = &g->outbox, .round = g->round});
}

static void end_round(pt_giver *g) {
  pt_ho_round r = {.round = g->round};
  g->state = GIVEN;
  if (totals(g) || say(g, PT_HO_GO, &r, -1, -1)) {
    expel(g, "out of memory");
    return;
  }
  after(g, TAKEN_MS);
  send_queue(g);
}

static void on_parcels(struct ev_loop *loop, ev_async *a, int events) {
  (void)loop, (void)events;
  pt_giver *g = a->data;
  for (pt_parcel *p = pt_outbox_take(&g->outbox), *next; p; p = next) {
    next = p->next;
    if (g->state != ROUND || p->round != g->round) { /* of a round that was broken off */
      pt_parcel_free(p);
    } else if (p->last) {
      g->ended++;
      g->left += p->left;
      pt_parcel_free(p);
    } else {
      g->moved++;
      append(g, p);
    }
  }
  if (g->state == ROUND && g->ended == g->env.nworkers)
    end_round(g);
  else if (g->state == ROUND)
    send_queue(g);
}

static void finish(pt_giver *g) {
  ev_timer_stop(g->env.loop, &g->timer);
  g->env.done(g->env.arg);
}

/* They are the new process's now. */
static void on_taken(pt_giver *g) {
  if (!g->gone)
    g->env.taken(g->env.arg);
  if (!g->gone)
    pt_info("upgrade", "process %d has taken over %llu clients; %u are still served here", (int)g->heir.pid,
            (unsigned long long)g->moved, g->left - (unsigned)g->moved);
  g->gone = true;
  g->state = PAUSE;
  tell_workers(g, (pt_msg){.kind = PT_MSG_LEFT, .fd = -1, .taken = true});
  bool again = g->pause && g->moved == g->before; /* nobody could leave: they need time to finish what they are at */
  g->pause = !again ? BETWEEN_MS : g->pause * 2 < MOST_BETWEEN_MS ? g->pause * 2 : MOST_BETWEEN_MS;
  g->before = g->moved;
  after(g, g->pause);
}

static uint32_t clients(const pt_giver *g) {
  uint32_t n = 0;
  for (unsigned i = 0; i < g->env.nworkers; i++)
    n += atomic_load(&g->env.workers[i]->connected);
  return n;
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int events) {
  (void)events;
  pt_giver *g = t->data;
  if (g->state == PAUSE && clients(g) && (uint64_t)(ev_now(loop) * 1e3) < g->until)
    begin_round(g);
  else if (g->state == PAUSE)
    finish(g);
  else if (g->state == GREETING)
    drop(g, "it says nothing");
  else if (g->state == GIVEN && !g->gone)
    expel(g, "it does not take what it is given");
  else if (g->state == GIVEN) /* it serves: it is not killed for being slow */
    after(g, TAKEN_MS);
}

void pt_giver_expect(pt_giver *g) { g->wanted = true; }

bool pt_giver_cancel(pt_giver *g) {
  bool waited = g && g->state == ALONE && g->wanted;
  if (waited)
    g->wanted = false;
  return waited;
}

bool pt_giver_go(pt_giver *g) {
  if (!g || g->state == ALONE)
    return false;
  g->until = (uint64_t)(ev_now(g->env.loop) * 1e3) + (*g->env.cfg)->drain_timeout;
  if (g->state == READY) {
    pt_info("upgrade", "handing over to process %d", (int)g->heir.pid);
    begin_round(g);
  } else if (g->state < READY && !g->wanted) {
    g->wanted = true;
    pt_info("upgrade", "process %d is not ready yet; handing over when it is", (int)g->heir.pid);
  }
  return true;
}

bool pt_giver_gives(const pt_giver *g) { return g && g->gone; }

/* ---- the new process ---- */

static void forget_peer(pt_giver *g) {
  ev_io_stop(g->env.loop, &g->peer);
  ev_timer_stop(g->env.loop, &g->timer);
  close(g->peer.fd);
  g->peer.fd = -1;
  pt_proc_close(&g->heir);
  clear_queue(g);
  g->state = ALONE;
  g->wanted = false;
}

/* It has ended, or closed the connection: what it has not taken it will not touch. */
static void drop(pt_giver *g, const char *why) {
  giver_state was = g->state;
  bool serves = g->gone && !pt_proc_ended(&g->heir, 0);
  forget_peer(g);
  if (was == ALONE || was == GREETING) {
    pt_warn("upgrade", "process %d asked to take over and was sent away: %s", (int)g->heir.pid, why);
    return;
  }
  if (was >= ROUND)
    tell_workers(g, (pt_msg){.kind = PT_MSG_LEFT, .fd = -1, .taken = false});
  if (serves) {
    pt_error("upgrade", "process %d takes no more clients (%s); those that are left are finished here", (int)g->heir.pid, why);
    finish(g);
    return;
  }
  pt_error("upgrade", "process %d cannot take over: %s; this process serves on", (int)g->heir.pid, why);
  pt_subjects_abandon(g->env.subjects);
  g->gone = false;
  g->moved = g->before = 0;
  g->pause = 0;
  pt_doors_wake(g->env.doors);
}

/* It does not do what it should: before it has taken anything it is killed, so that nobody but us serves our clients. */
static void expel(pt_giver *g, const char *why) {
  if (g->state >= OFFERED && !g->gone)
    pt_proc_kill(&g->heir);
  drop(g, why);
}

static void refuse(pt_giver *g, const char *why) {
  pt_ho_text m = {.text = text(why)};
  if (!say(g, PT_HO_REFUSE, &m, -1, -1))
    send_queue(g);
  if (g->peer.fd >= 0)
    drop(g, why);
}

static void on_hello(pt_giver *g, const pt_ho_hello *h) {
  pt_ho_hello mine = {.oldest = PT_HO_OLDEST, .newest = PT_HO_FORMAT, .pid = (uint32_t)getpid(), .version = text(PT_VERSION)};
  if (h->newest < PT_HO_OLDEST || h->oldest > PT_HO_FORMAT) {
    refuse(g, "its version of puerta and the running one have no handover format in common: restart instead");
    return;
  }
  g->outbox.format = h->newest < PT_HO_FORMAT ? h->newest : PT_HO_FORMAT;
  g->state = OFFERED;
  ev_timer_stop(g->env.loop, &g->timer);
  pt_info("upgrade", "process %d (puerta %.*s) prepares to take over", (int)g->heir.pid,
          (int)(h->version.n < 32 ? h->version.n : 32), (const char *)h->version.at);
  if (say(g, PT_HO_HELLO, &mine, -1, -1) || offer(g))
    drop(g, "out of memory");
  else
    send_queue(g);
}

static void on_ready(pt_giver *g, const pt_ho_ready *r) {
  memcpy(g->outbox.takes, r->takes, sizeof g->outbox.takes);
  g->state = READY;
  pt_info("upgrade", "process %d is ready to take over: send QUIT to this process (%d)", (int)g->heir.pid, (int)getpid());
  if (g->wanted)
    pt_giver_go(g);
}

static void on_message(pt_giver *g, const uint8_t *msg, size_t n) {
  union {
    pt_ho_hello hello;
    pt_ho_ready ready;
    pt_ho_round round;
    pt_ho_text text;
  } m;
  pt_ho_kind kind;
  const char *why = "a message out of place";
  char said[256];
  int e = pt_ho_check(msg, n, g->outbox.format, &kind, &why);
  e = e ? e
      : kind == PT_HO_HELLO || kind == PT_HO_READY || kind == PT_HO_TAKEN || kind == PT_HO_REFUSE
          ? pt_ho_read(msg, n, kind, &m, &why)
          : -EPROTO;
  if (!e && kind == PT_HO_HELLO && g->state == GREETING) {
    on_hello(g, &m.hello);
  } else if (!e && kind == PT_HO_READY && g->state == OFFERED) {
    on_ready(g, &m.ready);
  } else if (!e && kind == PT_HO_TAKEN && g->state == GIVEN && m.round.round == g->round) {
    on_taken(g);
  } else if (!e && kind == PT_HO_REFUSE) {
    snprintf(said, sizeof said, "it says: %.*s", (int)m.text.text.n, (const char *)m.text.text.at);
    drop(g, said);
  } else {
    expel(g, why);
  }
}

static void on_peer(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop;
  static uint8_t msg[PT_HO_MAX];
  pt_giver *g = io->data;
  int fds[PT_UNIX_FDS];
  if (events & EV_READ) {
    ssize_t n = pt_unix_recv(io->fd, msg, sizeof msg, fds);
    for (unsigned i = 0; n > 0 && i < PT_UNIX_FDS; i++)
      if (fds[i] >= 0)
        close(fds[i]);
    if (n == 0 || (n < 0 && n != -EAGAIN))
      drop(g, n ? strerror((int)-n) : "it has ended");
    else if (n > 0)
      on_message(g, msg, (size_t)n);
  }
  if ((events & EV_WRITE) && g->peer.fd >= 0)
    send_queue(g);
}

static void on_knock(struct ev_loop *loop, ev_io *io, int events) {
  (void)events;
  pt_giver *g = io->data;
  pid_t pid = 0;
  uid_t uid = 0;
  int fd = pt_unix_accept(io->fd);
  if (fd < 0)
    return;
  int e = pt_unix_peer(fd, &pid, &uid) || (uid != geteuid() && uid != 0);
  if (e || !pid || g->state != ALONE) {
    pt_warn("upgrade", "process %d asked to take over: %s", (int)pid,
            e      ? "it belongs to another user"
            : !pid ? "it is not to be seen from here (another PID namespace)"
                   : "another one does already");
    close(fd);
    return;
  }
  g->heir = pt_proc_open(pid);
  g->outbox.format = PT_HO_FORMAT;
  g->state = GREETING;
  ev_io_init(&g->peer, on_peer, fd, EV_READ);
  g->peer.data = g;
  ev_io_start(loop, &g->peer);
  after(g, HELLO_MS);
}

/* ---- life ---- */

pt_giver *pt_giver_start(const pt_giver_env *env, const char *path) {
  struct stat st;
  int fd = pt_unix_alive(path) ? -EADDRINUSE : pt_unix_listen(path);
  pt_giver *g = fd < 0 ? NULL : calloc(1, sizeof *g);
  if (fd < 0 || !g || !(g->path = strdup(path))) {
    pt_warn("upgrade", "%s: %s: this process cannot be upgraded without a restart", path,
            fd < 0 ? strerror(-fd) : "out of memory");
    if (fd >= 0)
      close(fd);
    free(g);
    return NULL;
  }
  g->env = *env;
  g->heir.fd = -1;
  g->last = &g->first;
  g->inode = stat(path, &st) ? 0 : st.st_ino;
  ev_io_init(&g->door, on_knock, fd, EV_READ);
  ev_io_init(&g->peer, on_peer, -1, 0);
  ev_init(&g->timer, on_timer);
  g->outbox.loop = env->loop;
  ev_async_init(&g->outbox.wake, on_parcels);
  g->door.data = g->peer.data = g->timer.data = g->outbox.wake.data = g;
  ev_async_start(env->loop, &g->outbox.wake);
  ev_io_start(env->loop, &g->door);
  return g;
}

void pt_giver_free(pt_giver *g) {
  struct stat st;
  if (!g)
    return;
  ev_io_stop(g->env.loop, &g->door);
  ev_io_stop(g->env.loop, &g->peer);
  ev_timer_stop(g->env.loop, &g->timer);
  ev_async_stop(g->env.loop, &g->outbox.wake);
  if (!stat(g->path, &st) && st.st_ino == g->inode) /* the new process has put its own there */
    unlink(g->path);
  close(g->door.fd);
  if (g->peer.fd >= 0)
    close(g->peer.fd);
  pt_proc_close(&g->heir);
  clear_queue(g);
  for (pt_parcel *p = pt_outbox_take(&g->outbox), *next; p; p = next) {
    next = p->next;
    pt_parcel_free(p);
  }
  free(g->path);
  free(g);
}
