"""forward = "connection" at its edges: ends that come while bytes are still queued, backends that are not alike, commands too large to be seen, drains.

Whether bytes are queued in puerta depends on how much the kernel takes first; hence several sizes, around the 3 MB that it takes here.
"""
import itertools
import signal
import socket
import threading
import time

import puerta as rig
import pytest
from bson.int64 import Int64
from cluster import free_port, wait_for
from mongo_wire import EXHAUST, MORE, SNAPPY, ZLIB, Wire, awaiting, greeted, lsid, msg
from mongos import Trio
from test_mongo_pair import CALM, Fake, after_hello, answer_hello, backend, insert, loses


class Slow(Wire):
    """A client that has said hello, of which the kernel takes little ahead of its reading."""

    def __init__(self, port, **hello):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(20)
        self.sock.connect(("127.0.0.1", port))
        self.ids = itertools.count(1)
        assert self.hello(**hello)["ok"] == 1


class Large:
    """A backend that answers a find with so many bytes. sent: they have left it; ends: it closes then."""

    def __init__(self, size, ends=False):
        self.sent, self.size, self.ends = threading.Event(), size, ends
        self.address = Fake(after_hello(self.answer)).address

    def answer(self, w, m):
        find = "find" in m.doc
        w.sock.sendall(msg({"ok": 1.0, "x": b"x" * (self.size if find else 1)}, 9, m.request_id))
        if find:
            self.sent.set()
        return find and self.ends

    def settle(self, p):
        """Until all that reaches puerta before the client reads on has been dealt with: a new client, after it, has been served."""
        self.sent.wait(1)  # or puerta takes no more, which is as good
        greeted(p.port).close()


# ---- ends ----

@pytest.mark.parametrize("size", [3_000_000, 4_000_000, 8_000_000])
@pytest.mark.parametrize("early", [True, False], ids=["before the answer", "in the answer"])
def test_a_client_that_has_ended_its_side_gets_its_whole_answer(start, size, early):
    """Also when puerta has all of the answer, or its backend has ended too, before the client reads it."""
    f = Large(size)
    p = start.keep(rig.Puerta.for_backends([f], health=CALM))
    with Slow(p.port) as w:
        n = w.send({"find": "x"})
        if not early:
            w.sock.recv(1, socket.MSG_PEEK)
            f.settle(p)
        w.sock.shutdown(socket.SHUT_WR)
        f.settle(p)
        r = w.recv()
        assert r.response_to == n and len(r.doc["x"]) == size
        assert w.closed()


@pytest.mark.parametrize("size", [3_000_000, 3_100_000, 4_000_000])
def test_a_backend_that_ends_after_its_answer_has_given_it(start, size):
    """A load balanced client shares its backend's end, but not before it has the whole answer."""
    f = Large(size, ends=True)
    p = start.keep(rig.Puerta.for_backends([f], health=CALM))
    with Slow(p.port, loadBalanced=True) as w:
        w.send({"find": "x"})
        f.settle(p)
        assert len(w.recv().doc["x"]) == size
        assert w.closed()


@pytest.mark.parametrize("writes", [30, 31, 32])
def test_unacknowledged_writes_before_the_end_all_arrive(start, writes):
    """Of 100 kB each, at a backend that reads them only after the client has ended its side and has the answer it waits for."""
    ended, got, done = threading.Event(), [], threading.Event()

    def serve(w):
        answer_hello(w, w.recv())
        m = w.recv()
        ended.wait(10)
        w.sock.sendall(msg({"ok": 1.0}, 9, m.request_id))
        try:
            while True:
                got.append(w.recv().doc["n"])
        finally:
            done.set()

    f = Fake(serve)
    f.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    p = start.keep(rig.Puerta.for_backends([f], health=CALM))
    with greeted(p.port) as w:
        n = w.send({"ping": 1})
        for i in range(writes):
            w.send({"insert": "x", "n": i, "x": b"z" * 100_000}, flags=MORE)
        w.sock.shutdown(socket.SHUT_WR)
        greeted(p.port).close()
        ended.set()
        assert w.recv().response_to == n
        assert done.wait(10) and got == list(range(writes))


# ---- another backend ----

BOTH = ["zlib", "snappy"]
NEXT = {  # settings of the next backend, what the client can compress with, does it go on there
    "the same": ({}, BOTH, True),
    "more": ({"compressors": BOTH + ["zstd"]}, BOTH, True),
    "fewer compressors": ({"compressors": ["zlib"]}, BOTH, False),
    "fewer, none that matters": ({"compressors": ["zlib"]}, ["zlib"], True),
    "an older server": ({"hello_fields": {"maxWireVersion": 17}}, BOTH, False),
}


