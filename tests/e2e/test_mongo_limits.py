"""Hostile input closes one connection, with a line in the log, and nothing else; large and compressed messages pass."""
import os
import re
import socket
import struct
import threading
import time

import bson
import puerta as rig
import pymongo
import pytest
from bson.int64 import Int64
from cluster import wait_for
from conftest import Starter
from mongo_wire import (
    COMPRESSED, COMPRESSORS, DELETE, GET_MORE, HEADER, INSERT, KILL_CURSORS, MSG, NOOP, REPLY, SNAPPY, UPDATE, ZLIB, Wire, client_document,
    frame, greeted, lsid, msg,
)
from mongos import DOWN, Trio


@pytest.fixture(scope="module")
def trio():
    with Trio(compressors=["snappy", "zlib", "zstd"]) as t:
        yield t


@pytest.fixture(scope="module", params=["connection", "request"])
def proxy(request, trio):
    s = Starter()
    extra = {"compression": ["zstd", "snappy", "zlib"]} if request.param == "request" else {}
    p = s.keep(rig.Puerta.for_backends(trio.addresses, forward=request.param, **extra))
    p.forward = request.param
    yield p
    s.end()


def head(length, opcode=MSG):
    return HEADER.pack(length, 1, 0, opcode)


def deep(n):
    """A document n levels deep, made without recursion."""
    d = b"\5\0\0\0\0"
    for _ in range(n):
        body = b"\3a\0" + d + b"\0"
        d = struct.pack("<i", len(body) + 4) + body
    return d


def holding(n):
    """A ping that holds a document n levels deep."""
    elements = PING[4:-1] + b"\3d\0" + deep(n)
    return struct.pack("<i", len(elements) + 5) + elements + b"\0"


def body(doc, flags=0):
    """An OP_MSG whose one section is these bytes."""
    return frame(MSG, struct.pack("<I", flags) + b"\0" + doc, 1)


def with_length(doc, length):
    return struct.pack("<i", length) + doc[4:]


