"""forward = "request": each message placed by itself, over few connections."""
import signal
import threading
import time

import puerta as rig
import pymongo
import pytest
from bson.int64 import Int64
from cluster import wait_for
from conftest import Starter
from mongo_wire import CHECKSUM, EXHAUST, MORE, QUERY, Wire, awaiting, greeted, lsid
from mongos import Trio
from puerta import WORKERS

HEALTH = {"interval": "1s", "timeout": "1s", "jitter": 0, "slow_start": "0s"}


@pytest.fixture(scope="module")
def trio():
    with Trio(cursor_ids="count") as t:
        yield t


@pytest.fixture(scope="module")
def proxy(trio):
    s = Starter()
    yield s.keep(rig.Puerta.for_backends(trio.addresses, forward="request", affinity="session_id", health=HEALTH))
    s.end()


@pytest.fixture
def calm(trio):
    """Whatever a test told the scripted mongos, and left in them, is gone after it."""
    yield trio
    trio.set(fail={}, delay=0, stray=False, exhaust_pause=0)


def sessions_everywhere(w, trio):
    """A session on each backend: { port: lsid }."""
    found = {}

    def all_found():
        s = lsid()
        found.setdefault(w.command({"whoami": 1, "lsid": s}, "admin")["port"], s)
        return len(found) == len(trio)

    wait_for("a session on each", 10, all_found, every=0.001)  # one that has failed somebody is spared for a moment
    return found


def find(tag, session=None, n=10, batch=2):
    return {"find": "numbers", "filter": {"n": n, "tag": tag}, "batchSize": batch} | ({"lsid": session} if session else {})


def more(cursor, session=None, batch=2):
    return {"getMore": Int64(cursor), "collection": "numbers", "batchSize": batch} | ({"lsid": session} if session else {})


def test_sessions_stay_and_spread(proxy, trio):
    with greeted(proxy.port) as a, greeted(proxy.port) as b:
        for port, s in sessions_everywhere(a, trio).items():
            assert {w.command({"whoami": 1, "lsid": s}, "admin")["port"] for w in (a, b, a, b)} == {port}


def test_the_reply_has_the_opcode_of_its_request(proxy):
    with Wire(proxy.port) as w:  # ask() compares
        assert w.hello(opcode=QUERY)["ok"] == 1
        assert w.hello(client=False)["ok"] == 1
        assert w.hello(client=False, opcode=QUERY)["ok"] == 1
        assert w.command({"ping": 1})["ok"] == 1
        w.ask({"ping": 1}, opcode=QUERY)  # a server may refuse it, in OP_REPLY
        assert w.command({"ping": 1})["ok"] == 1


def test_unknown_commands_pass(proxy):
    with greeted(proxy.port) as w:
        r = w.command({"noSuchCommand": 1})
        assert r["ok"] == 0 and r["code"] == 59


# ---- cursors ----

def test_equal_cursor_ids_do_no_harm(proxy, trio):
    with greeted(proxy.port) as a, greeted(proxy.port) as b:
        open_cursors = {}
        for tag, s in enumerate(list(sessions_everywhere(a, trio).values()) * 3):
            c = a.command(find(tag, s))["cursor"]
            assert c["id"] not in open_cursors and [d["tag"] for d in c["firstBatch"]] == [tag, tag]
            open_cursors[c["id"]] = (tag, s)
        for turn in range(4):
            for n, (tag, s) in open_cursors.items():
                w = (a, b)[(turn + tag) % 2]
                r = w.command(more(n, s))
                assert r["ok"] == 1, r
                assert [(d["_id"], d["tag"]) for d in r["cursor"]["nextBatch"]] == [(2 * turn + 2, tag), (2 * turn + 3, tag)]
                assert r["cursor"]["id"] == (n if turn < 3 else 0)
        for n, (_, s) in open_cursors.items():
            assert a.command(more(n, s))["code"] == 43


def test_the_backends_ids_did_collide(proxy, trio):
    """What the test before is worth."""
    with greeted(proxy.port) as w:
        start = time.time()
        for s in sessions_everywhere(w, trio).values():
            for _ in range(3):
                c = w.command(find("x", s))["cursor"]["id"]
                w.command(more(c, s, batch=100))
    ids = {m.port: {x["doc"]["getMore"] for x in m.log("getMore")} for m in trio}
    assert start and set.intersection(*ids.values()), ids


