#!/usr/bin/env python3
"""What a request costs: Puerta (Lua policy and C policy) against HAProxy and twemproxy, and what else is promised in numbers.

    bench.py                         everything (about 12 minutes)
    bench.py --rounds 3 --only get-1,mget
    bench.py --memory --syscalls     only these parts
    bench.py --markdown              the tables of the last run, for README.md

Method and figures: README.md beside this file. Standard library only.
"""
import argparse
import json
import os
import signal
import sys

sys.dont_write_bytecode = True
import coalesce  # noqa: E402
import idle  # noqa: E402
import loads  # noqa: E402
import report  # noqa: E402
import syscalls  # noqa: E402
from subjects import ROOT, Bed  # noqa: E402


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, help="interleaved rounds of the loads (15)")
    p.add_argument("--seconds", type=float, help="aimed length of one run (0.7)")
    p.add_argument("--quick", action="store_true", help="one round of short runs: does it work at all? Written to build/bench-quick.json")
    p.add_argument("--only", metavar="LOAD,...", type=lambda s: s.split(","), help="only these loads: " + ", ".join(x.name for x in loads.LOADS))
    p.add_argument("--subjects", metavar="NAME,...", type=lambda s: s.split(","), help="only these: " + ", ".join(report.ALL))
    p.add_argument("--memory", action="store_true", help="memory of idle clients")
    p.add_argument("--syscalls", action="store_true", help="system calls a request")
    p.add_argument("--coalesce", action="store_true", help="coalescing on and off, closed and open loop")
    p.add_argument("--loads", action="store_true", help="the table of loads")
    p.add_argument("--binary", default=str(ROOT / "build" / "puerta"), help="puerta (build/puerta)")
    p.add_argument("--json", metavar="FILE", help="results (build/bench.json); a part that is not measured keeps its last ones")
    p.add_argument("--markdown", action="store_true", help="print the tables of the last run and end")
    a = p.parse_args()
    for given, known in ((a.only, {x.name for x in loads.LOADS}), (a.subjects, set(report.ALL))):
        if wrong := set(given or ()) - known:
            p.error(f"{', '.join(sorted(wrong))}: not among {', '.join(sorted(known))}")
    a.parts = [name for name in report.PARTS if getattr(a, name)] or (["loads"] if a.only else list(report.PARTS))
    a.rounds = a.rounds or (1 if a.quick else 15)
    a.seconds = a.seconds or (0.5 if a.quick else 0.7)
    a.json = a.json or str(ROOT / "build" / ("bench-quick.json" if a.quick else "bench.json"))
    return a


def say(line):
    print(line, flush=True)


def read(path):
    try:
        with open(path) as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def write(path, data):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as f:
        json.dump(data, f, indent=1)


def measure_parts(a, data):
    machine = report.machine() | {"load": round(os.getloadavg()[0], 2)}
    if machine["load"] > 0.5:
        say(f"warning: load average {machine['load']}: somebody else is at work, the figures will be noisy")
    with Bed(a.binary) as bed:
        names = [n for n in bed.names() if not a.subjects or n in a.subjects]
        if not bed.binary:
            say(f"{a.binary} is not there: measured without puerta")
        for part in a.parts:
            rounds = a.rounds
            if part == "loads":
                results = loads.run(bed, names, a.only, rounds, a.seconds, say)
            elif part == "memory":
                results = idle.run(bed, names, a.quick, say)
            elif part == "syscalls":
                results = syscalls.run(bed, names, a.quick, say)
            elif coalesce.SUBJECT in names:
                rounds = min(rounds, 3)
                results = coalesce.run(bed, rounds, a.seconds if a.quick else max(a.seconds, 2), a.quick, say)
            else:
                say(f"coalesce: skipped, {coalesce.SUBJECT} is not among the subjects")
                continue
            data[part] = {"taken": loads.stamp(), "machine": machine, "quick": a.quick, "rounds": rounds, "results": results}
            if part == "loads":
                data[part] |= {"targets": loads.judge(results), "lua_over_c": loads.lua_over_c(results)}
            write(a.json, data)


def main():
    a = arguments()
    data = read(a.json)
    if a.markdown:
        print(report.show(data, markdown=True))
        return 0 if data else 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        measure_parts(a, data)
    except KeyboardInterrupt:
        return 130
    say(report.show({k: v for k, v in data.items() if k in a.parts}))
    say(f"\nwritten to {a.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
