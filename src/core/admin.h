/* The admin server: HTTP for operators, on a unix socket or an address (libmicrohttpd). It runs in the control thread's loop, so what it shows is
 * consistent and what it changes needs no hand-over; a client of it that is slow or hostile holds a descriptor for ten seconds, nothing else.
 *
 * Who may ask: on a unix socket its owner (mode 0600). On an address: with `token` whoever knows it, else local programs; browsers that were led
 * here by a foreign page or name are refused (Host, Origin). /healthz and /readyz ask for no token.
 */
#ifndef PT_CORE_ADMIN_H
#define PT_CORE_ADMIN_H

#include <stdio.h>
#include <sys/types.h>

#include "core/survey.h"

struct ev_loop;
typedef struct pt_admin pt_admin;

/* What the server asks of the control thread. */
typedef struct pt_admin_hooks {
  void *arg;
  void (*look)(void *arg, pt_survey *out);
  int (*reload)(void *arg, FILE *why); /* 0, or -1: why has the reasons, one a line */
  void (*drain)(void *arg);
  pid_t (*upgrade)(
      void *arg,
      const char *binary); /* the process that will replace this one, or -errno; binary NULL: what now stands at its path */
} pt_admin_hooks;

/* Binds and serves as cfg->admin says. hooks: copied. NULL: it has been logged why. */
pt_admin *pt_admin_start(struct ev_loop *loop, const pt_config *cfg, const pt_admin_hooks *hooks);
/* Closes everything and removes its socket, if that is still its own. NULL is allowed. */
void pt_admin_stop(pt_admin *a);

#endif
