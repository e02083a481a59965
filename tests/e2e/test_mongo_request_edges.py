"""forward = "request" at its edges: strangers, load balanced clients, requests nobody waits for, streams nobody reads, a login that changes."""
import itertools
import socket
import threading
import time

import puerta as rig
import pymongo
import pytest
from bson.int64 import Int64
from cluster import free_port, wait_for
from mongo_wire import EXHAUST, MORE, QUERY, greeted, lsid, msg, query
from mongos import DOWN, Trio
from mongos_scram import verifier
from test_mongo_edges import Slow
from test_mongo_pair import CALM, FAST, Fake, after_hello

PING_BIT = 1 << 30  # puerta's ping after an unacknowledged request differs from it in this bit
LOGIN = {"username": "app", "password": "pencil", "authMechanism": "SCRAM-SHA-256"}


@pytest.fixture(scope="module")
def trio():
    with Trio() as t:
        yield t


def proxy(start, backends, **options):
    return start.keep(rig.Puerta.for_backends(backends, **{"top": {"workers": 1}, "forward": "request", "affinity": "session_id", "health": CALM} | options))


def checking():
    """Clients have to authenticate as app."""
    return {"user": "app", "verifier": verifier("SCRAM-SHA-256", "app", "pencil")}


# ---- strangers: clients that have not authenticated, though they must ----

def test_strangers_hold_no_link(start, trio):
    """However many do not finish a message, links are there for others."""
    p = proxy(start, [trio[0]], auth=checking(), pool={"max": 2, "wait": "500ms"})
    unfinished = msg({"ping": 1, "$db": "admin"}, 5, sequences={"x": [{"a": "y" * 30_000}]})
    strangers = [greeted(p.port) for _ in range(4)]
    for w in strangers:
        w.sock.sendall(unfinished[:200])
    with greeted(p.port) as w, pymongo.MongoClient(port=p.port, **LOGIN) as c:
        assert w.command({"ping": 1}, "admin")["ok"] == 1
        assert c.test.numbers.find_one({"n": 1, "tag": "mine"})["tag"] == "mine"
        for s in strangers:
            s.sock.sendall(unfinished[200:])  # one that does finish is answered
            assert s.recv().response_to == 5
    for s in strangers:
        s.close()


def test_strangers_do_not_fill_the_session_table(start, trio):
    """What they say of sessions and transactions is not remembered: those of users stay."""
    p = proxy(start, trio.addresses, auth=checking(), max_sessions=20)
    with pymongo.MongoClient(port=p.port, **LOGIN) as c, greeted(p.port) as stranger:
        cursor = c.test.numbers.find({"n": 6, "tag": "mine"}, batch_size=2)
        assert next(cursor)["_id"] == 0
        for _ in range(200):
            txn = {"lsid": lsid(), "txnNumber": Int64(1), "startTransaction": True, "autocommit": False}
            assert stranger.command({"ping": 1} | txn, "admin")["ok"] == 1
        assert [d["_id"] for d in cursor] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("who", ["a stranger", "a client"])
def test_an_op_query_that_reads_a_collection_is_refused(start, trio, who):
    """Though its document looks like a command: old servers would have read the collection."""
    p = proxy(start, trio.addresses, **({"auth": checking()} if who == "a stranger" else {}))
    with greeted(p.port) as w, greeted(p.port) as other:
        w.sock.sendall(query({"buildInfo": {"$exists": False}}, ns="secret.payroll", request_id=77))
        assert w.closed()
        assert other.command({"ping": 1}, "admin")["ok"] == 1
    assert not [x for x in trio.log("buildInfo") if x["op"] == QUERY]


# ---- load balanced clients ----

@pytest.fixture
def balanced(start, trio):
    """Two load balanced clients of different backends, and these: (a, its backend, b, its backend)."""
    p = proxy(start, trio.addresses)
    found = {}

    def both():
        w = greeted(p.port, hello={"loadBalanced": True})
        if found.setdefault(w.command({"whoami": 1}, "admin")["port"], w) is not w:
            w.close()
        return len(found) == 2

    wait_for("clients of two backends", 10, both, every=0)
    (a, wa), (b, wb) = found.items()
    at = {m.port: m for m in trio}
    with wa, wb:
        yield wa, at[a], wb, at[b]


def test_a_load_balanced_client_ends_a_session_of_another_backend(balanced):
    """endSessions goes, once, to the backend that has the session, whoever says so."""
    a, there, b, here = balanced
    since, s, txn = time.time(), lsid(), {"txnNumber": Int64(1), "autocommit": False}
    assert a.command({"insert": "c", "documents": [{"_id": 1}], "lsid": s, "startTransaction": True} | txn)["ok"] == 1
    assert a.command({"commitTransaction": 1, "lsid": s} | txn, "admin")["ok"] == 1
    assert b.command({"endSessions": [s]}, "admin")["ok"] == 1
    assert len(there.log("endSessions", since)) == 1 and not here.log("endSessions", since)
    assert b.command({"whoami": 1}, "admin")["port"] == here.port


def test_a_load_balanced_client_kills_a_cursor_of_another_backend(balanced):
    """So does killCursors."""
    a, there, b, here = balanced
    since = time.time()
    n = a.command({"find": "numbers", "filter": {"n": 10, "tag": "k"}, "batchSize": 2})["cursor"]["id"]
    r = b.command({"killCursors": "numbers", "cursors": [Int64(n)]})
    assert r["ok"] == 1 and r["cursorsKilled"] == [n], r
    assert len(there.log("killCursors", since)) == 1 and not here.log("killCursors", since)
    assert b.command({"whoami": 1}, "admin")["port"] == here.port


