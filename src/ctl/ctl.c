#include "ctl/ctl.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ask.h"
#include "ctl/doc.h"
#include "ctl/show.h"
#include "ctl/top.h"
#include "ctl/upgrade.h"

typedef struct options {
  pt_ctl_server server;
  char token[512];
  bool json, once;
} options;

typedef struct command command;
struct command {
  const char *name, *argument;
  int (*run)(const command *c, const options *o, const char *argument);
  const char *path; /* of the admin server */
  void (*show)(FILE *out, const bson_t *d); /* its answer, for people */
};

/* ---- kinds of commands ---- */

static int complain(const char *what) {
  fprintf(stderr, "puerta ctl: %s\n", what);
  return 1;
}

static int refused(const pt_ctl_answer *a) {
  if (a->status == 401)
    return complain(
        "it asks for the token of option admin: give the file that holds it with --token-file, or the token as PUERTA_TOKEN");
  fprintf(stderr, "%s%s", a->body, a->n && a->body[a->n - 1] == '\n' ? "" : "\n");
  return 1;
}

/* Shows what a path tells. */
static int show(const command *c, const options *o, const char *argument) {
  (void)argument;
  char err[512];
  pt_ctl_answer a;
  if (pt_ctl_ask(&o->server, "GET", c->path, &a, err, sizeof err))
    return complain(err);
  int code = 0;
  bson_t *d = a.status == 200 && !o->json && c->show ? pt_doc_parse(a.body) : NULL;
  if (a.status != 200)
    code = refused(&a);
  else if (d)
    c->show(stdout, d);
  else if (o->json || !c->show)
    fputs(a.body, stdout);
  else
    code = complain("the answer is no JSON");
  bson_destroy(d);
  free(a.body);
  return code;
}

/* Has something done. */
static int act(const command *c, const options *o, const char *argument) {
  char err[512], path[128];
  pt_ctl_answer a;
  snprintf(path, sizeof path, "%s%.64s", c->path, argument ? argument : "");
  if (pt_ctl_ask(&o->server, "POST", path, &a, err, sizeof err))
    return complain(err);
  int code = 0;
  if (a.status / 100 == 2)
    fputs(a.body, stdout);
  else
    code = refused(&a);
  free(a.body);
  return code;
}

static int log_level(const command *c, const options *o, const char *argument) {
  return strspn(argument, "abcdefghijklmnopqrstuvwxyz") == strlen(argument) ? act(c, o, argument)
                                                                            : complain("expected debug, info, warn or error");
}

static int top(const command *c, const options *o, const char *argument) {
  (void)c, (void)argument;
  return pt_ctl_top(&o->server, o->once);
}

static int upgrade(const command *c, const options *o, const char *argument) {
  (void)c;
  return pt_ctl_upgrade(&o->server, argument);
}

static const command commands[] = {
#define CTL(name, argument, text, run, path, show) {name, argument, run, path, show},
#include "ctl/commands.h"
};

/* ---- arguments ---- */

static void line(const char *name, const char *argument, const char *text) {
  char form[40];
  snprintf(form, sizeof form, "%s %s", name, argument ? argument : "");
  printf("  %-18s %s\n", form, text);
}

static void help(void) {
  puts("usage: puerta ctl COMMAND [options]\n");
#define CTL(name, argument, text, run, path, show) line(name, argument, text);
#include "ctl/commands.h"
  puts("");
#define CTL_OPTION(name, argument, text) line("--" name, argument, text);
#include "ctl/commands.h"
  puts("\nThe configuration of the running puerta needs `admin = {}`.");
}

static int usage(const char *what, const char *thing) {
  fprintf(stderr, "puerta ctl: %s%s; see puerta ctl --help\n", what, thing);
  return 2;
}

/* The first line of a file. */
static int read_token(options *o, const char *file) {
  FILE *f = fopen(file, "re");
  if (!f || !fgets(o->token, sizeof o->token, f)) {
    fprintf(stderr, "puerta ctl: no token in %s\n", file);
    if (f)
      fclose(f);
    return 1;
  }
  fclose(f);
  o->token[strcspn(o->token, "\r\n")] = 0;
  o->server.token = o->token;
  return -1;
}

/* -1: go on, else the exit code. */
static int parse(int argc, char **argv, options *o) {
  static const struct option known[] = {{"admin", required_argument, NULL, 'a'}, {"token-file", required_argument, NULL, 't'},
                                        {"json", no_argument, NULL, 'j'},        {"once", no_argument, NULL, 'o'},
                                        {"help", no_argument, NULL, 'h'},        {0}};
  int c, code = -1;
  o->server = (pt_ctl_server){getenv("PUERTA_ADMIN"), getenv("PUERTA_TOKEN")};
  while (code < 0 && (c = getopt_long(argc, argv, "h", known, NULL)) != -1)
    switch (c) {
    case 'a':
      o->server.at = optarg;
      break;
    case 't':
      code = read_token(o, optarg);
      break;
    case 'j':
      o->json = true;
      break;
    case 'o':
      o->once = true;
      break;
    case 'h':
      help();
      return 0;
    default:
      return usage("bad option", "");
    }
  return code;
}

int pt_ctl_main(int argc, char **argv) {
  options o = {0};
  int code = parse(argc, argv, &o);
  if (code >= 0)
    return code;
  if (optind >= argc)
    return usage("which command?", "");
  if (o.server.token && strpbrk(o.server.token, "\r\n "))
    return usage("a token has no spaces and no line breaks", "");
  for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
    const command *c = &commands[i];
    if (strcmp(c->name, argv[optind]))
      continue;
    bool optional = c->argument && *c->argument == '[';
    if (argc - optind - 1 != (c->argument != NULL) && !(optional && argc - optind == 1))
      return usage(c->argument ? "expected one argument: " : "too many arguments after ", c->argument ? c->argument : c->name);
    return c->run(c, &o, c->argument && argc - optind > 1 ? argv[optind + 1] : NULL);
  }
  return usage("no command ", argv[optind]);
}
