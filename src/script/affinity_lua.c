#include "script/affinity_lua.h"

#include <lauxlib.h>
#include <lua.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/hook.h"
#include "script/state.h"

/* The layout both languages count on; spec/ffi_spec.lua asserts the same from the other side. */
_Static_assert(sizeof(pt_conn_view) == 360 && offsetof(pt_conn_view, address) == 8 && offsetof(pt_conn_view, port) == 32 &&
                   offsetof(pt_conn_view, has_client) == 34 && offsetof(pt_conn_view, app) == 40 &&
                   offsetof(pt_conn_view, driver) == 172 && offsetof(pt_conn_view, driver_version) == 240 &&
                   offsetof(pt_conn_view, ip_text) == 308,
               "pt_conn_view");
_Static_assert(sizeof(pt_session_view) == 24 && offsetof(pt_session_view, identity) == 8 && offsetof(pt_session_view, kind) == 16,
               "pt_session_view");
_Static_assert(sizeof(pt_backend_view) == 96 && offsetof(pt_backend_view, name) == 8 && offsetof(pt_backend_view, weight) == 72 &&
                   offsetof(pt_backend_view, id) == 88 && offsetof(pt_backend_view, up) == 92 &&
                   offsetof(pt_backend_view, usable) == 93,
               "pt_backend_view");
_Static_assert(sizeof(pt_backends_view) == 24 && offsetof(pt_backends_view, n) == 8 && offsetof(pt_backends_view, at) == 16,
               "pt_backends_view");
/* Constants the Lua half repeats: affinity_driver.lua, failure.lua. */
_Static_assert(PT_PICK_DEFAULT == -1 && PT_PICK_FAILED == -3, "affinity_driver.lua");
_Static_assert(sizeof(((pt_affinity *)0)->error) == 256, "failure.lua");

/* Where the results of affinity_load.load lie in the state's stack, for good. */
enum {
  IDENTIFY = 1,
  PICK,
  SESSIONS
};

typedef struct lua_affinity {
  pt_affinity base;
  pt_conn_view conn;
  pt_session_view session;
  pt_backends_view backends;
  uint64_t key; /* what identify() answered */
  lua_State *L;
  char name[];
} lua_affinity;

static lua_affinity *of(pt_affinity *a) { return (lua_affinity *)((char *)a - offsetof(lua_affinity, base)); }

/* ---- calls ---- */

/* The function that lies at `hook`: its integer, or failed when the driver itself raised (no memory). */
static int call(lua_affinity *la, int hook, int failed) {
  lua_State *L = la->L;
  la->base.calls++;
  lua_pushvalue(L, hook);
  if (lua_pcall(L, 0, 1, 0)) {
    pt_hook_error(L, la->base.error, sizeof la->base.error);
    la->base.failures++;
    return failed;
  }
  int result = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return result;
}

static int identify(pt_affinity *a, uint64_t *key) {
  lua_affinity *la = of(a);
  int e = call(la, IDENTIFY, -1);
  *key = e ? 0 : la->key;
  return e;
}

static int pick(pt_affinity *a) { return call(of(a), PICK, PT_PICK_FAILED); }

static void destroy(pt_affinity *a) {
  lua_affinity *la = of(a);
  if (la->L)
    lua_close(la->L);
  free(la);
}

/* ---- loading ---- */

/* (lua_affinity, name, options) -> identify, pick, sessions */
static int load(lua_State *L) {
  lua_affinity *la = lua_touserdata(L, 1);
  pt_hook_loader(L, "puerta.affinity_load");
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_pushlightuserdata(L, &la->conn);
  lua_pushlightuserdata(L, &la->session);
  lua_pushlightuserdata(L, &la->backends);
  lua_pushlightuserdata(L, &la->key);
  lua_pushlightuserdata(L, &la->base.failures);
  lua_pushlightuserdata(L, la->base.error);
  lua_call(L, 8, 3);
  return 3;
}

/* Leaves the three results on the stack, and nothing else; or the error. */
static int start(lua_affinity *la, const pt_policy_config *pc) {
  lua_State *L = la->L;
  lua_settop(L, 0);
  lua_pushcfunction(L, load);
  lua_pushlightuserdata(L, la);
  lua_pushstring(L, pc->name);
  lua_pushstring(L, pc->opts ? pc->opts : "{}");
  return pt_hook_pcall_bounded(L, 3, 3);
}

static lua_affinity *make(const pt_policy_config *pc) {
  lua_affinity *la = calloc(1, sizeof *la + pt_hook_name_size(pc));
  if (!la)
    return NULL;
  la->base =
      (pt_affinity){.name = la->name, .conn = &la->conn, .session = &la->session, .backends = &la->backends, .free = destroy};
  pt_hook_name(pc, la->name);
  return la;
}

pt_affinity *pt_affinity_lua(const pt_policy_config *pc, const char *lua_path, char *err, size_t errsize) {
  lua_affinity *la = make(pc);
  if (!la || !(la->L = pt_state_new(lua_path))) {
    snprintf(err, errsize, "affinity %s: out of memory", pc->name);
    goto fail;
  }
  if (start(la, pc)) {
    const char *text = lua_tostring(la->L, -1);
    snprintf(err, errsize, "affinity %s: %s", la->name, text ? text : "an error without a text");
    goto fail;
  }
  if (!lua_isnil(la->L, IDENTIFY))
    la->base.identify = identify;
  if (!lua_isnil(la->L, PICK))
    la->base.pick = pick;
  la->base.by_session = lua_toboolean(la->L, SESSIONS);
  return &la->base;
fail:
  if (la)
    destroy(&la->base);
  return NULL;
}
