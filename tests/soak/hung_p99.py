#!/usr/bin/env python3
"""One master of three is stopped (SIGSTOP) under load: p99 of requests for the other slots against the undisturbed run, and whether all slots serve
after the failover. Load by redis-benchmark. Usage: hung_p99.py [ROUNDS (3)] [REQUESTS a round and healthy master (300000)]"""
import csv
import io
import signal
import subprocess
import sys
import threading
import time

import common
from cluster import Cluster, wait_for
from puerta import Puerta
from resp import Conn, Error
from slots import key_in

LIMIT = 2.0


def benchmark(port, tag, requests):
    return subprocess.Popen(["redis-benchmark", "-p", str(port), "-c", "25", "-n", str(requests), "-r", "100000", "--csv", "SET", f"{{{tag}}}:__rand_int__", "x" * 64],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def p99s(port, tags, requests):
    """p99 in ms of each tag's load, all at once."""
    out = []
    for b in [benchmark(port, t, requests) for t in tags]:
        text, _ = b.communicate(timeout=300)
        if b.returncode:
            raise RuntimeError(f"redis-benchmark: {text}")
        rows = list(csv.DictReader(io.StringIO(text[text.index('"test"'):])))
        out.append(float(rows[0]["p99_latency_ms"]))
    return out


def bother(port, tag, ended, errors):
    """Requests for the slots of the node that hangs, all the time, from several connections."""
    while not ended.is_set():
        try:
            with Conn(port, timeout=60) as c:
                while not ended.is_set():
                    errors[0] += sum(isinstance(r, Error) for r in c.pipeline([("SET", f"{{{tag}}}b", "1")] * 4))
                    time.sleep(0.002)
        except OSError:
            time.sleep(0.01)


def main(rounds=3, requests=300_000):
    wrong, ratios = [], []
    # The failover comes after the measurement: 60 s without an answer. It is shortened when it is wanted.
    with Cluster(node_timeout=60_000, options={"cluster-require-full-coverage": "no"}) as cluster:
        p = Puerta.for_cluster(cluster, request_timeout="1s")
        healthy, hung = cluster.masters()[:2], cluster.masters()[2]
        tags = [key_in(cluster.slots_of(m)) for m in healthy]
        hung_tag = key_in(cluster.slots_of(hung))
        ended, errors = threading.Event(), [0]
        threads = [threading.Thread(target=bother, args=(p.port, hung_tag, ended, errors), daemon=True) for _ in range(4)]
        for t in threads:
            t.start()
        p99s(p.port, tags, requests // 4)
        for r in range(rounds):
            calm = max(p99s(p.port, tags, requests))
            hung.signal(signal.SIGSTOP)
            began = time.monotonic()
            try:
                disturbed = max(p99s(p.port, tags, requests))
                hung_for = time.monotonic() - began
            finally:
                hung.signal(signal.SIGCONT)
            wait_for("the slots of the node serve again", 20, lambda: serves(p.port, hung_tag), every=0.1)
            ratios.append(disturbed / calm)
            print(f"round {r + 1}: p99 {calm:.2f} ms undisturbed, {disturbed:.2f} ms with a node hung for {hung_for:.0f} s: {ratios[-1]:.2f} x")
        ratio = sorted(ratios)[len(ratios) // 2]
        print(f"median {ratio:.2f} x (limit {LIMIT}); {errors[0]} errors of requests for the hung node's slots")
        if ratio > LIMIT:
            wrong.append(f"p99 of the other slots rose {ratio:.2f} x")
        if not errors[0]:
            wrong.append("no request for the hung node's slots failed: nothing was measured")
        for n in cluster.nodes:
            n.call("CONFIG", "SET", "cluster-node-timeout", 2000)
        hung.signal(signal.SIGSTOP)
        try:
            wait_for("all slots serve after the failover", 60, lambda: serves(p.port, hung_tag), every=0.2)
            print("after the failover all slots serve")
        except TimeoutError as e:
            wrong.append(str(e))
        ended.set()
        hung.signal(signal.SIGCONT)
        wrong += common.ended(p)
    return common.verdict(wrong)


def serves(port, tag):
    with Conn(port, timeout=30) as c:
        return c.command("SET", f"{{{tag}}}s", "1") == "OK"


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
