"""System calls of the proxy a request. perf counts them without slowing the process down; where it may not, strace does, and its slowness makes the
batches of a multiplexer larger than they are."""
import re
import subprocess
import tempfile
from pathlib import Path

from loads import LOADS, benchmark, check, measure, rounded
from subjects import wait_for

LOAD = next(x for x in LOADS if x.name == "get-1")
LIMIT = 2.4
NAMED = ("epoll_wait", "epoll_pwait", "epoll_ctl", "read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg", "clock_nanosleep")
ALL = "raw_syscalls:sys_enter"


def by_perf(pid, port, n):
    """{name: calls}, "all" among them; None when perf may not."""
    events = [ALL, *(f"syscalls:sys_enter_{x}" for x in NAMED)]
    with tempfile.NamedTemporaryFile("r", prefix="bench-perf-") as f:
        try:
            benchmark(port, LOAD, n, ("perf", "stat", "-x", ",", "-o", f.name, "-e", ",".join(events), "-p", str(pid), "--"))
        except (OSError, RuntimeError):
            return None
        counts = {x[2].rsplit("sys_enter", 1)[1].lstrip("_") or "all": int(x[0]) for x in (line.split(",") for line in f) if len(x) > 2 and x[0].isdigit()}
    return counts if counts.get("all") else None


def by_strace(pid, port, n):
    """The same; None when strace is missing or may not."""
    with tempfile.TemporaryDirectory(prefix="bench-strace-") as d:
        table, said = Path(d) / "table", Path(d) / "said"
        with said.open("wb") as err:
            try:
                p = subprocess.Popen(["strace", "-c", "-f", "-o", str(table), "-p", str(pid)], stderr=err)
            except FileNotFoundError:
                return None
        try:
            wait_for("strace is attached", 10, lambda: p.poll() is not None or "attached" in said.read_text())
            if p.poll() is not None:
                return None
            benchmark(port, LOAD, n)
        finally:
            p.terminate()
            p.wait(10)
        # % time, seconds, usecs/call, calls, [errors,] syscall
        rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", table.read_text(), re.M)
    counts = {name: int(calls) for calls, name in rows if name != "total"}
    return counts | {"all": sum(counts.values())}


def count(subject, seconds):
    """One measurement; None when this user may not count system calls."""
    speed = measure(subject, LOAD, 20_000)["rps"]
    served = subject.served()
    n = rounded(LOAD, speed * seconds)
    method, calls = "perf", by_perf(subject.pid, subject.port, n)
    if not calls:
        n = rounded(LOAD, speed * seconds / 8)
        method, calls = "strace", by_strace(subject.pid, subject.port, n)
    if not calls:
        return None
    check(LOAD, n, served, subject.served())
    return {"method": method, "requests": n, "per_request": {k: v / n for k, v in calls.items() if v / n > 0.005}}


def run(bed, names, quick, say):
    """{subject: {"method", "requests", "per_request": {"all": calls, name: calls}}} at pipeline 1 with 50 clients."""
    out = {}
    for name in names:
        s = bed.start(name)
        one = count(s, 1 if quick else 3)
        bed.end(s)
        if not one:
            say(f"syscalls {name:11} not counted: neither perf nor strace is there and may look at it")
            continue
        out[name] = one
        say(f"syscalls {name:11} {out[name]['per_request']['all']:.2f} a request ({out[name]['method']}): {split(out[name])}")
    return out


def split(one):
    parts = sorted(((v, k) for k, v in one["per_request"].items() if k != "all"), reverse=True)
    return ", ".join(f"{k} {v:.2f}" for v, k in parts)
