"""The memory ceiling, no files, no memory: who holds much is slowed and then closed, who holds little does not notice."""
import resource
import socket
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import puerta as rig
import pytest
from cluster import Cluster, free_port, wait_for
from mongo_wire import greeted
from mongos import Trio
from resp import encode

MB = 1 << 20
TOLD = b"-ERR max number of clients reached\r\n"


@pytest.fixture(scope="module")
def patient():
    """A cluster that takes no node for dead that has much to do."""
    with Cluster(replicas=0, node_timeout=30000) as c:
        yield c


@pytest.fixture(scope="module")
def trio():
    with Trio() as t:
        yield t


class Good:
    """Clients that were there before, busy in the background; what goes wrong for one is kept."""

    def __init__(self, ask, conns):
        self.wrong, self.done, self.end = [], 0, threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(ask, c, i)) for i, c in enumerate(conns)]
        for t in self.threads:
            t.start()

    def run(self, ask, c, i):
        n = 0
        try:
            while not self.end.is_set():
                n += 1
                ask(c, i, n)
                self.done += 1
                time.sleep(0.005)
        except Exception as e:
            self.wrong.append(repr(e))

    def stop(self):
        self.end.set()
        for t in self.threads:
            t.join(30)
        assert not self.wrong, self.wrong
        assert self.done > len(self.threads)


@contextmanager
def good_clients(p, n=8):
    def ask(c, i, k):
        assert c.command("SET", f"good{i}", k) == "OK"
        assert c.pipeline([("GET", f"good{i}"), ("MGET", f"good{i}", f"absent{i}")]) == [b"%d" % k, [b"%d" % k, None]]

    conns = [p.connect() for _ in range(n)]
    g = Good(ask, conns)
    yield g
    g.stop()
    for c in conns:
        c.close()


