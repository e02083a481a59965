#!/usr/bin/env bash
# Every test of every kind. The last line counts them: "N passed, N failed, N skipped". Usage: tests/run.sh [lint units specs fuzz e2e threads]
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0 skipped=0
reasons=() broken=()

# count PASSED FAILED SKIPPED WHAT RC: a kind of tests that ended with RC. One that died or ran nothing has failed.
count() {
  local bad=$2
  [ "$5" = 0 ] || [ "$bad" != 0 ] || bad=1
  [ "$(($1 + bad + $3))" != 0 ] || bad=1
  passed=$((passed + $1)) failed=$((failed + bad)) skipped=$((skipped + $3))
  [ "$bad" = 0 ] || broken+=("$4")
  echo "== $4: $1 passed, $bad failed, $3 skipped"
}
# last WORD: the number before a word in the last line of the output that has such numbers.
last() { grep -E '[0-9]+ (passed|failed|skipped)' "$out/log" | tail -1 | grep -oE "[0-9]+ $1" | grep -oE '[0-9]+' || echo 0; }
have() { compgen -G "$1" >/dev/null; }

lint() {
  echo "== lint"
  tools/lint.sh 2>&1 | tee "$out/log"
  local rc=${PIPESTATUS[0]}
  count "$(grep -c '^ok ' "$out/log")" "$(grep -c '^FAIL ' "$out/log")" 0 lint "$rc"
}

units() {
  echo "== units (AddressSanitizer, UndefinedBehaviorSanitizer)"
  make --no-print-directory units || { count 0 1 0 units 1 && return; }
  local programs=()
  for source in tests/unit/test_*.c; do programs+=("build/unit/$(basename "$source" .c)"); done
  tools/run_units.sh "${programs[@]}" >"$out/log" 2>&1
  local rc=$?
  grep -vE '^\[( RUN      |       OK |==========|  PASSED  |  SKIPPED )\]' "$out/log"
  while read -r line; do reasons+=("unit: $line"); done < <(sed -n 's/^skipped: //p' "$out/log")
  count "$(last passed)" "$(last failed)" "$(last skipped)" units "$rc"
}

specs() {
  echo "== specs of the Lua half"
  local lua=()
  [ -f .busted ] || lua=(--lua="$(command -v luajit)" --lpath='lua/?.lua;lua/?/init.lua')
  busted "${lua[@]}" -o TAP spec $([ -d scripts/examples ] && echo scripts/examples) >"$out/log" 2>&1
  local rc=$?
  grep -vE '^ok |^1\.\.' "$out/log"
  while read -r line; do reasons+=("spec: $line"); done < <(grep -E '^ok .*# SKIP' "$out/log" | sed 's/^ok [0-9]* - //')
  local pending
  pending=$(grep -cE '^ok .*# SKIP' "$out/log")
  count "$(($(grep -c '^ok ' "$out/log") - pending))" "$(grep -c '^not ok ' "$out/log")" "$pending" specs "$rc"
}

fuzz() {
  echo "== fuzz targets, ${FUZZ_SECONDS:-10} s each"
  local ok=0 bad=0 name
  for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    if make --no-print-directory "build/fuzz/$name" >"$out/log" 2>&1 && tests/fuzz/run.sh build/fuzz "${FUZZ_SECONDS:-10}" "$name" >>"$out/log" 2>&1; then
      ok=$((ok + 1)) && echo "ok $name"
    else
      bad=$((bad + 1)) && tail -50 "$out/log" && echo "FAIL $name"
    fi
  done
  count $ok $bad 0 fuzz 0
}

# pytest NAME BINARY ARGUMENTS...
pytests() {
  local name=$1 binary=$2
  shift 2
  PUERTA_BIN=$PWD/$binary PYTHONDONTWRITEBYTECODE=1 timeout -k 10 2400 \
    build/venv/bin/pytest -p no:cacheprovider -q -rfEs --tb=short --durations=5 "$@" tests/e2e 2>&1 | tee "$out/log"
  local rc=${PIPESTATUS[0]}
  while read -r line; do reasons+=("$name: $line"); done < <(grep '^SKIPPED' "$out/log")
  count "$(last passed)" "$(($(last failed) + $(last error)))" "$(last skipped)" "$name" "$rc"
}

e2e() {
  echo "== end to end on the AddressSanitizer build"
  make --no-print-directory build asan || { count 0 1 0 e2e 1 && return; }
  pytests e2e build/puerta-asan
}

threads() {
  echo "== threads: the topology's, and several workers, on the ThreadSanitizer build"
  make --no-print-directory tsan units-tsan || { count 0 1 0 threads 1 && return; }
  tools/run_units.sh $(find build/unit-tsan -name 'test_*' -perm -u+x) >"$out/log" 2>&1
  local rc=$?
  [ "$rc" = 0 ] || cat "$out/log"
  count "$(last passed)" "$(last failed)" "$(last skipped)" "threads in units" "$rc"
  PUERTA_WORKERS=3 pytests threads build/puerta-tsan -m threads
}

for kind in ${@:-lint units specs fuzz e2e threads}; do "$kind"; done

echo
echo "Skipped, and why:"
if [ ${#reasons[@]} = 0 ]; then echo "  nothing"; else printf '  %s\n' "${reasons[@]}"; fi
[ ${#broken[@]} = 0 ] || echo "Failed: ${broken[*]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