def test_a_cursor_without_a_session(proxy):
    with greeted(proxy.port) as w:
        cursors = [w.command(find(i))["cursor"]["id"] for i in range(9)]
        for i, n in enumerate(cursors):
            r = w.command(more(n, batch=8))
            assert r["ok"] == 1 and [d["tag"] for d in r["cursor"]["nextBatch"]] == [i] * 8


def test_kill_cursors_is_split_and_merged(proxy, trio):
    with greeted(proxy.port) as w:
        before = time.time()
        sessions = sessions_everywhere(w, trio)
        mine = {p: [w.command(find("k", s))["cursor"]["id"] for _ in range(3)] for p, s in sessions.items()}
        every = [n for group in zip(*mine.values()) for n in group]
        r = w.command({"killCursors": "numbers", "cursors": [Int64(n) for n in every[:5]] + [Int64(0x7777777777)] + [Int64(n) for n in every[5:]]})
        assert r["ok"] == 1 and sorted(r["cursorsKilled"]) == sorted(every) and r["cursorsNotFound"] == [0x7777777777], r
        assert r["cursorsAlive"] == [] and r["cursorsUnknown"] == []
        for m in trio:
            got = [x for x in m.log("killCursors", before)]
            assert len(got) == 1 and len(got[0]["doc"]["cursors"]) == 3, got
        assert all(w.command(more(n, sessions[p]))["code"] == 43 for p in mine for n in mine[p])
        assert w.command({"killCursors": "numbers", "cursors": [Int64(every[0])]})["cursorsNotFound"] == [every[0]]


def test_kill_cursors_of_one_backend(proxy):
    with greeted(proxy.port) as w:
        s = lsid()
        n = w.command(find("one", s))["cursor"]["id"]
        r = w.command({"killCursors": "numbers", "cursors": [Int64(n)], "lsid": s})
        assert r["ok"] == 1 and r["cursorsKilled"] == [n] and r["cursorsNotFound"] == []


def test_end_sessions_reaches_every_backend_concerned(proxy, trio):
    with greeted(proxy.port) as w:
        held = {m.port: m.state()["cursors"] for m in trio}
        sessions = sessions_everywhere(w, trio)
        for s in sessions.values():
            w.command(find("e", s))
        assert all(m.state()["cursors"] == held[m.port] + 1 for m in trio)
        assert w.command({"endSessions": list(sessions.values())}, "admin")["ok"] == 1
        wait_for("their cursors to be closed", 5, lambda: all(m.state()["cursors"] == held[m.port] for m in trio))


def test_exhaust_get_more(proxy):
    with greeted(proxy.port) as w:
        s = lsid()
        n = w.command(find("ex", s, n=20))["cursor"]["id"]
        to, seen = w.send(more(n, s), "test", flags=EXHAUST), 2
        while True:
            m = w.recv()
            assert m.response_to == to and m.doc["ok"] == 1
            assert [d["_id"] for d in m.doc["cursor"]["nextBatch"]] == [seen, seen + 1]
            seen += 2
            to = m.request_id
            assert m.doc["cursor"]["id"] == (n if m.more else 0)
            if not m.more:
                break
        assert seen == 20 and w.command({"ping": 1})["ok"] == 1


def test_pymongo_exhaust(proxy):
    with pymongo.MongoClient(port=proxy.port) as c:
        got = [d["_id"] for d in c.test.numbers.find({"n": 500, "tag": "pe"}, batch_size=20, cursor_type=pymongo.CursorType.EXHAUST)]
        assert got == list(range(500))


def test_a_client_that_leaves_an_exhaust_stream(proxy, calm):
    """Its backend connection must not be given to others while the stream runs."""
    calm.set(exhaust_pause=0.02)
    with greeted(proxy.port) as other:
        for _ in range(6):
            with greeted(proxy.port) as w:
                s = lsid()
                n = w.command(find("gone", s, n=100))["cursor"]["id"]
                w.send(more(n, s), "test", flags=EXHAUST)
                assert w.recv().more
            for i in range(20):
                r = other.command(find(i, lsid(), n=2))
                assert [d["tag"] for d in r["cursor"]["firstBatch"]] == [i, i]


