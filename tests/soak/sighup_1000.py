#!/usr/bin/env python3
"""1,000 SIGHUPs under load, each with another file, every tenth with a broken one: no error at any client, memory flat.
Usage: sighup_1000.py [RELOADS (1000)]"""
import re
import sys

import common
import puerta as rig
from cluster import Cluster, free_port
from load import Load

FLAT = 8 << 20  # bytes of growth between the 100th reload and the last


def main(reloads=1000):
    wrong = []
    with Cluster() as cluster:
        port = free_port()

        def text(n):
            policy = ('"slot_owner"', '"read_near", { zone = "a" }', '"c"')[n % 3]
            return rig.config(rig.listener(cluster, port, name="cache", max_redirects=3 + n % 9, policy=rig.Lua(f'puerta.policy({policy})')), workers=2)

        p = rig.Puerta(text(0), port=port)
        start = early = p.rss()
        taken = refused = 0
        with Load(port, 8, lambda i: [f"hup{i}.{n}{kind}" for n in range(4) for kind in ("", "t")], depth=16) as load:
            for n in range(1, reloads + 1):
                broken = n % 10 == 0
                at = p.reload(text(n).replace("max_redirects", "max_redirect") if broken else text(n))
                p.wait_log(r"not applied" if broken else rig.RELOADED, since=at)
                refused, taken = refused + broken, taken + (not broken)
                if n == min(100, reloads // 2):
                    early = p.rss()
                if load.broken or load.wrong or load.errors:
                    break
            end = p.rss()
        wrong += load.verdict(cluster.reader())
        if end - early > FLAT:
            wrong.append(f"memory grew by {(end - early) / 2**20:.1f} MiB after the 100th reload")
        generations = re.findall(r"generation (\d+) serves(?! on)", p.log())
        wrong += common.ended(p)
        print(f"{taken} reloads taken (last generation {generations[-1] if generations else '?'}), {refused} refused, {load.replies} operations, "
              f"{len(load.errors)} errors; RSS {start / 2**20:.1f} MiB at the start, {early / 2**20:.1f} after 100 reloads, {end / 2**20:.1f} at the end")
    return common.verdict(wrong)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
