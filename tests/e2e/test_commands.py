"""What each command does through puerta, compared with what the servers do."""
import random
import time

import pytest
import redis
from resp import Conn, Error, Map, Status, typed
from slots import slot

# ---- random pipelines against a direct cluster client ----

def value(r):
    return r.choice(["", "a", "x" * 40, "ü€", "12", "-3", "1.5", "\0\1\r\n", "y" * 2000])


def random_command(r, k):
    """A command over all data types; k(type) gives a key. Keys of one command share a tag."""
    f, n = r.choice("abcde"), str(r.randint(-3, 9))
    s, h, l, t, z, x, g, p = (k(c) for c in "shltzxgp")
    return r.choice([
        lambda: ("SET", s, value(r)), lambda: ("GET", s), lambda: ("GETSET", s, value(r)), lambda: ("APPEND", s, f), lambda: ("STRLEN", s),
        lambda: ("INCRBY", s, n), lambda: ("INCRBYFLOAT", s, "0.5"), lambda: ("DECR", s), lambda: ("SETRANGE", s, "3", f), lambda: ("GETRANGE", s, "0", n),
        lambda: ("SETNX", s, f), lambda: ("GETDEL", s), lambda: ("SETBIT", s, "7", "1"), lambda: ("BITCOUNT", s), lambda: ("BITFIELD", s, "INCRBY", "u8", "0", "1"),
        lambda: ("SET", s, f, "EX", "1000", "GET"), lambda: ("GETEX", s, "PERSIST"), lambda: ("EXPIRE", s, "1000", "NX"), lambda: ("TTL", k("s") + "none"),
        lambda: ("PERSIST", s), lambda: ("TYPE", k(r.choice("shltzx"))), lambda: ("EXISTS", s), lambda: ("DEL", k(r.choice("shltz"))),
        lambda: ("HSET", h, f, value(r)), lambda: ("HGET", h, f), lambda: ("HDEL", h, f), lambda: ("HLEN", h), lambda: ("HINCRBY", h, "n", n),
        lambda: ("HMGET", h, "a", "b", "n"), lambda: ("HEXISTS", h, f), lambda: ("HSETNX", h, f, "1"), lambda: ("HSTRLEN", h, f), lambda: ("HVALS", h + "none"),
        lambda: ("RPUSH", l, f, value(r)), lambda: ("LPUSH", l, f), lambda: ("LPOP", l), lambda: ("RPOP", l, "2"), lambda: ("LRANGE", l, "0", "-1"),
        lambda: ("LLEN", l), lambda: ("LINDEX", l, n), lambda: ("LSET", l, "0", f), lambda: ("LREM", l, "1", f), lambda: ("LTRIM", l, "0", "20"),
        lambda: ("LINSERT", l, "BEFORE", f, "in"), lambda: ("LPOS", l, f), lambda: ("LMOVE", l, k("L"), "LEFT", "RIGHT"), lambda: ("RPOPLPUSH", l, k("L")),
        lambda: ("LMPOP", "2", l, k("L"), "LEFT"),
        lambda: ("SADD", t, f), lambda: ("SREM", t, f), lambda: ("SCARD", t), lambda: ("SISMEMBER", t, f), lambda: ("SMISMEMBER", t, "a", "b", "c"),
        lambda: ("SMOVE", t, k("T"), f), lambda: ("SINTERCARD", "2", t, k("T")), lambda: ("SUNIONSTORE", k("U"), t, k("T")), lambda: ("SORT", t, "ALPHA"),
        lambda: ("ZADD", z, n, f), lambda: ("ZADD", z, "NX", "CH", n, f), lambda: ("ZINCRBY", z, "1.5", f), lambda: ("ZRANGE", z, "0", "-1", "WITHSCORES"),
        lambda: ("ZRANK", z, f), lambda: ("ZSCORE", z, f), lambda: ("ZMSCORE", z, "a", "zz"), lambda: ("ZRANGEBYSCORE", z, "-inf", "+inf", "LIMIT", "0", "2"),
        lambda: ("ZPOPMIN", z), lambda: ("ZREM", z, f), lambda: ("ZCARD", z), lambda: ("ZUNIONSTORE", k("Z"), "2", z, k("Y"), "WEIGHTS", "2", "1"),
        lambda: ("ZUNION", "2", z, k("Y"), "WITHSCORES"), lambda: ("ZRANGESTORE", k("Z"), z, "0", "1"), lambda: ("ZLEXCOUNT", z, "-", "+"),
        lambda: ("XADD", x, "MAXLEN", "10", f"{r.randint(1, 5000)}-{r.randint(1, 99)}", f, "v"), lambda: ("XRANGE", x, "-", "+"), lambda: ("XLEN", x),
        lambda: ("XREAD", "COUNT", "2", "STREAMS", x, k("X"), "0", "0"), lambda: ("XDEL", x, "1-1"), lambda: ("XGROUP", "CREATE", x, "grp", "0", "MKSTREAM"),
        lambda: ("XREADGROUP", "GROUP", "grp", "me", "COUNT", "1", "STREAMS", x, ">"), lambda: ("XTRIM", x, "MAXLEN", "5"),
        lambda: ("GEOADD", g, "13.361389", "38.115556", f), lambda: ("GEODIST", g, "a", "b", "km"), lambda: ("GEOHASH", g, f),
        lambda: ("GEOSEARCH", g, "FROMLONLAT", "13", "38", "BYRADIUS", "500", "km", "ASC"), lambda: ("GEOSEARCHSTORE", k("G"), g, "FROMLONLAT", "13", "38", "BYRADIUS", "500", "km"),
        lambda: ("GEORADIUS", g, "13", "38", "500", "km", "STORE", k("G")),
        lambda: ("PFADD", p, f, n), lambda: ("PFCOUNT", p, k("q")), lambda: ("PFMERGE", k("q"), p),
        lambda: ("BITOP", "OR", k("o"), s, k("S")), lambda: ("COPY", s, k("S"), "REPLACE"), lambda: ("RENAME", s, k("S")), lambda: ("RENAMENX", s, k("S")),
        lambda: ("SORT", l, "ALPHA", "STORE", k("M")), lambda: ("LCS", s, k("S")),
        lambda: ("EVAL", "return {KEYS[1]:len(), redis.call('INCR', KEYS[1] .. 'ev'), ARGV[1]}", "1", s, f), lambda: ("EVAL", "return redis.error_reply('MY error')", "1", s),
        lambda: ("EVAL_RO", "return redis.call('EXISTS', KEYS[1])", "1", s), lambda: ("OBJECT", "HELP"), lambda: ("OBJECT", "REFCOUNT", k("none")),
        lambda: ("DUMP", k("none")), lambda: ("TOUCH", s), lambda: ("UNLINK", k("S")), lambda: ("LPUSH", h, f), lambda: ("INCR", l),
        lambda: ("PING",), lambda: ("ECHO", value(r)),
    ])()


