"""Faults in combination: each of these was a bug once."""
import re
import signal
import socket
import struct
import time

import pytest
from cluster import Cluster, wait_for
from resp import Conn, Error, encode
from slots import key_in, keys_in, slot


@pytest.fixture(scope="module")
def torn():
    """A cluster whose slots may be taken away."""
    with Cluster(masters=3, replicas=0, node_timeout=20000, options={"cluster-require-full-coverage": "no"}) as c:
        yield c


def keys_on(cluster, node, n):
    return [k for _, k in zip(range(n), keys_in(cluster.slots_of(node), "fault"))]


def test_a_node_comes_back_whichever_link_failed(start, torn):
    """The RESP2 link is idle and well, the RESP3 link times out: the circuit closes again all the same."""
    p = start(torn, request_timeout="1s", retry_interval="200ms")
    node = torn.masters()[0]
    key = keys_on(torn, node, 1)[0]
    with p.connect() as old, p.connect() as new:
        assert old.command("SET", key, "1") == "OK"
        new.command("HELLO", "3")
        node.signal(signal.SIGSTOP)
        try:
            assert isinstance(new.command("GET", key), Error)
        finally:
            node.signal(signal.SIGCONT)
        wait_for("the node to be asked again", 10, lambda: old.command("GET", key) == b"1" and new.command("GET", key) == b"1")


def test_a_fan_ends_once(start, torn):
    """Its client is cut over one part while another part waits as a retry; later fans are whole."""
    p = start(torn, client_buffer="64KiB", request_timeout="3s")
    a, b = torn.masters()[:2]
    waits, large, small = keys_on(torn, a, 3)
    other = keys_on(torn, b, 1)[0]
    a.call("SET", large, "x" * 200_000)
    a.call("SET", small, "s")
    b.call("SET", other, "o")
    a.call("CLUSTER", "DELSLOTS", slot(waits))
    try:
        with p.connect() as c:
            c.send(encode("MGET", waits, large))
            assert c.closed() == b""
        clients = [Conn(p.port) for _ in range(4)]
        for c in clients:
            c.send(encode("MGET", small, other))
        assert [c.read() for c in clients] == [[b"s", b"o"]] * 4
        for c in clients:
            c.close()
    finally:
        a.call("CLUSTER", "ADDSLOTS", slot(waits))


def test_fans_of_clients_that_left_are_freed(start, torn):
    """One part is answered and large, the other is lost with its node after the client has gone."""
    p = start(torn, request_timeout="1s", retry_interval="100ms")
    a, b = torn.masters()[:2]
    stuck, large = keys_on(torn, a, 1)[0], keys_on(torn, b, 1)[0]
    b.call("SET", large, "x" * 500_000)

    def one_round():
        a.signal(signal.SIGSTOP)
        try:
            rude = [Conn(p.port) for _ in range(40)]
            for c in rude:
                c.send(encode("MGET", stuck, large))
            time.sleep(0.3)
            for c in rude:
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.close()
            time.sleep(1.2)
        finally:
            a.signal(signal.SIGCONT)
        with p.connect() as c:
            wait_for("the node to be asked again", 10, lambda: not isinstance(c.command("GET", stuck), Error))

    one_round()
    base = p.rss()
    for _ in range(3):
        one_round()
    assert p.rss() - base < 24 << 20  # of 60 MB of replies that nobody waits for


def test_a_large_request_streams_behind_others_too(start, torn):
    p = start(torn)
    key = keys_on(torn, torn.masters()[0], 1)[0]
    value = b"v" * 60_000_000
    with p.connect(timeout=60) as c:
        base, peak = p.rss(), 0
        c.send(encode("GET", "none"))
        c.sock.settimeout(60)
        request, at = encode("SET", key, value), 0
        while at < len(request):
            at += c.sock.send(request[at : at + (1 << 20)])
            peak = max(peak, p.rss())
        assert c.read() is None and c.read() == "OK"
        assert c.command("STRLEN", key) == len(value)
        assert peak - base < len(value) // 3
        assert c.command("DEL", key) == 1


def test_parked_requests_stop_their_client(start, torn):
    """A slot nobody serves: what one client sends for it waits in its own socket, not in memory."""
    p = start(torn, request_timeout="4s")
    node = torn.masters()[0]
    key = keys_on(torn, node, 1)[0]
    node.call("CLUSTER", "DELSLOTS", slot(key))
    try:
        with p.connect() as c:
            base = p.rss()
            c.sock.settimeout(0.5)
            request = encode("SET", key, b"z" * 900_000)
            with pytest.raises(TimeoutError):
                for _ in range(100):
                    c.sock.sendall(request)
            assert p.rss() - base < 30 << 20
    finally:
        node.call("CLUSTER", "ADDSLOTS", slot(key))


def test_removed_auth_lets_those_in_who_wait(start, torn):
    p = start(torn, auth={"password": "secret"})
    with p.connect() as c:
        assert "NOAUTH" in c.command("GET", "x")
        text, found = re.subn(r" +auth = .*\n", "", p.file.read_text())
        assert found == 1
        p.wait_log("generation 2 serves", since=p.reload(text))
        wait_for("the worker to take it over", 5, lambda: not isinstance(c.command("GET", "x"), Error))
