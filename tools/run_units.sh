#!/bin/sh
# Runs the unit programs given; the last line counts the tests: "N passed, N failed, N skipped". Who skips says why: "skipped: NAME: REASON".
passed=0 failed=0 skipped=0
for t in "$@"; do
  out=$("$t" 2>&1)
  rc=$?
  echo "$out"
  ok=$(echo "$out" | grep -c '^\[       OK \]')
  bad=$(echo "$out" | grep '^\[  FAILED  \] [A-Za-z0-9_]*$' | sort -u | wc -l)
  skipped=$((skipped + $(echo "$out" | grep -c '^skipped: ')))
  # A program that dies or runs nothing is a failure of its own.
  if [ "$rc" != 0 ] && [ "$bad" = 0 ] || [ "$ok$bad" = 00 ]; then bad=1; fi
  passed=$((passed + ok)) failed=$((failed + bad))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
