#!/usr/bin/env bash
# A real Redis Cluster on loopback (3 masters, 3 replicas), puerta before it, a short session through it. Stays until Ctrl-C, or for
# DEMO_SECONDS; then everything that was started is stopped. PUERTA_CONF: another configuration (conf/redis.lua).
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${PUERTA_BIN:-build/puerta}
conf=${PUERTA_CONF:-conf/redis.lua}
dir=$(mktemp -d)
cluster="" puerta="" cause=""
running=${BUILD_DIR:-build}/demo.running # where tests/test.sh finds this demo

stop() { # PID
  [ -n "$1" ] && kill "$1" 2>/dev/null || return 0
  wait "$1" 2>/dev/null || true
}

finish() {
  local rc=$?
  trap '' INT TERM
  ! grep -qsx "pid $$" "$running" || rm -f "$running"
  stop "$puerta"
  stop "$cluster"
  if [ "$rc" != 0 ]; then
    echo
    echo "demo failed: ${cause:-a command ended with $rc}" >&2
    for log in puerta cluster; do
      [ ! -s "$dir/$log.log" ] || { echo "--- log of $log:" && tail -40 "$dir/$log.log"; } >&2
    done
  else
    echo "stopped"
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

echo "Starting a Redis Cluster: 3 masters, 3 replicas"
# Sessions of their own, so that Ctrl-C reaches this script alone and the order of stopping is ours.
setsid python3 tests/rig/cluster.py >"$dir/cluster.log" 2>&1 &
cluster=$!
wait_line "$dir/cluster.log" '^ready ' "$cluster" "the cluster"
sed -n 's/^\(master\|replica\)/  \1/p' "$dir/cluster.log"
nodes=$(sed -n 's/^ready //p' "$dir/cluster.log")
masters=$(sed -n 's/^master [^:]*:\([0-9]*\) .*/\1/p' "$dir/cluster.log")

port=$(python3 -c 'import sys; sys.path.insert(0, "tests/rig"); import cluster; print(cluster.free_port())')
echo "Starting puerta $conf on 127.0.0.1:$port"
PUERTA_BIND=127.0.0.1:$port PUERTA_NODES=$nodes setsid "$binary" run "$conf" >"$dir/puerta.log" 2>&1 &
puerta=$!
wait_line "$dir/puerta.log" 'info +ready: |"event":"ready"' "$puerta" "puerta"

cli() { timeout 30 redis-cli -p "$port" "$@"; }
show() { # what the user would type, and what comes back
  echo "$ redis-cli -p $port $*"
  local out
  out=$(cli "$@" 2>&1) || die "redis-cli $* failed: $out"
  sed 's/^/  /' <<<"$out"
}
expect() { # WANT COMMAND...
  local want=$1 got
  shift
  got=$(cli "$@" 2>&1)
  [ "$got" = "$want" ] || die "redis-cli $* answered '$got', expected '$want'"
}

echo
show SET user:1 Ada
show SET user:2 Grace
show SET user:3 Edsger
show MGET user:1 user:2 user:3
show INCR visits
show HSET cart:7 apples 3 pears 5
show HGETALL cart:7
expect Ada GET user:1
expect $'Ada\nGrace\nEdsger' MGET user:1 user:2 user:3

echo
echo "A pipeline: 10000 SETs, one connection"
for i in $(seq 10000); do echo "SET demo:$i $i"; done >"$dir/pipeline"
timeout 60 redis-cli -p "$port" --pipe <"$dir/pipeline" >"$dir/pipe.out" 2>&1 || die "redis-cli --pipe failed: $(cat "$dir/pipe.out")"
grep -q 'errors: 0, replies: 10000' "$dir/pipe.out" || die "the pipeline was not answered well: $(cat "$dir/pipe.out")"
tail -1 "$dir/pipe.out" | sed 's/^/  /'
expect 4711 GET demo:4711
echo "redis-benchmark: 50 connections, pipelines of 16"
timeout 120 redis-benchmark -p "$port" -t set,get -n 100000 -P 16 -r 10000 -q >"$dir/benchmark.out" 2>&1 || die "redis-benchmark failed: $(cat "$dir/benchmark.out")"
tr '\r' '\n' <"$dir/benchmark.out" | grep 'requests per second' | sed 's/^/  /' || die "redis-benchmark printed no result: $(cat "$dir/benchmark.out")"

echo
echo "Where the keys went:"
for m in $masters; do
  keys=$(timeout 10 redis-cli -p "$m" DBSIZE)
  echo "  127.0.0.1:$m has $keys keys"
  [ "$keys" -gt 0 ] || die "no key has reached 127.0.0.1:$m"
done

echo
mkdir -p "$(dirname "$running")"
printf '%s\n' "pid $$" "target 127.0.0.1:$port" "nodes $nodes" >"$running"
echo "Connect with any Redis client:  redis-cli -p $port"
echo "Check it from the outside:      tests/test.sh redis basic"
if [ -n "${DEMO_SECONDS:-}" ]; then
  echo "Ends by itself after $DEMO_SECONDS s"
  end=$((SECONDS + DEMO_SECONDS))
else
  echo "Ctrl-C stops everything"
  end=0
fi
while [ "$end" = 0 ] || [ "$SECONDS" -lt "$end" ]; do
  kill -0 "$puerta" 2>/dev/null || { puerta="" && die "puerta has ended"; }
  kill -0 "$cluster" 2>/dev/null || { cluster="" && die "the cluster has ended"; }
  sleep 0.5
done