def test_checksums_hold_after_ids_are_rewritten(proxy, trio):
    """The scripted mongos closes a connection whose message has a wrong one."""
    with greeted(proxy.port) as w:
        for s in sessions_everywhere(w, trio).values():
            n = w.command(find("crc", s), flags=CHECKSUM)["cursor"]["id"]
            r = w.command(more(n, s), flags=CHECKSUM)
            assert r["ok"] == 1 and len(r["cursor"]["nextBatch"]) == 2
            assert w.command({"killCursors": "numbers", "cursors": [Int64(n)], "lsid": s}, flags=CHECKSUM)["cursorsKilled"] == [n]
    assert not [x for m in trio for x in m.log() if x.get("event") == "malformed"]


# ---- writes ----

@pytest.mark.parametrize("stray", [False, True], ids=["silent", "stray replies"])
def test_unacknowledged_writes_keep_their_order(proxy, calm, stray):
    """Also before a backend that answers them all the same, as FerretDB does."""
    calm.set(stray=stray)
    name = f"w0_{stray}"
    with greeted(proxy.port) as w, greeted(proxy.port) as other:
        for i in range(200):
            w.send({"insert": name, "documents": [{"_id": i}], "writeConcern": {"w": 0}}, "test", flags=MORE)
            if i % 20 == 0:
                assert other.command(find(i, lsid(), n=1))["cursor"]["firstBatch"][0]["tag"] == i
        r = w.command({"find": name, "batchSize": 1000, "lsid": lsid()})  # whichever backend: all have taken effect
        assert [d["_id"] for d in r["cursor"]["firstBatch"]] == list(range(200))
        for i in range(10):
            assert w.command(find(i, lsid(), n=1))["cursor"]["firstBatch"][0]["tag"] == i
    assert [d["_id"] for d in calm.documents(f"test.{name}")] == list(range(200))


def test_document_sequences_arrive_whole(proxy, trio):
    docs = [{"_id": i, "text": "x" * i} for i in range(500)]
    with greeted(proxy.port) as w:
        for name, first in (("seq_a", False), ("seq_b", True)):
            assert w.command({"insert": name, "lsid": lsid()}, sequences={"documents": docs}, first=first)["n"] == 500
            assert trio.documents(f"test.{name}") == docs


def test_a_message_of_40_mb(proxy, trio):
    docs = [{"_id": i, "bytes": bytes([i]) * 10_000_000} for i in range(4)]
    with greeted(proxy.port, timeout=60) as w:
        base = proxy.rss()
        assert w.command({"insert": "big", "lsid": lsid()}, sequences={"documents": docs})["n"] == 4
        assert proxy.rss() - base < 40_000_000
        for i in range(4):
            r = w.command({"find": "big", "filter": {"_id": i}})
            assert r["cursor"]["firstBatch"] == [docs[i]]
        assert w.command({"drop": "big"})["ok"] == 1


def test_transactions_stay_where_they_began(proxy, trio):
    before = time.time()
    with greeted(proxy.port) as a, greeted(proxy.port) as b:
        sessions = sessions_everywhere(a, trio)
        common = {"autocommit": False, "txnNumber": Int64(1)}
        for i in range(3):
            for p, s in sessions.items():
                w = (a, b)[i % 2]
                r = w.command({"insert": "txn", "documents": [{"_id": f"{p}-{i}"}], "lsid": s, **common} | ({"startTransaction": True} if i == 0 else {}))
                assert r["ok"] == 1 and r["recoveryToken"], r
        assert not trio.documents("test.txn")
        for s in sessions.values():
            assert b.command({"commitTransaction": 1, "lsid": s, **common}, "admin")["ok"] == 1
        assert len(trio.documents("test.txn")) == 9
    for m in trio:
        assert len({x["lsid"] for x in m.log("insert", before) if x["doc"]["insert"] == "txn"}) == 1


# ---- the table of errors ----

SESSION = {"txnNumber": Int64(7)}
TXN = SESSION | {"autocommit": False, "startTransaction": True}
INSERT = {"insert": "lost", "documents": [{"_id": 1}]}
LOST = [
    ("retryable write", INSERT | SESSION, {6}, {"RetryableWriteError"}),
    ("plain write", INSERT, {6}, set()),
    ("read", {"find": "lost"}, {6}, set()),
    ("write in a transaction", INSERT | TXN, {6}, {"TransientTransactionError"}),
    ("read in a transaction", {"find": "lost"} | TXN, {6}, {"TransientTransactionError"}),
    ("commit", {"commitTransaction": 1, "$db": "admin"} | SESSION | {"autocommit": False}, {6}, {"RetryableWriteError"}),
]


