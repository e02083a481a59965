#include "core/control.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/admin.h"
#include "core/config_tls.h"
#include "core/door.h"
#include "core/giver.h"
#include "core/process.h"
#include "core/spawn.h"
#include "core/reserve.h"
#include "core/subject.h"
#include "core/taker.h"
#include "core/upgrade_path.h"
#include "core/watchdog.h"
#include "core/worker.h"

enum {
  ACCEPT_BURST = 64,
  GRACE_MS = 3000,
  ADMIN_TRIES = 100 /* every 50 ms */
};

typedef struct pt_control pt_control;

struct pt_control {
  struct ev_loop *loop;
  pt_config *cfg;
  const char *lua_path;
  const pt_script *script;
  const pt_overrides *over;
  pt_process process;
  pt_doors doors;
  pt_subjects subjects;
  pt_memory memory;
  pt_greeter *greeters; /* each of PT_LOOPS_PER_GREETER workers */
  pt_worker **workers;
  unsigned nworkers;
  pt_watchdog *watchdog;
  pt_taker *taker; /* until the process before has ended */
  pt_giver *giver; /* NULL while there is a taker */
  uint32_t upgrades; /* of this line of processes */
  char *upgrade_socket; /* path; NULL: no upgrades */
  pid_t heir; /* started by us, 0: none */
  ev_signal hup, usr1, usr2, term, intr, quit, child;
  ev_timer grace, ended, admin_later;
  unsigned admin_tries;
  bool ready, draining, stopping, failed;
  pt_admin *admin; /* NULL: none */
  pt_tally tally;
  uint64_t started; /* ns */
  FILE *why; /* during a reload that somebody waits for: the reasons why it fails; else NULL */
};

/* A cluster that cannot be reached: from now on clients hear so instead of waiting. */
static void on_grace(struct ev_loop *loop, ev_timer *t, int events) {
  (void)loop, (void)events;
  pt_control *k = t->data;
  for (unsigned i = 0; i < k->cfg->nlisteners && !k->draining && !k->doors.resting; i++)
    if (!k->doors.doors[i].open) {
      pt_warn("ready", "%s: no node answers yet; clients are told so", k->cfg->listeners[i].name);
      pt_door_let_in(&k->doors, i);
    }
  pt_process_ready(&k->process);
}

/* ---- upgrades ---- */

/* Starts the process that replaces this one. binary: NULL: what now stands where its own was. The new one's pid, or -errno. */
static pid_t upgrade(pt_control *k, const char *binary) {
  if (!k->giver)
    return -EBUSY; /* it has not been let alone by its own predecessor, or has no socket */
  pid_t pid = pt_spawn_heir(binary, k->over->argv);
  if (pid < 0)
    return pid;
  k->heir = pid;
  pt_giver_expect(k->giver);
  pt_info("upgrade", "process %d has been started to take over", (int)pid);
  return pid;
}

static void on_usr2(struct ev_loop *loop, ev_signal *s, int events) {
  (void)loop, (void)events;
  pid_t pid = upgrade(s->data, NULL);
  if (pid < 0)
    pt_error("upgrade", "no new process: %s", pid == -EBUSY ? "this one cannot be replaced now" : strerror((int)-pid));
}

/* The heir may have ended before it came to take over: it has said why. */
static void on_child(struct ev_loop *loop, ev_signal *s, int events) {
  (void)loop, (void)events;
  pt_control *k = s->data;
  int how = 0;
  for (pid_t pid; (pid = pt_spawn_reap(&how)) > 0;)
    if (how && pid == k->heir && pt_giver_cancel(k->giver))
      pt_error("upgrade", "process %d has ended instead of taking over; this process serves on", (int)pid);
}

static void drain(pt_control *k, uint64_t ms);
static void stop(pt_control *k);
static int start_admin(pt_control *k);

static void on_given(void *arg) { drain(arg, 0); }

/* The admin server's address is the new process's. */
static void on_taken(void *arg) {
  pt_control *k = arg;
  pt_admin_stop(k->admin);
  k->admin = NULL;
}

