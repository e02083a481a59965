/* puerta: the command line. The only file that knows every room. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "core/control.h"
#include "script/affinity_lua.h"
#include "script/config_lua.h"
#include "script/policy_lua.h"
#include "wire/scram.h"

#ifndef PT_VERSION
#define PT_VERSION "0.1.0"
#endif

enum {
  SCRAM_ITERATIONS = 15000 /* as MongoDB's own users have */
};

static const char help[] =
    "puerta " PT_VERSION ": a Lua-scriptable proxy for Redis Cluster and MongoDB sharded clusters\n"
    "\n"
    "usage: puerta [run] [FILE]       serve as FILE says\n"
    "       puerta -t [FILE]          check FILE: \"configuration ok\", or every error, exit 1\n"
    "       puerta --dump [FILE]      print the effective configuration with all defaults\n"
    "\n"
    "  -c, --config FILE      the same as FILE\n"
    "  -t, --test             check the configuration and end\n"
    "      --dump             print the effective configuration and end; secrets are shown as ***\n"
    "      --scram USER       read a password from standard input, print what `auth` of puerta.mongodb keeps of it\n"
    "  -w, --workers N        worker threads, 0: one per core; wins over the file\n"
    "      --log-level LEVEL  debug, info, warn or error; wins over the file\n"
    "  -V, --version          print the version\n"
    "  -h, --help             print this\n"
    "\n"
    "Without FILE: conf/redis.lua beside the installed binary.\n"
    "Signals: HUP reloads FILE without dropping a connection, TERM finishes what is in flight and ends, INT ends at once.\n"
    "Environment: PUERTA_LUA_PATH, a directory whose puerta/*.lua replace the built-in modules (for development).\n";

typedef struct command_line {
  const char *file;
  bool test, dump;
  pt_overrides over;
} command_line;

static int usage(const char *what, const char *thing) {
  fprintf(stderr, "puerta: %s%s; see puerta --help\n", what, thing);
  return 2;
}

static int set_file(command_line *cl, const char *file) {
  if (cl->file)
    return usage("one configuration file, not two: ", file);
  cl->file = file;
  return -1;
}

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

/* -1: go on, else the exit code. */
static int parse(int argc, char **argv, command_line *cl) {
  enum {
    OPT_DUMP = 256,
    OPT_LEVEL,
    OPT_SCRAM
  };
  static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                          {"test", no_argument, NULL, 't'},
                                          {"dump", no_argument, NULL, OPT_DUMP},
                                          {"scram", required_argument, NULL, OPT_SCRAM},
                                          {"workers", required_argument, NULL, 'w'},
                                          {"log-level", required_argument, NULL, OPT_LEVEL},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  int o, code = -1;
  char *end;
  while (code < 0 && (o = getopt_long(argc, argv, "c:tw:Vh", options, NULL)) != -1) {
    switch (o) {
    case 'c':
      code = set_file(cl, optarg);
      break;
    case 't':
      cl->test = true;
      break;
    case OPT_DUMP:
      cl->dump = true;
      break;
    case 'w': {
      long n = strtol(optarg, &end, 10);
      if (*end || !*optarg || n < 0 || n > 256)
        return usage("-w: expected a number 0..256, got ", optarg);
      cl->over.workers = (int)n;
      break;
    }
    case OPT_LEVEL:
      if (pt_log_level(optarg) < 0)
        return usage("--log-level: expected debug, info, warn or error, got ", optarg);
      cl->over.log_level = optarg;
      break;
    case OPT_SCRAM:
      return scram(optarg);
    case 'V':
      puts("puerta " PT_VERSION);
      return 0;
    case 'h':
      fputs(help, stdout);
      return 0;
    default:
      return usage("bad option", "");
    }
  }
  if (code < 0 && optind < argc && !strcmp(argv[optind], "run"))
    optind++;
  for (; code < 0 && optind < argc; optind++)
    code = set_file(cl, argv[optind]);
  return code;
}

/* conf/redis.lua beside the install (bin/../share/puerta) or the build (build/..). NULL: neither is there, it has been said. */
static const char *default_file(void) {
  static const char *const places[] = {"../share/puerta/conf/redis.lua", "../conf/redis.lua"};
  static char path[PATH_MAX];
  char self[PATH_MAX - 64];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  char *slash = n > 0 ? (self[n] = 0, strrchr(self, '/')) : NULL;
  if (slash)
    slash[1] = 0;
  for (unsigned i = 0; slash && i < 2; i++) {
    char *real;
    snprintf(path, sizeof path, "%s%s", self, places[i]);
    if (access(path, R_OK) == 0 && (real = realpath(path, NULL))) {
      snprintf(path, sizeof path, "%s", real);
      free(real);
      return path;
    }
  }
  fprintf(stderr, "puerta: no configuration file given, and none at %s%s or %s%s\n", slash ? self : "", places[0],
          slash ? self : "", places[1]);
  return NULL;
}

static int print_errors(char *errors) {
  fputs(errors, stderr);
  size_t n = strlen(errors);
  if (n && errors[n - 1] != '\n')
    fputc('\n', stderr);
  free(errors);
  return 1;
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

int main(int argc, char **argv) {
  command_line cl = {.over = {.workers = -1}};
  const char *lua_path = getenv("PUERTA_LUA_PATH");
  static const pt_script script = {.load = pt_config_load, .policy = pt_policy_lua, .affinity = pt_affinity_lua};
  pt_config *cfg = NULL;
  char *errors = NULL, *text = NULL;
  int code = parse(argc, argv, &cl);
  if (code >= 0)
    return code;
  const char *file = cl.file ? cl.file : default_file();
  if (!file)
    return 1;
  if (cl.dump) {
    if (pt_config_dump(file, lua_path, &text, &errors))
      return print_errors(errors);
    fputs(text, stdout);
    free(text);
    return 0;
  }
  if (pt_config_load(file, lua_path, &cfg, &errors))
    return print_errors(errors);
  if (cl.test) {
    code = test_policies(cfg, lua_path) ? 1 : 0;
    if (!code)
      puts("configuration ok");
    pt_config_unref(cfg);
    return code;
  }
  return pt_control_run(cfg, lua_path, &script, &cl.over);
}
