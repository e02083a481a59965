#!/usr/bin/env python3
"""Pipelines of INCR, APPEND and GET while slots move back and forth under redis-cli --cluster reshard: no error at any client, nothing lost,
doubled or out of order. Usage: soak_reshard.py [SECONDS (60)] [CONNECTIONS (16)]"""
import sys
import threading
import time

import common
from cluster import Cluster
from load import Load
from puerta import Puerta
from slots import key_in, keys_in

SLOTS = 100


def main(seconds=60, connections=16):
    with Cluster(options={"cluster-require-full-coverage": "no"}) as cluster:
        p = Puerta.for_cluster(cluster)
        a, b = cluster.masters()[0], cluster.masters()[2]
        first, last = set(range(SLOTS)), set(sorted(cluster.slots_of(b))[:SLOTS])
        with p.connect() as c:  # so that a slot takes a while to move
            for part in (first, last):
                c.pipeline([("SET", k, "x" * 200) for _, k in zip(range(10_000), keys_in(part, "fill"))])

        def names(i):
            tags = [key_in(first, f"a{i}."), key_in(last, f"b{i}."), f"c{i}"]
            return [f"{{{t}}}{n}{kind}" for t in tags for n in range(2) for kind in ("", "t")]

        moved, failures, end = [0], [], time.monotonic() + seconds

        def move():
            try:
                while time.monotonic() < end:
                    cluster.reshard(b, a, SLOTS)
                    cluster.reshard(a, b, SLOTS)
                    moved[0] += 2 * SLOTS
            except Exception as e:
                failures.append(str(e))

        mover = threading.Thread(target=move)
        with Load(p.port, connections, names, depth=32) as load:
            mover.start()
            mover.join()
        wrong = failures + load.verdict(cluster.reader()) + common.ended(p)
        print(f"{load.replies} operations of {connections} connections, {moved[0]} slots moved, {len(load.errors)} errors, {len(load.wrong)} wrong replies")
        return common.verdict(wrong)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
