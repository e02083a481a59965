#!/usr/bin/env python3
"""A real Redis Cluster on loopback: own temporary directory, free ports, nothing left behind. Standard library only.

As a program it starts one, prints what it started and stays until it is told to end:
    cluster.py [--masters 3] [--replicas 3] [--node-timeout MS] [--password P]
"""
import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from resp import Conn, Error  # noqa: E402
from slots import slot as slot_of  # noqa: E402

# Below the kernel's ephemeral ports, and so is the bus port (port + 10000).
FIRST_PORT, LAST_PORT = 11000, 22700


def port_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(bus=False):
    for port in random.sample(range(FIRST_PORT, LAST_PORT), 2000):
        if port_free(port) and (not bus or port_free(port + 10000)):
            return port
    raise RuntimeError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


def wait_for(what, seconds, test, every=0.05):
    """Calls test until it returns something true; that value. TimeoutError names what was waited for."""
    end = time.monotonic() + seconds
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(every)


class Node:
    """One redis-server process. Killed by the kernel when the rig dies."""

    def __init__(self, base, options, cluster=True, tls=None):
        """tls: an ssl context for connections to it; its port is one for TLS then."""
        self.options = options
        self.tls = tls
        self.cluster = cluster
        self.base = Path(base)
        self.process = None
        for _ in range(5):
            self.port = free_port(bus=cluster)
            if self.start():
                return
        raise RuntimeError(f"redis-server does not start; its log:\n{self.log()}")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def dir(self):
        return self.base / f"node-{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        path = self.dir / "redis.log"
        return path.read_text(errors="replace") if path.exists() else "(none)"

    def start(self):
        """Starts or restarts on its port; false when the process ends at once (the port was taken meanwhile)."""
        self.dir.mkdir(exist_ok=True)
        opts = {"port": self.port, "bind": "127.0.0.1", "dir": self.dir, "logfile": self.dir / "redis.log", "save": "", "appendonly": "no"}
        if self.tls:
            opts |= {"port": 0, "tls-port": self.port}
        if self.cluster:
            opts |= {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf"}
        opts |= self.options
        args = [a for k, v in opts.items() for a in (f"--{k}", str(v))]
        # A process group of its own, so that a Ctrl-C in the terminal reaches only the rig; no session: the kernel (autogroup) would weigh
        # sessions against each other, and nice would say nothing between them.
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "redis-server", *args], process_group=0,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return wait_for(f"redis-server on port {self.port}", 20, lambda: self.process.poll() is not None or self.answers()) == "yes"
        except TimeoutError:
            self.stop()
            return False

    def answers(self):
        try:
            with self.connect(timeout=2) as c:
                return "yes" if c.command("PING") is not None else None
        except OSError:
            return None

    def connect(self, timeout=30, auth=True):
        c = Conn(self.port, timeout=timeout, tls=self.tls)
        if auth and self.options.get("requirepass"):
            c.command("AUTH", self.options["requirepass"])
        return c

    def call(self, *args):
        """One command on a connection of its own; raises on an error reply."""
        with self.connect() as c:
            reply = c.command(*args)
        if isinstance(reply, Error):
            raise RuntimeError(f"{self.address}: {' '.join(map(str, args))[:200]}: {reply}")
        return reply

    def info(self, section):
        lines = self.call("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    @property
    def id(self):
        return self.call("CLUSTER", "MYID").decode()

    def signal(self, sig):
        os.kill(self.pid, sig)

    def kill(self):
        """As a crash: SIGKILL."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.kill()  # nothing is kept, so nothing is lost
        if self.process:
            self.process.wait()


class Cluster:
    """masters + replicas nodes; replica i follows master i % masters. Options are lines of redis.conf: {"maxmemory": "1gb"}."""

    def __init__(self, masters=3, replicas=3, node_timeout=2000, password=None, options=None, tls=None):
        self.dir = tempfile.mkdtemp(prefix="redis-cluster-")
        opts = {"cluster-node-timeout": node_timeout, "repl-diskless-sync-delay": 0, "repl-ping-replica-period": 1}
        if password:
            opts |= {"requirepass": password, "masterauth": password}
        opts |= options or {}
        self.password = password
        self.nodes = []
        try:
            for _ in range(masters + replicas):
                self.nodes.append(Node(self.dir, opts, tls=tls))
            self.join(masters)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def join(self, masters):
        for i, n in enumerate(self.nodes[:masters]):
            n.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            n.call("CLUSTER", "ADDSLOTSRANGE", 16384 * i // masters, 16384 * (i + 1) // masters - 1)
        for n in self.nodes[1:]:
            n.call("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        wait_for("the nodes know each other", 30, lambda: all(len(self.table(n)) == len(self.nodes) for n in self.nodes))
        for i, n in enumerate(self.nodes[masters:]):
            n.call("CLUSTER", "REPLICATE", self.nodes[i % masters].id)
        self.wait_ok()

    def wait_ok(self, seconds=60):
        """Every node says cluster_state:ok, all agree on the slots, every replica is in step with its master."""
        wait_for("cluster_state:ok and replicas in step on all nodes", seconds, self.ok, every=0.1)

    def ok(self):
        try:
            for n in self.nodes:
                if b"cluster_state:ok" not in n.call("CLUSTER", "INFO"):
                    return False
                r = n.info("replication")
                if r["role"] == "slave" and (r["master_link_status"] != "up" or r["master_sync_in_progress"] != "0"):
                    return False
            views = {tuple(sorted((f[1].split("@")[0], "master" in f[2], *f[8:]) for f in self.table(n))) for n in self.nodes}
            return len(views) == 1 and not any("fail" in line for v in views for entry in v for line in map(str, entry))
        except (OSError, RuntimeError, KeyError):
            return False

    def table(self, node=None):
        """CLUSTER NODES as a list of its fields."""
        node = node or self.up()[0]
        return [line.split() for line in node.call("CLUSTER", "NODES").decode().splitlines()]

    def up(self):
        return [n for n in self.nodes if n.process.poll() is None]

    @property
    def addresses(self):
        return [n.address for n in self.nodes]

    def node(self, address):
        port = int(address.split("@")[0].rsplit(":", 1)[1])
        return next(n for n in self.nodes if n.port == port)

    def masters(self, seen_by=None):
        """The masters that own slots, ordered by their first one."""
        owners = [f for f in self.table(seen_by) if "master" in f[2] and "fail" not in f[2] and len(f) > 8]
        return [self.node(f[1]) for f in sorted(owners, key=lambda f: int(f[8].split("-")[0].lstrip("[")))]

    def replicas_of(self, master):
        mid = master.id
        return [self.node(f[1]) for f in self.table(master) if f[3] == mid]

    def slots_of(self, node, seen_by=None):
        out = set()
        for f in self.table(seen_by):
            if self.node(f[1]) is node:
                for part in f[8:]:
                    if not part.startswith("["):
                        a, _, b = part.partition("-")
                        out.update(range(int(a), int(b or a) + 1))
        return out

    def owner(self, slot):
        return next(m for m in self.masters() if slot in self.slots_of(m))

    def owner_of(self, key):
        return self.owner(slot_of(key))

    def reader(self):
        """A function that reads a key straight from its owner, for checks at the end of a test."""
        owners = {s: m for m in self.masters() for s in self.slots_of(m)}
        open_to = {}

        def read(key):
            m = owners[slot_of(key)]
            if m not in open_to:
                open_to[m] = m.connect()
            return open_to[m].command("GET", key)

        return read

    def reshard(self, source, target, slots):
        """redis-cli --cluster reshard: moves that many slots, the lowest first, once all nodes agree about the last move. Its output."""
        self.wait_ok()
        auth = ["-a", self.password, "--no-auth-warning"] if self.password else []
        p = subprocess.run(["redis-cli", *auth, "--cluster", "reshard", source.address, "--cluster-from", source.id, "--cluster-to", target.id,
                            "--cluster-slots", str(slots), "--cluster-yes"], capture_output=True, text=True, timeout=300)
        if p.returncode:
            raise RuntimeError(f"reshard failed:\n{p.stdout[-2000:]}{p.stderr}")
        return p.stdout

    def begin_move(self, slot, source, target):
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, source, target, *keys):
        auth = ["AUTH", self.password] if self.password else []
        source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, *auth, "KEYS", *keys)

    def end_move(self, slot, target):
        """The target must hear it first, else nobody owns the slot for a moment."""
        for n in [target] + [m for m in self.masters() if m is not target]:
            n.call("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def flush(self):
        for m in self.masters():
            m.call("FLUSHALL")

    def stop(self):
        for n in self.nodes:
            n.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description="Starts a Redis Cluster on loopback and stops it on SIGINT or SIGTERM.")
    p.add_argument("--masters", type=int, default=3)
    p.add_argument("--replicas", type=int, default=3)
    p.add_argument("--node-timeout", type=int, default=2000, metavar="MS")
    p.add_argument("--password")
    a = p.parse_args()
    end = []
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, lambda *_: end.append(1))
    with Cluster(a.masters, a.replicas, a.node_timeout, a.password) as c:
        for i, n in enumerate(c.nodes):
            print(f"{'master' if i < a.masters else 'replica'} {n.address} pid {n.pid}", flush=True)
        print("ready", ",".join(n.address for n in c.nodes), flush=True)
        while not end:
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
