"""Codes of errors: in what clients are told, where their text is puerta's own, and in the log."""
import re
import signal
from pathlib import Path

import puerta as rig
import pytest
from bson.int64 import Int64
from cluster import Cluster
from mongo_wire import greeted
from mongos import DOWN, Trio
from resp import Error
from slots import keys_in

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "ERRORS.md").read_text()


@pytest.fixture(scope="module")
def torn():
    with Cluster(node_timeout=60000, options={"cluster-require-full-coverage": "no"}) as c:
        yield c


def code_of(text):
    """Its code, which the page explains."""
    code = re.search(r"\((PT-[A-Z]\d\d)\)$", text)
    assert code and f"`{code[1]}`" in PAGE, text
    return code[1]


def test_texts_of_redis_stay_as_they_are(start, cluster):
    p = start(cluster, auth={"password": "right"})
    with p.connect() as c:
        for words in (("GET", "a"), ("AUTH", "wrong"), ("HELLO", "9"), ("NOSUCH", "x"), ("AUTH",)):
            assert "PT-" not in c.command(*words)
        assert c.command("AUTH", "right") == "OK"
        assert c.command("GET") == "ERR wrong number of arguments for 'get' command"
        assert c.command("RENAME", "a", "b") == "CROSSSLOT Keys in request don't hash to the same slot"
        assert code_of(c.command("KEYS", "*")) == "PT-C05"
    assert "error:" not in p.log()  # their errors are clients' own business


def test_a_node_that_hangs(start, torn):
    """First a timeout, then failing fast; both in the log, without the key."""
    p = start(torn, request_timeout="500ms", retry_interval="20s")
    node = torn.masters()[0]
    key = next(keys_in(torn.slots_of(node), "tellnobody"))
    with p.connect() as c:
        assert c.command("SET", key, "1") == "OK"
        node.signal(signal.SIGSTOP)
        try:
            reply = c.command("SET", key, "2")
            assert reply.startswith("ERR outcome unknown: ") and code_of(reply) == "PT-T04"
            reply = c.command("SET", key, "3")
            assert reply.startswith("ERR node ") and code_of(reply) == "PT-B02"
        finally:
            node.signal(signal.SIGCONT)
    p.wait_log(r"info  error: PT-T04: clients are told: ERR outcome unknown: node \S+ was lost after the request was sent: a request timed out")
    p.wait_log(rf"info  error: PT-B02: clients are told: ERR node {node.address} fails fast")
    p.wait_log(rf"warn  node: \S+ {node.address} fails fast: a request timed out \(PT-B02\)")
    assert "tellnobody" not in p.log()


def test_why_a_connection_ends(start, cluster):
    p = start(cluster, max_request="1MiB", max_bulk="4MiB", stream_above="4MiB")
    with p.connect() as c:
        c.send(b"POST / HTTP/1.1\r\n\r\n")
        assert c.closed() == b""
    p.wait_log(r"info  client: \S+: client \d+ closed: it speaks HTTP \(PT-C07\)")
    with p.connect() as c:
        c.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000\r\n")
        reply = c.read()
        assert isinstance(reply, Error) and code_of(reply) == "PT-P02"
        assert c.closed() == b""


@pytest.mark.parametrize("forward", ["connection", "request"])
def test_what_drivers_are_told(start, forward):
    """Code, name and labels are those they know; the code of puerta is in errmsg."""
    with Trio() as trio:
        health = {"interval": "50ms", "rise": 1, "fall": 1, "timeout": "500ms"}
        p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, health=health))
        with greeted(p.port) as w:
            if forward == "request":
                told = w.command({"getMore": Int64(77), "collection": "c"})
                assert (told["ok"], told["code"], told["codeName"]) == (0, 43, "CursorNotFound") and code_of(told["errmsg"]) == "PT-C10"
            assert w.command({"ping": 1})["ok"] == 1
            for m in trio:
                m.kill()
            for m in trio:
                p.wait_log(DOWN % m.port)
            try:
                told = w.command({"insert": "c", "documents": [{"secret": "tellnobody"}]})
                assert (told["code"], told["codeName"]) == (6, "HostUnreachable") and code_of(told["errmsg"]) in ("PT-B11", "PT-B12")
                p.wait_log(r"info  error: PT-B1[12]: clients are told: ")
            except ConnectionError:
                assert forward == "connection"
        with pytest.raises(ConnectionError):
            with greeted(p.port) as w:
                w.sock.sendall(b"\x04\x00\x00\x00" + b"x" * 20)
                w.recv()
        assert "tellnobody" not in p.log()
