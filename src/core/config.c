#include "core/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pt_config *pt_config_new(void) {
  pt_config *c = calloc(1, sizeof *c);
  if (c)
    atomic_init(&c->refs, 1);
  return c;
}

pt_config *pt_config_ref(pt_config *c) {
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

static void free_secret(char *s) {
  if (s)
    explicit_bzero(s, strlen(s));
  free(s);
}

static void free_hostports(pt_hostport *a, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    free(a[i].host);
  free(a);
}

static void free_mongo(pt_mongo_config *m) {
  if (!m)
    return;
  for (unsigned i = 0; i < m->nbackends; i++)
    free(m->backends[i].at.host);
  free(m->backends);
  free(m->trusted);
  for (unsigned i = 0; i < m->nusers; i++) {
    free(m->users[i].name);
    free_secret(m->users[i].verifier);
  }
  free(m->users);
  free(m->backend_user);
  free_secret(m->backend_password);
  free(m->backend_source);
  free(m);
}

static void free_listener(pt_listener_config *l) {
  free(l->name);
  free(l->where);
  free(l->bind.host);
  free(l->allow);
  free(l->deny);
  free_hostports(l->nodes, l->nnodes);
  for (unsigned i = 0; i < l->nusers; i++) {
    free(l->users[i].name);
    free_secret(l->users[i].password);
  }
  free(l->users);
  free(l->backend_user);
  free_secret(l->backend_password);
  free(l->policy.name);
  free(l->policy.opts);
  free(l->policy.where);
  for (unsigned i = 0; i < l->nremap; i++) {
    free(l->remap[i].from.host);
    free(l->remap[i].to.host);
  }
  free(l->remap);
  free_mongo(l->mongo);
  pt_tls_options_free(l->tls_options);
  pt_tls_options_free(l->backend_tls_options);
  pt_tls_context_unref(l->tls);
  pt_tls_context_unref(l->backend_tls);
}

void pt_config_unref(pt_config *c) {
  if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
    return;
  for (unsigned i = 0; i < c->nlisteners; i++)
    free_listener(&c->listeners[i]);
  free(c->listeners);
  free(c->admin.path);
  free(c->admin.bind.host);
  free_secret(c->admin.token);
  free(c->admin.where);
  free(c->file);
  free(c->pid_file);
  free(c->upgrade_socket);
  free(c->user);
  free(c->group);
  free(c->log_level);
  free(c->log_to);
  free(c->access_to);
  free(c->lua_path);
  free(c);
}

static bool differ(const char *a, const char *b) { return a && b ? strcmp(a, b) != 0 : a != b; }

/* The options marked restart in lua/puerta/schema.lua; tests/unit/test_config.c compares the two. NULL: no difference. */
static const char *listener_diff(const pt_listener_config *was, const pt_listener_config *is) {
  if (was->kind != is->kind)
    return "kind";
  if (strcmp(was->bind.host, is->bind.host) || was->bind.port != is->bind.port)
    return "bind";
  if (strcmp(was->name, is->name))
    return "name";
  if (was->backlog != is->backlog)
    return "backlog";
  if (was->connections != is->connections)
    return "connections";
  if (was->mongo && was->mongo->per_request != is->mongo->per_request)
    return "forward";
  return NULL;
}

static bool same_admin(const pt_admin_config *a, const pt_admin_config *b) {
  return a->on == b->on && !differ(a->path, b->path) && !differ(a->bind.host, b->bind.host) && a->bind.port == b->bind.port;
}

static const char *top_diff(const pt_config *was, const pt_config *is) {
  if (was->workers != is->workers)
    return "workers";
  if (was->daemon != is->daemon)
    return "daemon";
  if (differ(was->pid_file, is->pid_file))
    return "pid_file";
  if (differ(was->upgrade_socket, is->upgrade_socket))
    return "upgrade";
  if (differ(was->group, is->group))
    return "group";
  if (differ(was->user, is->user))
    return "user";
  if (!same_admin(&was->admin, &is->admin))
    return "admin";
  return was->nlisteners != is->nlisteners ? "listeners" : NULL;
}

int pt_config_restart_diff(const pt_config *was, const pt_config *is, char *err, size_t errsize) {
  const char *top = top_diff(was, is);
  if (top) {
    snprintf(err, errsize, "%s", top);
    return -1;
  }
  for (unsigned i = 0; i < was->nlisteners; i++) {
    const char *name = listener_diff(&was->listeners[i], &is->listeners[i]);
    if (name) {
      snprintf(err, errsize, "listeners[%u].%s", i + 1, name);
      return -1;
    }
  }
  return 0;
}