@pytest.mark.parametrize("what, command, codes, labels", LOST, ids=[x[0] for x in LOST])
@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_lost_connection_is_an_error_that_drivers_retry(proxy, calm, way, what, command, codes, labels):
    """The client's own connection lives on."""
    calm.set(fail={next(iter(command)): {"action": way}})
    with greeted(proxy.port) as w:
        r = w.command({k: v for k, v in command.items() if k != "$db"} | {"lsid": lsid()}, command.get("$db", "test"))
        assert r["ok"] == 0 and r["code"] in codes and set(r.get("errorLabels", [])) == labels, r
        calm.set(fail={})
        wait_for("a backend", 10, lambda: w.command({"ping": 1, "lsid": lsid()})["ok"] == 1)


@pytest.mark.parametrize("what", ["find", "insert"])
def test_a_retry_goes_elsewhere(proxy, calm, what):
    """Drivers try once more, at once: before any health check a process that is about to die must not get both."""
    with greeted(proxy.port) as w:
        time.sleep(0.7)  # whoever failed in the tests before is no longer spared
        s = sessions_everywhere(w, calm)[calm[1].port]
        calm[1].set(fail={what: {"action": "close"}})
        command = {"find": "retry"} if what == "find" else {"insert": "retry", "documents": [{"_id": 1}], "txnNumber": Int64(1)}
        r = w.command(command | {"lsid": s})
        assert r["ok"] == 0 and r["code"] == 6, r
        assert w.command(command | {"lsid": s})["ok"] == 1


def test_a_cursor_whose_connection_is_lost(proxy, calm):
    with greeted(proxy.port) as w:
        s = lsid()
        n = w.command(find("lost", s))["cursor"]["id"]
        calm.set(fail={"getMore": {"action": "close"}})
        r = w.command(more(n, s))
        assert r["ok"] == 0 and r["code"] in (6, 43) and not r.get("errorLabels"), r
        assert w.hello(client=False)["ok"] == 1


def test_a_backend_that_dies_amid_a_reply(start):
    """What has begun cannot be taken back: that client is closed, others go on."""
    with Trio() as own:
        p = start.keep(rig.Puerta.for_backends(own.addresses, forward="request", affinity="session_id", health=HEALTH | {"interval": "200ms", "fall": 1}))
        with greeted(p.port) as w, greeted(p.port) as other:
            s = sessions_everywhere(w, own)[own[1].port]
            w.command({"insert": "big", "documents": [{"_id": 1, "b": b"x" * 15_000_000}], "lsid": s})
            w.send({"find": "big", "lsid": s}, "test")
            w.exactly(16)
            own[1].kill()
            with pytest.raises(ConnectionError):
                w.exactly(15_000_000)
            for i in range(30):
                r = other.command(find(i, lsid(), n=1))
                assert r["ok"] == 1 or r["code"] == 6, r
                assert r["ok"] == 0 or r["cursor"]["firstBatch"][0]["tag"] == i


def test_an_exhaust_stream_whose_backend_dies(start):
    with Trio(exhaust_pause=0.05) as own:
        p = start.keep(rig.Puerta.for_backends(own.addresses, forward="request", affinity="session_id", health=HEALTH | {"interval": "200ms", "fall": 1}))
        with greeted(p.port) as w:
            s = sessions_everywhere(w, own)[own[2].port]
            n = w.command(find("dies", s, n=200))["cursor"]["id"]
            to = w.send(more(n, s), "test", flags=EXHAUST)
            for _ in range(3):
                m = w.recv()
                assert m.more and m.response_to == to
                to = m.request_id
            own[2].kill()
            while m.more:
                m = w.recv()
                assert m.response_to == to
                to = m.request_id
            assert m.doc["ok"] == 0 and m.doc["code"] == 43, m
            wait_for("another backend", 10, lambda: w.command({"whoami": 1, "lsid": s}, "admin").get("port") in (own[0].port, own[1].port))


