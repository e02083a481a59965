"""hello: answered by puerta itself with forward = "request", and serviceId for clients that announce loadBalanced."""
import json
import os
import subprocess
import time
from pathlib import Path

import puerta as rig
import pymongo
import pytest
from bson import ObjectId
from bson.int64 import Int64
from cluster import wait_for
from conftest import Starter
from mongo_wire import EXHAUST, QUERY, Wire, awaiting, client_document, greeted, lsid
from mongos import DOWN, Trio

HERE = Path(__file__).resolve().parent
FAST = {"interval": "100ms", "timeout": "1s", "fall": 1, "rise": 1, "slow_start": "0s", "jitter": 0}


@pytest.fixture(scope="module")
def trio():
    with Trio() as t:
        yield t


@pytest.fixture(scope="module")
def proxy(trio):
    s = Starter()
    yield s.keep(rig.Puerta.for_backends(trio.addresses, forward="request", health=FAST))
    s.end()


@pytest.mark.parametrize("opcode", [None, QUERY], ids=["hello", "isMaster"])
def test_fields(proxy, opcode):
    with Wire(proxy.port) as w:
        r = w.hello("fields", **({"opcode": QUERY} if opcode else {}))
    assert r["ok"] == 1 and r["msg"] == "isdbgrid" and r["helloOk"] is True
    assert r["ismaster" if opcode else "isWritablePrimary"] is True
    assert (r["maxBsonObjectSize"], r["maxMessageSizeBytes"], r["maxWriteBatchSize"]) == (16 * 1024 * 1024, 48_000_000, 100_000)
    assert r["logicalSessionTimeoutMinutes"] == 30 and r["maxWireVersion"] == 25 and r["minWireVersion"] >= 0
    assert isinstance(r["topologyVersion"]["processId"], ObjectId) and isinstance(r["topologyVersion"]["counter"], int)
    assert isinstance(r["connectionId"], int) and not r.get("readOnly")
    assert not r.keys() & {"setName", "hosts", "me", "primary", "serviceId", "compression", "saslSupportedMechs"}


def test_hello_ok_only_when_asked(proxy):
    with Wire(proxy.port) as w:
        r = w.command({"hello": 1, "client": client_document()}, "admin")
        assert r["ok"] == 1 and "helloOk" not in r


def test_the_topology_version_is_puertas_own(proxy, trio):
    with greeted(proxy.port) as a, greeted(proxy.port) as b:
        one, other = a.hello(client=False)["topologyVersion"], b.hello(client=False)["topologyVersion"]
    assert one == other and str(one["processId"]) not in [m.process_id for m in trio]


def test_no_client_hello_reaches_a_backend(proxy, trio):
    for _ in range(20):
        greeted(proxy.port, "never to be seen").close()
    seen = [x for x in trio.log(("hello", "isMaster", "ismaster")) if "never to be seen" in json.dumps(x.get("doc"))]
    assert not seen


def test_an_awaitable_hello_waits(proxy):
    with greeted(proxy.port) as w:
        version = w.hello(client=False)["topologyVersion"]
        t = time.monotonic()
        r = w.hello(client=False, **awaiting(version, 300))
        assert r["ok"] == 1 and r["topologyVersion"] == version and time.monotonic() - t > 0.28


@pytest.mark.parametrize("stale", ["process", "counter"])
def test_a_stale_version_is_answered_at_once(proxy, stale):
    with greeted(proxy.port, timeout=20) as w:
        version = w.hello(client=False)["topologyVersion"]
        old = {"processId": ObjectId(), "counter": version["counter"]} if stale == "process" else version | {"counter": Int64(version["counter"] - 1)}
        assert w.hello(client=False, **awaiting(old, 600_000))["topologyVersion"] == version


@pytest.mark.parametrize("field", ["topologyVersion", "maxAwaitTimeMS"])
def test_half_an_awaitable_hello_is_an_error(proxy, field):
    with greeted(proxy.port) as w:
        both = awaiting(w.hello(client=False)["topologyVersion"], 100)
        r = w.hello(client=False, **{field: both[field]})
        assert r["ok"] == 0 and r["code"] == 51760
        assert w.command({"ping": 1})["ok"] == 1


def test_an_exhaust_hello_is_a_stream(proxy, trio):
    with greeted(proxy.port) as w:
        version = w.hello(client=False)["topologyVersion"]
        to = w.send({"hello": 1, **awaiting(version, 100)}, flags=EXHAUST)
        for _ in range(4):
            m = w.recv()
            assert m.response_to == to and m.more and m.doc["ok"] == 1 and m.doc["topologyVersion"] == version
            to = m.request_id


