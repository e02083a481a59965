"""forward = "connection", seen from the wire: frames in any pieces, what is told to whom when a backend is lost, drains, back-pressure."""
import random
import signal
import socket
import threading
import time

import bson
import puerta as rig
import pytest
from bson.int64 import Int64
from cluster import free_port, wait_for
from mongo_wire import EXHAUST, MORE, MSG, NOOP, QUERY, REPLY, SNAPPY, ZLIB, Wire, awaiting, client_document, greeted, lsid, msg, reply
from mongos import Trio

CALM = {"interval": "60s", "timeout": "1s", "fall": 1, "rise": 1, "slow_start": "0s"}  # the checks notice nothing by themselves
FAST = {"interval": "100ms", "timeout": "500ms", "fall": 2, "rise": 1, "slow_start": "0s", "jitter": 0}
SASL = {"saslStart": 1, "mechanism": "SCRAM-SHA-1", "payload": b"n,,n=nobody,r=x"}


@pytest.fixture
def trio():
    with Trio() as t:
        yield t


def backend(trio, w):
    port = w.command({"whoami": 1}, "admin")["port"]
    return next(m for m in trio if m.port == port)


def insert(size=10, **more):
    return {"insert": "c", "documents": [{"_id": random.getrandbits(60), "x": random.randbytes(size)}]} | more


def loses(m, w, command, db="test", **how):
    """Sends a command that m takes to its grave; its requestID."""
    m.set(delay=30)
    n = w.send(command, db, **how)
    wait_for("the command at its backend", 10, lambda: m.log(next(iter(command))))
    m.kill()
    return n


# ---- backends made of bytes ----

class Fake:
    """A listening socket; each connection is handled by handler(wire) in a thread."""

    def __init__(self, handler):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.handler, self.accepted = handler, 0
        threading.Thread(target=self.loop, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def loop(self):
        while True:
            s, _ = self.socket.accept()
            self.accepted += 1
            threading.Thread(target=self.one, args=(s,), daemon=True).start()

    def one(self, s):
        w = Wire.__new__(Wire)
        w.sock = s
        try:
            self.handler(w)
        except OSError:
            pass
        finally:
            s.close()


def answer_hello(w, m):
    d = {"isWritablePrimary": True, "ismaster": True, "msg": "isdbgrid", "minWireVersion": 0, "maxWireVersion": 21,
         "topologyVersion": {"processId": bson.ObjectId(), "counter": Int64(0)}, "ok": 1.0}
    w.sock.sendall(reply(d, 5, m.request_id) if m.opcode == QUERY else msg(d, 5, m.request_id))


def after_hello(handler):
    """Answers hellos; handler(wire, message) has the rest, and ends the connection when it returns something true."""
    def serve(w):
        while True:
            m = w.recv()
            if next(iter(m.doc)) in ("hello", "isMaster"):
                answer_hello(w, m)
            elif handler(w, m):
                return
    return serve


# ---- frames ----

def test_requests_in_any_pieces(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM))
    parts = [msg({"hello": 1, "client": client_document("pieces"), "$db": "admin"}, 1)]
    parts += [msg({"ping": 1, "$db": "admin"}, i) for i in range(2, 60)]
    parts += [msg({"find": "numbers", "filter": {"n": 1000, "tag": "t" * 20000}, "$db": "test", "batchSize": 2000}, 60)]
    raw, rnd = b"".join(parts), random.Random(5)

    def feed(w):
        at = 0
        while at < len(raw):
            n = rnd.choice([1, 2, 3, 7, 15, 16, 17, 20, 50, 200])
            w.sock.sendall(raw[at : at + n])
            at += n
            if rnd.random() < 0.3:
                time.sleep(0.001)

    with Wire(p.port) as w:
        t = threading.Thread(target=feed, args=(w,))
        t.start()
        for i in range(1, 61):
            r = w.recv()
            assert r.response_to == i and r.doc["ok"] == 1
        t.join()
        assert len(r.doc["cursor"]["firstBatch"]) == 1000


