/* puerta: what the command line asks for. The only file that knows every room. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/daemon.h"
#include "cli.h"
#include "core/control.h"
#include "ctl/ctl.h"
#include "script/affinity_lua.h"
#include "script/config_lua.h"
#include "script/policy_lua.h"
#include "wire/scram.h"

enum {
  SCRAM_ITERATIONS = 15000 /* as MongoDB's own users have */
};

/* The verifier of a password, which is read without an echo when somebody types it. */
static int scram(const char *user) {
  char password[512] = "", text[512];
  struct termios was, quiet;
  bool typed = tcgetattr(STDIN_FILENO, &was) == 0;
  if (typed) {
    fprintf(stderr, "password of %s: ", user);
    quiet = was;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
  }
  bool got = fgets(password, sizeof password, stdin) != NULL;
  if (typed) {
    tcsetattr(STDIN_FILENO, TCSANOW, &was);
    fputc('\n', stderr);
  }
  password[strcspn(password, "\r\n")] = 0;
  pt_scram_verifier v;
  int e = got && *password ? pt_scram_verifier_make(&v, PT_SHA256, user, password, SCRAM_ITERATIONS) : -EINVAL;
  explicit_bzero(password, sizeof password);
  if (e || pt_scram_verifier_write(&v, text, sizeof text) < 0) {
    fprintf(stderr, "puerta: --scram: %s\n", e == -EINVAL ? "no password, or one that SCRAM does not allow" : "out of memory");
    return 1;
  }
  puts(text);
  return 0;
}

/* In a source tree its example, else what is installed. NULL: nothing is there, it has been said. */
static const char *default_file(void) {
  static const char *const places[] = {"../conf/redis.lua", "/etc/puerta/puerta.lua", "../share/puerta/conf/redis.lua"};
  static char path[PATH_MAX];
  char self[PATH_MAX - 64];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  char *slash = n > 0 ? (self[n] = 0, strrchr(self, '/')) : NULL;
  if (slash)
    slash[1] = 0;
  for (unsigned i = 0; slash && i < 3; i++) {
    char *real;
    snprintf(path, sizeof path, "%s%s", *places[i] == '/' ? "" : self, places[i]);
    if (access(path, R_OK) == 0 && (real = realpath(path, NULL))) {
      snprintf(path, sizeof path, "%s", real);
      free(real);
      return path;
    }
  }
  fprintf(stderr, "puerta: no configuration file given, and none at %s\n", places[1]);
  return NULL;
}

/* To whoever started puerta, and to the log of -e, which may be read later. */
static int print_errors(char *errors, int log) {
  size_t n = strlen(errors);
  const char *end = n && errors[n - 1] != '\n' ? "\n" : "";
  fprintf(stderr, "%s%s", errors, end);
  if (log >= 0)
    dprintf(log, "%s%s", errors, end);
  free(errors);
  return 1;
}

/* The file of -e; -1: there is none, -2: it cannot be opened, which has been said. */
static int open_log(const char *path) {
  int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640) : -1;
  if (path && fd < 0) {
    fprintf(stderr, "puerta: --error-log %s: %s\n", path, strerror(errno));
    return -2;
  }
  return fd;
}

/* -t: a policy that does not load is an error of the configuration too. */
static int test_policies(const pt_config *cfg, const char *lua_path) {
  int bad = 0;
  for (unsigned i = 0; i < cfg->nlisteners; i++) {
    const pt_listener_config *lc = &cfg->listeners[i];
    char err[512];
    if (lc->kind == PT_LISTENER_MONGODB) {
      pt_affinity *a = pt_affinity_lua(&lc->policy, lua_path, err, sizeof err);
      if (a)
        a->free(a);
      else
        bad += fprintf(stderr, "%s\n", err) > 0;
    } else if (strcmp(lc->policy.name, "c") != 0) {
      pt_policy *p = pt_policy_lua(&lc->policy, lua_path, err, sizeof err);
      if (p)
        p->free(p);
      else
        bad += fprintf(stderr, "%s\n", err) > 0;
    }
  }
  return bad;
}

/* Serves, here or in the background. The log of -e takes the place of stderr: it gets the last words of a crash too. */
static int serve(pt_config *cfg, const char *lua_path, const pt_script *script, pt_cli *cli, int log) {
  if (cli->daemon || cfg->daemon) {
    cli->over.foreground = pt_daemon_start(cli->over.error_log);
    if (cli->over.foreground < 0) {
      fprintf(stderr, "puerta: --daemon: %s\n", strerror(-cli->over.foreground));
      pt_config_unref(cfg);
      return 1;
    }
  }
  if (log >= 0 && dup2(log, STDERR_FILENO) >= 0)
    close(log);
  return pt_control_run(cfg, lua_path, script, &cli->over);
}

int main(int argc, char **argv) {
  pt_cli cli;
  if (argc > 1 && !strcmp(argv[1], "ctl"))
    return pt_ctl_main(argc - 1, argv + 1);
  const char *lua_path = getenv("PUERTA_LUA_PATH");
  static const pt_script script = {.load = pt_config_load, .policy = pt_policy_lua, .affinity = pt_affinity_lua};
  pt_config *cfg = NULL;
  char *errors = NULL, *text = NULL;
  int log, code = pt_cli_parse(argc, argv, &cli);
  cli.over.argv = argv;
  if (code >= 0)
    return code;
  if (cli.scram)
    return scram(cli.scram);
  const char *file = cli.file ? cli.file : default_file();
  if (!file)
    return 1;
  if (cli.dump) {
    if (pt_config_dump(file, lua_path, &text, &errors))
      return print_errors(errors, -1);
    fputs(text, stdout);
    free(text);
    return 0;
  }
  if ((log = cli.test ? -1 : open_log(cli.over.error_log)) == -2)
    return 1;
  if (pt_config_load(file, lua_path, &cfg, &errors))
    return print_errors(errors, log);
  if (cli.test) {
    code = test_policies(cfg, lua_path) ? 1 : 0;
    if (!code)
      puts("configuration ok");
    pt_config_unref(cfg);
    return code;
  }
  return serve(cfg, lua_path, &script, &cli, log);
}