def test_a_change_of_what_backends_can_do_ends_the_wait(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request", health=FAST))
    with greeted(p.port) as w, greeted(p.port) as stream:
        before = w.hello(client=False)
        assert before["maxWireVersion"] == 25
        version = before["topologyVersion"]
        less = {"maxWireVersion": 21, "maxBsonObjectSize": 1 << 20, "maxWriteBatchSize": 1000, "logicalSessionTimeoutMinutes": 10}
        w.send({"hello": 1, **awaiting(version, 600_000)})
        stream.send({"hello": 1, **awaiting(version, 600_000)}, flags=EXHAUST)
        try:
            trio[1].set(hello_fields=less)
            for one in (w.recv(), stream.recv()):
                assert one.doc["topologyVersion"]["processId"] == version["processId"] and one.doc["topologyVersion"]["counter"] > version["counter"]
                assert {k: one.doc[k] for k in less} == less
        finally:
            trio[1].set(hello_fields={})
        m = stream.recv()  # the stream goes on and tells of the way back
        assert m.more and m.doc["maxWireVersion"] == 25


def test_a_lost_backend_does_not_end_the_wait(start):
    """Clients see one mongos, whatever happens behind it."""
    with Trio() as own:
        p = start.keep(rig.Puerta.for_backends(own.addresses, forward="request", health=FAST))
        with greeted(p.port) as w:
            version = w.hello(client=False)["topologyVersion"]
            at = p.mark()
            own[0].kill()
            p.wait_log(DOWN % own[0].port, since=at)
            r = w.hello(client=False, **awaiting(version, 200))
            assert r["ok"] == 1 and r["topologyVersion"] == version and r["msg"] == "isdbgrid"


def test_not_every_backend_is_a_mongos(start):
    with Trio() as own:
        own[1].set(hello_fields={"msg": None})
        p = start.keep(rig.Puerta.for_backends(own.addresses, forward="request", health=FAST))
        with Wire(p.port) as w:
            wait_for("the word of all three", 10, lambda: "msg" not in w.hello(client=False))


# ---- loadBalanced ----

@pytest.fixture(scope="module", params=["connection", "request"])
def balanced(request, trio):
    s = Starter()
    p = s.keep(rig.Puerta.for_backends(trio.addresses, forward=request.param, health=FAST))
    p.forward = request.param
    yield p
    s.end()


def test_service_id(balanced, trio):
    """Each connection has a backend, told by its serviceId; all are used."""
    ports = {}
    for _ in range(24):
        with Wire(balanced.port) as w:
            r = w.hello("lb", loadBalanced=True)
            assert isinstance(r["serviceId"], ObjectId), r
            for _ in range(3):  # other sessions, same connection: same backend
                ports.setdefault(r["serviceId"], set()).add(w.command({"whoami": 1, "lsid": lsid()}, "admin")["port"])
    assert all(len(p) == 1 for p in ports.values()), ports
    assert len(ports) == 3, ports
    assert {str(s) for s in ports} == {m.process_id for m in trio}


def test_no_service_id_for_others(balanced):
    with Wire(balanced.port) as w:
        assert "serviceId" not in w.hello("plain")
    with Wire(balanced.port) as w:
        assert "serviceId" not in w.hello("plain", loadBalanced=False)


def test_node_load_balanced(balanced, trio):
    trio.shards("drop", ns="balanced.pairs")
    uri = f"mongodb://127.0.0.1:{balanced.port}/?loadBalanced=true"
    p = subprocess.run([rig.NODE, str(HERE / "mongo_node/balanced.js"), uri], capture_output=True, text=True, timeout=60, env=os.environ)
    assert p.returncode == 0, p.stdout + p.stderr
    assert len(json.loads(p.stdout)["ports"]) > 1


def test_pymongo_load_balanced(balanced, trio):
    trio.shards("drop", ns="balanced.pairs")
    with pymongo.MongoClient(f"mongodb://127.0.0.1:{balanced.port}/?loadBalanced=true") as c:
        cursors = [c.balanced.numbers.find({"n": 30, "tag": f"p{i}"}, batch_size=7) for i in range(12)]
        first = [next(x) for x in cursors]  # all open at once: a connection each
        rest = [[d["_id"] for d in x] for x in cursors]
        assert rest == [list(range(1, 30))] * 12 and len({d["port"] for d in first}) > 1

        def both(s):
            c.balanced.pairs.insert_many([{"half": 1}, {"half": 2}], session=s)

        with c.start_session() as s:
            s.with_transaction(both)
        assert c.balanced.pairs.count_documents({}) == 2
