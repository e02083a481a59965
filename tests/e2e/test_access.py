"""The access log: a line for each connection, and for a share of the requests; off by default, and never with keys or values."""
import json
import re

import puerta as rig
import pytest
from bson.int64 import Int64
from cluster import wait_for
from mongo_wire import greeted
from mongos import Trio
from puerta import RELOADED, config, listener

REQUEST = re.compile(r"info  access: request listener=(\S+) command=(\S+) (slot|ns)=(\S+) node=(\S+) us=(\d+) outcome=(\S+)$", re.M)
CONNECTION = re.compile(r"info  access: connection listener=(\S+) at=(\S+) from=(\S+) s=(\d+\.\d{3}) requests=(\d+) in=(\d+) out=(\d+) why=(.*)$", re.M)


def lines(p, pattern, n, since=0):
    """n lines of that form, and no more."""
    wait_for(f"{n} lines", 10, lambda: len(pattern.findall(p.log(since))) >= n)
    found = pattern.findall(p.log(since))
    assert len(found) == n, found
    return found


def test_off_by_default(start, cluster):
    p = start(cluster)
    with p.connect() as c:
        assert c.command("SET", "a", "1") == "OK"
    with p.connect() as c:
        assert c.command("GET", "a") == b"1"
    assert "access:" not in p.log()


def test_redis(start, cluster):
    p = start(cluster, top={"log": {"access": {"sample": 1}}, "workers": 1})
    nodes = set(cluster.addresses)
    with p.connect() as c:
        mine = "%s:%d" % c.sock.getsockname()
        assert c.command("SET", "{tellnobody}a", "tellnobody") == "OK"
        assert c.command("GET", "{tellnobody}a") == b"tellnobody"
        assert c.command("LPUSH", "{tellnobody}a", "x").startswith("WRONGTYPE")
        assert c.command("EVAL", "return redis.error_reply('tellnobody')", "1", "{tellnobody}a") is not None
        assert c.command("PING") == "PONG"  # no node is asked
        sent = p.log()
    found = lines(p, REQUEST, 4)
    assert [(f[1], f[6]) for f in found] == [("set", "ok"), ("get", "ok"), ("lpush", "WRONGTYPE"), ("eval", "ERR")], found
    assert len({f[3] for f in found}) == 1 and all(f[2] == "slot" and f[4] in nodes for f in found)
    name, at, source, seconds, requests, into, out, why = lines(p, CONNECTION, 1)[0]
    assert (at, source, requests, why) == (f"127.0.0.1:{p.port}", mine, "5", "-") and int(into) > 150 and int(out) > 20 and float(seconds) < 60
    with p.connect() as c:
        c.send(b"POST / HTTP/1.1\r\n\r\n")
        assert c.closed() == b""
    assert lines(p, CONNECTION, 2)[1][7] == '"it speaks HTTP (PT-C07)"'
    assert "tellnobody" not in p.log() + sent


def test_a_share_of_the_requests(start, cluster):
    """Every tenth of a worker, pipelined or not, splits included; and a reload ends it."""
    text = {"connections": False, "sample": 0.1}
    p = start(cluster, top={"log": {"access": text}, "workers": 1})
    with p.connect() as c:
        assert c.pipeline([("GET", f"k{i}") for i in range(995)]) == [None] * 995
        assert c.command("MGET", *(f"k{i}" for i in range(50))) == [None] * 50
        lines(p, REQUEST, 104)  # of 995 and 50 parts
        at = p.reload(config(listener(cluster, p.port), workers=1))
        p.wait_log(RELOADED, since=at)
        c.pipeline([("GET", f"k{i}") for i in range(500)])
    assert not REQUEST.findall(p.log(at)) and not CONNECTION.findall(p.log())


def test_a_file_of_its_own(start, cluster):
    """As JSON; what is shown of the log has no say in it."""
    p = start(cluster, top={"log": {"level": "error", "format": "json", "access": {"sample": 1, "to": "./access.log"}}}, ready=False)
    file = p.dir / "access.log"
    wait_for("it to serve", 20, file.exists)

    def served():
        try:
            with p.connect() as c:
                return c.command("SET", "a", "1") == "OK"
        except OSError:
            return False

    wait_for("it to serve", 20, served)
    wait_for("two lines", 10, lambda: len([x for x in file.read_text().splitlines() if "listener=" in x]) >= 2)
    docs = [json.loads(x) for x in file.read_text().splitlines()]
    assert {d["event"] for d in docs} == {"access"} and any(d["msg"].startswith("request listener=") for d in docs)
    assert "access" not in p.log()


@pytest.mark.parametrize("forward", ["connection", "request"])
def test_mongodb(start, forward):
    with Trio() as trio:
        p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, top={"workers": 1, "log": {"access": {"sample": 1}}}))
        at = p.mark()
        with greeted(p.port) as w:
            mine = f"127.0.0.1:{w.local_port}"
            assert w.command({"insert": "carts", "documents": [{"_id": 1, "x": "tellnobody"}]}, "shop")["ok"] == 1
            reply = w.command({"find": "carts", "filter": {"x": "tellnobody"}, "batchSize": 1}, "shop")
            assert reply["ok"] == 1
            assert not w.command({"getMore": Int64(4711), "collection": "carts"}, "shop")["ok"]
            assert w.command({"ping": 1}, "admin")["ok"] == 1
        found = [f for f in lines(p, REQUEST, 4 if forward == "request" else 5, since=at) if f[1] not in ("hello", "isMaster", "ismaster")]
        assert [(f[1], f[3], f[6]) for f in found] == [("insert", "shop.carts", "ok"), ("find", "shop.carts", "ok"), ("getMore", "shop", "error-43"), ("ping", "admin", "ok")]
        assert all(f[4] in trio.addresses for f in found if f[1] != "getMore")
        name, bind, source, seconds, requests, into, out, why = lines(p, CONNECTION, 1, since=at)[0]
        assert (bind, source, requests, why) == (f"127.0.0.1:{p.port}", mine, "5", "-") and int(into) > 200 and int(out) > 200
        assert "tellnobody" not in p.log()
