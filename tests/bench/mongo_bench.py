#!/usr/bin/env python3
"""What a MongoDB message costs: Puerta in both ways of forwarding against HAProxy in TCP mode, before the same three scripted servers.

    mongo_bench.py                  everything (about 3 minutes)
    mongo_bench.py --quick          one short round: does it work at all?
    mongo_bench.py --rounds 9 --only find-1k

CPU time a request of the proxy's process, medians of interleaved rounds (many short ones: the machine itself has slow seconds); latency beside it; memory of idle clients. The servers and the load are mongo_load.c:
a real database would only add its own noise. Method: README.md beside this file.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median

sys.dont_write_bytecode = True
import report  # noqa: E402
from idle import descriptors, memory  # noqa: E402
from subjects import MAX_CLIENTS, ROOT, Subject, free_port, rig, settle, wait_for  # noqa: E402

LOAD = str(ROOT / "build" / "mongo_load")
IDLE_CLIENTS, IDLE_LIMIT = 2000, 2048

HAPROXY = """\
global
    nbthread 1
    maxconn {maxconn}
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
listen mongo
    bind 127.0.0.1:{port} backlog 4096
    balance roundrobin
"""


@dataclass(frozen=True)
class Load:
    name: str
    title: str
    op: str
    size: int
    clients: int
    limit: float  # CPU a request of forward = "connection" against HAProxy


LOADS = (
    Load("find-1k", "find, 1 KiB document", "find", 1024, 50, 1.1),
    Load("insert-1k", "insert, 1 KiB document", "insert", 1024, 50, 1.1),
    Load("find-1m", "find, 1 MiB document", "find", 1 << 20, 8, 1.0),
    Load("insert-1m", "insert, 1 MiB document", "insert", 1 << 20, 8, 1.0),
)
NAMES = ("puerta-connection", "puerta-request", "haproxy")


class Puerta(Subject):
    def __init__(self, name, backends, binary):
        super().__init__(name, [])
        options = {"bind": f"127.0.0.1:{self.port}", "forward": name.split("-")[1]}
        body = "".join(f"      {k} = {rig.lua(v)},\n" for k, v in options.items())
        list_ = "".join(f'puerta.backend {{ "127.0.0.1:{p}" }}, ' for p in backends)
        text = rig.config(rig.Lua(f"puerta.mongodb {{\n{body}      backends = {{ {list_}}},\n    }}"), workers=1)
        self.rig = rig.Puerta(text, binary=binary, port=self.port)
        self.process = self.rig.process


def answers(port):
    p = subprocess.run([LOAD, "run", str(port), "1", "0.05", "find", "64"], capture_output=True, text=True, timeout=20)
    return p.returncode == 0


def start(name, backends, binary):
    if name == "haproxy":
        port = free_port()
        text = HAPROXY.format(port=port, maxconn=MAX_CLIENTS) + "".join(f"    server s{i} 127.0.0.1:{p}\n" for i, p in enumerate(backends))
        s = Subject(name, [], ["haproxy", "-db", "-f", "haproxy.cfg"], port=port, files={"haproxy.cfg": text})
    else:
        s = Puerta(name, backends, binary)
    wait_for(f"{name} answers", 20, lambda: answers(s.port))
    return s


def measure(subject, load, seconds):
    before = subject.cpu()
    p = subprocess.run([LOAD, "run", str(subject.port), str(load.clients), str(seconds), load.op, str(load.size)], capture_output=True, text=True, timeout=60)
    if p.returncode:
        raise RuntimeError(f"{load.name} on {subject.name}: {p.stderr}")
    settle()
    after = subject.cpu()
    figures = json.loads(p.stdout)
    return figures | {"cpu_us": (after.ns - before.ns) / 1000 / figures["done"]}


def idle(subject):
    """Bytes of process memory for each client that has said hello and does nothing."""
    base, few = memory(subject.pid)["pss"], descriptors(subject.pid)
    p = subprocess.Popen([LOAD, "idle", str(subject.port), str(IDLE_CLIENTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if p.stdout.readline() != "ready\n":
            raise RuntimeError(f"idle clients on {subject.name}")
        time.sleep(2)
        if descriptors(subject.pid) < few + IDLE_CLIENTS:
            raise RuntimeError(f"{subject.name} does not hold the idle clients")
        return (memory(subject.pid)["pss"] - base) / IDLE_CLIENTS
    finally:
        p.stdin.close()
        p.wait(20)


def tables(loads, runs, bytes_idle, markdown):
    rows, verdicts = [], []
    for x in loads:
        by = {s: {k: median(r[k] for r in rs) for k in rs[0]} for s, rs in runs[x.name].items()}
        for s, m in by.items():
            ratio = median(a["cpu_us"] / b["cpu_us"] for a, b in zip(runs[x.name][s], runs[x.name]["haproxy"])) if "haproxy" in by else 0
            rows.append([x.title, s, f"{m['cpu_us']:.2f}", f"{ratio:.2f}", f"{m['rps']:,.0f}", f"{m['p50_ms']:.2f}", f"{m['p99_ms']:.2f}"])
            if s == "puerta-connection" and ratio:
                verdicts.append([x.title, f"{ratio:.2f}", f"≤ {x.limit:.2f}", report.verdict(ratio <= x.limit)])
    yield "CPU µs per request of the proxy", report.table(
        ["load", "subject", "CPU µs", "× haproxy", "requests/s", "p50 ms", "p99 ms"], rows, markdown)
    for s, b in bytes_idle.items():
        verdicts.append([f"bytes per idle client, {s}", f"{b:,.0f}", f"≤ {IDLE_LIMIT:,}" if s != "haproxy" else "", report.verdict(b <= IDLE_LIMIT) if s != "haproxy" else ""])
    yield "Targets", report.table(["what", "measured", "target", "verdict"], verdicts, markdown)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int)
    p.add_argument("--seconds", type=float)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", type=lambda s: s.split(","))
    p.add_argument("--markdown", action="store_true", help="tables for README.md")
    p.add_argument("--binary", default=str(ROOT / "build" / "puerta"))
    a = p.parse_args()
    rounds, seconds = a.rounds or (1 if a.quick else 15), a.seconds or (0.5 if a.quick else 0.7)
    loads = [x for x in LOADS if not a.only or x.name in a.only]
    machine, busy = report.machine(), os.getloadavg()[0]
    backends = [free_port() for _ in range(3)]
    servers = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", LOAD, "serve", *map(str, backends)])
    subjects = {}
    try:
        wait_for("the servers answer", 10, lambda: answers(backends[-1]))
        for name in NAMES:
            subjects[name] = start(name, backends, a.binary)
        bytes_idle = {name: idle(s) for name, s in subjects.items()}
        runs = {x.name: {s: [] for s in subjects} for x in loads}
        for r in range(rounds):
            for x in loads:
                for s in list(subjects)[:: -1 if r % 2 else 1]:
                    m = measure(subjects[s], x, seconds)
                    runs[x.name][s].append(m)
                    print(f"round {r + 1}/{rounds}  {x.name:9} {s:17} {m['cpu_us']:8.2f} µs/request {m['rps']:10,.0f} requests/s  p99 {m['p99_ms']:.2f} ms", flush=True)
    finally:
        for s in subjects.values():
            s.stop()
        servers.terminate()
        servers.wait()
    print(f"\n{time.strftime('%Y-%m-%d %H:%M:%S %Z')}, {machine['cores']} × {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
          f"haproxy {machine['haproxy']}, load average before {busy:.2f}" + (", QUICK: a smoke test" if a.quick else ""))
    for title, text in tables(loads, runs, bytes_idle, a.markdown):
        print(f"\n{'### ' if a.markdown else '== '}{title}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
