/* The configuration from its Lua file. Control thread (or main before there is one); each call uses a lua_State of its own. */
#ifndef PT_SCRIPT_CONFIG_LUA_H
#define PT_SCRIPT_CONFIG_LUA_H

#include "core/config.h"

/* Runs and validates file. lua_path: directory holding puerta/ (development), NULL: the modules embedded in the binary.
 * 0: *out has one reference. -1: *errors holds every error, one a line as "file:line: ...", then "N errors"; malloc'ed, the caller frees it. */
int pt_config_load(const char *file, const char *lua_path, pt_config **out, char **errors);

/* The effective configuration with all defaults as text that is itself a valid config file; secrets are shown as "***". Returns as above, *text malloc'ed. */
int pt_config_dump(const char *file, const char *lua_path, char **text, char **errors);

#endif
