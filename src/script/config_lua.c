#include "script/config_lua.h"

#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_tls.h"
#include "script/fields.h"
#include "script/state.h"

/* What one call works on; lives outside of Lua, so that an error raised half-way leaks nothing. */
typedef struct job {
  const char *file, *lua_path, *function;
  char *base; /* directory of the file, absolute, ending in "/" */
  pt_config *config;
  char *text; /* the dump, or the errors */
  int ok;
} job;

/* ---- the validated tree into C ---- */

#define IN(type, member) offsetof(type, member)
static const pt_field config_fields[] = {{NULL, "workers", PT_FIELD_UINT, IN(pt_config, workers)},
                                         {NULL, "daemon", PT_FIELD_BOOL, IN(pt_config, daemon)},
                                         {NULL, "pid_file", PT_FIELD_TEXT, IN(pt_config, pid_file)},
                                         {"upgrade", "socket", PT_FIELD_TEXT, IN(pt_config, upgrade_socket)},
                                         {NULL, "user", PT_FIELD_TEXT, IN(pt_config, user)},
                                         {NULL, "group", PT_FIELD_TEXT, IN(pt_config, group)},
                                         {"log", "level", PT_FIELD_TEXT, IN(pt_config, log_level)},
                                         {NULL, "drain_timeout", PT_FIELD_U64, IN(pt_config, drain_timeout)},
                                         {NULL, "coalesce", PT_FIELD_U64, IN(pt_config, coalesce)},
                                         {"watchdog", "warn", PT_FIELD_U64, IN(pt_config, watchdog_warn)},
                                         {"watchdog", "abort", PT_FIELD_U64, IN(pt_config, watchdog_abort)},
                                         {NULL, "max_connections", PT_FIELD_UINT, IN(pt_config, max_connections)},
                                         {NULL, "accept_rate", PT_FIELD_UINT, IN(pt_config, accept_rate)},
                                         {"memory", "max", PT_FIELD_U64, IN(pt_config, memory_max)},
                                         {0}};
static const pt_field admin_fields[] = {
    {NULL, "token", PT_FIELD_TEXT, IN(pt_admin_config, token)}, {NULL, "slow", PT_FIELD_U64, IN(pt_admin_config, slow)}, {0}};