# ---- requests nobody waits for ----

@pytest.mark.parametrize("writes", [1, 3])
def test_what_follows_an_unacknowledged_write_is_answered_without_a_backend(start, writes):
    """Both come at once while no backend is up: the write is lost in silence, the request after it gets its error at once."""
    with Trio(1) as own:
        p = proxy(start, own.addresses, health=FAST)
        with greeted(p.port) as w:
            assert w.command({"ping": 1})["ok"] == 1
            own[0].kill()
            p.wait_log(DOWN % own[0].port)
            alone = w.command({"find": "x"})
            assert alone["ok"] == 0
            insert = [msg({"insert": "c", "documents": [{"_id": i}], "$db": "test"}, 900 + i, flags=MORE) for i in range(writes)]
            w.sock.sendall(b"".join(insert) + msg({"find": "x", "$db": "test"}, 990))
            r = w.recv()
            assert r.response_to == 990 and (r.doc["ok"], r.doc["code"]) == (0, alone["code"]), r.doc
            assert w.command({"find": "x"})["code"] == alone["code"]


def test_no_request_id_of_an_unacknowledged_write_mixes_up_replies(start):
    """A backend answers those too; one is numbered as puerta's own ping after the write before it, and as what another client asks."""
    with Trio(1, stray=True) as own:
        p = proxy(start, own.addresses, pool={"max": 1, "wait": "10s"})
        with greeted(p.port) as a, greeted(p.port) as b:
            own.set(delay=0.1)
            a.sock.sendall(b"".join(msg({"insert": "c", "documents": [{"_id": n}], "$db": "test"}, n, flags=MORE) for n in (5, 5 ^ PING_BIT)))
            wait_for("the first write", 10, lambda: own.log("insert"))
            b.ids = itertools.count(5 ^ PING_BIT)
            for tag in ("one", "two"):
                r = b.command({"find": "numbers", "filter": {"n": 1, "tag": tag}})
                assert [d["tag"] for d in r["cursor"]["firstBatch"]] == [tag], r
        assert len(own.documents("test.c")) == 2


# ---- streams nobody reads ----

class Stream:
    """A backend whose exhaust getMore gives so many replies of 4 kB, one after the other, so that puerta reads whole ones. held: it had to wait for puerta."""

    def __init__(self, replies):
        self.replies, self.held, self.done = replies, threading.Event(), threading.Event()
        self.address = Fake(after_hello(self.answer)).address

    def answer(self, w, m):
        if "getMore" not in m.doc:
            d = {"cursor": {"id": Int64(1), "ns": "test.x", "firstBatch": []}} if "find" in m.doc else {}
            w.sock.sendall(msg(d | {"ok": 1.0}, 9, m.request_id))
            return False
        w.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        to = m.request_id
        for i in range(self.replies):
            last = i == self.replies - 1
            d = {"cursor": {"id": Int64(not last), "ns": "test.x", "nextBatch": [{"_id": i, "x": "y" * 4000}]}, "ok": 1.0}
            self.send(w, msg(d, 100 + i, to, 0 if last else MORE))
            to = 100 + i
            time.sleep(0.0002)
        self.done.set()
        return False

    def send(self, w, data):
        w.sock.settimeout(1)
        while data:
            try:
                data = data[w.sock.send(data):]
            except TimeoutError:
                self.held.set()
                w.sock.settimeout(20)


def test_a_stream_is_held_back_when_its_client_does_not_read(start):
    """Also one of small replies: what has come waits in its backend, not in puerta, and goes on when the client does."""
    f = Stream(4000)  # the kernel takes a few MB, the stream has 16
    p = proxy(start, [f], buffer="64KiB")
    with Slow(p.port) as w:
        n = w.command({"find": "x"})["cursor"]["id"]
        to = w.send({"getMore": Int64(n), "collection": "x"}, "test", flags=EXHAUST)
        wait_for("the end, or a stop", 30, lambda: f.held.is_set() or f.done.is_set())
        assert f.held.is_set()
        for i in range(f.replies):
            m = w.recv()
            assert m.response_to == to and m.doc["cursor"]["nextBatch"][0]["_id"] == i
            to = m.request_id
        assert not m.more and f.done.wait(10)
        assert w.command({"ping": 1})["ok"] == 1


# ---- a login that changes ----

def test_a_new_login_for_backends_is_used_after_a_reload(start):
    """Links of before, which lead to the former user, serve nobody any more."""
    with Trio(1, users={"before": "1", "after": "2"}) as own:
        port = free_port()

        def text(user, password):
            return rig.config(rig.mongo_listener(own.addresses, port, forward="request", health=CALM, backend_auth={"user": user, "password": password}),
                              workers=1)

        p = start.keep(rig.Puerta(text("before", "1"), port=port))
        with greeted(port) as w, greeted(port) as busy:
            def user():
                return w.command({"whoami": 1}, "admin").get("user")

            assert user() == "before"
            own.set(delay=1)
            busy.send({"whoami": 1})
            wait_for("it to be on its way", 5, lambda: len(own.log("whoami")) == 2)
            own.set(delay=0)
            at = p.reload(text("after", "2"))
            p.wait_log(rig.RELOADED, since=at)
            wait_for("the new user", 10, lambda: user() == "after")
            assert busy.recv().doc["user"] == "before"  # what was under way has ended where it began
            for _ in range(5):
                assert user() == busy.command({"whoami": 1}, "admin")["user"] == "after"