class Direct:
    """redis-py's cluster client with its reply callbacks off: replies as the servers give them."""

    def __init__(self, cluster):
        self.rc = redis.cluster.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port, protocol=2)
        self.rc.cluster_response_callbacks = {}
        for n in self.rc.get_nodes():
            self.rc.get_redis_connection(n).response_callbacks.clear()

    def __call__(self, *args):
        try:
            if args[0] in ("PING", "ECHO", "OBJECT") and len(args) < 3:
                node = self.rc.get_primaries()[0]
                return self.plain(self.rc.get_redis_connection(node).execute_command(*args))
            return self.plain(self.rc.execute_command(*args))
        except redis.RedisError as e:
            return "error: " + str(e).removeprefix("ERR ")

    def plain(self, v):
        if isinstance(v, (bytes, bytearray)):
            return bytes(v)
        if isinstance(v, str):
            return v.encode()
        return [self.plain(x) for x in v] if isinstance(v, list) else v


def plain(v):
    if isinstance(v, Error):
        return "error: " + v.removeprefix("ERR ")
    if isinstance(v, str):
        return v.encode()
    return [plain(x) for x in v] if isinstance(v, list) else v


@pytest.mark.threads
def test_200_random_pipelines_as_a_direct_cluster_client(proxy, cluster):
    direct = Direct(cluster)
    replies = errors = 0
    with proxy.connect() as c:
        for round_ in range(200):
            r = random.Random(round_)
            tag = f"{{{r.randint(0, 40)}}}"
            commands = [random_command(r, lambda kind: f"{tag}@{kind}{r.randint(0, 1)}") for _ in range(r.randint(1, 60))]
            want = [direct(*[a.replace("@", "direct:") for a in cmd]) for cmd in commands]
            got = c.pipeline([[a.replace("@", "puerta:") for a in cmd] for cmd in commands])
            for cmd, w, g in zip(commands, want, got):
                w, g = repr(w).replace("direct:", "@"), repr(plain(g)).replace("puerta:", "@")
                assert g == w, f"pipeline {round_}: {cmd}"
                replies += 1
                errors += w.startswith("'error")
    assert replies > 4000 and 50 < errors < replies / 2  # the commands do meet data, and errors are among the replies


