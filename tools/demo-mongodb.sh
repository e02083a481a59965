#!/usr/bin/env bash
# Three real FerretDB on loopback, puerta before them, a mongosh session through it, and where each of many clients landed. Stays until Ctrl-C, or for
# DEMO_SECONDS; then everything that was started is stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(cd "${BUILD_DIR:-build}" && pwd)
binary=${PUERTA_BIN:-$build/puerta}
export NODE_CLIENTS=$build/node/node_modules
dir=$(mktemp -d)
ferrets="" puerta="" cause="" done=""
running=$build/demo-mongodb.running # where tests/test.sh finds this demo

stop() { # PID
  [ -n "$1" ] && kill "$1" 2>/dev/null || return 0
  wait "$1" 2>/dev/null || true
}

finish() {
  local rc=$?
  trap '' INT TERM
  ! grep -qsx "pid $$" "$running" || rm -f "$running"
  stop "$puerta"
  stop "$ferrets"
  if [ "$rc" != 0 ]; then
    echo
    echo "demo failed: ${cause:-a command ended with $rc}" >&2
    for log in puerta ferrets; do
      [ ! -s "$dir/$log.log" ] || { echo "--- log of $log:" && tail -40 "$dir/$log.log"; } >&2
    done
  else
    echo "${done:-stopped}"
  fi
  rm -rf "$dir"
  exit "$rc"
}
trap finish EXIT
trap 'exit 0' INT TERM

die() {
  cause=$1
  exit 1
}

# wait_line FILE PATTERN PID WHAT: until the file has a line like that.
wait_line() {
  local i
  for i in $(seq 300); do
    grep -Eq "$2" "$1" 2>/dev/null && return 0
    kill -0 "$3" 2>/dev/null || die "$4 has ended"
    sleep 0.1
  done
  die "$4 is not ready after 30 s"
}

[ -x "$binary" ] || die "there is no $binary; run make"
[ -x "$build/ferret" ] || die "there is no $build/ferret; run tools/deps.sh demo-mongodb"
node=$NODE_CLIENTS/.bin/node
[ -x "$node" ] || node=$(command -v node) || die "there is no node; run tools/deps.sh demo-mongodb"

echo "Starting three FerretDB, each with its own data"
# Sessions of their own, so that Ctrl-C reaches this script alone and the order of stopping is ours.
BUILD_DIR=$build setsid python3 tests/rig/ferret.py --count 3 >"$dir/ferrets.log" 2>&1 &
ferrets=$!
wait_line "$dir/ferrets.log" '^ready ' "$ferrets" "FerretDB"
backends=$(sed -n 's/^ready //p' "$dir/ferrets.log")
IFS=, read -r a b c <<<"$backends"
printf '  %s\n' "A  $a" "B  $b" "C  $c"

read -r port pooled < <(python3 -c 'import sys; sys.path.insert(0, "tests/rig"); import cluster; print(cluster.free_port(), cluster.free_port())')
cat >"$dir/puerta.lua" <<LUA
local puerta = require "puerta"
local backends = { puerta.backend { "$a" }, puerta.backend { "$b" }, puerta.backend { "$c" } }

return puerta.config {
  listeners = {
    puerta.mongodb { name = "orders", bind = "127.0.0.1:$port", backends = backends },
    puerta.mongodb { name = "pooled", bind = "127.0.0.1:$pooled", backends = backends, forward = "request", pool = { max = 2 } },
  },
}
LUA
echo "Starting puerta with"
sed 's/^/  /' "$dir/puerta.lua"
setsid "$binary" run "$dir/puerta.lua" >"$dir/puerta.log" 2>&1 &
puerta=$!
wait_line "$dir/puerta.log" 'info +ready: |"event":"ready"' "$puerta" "puerta"

# As a user at mongosh's prompt: the commands, which it does not echo itself, between what it prints.
mongosh() { HOME=$dir timeout 60 "$node" "$NODE_CLIENTS/mongosh/bin/mongosh.js" --quiet --norc "mongodb://127.0.0.1:$port/shop" "$@"; }
cat >"$dir/session.js" <<'JS'
db.orders.insertMany([{ _id: 1, item: "tea", n: 3 }, { _id: 2, item: "salt", n: 12 }, { _id: 3, item: "silk", n: 7 }]).acknowledged
db.orders.createIndex({ item: 1 })
db.orders.updateOne({ item: "tea" }, { $inc: { n: 2 } }).modifiedCount
db.orders.find({ n: { $gt: 5 } }).sort({ n: 1 })
db.orders.aggregate([{ $group: { _id: null, total: { $sum: "$n" } } }])
db.many.insertMany(Array.from({ length: 10000 }, (_, i) => ({ _id: i }))).acknowledged
db.many.find().batchSize(100).toArray().length
JS
echo
echo "$ mongosh mongodb://127.0.0.1:$port/shop"
mongosh <"$dir/session.js" >"$dir/session.out" 2>&1 || die "mongosh failed: $(cat "$dir/session.out")"
awk -v commands="$dir/session.js" '/^shop> / { if ((getline command < commands) > 0) print "  shop> " command; sub(/^shop> /, "") } NF { print "  " $0 }' "$dir/session.out"
! grep -q 'Error' "$dir/session.out" || die "mongosh met an error"
told=$(mongosh --eval 'db.many.countDocuments() + " " + db.orders.findOne({ _id: 1 }).n' 2>&1) || die "mongosh failed: $told"
[ "$told" = "10000 5" ] || die "a second mongosh found '$told', expected '10000 5'"

echo
echo "Where clients land (connections of health checks are counted, too):"
timeout 120 "$node" tools/demo-mongodb.js "$port" "$pooled" "$backends" >"$dir/clients.out" 2>&1 || die "the clients failed: $(cat "$dir/clients.out")"
sed '/^ok$/d' "$dir/clients.out"

echo
printf '%s\n' "pid $$" "target 127.0.0.1:$port connection" "target 127.0.0.1:$pooled request" "nodes $backends" >"$running"
echo "Connect with any MongoDB client:  mongosh mongodb://127.0.0.1:$port/  or, over shared connections, mongodb://127.0.0.1:$pooled/"
echo "Check it from the outside:        tests/test.sh mongo basic"
if [ -n "${DEMO_SECONDS:-}" ]; then
  echo "Ends by itself after $DEMO_SECONDS s"
  end=$((SECONDS + DEMO_SECONDS))
else
  echo "Ctrl-C stops everything"
  end=0
fi
done="stopped: mongosh, 12 clients and 200 sessions found all they wrote, each on one backend"
while [ "$end" = 0 ] || [ "$SECONDS" -lt "$end" ]; do
  kill -0 "$puerta" 2>/dev/null || { puerta="" && die "puerta has ended"; }
  kill -0 "$ferrets" 2>/dev/null || { ferrets="" && die "FerretDB has ended"; }
  sleep 0.5
done
