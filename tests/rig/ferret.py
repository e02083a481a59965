#!/usr/bin/env python3
"""FerretDB processes over SQLite: real servers of MongoDB's protocol, each with its own data. Own temporary directory, free ports, nothing left behind.
Each tells itself apart by {_id: "marker", backend: "127.0.0.1:PORT"} in where.marker. Standard library only.

As a program it starts some, prints what it started and stays until it is told to end:
    ferret.py [--count 3]
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cluster import free_port, wait_for  # noqa: E402
from puerta import BUILD  # noqa: E402

BINARY = Path(os.environ.get("FERRET_BIN") or BUILD / "ferret")


def missing():
    """Why there is no FerretDB here; None: there is."""
    return None if os.access(BINARY, os.X_OK) else f"no {BINARY}: FerretDB needs Go >= 1.24 to be built (tools/deps.sh test)"


class Ferret:
    """One process. Killed by the kernel when the rig dies."""

    def __init__(self, base):
        self.base = Path(base)
        self.process = None
        for _ in range(5):
            self.port = free_port()
            if self.start():
                return
        raise RuntimeError(f"FerretDB does not start; its log:\n{self.log()}")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def uri(self):
        return f"mongodb://{self.address}/"

    @property
    def pid(self):
        return self.process.pid

    @property
    def dir(self):
        return self.base / f"ferret-{self.port}"

    def log(self):
        return "".join(p.read_text(errors="replace") for p in sorted(self.base.glob(f"ferret-{self.port}.*")))

    def start(self):
        """Starts or restarts on its port, its data as they were; false when the process ends at once (the port was taken meanwhile)."""
        self.dir.mkdir(exist_ok=True)
        out = self.base / f"ferret-{self.port}.out"
        with out.open("wb") as stdout, (self.base / f"ferret-{self.port}.err").open("ab") as stderr:
            # A session of its own, so that a Ctrl-C in the terminal reaches only the rig.
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", str(BINARY), "-listen", self.address, "-dir", str(self.dir)],
                                            start_new_session=True, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        try:
            wait_for(f"FerretDB on port {self.port}", 30, lambda: self.process.poll() is not None or out.read_bytes().startswith(b"ready "))
        except TimeoutError:
            self.kill()
        return self.process.poll() is None

    def restart(self):
        if not self.start():
            raise RuntimeError(f"FerretDB does not start again; its log:\n{self.log()}")

    def signal(self, sig):
        os.kill(self.pid, sig)

    def stop(self):
        """It hangs: SIGSTOP, until cont()."""
        self.signal(signal.SIGSTOP)

    def cont(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """As a crash: SIGKILL. A stopped process dies of it too."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()


class Ferrets:
    """Several of them."""

    def __init__(self, count=3):
        self.dir = tempfile.mkdtemp(prefix="ferret-")
        self.all = []
        try:
            for _ in range(count):
                self.all.append(Ferret(self.dir))
        except BaseException:
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()

    def __iter__(self):
        return iter(self.all)

    def __getitem__(self, i):
        return self.all[i]

    def __len__(self):
        return len(self.all)

    @property
    def addresses(self):
        return [f.address for f in self.all]

    def at(self, address):
        return next(f for f in self.all if f.address == address)

    def end(self):
        for f in self.all:
            f.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description="Starts FerretDB processes on loopback and stops them on SIGINT or SIGTERM.")
    p.add_argument("--count", type=int, default=3)
    a = p.parse_args()
    if missing():
        sys.exit(missing())
    end = []
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, lambda *_: end.append(1))
    with Ferrets(a.count) as ferrets:
        for f in ferrets:
            print(f"backend {f.address} pid {f.pid}", flush=True)
        print("ready", ",".join(ferrets.addresses), flush=True)
        while not end:
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