# ---- fan-out ----

def test_fan_out_merges_in_order(proxy, cluster):
    keys = [f"fan:{i}" for i in range(100)]
    assert len({cluster.owner_of(k) for k in keys}) == 3
    with proxy.connect() as c:
        c.command("DEL", *keys)
        assert c.command("MSET", *[x for k in keys[:90] for x in (k, "v" + k)]) == "OK"
        order = random.Random(1).choices(keys, k=300)
        assert c.command("MGET", *order) == [("v" + k).encode() if k in keys[:90] else None for k in order]
        assert c.command("EXISTS", *order) == sum(k in keys[:90] for k in order)
        assert c.command("TOUCH", *keys) == 90
        assert c.command("MSET", keys[0], "1", keys[1], "2", keys[0], "3") == "OK"  # the last one wins
        assert c.command("MGET", keys[0], keys[1]) == [b"3", b"2"]
        assert c.command("DEL", *keys[:40]) == 40
        assert c.command("UNLINK", *keys) == 50
        assert c.command("EXISTS", *keys) == 0


def test_fan_out_in_a_pipeline_keeps_the_order(proxy):
    """Each part sees the writes before it on the same connection."""
    r = random.Random(9)
    model, commands, want = {}, [], []
    names = [f"fo{i}" for i in range(30)]
    with proxy.connect() as c:
        c.command("DEL", *names)
        for i in range(1500):
            some = r.sample(names, r.randint(1, 8))
            kind = r.random()
            if kind < 0.3:
                commands.append(["MSET", *[x for k in some for x in (k, f"{i}")]])
                model.update({k: b"%d" % i for k in some})
                want.append("OK")
            elif kind < 0.6:
                commands.append(["MGET", *some])
                want.append([model.get(k) for k in some])
            elif kind < 0.7:
                commands.append([r.choice(["DEL", "UNLINK"]), *some])
                want.append(sum(model.pop(k, None) is not None for k in some))
            elif kind < 0.8:
                commands.append([r.choice(["EXISTS", "TOUCH"]), *some])
                want.append(sum(k in model for k in some))
            elif kind < 0.9:
                commands.append(["SET", some[0], f"s{i}"])
                model[some[0]] = b"s%d" % i
                want.append("OK")
            else:
                commands.append(["GET", some[0]])
                want.append(model.get(some[0]))
        for i in range(0, len(commands), 150):
            assert c.pipeline(commands[i : i + 150]) == want[i : i + 150]


