"""Idle, silent, dribbling and deaf clients are cut with a reason; whoever only takes his time is not."""
import signal
import socket
import threading
import time

import puerta as rig
import pytest
from mongo_wire import greeted, msg
from mongos import Trio
from resp import encode
from slots import keys_in


@pytest.fixture(scope="module")
def trio():
    with Trio() as t:
        yield t


def ended(sock, seconds=20):
    """The peer closes; what it said before."""
    sock.settimeout(seconds)
    got = b""
    try:
        while part := sock.recv(1 << 16):
            got += part
    except (ConnectionResetError, BrokenPipeError):
        pass
    return got


def dribble(sock, data, every=0.2):
    """Sends byte after byte in the background, until the other side has enough."""
    def run():
        try:
            for i in range(len(data)):
                sock.sendall(data[i : i + 1])
                time.sleep(every)
        except OSError:
            pass

    threading.Thread(target=run, daemon=True).start()


def deaf(port):
    """A connection whose kernel takes little."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    s.settimeout(30)
    s.connect(("127.0.0.1", port))
    return s


def test_idle_clients_are_cut(start, cluster):
    p = start(cluster, idle_timeout="1s")
    with p.connect() as silent, p.connect() as busy:
        assert silent.command("PING") == "PONG"
        assert ended_while(silent, busy) == b""
        assert busy.command("PING") == "PONG"
    p.wait_log(r"closed: it has been idle \(idle_timeout\)")


def ended_while(one, busy):
    """one is cut while busy asks something ten times a second."""
    one.sock.setblocking(False)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert busy.command("SET", "busy", "1") == "OK"
        try:
            return one.sock.recv(100)
        except BlockingIOError:
            time.sleep(0.1)
    pytest.fail("it is still there")


def test_a_client_that_waits_is_not_idle(start, own_cluster):
    """Its node takes longer than idle_timeout to answer."""
    p = start(own_cluster, idle_timeout="1s", request_timeout="30s")
    node = own_cluster.masters()[0]
    key = next(keys_in(own_cluster.slots_of(node), "waits"))
    with p.connect() as c:
        assert c.command("SET", key, "1") == "OK"
        node.signal(signal.SIGSTOP)
        try:
            c.send(encode("GET", key))
            time.sleep(2.5)
        finally:
            node.signal(signal.SIGCONT)
        assert c.read() == b"1"
        assert c.command("PING") == "PONG"
    own_cluster.wait_ok()


def test_without_idle_timeout_nobody_is_cut(start, cluster):
    p = start(cluster)
    with p.connect() as c:
        assert c.command("PING") == "PONG"
        time.sleep(2.5)
        assert c.command("PING") == "PONG"


def test_authenticate_in_time(start, cluster):
    """Who does not is cut, whatever it sends meanwhile; who does may be silent afterwards."""
    p = start(cluster, auth={"password": "secret"}, handshake_timeout="1s")
    with p.connect() as good, p.connect() as silent, p.connect() as talker:
        assert good.command("AUTH", "secret") == "OK"
        assert "NOAUTH" in talker.command("GET", "x")
        assert ended(silent.sock) == b""
        assert ended(talker.sock) == b""
        assert good.command("PING") == "PONG"
    p.wait_log(r"closed: it has not authenticated in time \(handshake_timeout\)")


@pytest.mark.parametrize("request_", [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000\r\n" + b"x" * 1000,  # held until it is whole
                                      b"SET inline " + b"x" * 1000], ids=["frame", "inline"])
def test_a_dribbled_request(start, cluster, request_):
    p = start(cluster, stall_timeout="1s")
    with p.connect() as good, p.connect() as c:
        dribble(c.sock, request_)
        assert ended(c.sock) == b""
        assert good.command("PING") == "PONG"
    p.wait_log(r"closed: it does not finish its request \(stall_timeout\)")


def test_a_dribbled_stream(start, cluster):
    """A request above stream_above is on its way to a node already: what has come of it is not executed."""
    p = start(cluster, stall_timeout="1s", stream_above="64KiB")
    with p.connect() as good:
        assert good.command("SET", "stream", "before") == "OK"
        with p.connect() as c:
            c.send(b"*3\r\n$3\r\nSET\r\n$6\r\nstream\r\n$2000000\r\n" + b"x" * 100_000)
            dribble(c.sock, b"x" * 1000)
            ended(c.sock)
        p.wait_log(r"closed: it does not finish its request \(stall_timeout\)")
        assert good.command("GET", "stream") == b"before"


def test_a_slow_but_steady_upload_is_served(start, cluster):
    """20 KiB each second is no dribble, though the whole takes longer than stall_timeout."""
    p = start(cluster, stall_timeout="1s")
    with p.connect() as c:
        head = b"*3\r\n$3\r\nSET\r\n$6\r\nsteady\r\n$100000\r\n"
        c.send(head)
        for _ in range(20):
            c.send(b"s" * 5000)
            time.sleep(0.15)
        c.send(b"\r\n")
        assert c.read() == "OK"
        assert c.command("STRLEN", "steady") == 100_000


def test_a_client_that_does_not_read(start, cluster):
    p = start(cluster, stall_timeout="1s")
    with p.connect() as good:
        assert good.command("SET", "large", b"l" * 500_000) == "OK"
        s = deaf(p.port)
        s.sendall(encode("GET", "large") * 100)
        p.wait_log(r"closed: it does not read its replies \(stall_timeout\)")
        assert good.command("PING") == "PONG"
        s.close()


def test_a_client_that_reads_slowly_is_served(start, cluster):
    """It takes some 100 KB a second of 500 KB."""
    p = start(cluster, stall_timeout="2s")
    with p.connect() as good:
        assert good.command("SET", "large", b"l" * 500_000) == "OK"
    s = deaf(p.port)
    s.sendall(encode("GET", "large") * 10)
    want, got = 10 * (500_000 + len("$500000\r\n\r\n")), 0
    slow_until = time.monotonic() + 5
    while got < want:
        part = s.recv(10_000 if time.monotonic() < slow_until else 1 << 20)
        assert part, "it was cut"
        got += len(part)
        if time.monotonic() < slow_until:
            time.sleep(0.1)
    assert got == want
    s.close()


@pytest.mark.parametrize("forward", ["connection", "request"])
def test_mongodb_a_dribbled_request(start, trio, forward):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, timeouts={"stall": "1s"}))
    with greeted(p.port) as good, greeted(p.port) as bad:
        dribble(bad.sock, msg({"insert": "c", "documents": [{"x": "y" * 3000}], "$db": "test"}, request_id=7))
        assert ended(bad.sock) == b""
        assert good.command({"ping": 1}, "admin")["ok"] == 1
    p.wait_log(r"closed: it does not finish its request \(timeouts\.stall\)")


@pytest.mark.parametrize("forward", ["connection", "request"])
def test_mongodb_a_client_that_waits_may_be_silent(start, trio, forward):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, timeouts={"stall": "1s"}))
    with greeted(p.port) as w:
        time.sleep(2.5)
        assert w.command({"ping": 1}, "admin")["ok"] == 1


@pytest.mark.parametrize("forward", ["connection", "request"])
def test_mongodb_a_client_that_does_not_read(start, trio, forward):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, timeouts={"stall": "1s"}))
    name = f"deaf_{forward}"
    with greeted(p.port) as good, greeted(p.port) as bad:
        for i in range(15):
            assert good.command({"insert": name, "documents": [{"_id": i, "x": "y" * 1_000_000}]}, "test")["n"] == 1
        bad.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        bad.send({"find": name}, "test")
        p.wait_log(r"closed: it does not read its reply \(timeouts\.stall\)")
        assert good.command({"ping": 1}, "admin")["ok"] == 1
