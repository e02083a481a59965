/* What the admin server answers on its paths. Control thread. */
#ifndef PT_CORE_ADMIN_PATHS_H
#define PT_CORE_ADMIN_PATHS_H

#include "core/admin.h"

/* A request that may be answered. */
typedef struct pt_admin_request {
  const pt_admin_hooks *hooks;
  struct ev_loop *loop;
  bool ours; /* it came over the unix socket: from our own user, or root */
  void *query; /* of argument() */
  const char *(*argument)(void *query, const char *name); /* ?name=, NULL: not given */
  FILE *out; /* the body */
  const char *type; /* its media type, may be changed */
} pt_admin_request;

typedef struct pt_admin_path {
  const char *path;
  bool post; /* changes something: POST, else GET */
  bool open; /* for those without the token, too */
  const char *help;
  int (*serve)(pt_admin_request *r); /* the HTTP status */
} pt_admin_path;

extern const pt_admin_path pt_admin_paths[]; /* ends with path == NULL */

#endif
