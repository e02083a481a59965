"""What the soak scripts share: paths, a puerta before a cluster, a verdict."""
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("PUERTA_BIN", str(ROOT / "build" / "puerta"))
sys.path.insert(0, str(ROOT / "tests" / "rig"))


def verdict(wrong):
    """Prints what is wrong, or that nothing is; the exit code."""
    for w in wrong:
        print("WRONG:", w)
    print("failed" if wrong else "passed")
    return 1 if wrong else 0


def ended(p):
    """Stops a puerta; what was wrong with its life, as a list."""
    w = p.stop()
    return [w] if w else []
