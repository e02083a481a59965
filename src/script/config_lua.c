#include "script/config_lua.h"

#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "script/state.h"

/* What one call works on; lives outside of Lua, so that an error raised half-way leaks nothing. */
typedef struct job {
  const char *file, *lua_path, *function;
  char *base; /* directory of the file, absolute, ending in "/" */
  pt_config *config;
  char *text; /* the dump, or the errors */
  int ok;
} job;

/* ---- the validated tree, as lua/puerta/config.lua makes it, into C ----
 * The value read is on top of the stack. Everything is there and has its range: the schema saw to that. */

static char *copy(lua_State *L, const char *s) {
  char *c = strdup(s);
  if (!c)
    luaL_error(L, "out of memory");
  return c;
}

/* A list of n zeroed elements; *n is the number of those that may be freed. */
static void *list(lua_State *L, unsigned *n, size_t size) {
  *n = (unsigned)lua_objlen(L, -1);
  void *p = calloc(*n ? *n : 1, size);
  if (!p) {
    *n = 0;
    luaL_error(L, "out of memory");
  }
  return p;
}

typedef enum type {
  TEXT,
  UINT,
  U64
} type;

/* A field of the struct at base + at; group: the table it is in, NULL: this one. A field that is absent stays as it is. */
typedef struct field {
  const char *group, *name;
  type type;
  size_t at;
} field;

static void read_field(lua_State *L, const field *f, char *base) {
  if (lua_isnil(L, -1))
    return;
  if (f->type == TEXT)
    *(char **)(base + f->at) = copy(L, lua_tostring(L, -1));
  else if (f->type == UINT)
    *(unsigned *)(base + f->at) = (unsigned)lua_tonumber(L, -1);
  else
    *(uint64_t *)(base + f->at) = (uint64_t)lua_tonumber(L, -1);
}

static void read_fields(lua_State *L, const field *f, void *base) {
  for (; f->name; f++) {
    int top = lua_gettop(L);
    if (f->group)
      lua_getfield(L, -1, f->group);
    if (lua_istable(L, -1)) {
      lua_getfield(L, -1, f->name);
      read_field(L, f, base);
    }
    lua_settop(L, top);
  }
}

#define IN(type, member) offsetof(type, member)
static const field config_fields[] = {{NULL, "workers", UINT, IN(pt_config, workers)},
                                      {"log", "level", TEXT, IN(pt_config, log_level)},
                                      {NULL, "drain_timeout", U64, IN(pt_config, drain_timeout)},
                                      {NULL, "coalesce", U64, IN(pt_config, coalesce)},
                                      {"watchdog", "warn", U64, IN(pt_config, watchdog_warn)},
                                      {"watchdog", "abort", U64, IN(pt_config, watchdog_abort)},
                                      {0}};