def test_clients_that_leave_with_a_request_in_flight(start, calm):
    """The answer to somebody who has gone is nobody's."""
    p = start.keep(rig.Puerta.for_backends(calm.addresses, forward="request", affinity="session_id", health=HEALTH, pool={"max": 1}))
    calm.set(delay=0.02)
    with greeted(p.port) as w:
        for i in range(40):
            with greeted(p.port) as gone:
                gone.send(find(f"gone {i}", lsid(), n=1), "test")
                if i % 2:
                    gone.send({"insert": "gone", "documents": [{"_id": i}], "writeConcern": {"w": 0}}, "test", flags=MORE)
            r = w.command(find(i, lsid(), n=1))
            assert [d["tag"] for d in r["cursor"]["firstBatch"]] == [i]


def test_compression_ends_at_puerta(start):
    """Clients compress though the backends cannot."""
    with Trio(compressors=[]) as own:
        p = start.keep(rig.Puerta.for_backends(own.addresses, forward="request", health=HEALTH, compression=["zlib"]))
        with pymongo.MongoClient(port=p.port, compressors="zlib") as c:
            c.test.ends.insert_many([{"_id": i, "text": "lorem ipsum " * 30} for i in range(1000)])
            assert [d["_id"] for d in c.test.ends.find({}, batch_size=100)] == list(range(1000))
            c.test.get_collection("ends", write_concern=pymongo.WriteConcern(w=0)).insert_one({"_id": 1000})
            assert c.test.ends.count_documents({}) == 1001
        assert {x.get("compressor") for x in own.log(("insert", "getMore"))} == {None}


# ---- pools ----