class Hostile:
    """Threads that make connections, send on each, and never read; one that is closed is replaced while it lasts."""

    def __init__(self, port, n, payload, seconds=5):
        self.port, self.payload, self.until = port, payload, time.monotonic() + seconds
        self.threads = [threading.Thread(target=self.run, args=(n // 4,)) for _ in range(4)]
        for t in self.threads:
            t.start()

    def connect(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        s.settimeout(20)
        s.connect(("127.0.0.1", self.port))
        s.setblocking(False)
        return [s, self.payload(), 0]

    def push(self, one):
        """false: it has been closed."""
        s, data, at = one
        try:
            one[2] += s.send(data[at : at + 65536]) if at < len(data) else 0
            if one[2] >= len(data):
                return s.recv(64, socket.MSG_PEEK) not in (b"", TOLD)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def run(self, n):
        ones = []
        while time.monotonic() < self.until:
            while len(ones) < n:
                try:
                    ones.append(self.connect())
                except OSError:
                    break
            for one in list(ones):
                if not self.push(one):
                    one[0].close()
                    ones.remove(one)
            time.sleep(0.002)
        for one in ones:
            one[0].close()

    def join(self):
        for t in self.threads:
            t.join(60)


def peak_rss(p, hostile):
    peak = 0
    while any(t.is_alive() for t in hostile.threads):
        peak = max(peak, p.rss())
        time.sleep(0.02)
    return peak


def unfinished():
    """An MSET over several slots, 900 KB of it, that is never whole: it has to be held."""
    return b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$900000\r\n" + b"h" * 900_000 + b"\r\n$1\r\nb\r\n$100\r\n"


def deaf_pipeline():
    """Large replies asked for and never read: more than the kernel takes."""
    return encode("GET", "large") * 20


def deep_pipeline():
    """Many requests of which no reply is read."""
    return encode("GET", "medium") * 2000


@pytest.mark.threads
@pytest.mark.parametrize("payload,n", [(unfinished, 200), (deaf_pipeline, 30), (deep_pipeline, 30)])
def test_hostile_clients_stay_under_the_ceiling(start, patient, payload, n):
    """Together they would hold 180 MB and more; the ceiling is 64 MiB. The others are served, none of them is closed."""
    p = start(patient, top={"memory": {"max": "64MiB"}}, request_timeout="60s")
    with p.connect() as c:
        assert c.command("MSET", "large", b"l" * 400_000, "medium", b"m" * 16_000) == "OK"
    with good_clients(p) as good:
        time.sleep(0.3)
        base = p.rss()
        hostile = Hostile(p.port, n, payload)
        peak = peak_rss(p, hostile)
        hostile.join()
        if "tsan" not in rig.BINARY:  # which keeps several bytes for each
            assert peak - base < 64 * MB + 40 * MB, f"{(peak - base) / MB:.0f} MiB"  # AddressSanitizer's quarantine and malloc's own are on top
        assert good.done > 100
    p.wait_log(r"memory: buffers hold \d+ of 64 MiB: new clients are refused, those that hold much are not read; raise memory\.max")
    p.wait_log(r"memory\.max is near: closed \d+ clients that held most")
    wait_for("new clients are let in again", 20, lambda: answers(p))


def answers(p):
    try:
        with p.connect(timeout=5) as c:
            return c.command("PING") == "PONG"
    except OSError:
        return False


def test_new_clients_are_refused_while_memory_is_scarce(start, patient):
    admin = free_port()
    p = start(patient, top={"memory": {"max": "32MiB"}, "admin": {"bind": f"127.0.0.1:{admin}"}})
    with good_clients(p, 2):
        hostile = Hostile(p.port, 100, unfinished, seconds=6)
        seen = b""
        while any(t.is_alive() for t in hostile.threads) and seen != TOLD:
            with socket.create_connection(("127.0.0.1", p.port), timeout=20) as s:
                s.sendall(b"PING\r\n")
                try:
                    seen = s.recv(100)
                except ConnectionResetError:
                    pass
        hostile.join()
        assert seen == TOLD
    p.wait_log(r"refused: memory is scarce; raise memory\.max")
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=20) as r:
        figures = dict(line.rsplit(" ", 1) for line in r.read().decode().splitlines() if line[0] != "#")
    assert int(figures["puerta_buffer_limit_bytes"]) == 32 * MB and int(figures["puerta_buffer_bytes"]) < 32 * MB
    assert int(figures["puerta_buffer_shed_total"]) > 0
    assert int(figures[f'puerta_refused_total{{listener="redis-{p.port}",limit="memory"}}']) > 0


def test_a_reload_sets_and_lifts_the_ceiling(start, cluster):
    """Without one, 40 MB of unfinished requests are held; with one they go."""
    p = start(cluster)
    text = p.file.read_text()
    held = [socket.create_connection(("127.0.0.1", p.port)) for _ in range(45)]
    for s in held:
        s.sendall(unfinished())
    with p.connect() as c:
        assert c.command("PING") == "PONG"
        p.wait_log(rig.RELOADED, p.reload(text.replace("workers =", 'memory = { max = "16MiB" }, workers =')))
        p.wait_log(r"memory\.max is near: closed")
        p.wait_log(rig.RELOADED, p.reload(text))
        assert c.command("PING") == "PONG"
    wait_for("new clients are let in again", 20, lambda: answers(p))
    for s in held:
        s.close()


def test_a_large_request_fits_under_the_ceiling_or_is_refused(start, patient):
    """20 MB held whole pass below 64 MiB, 200 MB do not; large values that stream pass in any case."""
    p = start(patient, top={"memory": {"max": "64MiB"}})
    with p.connect() as c:
        assert c.command("MSET", "one", b"1" * (10 * MB), "two", b"2" * (10 * MB)) == "OK"
        assert c.command("SET", "streamed", b"s" * (150 * MB)) == "OK"
        assert c.command("STRLEN", "streamed") == 150 * MB
        c.command("DEL", "streamed")
    with p.connect() as c:
        try:
            c.send(b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$100000000\r\n" + b"h" * 100_000_000 + b"\r\n$1\r\nb\r\n$100000000\r\n" + b"i" * 100_000_000)
            c.closed()
        except OSError:
            pass
    p.wait_log(r"closed: (out of memory, or memory\.max leaves no room for its request|memory is scarce, and it held)")
    assert answers(p)


@pytest.mark.parametrize("forward", ["connection", "request"])
def test_mongodb_under_the_ceiling(start, trio, forward):
    """Forty clients with a large reply that they do not read."""
    pool = {"pool": {"max": 40}} if forward == "request" else {}
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, buffer="2MiB", top={"memory": {"max": "24MiB"}}, **pool))
    name = f"mem_{forward}"
    with greeted(p.port) as w:
        for i in range(12):
            assert w.command({"insert": name, "documents": [{"_id": i, "x": "y" * 1_000_000}]}, "test")["n"] == 1
    conns = [greeted(p.port) for _ in range(4)]

    def ask(w, i, n):
        assert w.command({"ping": 1}, "admin")["ok"] == 1

    good = Good(ask, conns)
    base, bad = p.rss(), []
    for _ in range(40):
        try:
            w = greeted(p.port, timeout=20)
            bad.append(w)
            w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            w.send({"find": name}, "test")
        except OSError:
            pass
    p.wait_log(r"memory: buffers hold \d+ of 24 MiB")
    assert p.rss() - base < 24 * MB + 40 * MB
    time.sleep(2)
    good.stop()
    for w in bad + conns:
        w.close()


def test_no_files_left(start, cluster):
    """At the limit of open files clients are told to go; those that are in, and the connections to the nodes, have what they need."""
    p = start(cluster)
    resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (160, 160))  # 20 are no clients'
    with good_clients(p, 4) as good:
        socks = [socket.create_connection(("127.0.0.1", p.port), timeout=20) for _ in range(200)]
        p.wait_log(r"refused: all but 20 of 160 open files are in use; raise LimitNOFILE \(ulimit -n\)")
        assert 135 <= p.fds() <= 145
        told = 0
        for s in socks:
            s.settimeout(0.2)
            try:
                told += s.recv(100) == TOLD
            except (TimeoutError, ConnectionResetError):
                pass
        assert told >= 50
        done = good.done
        wait_for("those that are in go on", 20, lambda: good.done > done + 100)
        for s in socks:
            s.close()
        wait_for("there is room again", 20, lambda: answers(p))


def test_no_files_at_all(start, cluster):
    """Not even the spare ones: new clients wait, nobody spins, nobody who is in is harmed."""
    p = start(cluster)
    with good_clients(p, 4) as good:
        time.sleep(0.3)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (p.fds(), hard))
        with socket.create_connection(("127.0.0.1", p.port), timeout=20) as waits:
            waits.sendall(b"PING\r\n")
            p.wait_log(r"accept: .*Too many open files: new clients wait")
            done = good.done
            wait_for("those that are in go on", 20, lambda: good.done > done + 100)
            resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (hard, hard))
            assert waits.recv(100) == b"+PONG\r\n"


@pytest.mark.parametrize("payload,n", [(unfinished, 200), (deaf_pipeline, 40)])
def test_no_memory(start, patient, payload, n):
    """The address space ends (as ulimit -v does it), without a ceiling set. On the plain build: a sanitizer needs all of it."""
    binary = str(rig.ROOT / "build" / "puerta")
    p = start(patient, binary=binary, request_timeout="60s")
    with p.connect() as c:
        assert c.command("SET", "large", b"l" * 400_000) == "OK"
    with good_clients(p, 4) as good:
        size = int(next(x for x in Path(f"/proc/{p.pid}/status").read_text().splitlines() if x.startswith("VmSize")).split()[1]) * 1024
        resource.prlimit(p.pid, resource.RLIMIT_AS, (size + 24 * MB, size + 24 * MB))
        hostile = Hostile(p.port, n, payload)
        hostile.join()
        p.wait_log(r"memory: out of memory; buffers hold \d+ MiB: set memory\.max below what there is")
        p.wait_log(r"out of memory: closed \d+ clients that held most")
        done = good.done
        wait_for("those that are in go on", 20, lambda: good.done > done + 100)
    wait_for("new clients are let in again", 20, lambda: answers(p))
