"""Several workers, several listeners, odd networks between puerta and the nodes."""
import random
import re
import socket
import threading
from pathlib import Path

import pytest
import puerta as rig
from cluster import free_port
from resp import Conn, encode, typed
from slots import key_in


@pytest.mark.threads
def test_two_workers_share_the_clients(start, cluster):
    p = start(cluster, top={"workers": 2})
    conns = [p.connect() for _ in range(50)]
    for r in range(20):
        for i, c in enumerate(conns):
            c.send(encode("SET", f"tw{i}", r) + encode("GET", f"tw{i}") + encode("MGET", f"tw{i}", "tw-none"))
        for i, c in enumerate(conns):
            assert [c.read() for _ in range(3)] == ["OK", b"%d" % r, [b"%d" % r, None]]
    # Both have connections to the nodes: 2 workers, 3 masters.
    seen = [n.call("CLIENT", "LIST", "TYPE", "normal").decode().count("\n") for n in cluster.masters()]
    assert min(seen) >= 3  # two of puerta, one asking
    for c in conns:
        c.close()


def test_w_overrides_the_configuration(start, cluster):
    p = start(cluster, args=["-w", "3"])
    with p.connect() as c:
        assert c.command("PING") == "PONG"
    one = start(cluster)
    tasks = [len(list(Path(f"/proc/{x.pid}/task").iterdir())) for x in (p, one)]
    assert tasks[0] == tasks[1] + 2


@pytest.mark.threads
def test_two_listeners_before_two_clusters(start, cluster, own_cluster):
    a, b = free_port(), free_port()
    p = start.text(rig.config(rig.listener(cluster, a, name="first"), rig.listener(own_cluster, b, name="second"), workers=2), port=a)
    with Conn(a) as x, Conn(b) as y:
        assert x.pipeline([("SET", "which", "first")] + [("SET", f"tl{i}", i) for i in range(99)]) == ["OK"] * 100
        assert y.pipeline([("SET", "which", "second")] + [("DEL", f"tl{i}") for i in range(99)])[0] == "OK"
        assert x.pipeline([("GET", "which"), ("GET", "tl5")]) == [b"first", b"5"]
        assert y.pipeline([("GET", "which"), ("GET", "tl5")]) == [b"second", None]
        assert cluster.reader()("which") == b"first" and own_cluster.reader()("which") == b"second"
    assert p.alive()


def test_several_connections_per_node(start, cluster):
    p = start(cluster, connections=4)
    conns = [p.connect() for _ in range(16)]
    for i, c in enumerate(conns):
        assert c.pipeline([("SET", f"sc{i}", i), *[("INCR", f"sc{i}")] * 50]) == ["OK", *range(i + 1, i + 51)]
    for c in conns:
        c.close()


def test_bind_address_taken(cluster):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        p = rig.Puerta(rig.config(rig.listener(cluster, port), workers=1), ready=False)
        p.expect_exit = 1
        assert p.wait_exit(20) == 1
        assert str(port) in p.log() and re.search("(?i)in use", p.log())
        assert p.stop() is None


class Shredder:
    """A relay that passes replies on in pieces of the sizes given, each in a packet of its own; requests too."""

    def __init__(self, node, sizes):
        self.node, self.sizes = node, sizes
        self.listen = socket.create_server(("127.0.0.1", free_port()))
        self.port = self.listen.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                a, _ = self.listen.accept()
            except OSError:
                return
            b = socket.create_connection(("127.0.0.1", self.node.port))
            for s in (a, b):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.relay, args=(a, b), daemon=True).start()
            threading.Thread(target=self.relay, args=(b, a), daemon=True).start()

    def relay(self, a, b):
        rng = random.Random(self.node.port)
        try:
            while data := a.recv(65536):
                while data:
                    n = self.sizes(rng)
                    b.sendall(data[:n])
                    data = data[n:]
        except OSError:
            pass
        for s in (a, b):
            s.close()


@pytest.mark.parametrize("sizes", [lambda r: 1, lambda r: r.choice((1, 2, 3, 7, 50, 1460))], ids=["bytes", "random"])
@pytest.mark.parametrize("hello", ["2", "3"])
def test_replies_in_any_fragmentation(start, cluster, sizes, hello):
    """The connections to the nodes go through relays that tear every reply and request apart."""
    relays = [Shredder(n, sizes) for n in cluster.nodes]
    remap = {n.address: f"127.0.0.1:{r.port}" for n, r in zip(cluster.nodes, relays)}
    p = start([f"127.0.0.1:{relays[0].port}"], remap=remap)
    key = key_in(range(16384), "sh")
    commands = [("DEL", "{s}h", "{s}z", "{s}l"), ("SET", "{s}a", "x" * 3000), ("GET", "{s}a"), ("HSET", "{s}h", *[str(i) for i in range(60)]), ("HGETALL", "{s}h"),
                ("ZADD", "{s}z", "1.5", "m", "2", "n"), ("ZRANGE", "{s}z", "0", "-1", "WITHSCORES"), ("RPUSH", "{s}l", *range(300)), ("LRANGE", "{s}l", "0", "-1"),
                ("GET", "{s}none"), ("LPUSH", "{s}h", "wrong"), ("MSET", *[x for i in range(20) for x in (f"sm{i}", i)]), ("MGET", *[f"sm{i}" for i in range(22)]),
                ("EVAL", "return {1, {2, {3, {}}}, 'x', false}", "1", key)]
    with p.connect() as c, Conn(start(cluster).port) as straight:
        for x in (c, straight):
            x.command("HELLO", hello)
        straight.pipeline(commands)
        want = [typed(r) for r in straight.pipeline(commands)]
        assert [typed(r) for r in c.pipeline(commands)] == want
        assert [typed(r) for r in c.pipeline(commands * 5)] == want * 5
    for r in relays:
        r.listen.close()
