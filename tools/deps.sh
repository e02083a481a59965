#!/bin/sh
# Installs what is missing for the groups named: build demo test fuzz bench. Silent when everything is there.
# Usage: tools/deps.sh GROUP...   ($BUILD_DIR, default build: where the Python and Node packages of the tests go)
set -eu
cd "$(dirname "$0")/.."
dir=${BUILD_DIR:-build}
packages=""

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
# need PACKAGE...: installed by its name. need_command COMMAND PACKAGE: whoever brought the command.
need() { for p in "$@"; do installed "$p" || packages="$packages $p"; done; }
need_command() { command -v "$1" >/dev/null || packages="$packages $2"; }

build() {
  need gcc make libc6-dev libev-dev libluajit-5.1-dev luajit libssl-dev
}
servers() {
  need_command redis-server redis-server
  need_command redis-cli redis-tools
  need_command python3 python3
}
tests() {
  servers
  need libcmocka-dev clang-format
  need_command busted lua-busted
  python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv
  need_command node nodejs
  need_command npm npm
}

for group in "$@"; do
  case $group in
    build) build ;;
    demo) servers ;;
    test) tests ;;
    fuzz) need clang libclang-rt-14-dev ;; # the sanitizers are only recommended by clang
    bench) servers && need haproxy nutcracker ;;
    *) echo "deps.sh: no group '$group' (build demo test fuzz bench)" >&2 && exit 2 ;;
  esac
done

# Installing redis-server also starts its service, which may fail (no init system, port taken): what counts is that the programs are there.
if [ -n "$packages" ]; then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "installing:$packages"
  $sudo apt-get update -q
  # shellcheck disable=SC2086 # a list of names
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages || {
    echo "deps.sh: apt-get reported an error; looking whether the programs are there all the same"
    for p in $packages; do
      [ "$p" != redis-server ] || { command -v redis-server && continue; }
      installed "$p" || { echo "deps.sh: $p could not be installed" >&2 && exit 1; }
    done
  }
fi

# The clients that the tests use, pinned, in the build directory.
case " $* " in *" test "*) ;; *) exit 0 ;; esac
pinned="$(cat tests/requirements.txt)"
if [ "$(cat "$dir/venv/.pinned" 2>/dev/null)" != "$pinned" ]; then
  echo "installing into $dir/venv: $(echo $pinned)"
  mkdir -p "$dir"
  python3 -m venv --clear "$dir/venv"
  "$dir/venv/bin/pip" install -q --disable-pip-version-check -r tests/requirements.txt
  echo "$pinned" >"$dir/venv/.pinned"
fi
if ! cmp -s tests/e2e/node/package.json "$dir/node/.pinned"; then
  echo "installing into $dir/node: ioredis, redis"
  mkdir -p "$dir/node"
  cp tests/e2e/node/package.json "$dir/node/package.json"
  npm install --prefix "$dir/node" --no-audit --no-fund --no-package-lock --loglevel=error
  cp tests/e2e/node/package.json "$dir/node/.pinned"
fi