def test_few_connections_for_many_clients(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request", affinity="session_id", health=HEALTH, pool={"max": 2}))
    before = time.time()
    clients = [greeted(p.port) for _ in range(60)]
    wrong = []

    def use(w, i):
        for k in range(20):
            s = lsid()
            r = w.command(find(f"{i}-{k}", s, n=4))
            got = r["cursor"]["firstBatch"] + w.command(more(r["cursor"]["id"], s))["cursor"]["nextBatch"]
            if [d["tag"] for d in got] != [f"{i}-{k}"] * 4:
                wrong.append((i, k, r))

    threads = [threading.Thread(target=use, args=(w, i)) for i, w in enumerate(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for w in clients:
        w.close()
    assert not wrong, wrong[:3]
    for m in trio:
        used = {x["conn"] for x in m.log("find", before)}
        assert 1 <= len(used) <= 2 * WORKERS, used


@pytest.mark.parametrize("backpressure", [True, False])
def test_no_free_connection_in_time(start, calm, backpressure):
    p = start.keep(rig.Puerta.for_backends([calm[0].address], top={"workers": 1}, forward="request", health=HEALTH, pool={"max": 1, "wait": "200ms"}))
    hello = {"backpressure": True} if backpressure else {}
    with greeted(p.port, hello=hello) as a, greeted(p.port, hello=hello) as b:
        calm.set(fail={"find": {"action": "hang", "times": 1}})
        a.send({"find": "x"}, "test")
        wait_for("it to hang", 5, lambda: calm[0].settings["fail"] and [x for x in calm[0].log("find") if x["doc"]["find"] == "x"])
        r = b.command({"ping": 1})
        assert r["ok"] == 0 and r["code"] == (462 if backpressure else 6), r
        assert set(r.get("errorLabels", [])) == ({"SystemOverloadedError", "RetryableError"} if backpressure else set())
        assert b.hello(client=False)["ok"] == 1


def test_request_timeout(start, calm):
    p = start.keep(rig.Puerta.for_backends(calm.addresses, forward="request", health=HEALTH, timeouts={"request": "300ms"}))
    with greeted(p.port) as w:
        calm.set(fail={"find": {"action": "hang"}})
        r = w.command({"find": "x", "lsid": lsid()})
        assert r["ok"] == 0 and r["code"], r
        calm.set(fail={})
        assert w.command(find("after", lsid(), n=1))["ok"] == 1


@pytest.mark.parametrize("max_sessions", [1, 50])
def test_a_small_session_table(start, trio, max_sessions):
    """What is in use is forgotten last; what is forgotten is placed anew, by the same hash."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request", affinity="session_id", health=HEALTH, max_sessions=max_sessions))
    with greeted(p.port) as w:
        sessions = [lsid() for _ in range(300)]
        where = [w.command({"whoami": 1, "lsid": s}, "admin")["port"] for s in sessions]
        assert [w.command({"whoami": 1, "lsid": s}, "admin")["port"] for s in sessions] == where
        s = lsid()
        n = w.command(find("small", s, n=4))["cursor"]["id"]
        assert [d["_id"] for d in w.command(more(n, s))["cursor"]["nextBatch"]] == [2, 3]


# ---- reload and the end ----

def test_a_backend_is_removed(start, trio):
    """Its sessions move, its cursors are gone, no client is closed."""
    options = {"forward": "request", "affinity": "session_id", "health": HEALTH}
    p = start.keep(rig.Puerta.for_backends(trio.addresses, **options))
    with greeted(p.port) as w:
        sessions = sessions_everywhere(w, trio)
        cursors = {port: w.command(find("removed", s))["cursor"]["id"] for port, s in sessions.items()}
        at = p.reload(rig.config(rig.mongo_listener(trio.addresses[1:], p.port, **options), workers=WORKERS))
        p.wait_log(rig.RELOADED, since=at)
        wait_for("it to be left", 10, lambda: trio[0].port not in {w.command({"whoami": 1, "lsid": lsid()}, "admin").get("port") for _ in range(20)})
        for port, s in sessions.items():
            r = w.command(more(cursors[port], s))
            assert (r["ok"] == 1) if port != trio[0].port else (r["code"] == 43), r
            assert w.command({"whoami": 1, "lsid": s}, "admin")["port"] != trio[0].port


def test_sigterm_lets_clients_finish(start, trio):
    """hello says that puerta is leaving, so that drivers look elsewhere; what is open goes on; when it is done, puerta ends."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, top={"drain_timeout": "20s"}, forward="request", affinity="session_id", health=HEALTH))
    with greeted(p.port) as w, greeted(p.port) as monitor:
        version = monitor.hello(client=False)["topologyVersion"]
        monitor.send({"hello": 1, **awaiting(version, 600_000)})
        s = lsid()
        n = w.command(find("term", s, n=6))["cursor"]["id"]
        p.kill(signal.SIGTERM)
        m = monitor.recv()
        assert m.doc["ok"] == 0 and m.doc["code"] == 91, m
        assert m.doc["topologyVersion"]["processId"] == version["processId"] and m.doc["topologyVersion"]["counter"] == version["counter"] + 1
        for want, left in (([2, 3], n), ([4, 5], 0)):
            r = w.command(more(n, s))
            assert [d["_id"] for d in r["cursor"]["nextBatch"]] == want and r["cursor"]["id"] == left, r
        assert w.closed() and monitor.closed()  # now they are idle
    assert p.wait_exit() == 0


def test_sighup_with_clients_connected(start, trio):
    def text(**options):
        return rig.config(rig.mongo_listener(trio.addresses, p.port, forward="request", affinity="session_id", health=HEALTH, **options), workers=WORKERS)

    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request", affinity="session_id", health=HEALTH))
    with greeted(p.port) as w, greeted(p.port) as waiting:
        version = waiting.hello(client=False)["topologyVersion"]
        s = lsid()
        n = w.command(find("hup", s, n=40))["cursor"]["id"]
        w.command({"insert": "hup", "documents": [{"_id": 1}], "lsid": s, "txnNumber": Int64(1), "autocommit": False, "startTransaction": True})
        waiting.send({"hello": 1, "topologyVersion": version, "maxAwaitTimeMS": Int64(600_000)})
        for i in range(8):
            at = p.reload(text(pool={"max": 8 + i}, session_timeout=f"{20 + i}m"))
            p.wait_log(rig.RELOADED, since=at)
            assert w.command(more(n, s))["cursor"]["nextBatch"][0]["_id"] == 2 + 2 * i
        assert w.command({"commitTransaction": 1, "lsid": s, "txnNumber": Int64(1), "autocommit": False}, "admin")["ok"] == 1
        at = p.reload(text(pool={"max": 0}))
        p.wait_log(r"puerta\.lua:\d+: .*max", since=at)
        assert w.command(more(n, s))["ok"] == 1
    assert trio.documents("test.hup") == [{"_id": 1}]
