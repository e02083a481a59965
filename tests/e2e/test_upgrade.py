"""One process takes over from another: nobody notices, and when it goes wrong the old one serves on."""
import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import puerta as rig
import pymongo
import pytest
from admin import Admin
from bson.int64 import Int64
from cluster import free_port, wait_for
from mongo_wire import crc32c, greeted, lsid
from mongos import Trio
from test_mongo_matrix import PyLoad

CLIENTS = 60
numbers = itertools.count()


@pytest.fixture(scope="module")
def trio():
    with Trio(cursor_ids="count") as t:
        yield t


def resp(*args):
    args = [a if isinstance(a, bytes) else str(a).encode() for a in args]
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)


class Counting:
    """A plain client that increments a key of its own, three in a pipeline, and reads every answer."""

    def __init__(self, port, i):
        self.key, self.n, self.error = f"upgrade:{os.getpid()}:{next(numbers)}", 0, None
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")

    def call(self, *args):
        self.sock.sendall(resp(*args))
        line = self.file.readline()
        return self.file.read(int(line[1:]) + 2)[:-2] if line[:1] == b"$" else line[:-2]

    def some(self):
        request = resp("INCR", self.key) * 3
        cut = self.n % len(request)
        self.sock.sendall(request[:cut])  # half a request may be there when the process changes
        self.sock.sendall(request[cut:])
        for _ in range(3):
            self.n += 1
            got = self.file.readline()
            assert got == b":%d\r\n" % self.n, (self.n, got)

    def run(self, stop):
        try:
            while not stop.is_set():
                self.some()
                time.sleep(0.002)
        except Exception as e:
            self.error = repr(e)


class Busy:
    """Counting clients at work."""

    def __init__(self, port, n=CLIENTS):
        self.clients = [Counting(port, i) for i in range(n)]
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=c.run, args=(self.stop,)) for c in self.clients]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        for t in self.threads:
            t.join(40)
        if not exc[0]:
            self.check()
        for c in self.clients:
            c.sock.close()

    def check(self):
        assert [c.error for c in self.clients if c.error] == []

    def move_on(self, times=3):
        """Every one has had answers since."""
        before = [c.n for c in self.clients]
        wait_for("every client to go on", 30, lambda: self.check() or all(c.n >= b + 3 * times for c, b in zip(self.clients, before)))


def ended(p):
    """Ended in good order; its directory is still there."""
    p.process.send_signal(signal.SIGINT)
    assert p.process.wait(30) == 0


# ---- Redis clients ----

@pytest.mark.threads
def test_busy_clients_go_through_upgrades(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    with Busy(p.port) as busy:
        first = p.pid
        for _ in range(4):
            busy.move_on()
            p.upgrade()
        busy.move_on()
        assert p.pid != first
    assert "upgrade 4" in p.log()


def test_nobody_is_refused_meanwhile(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    stop, failed, made = threading.Event(), [], []

    def knock():
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", p.port), timeout=20) as s:
                    s.sendall(b"PING\r\n")
                    if s.recv(7) != b"+PONG\r\n":
                        failed.append("no answer")
                made.append(1)
            except OSError as e:
                failed.append(repr(e))

    threads = [threading.Thread(target=knock) for _ in range(4)]
    for t in threads:
        t.start()
    for _ in range(4):
        p.upgrade()
    stop.set()
    for t in threads:
        t.join(30)
    assert not failed, failed[:5]
    assert len(made) > 50


def test_what_belongs_to_a_connection_goes_with_it(cluster, start):
    """Protocol, name, id, login, half a request, a request that was never answered for want of its end."""
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses, auth={"user": "app", "password": rig.Lua('"pencil"')}))
    c = Counting(p.port, 0)
    assert c.call("AUTH", "app", "pencil") == b"+OK"
    c.sock.sendall(resp("HELLO", 3) + resp("ECHO", "that was the map"))
    assert c.file.readline().startswith(b"%")
    while c.file.readline() != b"that was the map\r\n":
        pass
    assert c.call("CLIENT", "SETNAME", "worker-7") == b"+OK"
    number = c.call("CLIENT", "ID")
    half = resp("SET", c.key, "x" * 20_000)
    c.sock.sendall(half[:9_000])
    time.sleep(0.1)
    p.upgrade()
    c.sock.sendall(half[9_000:])
    assert c.file.readline() == b"+OK\r\n"
    assert c.call("CLIENT", "ID") == number
    assert c.call("CLIENT", "GETNAME") == b"worker-7"
    assert c.call("GET", c.key + ":none") == b"_"  # null of RESP3
    fresh = Counting(p.port, 1)
    assert fresh.call("GET", "x").startswith(b"-NOAUTH")
    assert fresh.call("AUTH", "app", "pencil") == b"+OK"
    assert int(fresh.call("CLIENT", "ID")[1:]) > int(number[1:])


