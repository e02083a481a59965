"""Who may come in, and how many: each limit is hit, says so, and harms nobody who is in."""
import socket
import time

import puerta as rig
import pymongo
import pytest
from cluster import free_port, wait_for
from mongo_wire import Wire, greeted, proxy_v2
from mongos import Trio
from puerta import config, listener, mongo_listener
from resp import Conn

TOLD = b"-ERR max number of clients reached\r\n"


@pytest.fixture(scope="module")
def trio():
    with Trio() as t:
        yield t


def refused(port, host="127.0.0.1", source=None):
    """What a client hears that is not let in: the bytes before the end."""
    with socket.create_connection((host, port), timeout=20, source_address=source and (source, 0)) as s:
        got = b""
        try:
            while part := s.recv(4096):
                got += part
        except ConnectionResetError:
            pass
        return got


def served(port, source=None):
    s = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=source and (source, 0))
    s.sendall(b"PING\r\n")
    assert s.recv(64) == b"+PONG\r\n"
    return s


def all_served(socks):
    for s in socks:
        s.sendall(b"PING\r\n")
    return all(s.recv(64) == b"+PONG\r\n" for s in socks)


@pytest.mark.threads
def test_max_connections_of_the_process_and_of_a_listener(start, cluster):
    """Two listeners: one has a limit of its own, and both share that of the process."""
    a, b = free_port(), free_port()
    p = start.text(config(listener(cluster, a, name="a", max_connections=3), listener(cluster, b, name="b"), workers=rig.WORKERS, max_connections=5))
    mine = [served(a) for _ in range(3)]
    assert refused(a) == TOLD
    p.wait_log(r"a: 127\.0\.0\.1:\d+ refused: 3 clients of this listener are connected; raise its max_connections = 3")
    mine += [served(b) for _ in range(2)]
    assert refused(b) == TOLD
    p.wait_log(r"b: .* refused: 5 clients are connected; raise max_connections = 5 in puerta.config")
    assert all_served(mine)
    mine.pop().close()  # one goes, one comes
    mine.append(wait_for("room for one", 20, lambda: try_serve(b)))
    assert refused(b) == TOLD and refused(a) == TOLD and all_served(mine)


def try_serve(port, source=None):
    try:
        return served(port, source)
    except (AssertionError, OSError):
        return None


def test_refusals_are_logged_once_a_second(start, cluster):
    p = start(cluster, max_connections=1)
    first = served(p.port)
    at = p.mark()
    began = time.monotonic()
    for _ in range(200):
        assert refused(p.port) == TOLD
    seconds = time.monotonic() - began
    assert 1 <= p.log(at).count("refused") <= seconds + 2
    time.sleep(1.1)
    refused(p.port)
    assert p.wait_log(r"and (\d+) more like it", at)
    assert all_served([first])


def test_a_reload_changes_the_limits(start, cluster):
    port = free_port()
    text = lambda **o: config(listener(cluster, port, **o), workers=rig.WORKERS)
    p = start.text(text())
    mine = [served(port) for _ in range(4)]
    p.wait_log(rig.RELOADED, p.reload(text(max_per_source=4)))
    assert refused(port) == TOLD  # who was there before counts
    p.wait_log(rig.RELOADED, p.reload(text(max_connections=2)))
    assert refused(port) == TOLD and all_served(mine)  # nobody is thrown out
    p.wait_log(rig.RELOADED, p.reload(text(deny=["127.0.0.1"])))
    assert refused(port) == b"" and all_served(mine)
    p.wait_log(rig.RELOADED, p.reload(text()))
    mine.append(served(port))
    assert all_served(mine)


@pytest.mark.threads
def test_max_per_source(start, cluster):
    p = start(cluster, max_per_source=2)
    mine = [served(p.port, f"127.0.0.{i}") for i in (1, 1, 2, 2, 3)]
    assert refused(p.port, source="127.0.0.1") == TOLD
    p.wait_log(r"127\.0\.0\.1:\d+ refused: 127\.0\.0\.1/32 has 2 connections already; raise max_per_source, or see source_prefix")
    assert refused(p.port, source="127.0.0.2") == TOLD
    mine.append(served(p.port, "127.0.0.3"))
    assert all_served(mine)
    mine.pop(0).close()
    mine.append(wait_for("room for one more", 20, lambda: try_serve(p.port, "127.0.0.1")))
    assert refused(p.port, source="127.0.0.1") == TOLD


