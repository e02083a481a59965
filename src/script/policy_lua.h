/* A policy in Lua behind the door of core/policy.h. */
#ifndef PT_SCRIPT_POLICY_LUA_H
#define PT_SCRIPT_POLICY_LUA_H

#include "core/config.h"
#include "core/policy.h"

/* Makes an instance for one listener and one worker: a lua_State of its own, the module loaded, init(opts) called, every hook run once dry against
 * a sample cluster. May be made on one thread and used on another, one at a time. NULL: err holds why, with file:line. */
pt_policy *pt_policy_lua(const pt_policy_config *pc, const char *lua_path, char *err, size_t errsize);

/* Bytes of Lua heap of an instance made here: for metrics, and the benchmark's garbage column. The owner's thread. */
size_t pt_policy_lua_heap(pt_policy *p);

#endif
