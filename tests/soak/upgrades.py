#!/usr/bin/env python3
"""Upgrades in a row under load: a new process takes over from the one that runs, which then is told to quit. Clients of Redis and MongoDB stay
connected and busy, and check every answer; others come and go. Passes when there was no error, no wrong answer, no reconnect, no refused connect,
every client is where it was, and all the old processes are gone. Usage: upgrades.py [--upgrades 20] [--clients 1000] [--mongo 200]; see --help."""
import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import common
import puerta as rig
from cluster import Cluster, free_port
from mongos import Trio
from upgrade_clients import MongoClient, Newcomer, RedisClient, Tally

GRACE = 60  # seconds for a client to end its last turn


def clients_of(pid, ports):
    """Established connections to our ports that the process holds: what it serves."""
    inodes = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                link = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    except OSError:  # it has gone
        return 0
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(f[3] == "01" and int(f[1].split(":")[1], 16) in ports and f[9] in inodes for f in rows)


class Upgrades:
    """The generations of a puerta, one after the other."""

    def __init__(self, puerta, args, ports, tally):
        self.puerta, self.args, self.ports, self.tally = puerta, args, set(ports.values()), tally
        self.wrong = []
        self.threads = ThreadPoolExecutor(1)  # a process dies with the thread that started it: this one stays

    async def aside(self, function, *args):
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *args)

    async def one(self, n):
        p, before, began = self.puerta, Counter(self.tally.faults), time.monotonic()
        old, new = p.process, await self.aside(p.successor, self.args.to)
        prepared = time.monotonic() - began
        at, p.process = p.mark(), new
        old.send_signal(signal.SIGQUIT)
        await self.aside(p.wait_log, rig.READY, at)
        ready = time.monotonic() - began
        await asyncio.sleep(self.args.settle)
        moved, kept = clients_of(new.pid, self.ports), clients_of(old.pid, self.ports)
        gone = await self.aside(self.bury, n, old, began)
        slowest, who, lag = self.tally.take_slowest()
        met = ", ".join(f"{v} {k}" for k, v in (Counter(self.tally.faults) - before).items()) or "no errors"
        print(f"upgrade {n:2}: prepared in {prepared * 1000:.0f} ms, serving after {ready * 1000:.0f} ms; {self.args.settle} s later {moved} clients "
              f"are with the new process, {kept} with the old one, which {gone}; slowest answer {slowest * 1000:.0f} ms "
              f"({who}; these clients themselves were up to {lag * 1000:.0f} ms late); {met}", flush=True)

    def bury(self, n, old, began):
        """Waits for the end of an old process; in words."""
        try:
            code = old.wait(self.args.gone)
        except subprocess.TimeoutExpired:
            self.wrong.append(f"upgrade {n}: the old process {old.pid} is still there after {self.args.gone} s")
            old.kill()
            return "IS STILL THERE"
        if code:
            self.wrong.append(f"upgrade {n}: the old process has ended with {code}")
        return f"has gone after {time.monotonic() - began:.1f} s"

    def end(self):
        self.wrong += common.ended(self.puerta)
        self.threads.shutdown()
        return self.wrong


async def busy(args, ports, upgrades, tally):
    """Starts the clients, does the upgrades, ends the clients. What is wrong, as a list."""
    ended, wrong = asyncio.Event(), []
    redis = [RedisClient(i, ports["redis"], tally, ended, args.pause) for i in range(args.clients)]
    ways = ("connection", "request")
    mongo = [MongoClient(i, ports[ways[i % 2]], ways[i % 2], tally, ended, args.pause) for i in range(args.mongo)]
    newcomers = [Newcomer(ports, tally, ended) for _ in range(2)]
    tasks = [asyncio.create_task(c.live()) for c in redis + mongo + newcomers] + [asyncio.create_task(tally.watch(ended))]
    end = time.monotonic() + GRACE
    while not all(c.turns for c in redis + mongo) and time.monotonic() < end:
        await asyncio.sleep(0.1)
    places = {c.name: c.place for c in mongo}
    if None in places.values():
        wrong.append(f"{list(places.values()).count(None)} MongoDB clients have not found their place before the first upgrade")
    for n in range(1, args.upgrades + 1):
        try:
            await upgrades.one(n)
        except (RuntimeError, OSError) as e:  # TimeoutError is one
            wrong.append(f"upgrade {n}: {e}")
            break
        await asyncio.sleep(args.between)
        if not upgrades.puerta.alive():
            wrong.append(f"upgrade {n}: the new process has ended")
            break
    served = clients_of(upgrades.puerta.pid, set(ports.values()))
    ended.set()
    _, late = await asyncio.wait(tasks, timeout=GRACE)
    if late:
        wrong.append(f"{len(late)} clients were never answered")
        for t in late:
            t.cancel()
    if upgrades.puerta.alive():
        moved = [name for name, place in (await come_again(mongo)).items() if place != places[name]]
        wrong += [f"{len(moved)} MongoDB clients that come again reach another mongos: {moved[:5]}"] if moved else []
    idle = [c.name for c in redis + mongo if c.turns < args.upgrades]
    wrong += [f"{len(idle)} clients were not busy: {idle[:5]}"] if idle else []
    print(f"{tally.answers} turns of {len(redis)} Redis and {len(mongo)} MongoDB clients, {tally.visits} clients came and went, "
          f"{served} connections at the last process")
    return wrong


async def come_again(mongo):
    """Where a new connection of each client lands that is placed by connection."""
    return {c.name: await c.again() for c in mongo if c.way == "connection"}


def main(args):
    rig.raise_file_limit()
    tally = Tally()
    with Cluster() as cluster, Trio() as trio:
        ports = {name: free_port() for name in ("redis", "connection", "request")}
        listeners = [rig.mongo_listener(trio, ports[way], name=way, forward=way) for way in ("connection", "request")]
        p = rig.Puerta(rig.config(rig.listener(cluster, ports["redis"], name="redis"), *listeners, workers=args.workers))
        upgrades = Upgrades(p, args, ports, tally)
        wrong = asyncio.run(busy(args, ports, upgrades, tally)) + upgrades.end()
    for kind, n in tally.faults.items():
        wrong.append(f"{n} {kind}, for instance: {tally.examples[kind]}")
    return common.verdict(wrong)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--upgrades", type=int, default=20)
    p.add_argument("--clients", type=int, default=1000, help="of Redis")
    p.add_argument("--mongo", type=int, default=200, help="half of them before forward = \"connection\", half before \"request\"")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--pause", type=float, default=0.4, help="seconds between a client's turns, on average")
    p.add_argument("--between", type=float, default=2, help="seconds before the next upgrade")
    p.add_argument("--settle", type=float, default=0.5, help="seconds after which it is counted who serves whom")
    p.add_argument("--gone", type=float, default=30, help="seconds in which an old process must have gone")
    p.add_argument("--to", metavar="BINARY", help="what to upgrade to (PUERTA_BIN, build/puerta)")
    sys.exit(main(p.parse_args()))
