"""Backends lost under load: drivers that retry see nothing of it outside of cursors and transactions, nothing is lost, nothing is done twice."""
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import puerta as rig
import pymongo
import pytest
from bson.int64 import Int64
from conftest import SOAK
from mongo_wire import EXHAUST, awaiting, greeted, lsid
from mongos import DOWN, Trio, landing
from pymongo.errors import PyMongoError

HERE = Path(__file__).resolve().parent
WORKERS = 8
HEALTH = {"interval": "200ms", "timeout": "500ms", "fall": 2, "rise": 1, "jitter": 10, "slow_start": "0s"}


@pytest.fixture
def trio():
    with Trio() as t:
        yield t


class PyLoad:
    """mongo_node/load.js with pymongo."""

    def __init__(self, uri, name):
        self.client = pymongo.MongoClient(uri, appname="load")
        self.coll = self.client.load[name]
        self.ended = threading.Event()
        self.out = {"operations": 0, "inserted": 0, "added": 0, "errors": []}
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.worker, args=(w,)) for w in range(WORKERS)]
        for t in self.threads:
            t.start()

    def attempt(self, kind, work, *args, **kwargs):
        try:
            work(*args, **kwargs)
        except Exception as e:  # the test reads it
            with self.lock:
                self.out["errors"].append(repr(e)[:300])
        else:
            with self.lock:
                self.out["operations"] += 1
                if kind:
                    self.out[kind] += 1

    def worker(self, w):
        i = 0
        while not self.ended.is_set():
            self.attempt("inserted", self.coll.insert_one, {"_id": f"n{w}-{i}"})
            self.attempt("added", self.coll.update_one, {"_id": f"counter{w}"}, {"$inc": {"value": 1}}, upsert=True)
            self.attempt(None, self.read, w)
            i += 1

    def read(self, w):
        assert self.coll.find_one({"_id": f"counter{w}"})

    def end(self):
        self.ended.set()
        for t in self.threads:
            t.join(60)
        self.client.close()
        return self.out