#define LISTENER(type, name)                                                                                                     \
  { NULL, #name, PT_FIELD_##type, IN(pt_listener_config, name) }
static const pt_field listener_fields[] = {LISTENER(TEXT, name),
                                           LISTENER(UINT, backlog),
                                           LISTENER(UINT, max_connections),
                                           LISTENER(UINT, accept_rate),
                                           LISTENER(UINT, max_per_source),
                                           {"source_prefix", "v4", PT_FIELD_UINT, IN(pt_listener_config, source_v4)},
                                           {"source_prefix", "v6", PT_FIELD_UINT, IN(pt_listener_config, source_v6)},
                                           {0}};
static const pt_field redis_fields[] = {{"backend_auth", "user", PT_FIELD_TEXT, IN(pt_listener_config, backend_user)},
                                        {"backend_auth", "password", PT_FIELD_TEXT, IN(pt_listener_config, backend_password)},
                                        LISTENER(U64, slot_refresh),
                                        LISTENER(UINT, max_redirects),
                                        LISTENER(UINT, connections),
                                        LISTENER(U64, connect_timeout),
                                        LISTENER(U64, request_timeout),
                                        LISTENER(U64, idle_timeout),
                                        LISTENER(U64, handshake_timeout),
                                        LISTENER(U64, stall_timeout),
                                        LISTENER(U64, retry_interval),
                                        LISTENER(U64, max_bulk),
                                        LISTENER(U64, stream_above),
                                        LISTENER(UINT, max_pipeline),
                                        LISTENER(U64, client_buffer),
                                        LISTENER(U64, max_request),
                                        LISTENER(U64, node_backlog),
                                        {0}};
static const pt_field policy_fields[] = {
    {NULL, "name", PT_FIELD_TEXT, IN(pt_policy_config, name)}, {NULL, "opts", PT_FIELD_TEXT, IN(pt_policy_config, opts)}, {0}};
static const pt_field user_fields[] = {
    {NULL, "user", PT_FIELD_TEXT, IN(pt_user, name)}, {NULL, "password", PT_FIELD_TEXT, IN(pt_user, password)}, {0}};

static void read_user(lua_State *L, void *user) { pt_fields_read(L, user_fields, user); }
static void read_node(lua_State *L, void *node) { pt_fields_hostport(L, node); }

static void read_remap(lua_State *L, void *remap) {
  pt_remap *m = remap;
  lua_getfield(L, -1, "from");
  pt_fields_hostport(L, &m->from);
  lua_getfield(L, -2, "to");
  pt_fields_hostport(L, &m->to);
  lua_pop(L, 2);
}

static void read_policy(lua_State *L, const char *option, pt_policy_config *p, const char *file) {
  lua_getfield(L, -1, option);
  if (lua_istable(L, -1)) {
    pt_fields_read(L, policy_fields, p);
    p->where = pt_fields_where(L, file);
  }
  lua_pop(L, 1);
}

static void read_redis(lua_State *L, pt_listener_config *l) {
  pt_fields_read(L, redis_fields, l);
  PT_FIELDS_LIST(L, "nodes", l->nodes, l->nnodes, read_node);
  PT_FIELDS_LIST(L, "auth", l->users, l->nusers, read_user);
  PT_FIELDS_LIST(L, "remap", l->remap, l->nremap, read_remap);
}

static void read_mongo(lua_State *L, pt_listener_config *l) {
  l->mongo = calloc(1, sizeof *l->mongo);
  if (!l->mongo)
    luaL_error(L, "out of memory");
  pt_fields_mongo(L, l->mongo);
}

static void read_listener(lua_State *L, pt_listener_config *l, const char *file) {
  l->kind = pt_fields_is(L, "kind", "mongodb") ? PT_LISTENER_MONGODB : PT_LISTENER_REDIS;
  l->where = pt_fields_where(L, file);
  pt_fields_read(L, listener_fields, l);
  PT_FIELDS_LIST(L, "allow", l->allow, l->nallow, pt_fields_cidr);
  PT_FIELDS_LIST(L, "deny", l->deny, l->ndeny, pt_fields_cidr);
  lua_getfield(L, -1, "bind");
  pt_fields_hostport(L, &l->bind);
  lua_pop(L, 1);
  bool mongo = l->kind == PT_LISTENER_MONGODB;
  read_policy(L, mongo ? "affinity" : "policy", &l->policy, file);
  (mongo ? read_mongo : read_redis)(L, l);
  pt_fields_tls(L, file, l);
}

/* Field "to" of the table on the stack. A path is taken from the directory of the configuration, absolute: a daemon may change its own. NULL: absent. */
static char *read_target(lua_State *L, const job *j) {
  lua_getfield(L, -1, "to");
  const char *to = lua_tostring(L, -1), *slash = to ? strchr(to, '/') : NULL, *colon = to ? strchr(to, ':') : NULL;
  bool relative = slash && slash != to && !(colon && colon < slash);
  char *target = to ? pt_fields_copy(L, lua_pushfstring(L, "%s%s", relative ? j->base : "", to)) : NULL;
  lua_pop(L, to ? 2 : 1);
  return target;
}

static void read_access(lua_State *L, pt_config *c, const job *j) {
  double sample = 0;
  c->access_to = read_target(L, j);
  lua_getfield(L, -1, "connections");
  c->access_connections = lua_toboolean(L, -1);
  lua_getfield(L, -2, "requests");
  lua_getfield(L, -3, "sample");
  if (lua_toboolean(L, -2))
    sample = lua_tonumber(L, -1);
  lua_pop(L, 3);
  c->access_every = sample > 0 ? (unsigned)(1 / sample + 0.5) : 0;
}

static void read_log(lua_State *L, pt_config *c, const job *j) {
  lua_getfield(L, -1, "log");
  c->log_format = pt_fields_is(L, "format", "json") ? PT_LOG_JSON : PT_LOG_TEXT;
  c->log_to = read_target(L, j);
  lua_getfield(L, -1, "access");
  if (lua_istable(L, -1))
    read_access(L, c, j);
  lua_pop(L, 2);
}

static void read_admin(lua_State *L, pt_admin_config *a, const char *file) {
  lua_getfield(L, -1, "admin");
  a->on = lua_istable(L, -1);
  if (a->on) {
    pt_fields_read(L, admin_fields, a);
    lua_getfield(L, -1, "bind");
    if (lua_istable(L, -1)) {
      lua_getfield(L, -1, "path");
      if (lua_isstring(L, -1))
        a->path = pt_fields_copy(L, lua_tostring(L, -1));
      lua_pop(L, 1);
      if (!a->path)
        pt_fields_hostport(L, &a->bind);
    }
    lua_pop(L, 1);
    a->where = pt_fields_where(L, file);
  }
  lua_pop(L, 1);
}

static void read_config(lua_State *L, pt_config *c, const job *j) {
  c->file = pt_fields_copy(L, j->file);
  if (j->lua_path)
    c->lua_path = pt_fields_copy(L, j->lua_path);
  pt_fields_read(L, config_fields, c);
  read_log(L, c, j);
  read_admin(L, &c->admin, j->file);
  lua_getfield(L, -1, "listeners");
  c->listeners = pt_fields_alloc(L, &c->nlisteners, sizeof *c->listeners);
  for (unsigned i = 0; i < c->nlisteners; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    read_listener(L, &c->listeners[i], j->file);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* ---- running it ---- */

/* The directory of a file, absolute, with a "/" at its end. NULL: it does not exist. */
static char *directory(const char *file) {
  char path[PATH_MAX];
  const char *slash = strrchr(file, '/');
  size_t n = slash ? (size_t)(slash - file) + 1 : 0;
  if (n + 2 > sizeof path)
    return NULL;
  memcpy(path, file, n);
  strcpy(path + n, ".");
  char *base = realpath(path, NULL);
  if (base) {
    n = strlen(base);
    char *longer = realloc(base, n + 2);
    if (!longer)
      free(base);
    else
      strcpy(longer + n, n && longer[n - 1] == '/' ? "" : "/");
    base = longer;
  }
  return base;
}

/* puerta.config[function](file, {base =}) -> tree or text; nil, errors */
static int work(lua_State *L) {
  job *j = lua_touserdata(L, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "puerta.config");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, j->function);
  lua_pushstring(L, j->file);
  lua_newtable(L);
  lua_pushstring(L, j->base);
  lua_setfield(L, -2, "base");
  lua_call(L, 2, 2);
  if (lua_isnil(L, -2)) {
    j->text = pt_fields_copy(L, lua_tostring(L, -1));
    return 0;
  }
  lua_pop(L, 1);
  if (lua_isstring(L, -1)) {
    j->text = pt_fields_copy(L, lua_tostring(L, -1));
  } else {
    j->config = pt_config_new();
    if (!j->config)
      return luaL_error(L, "out of memory");
    read_config(L, j->config, j);
  }
  j->ok = 1;
  return 0;
}

/* Leaves the result, or the errors, in j. */
static void run(job *j) {
  lua_State *L = pt_state_new(j->lua_path);
  j->base = directory(j->file);
  if (!L) {
    j->text = strdup("out of memory");
  } else if (lua_cpcall(L, work, j)) {
    const char *text = lua_tostring(L, -1);
    j->text = strdup(text ? text : "an error without a text");
  }
  if (L)
    lua_close(L);
  free(j->base);
}

int pt_config_load(const char *file, const char *lua_path, pt_config **out, char **errors) {
  job j = {.file = file, .lua_path = lua_path, .function = "load"};
  run(&j);
  *out = NULL;
  *errors = NULL;
  if (j.ok && !pt_config_tls(j.config, &j.text)) {
    *out = j.config;
    return 0;
  }
  pt_config_unref(j.config);
  *errors = j.text ? j.text : strdup("out of memory");
  return -1;
}

int pt_config_dump(const char *file, const char *lua_path, char **text, char **errors) {
  job j = {.file = file, .lua_path = lua_path, .function = "dump"};
  run(&j);
  *(j.ok ? text : errors) = j.text;
  *(j.ok ? errors : text) = NULL;
  return j.ok ? 0 : -1;
}
