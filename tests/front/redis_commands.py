"""Redis: every kind of command and reply."""
import random

from checks import Failed, check, expect
from redis_run import RedisRun as Run
from resp import Error, Map, Set, encode
from slots import slot

TO_SLOTS = "puerta's log names the node that does not answer; are all slots covered (redis-cli CLUSTER INFO)?"


@check("redis", "basic", "connecting, PING and ECHO", first=True)
def connect(r: Run):
    with r.wire(timeout=5) as c:
        said = c.command("PING")
        if isinstance(said, Error) and said.startswith("NOAUTH"):
            raise Failed(f"PING: {said}", "the target wants a password: --password-file, and --user where its ACL has users")
        expect(said, "PONG", "PING", "what listens there does not speak Redis as puerta does")
        expect(c.command("ECHO", b"a\r\nb"), b"a\r\nb", "ECHO")


@check("redis", "basic", "SET and GET over all slots' owners")
def set_get(r: Run):
    names = [r.key(f"sg{i}") for i in range(r.size["keys"])]
    with r.wire() as c:
        for i in range(0, len(names), 1000):
            some = names[i : i + 1000]
            for n, said in zip(some, c.pipeline([("SET", k, k[::-1]) for k in some])):
                expect(said, "OK", f"SET {n.decode()} (slot {slot(n)})", TO_SLOTS)
            for n, said in zip(some, c.pipeline([("GET", k) for k in some])):
                expect(said, n[::-1], f"GET {n.decode()}", TO_SLOTS)
    return f"{len(names)} keys in {len({slot(n) for n in names})} slots"


