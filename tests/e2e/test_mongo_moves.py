"""Where clients land: by fingerprint, the same for all connections of one, and with as few moves as can be when a backend is added or drained."""
import queue
import threading
import time

import puerta as rig
import pymongo
import pytest
from bson.int64 import Int64
from cluster import wait_for
from mongo_wire import Wire, client_document, greeted, lsid, msg, parse
from mongos import Trio
from puerta import WORKERS

FINGERPRINTS = 10_000
HEALTH = {"interval": "500ms", "jitter": 0, "slow_start": "0s"}


@pytest.fixture
def trio():
    with Trio() as t:
        yield t


def reload_with(p, backends, **options):
    """SIGHUP with these backends; returns when they serve."""
    at = p.reload(rig.config(rig.mongo_listener(backends, p.port, **options), workers=WORKERS))
    p.wait_log(rig.RELOADED, since=at)
    return at


def placed(port, app):
    """The processId of the backend that a client of this name gets."""
    with Wire(port) as w:
        return str(w.hello(app)["topologyVersion"]["processId"])


def placed_all(port, names, threads=4):
    """As placed(), of many."""
    todo, out = queue.SimpleQueue(), {}
    for n in names:
        todo.put(n)

    def work():
        while True:
            try:
                name = todo.get_nowait()
            except queue.Empty:
                return
            with Wire(port, timeout=60) as w:
                w.sock.sendall(msg({"hello": 1, "client": client_document(name), "$db": "admin"}, 1))
                out[name] = str(parse(w.recv_raw()).doc["topologyVersion"]["processId"])

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    return out


def test_names_tell_clients_behind_one_address_apart(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, affinity="fingerprint", health=HEALTH))
    names = {}
    for i in range(100):
        names.setdefault(placed(p.port, f"app-{i}"), f"app-{i}")
    assert len(names) == 3
    for process, name in names.items():
        assert {placed(p.port, name) for _ in range(5)} == {process}


