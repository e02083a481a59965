/* One question to the admin server of a puerta: HTTP over its unix socket or an address, one connection a question. */
#ifndef PT_CTL_ASK_H
#define PT_CTL_ASK_H

#include <stddef.h>

typedef struct pt_ctl_server {
  const char *at; /* "unix:/path", "host:port"; NULL: the socket in a run directory */
  const char *token; /* NULL: none */
} pt_ctl_server;

typedef struct pt_ctl_answer {
  int status; /* of HTTP */
  char *body; /* NUL-terminated, malloc'ed */
  size_t n;
} pt_ctl_answer;

/* 0, or -1: err says why there is no answer. Each step may take ten seconds. */
int pt_ctl_ask(const pt_ctl_server *s, const char *method, const char *path, pt_ctl_answer *out, char *err, size_t errsize);

#endif
