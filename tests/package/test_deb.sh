#!/usr/bin/env bash
# The Debian package in a bare Debian of its own, with systemd running in it: installed, used, reloaded, upgraded, removed. Needs root, debootstrap and Debian's
# mirror; the downloaded system is kept (build/package/base). Ends with "N passed, N failed". Usage: tests/package/test_deb.sh [PACKAGE.deb]
set -uo pipefail
cd "$(dirname "$0")/../.."
deb=${1:-$(ls -t build/puerta_*.deb | head -1)}
base=${DEB_TEST_BASE:-build/package/base} root=$PWD/build/package/root out=$PWD/build/package/out
passed=0 failed=0 init=""
[ "$(id -u)" = 0 ] || { echo "tests/package/test_deb.sh: needs root" >&2 && exit 2; }

# check NAME COMMAND...
check() {
  local name=$1
  shift
  if "$@" >"$out" 2>&1; then
    passed=$((passed + 1)) && echo "ok $name"
  else
    failed=$((failed + 1)) && echo "FAIL $name" && tail -30 "$out"
  fi
}
# within SECONDS COMMAND...: it succeeds sooner or later.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}
# In the booted system.
on() { nsenter -t "$init" -m -u -i -n -p -C chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
sh_on() { on sh -c "$1"; }

clean_up() {
  # The system's own end first: the processes in it are its own.
  [ -z "$init" ] || { on systemctl poweroff --force --force >/dev/null 2>&1; kill "$machine" 2>/dev/null; wait "$machine" 2>/dev/null; }
  rm -rf "$root"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---- the system ----

mkdir -p build/package
if [ ! -e "$base/.complete" ]; then
  rm -rf "$base"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,procps,man-db,redis-server bookworm "$base" http://deb.debian.org/debian || exit 2
  touch "$base/.complete"
fi
rm -rf "$root"
cp -a "$base" "$root"
# How this machine reaches Debian's mirror, for what the package depends on; the booted system has no network but its own.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/" 2>/dev/null && chroot "$root" update-ca-certificates >/dev/null 2>&1
needs=$(dpkg-deb -f "$deb" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/,//g')
chroot "$root" sh -c "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $needs" >"$out" 2>&1 || { tail "$out" && exit 2; }
cp "$deb" "$root/puerta.deb"
cat >"$root/load.sh" <<'LOAD'
# One connection that counts and never comes back: a lost or new connection shows as an error, or as a count that is not the number of lines.
exec redis-cli -p 6380 -r 1000000 -i 0.01 INCR counter >/load.out 2>&1
LOAD

# An upgrade: the same package with another version, a binary that is another file, and a changed default configuration.
newer=$(mktemp -d)
dpkg-deb -R "$deb" "$newer"
sed -i 's/^Version: .*/&+1/' "$newer/DEBIAN/control"
printf 'newer' >>"$newer/usr/bin/puerta"
dpkg-deb -b --root-owner-group "$newer" "$root/newer.deb" >/dev/null
rm -rf "$newer"

unshare --fork --pid --mount --uts --ipc --cgroup --net --kill-child tests/package/boot.sh "$root" >build/package/boot.log 2>&1 &
machine=$!
within 10 eval 'init=$(pgrep -P $machine -x "systemd|init")' || { cat build/package/boot.log && echo "no systemd here" >&2 && exit 2; }
check "the system boots" within 60 eval 'on systemctl is-system-running --wait | grep -qE "running|degraded"'
sh_on 'redis-server --port 7001 --cluster-enabled yes --daemonize yes --dir /tmp --save "" >/dev/null && sleep 1 && redis-cli -p 7001 CLUSTER ADDSLOTSRANGE 0 16383 >/dev/null'

# ---- installed ----

active() { [ "$(on systemctl is-active puerta)" = "${1:-active}" ]; }
main_pid() { on systemctl show -P MainPID puerta; }
answers() { sh_on 'redis-cli -p 6380 SET a 1' | grep -qx OK; }
check "installs" on apt-get install -q -y /puerta.deb
check "the service runs, and was ready when systemctl returned" active
check "serves" within 20 answers
check "is enabled" on systemctl -q is-enabled puerta
check "runs as its user, without capabilities" sh_on '
  cd /proc/$(systemctl show -P MainPID puerta) && [ "$(stat -c %U .)" = puerta ] && grep -qE "^CapPrm:\s0+$" status && grep -qE "^CapBnd:\s0+$" status'
check "systemd-analyze verify is content" sh_on 'said=$(systemd-analyze verify --man=yes /lib/systemd/system/puerta.service 2>&1) && echo "$said" && [ -z "$said" ]'
check "systemd-analyze security calls it safe" sh_on 'systemd-analyze security --threshold=25 puerta.service'
check "has its directories to itself" sh_on '[ "$(stat -c "%a %U" /run/puerta)" = "700 puerta" ] && [ "$(stat -c "%a %U" /var/log/puerta)" = "750 puerta" ]'
check "says how many files it may open, which is all it may" sh_on '
  journalctl -u puerta | grep -q ": $(awk "/open files/ { print \$5 }" /proc/$(systemctl show -P MainPID puerta)/limits) open files allowed"'
check "the manual is there" sh_on 'MANROFFSEQ= man --warnings puerta 2>&1 | grep -q "Redis Cluster" && man puerta.lua | grep -q slot_refresh'
check "completion is there" on test -s /usr/share/bash-completion/completions/puerta

# ---- reloaded ----

check "reloads" sh_on 'echo "-- changed" >>/etc/puerta/puerta.lua && systemctl reload puerta'
check "the reload arrived" within 10 sh_on 'journalctl -u puerta | grep -q "generation 2 serves"'
check "systemctl tells of a configuration that is not good" sh_on '
  cp /etc/puerta/puerta.lua /tmp/good && echo "nonsense(" >>/etc/puerta/puerta.lua && ! systemctl reload puerta; ok=$?; cp /tmp/good /etc/puerta/puerta.lua; exit $ok'
check "and serves on" eval 'active && answers'

# ---- upgraded, restarted ----

sh_on 'redis-cli -p 7001 DEL counter >/dev/null; sh /load.sh' &
load=$!
within 10 eval '[ -s "$root/load.out" ]'
before=$(main_pid)
check "upgrades, and keeps a changed configuration" eval 'on apt-get install -q -y /newer.deb && grep -q "^-- changed" "$root/etc/puerta/puerta.lua" && active'
check "the new binary runs" within 20 eval '[ "$(main_pid)" != "$before" ] && sh_on "cmp /proc/\$(systemctl show -P MainPID puerta)/exe /usr/bin/puerta"'
check "and systemd knows it" within 20 active
check "the old one is gone" within 40 eval '! sh_on "kill -0 $before" && [ "$(sh_on "pgrep -xc puerta")" = 1 ]'
check "serves after the upgrade" within 20 answers
lines=$(wc -l <"$root/load.out")
check "the client that was there is served" within 10 eval '[ "$(wc -l <"$root/load.out")" -gt $((lines + 50)) ]'
on pkill -f 'INCR counter'
wait $load
check "nobody noticed the upgrade" eval '! grep -vxE "[0-9]+" "$root/load.out" && [ "$(tail -1 "$root/load.out")" = "$(wc -l <"$root/load.out")" ] && [ "$(wc -l <"$root/load.out")" -gt 100 ]'
check "reloads after the upgrade" sh_on 'systemctl reload puerta && journalctl -u puerta | tail -5 | grep -q "generation 2 serves"'
before=$(main_pid)
check "restarts" eval 'on systemctl restart puerta && active && [ "$(main_pid)" != "$before" ]'
check "comes back after a crash" eval 'on systemctl kill -s KILL puerta; within 20 active'
check "stops" eval 'within 20 answers; on systemctl stop puerta && active inactive && ! sh_on "pgrep -x puerta"'
check "and starts" eval 'on systemctl start puerta && active'

# ---- removed ----

check "is removed" eval 'on apt-get remove -q -y puerta && [ ! -e "$root/usr/bin/puerta" ] && ! sh_on "pgrep -x puerta" && ! active'
check "its configuration stays" test -e "$root/etc/puerta/puerta.lua"
check "is purged" eval 'on apt-get purge -q -y puerta && [ ! -e "$root/etc/puerta" ] && ! sh_on "find /etc /lib/systemd /usr/lib/systemd -name \"puerta*\" | grep ."'

echo "$passed passed, $failed failed"
[ $failed = 0 ]