def test_replies_in_single_bytes(start):
    doc = {"cursor": {"firstBatch": [{"a": i, "s": "x" * i} for i in range(30)], "id": Int64(12345678901), "ns": "a.b"}, "r": bson.Regex("a+", "i"), "ok": 1.0}

    def handler(w, m):
        for b in msg(doc, 9, m.request_id):
            w.sock.sendall(bytes([b]))
            time.sleep(0.0003)

    p = start.keep(rig.Puerta.for_backends([Fake(after_hello(handler))], health=CALM))
    with greeted(p.port) as w:
        for _ in range(3):
            assert w.command({"find": "x"}) == doc


def test_a_thousand_requests_at_once(start, trio):
    """A third of them wants no answer."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM))
    with greeted(p.port) as w:
        w.sock.sendall(b"".join(msg({"ping": 1, "$db": "admin"}, i, flags=0 if i % 3 else MORE) for i in range(1000)))
        assert [w.recv().response_to for i in range(1000) if i % 3] == [i for i in range(1000) if i % 3]


def test_neither_side_is_read_faster_than_the_other_reads(start):
    def handler(w, m):
        w.sock.sendall(msg({"ok": 1.0, "x": b"z" * 40_000_000} if "large" in m.doc else {"ok": 1.0, "n": len(m.doc["docs"])}, 9, m.request_id))

    p = start.keep(rig.Puerta.for_backends([Fake(after_hello(handler))], health=CALM))
    with greeted(p.port, timeout=60) as w:
        before = p.rss()
        w.send({"large": 1})
        time.sleep(1)
        assert p.rss() - before < 8 << 20
        assert len(w.recv().doc["x"]) == 40_000_000
        assert w.ask({"docs": 1}, sequences={"docs": [{"a": b"a" * 15_000_000}] * 3}).doc["n"] == 3
        assert p.rss() - before < 8 << 20


def test_what_was_sent_before_the_end_is_delivered(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM))
    with greeted(p.port) as w:
        for i in range(50):
            w.send({"insert": "last", "documents": [{"_id": i}]}, "test", flags=MORE)
        n = w.send({"ping": 1})
        w.sock.shutdown(socket.SHUT_WR)
        assert w.recv().response_to == n and w.closed()
    assert len(trio.documents("test.last")) == 50


# ---- a lost backend ----

TXN = {"txnNumber": Int64(1), "autocommit": False}
LOST = {
    "write": (insert(txnNumber=Int64(1)), 6, ["RetryableWriteError"], MSG),
    "read": ({"find": "numbers", "filter": {"n": 5}}, 6, None, MSG),
    "in a transaction": (insert(startTransaction=True, **TXN), 6, ["TransientTransactionError"], MSG),
    "commit": ({"commitTransaction": 1, **TXN}, 6, ["RetryableWriteError"], MSG),
    "getMore": ({"getMore": Int64(77), "collection": "numbers"}, 43, None, MSG),
    "OP_QUERY": ({"ping": 1}, 6, None, QUERY),
}


@pytest.mark.parametrize("what", LOST)
def test_who_waits_is_told(start, trio, what):
    """In its opcode, with the labels that make drivers retry; and the client goes on elsewhere."""
    command, code, labels, opcode = LOST[what]
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM))
    with greeted(p.port) as w:
        m = backend(trio, w)
        n = loses(m, w, command | ({} if opcode == QUERY else {"lsid": lsid()}), **({"opcode": QUERY} if opcode == QUERY else {}))
        r = w.recv()
        assert (r.response_to, r.doc["code"], r.doc.get("errorLabels")) == (n, code, labels)
        assert r.opcode == (REPLY if opcode == QUERY else MSG)
        assert w.command(insert())["ok"] == 1
        assert backend(trio, w) is not m


def test_who_has_authenticated_is_told_and_closed(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM))
    with greeted(p.port) as w, greeted(p.port) as idle:
        m = backend(trio, w)
        for c in (w, idle):
            c.command(SASL, "admin")
        n = loses(m, w, {"ping": 1})
        r = w.recv()
        assert r.response_to == n and r.doc["code"] == 6
        assert w.closed() and idle.closed()


def test_load_balanced_clients_share_their_backends_end(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM))
    with Wire(p.port) as w:
        trio.by_process(w.hello(loadBalanced=True)["serviceId"]).kill()
        assert w.closed()


def test_a_reply_that_breaks_off_closes(start):
    def handler(w, m):
        w.sock.sendall(msg({"ok": 1.0, "x": "y" * 1000}, 9, m.request_id)[:500])
        time.sleep(0.2)
        return True

    p = start.keep(rig.Puerta.for_backends([Fake(after_hello(handler))], health=CALM))
    with greeted(p.port) as w:
        w.send({"ping": 1})
        assert w.closed()


def test_what_is_no_reply_closes(start):
    def handler(w, m):
        w.sock.sendall(b"HTTP/1.1 400 Bad request\r\n\r\n" * 5)
        w.recv()

    p = start.keep(rig.Puerta.for_backends([Fake(after_hello(handler))], health=CALM))
    with greeted(p.port) as w:
        w.send({"ping": 1})
        assert w.closed()


LARGE = {  # where its bulk is, is the command seen
    "command": (msg({"x": b"q" * 3_000_000, "$db": "a"}, 77), False),
    "sequence": (msg({"insert": "c", "$db": "a"}, 77, sequences={"documents": [{"x": b"q" * 3_000_000}]}), True),
}


@pytest.mark.parametrize("bulk", LARGE)
def test_lost_in_the_middle_of_a_large_request(start, bulk):
    """Answered at once; the rest of it goes nowhere, and the next request is a new one. Closed, when its labels are not known."""
    raw, seen = LARGE[bulk]
    died = threading.Event()

    def once(w):
        answer_hello(w, w.recv())
        w.exactly(100_000)
        died.set()

    def handler(w):
        (after_hello(lambda w, m: w.sock.sendall(msg({"ok": 1.0}, 9, m.request_id))) if died.is_set() else once)(w)

    p = start.keep(rig.Puerta.for_backends([Fake(handler)], health=CALM))
    with Wire(p.port) as w:
        wait_for("an end in the middle", 10, lambda: w.hello()["ok"] == 1)  # the health check may have taken the one that dies
        w.sock.sendall(raw[:200_000])
        if not died.wait(2):
            w.sock.sendall(raw[200_000:])
            assert w.recv().response_to == 77
            pytest.fail("the connection that dies was not the client's")
        if not seen:
            with pytest.raises(ConnectionError):
                w.recv()
            return
        r = w.recv()
        assert r.response_to == 77 and r.doc["code"] == 6
        w.sock.sendall(raw[200_000:])
        assert w.command({"ping": 1})["ok"] == 1


@pytest.mark.parametrize("compressor", [NOOP, SNAPPY, ZLIB])
def test_compressed_requests_are_known_when_they_are_small(start, compressor):
    """Of a large one nobody knows whether it wants an answer: its client is closed. Many that want none are no hindrance."""
    with Trio(compressors=["zlib", "snappy", "noop"]) as trio:
        p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM))
        with greeted(p.port, hello={"compression": ["zlib", "snappy", "noop"]}) as w:
            for _ in range(40):
                w.send(insert(20_000), "test", compressor=compressor, flags=MORE)
            assert w.ask(insert(), "test", compressor=compressor).compressor == compressor
            n = loses(backend(trio, w), w, {"update": "c", "updates": [], "lsid": lsid(), "txnNumber": Int64(1)}, compressor=compressor)
            r = w.recv()
            assert r.response_to == n and r.doc["errorLabels"] == ["RetryableWriteError"]
            m = backend(trio, w)
            before = len(m.log("insert"))
            m.set(delay=30)
            w.send(insert(100_000), "test", compressor=compressor)
            wait_for("the insert", 10, lambda: len(m.log("insert")) > before)
            m.kill()
            assert w.closed()


def test_a_backend_that_dies_after_each_hello_feeds_no_monitor_for_ever(start):
    def handler(w):
        answer_hello(w, w.recv())
        w.recv()

    f = Fake(handler)
    p = start.keep(rig.Puerta.for_backends([f], health=CALM))
    with Wire(p.port) as w:
        w.send({"hello": 1, **awaiting(w.hello()["topologyVersion"], 10_000)}, flags=EXHAUST)
        assert w.closed()
    assert f.accepted < 12


def test_nobody_is_left(start, trio):
    """Each request is refused so that it can be retried, a new client is closed, and all goes on when a backend is back."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=FAST))
    with greeted(p.port) as w:
        for m in trio:
            m.kill()
        for _ in range(3):
            r = w.command(insert(txnNumber=Int64(1), lsid=lsid()))
            assert r["code"] == 6 and r["errorLabels"] == ["RetryableWriteError"]
        w.send(insert(), "test", flags=MORE)
        ping = [msg({"ping": 1, "$db": "admin"}, i) for i in (91, 92, 93)]
        w.sock.sendall(ping[0] + ping[1] + ping[2][:30])
        assert [w.recv().response_to, w.recv().response_to] == [91, 92]
        w.sock.sendall(ping[2][30:])
        assert w.recv().response_to == 93
        with Wire(p.port) as new:
            new.send({"hello": 1})
            assert new.closed()
        for m in trio:
            m.start()
        wait_for("a backend", 20, lambda: w.command({"ping": 1})["ok"] == 1)


