#!/usr/bin/env bash
# Formatting, the direction of dependencies, sizes, generated files up to date. One line a check: "ok NAME" or "FAIL NAME" after what is wrong.
set -uo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob globstar
failed=0

# check NAME: fails when there is anything on standard input.
check() {
  local wrong
  wrong=$(cat)
  if [ -z "$wrong" ]; then
    echo "ok $1"
  else
    printf '%s\nFAIL %s\n' "$wrong" "$1"
    failed=1
  fi
}

# Generated tables are as their generator writes them.
find src tests/unit tests/fuzz tests/bench -name '*.[ch]' ! -name '*_table.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror 2>&1 | check "clang-format"

# base <- wire, base <- net, {base, wire, net} <- core <- script; main.c wires. The one exception: script/puerta_ffi.h is the door between core and policies.
includes() { grep -rn --include='*.[ch]' '#include "' "src/$1" | grep -vE "#include \"($2)/"; }
{
  includes base 'base'
  includes wire 'base|wire'
  includes net 'base|net'
  includes core 'base|wire|net|core' | grep -v '#include "script/puerta_ffi.h"'
  includes script 'base|wire|net|core|script'
  includes ctl 'base|ctl'
} | check "dependency direction"
grep -nE '#include <(lua|lauxlib|lualib|luajit)' src/**/*.[ch] | grep -v '^src/script/' | check "lua.h only in src/script"
grep -nE '#include <microhttpd' src/**/*.[ch] | grep -v '^src/core/admin' | check "libmicrohttpd only in core/admin"
grep -nE '#include <openssl/' src/**/*.[ch] | grep -vE '^src/(net/tls|base/hash|core/local_auth)' | check "OpenSSL only in net/tls, base/hash and core/local_auth"
# Workers' files: what is logged there can be brought about by a client or a backend at will.
grep -nE '\bpt_(debug|info|warn|error|log)\(' src/net/*.c src/core/mongo/*.c \
  src/core/{client,route,batch,local,fan,stream,reply,link,link_open,link_reply,retry,gate,redirect,upstream,worker}.c |
  grep -vE '^src/core/mongo/(health|check)\.c' | check "peers cannot flood the log: pt_log_every there"
grep -nE 'client_close\(.*, ' src/core/*.c src/core/mongo/*.c | grep -vE '(NULL\);( })?|const char \*reason\) \{)$' | check "each reason to close has its code: pt_client_fail, pt_mongo_client_fail"
wc -l src/**/*.[ch] lua/**/*.lua | awk '$2 != "total" && $1 > 800 { print $2 ": " $1 " lines" }' | grep -v 'src/wire/command_table.c' | check "no file over 800 lines"
grep -nE '\b(TODO|FIXME|XXX|HACK)\b' src/**/*.[ch] lua/**/*.lua tests/**/*.{c,py,sh} tools/* | grep -v '^tools/lint.sh' | check "nothing left to do later"
for script in src/page/*.js; do node --check "$script" 2>&1; done | check "the page's scripts parse"
for script in tests/**/*.sh tools/*.sh .ci/run; do bash -n "$script" 2>&1; done | check "shell scripts parse"

# Generators that can tell whether their output is stale.
up_to_date() {
  [ -x "$1" ] || return 0
  local out
  out=$("$@" 2>&1) || printf '%s\n' "${out:-stale: run $1}"
}
up_to_date tools/docs.sh --check | check "generated documentation is up to date"
if grep -qs -- '--check' tools/gen_commands.py; then up_to_date tools/gen_commands.py --check; fi | check "command table is up to date"
{
  own=$(sed -n 's/^#define PT_VERSION "\(.*\)"/\1/p' src/base/version.h)
  package=$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
  [ "$own" = "$package" ] || echo "src/base/version.h says $own, debian/changelog $package"
  # What deps.sh installs for a build, but for what every Debian that builds packages has.
  needs=$(sed -n '/^build() {/,/^}/s/^ *need //p' tools/deps.sh | tr ' ' '\n' | grep -vxE 'gcc|make|libc6-dev' | sort)
  wants=$(sed -n 's/^Build-Depends: debhelper-compat (= 13), //p' debian/control | sed 's/, /\n/g' | sort)
  diff <(echo "$needs") <(echo "$wants")
} | check "the package has the version and the dependencies of the build"
exit $failed
