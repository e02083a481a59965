#!/usr/bin/env python3
"""A storm of TLS handshakes against a puerta whose other clients go on working: what it costs them. Not a test: its figures are the machine's.

    tls_storm.py [--storm 4] [--seconds 5] [--rounds 3] [--clients 20] [--workers 2] [--rsa] [--reuse | --hellos RATE] [--plain]

Clients in TLS (--plain: without, on a listener of their own) send GETs to a Redis Cluster at an even pace: alone; then while several
`openssl s_time` make full handshakes (--reuse: resumed ones) with another puerta as fast as they can, which shows what the machine's share is; then while
they make them with the same puerta. The storm would come from other machines: here it has the lowest priority, and the clock that measures a high one
(which counts among the processes of one session, as all of these are).
--hellos: the storm says the same hello RATE times a second, and leaves when puerta has answered it. That costs puerta what is dear in a full handshake, the
key exchange and the signature, and the storm next to nothing, so that this machine can make as many as many machines would.
Prints latencies, and how many handshakes (hellos: those answered) a second there were.
"""
import argparse
import multiprocessing
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("PUERTA_BIN", str(Path(__file__).resolve().parents[2] / "build" / "puerta"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "rig"))
from certs import Authority, hello_bytes  # noqa: E402
from cluster import Cluster, free_port  # noqa: E402
from puerta import Puerta, config, listener, percentile, raise_file_limit  # noqa: E402
from resp import Conn  # noqa: E402

PACE = 0.002  # s between two requests of a client
HANDSHAKE = 22  # a record's type, RFC 8446 5.1


def work(port, ca, seconds, n, out):
    """n clients in turn, each at its pace; latencies in ms."""
    os.nice(-10)
    ctx = ssl.create_default_context(cafile=ca) if ca else None
    clients, latencies = [Conn(port, tls=ctx) for _ in range(n)], []
    end, due = time.monotonic() + seconds, time.monotonic()
    while due < end:
        for c in clients:
            began = time.monotonic()
            c.command("GET", "storm")
            latencies.append((time.monotonic() - began) * 1000)
        due = max(due + PACE, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))
    out.put(latencies)


def storm(port, ca, seconds, n, kind):
    """Handshakes, one after the other as fast as they go, by n processes of openssl; how many a second."""
    command = ["nice", "-n", "19", "openssl", "s_time", "-connect", f"127.0.0.1:{port}", *kind, "-CAfile", str(ca), "-time", str(seconds)]
    all_of_them = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(n)]
    found = [re.search(r"(\d+) connections in (\d+) real seconds", p.communicate()[0]) for p in all_of_them]
    return sum(int(f[1]) / int(f[2]) for f in found if f)


def hello(port, seconds, rate, out):
    """Says hello rate times a second and leaves, with what processors others leave it; how many were answered with a hello, a second."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    data, answered, began = hello_bytes(), 0, time.monotonic()
    for n in range(int(rate * seconds)):
        time.sleep(max(0, began + n / rate - time.monotonic()))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            s.sendall(data)
            answered += s.recv(65536)[:1] == bytes([HANDSHAKE])
    out.put(answered / (time.monotonic() - began))


def hellos(port, seconds, rate, n):
    """n processes that say hello; how many hellos were answered a second."""
    all_of_them = [run(hello, (port, seconds, rate / n)) for _ in range(n)]
    return sum(out.get() for _, out in all_of_them)


def run(target, args):
    out = multiprocessing.Queue()
    p = multiprocessing.Process(target=target, args=(*args, out))
    p.start()
    return p, out


def figures(latencies):
    return " ".join(f"p{p} {percentile(latencies, p):.2f} ms" for p in (50, 99)) + f" of {len(latencies)}"


def measure(a, at, trust, target, ca, of):
    """Latencies of the clients at `at` while a storm goes to the port target (None: none); handshakes a second, CPU seconds of the puerta it goes to."""
    p, out = run(work, (at, trust, a.seconds + (target is not None), a.clients))
    time.sleep(0.5)
    before = of.cpu_seconds()
    if not target:
        rate = 0
    elif a.hellos:
        rate = hellos(target, a.seconds, a.hellos, a.storm)
    else:
        rate = storm(target, ca, a.seconds, a.storm, ("-reuse", "-tls1_2") if a.reuse else ("-new",))
    cpu = of.cpu_seconds() - before
    latencies = out.get()
    p.join()
    return latencies, rate, cpu


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--storm", type=int, default=4)
    a.add_argument("--seconds", type=int, default=5)
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--clients", type=int, default=20)
    a.add_argument("--workers", type=int, default=2)
    a.add_argument("--rsa", action="store_true")
    kind = a.add_mutually_exclusive_group()
    kind.add_argument("--reuse", action="store_true")
    kind.add_argument("--hellos", type=float, metavar="RATE")
    a.add_argument("--plain", action="store_true")
    a = a.parse_args()
    raise_file_limit()
    ca = Authority()
    pair = ca.issue("server", rsa=a.rsa)
    with Cluster(masters=3, replicas=0) as cluster:
        door, plain, away = free_port(), free_port(), free_port()
        tls = pair.options()
        p = Puerta(config(listener(cluster, door, tls=tls, backlog=4096), listener(cluster, plain), workers=a.workers))
        other = Puerta(config(listener(cluster, away, tls=tls, backlog=4096), workers=a.workers))
        at, trust = (plain, None) if a.plain else (door, ca.ca)
        try:
            for i in range(a.rounds):
                quiet = 0
                for name, target, of in (("alone", None, p), ("storm at another puerta", away, other), ("storm", door, p)):
                    latencies, rate, cpu = measure(a, at, trust, target, ca.ca, of)
                    quiet = quiet or percentile(latencies, 99)
                    print(f"{i + 1}. {name:24} {figures(latencies)}; p99 {percentile(latencies, 99) / quiet:.2f} x; {rate:.0f} handshakes/s"
                          f"; its puerta's CPU {cpu / a.seconds * 100:.0f} %", flush=True)
        finally:
            print(p.stop() or "puerta ended well", other.stop() or "")
    ca.end()


if __name__ == "__main__":
    main()
