/* What policies of all kinds share: their module loaded within bounds, failures of calls. */
#ifndef PT_SCRIPT_HOOK_H
#define PT_SCRIPT_HOOK_H

#include <lua.h>
#include <stddef.h>

#include "core/config.h"

/* For a policy's loader, inside of a pcall: declares puerta_ffi.h and pushes the function `load` of the Lua module named. */
void pt_hook_loader(lua_State *L, const char *module);
/* lua_pcall for what may loop for ever, a policy's first run: without the compiler, and it ends with an error after 100 million instructions. */
int pt_hook_pcall_bounded(lua_State *L, int nargs, int nresults);
/* Takes the message of a failed call off the stack into error. */
void pt_hook_error(lua_State *L, char *error, size_t size);
/* "read_near (conf/x.lua:12)": bytes with the NUL, and the text itself. */
size_t pt_hook_name_size(const pt_policy_config *pc);
void pt_hook_name(const pt_policy_config *pc, char *name);

#endif
