#!/bin/sh
# Writes conf/REFERENCE.md, docs/ERRORS.md, the editor stubs, the manual pages and the completions, from lua/puerta/schema.lua, src/base/errors.def and
# src/cli_options.h; --check: exit 1 and name the files that are stale.
set -eu
cd "$(dirname "$0")/.."
LUA_PATH="tools/?.lua;lua/?.lua;lua/?/init.lua;;" exec luajit tools/docs.lua "$@"
