#!/bin/sh
# Installs what is missing for the groups named: build demo demo-mongodb clients ferret test fuzz bench deb test-deb. Silent when everything is there.
# Usage: tools/deps.sh GROUP...   ($BUILD_DIR, default build: where the Python and Node packages and the Go programs of the tests go)
set -eu
cd "$(dirname "$0")/.."
dir=${BUILD_DIR:-build}
packages=""

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
# need PACKAGE...: installed by its name. need_command COMMAND PACKAGE: whoever brought the command.
need() { for p in "$@"; do installed "$p" || packages="$packages $p"; done; }
need_command() { command -v "$1" >/dev/null || packages="$packages $2"; }

build() {
  need gcc make libc6-dev libev-dev libmicrohttpd-dev libluajit-5.1-dev luajit libssl-dev libbson-dev libsnappy-dev zlib1g-dev libzstd-dev
}
servers() {
  need_command redis-server redis-server
  need_command redis-cli redis-tools
  need_command python3 python3
}
mongodb() {
  need_command python3 python3
  need_command node nodejs
  need_command npm npm
}
clients() {
  need_command python3 python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv
}
tests() {
  servers
  mongodb
  clients
  need libcmocka-dev clang-format libmongoc-dev pkg-config
  need_command chromium chromium
  need fonts-dejavu-core
  need_command busted lua-busted
  need_command groff groff-base
  need_command zsh zsh
}

for group in "$@"; do
  case $group in
    build) build ;;
    demo) servers ;;
    demo-mongodb) mongodb ;;
    clients) clients ;;
    ferret) need_command python3 python3 ;;
    test) tests ;;
    fuzz) need clang libclang-rt-14-dev ;; # the sanitizers are only recommended by clang
    deb) need debhelper dpkg-dev ;;
    test-deb) need debootstrap ;;
    bench) servers && need haproxy nutcracker && need_command perf linux-perf && need_command strace strace ;; # both count system calls, strace where perf may not
    *) echo "deps.sh: no group '$group' (build demo demo-mongodb clients ferret test fuzz bench deb test-deb)" >&2 && exit 2 ;;
  esac
done

# Installing redis-server also starts its service, which may fail (no init system, port taken): what counts is that the programs are there.
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
if [ -n "$packages" ]; then
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
python_clients() {
  pinned="$(cat tests/requirements.txt)"
  [ "$(cat "$dir/venv/.installed" 2>/dev/null)" != "$pinned" ] || return 0
  echo "installing into $dir/venv:" $pinned
  mkdir -p "$dir"
  [ -x "$dir/venv/bin/pip" ] || python3 -m venv --clear "$dir/venv"
  "$dir/venv/bin/pip" install -q --disable-pip-version-check -r tests/requirements.txt
  echo "$pinned" >"$dir/venv/.installed"
}

# The newest MongoDB driver and mongosh need Node 20.19 or 22.12, Debian 12 has 18: there a newer one comes from npm beside them.
node_is_new() { node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)'; }
node_clients() {
  ! cmp -s tests/e2e/node/package.json "$dir/node/.pinned" || return 0
  node=""
  node_is_new || node=node@22.23.3
  echo "installing into $dir/node: ioredis mongodb mongosh redis $node"
  mkdir -p "$dir/node"
  cp tests/e2e/node/package.json "$dir/node/package.json"
  # shellcheck disable=SC2086 # one name or none
  npm install --prefix "$dir/node" --no-audit --no-fund --no-package-lock --no-save --omit=optional --loglevel=error $node
  cp tests/e2e/node/package.json "$dir/node/.pinned"
}

# Go itself says whether it can build a module: it is new enough, or fetches a toolchain that is through the module proxy (Go >= 1.21).
go_for() { # DIRECTORY
  for go in go /usr/local/go/bin/go /usr/lib/go-1.*/bin/go; do
    if command -v "$go" >/dev/null && (cd "$1" && "$go" list -m) >/dev/null 2>&1; then
      echo "$go" && return 0
    fi
  done
  return 1
}
# The newest Go that Debian has; in Debian 12 that is one from its backports.
install_go() {
  . /etc/os-release
  backports="$VERSION_CODENAME-backports"
  if [ "$VERSION_CODENAME" = bookworm ] && ! apt-cache policy | grep -q "n=$backports"; then
    echo "adding $backports to the sources of apt, for Go"
    echo "deb http://deb.debian.org/debian $backports main" | $sudo tee "/etc/apt/sources.list.d/$backports.list" >/dev/null
  fi
  $sudo apt-get update -q
  newest=$(apt-cache search --names-only '^golang-1\.[0-9]+-go$' | sed 's/ .*//' | sort -V | tail -1)
  echo "installing: $newest"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$newest" ca-certificates
}
# go_program SOURCES PROGRAM: without a Go the tests that need it are skipped, and say so.
go_program() {
  [ ! -x "$2" ] || [ -n "$(find "$1" -newer "$2")" ] || return 0
  mkdir -p "$(dirname "$2")"
  out=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
  if go=$(go_for "$1") || { install_go && go=$(go_for "$1"); }; then
    echo "building $2 (downloads its modules the first time)"
    (cd "$1" && "$go" build -trimpath -o "$out" .) && return 0
  fi
  echo "deps.sh: $2 could not be built: it needs $(grep '^go ' "$1/go.mod" | sed 's/^go /Go >= /'), or a Go >= 1.21 that can fetch it" >&2
  return 1
}

for group in "$@"; do
  case $group in
    clients) python_clients ;;
    ferret) go_program tests/rig/ferret "$dir/ferret" ;;
    demo-mongodb)
      node_clients
      go_program tests/rig/ferret "$dir/ferret"
      ;;
    test)
      python_clients
      node_clients
      go_program tests/rig/ferret "$dir/ferret" || true
      go_program tests/e2e/mongo/go "$dir/mongo-driver-go" || true
      ;;
  esac
done
