"""Many connections, slow readers, rude clients: what is bounded stays bounded."""
import random
import resource
import signal
import socket
import struct
import threading
import time

import pytest
from cluster import wait_for
from resp import Conn, Error, encode
from slots import keys_in


def test_10000_connections_each_with_a_request(start, cluster):
    p = start(cluster)
    count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500)
    before = p.fds()
    conns = []
    try:
        for _ in range(count):
            conns.append(p.connect(timeout=60))
        for i, c in enumerate(conns):
            c.send(encode("SET", f"many:{i}", i) + encode("GET", f"many:{i}"))
        for i, c in enumerate(conns):
            assert c.read() == "OK"
            assert c.read() == b"%d" % i
        assert p.fds() >= count
        # And again: none of them was forgotten.
        for i, c in enumerate(conns):
            c.send(encode("INCR", f"many:{i}"))
        assert all(c.read() == i + 1 for i, c in enumerate(conns))
    finally:
        for c in conns:
            c.close()
    end = time.monotonic() + 20
    while p.fds() > before + 20 and time.monotonic() < end:
        time.sleep(0.1)
    assert p.fds() <= before + 20  # links to the nodes are new since then
    with p.connect() as c:
        assert c.command("GET", "many:1") == b"2"


def test_more_connections_than_files_allow(start, cluster):
    """Beyond the limit connections wait or are refused; those that are there go on, and there is room again when some leave."""
    p = start(cluster)
    resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (200, 200))
    conns = [Conn(p.port, timeout=20) for _ in range(40)]
    assert all(c.command("SET", f"fl{i}", i) == "OK" for i, c in enumerate(conns))
    extra = []
    for _ in range(300):
        try:
            extra.append(Conn(p.port, timeout=1))
        except OSError:
            break
    cpu = p.cpu_seconds()
    time.sleep(1.0)
    assert p.cpu_seconds() - cpu < 0.7, "it spins while no file is free"
    assert [c.command("GET", f"fl{i}") for i, c in enumerate(conns)] == [b"%d" % i for i in range(40)]
    for e in extra:
        e.close()
    wait_for("puerta to see that they have left", 15, lambda: p.fds() < 100)  # before, a new one may be refused
    with Conn(p.port, timeout=15) as c:
        assert c.command("PING") == "PONG"