def test_monitors_and_pools_land_together(start, trio):
    """All connections of a driver: monitor, round-trip times, pool."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, affinity="hybrid", health=HEALTH))
    two = {}
    for i in range(100):
        two.setdefault(placed(p.port, f"one-{i}"), f"one-{i}")  # our own driver name; real drivers land elsewhere
        if len(two) == 3:
            break
    seen = {}
    for i in range(12):
        name, before = f"pod-{i}", time.time()
        with pymongo.MongoClient(port=p.port, appname=name, heartbeatFrequencyMS=500) as c:
            threads = [threading.Thread(target=lambda: c.test.numbers.find_one({"n": 1, "tag": name})) for _ in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            wait_for("the monitor's stream", 10, lambda: any("topologyVersion" in x["doc"] for x in trio.log("hello", before)))
            first = [x for x in trio.log(("hello", "isMaster", "ismaster"), before) if x["doc"].get("client", {}).get("application", {}).get("name") == name]
            ports = {x["port"] for x in first}
            assert len(first) >= 2 and len(ports) == 1, first
            seen[name] = ports.pop()
    assert len(set(seen.values())) > 1, seen


@pytest.mark.parametrize("affinity", ["fingerprint", "hybrid"])
def test_an_added_backend_takes_its_share_and_no_more(start, trio, affinity):
    """10,000 clients over three backends; after a fourth has been added a quarter of them has moved, all to it, and nobody who was connected."""
    options = {"affinity": affinity, "session_timeout": "1s", "health": HEALTH}
    p = start.keep(rig.Puerta.for_backends(trio.addresses, **options))
    names = [f"client {i}" for i in range(FINGERPRINTS)]
    before = placed_all(p.port, names)
    shares = sorted(list(before.values()).count(m.process_id) / FINGERPRINTS for m in trio)
    connected = {n: greeted(p.port, n) for n in names[:60]}
    where = {n: w.command({"whoami": 1}, "admin")["port"] for n, w in connected.items()}

    new = trio.add()
    at = reload_with(p, trio.addresses, **options)
    wait_for("the new backend to serve", 20, lambda: new.process_id in {placed(p.port, f"probe {time.monotonic()}") for _ in range(8)})
    time.sleep(1.5)  # what was remembered is forgotten now: session_timeout
    after = placed_all(p.port, names[60:])

    moved = [n for n in after if after[n] != before[n]]
    print(f"{affinity}: shares {shares}, {len(moved)} of {len(after)} moved ({len(moved) / len(after):.2%})")
    assert all(abs(s - 1 / 3) < 0.03 for s in shares)
    assert abs(len(moved) / len(after) - 1 / 4) < 0.03
    assert {after[n] for n in moved} == {new.process_id}
    for n, w in connected.items():  # open connections stay, and so does whoever comes to them
        assert w.command({"whoami": 1}, "admin")["port"] == where[n]
        assert placed(p.port, n) == before[n]
        w.close()
    assert not [x for x in p.log(at).splitlines() if "error" in x.lower()]


def test_an_added_backend_moves_no_session(start, trio):
    """forward = "request": sessions that are remembered stay."""
    options = {"forward": "request", "affinity": "session_id", "health": HEALTH}
    p = start.keep(rig.Puerta.for_backends(trio.addresses, **options))
    with greeted(p.port) as w:
        sessions = [lsid() for _ in range(200)]
        where = [w.command({"whoami": 1, "lsid": s}, "admin")["port"] for s in sessions]
        new = trio.add()
        reload_with(p, trio.addresses, **options)
        wait_for("the new backend to serve", 20, lambda: w.command({"whoami": 1, "lsid": lsid()}, "admin")["port"] == new.port)
        assert [w.command({"whoami": 1, "lsid": s}, "admin")["port"] for s in sessions] == where


def draining(trio, which):
    return [(m, {"drain": i == which}) for i, m in enumerate(trio)]


def test_a_drained_backend_closes_only_what_is_idle(start, trio):
    """forward = "connection": neither a cursor nor a transaction is lost; what is idle goes after two seconds, and comes back elsewhere."""
    options = {"affinity": "fingerprint", "health": HEALTH}
    p = start.keep(rig.Puerta.for_backends(trio.addresses, **options))
    on = {}
    for i in range(200):
        w = greeted(p.port, f"drain-{i}")
        on.setdefault(w.command({"whoami": 1}, "admin")["port"], []).append((f"drain-{i}", w))
    mine, others = on[trio[0].port], on[trio[1].port] + on[trio[2].port]
    assert len(mine) > 10
    (_, cursor), (_, txn), (_, busy) = mine[:3]
    idle = mine[3:]
    n = cursor.command({"find": "numbers", "filter": {"n": 6, "tag": "d"}, "batchSize": 2})["cursor"]["id"]
    t = {"lsid": lsid(), "txnNumber": Int64(1), "autocommit": False}
    txn.command({"insert": "drained", "documents": [{"_id": 1}], "startTransaction": True, **t})
    trio[0].set(fail={"find": {"action": "hang", "times": 1}})
    busy.send({"find": "x"}, "test")

    since = time.monotonic()
    reload_with(p, draining(trio, 0), **options)
    closed = [w.closed(timeout=20) for _, w in idle]
    took = time.monotonic() - since
    print(f"idle connections closed after {took:.1f} s")
    assert all(closed) and took >= 1.5
    for name, _ in idle[:10]:
        assert placed(p.port, name) != trio[0].process_id
    for turn, want in enumerate(([2, 3], [4, 5])):
        r = cursor.command({"getMore": Int64(n), "collection": "numbers", "batchSize": 2})
        assert [d["_id"] for d in r["cursor"]["nextBatch"]] == want, turn
    assert txn.command({"commitTransaction": 1, **t}, "admin")["ok"] == 1
    assert trio.documents("test.drained") == [{"_id": 1}]
    assert cursor.closed(timeout=20) and txn.closed(timeout=20)  # now they are idle, too
    assert not busy.closed(timeout=0.5)
    assert all(w.command({"ping": 1})["ok"] == 1 for _, w in others)
    for _, w in mine + others:
        w.close()


def test_a_drained_backend_gets_no_new_sessions(start, trio):
    """forward = "request": sessions move, but for those that a cursor or a transaction holds; no client connection closes."""
    options = {"forward": "request", "affinity": "session_id", "health": HEALTH}
    p = start.keep(rig.Puerta.for_backends(trio.addresses, **options))
    with greeted(p.port) as w:
        def port(s):
            return w.command({"whoami": 1, "lsid": s}, "admin")["port"]

        mine = [s for s in (lsid() for _ in range(200)) if port(s) == trio[0].port]
        assert len(mine) > 10
        held, t = mine[0], mine[1]
        n = w.command({"find": "numbers", "filter": {"n": 6, "tag": "d"}, "batchSize": 2, "lsid": held})["cursor"]["id"]
        common = {"lsid": t, "txnNumber": Int64(1), "autocommit": False}
        w.command({"insert": "moved", "documents": [{"_id": 1}], "startTransaction": True, **common})
        reload_with(p, draining(trio, 0), **options)
        wait_for("new sessions to go elsewhere", 10, lambda: all(port(lsid()) != trio[0].port for _ in range(20)))
        assert all(port(s) != trio[0].port for s in mine[2:])
        r = w.command({"getMore": Int64(n), "collection": "numbers", "batchSize": 9, "lsid": held})
        assert r["ok"] == 1 and r["cursor"]["id"] == 0, r
        assert w.command({"insert": "moved", "documents": [{"_id": 2}], **common})["ok"] == 1
        assert w.command({"commitTransaction": 1, **common}, "admin")["ok"] == 1
        assert len(trio.documents("test.moved")) == 2
        assert port(held) != trio[0].port and port(t) != trio[0].port
