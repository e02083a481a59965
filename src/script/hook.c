#include "script/hook.h"

#include <lauxlib.h>
#include <luajit.h>
#include <stdio.h>
#include <string.h>

#include "script/embedded.h"

/* With the compiler off a hook counts instructions. Once over the limit it raises at every instruction, so that no pcall of the policy can swallow it
 * for good. */
enum {
  STEP = 1000 * 1000,
  LIMIT = 100
};
static _Thread_local struct {
  unsigned steps;
  char text[256];
} guard;

static void on_count(lua_State *L, lua_Debug *ar) {
  if (++guard.steps < LIMIT)
    return;
  if (guard.steps == LIMIT) {
    lua_getinfo(L, "Sl", ar);
    snprintf(guard.text, sizeof guard.text, "%s:%d: no end after %d million instructions: an endless loop?", ar->short_src,
             ar->currentline, LIMIT);
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
  }
  lua_pushstring(L, guard.text);
  lua_error(L);
}

int pt_hook_pcall_bounded(lua_State *L, int nargs, int nresults) {
  luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  guard.steps = 0;
  lua_sethook(L, on_count, LUA_MASKCOUNT, STEP);
  int e = lua_pcall(L, nargs, nresults, 0);
  lua_sethook(L, NULL, 0, 0);
  luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
  return e;
}

void pt_hook_loader(lua_State *L, const char *module) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "ffi");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "cdef");
  lua_pushstring(L, pt_embedded_ffi);
  lua_call(L, 1, 0);
  lua_pop(L, 1);

  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "load");
  lua_remove(L, -2);
}

void pt_hook_error(lua_State *L, char *error, size_t size) {
  const char *text = lua_tostring(L, -1);
  snprintf(error, size, "%s", text ? text : "an error without a text");
  lua_pop(L, 1);
}

static const char *where(const pt_policy_config *pc) { return pc->where ? pc->where : "default"; }

size_t pt_hook_name_size(const pt_policy_config *pc) { return strlen(pc->name) + strlen(where(pc)) + sizeof " ()"; }

void pt_hook_name(const pt_policy_config *pc, char *name) { sprintf(name, "%s (%s)", pc->name, where(pc)); }
