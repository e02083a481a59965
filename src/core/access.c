#include "core/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/upstream.h"

enum {
  GONE_MS = 60000 /* one that has waited for so long has lost its client, and will not be answered */
};

struct pt_access_request {
  uint64_t since; /* ns */
  pt_owner who;
  bool begun; /* a part of its reply has come */
  char listener[65], command[32], where[160], node[PT_UPSTREAM_NAME];
};

void pt_access_configure(pt_access *a, const pt_config *cfg) {
  a->connections = cfg->access_connections;
  a->every = cfg->access_every;
  a->left = a->every;
}

void pt_access_free(pt_access *a) {
  while (a->n)
    free(a->pending[--a->n]);
}

bool pt_access_next(pt_access *a, unsigned n, unsigned *i) {
  unsigned rest = n - *i;
  if (!a->every)
    return false;
  if (a->left > rest) {
    a->left -= rest;
    return false;
  }
  *i += a->left;
  a->left = a->every;
  return true;
}

/* ---- connections ---- */

void pt_access_closed(pt_access *a, const pt_access_connection *c) {
  uint64_t ms = (c->now - c->since) / PT_NS_PER_MS;
  const pt_hostport *at = &c->listener->bind;
  char why[200] = "-";
  if (a->why)
    snprintf(why, sizeof why, "\"%.160s (%s)\"", a->why, pt_errors[a->error].code);
  pt_log_access("connection listener=%s at=%s:%u from=%s s=%llu.%03llu requests=%llu in=%llu out=%llu why=%s", c->listener->name,
                at->host, at->port, c->from, (unsigned long long)ms / 1000, (unsigned long long)ms % 1000,
                (unsigned long long)c->requests, (unsigned long long)c->in, (unsigned long long)c->out, why);
}

/* ---- requests ---- */

/* What clients name is theirs to choose: only what names are made of is written. */
static void copy_word(char *out, size_t cap, const char *word) {
  size_t n = 0;
  for (; *word && n + 1 < cap; word++)
    out[n++] = (*word >= 'a' && *word <= 'z') || (*word >= 'A' && *word <= 'Z') || (*word >= '0' && *word <= '9') ||
                       strchr("=._$-|", *word)
                   ? *word
                   : '?';
  out[n] = 0;
}

pt_access_request *pt_access_begin(const pt_listener_config *listener, const char *command, const char *where) {
  pt_access_request *r = calloc(1, sizeof *r);
  if (!r)
    return NULL;
  r->since = pt_now_ns();
  snprintf(r->listener, sizeof r->listener, "%s", listener->name);
  copy_word(r->command, sizeof r->command, command);
  copy_word(r->where, sizeof r->where, where);
  return r;
}

static void end(pt_access_request *r, const char *node, const char *outcome) {
  pt_log_access("request listener=%s command=%s %s node=%s us=%llu outcome=%s", r->listener, r->command, r->where, node,
                (unsigned long long)(pt_now_ns() - r->since) / 1000, outcome);
  free(r);
}

void pt_access_end(pt_access_request *r, const char *node, int code) {
  char outcome[32] = "ok";
  if (!r)
    return;
  if (code)
    snprintf(outcome, sizeof outcome, code > 0 ? "error-%d" : "unanswered", code);
  end(r, node ? node : "-", outcome);
}

void pt_access_await(pt_worker *w, pt_owner who, pt_access_request *r, const char *node) {
  pt_access *a = &w->access;
  if (!r)
    return;
  if (a->n == PT_ACCESS_PENDING && r->since - a->pending[0]->since < (uint64_t)GONE_MS * PT_NS_PER_MS) {
    free(r);
    return;
  }
  if (a->n == PT_ACCESS_PENDING) {
    end(a->pending[0], a->pending[0]->node, "unanswered");
    memmove(a->pending, a->pending + 1, --a->n * sizeof *a->pending);
  }
  r->who = who;
  snprintf(r->node, sizeof r->node, "%s", node);
  a->pending[a->n++] = r;
}

/* The first word of an error, when it looks like one: a script may put anything there. */
static void error_word(char out[24], const uint8_t *p, uint32_t n) {
  uint32_t k = 1;
  while (k < n && k < 20 && p[k] >= 'A' && p[k] <= 'Z')
    k++;
  bool word = k > 1 && k < n && p[k] == ' ';
  snprintf(out, 24, "%.*s", word ? (int)k - 1 : 5, word ? (const char *)p + 1 : "error");
}

void pt_access_reply(pt_worker *w, pt_owner who, const uint8_t *p, uint32_t n, bool last) {
  pt_access *a = &w->access;
  char outcome[24] = "ok";
  for (uint32_t i = 0; i < a->n; i++) {
    pt_access_request *r = a->pending[i];
    if (r->who.index != who.index || r->who.kind != who.kind || r->who.gen != who.gen || r->who.seq != who.seq)
      continue;
    if (!last) {
      r->begun = true;
      return;
    }
    if (!r->begun && n && *p == '-')
      error_word(outcome, p, n);
    end(r, r->node, outcome);
    memmove(a->pending + i, a->pending + i + 1, (--a->n - i) * sizeof *a->pending);
    return;
  }
}
