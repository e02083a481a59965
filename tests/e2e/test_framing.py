"""Bytes in, bytes out: any fragmentation, inline commands, protocol errors, RESP3, very large values."""
import random
import socket
import threading
import time

import puerta as rig
import pytest
from resp import Conn, Error, Map, encode, typed
from slots import key_in

# Whole requests of every shape, with the same replies each time: multibulk, inline, empty lines, fan-out, errors, an empty value, binary.
SHAPES = [
    encode("SET", "{f}a", "x" * 37),
    encode("GET", "{f}a"),
    b"PING\r\n",
    encode("MSET", "f1", "one", "f2", "two", "f3", ""),
    b"*0\r\n",
    encode("MGET", "f1", "f2", "f3", "f-none"),
    b"\r\n",
    encode("SET", "f4", bytes(range(256))),
    encode("GET", "f4"),
    b'set f5 "a b\\x41\\n"\n',
    encode("GET", "f5"),
    encode("ECHO", "\r\n$3\r\n"),
    encode("NOSUCH", "command"),
    encode("LPUSH", "f4", "wrong type"),
    encode("DEL", "f1", "f2", "f3", "f4", "f5", "{f}a"),
]
RAW = b"".join(SHAPES)
REPLIES = len(SHAPES) - 2  # an empty line and *0 have none


def answers(c, pieces, pause=0.0):
    for piece in pieces:
        c.send(piece)
        if pause:
            time.sleep(pause)
    return [typed(c.read()) for _ in range(REPLIES)]


@pytest.fixture(scope="module")
def whole(proxy):
    with proxy.connect() as c:
        got = answers(c, [RAW])
    with proxy.connect() as c:
        single = [typed(r) for s in SHAPES if s not in (b"*0\r\n", b"\r\n") for r in [(c.send(s), c.read())[1]]]
    assert got == single
    assert got[4] == ("list", [("bytes", b"one"), ("bytes", b"two"), ("bytes", b""), ("NoneType", None)])
    assert got[6] == ("bytes", bytes(range(256))) and got[8] == ("bytes", b"a bA\n") and got[-1] == ("int", 6)
    return got


def test_every_split_point(proxy, whole):
    with proxy.connect() as c:
        for i in range(1, len(RAW)):
            assert answers(c, [RAW[:i], RAW[i:]], pause=0.0015) == whole, f"split at {i}"


def test_byte_by_byte(proxy, whole):
    with proxy.connect() as c:
        assert answers(c, [RAW[i : i + 1] for i in range(len(RAW))], pause=0.0005) == whole


def test_random_pieces(proxy, whole):
    rng = random.Random(3)
    with proxy.connect() as c:
        for _ in range(150):
            cuts = sorted(rng.sample(range(1, len(RAW)), rng.randint(2, 12)))
            pieces = [RAW[a:b] for a, b in zip([0, *cuts], [*cuts, len(RAW)])]
            assert answers(c, pieces, pause=0.0004) == whole, cuts


def test_pieces_larger_than_a_read(proxy):
    """Frames that begin and end anywhere in the 64 KiB of a read."""
    rng = random.Random(5)
    with proxy.connect() as c:
        for _ in range(20):
            values = [rng.randbytes(rng.choice((0, 1, 900, 1025, 4095, 4097, 16384, 65535, 65536, 70000))) for _ in range(24)]
            raw = b"".join(encode("SET", f"big{i}", v) + encode("GET", f"big{i}") for i, v in enumerate(values))
            sender = threading.Thread(target=c.send, args=(raw,))
            sender.start()
            for v in values:
                assert c.read() == "OK"
                assert c.read() == v
            sender.join()


@pytest.mark.parametrize("line", [
    b"PING\r\n", b"ping\n", b"  PING  \r\n", b"\r\n\r\nPING\r\n", b"SET il v\r\n", b'SET il "two words"\r\n', b"SET il 'it\\'s'\r\n",
    b'SET il "\\x00\\xff\\n\\t\\"q"\r\n', b'SET il ""\r\n', b"GET il\r\n", b"ECHO " + b"x" * 60000 + b"\r\n", b'ECHO "a"b\r\n', b"GET 'open\r\n",
    b'GET "open\r\n', b"NOSUCH a b\r\n", b"GET\r\n",
])
def test_inline_as_redis(proxy, plain, line):
    raw = line + b"*1\r\n$4\r\nQUIT\r\n"
    assert exchange(proxy.port, raw) == exchange(plain.port, raw)