def test_a_request_larger_than_a_message_of_the_handover_is_finished_first(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    c, big = Counting(p.port, 0), os.urandom(30_000_000)
    request = resp("SET", c.key, big)
    c.sock.sendall(request[:2_000_000])
    time.sleep(0.1)
    old, new = p.process, p.successor()
    p.process = new
    old.send_signal(signal.SIGQUIT)
    p.wait_log(f"process {new.pid} has taken over")
    assert old.poll() is None  # it waits for this client
    c.sock.sendall(request[2_000_000:])
    assert c.file.readline() == b"+OK\r\n"
    assert old.wait(30) == 0
    c.sock.sendall(resp("GET", c.key))
    assert c.file.readline() == b"$30000000\r\n"
    assert c.file.read(30_000_002)[:-2] == big


def test_counters_go_on(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    c = Counting(p.port, 0)
    for _ in range(10):
        c.some()
    p.upgrade()
    for _ in range(10):
        c.some()
    c.sock.close()
    at = p.mark()
    ended(p)
    assert "stop: 60 requests of 1 clients" in p.log(at)


# ---- MongoDB clients ----

MODES = {"connection, hybrid": {"affinity": "hybrid"}, "connection, socket_addr": {"affinity": "socket_addr"},
         "request, session_id": {"forward": "request", "affinity": "session_id"}, "request, hybrid": {"forward": "request", "affinity": "hybrid"}}


@pytest.mark.parametrize("mode", ("connection, hybrid", "request, session_id"))
def test_drivers_go_through_upgrades(start, trio, mode):
    """Cursors and transactions that are open when the process changes go on."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, top={"workers": 2}, **MODES[mode]))
    loads, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            loads.append(PyLoad(f"mongodb://127.0.0.1:{p.port}/?directConnection=true&retryReads=false&retryWrites=false"))

    t = threading.Thread(target=work)
    t.start()
    try:
        for _ in range(3):
            time.sleep(0.7)
            p.upgrade()
            assert t.is_alive()
    finally:
        stop.set()
        t.join(90)
    assert loads
    assert [x.errors[:2] for x in loads if x.errors] == []


@pytest.mark.parametrize("mode", MODES)
def test_a_mongodb_connection_keeps_what_it_has(start, trio, mode):
    """The same socket: its backend, an open cursor, an open transaction, a request half sent."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, **MODES[mode]))
    with greeted(p.port, "keeper") as w:
        s = lsid()
        c = w.command({"find": "numbers", "filter": {"n": 12, "tag": "mine"}, "batchSize": 2, "lsid": s})["cursor"]
        txn = {"lsid": lsid(), "txnNumber": Int64(1), "autocommit": False}
        assert w.command({"insert": "pairs", "documents": [{"_id": str(time.time_ns()), "half": "a"}], "startTransaction": True} | txn)["ok"] == 1
        home = w.command({"whoami": 1, "lsid": s}, "admin")["port"]
        for _ in range(2):
            p.upgrade()
            assert w.command({"whoami": 1, "lsid": s}, "admin")["port"] == home
        assert w.command({"insert": "pairs", "documents": [{"_id": str(time.time_ns()), "half": "b"}]} | txn)["ok"] == 1
        assert w.command({"commitTransaction": 1} | txn, "admin")["ok"] == 1
        r = w.command({"getMore": Int64(c["id"]), "collection": "numbers", "batchSize": 20, "lsid": s})
        assert [d["_id"] for d in r["cursor"]["nextBatch"]] == list(range(2, 12))


@pytest.mark.parametrize("forward", ("connection", "request"))
def test_affinity_is_the_same_afterwards(start, trio, forward):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, affinity="hybrid"))

    def homes():
        out = []
        for i in range(40):
            with greeted(p.port, f"app {i}") as w:
                out.append(w.command({"whoami": 1}, "admin")["port"])
        return out

    before = homes()
    p.upgrade()
    assert homes() == before
    assert len(set(before)) == 3


