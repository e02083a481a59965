#include "script/state.h"

#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <string.h>

#include "script/embedded.h"

/* package.loaders: the module of that name in the binary. */
static int find_embedded(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (const pt_embedded *m = pt_embedded_modules; m->name; m++)
    if (!strcmp(m->name, name)) {
      if (luaL_loadbuffer(L, (const char *)m->bytes, m->n, name))
        return luaL_error(L, "embedded module %s: %s", name, lua_tostring(L, -1));
      return 1;
    }
  lua_pushfstring(L, "\n\tno embedded module '%s'", name);
  return 1;
}

/* Behind package.preload, before the files: nothing in the working directory can take the place of the product's own modules. */
static void add_searcher(lua_State *L) {
  lua_getglobal(L, "table");
  lua_getfield(L, -1, "insert");
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "loaders");
  lua_remove(L, -2);
  lua_pushinteger(L, 2);
  lua_pushcfunction(L, find_embedded);
  lua_call(L, 3, 0);
  lua_pop(L, 1);
}

static void set_path(lua_State *L, const char *dir) {
  lua_getglobal(L, "package");
  lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;", dir, dir);
  lua_getfield(L, -2, "path");
  lua_concat(L, 2);
  lua_setfield(L, -2, "path");
  lua_pop(L, 1);
}

/* A policy's loop over a batch makes long traces, and there may be many of them. */
static void raise_jit_limits(lua_State *L) {
  lua_getglobal(L, "jit");
  lua_getfield(L, -1, "opt");
  lua_getfield(L, -1, "start");
  lua_pushliteral(L, "maxtrace=4000");
  lua_pushliteral(L, "maxmcode=8192");
  lua_call(L, 2, 0);
  lua_pop(L, 2);
}

static int set_up(lua_State *L) {
  const char *lua_path = lua_touserdata(L, 1);
  luaL_openlibs(L);
  raise_jit_limits(L);
  if (lua_path)
    set_path(L, lua_path);
  else
    add_searcher(L);
  return 0;
}

lua_State *pt_state_new(const char *lua_path) {
  lua_State *L = luaL_newstate();
  if (L && lua_cpcall(L, set_up, (void *)lua_path)) {
    lua_close(L);
    L = NULL;
  }
  return L;
}