PING = bson.encode({"ping": 1, "$db": "admin"})
HOSTILE = {
    "length 0": head(0),
    "length 15": head(15),
    "length negative": head(-1),
    "length minimum": head(-(1 << 31)),
    "length above the limit": head(48_000_001),
    "length maximum": head((1 << 31) - 1),
    "no section": frame(MSG, struct.pack("<I", 0), 1),
    "header alone": head(16),
    "unknown opcode": frame(2010, PING, 1),
    "opcode 0": frame(0, PING, 1),
    "a reply": frame(REPLY, struct.pack("<iqii", 0, 0, 0, 1) + PING, 1),
    "unknown required flag": body(PING, 1 << 5),
    "unknown section kind": frame(MSG, struct.pack("<I", 0) + b"\2" + PING, 1),
    "two bodies": frame(MSG, struct.pack("<I", 0) + b"\0" + PING + b"\0" + PING, 1),
    "no body": frame(MSG, struct.pack("<I", 0) + b"\1" + struct.pack("<i", 4 + 2 + len(PING)) + b"a\0" + PING, 1),
    "section beyond the end": frame(MSG, struct.pack("<I", 0) + b"\0" + PING + b"\1" + struct.pack("<i", 1000) + b"a\0" + PING, 1),
    "section of size 0": frame(MSG, struct.pack("<I", 0) + b"\0" + PING + b"\1" + struct.pack("<i", 0) + b"a\0", 1),
    "section without a name": frame(MSG, struct.pack("<I", 0) + b"\0" + PING + b"\1" + struct.pack("<i", 8) + b"abcd", 1),
    "truncated section": frame(MSG, struct.pack("<I", 0) + b"\0" + PING[:-6], 1),
    "bytes behind the body": frame(MSG, struct.pack("<I", 0) + b"\0" + PING + b"\7\7", 1),
    "document of length 4": body(with_length(PING, 4)),
    "document of negative length": body(with_length(PING, -5)),
    "document without its end": body(PING[:-1] + b"\1"),
    "document too long": body(with_length(PING, len(PING) + 100)),
    "element beyond the document": body(bson.encode({"ping": "x" * 20, "$db": "admin"}).replace(struct.pack("<i", 21), struct.pack("<i", 2000))),
    "key without an end": body(struct.pack("<i", 12) + b"\x10" + b"pingping"[:7]),
    "unknown element type": body(PING.replace(b"\x10ping", b"\x55ping")),
    "empty document": body(b"\5\0\0\0\0"),
    "depth 300": body(holding(300)),
    "depth 20000": body(holding(20000)),
    "compressed nothing": frame(COMPRESSED, struct.pack("<iiB", MSG, 100, ZLIB), 1),
    "compressed without a header": frame(COMPRESSED, b"\0\0", 1),
    "compressed negative": frame(COMPRESSED, struct.pack("<iiB", MSG, -1, ZLIB) + b"x" * 20, 1),
    "compressed bomb": frame(COMPRESSED, struct.pack("<iiB", MSG, (1 << 31) - 1, ZLIB) + b"x" * 20, 1),
    "compressed garbage": frame(COMPRESSED, struct.pack("<iiB", MSG, 50, SNAPPY) + b"\xff" * 40, 1),
    "compressed by an unknown one": frame(COMPRESSED, struct.pack("<iiB", MSG, 40, 77) + b"x" * 40, 1),
    "compressed twice": frame(COMPRESSED, msg({"ping": 1, "$db": "admin"}, compressor=ZLIB)[16:], 1, compressor=ZLIB),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n" * 4,
}
FIRST = HOSTILE | {"tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40}  # its length is one that a later message may have
LEGACY = {
    "OP_INSERT": frame(INSERT, struct.pack("<i", 0) + b"test.x\0" + bson.encode({"_id": 1}), 1),
    "OP_UPDATE": frame(UPDATE, struct.pack("<i", 0) + b"test.x\0" + struct.pack("<i", 0) + PING + PING, 1),
    "OP_DELETE": frame(DELETE, struct.pack("<i", 0) + b"test.x\0" + struct.pack("<i", 0) + PING, 1),
    "OP_GET_MORE": frame(GET_MORE, struct.pack("<i", 0) + b"test.x\0" + struct.pack("<iq", 1, 1), 1),
    "OP_KILL_CURSORS": frame(KILL_CURSORS, struct.pack("<iiq", 0, 1, 1), 1),
}
# What a relayed connection may pass on, for the backend to judge: it says ok: 0, or closes.
RELAYED = {"compressed nothing", "compressed garbage", "compressed by an unknown one", "compressed twice", "compressed negative", "compressed bomb",
           "empty document", "depth 20000"}


def dies(p, w, data):
    at = p.mark()
    try:
        w.sock.sendall(data)
    except ConnectionError:
        pass
    assert w.closed(), "the connection lives on"
    return at


def fails(w, data):
    """Is it answered with ok: 0, or the connection closed?"""
    try:
        w.sock.sendall(data)
        return w.recv().doc["ok"] == 0
    except ConnectionError:
        return True


@pytest.mark.parametrize("what", FIRST)
def test_hostile_first_messages(proxy, what):
    def line():
        with Wire(proxy.port) as w:
            port = w.local_port
            at = dies(proxy, w, FIRST[what])
        time.sleep(0.1)
        return re.search(rf"127\.0\.0\.1:{port}\b", proxy.log(at))

    with greeted(proxy.port) as other:
        wait_for("a line with its address", 10, line, every=0.3)  # one line a second at most
        assert other.command({"ping": 1})["ok"] == 1


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_later_messages(proxy, what):
    with greeted(proxy.port) as other:
        with greeted(proxy.port) as w:
            assert w.command({"ping": 1})["ok"] == 1
            if proxy.forward == "connection" and what in RELAYED:
                assert fails(w, HOSTILE[what])
            else:
                dies(proxy, w, HOSTILE[what])
        assert other.command({"ping": 1})["ok"] == 1


@pytest.mark.parametrize("what", ["length 15", "two bodies", "depth 300", "OP_INSERT"])
def test_hostile_later_messages_are_logged(proxy, what):
    """With the client's address; one line a second at most."""
    def line():
        with greeted(proxy.port) as w:
            port = w.local_port
            at = dies(proxy, w, (HOSTILE | LEGACY)[what])
        time.sleep(0.2)
        return re.search(rf"127\.0\.0\.1:{port}\b", proxy.log(at))

    wait_for("a line in the log", 10, line, every=0.5)


def test_hostile_clients_take_no_backend_out(proxy):
    """What they make a backend do to their connections says nothing about the backend."""
    at = proxy.mark()
    for what in sorted(RELAYED) * 4:
        with greeted(proxy.port) as w:
            assert fails(w, HOSTILE[what])
        time.sleep(0.05)
    for _ in range(20):
        with greeted(proxy.port) as w:
            assert w.command({"ping": 1})["ok"] == 1
    assert not re.search(DOWN % r"\d+", proxy.log(at))


@pytest.mark.parametrize("what", LEGACY)
@pytest.mark.parametrize("when", ["first", "later"])
def test_legacy_opcodes_are_refused_by_name(proxy, what, when):
    def named():
        with Wire(proxy.port) if when == "first" else greeted(proxy.port) as w:
            at = dies(proxy, w, LEGACY[what])
        time.sleep(0.1)
        return what in proxy.log(at)

    with greeted(proxy.port) as other:
        wait_for("its name in the log", 10, named, every=0.5)  # one line a second at most
        assert other.command({"ping": 1})["ok"] == 1


def test_depth_180_passes(proxy):
    with greeted(proxy.port) as w:
        doc = bson.decode(deep(150))
        assert w.command({"insert": f"deep_{proxy.forward}", "documents": [{"_id": 1, "d": doc}]})["n"] == 1


ODD = [
    {"getMore": "x", "collection": "c"}, {"getMore": 1.5, "collection": "c"}, {"getMore": 5, "collection": "c"}, {"getMore": None}, {"getMore": Int64(5)},
    {"killCursors": "c", "cursors": "x"}, {"killCursors": "c", "cursors": ["a", 1, None]}, {"killCursors": "c", "cursors": []}, {"killCursors": "c"},
    {"killCursors": "c", "cursors": [Int64(i) for i in range(20000)]}, {"find": "x", "lsid": 5}, {"find": "x", "lsid": {}}, {"find": "x", "lsid": {"id": "short"}},
    {"find": "x", "lsid": {"id": bson.Binary(b"xx", 4)}}, {"find": "x", "lsid": {"id": bson.Binary(b"x" * 16, 0)}},
    {"insert": "x", "documents": [], "txnNumber": "x"},
    {"find": "x", "txnNumber": Int64(-5), "lsid": lsid()}, {"find": "x", "autocommit": "no", "startTransaction": 7, "txnNumber": Int64(1), "lsid": lsid()},
    {"endSessions": 5}, {"endSessions": []}, {"endSessions": [5, {}, {"id": 7}]}, {"endSessions": [lsid() for _ in range(3000)]}, {"commitTransaction": 1},
    {"abortTransaction": 1, "lsid": lsid(), "txnNumber": Int64(1), "autocommit": False}, {"hello": 1, "client": 5}, {"hello": 1, "client": {}},
    {"hello": 1, "client": {"application": 5, "driver": [], "os": "x"}}, {"hello": 1, "topologyVersion": 5, "maxAwaitTimeMS": "x"},
    {"hello": 1, "topologyVersion": {"processId": 1, "counter": "x"}, "maxAwaitTimeMS": Int64(1)}, {"hello": 1, "compression": "zlib"},
    {"hello": 1, "topologyVersion": {"processId": bson.ObjectId(), "counter": Int64(0)}, "maxAwaitTimeMS": Int64(-1)},
    {"hello": 1, "compression": [1, None, "zlib", "x" * 300]}, {"hello": 1, "saslSupportedMechs": 5}, {"hello": 1, "saslSupportedMechs": "x" * 5000},
    {"hello": 1, "speculativeAuthenticate": 5}, {"hello": 1, "loadBalanced": "yes"}, {"saslStart": 1}, {"saslContinue": 1},
    {"saslStart": 1, "payload": 5, "mechanism": 5},
    {"": 1}, {"x" * 5000: 1}, {"find": "x", "\u00e4" * 100: 1}, {"ping": 1, "lsid": {"id": lsid()["id"], "uid": bson.Binary(b"x" * 32)}},
    {"logout": 1}, {"authenticate": 1},
]


@pytest.mark.parametrize("i", range(len(ODD)))
def test_odd_commands(proxy, i):
    """Well formed, and nonsense: answered or closed; others do not notice."""
    with greeted(proxy.port) as other:
        for when in ("first", "later"):
            with Wire(proxy.port) if when == "first" else greeted(proxy.port) as w:
                try:
                    assert "ok" in w.command(ODD[i], "admin")
                except ConnectionError:
                    pass
        assert other.command({"ping": 1})["ok"] == 1


def test_a_client_that_has_ended_its_side(proxy):
    """Relayed, it gets its answer as a server would give it; where requests are placed it counts as gone, as no driver does it otherwise."""
    with greeted(proxy.port) as w:
        n = w.send({"find": "numbers", "filter": {"n": 3, "tag": 1}}, "test")
        w.sock.shutdown(socket.SHUT_WR)
        if proxy.forward == "connection":
            m = w.recv()
            assert m.response_to == n and len(m.doc["cursor"]["firstBatch"]) == 3
        assert w.closed()


def test_many_requests_unread(proxy):
    """20,000 requests of a client that does not read: they wait in its socket, not in memory."""
    with greeted(proxy.port, timeout=60) as w:
        base = proxy.rss()
        s = lsid()
        data = b"".join(msg({"find": "numbers", "filter": {"n": 20, "tag": i}, "lsid": s, "$db": "test"}, i) for i in range(1, 20001))
        sender = threading.Thread(target=w.sock.sendall, args=(data,))
        sender.start()
        time.sleep(1)
        assert proxy.rss() - base < 30_000_000
        for i in range(1, 20001):
            m = w.recv()
            assert m.response_to == i and m.doc["cursor"]["firstBatch"][0]["tag"] == i
        sender.join()


def test_a_large_first_message_is_refused(proxy):
    """Before the handshake has ended nobody needs much."""
    with Wire(proxy.port) as w:
        dies(proxy, w, head(1 << 20) + b"\0" * 200_000)


def test_large_client_documents_are_refused(proxy):
    with Wire(proxy.port) as w:
        client = client_document("x" * 100) | {"env": {"name": "y" * 600}}
        w.send({"hello": 1, "client": client})
        try:
            assert w.recv().doc["ok"] == 0
        except ConnectionError:
            pass


def test_who_says_nothing_is_closed(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, timeouts={"handshake": "300ms"}))
    with Wire(p.port) as silent, Wire(p.port, first=head(200)) as half, greeted(p.port) as good:
        assert silent.closed() and half.closed()
        assert good.command({"ping": 1})["ok"] == 1


