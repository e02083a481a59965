"""The loads of the table, one measured run of redis-benchmark, and the rounds."""
import csv
import io
import subprocess
import time
from dataclasses import dataclass
from statistics import median

from subjects import BIG, BIG_KEYS, KEYS, SMALL, settle

PUERTA = ("puerta-lua", "puerta-c")


@dataclass(frozen=True)
class Load:
    name: str
    title: str
    command: tuple
    clients: int = 50
    pipeline: int = 1
    range: int = KEYS
    keys: int = 1         # a request
    targets: tuple = ()   # (peer, largest allowed ratio of CPU a request)
    subjects: tuple = (*PUERTA, "haproxy", "twemproxy")


GET, SET = ("GET", "key:__rand_int__"), ("SET", "key:__rand_int__", "x" * SMALL)
P1 = (("haproxy", 0.65), ("twemproxy", 1.0))
P16 = (("haproxy", 0.85),)
P64 = (("haproxy", 1.40),)
LARGE = (("haproxy", 0.65),)

LOADS = (
    Load("get-1", "GET, pipeline 1", GET, targets=P1),
    Load("set-1", "SET, pipeline 1", SET, targets=P1),
    Load("get-16", "GET, pipeline 16", GET, pipeline=16, targets=P16),
    Load("set-16", "SET, pipeline 16", SET, pipeline=16, targets=P16),
    Load("get-64", "GET, pipeline 64", GET, pipeline=64, targets=P64),
    Load("set-64", "SET, pipeline 64", SET, pipeline=64, targets=P64),
    Load("get-1000", "GET, 1,000 clients, pipeline 1", GET, clients=1000, targets=(("haproxy", 0.60),)),
    Load("get-16k", "GET, 16 KiB values, pipeline 1", ("GET", "big:__rand_int__"), range=BIG_KEYS, targets=LARGE),
    Load("set-16k", "SET, 16 KiB values, pipeline 1", ("SET", "big:__rand_int__", "x" * BIG), range=BIG_KEYS, targets=LARGE),
    # A relay does not split; it has no part in this one.
    Load("mget", "MGET of 10 keys, pipeline 1", ("MGET",) + ("key:__rand_int__",) * 10, keys=10, targets=(("twemproxy", 0.85),),
         subjects=(*PUERTA, "twemproxy")),
)
LUA_OVER_C = 1.03


def benchmark(port, load, n, prefix=()):
    """redis-benchmark to its end; its line of figures. Raises when it fails or takes far too long."""
    argv = [*prefix, "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-c", str(load.clients), "-P", str(load.pipeline), "-n", str(n),
            "-r", str(load.range), "--csv", *load.command]
    p = subprocess.run(argv, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL)
    rows = list(csv.reader(io.StringIO(p.stdout)))
    if p.returncode or len(rows) < 2 or "rror" in p.stderr:
        raise RuntimeError(f"redis-benchmark {load.name} on port {port} ended with {p.returncode}: {p.stderr[-500:]}{p.stdout[-500:]}")
    head = rows[0]
    return dict(zip(head[1:], map(float, rows[-1][-len(head) + 1 :])))


def check(load, n, before, after):
    """The servers must have seen what redis-benchmark says it has done: a cheap proxy that answers nonsense is no proxy."""
    done = after.sets - before.sets if load.command[0] == "SET" else after.hits - before.hits
    if done < n * load.keys or after.misses > before.misses or after.errors > before.errors:
        raise RuntimeError(f"{load.name}: {n} requests sent, but the servers count {done} keys, {after.misses - before.misses} misses, "
                           f"{after.errors - before.errors} errors")


def rounded(load, n):
    unit = load.clients * load.pipeline
    return max(unit * 4, int(n) // unit * unit)


def measure(subject, load, n):
    """One run of n requests: CPU a request of the proxy and of the servers behind it, throughput and latency."""
    n = rounded(load, n)
    served, cpu, redis = subject.served(), subject.cpu(), subject.redis_cpu()
    figures = benchmark(subject.port, load, n)
    settle()
    cpu2, redis2, served2 = subject.cpu(), subject.redis_cpu(), subject.served()
    check(load, n, served, served2)
    us = (cpu2.ns - cpu.ns) / 1000 / n
    user, system = cpu2.user - cpu.user, cpu2.system - cpu.system
    share = user / (user + system) if user + system else 0
    return {"requests": n, "cpu_us": us, "user_us": us * share, "sys_us": us * (1 - share), "rps": figures["rps"],
            "p50_ms": figures["p50_latency_ms"], "p99_ms": figures["p99_latency_ms"], "redis_us": (redis2.ns - redis.ns) / 1000 / n}


def run(bed, names, only, rounds, seconds, say):
    """Interleaved rounds: {load: {subject: medians with the rounds they come from}}."""
    loads = [x for x in LOADS if not only or x.name in only]
    subjects = {name: bed.start(name) for name in names}
    runs = {x.name: {s: [] for s in names if s in x.subjects} for x in loads}
    rate = {}
    for x in loads:
        for s in runs[x.name]:  # warm-up: finds the speed, compiles the traces
            guess = rounded(x, 20_000 * min(x.pipeline, 8) // x.keys)
            rate[x.name, s] = measure(subjects[s], x, measure(subjects[s], x, guess)["rps"] * min(seconds, 1) / 4)["rps"]
    for r in range(rounds):
        for x in loads:
            for s in list(runs[x.name])[:: -1 if r % 2 else 1]:  # back and forth: nobody is always the first
                m = measure(subjects[s], x, rate[x.name, s] * seconds)
                rate[x.name, s] = m["rps"]
                runs[x.name][s].append(m)
                say(f"round {r + 1}/{rounds}  {x.name:9} {s:11} {m['cpu_us']:7.3f} µs/request  {m['rps']:10,.0f} requests/s  redis {m['redis_us']:.2f} µs")
    for s in subjects.values():
        bed.end(s)
    return {load: {s: medians(rs) for s, rs in by.items()} for load, by in runs.items()}


def medians(rounds):
    return {k: median(r[k] for r in rounds) for k in rounds[0]} | {"rounds": rounds}


def judge(results):
    """Every target whose two sides were measured: (load, subject, peer, ratio, limit, pass); the ratio is the median of the rounds' own."""
    out = []
    for x in LOADS:
        by = results.get(x.name, {})
        wanted = [(s, peer, limit) for peer, limit in x.targets for s in PUERTA] + [("puerta-lua", "puerta-c", LUA_OVER_C)]
        for s, peer, limit in wanted:
            if s in by and peer in by:
                ratio = median(a["cpu_us"] / b["cpu_us"] for a, b in zip(by[s]["rounds"], by[peer]["rounds"]))
                out.append({"load": x.name, "subject": s, "peer": peer, "ratio": ratio, "limit": limit, "pass": ratio <= limit})
    return out


def lua_over_c(results):
    """Lua against C over all loads: the geometric mean of the rounds' own ratios, in which what disturbed both cancels out. None: not measured."""
    pairs = [(a["cpu_us"], b["cpu_us"]) for by in results.values() if set(PUERTA) <= set(by)
             for a, b in zip(by["puerta-lua"]["rounds"], by["puerta-c"]["rounds"])]
    if not pairs:
        return None
    product = 1.0
    for a, b in pairs:
        product *= (a / b) ** (1 / len(pairs))
    return product


def stamp():
    return time.strftime("%Y-%m-%d %H:%M:%S %Z")