#define LISTENER(type, name)                                                                                                     \
  { NULL, #name, type, IN(pt_listener_config, name) }
static const field listener_fields[] = {LISTENER(TEXT, name),
                                        LISTENER(UINT, backlog),
                                        {"backend_auth", "user", TEXT, IN(pt_listener_config, backend_user)},
                                        {"backend_auth", "password", TEXT, IN(pt_listener_config, backend_password)},
                                        {"policy", "name", TEXT, IN(pt_listener_config, policy.name)},
                                        {"policy", "opts", TEXT, IN(pt_listener_config, policy.opts)},
                                        LISTENER(U64, slot_refresh),
                                        LISTENER(UINT, max_redirects),
                                        LISTENER(UINT, connections),
                                        LISTENER(U64, connect_timeout),
                                        LISTENER(U64, request_timeout),
                                        LISTENER(U64, retry_interval),
                                        LISTENER(U64, max_bulk),
                                        LISTENER(U64, stream_above),
                                        LISTENER(UINT, max_pipeline),
                                        LISTENER(U64, client_buffer),
                                        LISTENER(U64, max_request),
                                        LISTENER(U64, node_backlog),
                                        {0}};
static const field user_fields[] = {
    {NULL, "user", TEXT, IN(pt_user, name)}, {NULL, "password", TEXT, IN(pt_user, password)}, {0}};

static void read_hostport(lua_State *L, pt_hostport *a) {
  lua_getfield(L, -1, "host");
  lua_getfield(L, -2, "port");
  a->port = (uint16_t)lua_tointeger(L, -1);
  a->host = copy(L, lua_tostring(L, -2));
  lua_pop(L, 2);
}

static void read_user(lua_State *L, void *user) { read_fields(L, user_fields, user); }
static void read_node(lua_State *L, void *node) { read_hostport(L, node); }

static void read_backend(lua_State *L, void *backend) {
  lua_rawgeti(L, -1, 1);
  read_hostport(L, backend);
  lua_pop(L, 1);
}

static void read_remap(lua_State *L, void *remap) {
  pt_remap *m = remap;
  lua_getfield(L, -1, "from");
  read_hostport(L, &m->from);
  lua_getfield(L, -2, "to");
  read_hostport(L, &m->to);
  lua_pop(L, 2);
}

/* The list named, an element of `size` bytes each; absent: an empty one. */
static void read_list(lua_State *L, const char *name, void *to, unsigned *n, size_t size, void (*element)(lua_State *, void *)) {
  lua_getfield(L, -1, name);
  if (lua_istable(L, -1)) {
    char *p = list(L, n, size);
    memcpy(to, &p, sizeof p);
    for (unsigned i = 0; i < *n; i++) {
      lua_rawgeti(L, -1, (int)i + 1);
      element(L, p + i * size);
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}
#define READ_LIST(L, name, array, n, element) read_list(L, name, &(array), &(n), sizeof *(array), element)

/* "file:line" of what has a line. */
static char *read_where(lua_State *L, const char *file) {
  lua_getfield(L, -1, "line");
  char *where = copy(L, lua_pushfstring(L, "%s:%d", file, (int)lua_tointeger(L, -1)));
  lua_pop(L, 2);
  return where;
}

static int is_word(lua_State *L, const char *name, const char *word) {
  lua_getfield(L, -1, name);
  int is = lua_isstring(L, -1) && !strcmp(lua_tostring(L, -1), word);
  lua_pop(L, 1);
  return is;
}

static void read_listener(lua_State *L, pt_listener_config *l, const char *file) {
  l->kind = is_word(L, "kind", "mongodb") ? PT_LISTENER_MONGODB : PT_LISTENER_REDIS;
  l->where = read_where(L, file);
  read_fields(L, listener_fields, l);
  lua_getfield(L, -1, "bind");
  read_hostport(L, &l->bind);
  lua_pop(L, 1);
  lua_getfield(L, -1, "policy");
  if (lua_istable(L, -1))
    l->policy.where = read_where(L, file);
  lua_pop(L, 1);
  READ_LIST(L, "nodes", l->nodes, l->nnodes, read_node);
  READ_LIST(L, "auth", l->users, l->nusers, read_user);
  READ_LIST(L, "remap", l->remap, l->nremap, read_remap);
  READ_LIST(L, "backends", l->backends, l->nbackends, read_backend);
}

static void read_config(lua_State *L, pt_config *c, const job *j) {
  c->file = copy(L, j->file);
  if (j->lua_path)
    c->lua_path = copy(L, j->lua_path);
  read_fields(L, config_fields, c);
  lua_getfield(L, -1, "log");
  c->log_format = is_word(L, "format", "json") ? PT_LOG_JSON : PT_LOG_TEXT;
  lua_pop(L, 1);
  lua_getfield(L, -1, "listeners");
  c->listeners = list(L, &c->nlisteners, sizeof *c->listeners);
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
    j->text = copy(L, lua_tostring(L, -1));
    return 0;
  }
  lua_pop(L, 1);
  if (lua_isstring(L, -1)) {
    j->text = copy(L, lua_tostring(L, -1));
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
  if (j.ok) {
    *out = j.config;
    return 0;
  }
  pt_config_unref(j.config);
  *errors = j.text;
  return -1;
}

int pt_config_dump(const char *file, const char *lua_path, char **text, char **errors) {
  job j = {.file = file, .lua_path = lua_path, .function = "dump"};
  run(&j);
  *(j.ok ? text : errors) = j.text;
  *(j.ok ? errors : text) = NULL;
  return j.ok ? 0 : -1;
}
