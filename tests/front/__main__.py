"""tests/test.sh. Runs under any Python 3 to find out what is needed, installs that, and goes on under the tests' own Python."""
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "rig")]
os.environ.setdefault("PUERTA_BIN", str(ROOT / "build" / "puerta"))

import options  # noqa: E402
from places import DEPENDENCIES, whose  # noqa: E402
from report import Report  # noqa: E402

BUILD = (ROOT / os.environ.get("BUILD_DIR", "build")).resolve()


def prepare(args):
    """Builds and installs what these checks need, then starts again under the Python that has the clients. The exit code if that cannot be done."""
    own = [kind for kind in args.kinds if whose(kind, args) == "own"]
    groups = ["clients", *(g for kind in own for g in DEPENDENCIES[kind])]
    steps = [[str(ROOT / "tools" / "deps.sh"), *groups]]
    if own and os.environ["PUERTA_BIN"] == str(ROOT / "build" / "puerta"):
        steps.append(["make", "--no-print-directory", "-C", str(ROOT), "build"])
        if not shutil.which("make"):
            steps.insert(0, [str(ROOT / "tools" / "deps.sh"), "build"])
    for step in steps:
        if subprocess.run(step, cwd=ROOT, stdout=sys.stderr).returncode:
            print(f"test.sh: {' '.join(step)} failed: its output above says why", file=sys.stderr)
            return 2
    python = str(BUILD / "venv" / "bin" / "python")
    os.execve(python, [python, str(HERE), *sys.argv[1:]], os.environ | {"PUERTA_FRONT": "ready"})


def main():
    args = options.parse(sys.argv[1:])
    if os.environ.get("PUERTA_FRONT") != "ready":
        return prepare(args)
    from puerta import raise_file_limit
    from runs import run_all

    raise_file_limit()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it: it cleans up
    report = Report(args)
    try:
        run_all(args, report)
    except KeyboardInterrupt:
        report.trouble("interrupted")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