def exchange(port, raw):
    """Everything the peer answers before it closes."""
    with Conn(port, timeout=15) as c:
        try:
            c.send(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return c.closed()


@pytest.mark.parametrize("bad", [
    b"*1\r\n+PING\r\n", b"*2\r\n$4\r\nECHO\r\n:1\r\n", b"*abc\r\n", b"*2147483648\r\n", b"*99999999999999999999\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$abc\r\n",
    b"*1\r\n$536870913\r\n", b"*1\r\n$99999999999999999999\r\n", b"*1\r\n$4 \r\nPING\r\n", b"*1\r\n$\r\n", b"*\r\n", b"*1\r\n\r\n",
    b"*" + b"1" * 70000, b"*1\r\n$" + b"1" * 70000, b"x" * 70000,
], ids=lambda b: repr(b[:24]))
@pytest.mark.parametrize("before", [b"", encode("SET", "pe", "1") + encode("MGET", "pe", "pf")], ids=["alone", "after others"])
def test_protocol_error_as_redis(proxy, plain, bad, before):
    got, want = exchange(proxy.port, before + bad), exchange(plain.port, before + bad)
    assert want.count(b"-ERR Protocol error") == 1
    assert got == want


def test_negative_count_is_ignored_as_redis(proxy, plain):
    raw = b"*-1\r\n*0\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n"
    assert exchange(proxy.port, raw) == exchange(plain.port, raw) == b"+PONG\r\n+OK\r\n"


RESP3 = [
    ("HGETALL", "{3}h"), ("HRANDFIELD", "{3}h", "1", "WITHVALUES"), ("SMEMBERS", "{3}s"), ("ZSCORE", "{3}z", "m"), ("ZRANGE", "{3}z", "0", "-1", "WITHSCORES"),
    ("ZADD", "{3}z", "INCR", "0.25", "m"), ("GET", "{3}none"), ("LRANGE", "{3}none", "0", "-1"), ("MGET", "{3}none", "{3}none2"), ("XINFO", "STREAM", "{3}x"),
    ("XREAD", "STREAMS", "{3}x", "0"), ("XRANGE", "{3}x", "-", "+"), ("GEOPOS", "{3}g", "p", "none"), ("SISMEMBER", "{3}s", "a"), ("INCRBYFLOAT", "{3}f", "0"),
    ("EVAL", "redis.setresp(3); return {double=3.5}", "1", "{3}k"), ("EVAL", "redis.setresp(3); return {map={a=1}}", "1", "{3}k"),
    ("EVAL", "redis.setresp(3); return {set={a=true}}", "1", "{3}k"), ("EVAL", "redis.setresp(3); return true", "1", "{3}k"),
    ("EVAL", "redis.setresp(3); return {big_number='1234567890123456789012345678901234567890'}", "1", "{3}k"),
    ("EVAL", "redis.setresp(3); return {verbatim_string={string='hello',format='txt'}}", "1", "{3}k"),
    ("EVAL", "redis.setresp(3); return {{map={a={set={b=true}}}}, {double=1}, false}", "1", "{3}k"), ("EVAL", "return redis.error_reply('MINE own')", "1", "{3}k"),
    ("LPUSH", "{3}h", "x"),
]


@pytest.mark.parametrize("hello", ["2", "3"])
def test_reply_types(proxy, cluster, hello):
    """Every RESP3 type passes as it is, and RESP2 clients on the same nodes are not disturbed."""
    setup = [("DEL", "{3}h", "{3}s", "{3}z", "{3}x", "{3}g", "{3}f"), ("HSET", "{3}h", "f", "v"), ("SADD", "{3}s", "a"), ("ZADD", "{3}z", "1.5", "m"),
             ("XADD", "{3}x", "1-1", "f", "v"), ("GEOADD", "{3}g", "13.36", "38.11", "p")]
    with proxy.connect() as c, cluster.owner_of("{3}").connect() as direct, proxy.connect() as other:
        for x in (c, direct):
            assert type(x.command("HELLO", hello)) is (list if hello == "2" else Map)
        direct.pipeline(setup)
        want = direct.pipeline(RESP3)
        c.pipeline(setup)
        got = c.pipeline(RESP3)
        assert [typed(r) for r in got] == [typed(r) for r in want]
        assert other.command("HGETALL", "{3}h") == [b"f", b"v"]
        if hello == "3":
            assert {"Map", "Set", "Double", "NoneType", "bool", "Big", "Verbatim", "Error", "list", "int"} <= {type(r).__name__ for r in got}


MB100 = 100 * 1000 * 1000


class Slow:
    """A relay before a node: what the node says goes on in pieces, one every 100 ms while there is more. stop: it holds back all of it."""

    def __init__(self, node):
        self.node, self.stop = node, threading.Event()
        self.door = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.door.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                client, _ = self.door.accept()
                node = socket.create_connection(("127.0.0.1", self.node.port))
                threading.Thread(target=self.pass_on, args=(client, node, False), daemon=True).start()
                threading.Thread(target=self.pass_on, args=(node, client, True), daemon=True).start()
        except OSError:
            pass  # closed: the test is over

    def pass_on(self, source, target, slow):
        try:
            while data := source.recv(65536):
                if slow and len(data) > 10_000:
                    time.sleep(0.1)
                if slow and self.stop.is_set():
                    return
                target.sendall(data)
        except OSError:
            pass


def test_a_large_reply_may_take_longer_than_request_timeout(start, cluster):
    """As long as it goes on; one that stands still is given up."""
    node = cluster.masters()[0]
    key, value = key_in(cluster.slots_of(node), prefix="slow"), random.Random(1).randbytes(2_000_000)
    slow = Slow(node)
    p = start.keep(rig.Puerta.for_cluster(cluster.addresses, remap={node.address: slow.address}, request_timeout="1s", slot_refresh="1h"))
    with p.connect() as c:
        c.send(encode("SET", key, value))
        assert c.read() == "OK"
        began = time.monotonic()
        c.send(encode("GET", key) + encode("STRLEN", key))
        assert c.read() == value
        assert c.read() == len(value)
        assert time.monotonic() - began > 1.5  # else the relay was not slow
        slow.stop.set()
        c.send(encode("GET", key))
        assert isinstance(c.read(), Error)
    assert "a request timed out" in p.log()
    slow.door.close()


def test_100_mb_value_both_ways(proxy, cluster):
    """Through and back, several clients at once; small requests of others keep being answered meanwhile."""
    data = [random.Random(i).randbytes(1000003) * 100 for i in range(2)]
    data = [d[:MB100] for d in data]
    keys = [key_in(cluster.slots_of(m), prefix="huge") for m in cluster.masters()[:2]]
    ended, small, failures = threading.Event(), [0], []

    def carry(i):
        try:
            with proxy.connect(timeout=120) as c:
                c.send(b"*3\r\n$3\r\nSET\r\n" + encode(keys[i])[4:] + b"$%d\r\n" % MB100)
                c.send(data[i])
                c.send(b"\r\n" + encode("STRLEN", keys[i]) + encode("GET", keys[i]) + encode("ECHO", "after"))
                assert c.read() == "OK"
                assert c.read() == MB100
                assert c.read() == data[i]
                assert c.read() == b"after"
        except Exception as e:
            failures.append(repr(e)[:300])

    def chat():
        with proxy.connect() as c:
            while not ended.is_set():
                assert c.command("SET", "small", small[0]) == "OK"
                assert c.command("GET", "small") == str(small[0]).encode()
                small[0] += 1

    threads = [threading.Thread(target=carry, args=(i,)) for i in range(2)]
    chatter = threading.Thread(target=chat)
    for t in [chatter, *threads]:
        t.start()
    for t in threads:
        t.join(180)
    ended.set()
    chatter.join(30)
    with proxy.connect() as c:
        c.pipeline([("DEL", k) for k in keys])
    assert not failures and not any(t.is_alive() for t in [chatter, *threads])
    assert small[0] > 10


def count_z(c, n):
    """Reads a bulk string of n bytes as fast as it comes and keeps nothing of it: how many of them are z."""
    assert c.line() == b"$%d" % n
    piece, left = bytes(c.buf[c.pos :]), n + 2
    c.buf, c.pos = bytearray(), 0
    count = 0
    while True:
        count, left = count + piece.count(b"z"), left - len(piece)
        if not left:
            return count
        piece = c.sock.recv(min(left, 1 << 20))
        if not piece:
            raise ConnectionError("closed in the middle of a bulk string")


def test_100_mb_pass_through_in_pieces(start, cluster):
    """The request never sits in memory whole, whoever is slow; the reply does not while its reader keeps up."""
    p = start(cluster)
    key = key_in(cluster.slots_of(cluster.masters()[0]), prefix="huge")
    value = b"z" * MB100
    base, peak, ended = p.rss(), [0], threading.Event()

    def watch():
        while not ended.is_set():
            peak[0] = max(peak[0], p.rss())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with p.connect(timeout=120) as c:
        for _ in range(2):
            assert c.command("SET", key, value) == "OK"
        assert base <= peak[0] < base + MB100 // 4
        for _ in range(2):
            c.send(encode("GET", key))
            assert count_z(c, MB100) == MB100
        ended.set()
        watcher.join()
        assert c.command("DEL", key) == 1
    assert base <= peak[0] < base + MB100 * 3 // 4  # how much of it waits for this reader depends on the machine's other work


def test_an_error_reply_is_not_mistaken(proxy):
    """A value that looks like a redirect is a value."""
    with proxy.connect() as c:
        for text in ("MOVED 1 127.0.0.1:1", "ASK 1 127.0.0.1:1", "TRYAGAIN", "-MOVED 1 h:1\r\n"):
            assert c.command("SET", "redirect", text) == "OK"
            assert c.command("GET", "redirect") == text.encode()
            reply = c.command("EVAL", "return redis.error_reply('MINE ' .. ARGV[1])", 1, "redirect", text.strip())
            assert isinstance(reply, Error) and reply.startswith("MINE ")