def test_a_source_is_a_prefix(start, cluster):
    p = start(cluster, max_per_source=2, source_prefix={"v4": 24})
    mine = [served(p.port, s) for s in ("127.0.0.1", "127.0.0.2", "127.0.1.1", "127.0.1.2")]
    assert refused(p.port, source="127.0.0.3") == refused(p.port, source="127.0.1.1") == TOLD
    p.wait_log(r"127\.0\.0\.0/24 has 2 connections")
    assert all_served(mine)


def test_allow_and_deny(start, cluster):
    p = start(cluster, allow=["127.0.0.0/24", "::1"], deny=["127.0.0.66", "127.0.0.128/25"])
    mine = [served(p.port, s) for s in ("127.0.0.1", "127.0.0.127")]
    for source in ("127.0.1.1", "127.0.0.66", "127.0.0.200"):
        assert refused(p.port, source=source) == b""
    p.wait_log(r"127\.0\.1\.1:\d+ refused: its address is not let in \(allow, deny\)")
    assert all_served(mine)


def test_ipv6(start, cluster):
    port = free_port()
    p = start.text(config(listener(cluster, f"[::1]:{port}", max_per_source=1, allow=["::1"]), workers=1))
    with socket.create_connection(("::1", port), timeout=20) as s:
        s.sendall(b"PING\r\n")
        assert s.recv(64) == b"+PONG\r\n"
        assert refused(port, "::1") == TOLD
        p.wait_log(r"\[::1\]:\d+ refused: ::/64 has 1 connections already")


@pytest.mark.parametrize("where", ["listener", "process"])
def test_accept_rate(start, cluster, where):
    """Sixty come at once at twenty a second: all are served in the end, none is refused, and those that are in do not notice."""
    p = start(cluster, **({"accept_rate": 20} if where == "listener" else {"top": {"accept_rate": 20}}))
    with p.connect() as c:
        began = time.monotonic()
        waiting = [Conn(p.port) for _ in range(60)]  # the kernel has them
        for w in waiting:
            w.send(b"PING\r\n")
        assert all(c.command("PING") == "PONG" for _ in range(100))
        assert all(w.read() == "PONG" for w in waiting)
        assert time.monotonic() - began > 2  # it cannot be faster than the rate
    p.wait_log(r"more than accept_rate = 20 new clients a second" + (" in all" if where == "process" else "") + ": they wait")
    assert p.log().count("they wait") <= 10


@pytest.mark.parametrize("forward", ["connection", "request"])
def test_mongodb(start, trio, forward):
    """Over the limit a connection is closed, as mongos does; the client that is in goes on."""
    port = free_port()
    text = lambda **o: config(mongo_listener(trio.addresses, port, forward=forward, **o), workers=rig.WORKERS)
    p = start.text(text(max_connections=2))
    with greeted(port) as one, greeted(port) as two:
        assert refused(port) == b""
        p.wait_log(r"2 clients of this listener are connected; raise its max_connections = 2")
        p.wait_log(rig.RELOADED, p.reload(text(max_per_source=2)))
        assert refused(port) == b""
        p.wait_log(r"127\.0\.0\.1/32 has 2 connections already")
        p.wait_log(rig.RELOADED, p.reload(text(deny=["127.0.0.0/8"])))
        assert refused(port) == b""
        p.wait_log(r"its address is not let in")
        for w in (one, two):
            assert w.command({"ping": 1}, "admin")["ok"] == 1
    p.wait_log(rig.RELOADED, p.reload(text()))
    with pymongo.MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=20000) as c:
        assert c.admin.command("ping")["ok"] == 1


def test_behind_a_load_balancer(start, trio):
    """allow and deny are about the address in the PROXY header; the balancer itself counts as no source."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, proxy_protocol={"from": ["127.0.0.1"]}, deny=["10.6.0.0/16", "127.0.0.0/8"], max_per_source=1))
    wires = [greeted(p.port, first=proxy_v2(f"10.1.2.{i}", "10.0.0.1")) for i in range(3)]
    with Wire(p.port) as w:
        w.sock.sendall(proxy_v2("10.6.7.8", "10.0.0.1"))
        assert w.closed()
    p.wait_log(r"10\.6\.7\.8:\d+ refused: its address is not let in")
    assert refused(p.port, source="127.0.0.2") == b""
    for w in wires:
        assert w.command({"ping": 1}, "admin")["ok"] == 1
        w.close()
