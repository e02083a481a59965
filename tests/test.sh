#!/usr/bin/env bash
# The tests' front door: does this Puerta, yours or the demo's, do what it should? tests/test.sh --help tells the rest. (Every test of the sources: make test.)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
command -v python3 >/dev/null || "$root/tools/deps.sh" clients >&2
PYTHONDONTWRITEBYTECODE=1 exec python3 "$root/tests/front" "$@"