@pytest.mark.parametrize("what", NEXT)
def test_a_client_goes_on_only_where_all_it_was_promised_holds(start, what):
    """It goes by its first hello's reply: a backend that offers less closes it, and has had nothing of it but its hello."""
    settings, compression, goes_on = NEXT[what]
    with Trio(n=1, compressors=BOTH) as trio:
        first, second = trio[0], trio.add(**settings)
        p = start.keep(rig.Puerta.for_backends([first, second], health=CALM))
        how = {"compressor": SNAPPY if "snappy" in compression else ZLIB}

        def placed():
            """A client of the first backend."""
            w = greeted(p.port, f"app {next(apps)}", hello={"compression": compression})
            if w.command({"whoami": 1}, "admin", **how)["port"] == first.port:
                return w
            w.close()

        apps = itertools.count()
        with wait_for("a client of the first one", 20, placed, every=0) as w:
            since = time.time()
            first.kill()
            p.wait_log("connection to mongos .* lost")
            w.send({"ping": 1}, **how)
            if goes_on:
                assert w.recv().doc["ok"] == 1
                assert w.command({"whoami": 1}, "admin", **how)["port"] == second.port
            else:
                assert w.closed()
                assert not second.log("ping", since=since)


# ---- commands that are not seen ----

WRITE = {"lsid": lsid(), "txnNumber": Int64(1)}
HIDDEN = {
    "in the command": ({"findAndModify": "c", "query": {}, "update": {"$set": {"x": b"y" * 200_000}}} | WRITE, {}, False),
    "before the command": ({"insert": "c"} | WRITE, {"sequences": {"documents": [{"x": b"y" * 200_000}]}, "first": True}, False),
    "after the command": ({"insert": "c"} | WRITE, {"sequences": {"documents": [{"x": b"y" * 200_000}]}}, True),
}


@pytest.mark.parametrize("bulk", HIDDEN)
def test_a_lost_large_write_is_never_answered_without_its_labels(start, bulk):
    """A driver retries for its label or for a lost connection: a command that puerta has not seen whole gets the latter."""
    command, how, seen = HIDDEN[bulk]
    with Trio() as trio:
        p = start.keep(rig.Puerta.for_backends(trio.addresses, health=CALM))
        with greeted(p.port) as w:
            n = loses(backend(trio, w), w, command, **how)
            if seen:
                r = w.recv()
                assert (r.response_to, r.doc["code"], r.doc["errorLabels"]) == (n, 6, ["RetryableWriteError"])
                assert w.command(insert())["ok"] == 1
            else:
                with pytest.raises(ConnectionError):
                    w.recv()


# ---- drains ----

@pytest.mark.parametrize("forward", ["connection", "request"])
def test_a_long_request_is_no_idleness(start, forward):
    """A process that drains closes who has been idle for 2 s: counted from the answer, not from the request."""
    with Trio() as trio:
        p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, health=CALM))
        with greeted(p.port) as w:
            m = backend(trio, w)
            m.set(delay=2.5)
            w.send({"ping": 1})
            wait_for("the ping", 10, lambda: m.log("ping"))
            p.kill(signal.SIGTERM)
            assert w.recv().doc["ok"] == 1
            m.set(delay=0)
            for _ in range(3):
                time.sleep(0.3)  # the drain looks ten times a second
                assert w.command({"ping": 1}, "admin")["ok"] == 1
        assert p.wait_exit() == 0


def test_monitors_that_hear_often_leave_a_draining_backend(start):
    """The monitors of a client, however often theirs is answered, move with what is new of it."""
    with Trio() as trio:
        port = free_port()

        def text(drained=None):
            return rig.config(rig.mongo_listener([(m, {"drain": m is drained}) for m in trio], port, health=CALM), workers=1)

        p = start.keep(rig.Puerta(text(), port=port))
        with greeted(port, "app") as w, greeted(port, "app") as quick, greeted(port, "app") as calm:
            m = backend(trio, w)
            w.close()
            version = quick.hello(client=False)["topologyVersion"]
            for monitor, ms in ((quick, 500), (calm, 600_000)):
                monitor.send({"hello": 1, **awaiting(version, ms)}, flags=EXHAUST)
            p.reload(text(m))
            for monitor in (quick, calm):
                wait_for("a monitor at another backend", 10, lambda: monitor.recv().doc["topologyVersion"]["processId"] != version["processId"], every=0)
            with greeted(port, "app") as new:
                assert backend(trio, new) is not m
