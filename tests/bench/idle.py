"""Memory of a proxy's process for each client that is connected and does nothing. The kernel's own memory for sockets is not in it."""
import os
import re
import socket
import time
from pathlib import Path

from subjects import MAX_CLIENTS, SMALL, encode, wait_for

STAGES = ("silent", "after_get", "after_burst", "left")
LIMIT = 400  # bytes a client, after each has done a request
GET = encode("GET", "key:%012d" % 1)
REPLY = b"$%d\r\n%s\r\n" % (SMALL, b"x" * SMALL)


def memory(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {k.lower(): int(re.search(rf"^{k}:\s+(\d+) kB", text, re.M)[1]) * 1024 for k in ("Rss", "Pss")}


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def receive(s):
    got = b""
    while len(got) < len(REPLY):
        part = s.recv(4096)
        if not part:
            raise RuntimeError("the proxy closed an idle client")
        got += part
    if got != REPLY:
        raise RuntimeError(f"unexpected reply {got[:80]!r}")


def stages(subject, clients):
    """Bytes of memory in each stage, above what the process had after its first client had come and gone."""
    with socket.create_connection(("127.0.0.1", subject.port)) as s:
        for _ in range(2000):
            s.sendall(GET)
            receive(s)
    time.sleep(0.5)
    base, few = memory(subject.pid), descriptors(subject.pid)
    out = {}

    def note(stage):
        time.sleep(1.5)
        now = memory(subject.pid)
        out[stage] = {k: now[k] - base[k] for k in now}

    socks = []
    try:
        for _ in range(clients):
            socks.append(socket.create_connection(("127.0.0.1", subject.port), timeout=20))
        wait_for(f"{subject.name} has accepted {clients} clients", 30, lambda: descriptors(subject.pid) >= few + clients)
        note("silent")
        for s in socks:  # one after the other
            s.sendall(GET)
            receive(s)
        note("after_get")
        for s in socks:  # all at once
            s.sendall(GET)
        for s in socks:
            receive(s)
        note("after_burst")
    finally:
        for s in socks:
            s.close()
    wait_for(f"{subject.name} has closed its clients", 30, lambda: descriptors(subject.pid) <= few + 10)
    note("left")
    return out


def run(bed, names, quick, say):
    """{subject: {"clients": n, stage: {"rss": bytes, "pss": bytes}}}, each in a process of its own."""
    clients = min(1000, MAX_CLIENTS) if quick else MAX_CLIENTS
    out = {}
    for name in names:
        s = bed.start(name)
        out[name] = {"clients": clients} | stages(s, clients)
        bed.end(s)
        say(f"memory  {name:11} " + "  ".join(f"{stage} {out[name][stage]['pss'] / clients:,.0f}" for stage in STAGES) + " bytes/client")
    return out