/* From now on this process can be replaced in its turn. */
static void wait_for_heir(pt_control *k) {
  pt_giver_env env = {.loop = k->loop,
                      .doors = &k->doors,
                      .subjects = &k->subjects,
                      .cfg = &k->cfg,
                      .workers = k->workers,
                      .nworkers = k->nworkers,
                      .upgrades = k->upgrades,
                      .taken = on_taken,
                      .done = on_given,
                      .arg = k};
  if (k->upgrade_socket)
    k->giver = pt_giver_start(&env, k->upgrade_socket);
}

/* The first worker carries the counters of the process before. */
static void count_on(pt_control *k, const uint64_t counters[PT_HO_COUNTERS]) {
  pt_msg *m = calloc(1, sizeof *m);
  uint64_t *totals = m ? malloc(PT_HO_COUNTERS * sizeof *totals) : NULL;
  if (!totals) {
    free(m);
    return;
  }
  memcpy(totals, counters, PT_HO_COUNTERS * sizeof *totals);
  *m = (pt_msg){.kind = PT_MSG_TOTALS, .fd = -1, .totals = totals};
  pt_inbox_post(&k->workers[0]->inbox, m);
}

static void on_begin(void *arg, const pt_heritage *h) {
  pt_control *k = arg;
  k->upgrades = h->upgrades;
  if (h->next_id > k->doors.next_id)
    k->doors.next_id = h->next_id;
  count_on(k, h->counters);
  pt_doors_wake(&k->doors);
  pt_process_take_over(&k->process, pt_taker_pid(k->taker));
  ev_timer_again(k->loop, &k->admin_later); /* the old one gives up its address as soon as it hears that we have begun */
  pt_info("ready", "serving with %u worker%s, upgrade %u", k->nworkers, k->nworkers == 1 ? "" : "s", k->upgrades);
}

static void on_admin_later(struct ev_loop *loop, ev_timer *t, int events) {
  (void)events;
  pt_control *k = t->data;
  if (k->draining || !start_admin(k) || ++k->admin_tries == ADMIN_TRIES)
    ev_timer_stop(loop, t);
}

static void on_predecessor_ended(void *arg) {
  pt_control *k = arg;
  pt_subjects_abandon(&k->subjects);
  pt_taker_free(k->taker);
  k->taker = NULL;
  wait_for_heir(k);
}

static void on_not_taken(void *arg) {
  pt_control *k = arg;
  k->failed = true;
  stop(k);
}

static void offer_to_take(pt_control *k) {
  pt_taker_env env = {.loop = k->loop,
                      .doors = &k->doors,
                      .workers = k->workers,
                      .nworkers = k->nworkers,
                      .begin = on_begin,
                      .end = on_predecessor_ended,
                      .fail = on_not_taken,
                      .arg = k};
  for (unsigned i = 0; i < k->cfg->nlisteners; i++)
    pt_door_let_in(&k->doors, i); /* once they wake */
  pt_taker_ready(k->taker, &env, k->cfg);
  pt_process_release(&k->process);
}

static void on_news(void *arg, unsigned listener) {
  pt_control *k = arg;
  if (!k->draining)
    pt_door_let_in(&k->doors, listener);
  bool all = true;
  for (unsigned i = 0; i < k->cfg->nlisteners; i++)
    all &= pt_subject_known(&k->subjects.at[i]);
  if (all && k->taker && !k->ready) {
    k->ready = true;
    offer_to_take(k);
  } else if (all && !k->ready) {
    k->ready = true;
    pt_info("ready", "serving with %u worker%s", k->nworkers, k->nworkers == 1 ? "" : "s");
    pt_process_ready(&k->process);
  }
}

/* ---- policies and reload ---- */

