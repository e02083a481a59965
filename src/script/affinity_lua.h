/* An affinity policy in Lua behind the door of core/affinity.h. */
#ifndef PT_SCRIPT_AFFINITY_LUA_H
#define PT_SCRIPT_AFFINITY_LUA_H

#include "core/affinity.h"
#include "core/config.h"

/* Makes an instance for one listener and one worker: a lua_State of its own, the module loaded, init(opts) called, every hook run once dry against
 * sample connections and backends. May be made on one thread and used on another, one at a time. The view of the backends is empty until the core fills
 * it. NULL: err holds why, with file:line. */
pt_affinity *pt_affinity_lua(const pt_policy_config *pc, const char *lua_path, char *err, size_t errsize);

#endif
