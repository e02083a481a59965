#!/bin/sh
# The Lua half as C: bytecode with line numbers, and the door's header as text. See src/script/embedded.h.
# Usage: tools/embed_lua.sh OUT.c lua/puerta/a.lua lua/puerta/policy/b.lua ...   (from the root of the tree; a module's name is its path below lua/)
set -eu
out=$1
shift
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Bytes of stdin as the inside of a C array.
bytes() { od -An -v -tu1 | sed 's/  */,/g; s/^,//; s/$/,/'; }

{
  echo '/* Made by tools/embed_lua.sh. */'
  echo '#include "script/embedded.h"'
  table=
  i=0
  for file in "$@"; do
    module=$(echo "$file" | sed 's|^.*lua/puerta|puerta|; s|\.lua$||; s|/init$||; s|/|.|g')
    luajit -b -g -t raw "$file" "$tmp/bytecode"
    echo "static const unsigned char module_$i[] = {"
    bytes <"$tmp/bytecode"
    echo '};'
    table="$table  {\"$module\", module_$i, sizeof module_$i},
"
    i=$((i + 1))
  done
  printf 'const pt_embedded pt_embedded_modules[] = {\n%s  {0},\n};\n' "$table"
  echo 'const char pt_embedded_ffi[] = {'
  bytes <src/script/puerta_ffi.h
  echo '0};'
} >"$tmp/out.c"
mv "$tmp/out.c" "$out"
