#include "ctl/upgrade.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/doc.h"

enum {
  LOOK_MS = 100,
  LOOKS = 600 /* a minute: it may have to wait for its cluster */
};

/* "?binary=" and the path, as a URL has it. */
static int query(const char *binary, char *out, size_t size) {
  char real[PATH_MAX];
  if (!realpath(binary, real)) {
    perror(binary);
    return -1;
  }
  size_t n = (size_t)snprintf(out, size, "?binary=");
  for (const char *p = real; *p; p++)
    if (n + 4 > size)
      return -1;
    else if (isalnum((unsigned char)*p) || strchr("/._-", *p))
      out[n++] = *p, out[n] = 0;
    else
      n += (size_t)snprintf(out + n, size - n, "%%%02X", (unsigned char)*p);
  return 0;
}

/* The pid of who serves; 0: nobody answers just now. */
static int serving(const pt_ctl_server *s) {
  char err[256];
  pt_ctl_answer a;
  if (pt_ctl_ask(s, "GET", "/status", &a, err, sizeof err))
    return 0;
  bson_t *d = a.status == 200 ? pt_doc_parse(a.body) : NULL;
  int pid = d ? (int)pt_doc_number(d, "pid") : 0;
  bson_destroy(d);
  free(a.body);
  return pid;
}

int pt_ctl_upgrade(const pt_ctl_server *s, const char *binary) {
  char path[3 * PATH_MAX + 32] = "/upgrade", err[512];
  pt_ctl_answer a;
  int before = serving(s);
  if (binary && query(binary, path + strlen(path), sizeof path - strlen(path)))
    return 1;
  if (pt_ctl_ask(s, "POST", path, &a, err, sizeof err)) {
    fprintf(stderr, "puerta ctl: %s\n", err);
    return 1;
  }
  int good = a.status == 202;
  fputs(a.body, good ? stdout : stderr);
  fflush(stdout);
  free(a.body);
  for (unsigned i = 0; good && i < LOOKS; i++) {
    int now = serving(s);
    if (now && now != before) {
      printf("process %d serves\n", now);
      return 0;
    }
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
  }
  if (good)
    fprintf(stderr, "puerta ctl: process %d still serves; its log (GET /log) says why\n", before);
  return 1;
}
