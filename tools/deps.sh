#!/bin/sh
# Installs the Debian packages that are missing; silent when all are there.
set -eu
need="build-essential pkg-config redis-server redis-tools libev-dev libluajit-5.1-dev luajit libssl-dev libcmocka-dev"
missing=""
for p in $need; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
# shellcheck disable=SC2086 # a list of names
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