def test_fan_out_large_values(proxy):
    keys = [f"fl{i}" for i in range(12)]
    values = [bytes([65 + i]) * (400_000 if i % 2 else 3) for i in range(12)]
    with proxy.connect() as c:
        assert c.command("MSET", *[x for kv in zip(keys, values) for x in kv]) == "OK"
        assert c.command("MGET", *keys, "fl-none") == [*values, None]
        assert c.command("DEL", *keys) == 12


def test_fan_out_wrong_type_is_nil_as_in_redis(proxy):
    with proxy.connect() as c:
        c.pipeline([("DEL", "fw1", "fw2", "fw3"), ("SET", "fw1", "a"), ("LPUSH", "fw2", "l"), ("SET", "fw3", "b")])
        assert c.command("MGET", "fw1", "fw2", "fw3") == [b"a", None, b"b"]
        assert c.command("DEL", "fw1", "fw2", "fw3") == 3


@pytest.mark.parametrize("hello", ["2", "3"])
def test_fan_out_when_one_node_refuses(proxy, cluster, hello):
    """A part that fails makes the whole an error that says so, and puts nothing out of step; the other parts are done."""
    masters = cluster.masters()
    keys = [next(k for k in (f"fe{i}" for i in range(10**6)) if slot(k) in cluster.slots_of(m)) for m in masters]
    with proxy.connect() as c:
        c.command("HELLO", hello)
        c.command("DEL", *keys)
        masters[1].call("CONFIG", "SET", "maxmemory", "1")
        try:
            reply, after = c.pipeline([["MSET", *[x for k in keys for x in (k, "v")]], ["PING"]])
        finally:
            masters[1].call("CONFIG", "SET", "maxmemory", "0")
        assert isinstance(reply, Error) and "OOM" in reply
        assert after == "PONG"
        assert c.command("MGET", *keys) == [b"v", None, b"v"]
        assert c.command("DEL", *keys) == 2


@pytest.mark.parametrize("command", [
    "RENAME a b", "SINTER a b", "SUNIONSTORE a b c", "ZUNION 2 a b", "BITOP AND a b c", "COPY a b", "LMOVE a b LEFT LEFT", "PFCOUNT a b", "EVAL return 2 a b",
    "XREAD STREAMS a b 0 0", "SORT a STORE b", "GEORADIUS a 1 1 1 km STORE b", "MSETNX a 1 b 2", "LMPOP 2 a b LEFT", "SMOVE a b x",
])
def test_crossslot_as_the_server(proxy, cluster, command):
    with proxy.connect() as c, cluster.owner_of("a").connect() as direct:
        reply, after = c.pipeline([command.split(), ["PING"]])
        assert reply == direct.command(*command.split()) == "CROSSSLOT Keys in request don't hash to the same slot"
        assert isinstance(reply, Error) and after == "PONG"


# ---- what the server would say ----

def test_wrong_arity_of_every_command_as_the_server(proxy, cluster):
    """Every command of the server that needs arguments, sent without one."""
    with proxy.connect() as c, cluster.nodes[0].connect() as direct:
        table = [(e[0].decode(), e[1]) for e in direct.command("COMMAND")]
        asked = 0
        for name, arity in table:
            if abs(arity) > 1:
                got = c.command(name)
                if "not supported" in got:
                    continue
                assert isinstance(got, Error) and got == direct.command(name), name
                asked += 1
        assert asked > 120
        for words in ("GET a b", "SET a", "HSET a b", "MSET a b c", "CLIENT SETNAME", "CLIENT GETNAME x", "OBJECT ENCODING", "XGROUP CREATE a", "PING a b", "ECHO", "TIME x"):
            got = c.command(*words.split())
            assert isinstance(got, Error) and got == direct.command(*words.split()), words