/* What is wrong with a configuration, one line: for the log and for who has asked for the reload. */
static __attribute__((format(printf, 3, 4))) void complain(const pt_control *k, const char *event, const char *fmt, ...) {
  char text[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  pt_error(event, "%s", text);
  if (k->why)
    fprintf(k->why, "%s\n", text);
}

/* One policy for each listener. NULL: it has been logged why. */
static pt_listener_policy *make_policies(pt_control *k, const pt_config *cfg) {
  pt_listener_policy *p = calloc(cfg->nlisteners, sizeof *p);
  for (unsigned i = 0; p && i < cfg->nlisteners; i++) {
    const pt_policy_config *pc = &cfg->listeners[i].policy;
    char err[512] = "out of memory";
    if (cfg->listeners[i].kind == PT_LISTENER_MONGODB)
      p[i].affinity = k->script->affinity(pc, k->lua_path, err, sizeof err);
    else
      p[i].route = !strcmp(pc->name, "c") ? pt_policy_c() : k->script->policy(pc, k->lua_path, err, sizeof err);
    if (!p[i].route && !p[i].affinity) {
      complain(k, "policy", "%s", err);
      pt_policies_free(p, cfg->nlisteners);
      return NULL;
    }
  }
  return p;
}

static void apply_overrides(const pt_overrides *over, pt_config *cfg) {
  if (over->workers >= 0)
    cfg->workers = (unsigned)over->workers;
  pt_log_setup(pt_log_level(over->log_level ? over->log_level : cfg->log_level), cfg->log_format == PT_LOG_JSON);
}

/* was: the configuration before, NULL: none; what is open stays open, since the user puerta has become need not be able to open it again. 0, or it has been
 * said why the log cannot go there. */
static int open_log(const pt_control *k, const pt_config *cfg, const pt_config *was) {
  const pt_overrides *over = k->over;
  const char *to = over->error_log ? over->error_log : cfg->log_to;
  int e = was && (over->error_log || !strcmp(was->log_to, to)) ? 0 : pt_log_to(to);
  bool access = cfg->access_connections || cfg->access_every;
  if (!e && access) {
    const char *before =
        was && (was->access_connections || was->access_every) ? (was->access_to ? was->access_to : was->log_to) : "";
    const char *there = cfg->access_to ? cfg->access_to : to;
    e = strcmp(before, there) ? pt_log_access_to(to = there) : 0;
  }
  if (e)
    complain(k, "log", "cannot log to %s: %s", to, strerror(-e));
  return e;
}

static void on_usr1(struct ev_loop *loop, ev_signal *s, int events) {
  (void)loop, (void)s, (void)events;
  int e = pt_log_reopen();
  if (e)
    pt_error("log", "cannot open the log again: %s; the one that is open is used on", strerror(-e));
  else
    pt_info("log", "opened again");
}

static void log_errors(const pt_control *k, char *errors) {
  for (char *line = errors ? strtok(errors, "\n") : NULL; line; line = strtok(NULL, "\n"))
    complain(k, "config", "%s", line);
  free(errors);
}

/* Everything that can fail is done before anything is handed out. 0 or -1. */
static int publish(pt_control *k, pt_config *cfg) {
  pt_listener_policy **sets = calloc(k->nworkers, sizeof *sets);
  pt_msg **msgs = calloc(k->nworkers, sizeof(pt_msg *));
  unsigned made = 0;
  int e = -1;
  if (sets && msgs)
    while (made < k->nworkers && (msgs[made] = calloc(1, sizeof **msgs)) && (sets[made] = make_policies(k, cfg)))
      made++;
  if (made < k->nworkers || open_log(k, cfg, k->cfg)) {
    for (unsigned i = 0; i <= made && msgs && i < k->nworkers; i++) {
      free(msgs[i]);
      pt_policies_free(sets ? sets[i] : NULL, cfg->nlisteners);
    }
    complain(k, "reload", "configuration not applied; generation %llu serves on", (unsigned long long)k->cfg->generation);
    pt_config_unref(cfg);
    goto out;
  }
  apply_overrides(k->over, cfg);
  pt_config_tls_inherit(cfg, k->cfg);
  cfg->generation = k->cfg->generation + 1;
  for (unsigned i = 0; i < k->nworkers; i++) {
    *msgs[i] = (pt_msg){.kind = PT_MSG_CONFIG, .fd = -1, .cfg = pt_config_ref(cfg), .policies = sets[i]};
    pt_inbox_post(&k->workers[i]->inbox, msgs[i]);
  }
  pt_subjects_reconfigure(&k->subjects, cfg);
  pt_doors_configure(&k->doors, cfg);
  pt_memory_limit(&k->memory, cfg->memory_max);
  pt_watchdog_limits(k->watchdog, cfg->watchdog_warn, cfg->watchdog_abort);
  pt_config_unref(k->cfg);
  k->cfg = cfg;
  e = 0;
  pt_info("reload", "generation %llu serves", (unsigned long long)cfg->generation);
out:
  free(sets);
  free(msgs);
  return e;
}

/* 0 or -1. */
static int load_again(pt_control *k) {
  pt_config *cfg = NULL;
  char *errors = NULL, why[256];
  if (k->script->load(k->cfg->file, k->lua_path, &cfg, &errors)) {
    log_errors(k, errors);
    complain(k, "reload", "configuration not applied; generation %llu serves on", (unsigned long long)k->cfg->generation);
    return -1;
  }
  if (k->over->workers >= 0)
    cfg->workers = (unsigned)k->over->workers;
  if (pt_config_restart_diff(k->cfg, cfg, why, sizeof why)) {
    complain(k, "reload", "%s can only change with a restart; configuration not applied, generation %llu serves on", why,
             (unsigned long long)k->cfg->generation);
    pt_config_unref(cfg);
    return -1;
  }
  return publish(k, cfg);
}

/* why: who waits for it hears why it failed; NULL: nobody. */
static int reload(pt_control *k, FILE *why) {
  k->why = why;
  pt_process_reloading();
  int e = load_again(k);
  pt_process_reloaded(&k->process, k->cfg->generation);
  k->why = NULL;
  *(e ? &k->tally.reloads_failed : &k->tally.reloads) += 1;
  return e;
}

static void on_hup(struct ev_loop *loop, ev_signal *s, int events) {
  (void)loop, (void)events;
  pt_control *k = s->data;
  if (!k->draining)
    reload(k, NULL);
}

/* ---- ending ---- */

static void tell_workers(pt_control *k, pt_msg_kind kind, uint64_t drain_ms) {
  for (unsigned i = 0; i < k->nworkers; i++) {
    pt_msg *m = calloc(1, sizeof *m);
    if (!m)
      _exit(1); /* asked to end and no memory to do it well */
    *m = (pt_msg){.kind = kind, .fd = -1, .drain_ms = drain_ms};
    pt_inbox_post(&k->workers[i]->inbox, m);
  }
}

static void on_ended(struct ev_loop *loop, ev_timer *t, int events) {
  (void)events;
  pt_control *k = t->data;
  for (unsigned i = 0; i < k->nworkers; i++)
    if (!atomic_load(&k->workers[i]->ended))
      return;
  ev_break(loop, EVBREAK_ALL);
}

static void stop(pt_control *k) {
  if (k->stopping)
    return;
  k->draining = k->stopping = true;
  pt_info("stop", "stopping");
  if (!pt_giver_gives(k->giver))
    pt_process_stopping(0);
  pt_doors_close(&k->doors);
  tell_workers(k, PT_MSG_STOP, 0);
  ev_timer_again(k->loop, &k->ended);
}

static void on_int(struct ev_loop *loop, ev_signal *s, int events) {
  (void)loop, (void)events;
  stop(s->data);
}

static void drain(pt_control *k, uint64_t ms) {
  if (k->draining) {
    stop(k);
    return;
  }
  k->draining = true;
  if (!pt_giver_gives(k->giver))
    pt_process_stopping(ms);
  pt_info("drain", "no new clients; finishing what is in flight, at most %llu ms", (unsigned long long)ms);
  pt_doors_close(&k->doors);
  tell_workers(k, PT_MSG_DRAIN, ms);
  ev_timer_again(k->loop, &k->ended);
}

static void on_term(struct ev_loop *loop, ev_signal *s, int events) {
  (void)loop, (void)events;
  pt_control *k = s->data;
  drain(k, k->cfg->drain_timeout);
}

static void on_quit(struct ev_loop *loop, ev_signal *s, int events) {
  (void)loop, (void)events;
  pt_control *k = s->data;
  if (k->draining || !pt_giver_go(k->giver))
    drain(k, k->cfg->drain_timeout);
}

/* ---- what the admin server asks ---- */

static void admin_look(void *arg, pt_survey *out) {
  pt_control *k = arg;
  k->tally.upgrades = k->upgrades;
  *out = (pt_survey){.cfg = k->cfg,
                     .workers = k->workers,
                     .nworkers = k->nworkers,
                     .subjects = &k->subjects,
                     .doors = &k->doors,
                     .tally = k->tally,
                     .started = k->started,
                     .ready = k->ready,
                     .draining = k->draining};
}

static int admin_reload(void *arg, FILE *why) {
  pt_control *k = arg;
  if (!k->draining)
    return reload(k, why);
  fputs("draining: nothing is reloaded any more\n", why);
  return -1;
}

static void admin_drain(void *arg) {
  pt_control *k = arg;
  if (!k->draining)
    drain(k, k->cfg->drain_timeout);
}

static pid_t admin_upgrade(void *arg, const char *binary) {
  pt_control *k = arg;
  return k->draining ? -ESHUTDOWN : upgrade(k, binary);
}

static int start_admin(pt_control *k) {
  const pt_admin_hooks hooks = {
      .arg = k, .look = admin_look, .reload = admin_reload, .drain = admin_drain, .upgrade = admin_upgrade};
  return k->cfg->admin.on && !(k->admin = pt_admin_start(k->loop, k->cfg, &hooks)) ? -1 : 0;
}

/* ---- starting ---- */

static unsigned cores(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static unsigned ngreeters(unsigned workers) { return (workers + PT_LOOPS_PER_GREETER - 1) / PT_LOOPS_PER_GREETER; }

static int start_workers(pt_control *k) {
  unsigned want = k->cfg->workers ? k->cfg->workers : cores();
  k->workers = calloc(want, sizeof *k->workers);
  k->greeters = calloc(ngreeters(want), sizeof *k->greeters);
  for (unsigned i = 0; k->greeters && i < ngreeters(want); i++)
    pt_greeter_init(&k->greeters[i]);
  atomic_store(&k->memory.workers, want);
  if (!k->workers || !k->greeters || pt_subjects_start(&k->subjects, k->cfg, pt_taker_heritage(k->taker)))
    goto fail;
  while (k->nworkers < want) {
    pt_listener_policy *policies = make_policies(k, k->cfg);
    if (!policies)
      return -1;
    k->workers[k->nworkers] = pt_worker_start(k->nworkers, k->cfg, policies, k->subjects.at, &k->memory,
                                              &k->greeters[k->nworkers / PT_LOOPS_PER_GREETER]);
    pt_policies_free(policies, k->cfg->nlisteners); /* what the worker took is NULL there */
    if (!k->workers[k->nworkers])
      goto fail;
    k->nworkers++;
  }
  k->doors.workers = k->subjects.workers = k->workers;
  k->doors.nworkers = k->subjects.nworkers = k->nworkers;
  return 0;
fail:
  pt_error("start", "out of memory or threads");
  return -1;
}

static void end_workers(pt_control *k) {
  for (unsigned i = 0; i < k->nworkers; i++)
    pt_worker_join(k->workers[i]);
  for (unsigned i = 0; i < ngreeters(k->nworkers); i++)
    pt_greeter_end(&k->greeters[i]);
  for (unsigned i = 0; i < k->nworkers; i++)
    pt_worker_free(k->workers[i]);
}

static void watch_signal(pt_control *k, ev_signal *s, void (*cb)(struct ev_loop *, ev_signal *, int), int sig) {
  ev_signal_init(s, cb, sig);
  s->data = k;
  ev_signal_start(k->loop, s);
}

static void sum_up(pt_control *k) {
  unsigned long long requests = 0, accepted = 0, redirects = 0, lost = 0, failures = 0;
  for (unsigned i = 0; i < k->nworkers; i++) {
    pt_counters *n = &k->workers[i]->n;
    requests += atomic_load(&n->requests);
    accepted += atomic_load(&n->accepted);
    redirects += atomic_load(&n->redirects);
    lost += atomic_load(&n->lost);
    failures += atomic_load(&n->policy_failures);
  }
  pt_info("stop", "%llu requests of %llu clients; %llu redirects, %llu lost on a node, %llu policy failures", requests, accepted,
          redirects, lost, failures);
  pt_subjects_sum_up(&k->subjects);
}

/* The way to the process before, if there is to be one, and to the one after. 0, or -1: it has been said why. */
static int take_over(pt_control *k) {
  const char *path = k->over->upgrade_socket ? k->over->upgrade_socket : k->cfg->upgrade_socket;
  k->upgrade_socket = pt_upgrade_path(path, k->cfg->file);
  if (!k->over->upgrade)
    return 0;
  k->taker = k->upgrade_socket ? pt_taker_connect(k->upgrade_socket, pt_process_user(k->cfg)) : NULL;
  k->doors.resting = true; /* until the old process lets its clients go */
  return k->taker ? 0 : -1;
}

int pt_control_run(pt_config *cfg, const char *lua_path, const pt_script *script, const pt_overrides *over) {
  pt_reserve_setup();
  pt_control k = {
      .cfg = cfg, .lua_path = lua_path, .script = script, .over = over, .loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV)};
  int code = 1;
  cfg->generation = 1;
  k.started = pt_now_ns();
  k.doors.memory = &k.memory;
  pt_memory_limit(&k.memory, cfg->memory_max);
  apply_overrides(over, cfg);
  signal(SIGPIPE, SIG_IGN);
  k.subjects = (pt_subjects){.loop = k.loop, .news = on_news, .arg = &k};
  if (!k.loop || open_log(&k, cfg, NULL) || pt_process_begin(&k.process, cfg, over))
    goto out;
  ev_timer_init(&k.grace, on_grace, GRACE_MS / 1000., 0.);
  ev_timer_init(&k.ended, on_ended, 0.005, 0.005);
  ev_timer_init(&k.admin_later, on_admin_later, 0.05, 0.05);
  k.grace.data = k.ended.data = k.admin_later.data = &k;
  watch_signal(&k, &k.hup, on_hup, SIGHUP);
  watch_signal(&k, &k.usr1, on_usr1, SIGUSR1);
  watch_signal(&k, &k.usr2, on_usr2, SIGUSR2);
  watch_signal(&k, &k.term, on_term, SIGTERM);
  watch_signal(&k, &k.intr, on_int, SIGINT);
  watch_signal(&k, &k.quit, on_quit, SIGQUIT);
  watch_signal(&k, &k.child, on_child, SIGCHLD);
  if (take_over(&k) || pt_doors_open(&k.doors, k.loop, cfg, pt_taker_heritage(k.taker)) || (!k.taker && start_admin(&k)) ||
      pt_process_settle(&k.process, cfg, lua_path, script) || pt_log_start() || start_workers(&k))
    goto out;
  k.watchdog = pt_watchdog_start(k.workers, k.nworkers, cfg->watchdog_warn, cfg->watchdog_abort);
  if (!k.watchdog)
    goto out;
  ev_timer_start(k.loop, &k.grace);
  if (!k.taker)
    wait_for_heir(&k);
  ev_run(k.loop, 0);
  code = k.failed;
out:
  pt_doors_close(&k.doors);
  if (!k.stopping && code)
    tell_workers(&k, PT_MSG_STOP, 0);
  pt_admin_stop(k.admin);
  pt_watchdog_stop(k.watchdog);
  if (!code)
    sum_up(&k);
  end_workers(&k);
  pt_giver_free(k.giver);
  free(k.upgrade_socket);
  pt_subjects_free(&k.subjects);
  pt_taker_free(k.taker);
  free(k.greeters);
  free(k.workers);
  pt_doors_free(&k.doors);
  pt_config_unref(k.cfg);
  if (k.loop)
    ev_loop_destroy(k.loop);
  pt_process_end(&k.process);
  pt_log_stop();
  return code;
}
