#!/bin/sh
# Writes conf/REFERENCE.md and the editor stubs from lua/puerta/schema.lua; --check: exit 1 and name the files that are stale.
set -eu
cd "$(dirname "$0")/.."
LUA_PATH="lua/?.lua;lua/?/init.lua;;" exec luajit tools/docs.lua "$@"
