#include "core/spawn.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Where this binary was when it was started: a package has put another one there since. */
static int own_path(char out[PATH_MAX]) {
  static const char gone[] = " (deleted)";
  ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
  if (n < 0)
    return -errno;
  out[n] = 0;
  if ((size_t)n > sizeof gone - 1 && !strcmp(out + n - (sizeof gone - 1), gone))
    out[n - (ssize_t)(sizeof gone - 1)] = 0;
  return 0;
}

/* The same arguments, and --upgrade once. */
static char **arguments(const char *binary, char *const *argv) {
  static char option[] = "--upgrade";
  size_t n = 0, k = 0;
  while (argv[n])
    n++;
  char **out = calloc(n + 2, sizeof *out);
  if (!out)
    return NULL;
  out[k++] = (char *)(uintptr_t)binary;
  for (size_t i = 1; i < n; i++)
    if (strcmp(argv[i], option) != 0)
      out[k++] = argv[i];
  out[k] = option;
  return out;
}

pid_t pt_spawn_heir(const char *binary, char *const *argv) {
  char own[PATH_MAX];
  posix_spawnattr_t how;
  sigset_t none, all;
  pid_t pid;
  int e = binary ? 0 : own_path(own);
  if (e)
    return e;
  char **args = arguments(binary ? binary : own, argv);
  if (!args)
    return -ENOMEM;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_init(&how);
  posix_spawnattr_setsigmask(&how, &none);
  posix_spawnattr_setsigdefault(&how, &all);
  posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  e = posix_spawn(&pid, args[0], NULL, &how, args, environ);
  posix_spawnattr_destroy(&how);
  free(args);
  return e ? -e : pid;
}

pid_t pt_spawn_reap(int *how) { return waitpid(-1, how, WNOHANG); }