@pytest.mark.parametrize("words", [
    ["FOO"], ["foo", "bar", "baz"], ["NoSuch", "x" * 300], ["GETT", *["a" * 50] * 10], ["b\0in\r\nary", "\r\n"], ["x" * 300], ["OBJECT", "NOSUCH", "k"],
    ["CLIENT", "NOSUCH"], ["XGROUP", "NOSUCH", "k"],
])
def test_unknown_commands_as_the_server(proxy, cluster, words):
    with proxy.connect() as c, cluster.nodes[0].connect() as direct:
        reply, after = c.pipeline([words, ["PING"]])
        assert isinstance(reply, Error) and reply == direct.command(*words)
        assert after == "PONG"


@pytest.mark.parametrize("words", [
    "EVAL return x", "EVAL return 5 a", "EVAL return -1", "XREAD STREAMS a", "XREAD COUNT 1", "ZUNIONSTORE d x a", "ZUNION 0 a", "LMPOP 0 a LEFT", "SINTERCARD 9 a",
    "SET a b NX XX", "GEOSEARCH a", "OBJECT FREQ a b",
])
def test_senseless_arguments_as_the_server(proxy, cluster, words):
    with proxy.connect() as c, cluster.owner_of("a").connect() as direct:
        got, want = c.command(*words.split()), direct.command(*words.split())
        assert isinstance(got, Error) and got == want


@pytest.mark.parametrize("words", [
    "MULTI", "EXEC", "DISCARD", "WATCH a", "UNWATCH", "SUBSCRIBE ch", "PSUBSCRIBE p*", "SSUBSCRIBE ch", "UNSUBSCRIBE", "BLPOP a 0", "BRPOP a 0", "BLMOVE a a LEFT LEFT 0", "BZPOPMIN a 0",
    "BLMPOP 0 1 a LEFT", "XREAD BLOCK 0 STREAMS a $", "XREADGROUP GROUP g c BLOCK 0 STREAMS a >", "WAIT 1 0", "KEYS *", "SCAN 0", "DBSIZE", "RANDOMKEY", "FLUSHALL", "FLUSHDB", "SHUTDOWN", "DEBUG SLEEP 0", "CONFIG SET maxmemory 0", "SCRIPT LOAD x", "FUNCTION LIST",
    "REPLICAOF NO ONE", "MONITOR", "SAVE", "ACL WHOAMI", "CLUSTER RESET", "SYNC", "SWAPDB 0 1", "MOVE a 1",
])
def test_unsupported_commands_say_so_at_once(proxy, words):
    name = words.split()[0].lower()
    with proxy.connect(timeout=5) as c:
        before, reply, after = c.pipeline([["SET", "un", "1"], words.split(), ["GET", "un"]])
        assert isinstance(reply, Error) and reply.startswith("ERR ") and name in reply.lower() and "not supported" in reply
        assert (before, after) == ("OK", b"1")


# ---- answered by puerta itself ----

def test_local_commands(proxy):
    with proxy.connect() as c:
        assert c.pipeline([["PING"], ["PING", "hi"], ["ECHO", ""], ["SELECT", "0"], ["READONLY"], ["READWRITE"]]) == ["PONG", b"hi", b"", "OK", "OK", "OK"]
        assert isinstance(c.command("SELECT", "1"), Error) and isinstance(c.command("SELECT", "x"), Error)
        seconds, micros = map(int, c.command("TIME"))
        assert abs(seconds - time.time()) < 5 and 0 <= micros < 10**6
        assert c.command("CLIENT", "GETNAME") is None
        assert c.command("CLIENT", "SETNAME", "me") == "OK"
        assert c.command("CLIENT", "GETNAME") == b"me"
        assert isinstance(c.command("CLIENT", "SETNAME", "two words"), Error)
        assert c.command("CLIENT", "SETINFO", "LIB-NAME", "x") == "OK"
        assert c.command("CLIENT", "NO-EVICT", "on") == "OK"
        me = c.command("CLIENT", "ID")
        with proxy.connect() as other:
            assert 0 < me < other.command("CLIENT", "ID")
        info = dict(f.split("=", 1) for f in c.command("CLIENT", "INFO").decode().split())
        assert info["id"] == str(me) and info["name"] == "me" and info["addr"] == "127.0.0.1:%d" % c.sock.getsockname()[1]
        assert c.command("RESET") == "RESET"
        assert c.command("CLIENT", "GETNAME") is None


