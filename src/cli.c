#include "cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

typedef enum option_id {
#define OPTION(id, letter, name, argument, text) OPT_##id,
#include "cli_options.h"
  OPTIONS
} option_id;

typedef struct described {
  char letter;
  const char *name, *argument, *text;
} described;

static const described options[] = {
#define OPTION(id, letter, name, argument, text) {letter, name, argument, text},
#include "cli_options.h"
};

typedef struct pair {
  const char *name, *text;
} pair;

static const pair usages[] = {
#define USAGE(form, text) {form, text},
#include "cli_options.h"
    {0}};
static const pair signals[] = {
#define SIGNAL(name, text) {name, text},
#include "cli_options.h"
    {0}};
static const pair environment[] = {
#define ENVIRONMENT(name, text) {name, text},
#include "cli_options.h"
    {0}};

static void print_pairs(const char *title, const pair *p, const char *before, int width) {
  for (const pair *first = p; p->name; p++)
    printf("%s%s%-*s %s\n", p == first ? title : "", before, width, p->name, p->text);
}

static void help(void) {
  puts("puerta " PT_VERSION ": a Lua-scriptable proxy for Redis Cluster and MongoDB sharded clusters");
  print_pairs("\nusage:\n", usages, "  puerta ", 18);
  puts("");
  for (unsigned i = 0; i < OPTIONS; i++) {
    const described *o = &options[i];
    char letter[] = {'-', o->letter, ',', 0}, name[64];
    snprintf(name, sizeof name, "--%s %s", o->name, o->argument ? o->argument : "");
    printf("  %-3s %-20s %s\n", o->letter ? letter : "", name, o->text);
  }
  puts("\nWithout FILE: /etc/puerta/puerta.lua, or the example beside the binary.");
  print_pairs("\nsignals:\n", signals, "  ", 6);
  print_pairs("\nenvironment:\n", environment, "  ", 16);
}

static int usage(const char *what, const char *thing) {
  fprintf(stderr, "puerta: %s%s; see puerta --help\n", what, thing);
  return 2;
}

static int set_file(pt_cli *cli, const char *file) {
  if (cli->file)
    return usage("one configuration file, not two: ", file);
  cli->file = file;
  return -1;
}

static int set_workers(pt_cli *cli, const char *text) {
  char *end;
  long n = strtol(text, &end, 10);
  if (*end || !*text || n < 0 || n > 256)
    return usage("-w: expected a number 0..256, got ", text);
  cli->over.workers = (int)n;
  return -1;
}

static int set_log_level(pt_cli *cli, const char *name) {
  if (pt_log_level(name) < 0)
    return usage("--log-level: expected debug, info, warn or error, got ", name);
  cli->over.log_level = name;
  return -1;
}

/* -1: go on, else the exit code. */
static int take(pt_cli *cli, option_id id) {
  switch (id) {
  case OPT_CONFIG:
    return set_file(cli, optarg);
  case OPT_TEST:
    cli->test = true;
    return -1;
  case OPT_DUMP:
    cli->dump = true;
    return -1;
  case OPT_DAEMON:
    cli->daemon = true;
    return -1;
  case OPT_PID_FILE:
    cli->over.pid_file = optarg;
    return -1;
  case OPT_ERROR_LOG:
    cli->over.error_log = optarg;
    return -1;
  case OPT_UPGRADE:
    cli->over.upgrade = true;
    return -1;
  case OPT_UPGRADE_SOCK:
    cli->over.upgrade_socket = optarg;
    return -1;
  case OPT_WORKERS:
    return set_workers(cli, optarg);
  case OPT_LOG_LEVEL:
    return set_log_level(cli, optarg);
  case OPT_SCRAM:
    cli->scram = optarg;
    return -1;
  case OPT_VERSION:
    puts("puerta " PT_VERSION);
    return 0;
  case OPT_HELP:
    help();
    return 0;
  case OPTIONS: /* getopt has said what */
    break;
  }
  return usage("bad option", "");
}

/* As getopt_long wants them: "c:tdp:...", and the long ones, which give LONG_ONLY and their id. */
enum {
  LONG_ONLY = 256
};
static void for_getopt(char letters[2 * OPTIONS + 1], struct option longs[OPTIONS + 1]) {
  for (int i = 0; i < OPTIONS; i++) {
    const described *o = &options[i];
    *longs++ = (struct option){o->name, o->argument ? required_argument : no_argument, NULL, LONG_ONLY + i};
    if (o->letter)
      *letters++ = o->letter;
    if (o->letter && o->argument)
      *letters++ = ':';
  }
  *letters = 0;
  *longs = (struct option){0};
}

static option_id found(int code) {
  if (code >= LONG_ONLY)
    return (option_id)(code - LONG_ONLY);
  unsigned i = 0;
  while (i < OPTIONS && options[i].letter != code)
    i++;
  return (option_id)i;
}

int pt_cli_parse(int argc, char **argv, pt_cli *cli) {
  char letters[2 * OPTIONS + 1];
  struct option longs[OPTIONS + 1];
  int o, code = -1;
  *cli = (pt_cli){.over = {.workers = -1, .foreground = -1}};
  for_getopt(letters, longs);
  while (code < 0 && (o = getopt_long(argc, argv, letters, longs, NULL)) != -1)
    code = take(cli, found(o));
  if (code < 0 && optind < argc && !strcmp(argv[optind], "run"))
    optind++;
  for (; code < 0 && optind < argc; optind++)
    code = set_file(cli, argv[optind]);
  return code;
}