def test_a_message_in_pieces(proxy):
    with Wire(proxy.port) as w:
        for data in (msg({"hello": 1, "$db": "admin", "client": client_document()}, 77), msg({"ping": 1, "$db": "admin"}, 78)):
            for i in range(len(data)):
                w.sock.sendall(data[i : i + 1])
            m = w.recv()
            assert m.doc["ok"] == 1 and m.response_to in (77, 78)


def test_many_messages_at_once(proxy):
    """A client may send before it has read; the replies come in order."""
    with greeted(proxy.port) as w:
        s = lsid()
        w.sock.sendall(b"".join(msg({"find": "numbers", "filter": {"n": 1, "tag": i}, "lsid": s, "$db": "test"}, i) for i in range(100, 400)))
        for i in range(100, 400):
            m = w.recv()
            assert m.response_to == i and m.doc["cursor"]["firstBatch"][0]["tag"] == i


def test_requests_larger_than_the_limit_for_documents_pass_in_sequences(proxy, trio):
    docs = [{"_id": i, "b": os.urandom(1000) * 9_000} for i in range(5)]
    name = f"large_{proxy.forward}"
    with greeted(proxy.port, timeout=60) as w:
        assert w.command({"insert": name}, sequences={"documents": docs})["n"] == 5
        for d in docs:
            assert w.command({"find": name, "filter": {"_id": d["_id"]}})["cursor"]["firstBatch"] == [d]
        w.command({"drop": name})


