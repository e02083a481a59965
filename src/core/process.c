#include "core/process.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/daemon.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/pid_file.h"
#include "base/privileges.h"
#include "base/run_dir.h"

enum {
  OWN_FILES = 64, /* the log, Lua, event loops, probes */
  END_MS = 5000 /* what an end takes beside the draining */
};

/* What a client costs: its connection, and in connection mode one to its backend. */
static unsigned files_per_client(const pt_config *cfg) {
  for (unsigned i = 0; i < cfg->nlisteners; i++)
    if (cfg->listeners[i].mongo && !cfg->listeners[i].mongo->per_request)
      return 2;
  return 1;
}

static void raise_file_limit(const pt_config *cfg) {
  struct rlimit r;
  if (getrlimit(RLIMIT_NOFILE, &r))
    return;
  rlim_t was = r.rlim_cur;
  r.rlim_cur = r.rlim_max;
  if (was != r.rlim_max && setrlimit(RLIMIT_NOFILE, &r))
    r.rlim_cur = was;
  unsigned each = files_per_client(cfg);
  rlim_t left = r.rlim_cur > OWN_FILES ? (r.rlim_cur - OWN_FILES) / each : 0;
  pt_info("start", "%ju open files allowed: room for about %ju clients%s", (uintmax_t)r.rlim_cur, (uintmax_t)left,
          each > 1 ? ", with a connection to a backend each" : " and their nodes");
}

int pt_process_begin(pt_process *p, const pt_config *cfg, const pt_overrides *over) {
  const char *path = over->pid_file ? over->pid_file : cfg->pid_file;
  char err[512];
  *p = (pt_process){.foreground = over->foreground, .log = over->error_log ? over->error_log : cfg->log_to};
  raise_file_limit(cfg);
  if (over->upgrade) { /* it is the other's until it has been replaced */
    p->next_pid_file = path;
    return 0;
  }
  if (path && pt_pid_file_write(path, 0, err, sizeof err)) {
    pt_error("start", "%s", err);
    return -1;
  }
  p->pid_file = path;
  return 0;
}

/* The file as the new user sees it, with all that belongs to it (secrets, policies): a dry run of a reload. */
static void try_reload(const pt_config *cfg, const char *lua_path, const pt_script *script) {
  pt_config *again = NULL;
  char *errors = NULL;
  if (script->load(cfg->file, lua_path, &again, &errors)) {
    for (char *save, *line = errors ? strtok_r(errors, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
      pt_warn("start", "%s", line);
    pt_warn("start", "a reload would fail: user \"%s\" needs to read what the configuration names", cfg->user);
    free(errors);
  }
  pt_config_unref(again);
}

/* The sockets in it are the new user's to make. */
static void give_run_dir(const pt_config *cfg) {
  char dir[PATH_MAX];
  if (geteuid() == 0 && !pt_run_dir(dir, sizeof dir) && chown(dir, pt_process_user(cfg), (gid_t)-1))
    pt_warn("start", "%s stays root's: %s", dir, strerror(errno));
}

int pt_process_settle(const pt_process *p, const pt_config *cfg, const char *lua_path, const pt_script *script) {
  char err[256];
  if (!cfg->user)
    return 0;
  give_run_dir(cfg);
  int e = pt_privileges_drop(cfg->user, cfg->group, err, sizeof err);
  if (e < 0) {
    pt_error("start", "%s", err);
    return -1;
  }
  if (e > 0) {
    pt_info("start", "running as user \"%s\" (uid %u, gid %u), without capabilities", cfg->user, (unsigned)getuid(),
            (unsigned)getgid());
    try_reload(cfg, lua_path, script);
    if (*p->log == '/' && access(p->log, W_OK))
      pt_warn("start", "user \"%s\" may not write %s: it stays open, but SIGUSR1 will not open it again", cfg->user, p->log);
  }
  return 0;
}

uid_t pt_process_user(const pt_config *cfg) {
  const struct passwd *u = cfg->user ? getpwnam(cfg->user) : NULL;
  return u ? u->pw_uid : geteuid();
}

void pt_process_take_over(pt_process *p, pid_t from) {
  char err[512], text[64];
  if (p->next_pid_file && pt_pid_file_write(p->next_pid_file, from, err, sizeof err))
    pt_warn("upgrade", "%s", err);
  else
    p->pid_file = p->next_pid_file;
  snprintf(text, sizeof text, "MAINPID=%d", (int)getpid());
  pt_notify(text);
  pt_process_ready(p);
}

/* A daemon leaves its terminal, and whatever else its stderr was. */
static void keep_log(void) {
  if (!pt_log_on_stderr() || pt_daemon_keeps_stderr())
    return;
  pt_info("start", "a daemon leaves its terminal: the log goes on in syslog");
  pt_log_flush(1000);
  if (pt_log_to("syslog"))
    pt_warn("start", "there is no syslog, the log ends here: --error-log PATH or log.to keeps it");
}

void pt_process_release(pt_process *p) {
  if (p->foreground < 0)
    return;
  keep_log();
  pt_log_flush(1000);
  pt_daemon_ready(p->foreground);
  p->foreground = -1;
}

void pt_process_ready(pt_process *p) {
  if (p->ready)
    return;
  p->ready = true;
  pt_notify("READY=1\nSTATUS=serving");
  pt_process_release(p);
}

void pt_process_reloading(void) {
  char text[64];
  snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, pt_now_ns() / 1000);
  pt_notify(text);
}

void pt_process_reloaded(const pt_process *p, unsigned long long generation) {
  char text[64];
  snprintf(text, sizeof text, "READY=1\nSTATUS=serving, generation %llu", generation);
  if (p->ready)
    pt_notify(text);
}

void pt_process_stopping(unsigned long long ms) {
  char text[64];
  snprintf(text, sizeof text, "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=%llu", (ms + END_MS) * 1000);
  pt_notify(text);
}

void pt_process_end(pt_process *p) {
  int e = p->pid_file ? pt_pid_file_remove(p->pid_file) : 0;
  if (e && e != -ENOENT)
    pt_warn("stop", "pid file %s stays: %s", p->pid_file, strerror(-e));
  p->pid_file = NULL;
}
