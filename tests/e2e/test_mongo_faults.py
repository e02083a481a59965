"""Backends lost under load: drivers that retry see nothing of it outside of cursors and transactions, nothing is lost, nothing is done twice."""
import json
import os
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path

import bson
import puerta as rig
import pymongo
import pytest
from bson.int64 import Int64
from conftest import SOAK
from mongo_wire import CHECKSUM, COMPRESSED, EXHAUST, MORE, MSG, REPLY, Malformed, Wire, awaiting, frame, greeted, lsid, msg
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
        self.process = subprocess.Popen([rig.NODE, str(HERE / "mongo_node/load.js"), uri, str(WORKERS), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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


def one_at_a_time(trio, i, **fault):
    """A fault at one of them, and a moment without any: a driver tries twice, so its second try must not meet another."""
    calm = {"fail": {}, "reset_after": None}
    trio[i % 3].set(**fault)
    time.sleep(0.15)
    trio[i % 3].set(**calm)
    time.sleep(0.1)


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
        for i in range(20):
            one_at_a_time(trio, i, reset_after=i)

    assert not under_load(start, trio, driver, harm, f"reset_{driver}", health=HEALTH | {"fall": 20})


@pytest.mark.parametrize("driver", LOADS)
def test_replies_lost_after_the_write_was_done(start, trio, driver):
    """The same txnNumber goes to the driver's retry: one effect."""
    def harm(p):
        for i in range(12):
            one_at_a_time(trio, i, fail={("insert", "update")[i % 2]: {"action": "close", "after": True, "times": 1}})

    assert not under_load(start, trio, driver, harm, f"after_{driver}", health=HEALTH | {"fall": 20})
    assert trio.shards("stat")["repeated"] > 0


@pytest.mark.parametrize("forward, affinity", [("request", "session_id"), ("connection", "fingerprint")])
def test_nothing_is_sent_twice_for_a_client_that_does_not_retry(start, trio, forward, affinity):
    """The writes are done, their answers lost. Each error is one write of unknown outcome; whoever got no error has it once."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, affinity=affinity, health=HEALTH | {"fall": 20}))
    load = PyLoad(f"mongodb://127.0.0.1:{p.port}/?retryWrites=false", f"once_{forward}")
    try:
        for i in range(12):
            trio[i % 3].set(fail={"update": {"action": ("close", "reset")[i % 2], "after": True, "times": 2}, "insert": {"action": "close", "times": 1}})
            time.sleep(0.15)
    finally:
        out = load.end()
    docs = {d["_id"]: d for d in trio.documents(f"load.once_{forward}")}
    counted = sum(d["value"] for i, d in docs.items() if i.startswith("counter"))
    inserted = sum(not i.startswith("counter") for i in docs)
    errors = len(out["errors"])
    print(f"{forward}: {out['added']} increments acknowledged, {counted} done, {errors} errors")
    assert out["operations"] > 200 and errors
    assert not [e for e in out["errors"] if "E11000" in e], out["errors"]
    assert out["inserted"] <= inserted and out["added"] <= counted
    assert inserted + counted <= out["inserted"] + out["added"] + errors


@pytest.mark.parametrize("forward", ["request", "connection"])
def test_a_hanging_backend_harms_only_who_needs_it(start, trio, forward):
    """Even when no health check has noticed anything."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, affinity="hybrid", health={"interval": "10m"}))
    clients = {m.port: [] for m in trio}
    for i in range(90):
        w, s = greeted(p.port, f"hang {i}", timeout=30), lsid()
        clients[w.command({"whoami": 1, "lsid": s}, "admin")["port"]].append((w, s))
    assert all(clients.values())
    trio[0].kill(signal.SIGSTOP)
    for w, s in clients[trio[0].port]:
        w.send({"ping": 1, "lsid": s})
    for _ in range(5):
        for m in trio.all[1:]:
            for w, s in clients[m.port]:
                assert w.command({"whoami": 1, "lsid": s}, "admin")["port"] == m.port
    trio[0].kill(signal.SIGCONT)
    for w, s in clients[trio[0].port]:
        assert w.recv().doc["ok"] == 1
    for w, _ in sum(clients.values(), []):
        w.close()


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


def test_a_cursor_of_a_lost_process_is_not_one_of_its_successor(start):
    """Cursor ids that start again at 1: an old one gets 43, never the documents of whoever has that number now."""
    with Trio(1, cursor_ids="count") as trio:
        m = trio[0]
        p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request", affinity="session_id", health=HEALTH))

        def find(w, tag):
            return w.command({"find": "numbers", "filter": {"n": 10, "tag": tag}, "batchSize": 2})["cursor"]["id"]

        with greeted(p.port) as old, greeted(p.port) as new:
            lost = find(old, "old")
            at = p.mark()
            m.kill()
            p.wait_log(DOWN % m.port, since=at)
            m.start()
            landing(p, m)
            own = find(new, "new")
            assert m.state()["cursors"] == 1, "the restarted server has given its first number again"
            for id, w in ((lost, old), (lost, new)):
                r = w.command({"getMore": Int64(id), "collection": "numbers", "batchSize": 20})
                assert r["ok"] == 0 and r["code"] == 43, r
            r = new.command({"getMore": Int64(own), "collection": "numbers", "batchSize": 20})
            assert {d["tag"] for d in r["cursor"]["nextBatch"]} == {"new"}


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


# ---- backends that talk nonsense ----

OK = bson.encode({"ok": 1.0})
CURSOR = bson.encode({"cursor": {"firstBatch": [{"a": 1}], "id": 7, "ns": "test.x"}, "ok": 1.0})
NONSENSE = {
    "length 0": struct.pack("<iiii", 0, 1, 0, MSG) + b"x" * 40,
    "length negative": struct.pack("<iiii", -1, 1, 0, MSG) + b"x" * 40,
    "length 17": struct.pack("<iiii", 17, 1, 0, MSG) + b"x",
    "length huge": struct.pack("<iiii", (1 << 31) - 1, 1, 0, MSG) + b"x" * 40,
    "opcode": frame(4711, OK, 1),
    "another opcode": frame(REPLY, struct.pack("<iqii", 0, 0, 0, 1) + OK, 1),
    "no section": frame(MSG, struct.pack("<I", 0), 1),
    "document too long": frame(MSG, struct.pack("<I", 0) + b"\0" + struct.pack("<i", 1000) + OK[4:], 1),
    "document negative": frame(MSG, struct.pack("<I", 0) + b"\0" + struct.pack("<i", -7) + OK[4:], 1),
    "cursor cut": frame(MSG, struct.pack("<I", 0) + b"\0" + CURSOR[: len(CURSOR) // 2], 1),
    "cursor with a wrong length": frame(MSG, struct.pack("<I", 0) + b"\0" + CURSOR.replace(struct.pack("<i", CURSOR[11]), struct.pack("<i", 9999), 1), 1),
    "unknown flags": frame(MSG, struct.pack("<I", 0xFF00) + b"\0" + OK, 1),
    "checksum wrong": msg({"ok": 1.0}, 1, flags=CHECKSUM)[:-4] + b"abcd",
    "a stream nobody asked for": msg({"ok": 1.0}, 1, flags=MORE) * 3,
    "two replies": msg({"ok": 1.0}, 1) * 2,
    "compressed garbage": frame(COMPRESSED, struct.pack("<iiB", MSG, 100, 2) + b"garbage", 1),
    "compressed bomb": frame(COMPRESSED, struct.pack("<iiB", MSG, (1 << 31) - 1, 2) + b"garbage", 1),
    "empty": frame(MSG, struct.pack("<I", 0) + b"\0" + b"\5\0\0\0\0", 1),
    "http": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.fixture(scope="module")
def odd():
    with Trio() as t:
        yield t


@pytest.fixture(scope="module", params=["connection", "request"])
def nonsense(request, odd):
    from conftest import Starter

    s = Starter()
    yield s.keep(rig.Puerta.for_backends(odd.addresses, forward=request.param, affinity="hybrid", health=HEALTH | {"fall": 50},
                                         timeouts={"request": "1s", "connect": "1s"}))
    s.end()


@pytest.mark.parametrize("command", ["find", "hello"])
@pytest.mark.parametrize("what", NONSENSE)
def test_backends_that_talk_nonsense(nonsense, odd, what, command):
    """Whoever asked is told something or closed, in the end; nobody else is harmed, and the next one is served."""
    with greeted(nonsense.port) as other:
        odd.set(fail={command: {"action": "raw", "raw": NONSENSE[what].hex(), "times": 3}})
        try:
            with Wire(nonsense.port, timeout=8) as w:
                w.hello()
                for _ in range(3):
                    w.command({"find": "nonsense", "lsid": lsid()})
        except (ConnectionError, TimeoutError, AssertionError, bson.errors.InvalidBSON, KeyError, Malformed):
            pass
        time.sleep(0.3 if command == "hello" else 0)
        odd.set(fail={})
        assert other.command({"ping": 1}, "admin")["ok"] == 1
    for i in range(12):
        with greeted(nonsense.port, f"after {i}") as w:
            r = w.command({"find": "numbers", "filter": {"n": 3, "tag": i}, "batchSize": 2, "lsid": lsid()})
            assert r["ok"] == 1 and [d["tag"] for d in r["cursor"]["firstBatch"]] == [i, i], r
