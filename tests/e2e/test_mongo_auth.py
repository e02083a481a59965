"""Authentication: passed through with forward = "connection"; with forward = "request" puerta logs in to backends, and checks clients against verifiers."""
import puerta as rig
import pymongo
import pytest
from bson.int64 import Int64
from mongo_wire import Wire, greeted, lsid
from mongos import DOWN, Trio, landing
from mongos_scram import verifier
from pymongo.errors import OperationFailure

USERS = {"app": "pencil", "other": "eraser", "puerta": "gate"}
BACKEND = {"user": "puerta", "password": "gate"}
HEALTH = {"interval": "200ms", "jitter": 0, "fall": 1, "rise": 1, "slow_start": "0s"}


@pytest.fixture(scope="module")
def trio():
    with Trio(users=USERS) as t:
        yield t


def whoami(port, **options):
    with pymongo.MongoClient(port=port, serverSelectionTimeoutMS=5000, **options) as c:
        return c.admin.command("whoami")


# ---- passed through ----

@pytest.fixture
def pair(start, trio):
    return start.keep(rig.Puerta.for_backends(trio.addresses, forward="connection", health=HEALTH))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "DEFAULT"])
def test_scram_passes_through(pair, mechanism):
    options = {} if mechanism == "DEFAULT" else {"authMechanism": mechanism}
    assert whoami(pair.port, username="app", password="pencil", **options)["user"] == "app"
    with pytest.raises(OperationFailure, match="Authentication failed"):
        whoami(pair.port, username="app", password="wrong", **options)


def test_a_client_without_a_user_meets_the_backends_answer(pair):
    with greeted(pair.port) as w:
        r = w.command({"find": "x"})
        assert r["ok"] == 0 and r["code"] == 13


# ---- puerta's own login ----

@pytest.mark.parametrize("mechanism", ["auto", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_puerta_logs_in(start, trio, mechanism):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward="request", health=HEALTH, backend_auth=BACKEND | {"mechanism": mechanism}))
    with greeted(p.port) as w:
        for _ in range(12):
            r = w.command({"whoami": 1, "lsid": lsid()}, "admin")
            assert r["ok"] == 1 and r["user"] == "puerta"
    used = {x["doc"]["mechanism"] for x in trio.log("saslStart") if x["doc"]} if mechanism != "auto" else {mechanism}
    assert mechanism in used


def test_auto_takes_the_best_both_know(start):
    with Trio(1, users=USERS) as own, Trio(1, users=USERS, mechanisms=["SCRAM-SHA-1"]) as old:
        p = start.keep(rig.Puerta.for_backends(own.addresses + old.addresses, forward="request", health=HEALTH, backend_auth=BACKEND))
        with greeted(p.port) as w:
            ports = {w.command({"whoami": 1, "lsid": lsid()}, "admin")["port"] for _ in range(40)}
        assert ports == {own[0].port, old[0].port}
        assert {x["doc"]["mechanism"] for x in own.log("saslStart")} == {"SCRAM-SHA-256"}
        assert {x["doc"]["mechanism"] for x in old.log("saslStart")} == {"SCRAM-SHA-1"}


def test_a_wrong_backend_password_takes_the_backend_out(start):
    with Trio(2, users=USERS) as own:
        own[0].set(users={"puerta": "changed"})
        p = start.keep(rig.Puerta.for_backends(own.addresses, forward="request", health=HEALTH, backend_auth=BACKEND))
        p.wait_log(DOWN % own[0].port)
        with greeted(p.port) as w:
            assert {w.command({"whoami": 1, "lsid": lsid()}, "admin")["port"] for _ in range(20)} == {own[1].port}
            own[0].set(users=USERS)
            landing(p, own[0])
        assert "gate" not in p.log()


# ---- clients checked by puerta ----

@pytest.fixture(scope="module")
def checked(trio):
    from conftest import Starter

    s = Starter()
    auth = [{"user": u, "verifier": verifier("SCRAM-SHA-256", u, USERS[u])} for u in ("app", "other")]
    yield s.keep(rig.Puerta.for_backends(trio.addresses, forward="request", affinity="session_id", health=HEALTH, backend_auth=BACKEND, auth=auth))
    s.end()


