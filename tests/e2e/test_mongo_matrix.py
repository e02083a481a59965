"""Several mongos behind one address: interleaved cursors and transactions of one client, over every way to choose the backend that must work, and over a
plain round-robin forward, which must fail: it proves that the load tells right from wrong."""
import json
import os
import random
import socket
import subprocess
import threading
import time
from pathlib import Path

import puerta as rig
import pymongo
import pytest
from mongos import Trio

HERE = Path(__file__).resolve().parent
WORKERS, CURSORS, TRANSACTIONS = 8, 80, 80
CELLS = [("connection", "fingerprint"), ("connection", "hybrid"), ("connection", "socket_addr"), ("request", "session_id"), ("request", "hybrid"),
         ("request", "fingerprint"), ("request", "socket_addr")]


class Forward:
    """A TCP load balancer as everybody has one: each connection to the next backend."""

    def __init__(self, ports):
        self.ports, self.n = ports, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.ports[self.n % len(self.ports)]))
                self.n += 1
                self.pairs += [client, server]
                for a, b in ((client, server), (server, client)):
                    a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self.pump, args=(a, b), daemon=True).start()
        except OSError:
            pass

    def pump(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        for s in [self.listener] + self.pairs:
            s.close()


class PyLoad:
    """The load of mongo_node/matrix.js with pymongo."""

    def __init__(self, uri):
        self.failed = {"cursors": 0, "transactions": 0}
        self.ports, self.errors = set(), []
        with pymongo.MongoClient(uri, appname="matrix") as self.client:
            self.db = self.client.matrix
            threads = [threading.Thread(target=self.worker, args=(w,)) for w in range(WORKERS)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()

    def worker(self, w):
        for i in range(w, CURSORS, WORKERS):
            self.attempt("cursors", self.cursor, f"c{i}")
            self.attempt("transactions", self.transaction, f"t{i}")

    def attempt(self, kind, work, tag):
        try:
            work(tag)
        except Exception as e:  # any failure counts
            self.failed[kind] += 1
            self.errors.append(repr(e)[:300])

    def cursor(self, tag):
        mine, n = set(), 0
        for d in self.db.numbers.find({"n": 100, "tag": tag}, batch_size=10):
            assert (d["_id"], d["tag"]) == (n, tag), d
            mine.add(d["port"])
            n += 1
            if n % 10 == 0:
                time.sleep(random.uniform(0.001, 0.005))
        assert n == 100 and len(mine) == 1, (n, mine)
        self.ports |= mine

    def transaction(self, tag):
        with self.client.start_session() as s:
            s.start_transaction()
            self.db.pairs.insert_one({"tag": tag, "half": 1}, session=s)
            time.sleep(random.uniform(0.001, 0.005))
            self.db.pairs.insert_one({"tag": tag, "half": 2}, session=s)
            s.commit_transaction()


def node_load(uri):
    p = subprocess.run([rig.NODE, str(HERE / "mongo_node/matrix.js"), uri, *map(str, (WORKERS, CURSORS, TRANSACTIONS))], capture_output=True, text=True,
                       timeout=120, env=os.environ)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def load(driver, port, direct):
    """(failed cursors, failed transactions, backends that cursors were on, errors)."""
    uri = f"mongodb://127.0.0.1:{port}/?directConnection={str(direct).lower()}"
    if driver == "node":
        r = node_load(uri)
        return r["cursors"], r["transactions"], set(r["ports"]), r["errors"]
    r = PyLoad(uri)
    return r.failed["cursors"], r.failed["transactions"], r.ports, r.errors


@pytest.fixture(scope="module")
def trio():
    """Ids count 1, 2, 3 in each process: cursors of two backends have the same ones all the time."""
    with Trio(cursor_ids="count") as t:
        yield t


@pytest.fixture(scope="module", params=CELLS, ids=" ".join)
def cell(request, trio):
    from conftest import Starter

    s = Starter()
    forward, affinity = request.param
    p = s.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, affinity=affinity))
    yield p, affinity in ("session_id", "hybrid") and forward == "request"
    s.end()


@pytest.fixture
def empty(trio):
    trio.shards("drop", ns="matrix.pairs")
    return trio


def pairs(trio):
    """Transactions whose two halves are there, and those with one."""
    halves = {}
    for d in trio.documents("matrix.pairs"):
        halves.setdefault(d["tag"], []).append(d["half"])
    return sum(sorted(h) == [1, 2] for h in halves.values()), sum(sorted(h) != [1, 2] for h in halves.values())


@pytest.mark.threads
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "discovered"])
@pytest.mark.parametrize("driver", ["pymongo", "node"])
def test_no_failures(cell, empty, driver, direct):
    p, spread = cell
    cursors, transactions, ports, errors = load(driver, p.port, direct)
    assert (cursors, transactions) == (0, 0), errors[:5]
    assert pairs(empty) == (TRANSACTIONS, 0)
    assert (len(ports) > 1) == spread, ports  # one client is one backend, unless its sessions are placed one by one


@pytest.mark.parametrize("driver", ["pymongo", "node"])
def test_round_robin_fails(empty, driver):
    f = Forward([m.port for m in empty])
    try:
        cursors, transactions, _, errors = load(driver, f.port, False)
    finally:
        f.close()
    print(f"round robin, {driver}: {cursors} of {CURSORS} cursors and {transactions} of {TRANSACTIONS} transactions failed, like {errors[:1]}")
    assert cursors > CURSORS // 4 and transactions > TRANSACTIONS // 4


@pytest.mark.parametrize("driver", ["pymongo", "node"])
def test_one_mongos_does_not_fail(empty, driver):
    """The load and the scripted mongos themselves are not what fails."""
    assert load(driver, empty[0].port, False)[:3] == (0, 0, {empty[0].port})
    assert pairs(empty) == (TRANSACTIONS, 0)