class NodeLoad:
    def __init__(self, uri, name):
        self.process = subprocess.Popen(["node", str(HERE / "mongo_node/load.js"), uri, str(WORKERS), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=os.environ)
        assert self.process.stdout.readline().strip() == "ready"

    def end(self):
        try:
            out, _ = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert self.process.returncode == 0
        return json.loads(out)


LOADS = {"pymongo": PyLoad, "node": NodeLoad}


def verdict(trio, name, out):
    """What is wrong after a load in which nothing may fail."""
    docs = {d["_id"]: d for d in trio.documents(f"load.{name}")}
    counted = sum(d["value"] for i, d in docs.items() if i.startswith("counter"))
    inserted = sum(not i.startswith("counter") for i in docs)
    wrong = out["errors"][:5]
    if inserted != out["inserted"]:
        wrong.append(f"{inserted} documents of {out['inserted']} inserts")
    if counted != out["added"]:
        wrong.append(f"counters at {counted} after {out['added']} increments")
    return wrong


def under_load(start, trio, driver, harm, name, **options):
    """Harms the trio while a driver works; its verdict."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, **{"forward": "request", "affinity": "session_id", "health": HEALTH} | options))
    load = LOADS[driver](f"mongodb://127.0.0.1:{p.port}/?retryWrites=true&retryReads=true&serverSelectionTimeoutMS=20000", name)
    try:
        time.sleep(0.5)
        harm(p)
        time.sleep(0.5)
    finally:
        out = load.end()
    print(f"{driver}: {out['operations']} operations, {len(out['errors'])} errors, {trio.shards('stat')['repeated']} writes sent again")
    assert out["operations"] > 200
    return verdict(trio, name, out)


@pytest.mark.threads
@pytest.mark.parametrize("driver", LOADS)
@pytest.mark.parametrize("affinity", ["session_id", "hybrid"])
def test_kill_9_under_load(start, trio, driver, affinity):
    """And the backend is used again when it is back."""
    def harm(p):
        for m in (trio[1], trio[2]):
            at = p.mark()
            m.kill()
            p.wait_log(DOWN % m.port, since=at)
            time.sleep(SOAK / 8)
            m.start()
            landing(p, m)  # new sessions; those of the load may stay where they went

    assert not under_load(start, trio, driver, harm, f"kill_{driver}_{affinity}", affinity=affinity)


@pytest.mark.parametrize("driver", LOADS)
def test_reset_connections_under_load(start, trio, driver):
    """A backend that cuts connections now and then, and stays healthy."""
    def harm(p):
        for i in range(30):
            trio[i % 3].set(reset_after=i)
            time.sleep(0.1)
        trio.set(reset_after=None)

    assert not under_load(start, trio, driver, harm, f"reset_{driver}", health=HEALTH | {"fall": 20})


@pytest.mark.parametrize("driver", LOADS)
def test_replies_lost_after_the_write_was_done(start, trio, driver):
    """The same txnNumber goes to the driver's retry: one effect."""
    def harm(p):
        for i in range(12):  # one at a time: a driver tries twice
            trio[i % 3].set(fail={("insert", "update")[i % 2]: {"action": "close", "after": True, "times": 1}})
            time.sleep(0.2)

    assert not under_load(start, trio, driver, harm, f"after_{driver}", health=HEALTH | {"fall": 20})
    assert trio.shards("stat")["repeated"] > 0


@pytest.mark.parametrize("driver", LOADS)
def test_a_hanging_backend_under_load(start, trio, driver):
    """SIGSTOP: what waits for it is told when it is taken out."""
    def harm(p):
        at = p.mark()
        trio[0].kill(signal.SIGSTOP)
        p.wait_log(DOWN % trio[0].port, since=at)
        time.sleep(1)
        trio[0].kill(signal.SIGCONT)
        landing(p, trio[0])

    assert not under_load(start, trio, driver, harm, f"stop_{driver}")


@pytest.mark.parametrize("driver", LOADS)
def test_backends_that_are_drained_under_load(start, trio, driver):
    def harm(p):
        for which in (0, 1, 2, None):
            backends = [(m, {"drain": i == which}) for i, m in enumerate(trio)]
            at = p.reload(rig.config(rig.mongo_listener(backends, p.port, forward="request", affinity="session_id", health=HEALTH), workers=rig.WORKERS))
            p.wait_log(rig.RELOADED, since=at)
            time.sleep(0.4)

    assert not under_load(start, trio, driver, harm, f"drain_{driver}")


def test_transactions_of_a_lost_backend(start, trio):
    """Their drivers are told to start again: with_transaction comes through, and each transaction is there once."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request", affinity="session_id", health=HEALTH))
    errors, done = [], []
    ended = threading.Event()

    def worker(w):
        i = 0
        while not ended.is_set():
            def both(s):
                client.txn.pairs.insert_one({"_id": f"{w}-{i}-a"}, session=s)
                client.txn.pairs.insert_one({"_id": f"{w}-{i}-b"}, session=s)

            try:
                with client.start_session() as s:
                    s.with_transaction(both)
                done.append((w, i))
            except PyMongoError as e:
                errors.append(repr(e)[:300])
            i += 1

    with pymongo.MongoClient(port=p.port) as client:
        threads = [threading.Thread(target=worker, args=(w,)) for w in range(4)]
        for t in threads:
            t.start()
        time.sleep(0.4)
        for m in trio.all[:2]:
            at = p.mark()
            m.kill()
            p.wait_log(DOWN % m.port, since=at)
            time.sleep(0.3)
            m.start()
            landing(p, m)
        time.sleep(0.4)
        ended.set()
        for t in threads:
            t.join(60)
    assert not errors, errors[:5]
    assert len(done) > 50
    assert {d["_id"] for d in trio.documents("txn.pairs")} == {f"{w}-{i}-{half}" for w, i in done for half in "ab"}


def test_a_cursor_dies_with_its_backend_alone(start, trio):
    """43 for the cursors of the lost one, those of others go on, and no connection of a client closes."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request", affinity="session_id", health=HEALTH))
    with greeted(p.port) as w:
        cursors = []
        for i in range(24):
            s = lsid()
            c = w.command({"find": "numbers", "filter": {"n": 10, "tag": i}, "batchSize": 2, "lsid": s})["cursor"]
            cursors.append((c["id"], s, c["firstBatch"][0]["port"], i))
        at = p.mark()
        trio[0].kill()
        p.wait_log(DOWN % trio[0].port, since=at)
        lost = 0
        for n, s, port, tag in cursors:
            r = w.command({"getMore": Int64(n), "collection": "numbers", "batchSize": 20, "lsid": s})
            if port == trio[0].port:
                lost += 1
                assert r["ok"] == 0 and r["code"] == 43, r
            else:
                assert r["ok"] == 1 and [d["tag"] for d in r["cursor"]["nextBatch"]] == [tag] * 8
        assert 0 < lost < 24
        for _, s, _, _ in cursors:  # the sessions themselves go on
            assert w.command({"whoami": 1, "lsid": s}, "admin")["port"] != trio[0].port


