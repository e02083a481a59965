#!/usr/bin/env python3
"""What clients that are in notice of a limit that is hit: latency at a fixed rate (openloop.c) in quiet, beside idle connections, and while a crowd is
refused. Prints a table; p99 is to stay within twice that of quiet, or of the same crowd at another process: what it costs the machine. Usage: limits.py [--rate N] [--seconds N] [--rounds N]"""
import argparse
import json
import multiprocessing
import re
import resource
import socket
import statistics
import subprocess
import time

from coalesce import compile_openloop
from subjects import FILES, ROOT, fill, free_port, rig
from cluster import Cluster, wait_for
from resp import encode
from slots import slot

CLIENTS, KEYS, SIZE = 200, 1000, 64
IDLE = min(15_000, FILES - 1000)
ATTEMPTS = 2000  # connections a second that are refused


def crowd(port, started, told):
    """Connects ATTEMPTS times a second, reads what it is told and leaves; how many were refused."""
    n = 0
    began = time.monotonic()
    started.set()
    while not told.is_set():
        ahead = n / ATTEMPTS - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                s.settimeout(5)
                s.recv(64)
        except OSError:
            pass
        n += 1


def hoard(port, started, told):
    """A hundred clients that begin a request of 900 KB and never end it; one that is closed begins anew."""
    data = b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$900000\r\n" + b"h" * 900_000
    socks = {}
    started.set()
    while not told.is_set():
        while len(socks) < 100:
            try:
                s = socket.create_connection(("127.0.0.1", port), timeout=5)
            except OSError:
                break
            s.setblocking(False)
            socks[s] = 0
        for s in list(socks):
            try:
                if socks[s] < len(data):
                    socks[s] += s.send(data[socks[s] : socks[s] + 32768])
                elif not s.recv(64):
                    raise OSError
            except BlockingIOError:
                pass
            except OSError:
                s.close()
                del socks[s]
        time.sleep(0.01)


class Idle:
    """Connections of a process of their own that do nothing, after a PING each."""

    def __init__(self, port, n):
        self.end = multiprocessing.Event()
        self.ready = multiprocessing.Value("i", 0)
        self.process = multiprocessing.Process(target=self.run, args=(port, n), daemon=True)
        self.process.start()
        wait_for(f"{n} idle connections", 120, lambda: self.ready.value or not self.process.is_alive())
        if not self.ready.value:
            raise RuntimeError(f"{n} idle connections: not possible")

    def run(self, port, n):
        socks = []
        for _ in range(n):
            s = socket.create_connection(("127.0.0.1", port), timeout=30)
            s.sendall(encode("PING"))
            socks.append(s)
        for s in socks:
            assert s.recv(64) == b"+PONG\r\n"
        self.ready.value = 1
        self.end.wait()

    def stop(self):
        self.end.set()
        self.process.join(30)


def measure(binary, port, args, beside=None, prepare=None, where=None):
    """The load for a while; what runs beside it begins when the load's clients are in."""
    load = subprocess.Popen([binary, str(port), str(CLIENTS), str(args.rate), str(args.seconds), str(KEYS), str(SIZE)], stdout=subprocess.PIPE, text=True)
    other = None
    if beside:
        time.sleep(0.3)
        if prepare:
            prepare()
        started, told = multiprocessing.Event(), multiprocessing.Event()
        other = multiprocessing.Process(target=beside, args=(where or port, started, told), daemon=True)
        other.start()
        started.wait()
    out, _ = load.communicate(timeout=args.seconds + 60)
    if other:
        told.set()
        other.join(30)
    if load.returncode:
        raise RuntimeError(f"the load's clients were harmed:\n{out}")
    return json.loads(out)


def puerta(nodes, top):
    port = free_port()
    p = rig.Puerta(rig.config(rig.listener(nodes, port), workers=1, **top), binary=str(ROOT / "build" / "puerta"), port=port)
    return p


def refused(p):
    """The reasons it has given."""
    return sorted(set(re.findall(r"(?:refused: |memory: )(.*)", p.log())), key=len)[:1]


def scenarios(args):
    """(name, options of the process, idle connections, what runs beside the load, what is done once the load is in)"""
    def few_files(p):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (p.fds() + 16, hard))

    return [
        ("quiet", {}, 0, None, None),
        (f"{IDLE:,} idle connections", {}, IDLE, None, None),
        ("the crowd at another puerta", {}, 0, crowd, None),
        ("max_connections hit", {"max_connections": CLIENTS}, 0, crowd, None),
        ("open files at their limit", {}, 0, crowd, few_files),
        ("memory.max hit", {"memory": {"max": "32MiB"}}, 0, hoard, None),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    binary = compile_openloop()
    results = {}
    with Cluster(replicas=0, node_timeout=30000) as cluster:
        for master in cluster.masters():
            own = cluster.slots_of(master)
            fill(master, [("key:%012d" % i, SIZE) for i in range(KEYS) if slot("key:%012d" % i) in own])
        elsewhere = puerta(cluster, {"max_connections": 1})
        holder = elsewhere.connect()  # so that everybody else is refused there
        for _ in range(args.rounds):
            for name, top, idle, beside, prepare in scenarios(args):
                p = puerta(cluster, top)
                beyond = Idle(p.port, idle) if idle else None
                where = elsewhere.port if "another" in name else None
                r = measure(binary, p.port, args, beside, prepare and (lambda p=p, prepare=prepare: prepare(p)), where)
                results.setdefault(name, []).append(r | {"why": refused(p)})
                if beyond:
                    beyond.stop()
                wrong = p.stop()
                if wrong:
                    raise RuntimeError(wrong)
        holder.close()
        elsewhere.stop()
    print(f"\n{CLIENTS} clients, {args.rate} GETs a second over all, {args.seconds} s, median of {args.rounds} rounds; a crowd: {ATTEMPTS} connections a second.")
    print(f"{FILES} files may be open here.\n\n| | p50 ms | p99 ms | p99.9 ms | p99 against quiet | said |\n|---|---|---|---|---|---|")
    quiet = statistics.median(r["p99_ms"] for r in results["quiet"])
    for name, rs in results.items():
        p50, p99, p999 = (statistics.median(r[k] for r in rs) for k in ("p50_ms", "p99_ms", "p999_ms"))
        print(f"| {name} | {p50:.2f} | {p99:.2f} | {p999:.2f} | {p99 / quiet:.2f} | {(rs[0]['why'] or [''])[0][:90]} |")


if __name__ == "__main__":
    main()
