"""Adaptive coalescing on and off: closed loop (redis-benchmark) and open loop (openloop.c), with puerta alone on a processor and without pinning."""
import json
import os
import subprocess
from statistics import median

from loads import LOADS, measure
from subjects import KEYS, ROOT, SMALL, pin, settle

CLOSED = next(x for x in LOADS if x.name == "get-1")
SETTINGS = ("0us", "100us")
CLIENTS = 50
RATES = (2_000, 10_000, 20_000, 40_000)  # requests a second, open loop
SUBJECT = "puerta-lua"


def compile_openloop():
    binary = ROOT / "build" / "openloop"
    binary.parent.mkdir(exist_ok=True)
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-D_GNU_SOURCE", "-O2", str(ROOT / "tests/bench/openloop.c"), "-lm", "-o", str(binary)], check=True)
    return binary


def open_loop(binary, subject, rate, seconds):
    """One run at a fixed rate. None: the machine cannot keep it, and what would be measured is a queue."""
    cpu, redis = subject.cpu(), subject.redis_cpu()
    p = subprocess.run([str(binary), str(subject.port), str(CLIENTS), str(rate), str(seconds), str(KEYS), str(SMALL)],
                       capture_output=True, text=True, timeout=60)
    settle()
    cpu2, redis2 = subject.cpu(), subject.redis_cpu()
    if "overloaded" in p.stderr:
        return None
    if p.returncode:
        raise RuntimeError(f"openloop at {rate}/s ended with {p.returncode}: {p.stderr}{p.stdout}")
    figures = json.loads(p.stdout)
    n = figures["answered"]
    return figures | {"cpu_us": (cpu2.ns - cpu.ns) / 1000 / n, "redis_us": (redis2.ns - redis.ns) / 1000 / n}


def pinned(bed, subject, on):
    """on: puerta alone on processor 1, the servers and (by inheritance) the load on processor 0."""
    everywhere = set(range(os.cpu_count()))
    subject.pin({1} if on else everywhere)
    for pid in bed.pids:
        pin(pid, {0} if on else everywhere)
    os.sched_setaffinity(0, {0} if on else everywhere)


def key(pin_on, load, setting):
    return f"{'pinned' if pin_on else 'unpinned'} {load} {setting}"


def run(bed, rounds, seconds, quick, say):
    """{"pinned closed 0us": medians, "unpinned open 2000 100us": ...}; rates that could not be kept are missing."""
    binary = compile_openloop()
    subjects = {c: bed.start(SUBJECT, coalesce=c) for c in SETTINGS}
    rates = RATES[1:3] if quick else RATES
    runs, speed = {}, {c: measure(subjects[c], CLOSED, 20_000)["rps"] for c in SETTINGS}
    try:
        for r in range(rounds):
            for on in (False, True) if os.cpu_count() > 1 else (False,):
                for load in ("closed", *rates):
                    for c in SETTINGS if r % 2 == 0 else reversed(SETTINGS):
                        pinned(bed, subjects[c], on)
                        if load == "closed":
                            m = measure(subjects[c], CLOSED, speed[c] * seconds)
                            speed[c] = m["rps"]
                        else:
                            m = open_loop(binary, subjects[c], load, seconds)
                        name = key(on, load if load == "closed" else f"open {load}", c)
                        runs.setdefault(name, []).append(m)
                        say(f"round {r + 1}/{rounds}  {name:28} " + (f"{m['cpu_us']:6.2f} µs/request  p50 {m['p50_ms']:.3f}  p99 {m['p99_ms']:.3f} ms"
                                                                     if m else "not kept: overloaded"))
    finally:
        os.sched_setaffinity(0, set(range(os.cpu_count())))
    for s in subjects.values():
        bed.end(s)
    return {k: {f: median(m[f] for m in ms) for f in ms[0]} for k, ms in runs.items() if all(ms)}