@pytest.mark.parametrize("driver", LOADS)
def test_kill_9_in_connection_mode(start, trio, driver):
    """A client whose backend dies goes on with another; what was in flight is retried by the driver."""
    def harm(p):
        for m in trio:
            at = p.mark()
            m.kill()
            p.wait_log(DOWN % m.port, since=at)
            time.sleep(0.5)
            m.start()
            landing(p, m)
            time.sleep(0.3)

    assert not under_load(start, trio, driver, harm, f"pair_{driver}", forward="connection", affinity="fingerprint")


@pytest.mark.parametrize("exhaust", [False, True], ids=["awaiting", "streaming"])
def test_a_monitor_in_connection_mode_outlives_its_backend(start, trio, exhaust):
    """Its waiting hello is asked again of another one: the driver never learns that something died."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="connection", affinity="fingerprint", health=HEALTH))
    with greeted(p.port, "monitor") as w:
        version = w.hello(client=False)["topologyVersion"]
        w.send({"hello": 1, **awaiting(version, 600_000)}, flags=EXHAUST if exhaust else 0)
        dead = trio.by_process(version["processId"])
        dead.kill()
        m = w.recv()
        assert m.doc["ok"] == 1 and m.doc["topologyVersion"]["processId"] != version["processId"]
        other = trio.by_process(m.doc["topologyVersion"]["processId"])
        if not m.more:  # a stream may end here; its driver asks again
            w.send({"hello": 1, **awaiting(m.doc["topologyVersion"], 600_000)}, flags=EXHAUST if exhaust else 0)
        other.bump()
        n = w.recv()
        assert n.doc["topologyVersion"]["counter"] == 1 and n.more == exhaust


def test_others_are_not_harmed_by_a_lost_backend_in_connection_mode(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="connection", affinity="fingerprint", health=HEALTH))
    clients = {}
    for i in range(60):
        w = greeted(p.port, f"c{i}")
        clients.setdefault(w.command({"whoami": 1}, "admin")["port"], []).append(w)
    assert len(clients) == 3
    at = p.mark()
    trio[2].kill()
    p.wait_log(DOWN % trio[2].port, since=at)
    for m in trio.all[:2]:
        assert {w.command({"whoami": 1}, "admin")["port"] for w in clients[m.port]} == {m.port}
    new = {placed.command({"whoami": 1}, "admin")["port"] for placed in (greeted(p.port, f"n{i}") for i in range(30))}
    assert new == {trio[0].port, trio[1].port}
    for w in sum(clients.values(), []):
        w.close()