def test_a_monitor_does_not_notice(start, trio):
    """Streaming monitors of drivers: no server is ever marked unknown."""
    seen = []

    class Listener(pymongo.monitoring.ServerListener):
        def opened(self, event):
            pass

        def closed(self, event):
            pass

        def description_changed(self, event):
            seen.append(event.new_description.server_type_name)

    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request", affinity="hybrid"))
    with pymongo.MongoClient("127.0.0.1", p.port, event_listeners=[Listener()], heartbeatFrequencyMS=500) as c:
        c.admin.command("ping")
        for _ in range(3):
            p.upgrade()
            c.admin.command("ping")
            time.sleep(0.7)
    assert "Unknown" not in seen, seen


# ---- when it goes wrong ----

def serving(p, busy):
    busy.move_on()
    with socket.create_connection(("127.0.0.1", p.port), timeout=20) as s:
        s.sendall(b"PING\r\n")
        assert s.recv(7) == b"+PONG\r\n"


def test_a_broken_configuration_leaves_the_old_process_alone(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    with Busy(p.port, 10) as busy:
        good = p.file.read_text()
        p.file.write_text(good.replace("workers", "wrokers"))
        at = p.mark()
        new = p.spawn(rig.BINARY, "--upgrade")
        assert new.wait(30) == 1
        assert 'did you mean "workers"' in p.log(at)
        p.file.write_text(good)
        serving(p, busy)
        p.upgrade()
        serving(p, busy)


def test_the_new_process_dies_while_it_waits(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    with Busy(p.port, 10) as busy:
        new = p.successor()
        at = p.mark()
        new.kill()
        new.wait()
        p.wait_log("cannot take over: it has ended; this process serves on", since=at)
        serving(p, busy)
        p.upgrade()
        serving(p, busy)


@pytest.mark.parametrize("kind", ("redis", "connection", "request"))
def test_the_new_process_dies_in_the_middle(cluster, start, trio, kind):
    """Stopped, so that it takes nothing, then killed: every client is where it was, and nothing of it is lost."""
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses) if kind == "redis" else rig.Puerta.for_backends(trio.addresses, forward=kind))
    clients = [Counting(p.port, i) if kind == "redis" else greeted(p.port, f"app {i}") for i in range(300)]

    def turn():
        for c in clients:
            if kind == "redis":
                c.some()
            else:
                assert c.command({"find": "numbers", "filter": {"n": 1, "tag": "x"}})["ok"] == 1

    turn()
    for _ in range(2):
        new = p.successor()
        os.kill(new.pid, signal.SIGSTOP)
        at = p.mark()
        p.process.send_signal(signal.SIGQUIT)
        p.wait_log("handing over to process", since=at)
        time.sleep(0.3)
        new.kill()
        new.wait()
        p.wait_log("cannot take over: .*; this process serves on", since=at)
        turn()
    p.upgrade()
    turn()
    for c in clients:
        (c.sock if kind == "redis" else c).close()