def test_memory_is_bounded_when_a_client_does_not_read(proxy, trio):
    name = f"slow_{proxy.forward}"
    with greeted(proxy.port, timeout=60) as w:
        w.command({"insert": name, "documents": [{"_id": 1, "b": b"x" * 8_000_000}]})
        base = proxy.rss()
        readers = [greeted(proxy.port, timeout=60) for _ in range(6)]
        for r in readers:
            for _ in range(3):
                r.send({"find": name}, "test")
        time.sleep(1)
        assert proxy.rss() - base < 60_000_000  # of 144 MB of replies
        for r in readers:
            for _ in range(3):
                assert len(r.recv().doc["cursor"]["firstBatch"][0]["b"]) == 8_000_000
            r.close()
        w.command({"drop": name})


# ---- compression ----

@pytest.mark.parametrize("name", ["snappy", "zlib", "zstd"])
def test_compression(proxy, trio, name):
    """Agreed in hello; a compressed request has a compressed reply, also where puerta answers itself or rewrites ids."""
    with Wire(proxy.port) as w:
        assert name in w.hello(compression=[name])["compression"]
        s, n = lsid(), COMPRESSORS[name]
        m = w.ask({"find": "numbers", "filter": {"n": 60, "tag": "z"}, "batchSize": 20, "lsid": s}, "test", compressor=n)
        assert m.doc["cursor"]["id"]
        more = w.ask({"getMore": Int64(m.doc["cursor"]["id"]), "collection": "numbers", "batchSize": 20, "lsid": s}, "test", compressor=n)
        assert [d["_id"] for d in more.doc["cursor"]["nextBatch"]] == list(range(20, 40))
        killed = w.ask({"killCursors": "numbers", "cursors": [Int64(m.doc["cursor"]["id"])], "lsid": s}, "test", compressor=n)
        assert killed.doc["cursorsKilled"] == [m.doc["cursor"]["id"]]
        for r in (m, more, killed):
            assert r.compressor in (None, n)
        assert w.ask({"ping": 1}, "test").compressor is None


def test_noop_compression(proxy):
    with Wire(proxy.port) as w:
        w.hello(compression=["zlib"])
        assert w.ask({"ping": 1}, compressor=NOOP).doc["ok"] == 1


def test_nothing_in_common(proxy):
    with Wire(proxy.port) as w:
        assert not w.hello(compression=["lzma"]).get("compression")


def test_pymongo_compressed(proxy, trio):
    with pymongo.MongoClient(port=proxy.port, compressors="zlib") as c:
        name = f"comp_{proxy.forward}"
        since = time.time()
        assert len(c.test[name].insert_many([{"i": i, "text": "lorem ipsum " * 50} for i in range(2000)]).inserted_ids) == 2000
        assert [d["i"] for d in c.test[name].find({}, batch_size=150)] == list(range(2000))
        if proxy.forward == "connection":
            assert {x["compressor"] for x in trio.log("getMore", since)} == {ZLIB}


def test_unoffered_compression_is_not_agreed(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request"))
    with Wire(p.port) as w:
        assert not w.hello(compression=["zlib", "snappy"]).get("compression")
