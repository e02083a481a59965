"""Scripted mongos processes (mongos_server.py) before shared shards (mongos_store.py): started, broken and questioned by tests. Nothing is left behind."""
import itertools
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import bson
from cluster import free_port, wait_for
from mongo_wire import Wire, greeted, lsid

HERE = Path(__file__).resolve().parent
DOWN, UP = r"backend 127\.0\.0\.1:%s\b.* down", r"backend 127\.0\.0\.1:%s\b.* up\b"  # lines of puerta's log; a port in place of %s


def spawn(*args, log):
    with open(log, "ab") as f:
        return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", sys.executable, *map(str, args)], stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                                start_new_session=True)


def unix(path, timeout=20):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    s.connect(str(path))
    return s


def landing(puerta, mongos):
    """Waits until new clients and sessions of a puerta reach this one; by name or by session, whatever it places by."""
    def one():
        with greeted(puerta.port, f"landing {random.random()}") as w:
            return w.command({"whoami": 1, "lsid": lsid()}, "admin").get("port") == mongos.port

    wait_for(f"clients to reach {mongos.port}", 20, one, every=0.02)


class Mongos:
    """One process. Settings: SETTINGS in mongos_server.py; they survive a restart."""

    def __init__(self, base, store, settings):
        self.base, self.store, self.settings = base, store, dict(settings)
        self.port = free_port()
        self.log_path = base / f"{self.port}.log"
        self.process = None
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def control_path(self):
        return self.base / f"{self.port}.ctl"

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        self.control_path.unlink(missing_ok=True)
        self.process = spawn(HERE / "mongos_server.py", self.port, self.control_path, self.store, self.log_path, json.dumps(self.settings),
                             log=self.base / f"{self.port}.err")
        wait_for(f"mongos {self.port}", 20, lambda: self.control_path.exists() or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise RuntimeError((self.base / f"{self.port}.err").read_text())
        return self

    def kill(self, sig=signal.SIGKILL):
        os.kill(self.pid, sig)
        if sig == signal.SIGKILL:
            self.process.wait()

    def end(self):
        if self.process.poll() is None:
            self.kill()

    def control(self, **q):
        with unix(self.control_path) as s:
            s.sendall(json.dumps(q).encode() + b"\n")
            return json.loads(s.makefile().readline())

    def set(self, **settings):
        """Changes settings at once; returns the state."""
        self.settings.update(settings)
        return self.control(set=settings)

    def bump(self):
        """Raises the counter of its topologyVersion."""
        return self.control(bump=True)

    def state(self):
        return self.control()

    @property
    def process_id(self):
        return self.state()["process_id"]

    def log(self, cmd=None, since=0.0):
        """What it received (across restarts): dicts with t, port, conn, cmd, db, lsid, txn, op, flags, id, doc."""
        lines = self.log_path.read_text().splitlines() if self.log_path.exists() else []
        lines = [json.loads(x) for x in lines if x.endswith("}")]
        names = (cmd,) if isinstance(cmd, str) else cmd
        return [x for x in lines if x["t"] >= since and (names is None or x.get("cmd") in names)]

    def wire(self, **kwargs):
        return Wire(self.port, **kwargs)


class Trio:
    """n processes that share their data. Iterates over them."""

    def __init__(self, n=3, **settings):
        self.dir = Path(tempfile.mkdtemp(prefix="mongos-"))
        self.settings = settings
        self.ids = itertools.count(1)
        self.store_path = self.dir / "store"
        self.store = spawn(HERE / "mongos_store.py", self.store_path, log=self.dir / "store.err")
        self.all = []
        try:
            wait_for("the store", 20, self.store_path.exists)
            for _ in range(n):
                self.add()
        except BaseException:
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()

    def __iter__(self):
        return iter(self.all)

    def __len__(self):
        return len(self.all)

    def __getitem__(self, i):
        return self.all[i]

    def add(self, **settings):
        self.all.append(Mongos(self.dir, self.store_path, self.settings | settings))
        return self.all[-1]

    def end(self):
        for p in [m.process for m in self.all] + [self.store]:
            if p.poll() is None:
                p.kill()
            p.wait()
        shutil.rmtree(self.dir)

    @property
    def addresses(self):
        return [m.address for m in self.all]

    def set(self, **settings):
        for m in self.all:
            m.set(**settings)

    def log(self, cmd=None, since=0.0):
        return sorted((x for m in self.all for x in m.log(cmd, since)), key=lambda x: x["t"])

    def by_process(self, process_id):
        """The mongos of a topologyVersion.processId."""
        return next(m for m in self.all if m.process.poll() is None and m.process_id == str(process_id))

    def shards(self, op, **q):
        """Asks the store itself: find, stat, drop."""
        with unix(self.store_path) as s:
            s.sendall(bson.encode({"i": next(self.ids), "op": op} | q))
            f = s.makefile("rb")
            head = f.read(4)
            return bson.decode(head + f.read(struct.unpack("<i", head)[0] - 4))["r"]

    def documents(self, ns, **q):
        return self.shards("find", ns=ns, **q)