def test_a_new_process_that_hangs_is_ended(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    with Busy(p.port, 10) as busy:
        new = p.successor()
        os.kill(new.pid, signal.SIGSTOP)
        at = p.mark()
        p.process.send_signal(signal.SIGQUIT)
        p.wait_log("it does not take what it is given; this process serves on", since=at, seconds=40)
        assert new.wait(10) == -signal.SIGKILL
        serving(p, busy)


def test_the_old_process_dies_before_it_has_handed_over(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    old, p.process = p.process, p.successor()
    old.kill()
    old.wait()
    p.wait_log("has died: this one serves now")
    c = Counting(p.port, 0)
    c.some()
    p.upgrade()
    c.some()


# ---- a peer that speaks nonsense ----

def frame(kind, body, version=1):
    return b"PTHO" + struct.pack("<HHII", version, kind, len(body), crc32c(body)) + body


HELLO = frame(1, struct.pack("<HHII", 1, 1, 4711, 5) + b"9.9.9")
BAD = {
    "noise": b"GET / HTTP/1.1\r\n\r\n",
    "a damaged hello": HELLO[:-1] + b"x",
    "no format in common": frame(1, struct.pack("<HHII", 7, 9, 4711, 5) + b"9.9.9"),
    "a ready before hello": frame(8, bytes(32)),
    "an unknown kind": frame(99, b""),
    "a blob beyond the end": frame(1, struct.pack("<HHII", 1, 1, 4711, 5000) + b"9.9.9"),
}


def knock(p):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(20)
    s.connect(str(p.dir / "upgrade.sock"))
    return s


@pytest.mark.parametrize("what", BAD)
def test_nonsense_is_sent_away(cluster, start, what):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    with Busy(p.port, 4) as busy:
        with knock(p) as s:
            s.send(BAD[what])
            while s.recv(100_000):
                pass
        p.wait_log("sent away")
        serving(p, busy)
        p.upgrade()
        serving(p, busy)


def test_only_one_at_a_time(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    new = p.successor()
    other = p.spawn(rig.BINARY, "--upgrade")
    assert other.wait(30) == 1
    p.wait_log("it is being upgraded already")
    old, p.process = p.process, new
    old.send_signal(signal.SIGQUIT)
    assert old.wait(30) == 0


def test_nobody_to_take_over_from(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    ended(p)
    at = p.mark()
    new = p.spawn(rig.BINARY, "--upgrade")
    assert new.wait(30) == 1
    assert "no puerta waits there to be upgraded" in p.log(at)


class OldProcess:
    """A scripted old process, which does what a real one does only when it runs out of memory. Its pid is ours, and so it lives on."""

    def __init__(self, p):
        self.p, self.port = p, p.port
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.bind(str(p.dir / "upgrade.sock"))
        self.door.listen()
        self.listening, self.elsewhere = socket.create_server(("127.0.0.1", p.port)), socket.create_server(("127.0.0.1", 0))
        self.listening.setblocking(False)
        self.process = p.spawn(rig.BINARY, "--upgrade")
        self.peer, _ = self.door.accept()
        self.peer.settimeout(30)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for s in (self.peer, self.door, self.listening, self.elsewhere):
            s.close()

    def send(self, kind, body, *socks):
        socket.send_fds(self.peer, [frame(kind, body)], [s.fileno() for s in socks])

    def offer(self):
        """Up to READY."""
        self.peer.recv(100_000)
        self.send(1, struct.pack("<HHII", 1, 1, os.getpid(), 5) + b"9.9.9")
        name = f"redis-{self.port}".encode()
        self.send(3, struct.pack("<BBBHI", 0, 0, 0, self.port, len(name)) + name + struct.pack("<I", 9) + b"127.0.0.1" + bytes(24), self.listening)
        self.send(7, b"")
        assert self.kind() == 8

    def kind(self):
        """Of the next message."""
        return struct.unpack_from("<H", self.peer.recv(100_000), 6)[0]

    def client(self):
        """Gives away a client; the client's end."""
        ours = socket.create_connection(self.elsewhere.getsockname(), timeout=30)
        theirs, (_, port) = self.elsewhere.accept()
        self.send(9, struct.pack("<IQQIHBBIII", 0, next(numbers) + 1, 1, 0x7F000001, port, 2, 1, 0, 0, 0), theirs)
        return ours, theirs

    def go(self, n):
        self.send(6, struct.pack("<QI", 100, 1) + bytes(8 * 32))
        self.send(12, struct.pack("<I", n))
        assert self.kind() == 13


def answers(sock):
    sock.sendall(b"PING\r\n")
    return sock.recv(100) == b"+PONG\r\n"


def test_an_old_process_that_breaks_off_keeps_who_was_not_let_go(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    ended(p)
    with OldProcess(p) as old:
        old.offer()
        p.process = old.process
        first, theirs = old.client()
        old.go(1)
        assert answers(first)
        second, theirs = old.client()
        at = p.mark()
        old.peer.close()
        p.wait_log("it has broken off the handover", since=at)
        second.sendall(b"PING\r\n")
        theirs.settimeout(30)
        assert theirs.recv(100) == b"PING\r\n"  # the new process reads nothing of it
        assert answers(first)


def test_an_old_process_that_breaks_off_at_once_serves_on_alone(cluster, start):
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    ended(p)
    with OldProcess(p) as old:
        old.offer()
        client, theirs = old.client()
        at = p.mark()
        old.peer.close()
        assert old.process.wait(30) == 1
        assert "it has broken off the handover" in p.log(at)
        client.sendall(b"PING\r\n")
        theirs.settimeout(30)
        assert theirs.recv(100) == b"PING\r\n"


@pytest.mark.parametrize("bad", ("damaged", "out of place", "nothing"))
def test_a_new_process_gives_up_on_a_corrupt_stream(cluster, start, bad):
    """A scripted old process: a real one sends no nonsense."""
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses))
    ended(p)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(str(p.dir / "upgrade.sock"))
        door.listen()
        at = p.mark()
        new = p.spawn(rig.BINARY, "--upgrade")
        s, _ = door.accept()
        with s:
            assert s.recv(100_000)[:4] == b"PTHO"
            s.send(HELLO)
            if bad != "nothing":
                s.send(frame(12, b"\1\0\0\0") if bad == "out of place" else HELLO[:-2])
                assert new.wait(30) == 1
        assert new.wait(30) == 1
    assert {"damaged": "a damaged message", "out of place": "a message out of place", "nothing": "sent this one away"}[bad] in p.log(at)


# ---- by itself ----

def heir(p, since):
    """The process that has taken over, by the log."""
    m = wait_for("somebody to take over", 30, lambda: re.search(r"process (\d+) has taken over", p.log(since)))
    return int(m[1])


@pytest.fixture
def line_admin(cluster, start, tmp_path):
    """A puerta whose successors are its own children (they are ended with it), and its admin server."""
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses, top={"admin": {"bind": f"unix:{tmp_path}/a.sock"}}))
    yield p, Admin(tmp_path / "a.sock")
    for pid in re.findall(r"process (\d+) has been started", p.log()):
        with contextlib.suppress(OSError):
            if str(p.file).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def line(line_admin):
    return line_admin[0]


def test_a_signal_does_all_of_it(line):
    """USR2: the process starts its successor itself, with its own arguments, and hands over; twice."""
    p = line
    with Busy(p.port, 10) as busy:
        first, at = p.process, p.mark()
        first.send_signal(signal.SIGUSR2)
        second = heir(p, at)
        assert first.wait(30) == 0
        busy.move_on()
        at = p.mark()
        os.kill(second, signal.SIGUSR2)
        third = heir(p, at)
        p.wait_log(f"process {second} has ended", since=at)
        busy.move_on()
        assert Path(f"/proc/{third}/cmdline").read_bytes().split(b"\0").count(b"--upgrade") == 1
    os.kill(third, signal.SIGINT)
    wait_for("it to end", 30, lambda: "requests of" in p.log(at) and not os.path.exists(f"/proc/{third}/exe"))


def test_a_signal_with_a_broken_configuration(line):
    p = line
    with Busy(p.port, 4) as busy:
        good = p.file.read_text()
        p.file.write_text(good + "}")
        at = p.mark()
        p.process.send_signal(signal.SIGUSR2)
        p.wait_log(r"puerta.lua:\d+", since=at)
        p.wait_log(r"process \d+ has ended instead of taking over; this process serves on", since=at)
        serving(p, busy)
        p.file.write_text(good)
        other = p.successor()  # nobody has told the old process to hand over to this one
        time.sleep(0.3)
        assert "handing over" not in p.log(at)
        other.kill()
        p.wait_log("cannot take over: it has ended", since=at)
        at = p.mark()
        p.process.send_signal(signal.SIGUSR2)
        heir(p, at)
        assert p.process.wait(30) == 0
        busy.move_on()


@pytest.mark.parametrize("where", ("unix", "tcp"))
def test_the_admin_server_goes_on_with_the_new_process(cluster, start, tmp_path, where):
    port = free_port()
    bind = f"unix:{tmp_path}/a.sock" if where == "unix" else f"127.0.0.1:{port}"
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses, top={"admin": {"bind": bind}}))
    admin = Admin(tmp_path / "a.sock" if where == "unix" else port)
    c = Counting(p.port, 0)
    for _ in range(5):
        c.some()
    assert admin.status()["pid"] == p.pid
    p.upgrade()

    def status():
        with contextlib.suppress(OSError):
            return admin.status()

    s = wait_for("the new process's admin server", 20, status)
    assert s["pid"] == p.pid
    assert (s["clients"], s["totals"]["accepted"]) == (1, 1)