def slow(port):
    """A connection whose kernel takes little."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    s.settimeout(30)
    s.connect(("127.0.0.1", port))
    return s


def test_slow_reader_with_large_replies_is_bounded(start, cluster):
    """Many large replies asked for and never read: memory stays within client_buffer, everybody else is served, the slow one is slowed or cut."""
    p = start(cluster, client_buffer="16MiB")
    keys = [k for _, k in zip(range(6), keys_in(range(16384), "slow"))]
    with p.connect() as c:
        assert c.command("MSET", *[x for k in keys for x in (k, b"v" * 1_000_000)]) == "OK"
        base = p.rss()
        rude = [slow(p.port) for _ in range(4)]
        for s in rude:
            s.sendall(b"".join(encode("GET", k) for k in keys) * 40)  # 240 MB each
        peak = 0
        for i in range(40):
            assert c.command("SET", "other", i) == "OK"
            assert c.command("GET", "other") == b"%d" % i
            peak = max(peak, p.rss())
            time.sleep(0.05)
        assert peak - base < 192 << 20  # of 960 MB asked for
        for s in rude:
            s.close()


def test_replies_kept_behind_a_slow_one_are_bounded(start, own_cluster):
    """The oldest request waits for a hung node while the replies to 400 later ones are there: what is kept for its turn counts in client_buffer too."""
    p = start(own_cluster, client_buffer="16MiB", request_timeout="20s")
    hung, other, _ = own_cluster.masters()
    blocked, large = (next(keys_in(own_cluster.slots_of(m), "kept")) for m in (hung, other))
    with p.connect() as c, p.connect() as free:
        assert c.pipeline([("SET", blocked, "1"), ("SET", large, b"k" * 1_000_000)]) == ["OK", "OK"]
        base = p.rss()
        hung.signal(signal.SIGSTOP)
        try:
            c.send(encode("GET", blocked) + encode("GET", large) * 400)
            peak = 0
            for i in range(20):
                assert free.command("GET", large)[:1] == b"k"
                peak = max(peak, p.rss())
                time.sleep(0.05)
        finally:
            hung.signal(signal.SIGCONT)
        assert peak - base < 96 << 20
    own_cluster.wait_ok()


def test_slow_reader_gets_everything_in_the_end(start, cluster):
    p = start(cluster)
    with p.connect() as c:
        c.command("SET", "sl", b"s" * 100_000)
    with Conn(p.port, timeout=60) as c:
        c.send(encode("GET", "sl") * 200 + encode("ECHO", "end"))
        time.sleep(1)
        assert all(c.read() == b"s" * 100_000 for _ in range(200))
        assert c.read() == b"end"


def test_deep_pipeline_of_small_requests(start, cluster):
    """200,000 requests before the first reply is read: more than max_pipeline, so reads stop and go on."""
    p = start(cluster)
    n = 200_000
    with Conn(p.port, timeout=60) as c:
        raw = b"".join(encode("INCR", f"deep{i % 50}") for i in range(n))
        c.command("DEL", *[f"deep{i}" for i in range(50)])
        base = p.rss()
        sender = threading.Thread(target=c.send, args=(raw,))
        sender.start()
        time.sleep(0.5)
        assert p.rss() - base < 128 << 20
        for i in range(n):
            assert c.read() == i // 50 + 1
        sender.join()


@pytest.mark.threads
def test_clients_that_close_in_mid_pipeline(start, cluster):
    """Hundreds of connections that leave with requests in flight, politely or by reset, among others that stay."""
    p = start(cluster)
    rng = random.Random(11)
    value = b"c" * 3000
    end, failures = threading.Event(), []

    def stay(i):
        try:
            with p.connect() as c:
                n = 0
                while not end.is_set():
                    n += 1
                    assert c.pipeline([("SET", f"stay{i}", n), ("GET", f"stay{i}"), ("MGET", f"stay{i}", f"stay{i}x", "cm1")])[:2] == ["OK", b"%d" % n]
        except Exception as e:
            failures.append(repr(e))

    with p.connect() as c:
        c.command("MSET", *[x for i in range(40) for x in (f"cm{i}", value)])
    threads = [threading.Thread(target=stay, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for i in range(600):
        c = Conn(p.port)
        raw = b"".join(rng.choice([encode("GET", f"cm{rng.randrange(40)}"), encode("MGET", *[f"cm{rng.randrange(40)}" for _ in range(8)]),
                                   encode("SET", f"cm{rng.randrange(40)}", value), encode("MSET", "cm1", value, "cm2", value)]) for _ in range(rng.randint(1, 80)))
        c.send(raw if i % 3 == 0 else raw[: rng.randint(1, len(raw))])
        if i % 3 == 0:
            c.sock.recv(rng.randint(1, 5000))  # leaves in the middle of its replies
        if rng.random() < 0.5:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset
        c.close()
    end.set()
    for t in threads:
        t.join(30)
    assert not failures
    base = p.fds()
    with p.connect() as c:
        assert c.command("MGET", "cm1", "cm2") == [value, value]
    assert p.alive() and base < 60


def test_idle_connections_cost_little(start, cluster):
    """Not the benchmark's bound, only that nothing of a request stays behind: 2,000 idle connections after a request each."""
    p = start(cluster)
    with p.connect() as c:
        assert c.command("SET", "idle", "1") == "OK"
        base = p.rss()
    conns = [p.connect() for _ in range(2000)]
    assert all(c.command("GET", "idle") == b"1" for c in conns)
    assert p.rss() - base < 2000 * 8192
    for c in conns:
        c.close()


def test_request_larger_than_max_bulk(start, cluster):
    p = start(cluster, max_bulk="1MiB")
    with p.connect() as c:
        assert c.command("SET", "mb", b"x" * (1 << 20)) == "OK"
        c.send(b"*3\r\n$3\r\nSET\r\n$2\r\nmb\r\n$1048577\r\n")
        assert c.closed() == b"-ERR Protocol error: invalid bulk length\r\n"
    with p.connect() as c:
        assert c.command("STRLEN", "mb") == 1 << 20


def test_node_backlog_is_a_limit(start, own_cluster):
    """A node that does not answer holds at most node_backlog bytes; what is more gets an error at once."""

    p = start(own_cluster, node_backlog="1MiB", request_timeout="30s")
    node = own_cluster.masters()[0]
    key = next(keys_in(own_cluster.slots_of(node), "nb"))
    with p.connect() as first:
        assert first.command("SET", key, "1") == "OK"
    node.signal(signal.SIGSTOP)
    try:
        conns = [p.connect() for _ in range(40)]
        for c in conns:
            c.send(encode("SET", key, b"n" * 200_000))
        refused = 0
        for c in conns[10:]:
            c.sock.settimeout(1)
            try:
                reply = c.read()
                assert isinstance(reply, Error) and "node_backlog" in reply
                refused += 1
            except TimeoutError:
                pass
            if refused > 3:
                break
        assert refused
    finally:
        node.signal(signal.SIGCONT)
    for c in conns:
        c.close()
    own_cluster.wait_ok()
    with p.connect() as c:
        assert c.command("SET", key, "2") == "OK"