def test_the_dead_and_the_hanging_are_passed_over(start, trio):
    """Before the checks know of them: a client that has said hello is led past both."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM))
    with greeted(p.port) as w:
        m = backend(trio, w)
        others = [o for o in trio if o is not m]
        others[0].set(hang=True)
        m.kill()
        wait_for("the last one", 20, lambda: w.command({"whoami": 1}, "admin").get("port") == others[1].port)


def test_a_frozen_backend_is_left(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=FAST))
    with greeted(p.port) as w, greeted(p.port) as monitor:
        m = backend(trio, w)
        waits = monitor.send({"hello": 1, **awaiting(monitor.hello(client=False)["topologyVersion"], 600_000)})
        m.kill(signal.SIGSTOP)
        n = w.send(insert(lsid=lsid(), txnNumber=Int64(1)), "test")
        r = w.recv()
        assert r.response_to == n and r.doc["errorLabels"] == ["RetryableWriteError"]
        r = monitor.recv()
        assert r.response_to == waits and r.doc["ok"] == 1
        assert backend(trio, w) is not m
        m.kill(signal.SIGCONT)


def test_request_timeout(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM, timeouts={"request": "1s"}))
    with greeted(p.port) as w:
        m = backend(trio, w)
        m.set(delay=30)
        n = w.send({"ping": 1})
        r = w.recv()
        assert r.response_to == n and r.doc["code"] == 6
        m.set(delay=0)
        assert w.command({"ping": 1})["ok"] == 1


# ---- drains ----

def test_a_drain_closes_no_monitor(start, trio):
    """What is idle closes; who holds a cursor stays until it is read; a monitor is led to another backend."""
    port = free_port()

    def text(drained=None):
        return rig.config(rig.mongo_listener([(m, {"drain": m is drained}) for m in trio], port, health=FAST), workers=1)

    p = start.keep(rig.Puerta(text(), port=port))
    with greeted(port) as idle, greeted(port) as reader, greeted(port) as polling, greeted(port) as streaming:
        m = backend(trio, idle)
        cursor = reader.command({"find": "numbers", "filter": {"n": 100}, "batchSize": 10})["cursor"]["id"]
        version = polling.hello(client=False)["topologyVersion"]
        to = streaming.send({"hello": 1, **awaiting(version, 600_000)}, flags=EXHAUST)
        at = p.reload(text(m))
        p.wait_log(rig.RELOADED, since=at)
        assert idle.closed()
        r = reader.command({"getMore": cursor, "collection": "numbers", "batchSize": 1000})
        assert r["ok"] == 1 and r["cursor"]["id"] == 0
        assert reader.closed()
        while version["processId"] == r.get("topologyVersion", version)["processId"]:
            s = streaming.recv()
            assert s.response_to == to and s.more
            to, r = s.request_id, s.doc
        assert polling.hello(client=False)["topologyVersion"]["processId"] != version["processId"]