def test_an_upgrade_over_http(line_admin):
    p, admin = line_admin
    with Busy(p.port, 10) as busy:
        assert admin.post("/upgrade?binary=puerta").status == 400
        r = admin.post("/upgrade?binary=/nowhere/puerta")
        assert r.status == 409 and "No such file" in r.text
        at = p.mark()
        assert admin.post(f"/upgrade?binary={rig.BINARY}").status == 202
        second = heir(p, at)
        assert p.process.wait(30) == 0

        def serves():
            with contextlib.suppress(OSError):
                return admin.status()["pid"] == second

        wait_for("its admin server", 20, serves)
        busy.move_on()


def test_a_binary_can_only_be_named_over_our_own_socket(cluster, start):
    port = free_port()
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses, top={"admin": {"bind": f"127.0.0.1:{port}"}}))
    assert Admin(port).post(f"/upgrade?binary={rig.BINARY}").status == 403
    assert "has been started" not in p.log()


def test_one_command_upgrades(line_admin, tmp_path):
    p, _ = line_admin

    def ctl(*args, code=0):
        r = subprocess.run([rig.BINARY, "ctl", "upgrade", *map(str, args), "--admin", f"unix:{tmp_path}/a.sock"], capture_output=True, text=True, timeout=90)
        assert r.returncode == code, r
        return r.stdout + r.stderr

    with Busy(p.port, 10) as busy:
        assert "No such file" in ctl(tmp_path / "none", code=1)
        copy = tmp_path / "puerta of tomorrow"
        shutil.copy(rig.BINARY, copy)
        assert re.search(r"process \d+ serves", ctl(copy))
        assert p.process.wait(30) == 0
        busy.move_on()
        assert re.search(r"process \d+ serves", ctl())
        busy.move_on()
