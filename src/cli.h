/* The command line of a puerta that serves or looks at a configuration. What there is stands in cli_options.h. */
#ifndef PT_CLI_H
#define PT_CLI_H

#include "base/version.h"
#include "core/control.h"

typedef struct pt_cli {
  const char *file; /* NULL: none was given */
  const char *scram; /* the user of --scram, NULL */
  bool test, dump, daemon;
  pt_overrides over;
} pt_cli;

/* Fills cli; its strings are argv's. -1: go on, else the exit code: help was printed, or the arguments are wrong and it has been said how. */
int pt_cli_parse(int argc, char **argv, pt_cli *cli);

#endif