@check("redis", "basic", "a mixed pipeline is answered in order")
def pipeline(r: Run):
    commands, want = [], []
    for i in range(r.size["keys"] // 2):
        k, n = r.key(f"p{i}"), r.key(f"pn{i % 50}")
        commands += [("SET", k, i), ("INCR", n), ("GET", k), ("ECHO", i), ("GET", r.key("p-none")), ("STRLEN", k)]
        want += ["OK", i // 50 + 1, b"%d" % i, b"%d" % i, None, len(str(i))]
    with r.wire() as c:
        for i in range(0, len(commands), 3000):
            for at, (said, right) in enumerate(zip(c.pipeline(commands[i : i + 3000]), want[i : i + 3000])):
                expect(said, right, f"reply {i + at} ({commands[i + at]!r:.80})")
    return f"{len(commands)} replies"


@check("redis", "basic", "MSET, MGET, EXISTS, TOUCH, UNLINK, DEL over many slots")
def fan_out(r: Run):
    names = [r.key(f"m{i}") for i in range(300)]
    asked = [n for pair in zip(names, [r.key(f"m-none{i}") for i in range(300)]) for n in pair]
    with r.wire() as c:
        expect(c.command("MSET", *(x for i, n in enumerate(names) for x in (n, i))), "OK", "MSET of 300 keys")
        expect(c.command("MGET", *asked), [x for i in range(300) for x in (b"%d" % i, None)], "MGET of 300 keys and as many that do not exist")
        for command in ("EXISTS", "TOUCH"):
            expect(c.command(command, *asked), 300, command)
        expect(c.command("UNLINK", *names[:100]), 100, "UNLINK")
        expect(c.command("DEL", *names), 200, "DEL of 200 left of 300")


@check("redis", "basic", "strings, hashes, lists, sets, sorted sets, streams")
def types(r: Run):
    with r.client() as c:
        k = r.key("type-s")
        got = [c.set(k, "10", ex=1000), c.incrby(k, 5), c.append(k, "x"), c.getrange(k, 0, 1), c.ttl(k) > 900, c.type(k)]
        expect(got, [True, 15, 3, b"15", True, b"string"], "a string")
        k = r.key("type-h")
        got = [c.hset(k, mapping={"a": "1", "b": "2"}), c.hincrby(k, "a", 4), c.hgetall(k), c.hdel(k, "b"), c.hlen(k)]
        expect(got, [2, 5, {b"a": b"5", b"b": b"2"}, 1, 1], "a hash")
        k = r.key("type-l")
        expect([c.rpush(k, 1, 2, 3), c.lpop(k), c.lrange(k, 0, -1)], [3, b"1", [b"2", b"3"]], "a list")
        k = r.key("type-set")
        expect([c.sadd(k, "a", "b", "a"), c.sismember(k, "a"), set(c.smembers(k))], [2, 1, {b"a", b"b"}], "a set")
        k = r.key("type-z")
        got = [c.zadd(k, {"one": 1, "two": 2.5}), c.zincrby(k, 1, "two"), [list(x) for x in c.zrange(k, 0, -1, withscores=True)], c.zrank(k, "two")]
        expect(got, [2, 3.5, [[b"one", 1.0], [b"two", 3.5]], 1], "a sorted set")
        k = r.key("type-x")
        expect([c.xadd(k, {"f": "v"}, id="1-1"), c.xlen(k), c.xrange(k)], [b"1-1", 1, [(b"1-1", {b"f": b"v"})]], "a stream")


@check("redis", "basic", "geo, HyperLogLog, bits, expiry, scripts")
def more_types(r: Run):
    with r.wire() as c:
        k = r.key("type-geo")
        expect(c.command("GEOADD", k, "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania"), 2, "GEOADD")
        expect(c.command("GEODIST", k, "Palermo", "Catania", "km"), b"166.2742", "GEODIST")
        k = r.key("type-pf")
        expect(c.pipeline([("PFADD", k, *range(100)), ("PFCOUNT", k)])[0], 1, "PFADD")
        k = r.key("type-bits")
        expect(c.pipeline([("SETBIT", k, 7, 1), ("GETBIT", k, 7), ("BITCOUNT", k)]), [0, 1, 1], "bits")
        k = r.key("type-gone")
        expect(c.pipeline([("SET", k, 1), ("PEXPIRE", k, 0), ("EXISTS", k)]), ["OK", 1, 0], "expiry")
        k = r.key("type-script")
        expect(c.command("EVAL", "redis.call('SET', KEYS[1], ARGV[1]) return { ARGV[1], 2 }", 1, k, "v"), [b"v", 2], "EVAL")
        expect(c.command("GET", k), b"v", "what a script wrote")


@check("redis", "basic", "a large value")
def large(r: Run):
    k, value = r.key("large"), random.Random(1).randbytes(r.size["value"] << 20)
    with r.wire(timeout=60) as c:
        said = c.command("SET", k, value)
        expect(said, "OK", f"SET of {r.size['value']} MiB", "limits: max_request of puerta, proto-max-bulk-len and maxmemory of the nodes")
        expect(c.pipeline([("STRLEN", k), ("GETRANGE", k, 5, 14)]), [len(value), value[5:15]], "STRLEN and GETRANGE")
        if c.command("GET", k) != value:
            raise Failed("GET gave other bytes than SET sent")
        expect(c.command("DEL", k), 1, "DEL")
    return f"{r.size['value']} MiB"


@check("redis", "basic", "keys and values of any bytes, and empty ones")
def binary(r: Run):
    every = bytes(range(256))
    pairs = [(r.key(k), v) for k, v in
             ((every, every * 3), (b"\r\n$5\r\n", b""), (b"\0", b"\0"), ("ü€ 漢", "ü€ 漢".encode()), (b"", b"\r\n*1\r\n"))]
    with r.wire() as c:
        expect(c.pipeline([("SET", *p) for p in pairs]), ["OK"] * len(pairs), "SET")
        expect(c.command("MGET", *(k for k, _ in pairs)), [v for _, v in pairs], "MGET")


@check("redis", "basic", "inline commands, as from telnet")
def inline(r: Run):
    k = r.key("inline")
    with r.wire() as c:
        c.send(b"PING\r\nSET " + k + b' "two words"\r\nGET ' + k + b"\n")
        expect([c.read() for _ in range(3)], ["PONG", "OK", b"two words"], "PING, SET and GET inline")


@check("redis", "basic", "RESP3: HELLO 3, maps, sets, doubles, and back")
def resp3(r: Run):
    h, s, z = r.key("r3-h"), r.key("r3-s"), r.key("r3-z")
    with r.wire() as c:
        c.pipeline([("HSET", h, "a", "1"), ("SADD", s, "m"), ("ZADD", z, "1.5", "m")])
        said = c.command("HELLO", "3")
        if not isinstance(said, Map) or dict((k, v) for k, v in said).get(b"proto") != 3:
            raise Failed(f"HELLO 3 answered {said!r:.150}", "nodes before Redis 6 have no RESP3")
        got = [(type(x).__name__, x) for x in c.pipeline([("HGETALL", h), ("SMEMBERS", s), ("ZSCORE", z, "m"), ("GET", r.key("r3-none"))])]
        expect(got, [("Map", Map([(b"a", b"1")])), ("Set", Set([b"m"])), ("Double", "1.5"), ("NoneType", None)], "replies of RESP3")
        c.command("HELLO", "2")
        expect(c.command("HGETALL", h), [b"a", b"1"], "HGETALL after HELLO 2")


@check("redis", "basic", "errors: one clear one for its request, the rest go on")
def errors(r: Run):
    h = r.key("err-h")
    with r.wire() as c:
        said = c.pipeline([("HSET", h, "f", "v"), ("GET", h), ("GET",), ("INCR", h), ("NOSUCHCOMMAND", "x"), ("HGET", h, "f")])
    for at, begins in ((1, "WRONGTYPE"), (2, "ERR wrong number of arguments"), (3, "WRONGTYPE"), (4, "ERR unknown command")):
        if not isinstance(said[at], Error) or not said[at].startswith(begins):
            raise Failed(f"answered {said[at]!r:.150}, expected an error that begins with {begins}")
    expect([said[0], said[5]], [1, b"v"], "the requests before and behind the errors")


@check("redis", "basic", "what a proxy cannot do is refused by name")
def refused(r: Run):
    a, b = r.key("{a}x"), r.key("{b}x")
    with r.wire() as c:
        for command in (("DBSIZE",), ("RANDOMKEY",), ("LASTSAVE",)):
            said = c.command(*command)
            if not isinstance(said, Error) or command[0].lower() not in said.lower():
                raise Failed(f"{command[0]} answered {said!r:.150}, expected an error that names it", "is the target a puerta, or a Redis itself?")
        c.command("SET", a, 1)
        said = c.command("RENAME", a, b)
        if not isinstance(said, Error) or not said.startswith("CROSSSLOT"):
            raise Failed(f"RENAME over two slots answered {said!r:.150}, expected CROSSSLOT", "is the target a puerta, or a Redis itself?")
        expect(c.command("GET", a), b"1", "the connection goes on")


@check("redis", "basic", "what is not Redis's protocol is refused")
def garbage(r: Run):
    for bad in (b"*3\r\nxyz\r\n", b"*1\r\n$-5\r\n", b"*99999999999\r\n"):
        with r.wire() as c:
            c.send(bad)
            said = c.read()
            if not isinstance(said, Error) or "Protocol error" not in said:
                raise Failed(f"{bad!r} answered {said!r:.150}")
            expect(c.closed(), b"", "what comes after a protocol error")
    with r.wire() as c:
        expect(c.command("PING"), "PONG", "PING of another connection")


@check("redis", "quick", "requests in small pieces, replies read late")
def pieces(r: Run):
    k = r.key("pieces")
    with r.wire() as c:
        for byte in encode("SET", k, "v" * 50) + encode("GET", k):
            c.send(bytes([byte]))
        expect([c.read(), c.read()], ["OK", b"v" * 50], "SET and GET, one byte a write")
    value = b"x" * 10_000
    with r.wire(timeout=60) as c:
        c.command("SET", k, value)
        n = 2000  # 20 MB of replies before the first is read
        c.send(encode("GET", k) * n)
        for i in range(n):
            if c.read() != value:
                raise Failed(f"reply {i} of {n} is another's")
    return f"{n} replies of {len(value)} bytes, unread at first"