def test_hello(proxy):
    with proxy.connect() as c:
        assert c.command("HELLO", "4").startswith("NOPROTO")
        assert isinstance(c.command("HELLO", "x"), Error)
        two = c.command("HELLO")
        assert two[two.index(b"proto") + 1] == 2 and two[two.index(b"server") + 1] == b"redis"
        three = c.command("HELLO", "3", "SETNAME", "resp3")
        assert isinstance(three, Map) and dict(three)[b"proto"] == 3
        assert c.command("CLIENT", "GETNAME") == b"resp3"
        # The switch is exact within a pipeline: what comes before is answered in the old protocol, what follows in the new.
        c.command("DEL", "hello:h")
        kinds = c.pipeline([["HGETALL", "hello:h"], ["HELLO", "2"], ["HGETALL", "hello:h"], ["GET", "hello:none"], ["HELLO", "3"], ["HGETALL", "hello:h"]])
        assert [type(k) for k in kinds] == [Map, list, list, type(None), Map, Map]
        assert c.command("RESET") == "RESET"
        assert type(c.command("HGETALL", "hello:h")) is list


def test_command_command(proxy, cluster):
    with proxy.connect() as c, cluster.nodes[0].connect() as direct:
        assert c.command("COMMAND", "COUNT") == direct.command("COMMAND", "COUNT")
        assert typed(c.command("COMMAND", "INFO", "get", "nosuch", "xread")) == typed(direct.command("COMMAND", "INFO", "get", "nosuch", "xread"))
        assert c.command("COMMAND", "GETKEYS", "SET", "a", "b") == [b"a"]
        assert len(c.command("COMMAND")) == len(direct.command("COMMAND"))
        assert b"summary" in c.command("COMMAND", "DOCS", "get")[1]


def test_quit(proxy):
    with proxy.connect() as c:
        c.send(b"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\nQUIT\r\nPING\r\n")
        assert c.closed() == b"$-1\r\n+OK\r\n"


def test_half_closed_client_is_answered(proxy):
    """printf ... | nc: the end of input is not the end of interest."""
    with proxy.connect() as c:
        c.send(b"SET hc 1\r\n" + b"INCR hc\r\n" * 100)
        c.sock.shutdown(1)
        assert c.closed() == b"+OK\r\n" + b"".join(b":%d\r\n" % i for i in range(2, 102))


def test_status_replies_stay_status(proxy):
    with proxy.connect() as c:
        assert [type(x) for x in c.pipeline([["SET", "st", "OK"], ["GET", "st"], ["TYPE", "st"]])] == [Status, bytes, Status]


def test_several_connections_at_once(proxy):
    """Replies never cross between clients whose requests share a connection to a node."""
    conns = [Conn(proxy.port) for _ in range(60)]
    for r in range(30):
        for i, c in enumerate(conns):
            c.send(b"*3\r\n$3\r\nSET\r\n$6\r\nsc%04d\r\n$8\r\n%08d\r\n*2\r\n$3\r\nGET\r\n$6\r\nsc%04d\r\n" % (i, r * 100 + i, i))
        for i, c in enumerate(conns):
            assert (c.read(), c.read()) == ("OK", b"%08d" % (r * 100 + i))
    for c in conns:
        c.close()


def test_config_get_shows_nothing_secret(proxy):
    with proxy.connect() as c:
        assert c.command("CONFIG", "GET", "save")[0] == b"save"
        assert c.command("config", "get", "APPENDONLY", "maxmemory")[1::2]
        for words in (["*"], ["requirepass"], ["masterauth"], ["save", "*pass*"], ["sav?"]):
            reply = c.command("CONFIG", "GET", *words)
            assert isinstance(reply, Error) and "shows save" in reply, words
