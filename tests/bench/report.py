"""The tables, as text and as Markdown, and the machine they are from."""
import os
import platform
import re
import subprocess
from pathlib import Path

import coalesce
import idle
import syscalls
from loads import LOADS, LUA_OVER_C, PUERTA, judge, lua_over_c

ALL = (*PUERTA, "haproxy", "twemproxy")


def first(argv, pattern):
    try:
        p = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    except OSError:
        return "?"
    m = re.search(pattern, p.stdout + p.stderr)
    return m[1] if m else "?"


def machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    return {"cpu": cpu[1] if cpu else platform.machine(), "cores": os.cpu_count(), "memory_gib": round(memory / 2**20), "kernel": platform.release(),
            "redis": first(["redis-server", "--version"], r"v=(\S+)"), "haproxy": first(["haproxy", "-v"], r"version (\d+\.\d+\.\d+)"),
            "twemproxy": first(["nutcracker", "--version"], r"nutcracker-(\S+)")}


def verdict(ok):
    return "pass" if ok else "falls short"


def spread(one):
    values = [r["cpu_us"] for r in one["rounds"]]
    return f"{min(values):.2f}–{max(values):.2f}"


def table(head, rows, markdown):
    """Columns aligned; the first to the left, the others to the right."""
    rows = [[str(c) for c in r] for r in rows]
    if markdown:
        return "\n".join("| " + " | ".join(r) + " |" for r in [head, ["---"] + ["--:"] * (len(head) - 1), *rows])
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    return "\n".join("  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip() for r in [head, *rows])


def load_tables(part, markdown):
    results = part["results"]
    loads = [x for x in LOADS if x.name in results]

    def cell(x, s):
        return f"{results[x.name][s]['cpu_us']:.2f}" if s in results[x.name] else "–"

    yield f"CPU µs per request of the proxy, medians of {part['rounds']} rounds", table(
        ["load", *ALL], [[x.title, *(cell(x, s) for s in ALL)] for x in loads], markdown)
    yield "In detail", table(
        ["load", "subject", "CPU µs", "from–to", "user", "system", "redis µs", "requests/s", "p50 ms", "p99 ms"],
        [[x.title, s, f"{m['cpu_us']:.2f}", spread(m), f"{m['user_us']:.2f}", f"{m['sys_us']:.2f}", f"{m['redis_us']:.2f}", f"{m['rps']:,.0f}",
          f"{m['p50_ms']:.2f}", f"{m['p99_ms']:.2f}"] for x in loads for s, m in results[x.name].items()], markdown)
    titles = {x.name: x.title for x in LOADS}
    rows = [[titles[j["load"]], j["subject"], f"{j['ratio']:.2f} × {j['peer']}", f"≤ {j['limit']:.2f}", verdict(j["pass"])] for j in judge(results)]
    overall = lua_over_c(results)
    if overall:
        rows.append(["all loads", "puerta-lua", f"{overall:.3f} × puerta-c", f"≤ {LUA_OVER_C:.2f}", verdict(overall <= LUA_OVER_C)])
    yield "Targets", table(["load", "subject", "CPU ratio", "target", "verdict"], rows, markdown) if rows else "puerta was not measured"


def memory_table(part, markdown):
    def row(name, one):
        per = [one[s]["pss"] / one["clients"] for s in idle.STAGES]
        goal = verdict(per[1] <= idle.LIMIT) if name in PUERTA else ""
        return [name, f"{one['clients']:,}", *(f"{v:,.0f}" for v in per), f"{one['left']['pss'] / 2**20:.1f}", goal]

    yield "Bytes of process memory per idle client", table(
        ["subject", "clients", "silent", "after one GET each", "after a GET of all at once", "after all left", "MiB kept", f"≤ {idle.LIMIT} after one GET"],
        [row(n, o) for n, o in part["results"].items()], markdown)


def syscall_table(part, markdown):
    yield "System calls per request, GET, 50 clients, pipeline 1", table(
        ["subject", "all", "by name", "counted by", f"≤ {syscalls.LIMIT}"],
        [[n, f"{o['per_request']['all']:.2f}", syscalls.split(o), o["method"], verdict(o["per_request"]["all"] <= syscalls.LIMIT) if n in PUERTA else ""]
         for n, o in part["results"].items()], markdown)


def coalesce_table(part, markdown):
    rows = []
    for name, m in part["results"].items():
        where, *load, setting = name.split()
        late = f"{m['late_p99_ms']:.2f}" if "late_p99_ms" in m else "–"
        if m.get("late_p99_ms", 0) > m["p99_ms"] / 2:
            late += " !"
        rows.append([where, " ".join(load), setting, f"{m['cpu_us']:.2f}", f"{m['redis_us']:.2f}", f"{m.get('rps', m.get('rate')):,.0f}",
                     f"{m['p50_ms']:.3f}", f"{m['p99_ms']:.3f}", late])
    yield f"Coalescing, {coalesce.SUBJECT}, GET, {coalesce.CLIENTS} clients, medians of {part['rounds']} rounds", table(
        ["placing", "load", "coalesce", "CPU µs", "redis µs", "requests/s", "p50 ms", "p99 ms", "load late by (p99)"], rows, markdown)


PARTS = {"loads": load_tables, "memory": memory_table, "syscalls": syscall_table, "coalesce": coalesce_table}


def show(data, markdown=False):
    """Every part that data holds."""
    out = []
    for name, tables in PARTS.items():
        part = data.get(name)
        if not part:
            continue
        m = part["machine"]
        where = (f"{part['taken']}, {m['cores']} × {m['cpu']}, {m['memory_gib']} GiB, Linux {m['kernel']}, redis {m['redis']}, haproxy {m['haproxy']}, "
                 f"twemproxy {m['twemproxy']}, load average before {m['load']}" + (", QUICK: a smoke test, not a measurement" if part["quick"] else ""))
        for i, (title, text) in enumerate(tables(part, markdown)):
            out.append(f"### {title}\n" if markdown else f"\n== {title}")
            if i == 0:
                out.append(f"{where}\n")
            out.append(text + ("\n" if markdown else ""))
    return "\n".join(out)
