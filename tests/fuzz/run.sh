#!/bin/sh
# Runs fuzz targets: run.sh DIR SECONDS TARGET...  Each starts from a copy of its seeds; the input of a finding stays in DIR.
# The last line is "N passed, N failed, 0 skipped".
set -u
dir=$1 seconds=$2
shift 2
corpora=$(cd "$(dirname "$0")" && pwd)/corpus
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
passed=0 failed=0
for target in "$@"; do
  mkdir -p "$scratch/$target"
  cp "$corpora/$target"/* "$scratch/$target/" || { failed=$((failed + 1)); continue; }
  echo "$target: $seconds s"
  if "$dir/$target" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 -artifact_prefix="$dir/$target." "$scratch/$target" \
    >"$scratch/$target.log" 2>&1; then
    passed=$((passed + 1))
    echo "$target: no finding, $(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/$target.log") runs"
  else
    failed=$((failed + 1))
    tail -40 "$scratch/$target.log"
    echo "$target: FINDING, its input is in $dir"
  fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
