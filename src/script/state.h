/* A lua_State that knows the product's modules: standard libraries, JIT limits raised, a package searcher for the embedded modules (or lua_path). */
#ifndef PT_SCRIPT_STATE_H
#define PT_SCRIPT_STATE_H

#include <lua.h>

/* lua_path as in config_lua.h. NULL: no memory. The caller closes it with lua_close. */
lua_State *pt_state_new(const char *lua_path);

#endif