def test_users_are_let_in(checked):
    for mechanism in ({}, {"authMechanism": "SCRAM-SHA-256"}):
        for user in ("app", "other"):
            assert whoami(checked.port, username=user, password=USERS[user], **mechanism)["user"] == "puerta"


@pytest.mark.parametrize("user, password", [("app", "wrong"), ("app", "eraser"), ("nobody", "pencil"), ("puerta", "gate")])
def test_others_are_not(checked, user, password):
    with pytest.raises(OperationFailure, match="(?i)authentication failed") as e:
        whoami(checked.port, username=user, password=password, authMechanism="SCRAM-SHA-256")
    assert e.value.code == 18
    assert password not in checked.log()


def test_nothing_passes_before_authentication(checked, trio):
    name = "before_auth"
    with greeted(checked.port) as w:
        for command in ({"find": name}, {"insert": name, "documents": [{"_id": 1}]}, {"getMore": Int64(1), "collection": name}, {"whoami": 1},
                        {"killCursors": name, "cursors": [Int64(1)]}, {"commitTransaction": 1, "lsid": lsid(), "txnNumber": Int64(1), "autocommit": False}):
            r = w.command(command)
            assert r["ok"] == 0 and r["code"] == 13, (command, r)
        w.send({"insert": name, "documents": [{"_id": 2}]}, "test", flags=2)  # unacknowledged: no answer, no effect
        assert w.hello(client=False)["ok"] == 1
    assert not trio.documents(f"test.{name}")


def test_hello_tells_the_mechanism(checked):
    with Wire(checked.port) as w:
        assert w.hello(saslSupportedMechs="admin.app")["saslSupportedMechs"] == ["SCRAM-SHA-256"]
        # whoever asks must not learn who exists
        assert w.hello(client=False, saslSupportedMechs="admin.nobody").get("saslSupportedMechs") in (None, [], ["SCRAM-SHA-256"])


@pytest.mark.parametrize("payload", [b"", b"n,,", b"n,,n=app", b"p=tls-unique,,n=app,r=abc", b"y,,n=app,r=abc", b"n,,n=app,r=" + b"a" * 5000,
                                     b"\xff\xfe", b"n,,n=,r=x"])
def test_broken_conversations(checked, payload):
    with greeted(checked.port) as w:
        r = w.command({"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": payload}, "admin")
        if r["ok"]:
            r = w.command({"saslContinue": 1, "conversationId": r["conversationId"], "payload": payload}, "admin")
        assert r["ok"] == 0 and r["code"], r
        assert w.command({"find": "x"})["code"] == 13


def test_continue_without_start(checked):
    with greeted(checked.port) as w:
        assert w.command({"saslContinue": 1, "conversationId": 1, "payload": b"c=biws,r=x,p=eA=="}, "admin")["ok"] == 0
        assert w.command({"saslStart": 1, "mechanism": "PLAIN", "payload": b"\0app\0pencil"}, "admin")["ok"] == 0
        assert w.command({"find": "x"})["code"] == 13


def test_a_session_id_belongs_to_a_user(checked):
    """Two users that use the same lsid do not meet in one transaction."""
    with (pymongo.MongoClient(port=checked.port, username="app", password="pencil") as a,
          pymongo.MongoClient(port=checked.port, username="other", password="eraser") as b):
        with a.start_session() as s, b.start_session() as t:
            a.test.numbers.find_one({"n": 1}, session=s)
            cursor = a.test.numbers.find({"n": 30, "tag": "mine"}, batch_size=5, session=s)
            assert next(cursor)["_id"] == 0
            r = b.test.command({"getMore": Int64(cursor.cursor_id), "collection": "numbers"}, session=t, check=False)
            assert r["ok"] == 0, r
            assert [d["_id"] for d in cursor] == list(range(1, 30))
