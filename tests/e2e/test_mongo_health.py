"""Health checks: what takes a backend out, how soon, and what brings it back."""
import re
import signal
import socket
import time

import puerta as rig
import pytest
from cluster import free_port, wait_for
from mongo_wire import Wire, greeted, lsid
from mongos import DOWN, UP, Trio, landing

INTERVAL, TIMEOUT, FALL, RISE = 0.3, 0.3, 3, 2
HEALTH = {"interval": "300ms", "timeout": "300ms", "fall": FALL, "rise": RISE, "jitter": 10, "slow_start": "0s"}


@pytest.fixture
def trio():
    with Trio() as t:
        yield t


def ports(p, n=40):
    """The backends that n new sessions get."""
    with greeted(p.port) as w:
        return {w.command({"whoami": 1, "lsid": lsid()}, "admin")["port"] for _ in range(n)}


def proxy(start, trio, health=None, **options):
    return start.keep(rig.Puerta.for_backends(trio.addresses, **{"forward": "request", "affinity": "session_id"} | options, health=HEALTH | (health or {})))


def cut(way):
    """Connections and hellos end in it: the connections of the pool, too, which are open already."""
    return lambda m: m.set(accept=way, fail={x: {"action": way} for x in ("hello", "isMaster")})


HARMS = {
    "ok 0": (lambda m: m.set(hello_error=[11600, "InterruptedAtShutdown"]), lambda m: m.set(hello_error=None)),
    "SIGSTOP": (lambda m: m.kill(signal.SIGSTOP), lambda m: m.kill(signal.SIGCONT)),
    "hang": (lambda m: m.set(hang=True), lambda m: (m.kill(), m.settings.update(hang=False), m.start())),
    "close at once": (cut("close"), lambda m: m.set(accept=None, fail={})),
    "reset at once": (cut("reset"), lambda m: m.set(accept=None, fail={})),
    "kill -9": (lambda m: m.kill(), lambda m: m.start()),
    "not writable": (lambda m: m.set(hello_fields={"ismaster": False, "isWritablePrimary": False}), lambda m: m.set(hello_fields={})),
}


@pytest.mark.parametrize("what", HARMS)
def test_a_sick_backend_is_taken_out_and_comes_back(start, trio, what):
    p = proxy(start, trio)
    sick = trio[1]
    assert ports(p) == {m.port for m in trio}
    harm, heal = HARMS[what]
    at, since = p.mark(), time.monotonic()
    harm(sick)
    p.wait_log(DOWN % sick.port, since=at)
    took = time.monotonic() - since
    promised = INTERVAL * 1.1 * FALL + TIMEOUT
    print(f"{what}: out after {took:.2f} s; interval x fall + timeout is {promised:.2f} s")
    assert ports(p) == {m.port for m in trio if m is not sick}
    at = p.mark()
    heal(sick)
    landing(p, sick)
    wait_for("a line in the log", 10, lambda: re.search(UP % sick.port, p.log(at)))


def test_a_sick_backend_is_out_within_what_is_promised(start, trio):
    """The figures of the test before, with an interval that a slow machine does not matter to: fall checks and one timeout."""
    p = proxy(start, trio, {"interval": "1s", "timeout": "1s", "fall": 2})
    at, since = p.mark(), time.monotonic()
    trio[0].kill(signal.SIGSTOP)
    p.wait_log(DOWN % trio[0].port, since=at, seconds=15)
    print(f"SIGSTOP: out after {time.monotonic() - since:.2f} s; interval x fall + timeout is 3.2 s with jitter")
    trio[0].kill(signal.SIGCONT)


def test_one_bad_check_does_not_take_it_out(start, trio):
    p = proxy(start, trio)
    at = p.mark()
    for _ in range(3):
        before = time.time()
        trio[0].set(fail={x: {"action": "error", "code": 6, "times": 1} for x in ("hello", "isMaster")})
        wait_for("a good check after it", 10, lambda: len(trio[0].log(("hello", "isMaster", "ismaster"), before)) >= 4)
    assert not re.search(DOWN % trio[0].port, p.log(at))


def test_isMaster_will_do(start, trio):
    """Servers that do not know hello in OP_MSG are asked in OP_QUERY."""
    trio[0].set(legacy_only=True)
    p = proxy(start, trio)
    assert ports(p) == {m.port for m in trio}


def test_require_mongos(start, trio):
    trio[2].set(hello_fields={"msg": None})
    p = proxy(start, trio, {"require_mongos": True})
    p.wait_log(DOWN % trio[2].port)
    assert ports(p) == {trio[0].port, trio[1].port}
    at = p.mark()
    trio[2].set(hello_fields={})
    landing(p, trio[2])
    assert re.search(UP % trio[2].port, p.log(at))


def test_a_server_that_does_not_speak_the_protocol(start, trio):
    with socket.create_server(("127.0.0.1", 0)) as s:
        p = start.keep(rig.Puerta.for_backends(trio.addresses + [f"127.0.0.1:{s.getsockname()[1]}"], forward="request", affinity="session_id", health=HEALTH))
        for _ in range(3):
            c, _ = s.accept()
            c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            c.close()
        assert ports(p) == {m.port for m in trio}
        s.settimeout(10)


@pytest.mark.parametrize("forward", ["connection", "request"])
def test_nobody_is_there(start, forward):
    """Clients wait for nothing for ever: they are told, or closed; and served as soon as a backend is."""
    with Trio(1) as own:
        own[0].kill()
        p = start.keep(rig.Puerta.for_backends(own.addresses, forward=forward, health=HEALTH))
        with Wire(p.port) as w:
            try:
                r = w.hello("early")
                if r["ok"]:
                    r = w.command({"ping": 1})
                assert r["ok"] == 0 and r["code"], r
            except ConnectionError:
                pass
        own[0].start()

        def served():
            try:
                with greeted(p.port) as c:
                    return c.command({"ping": 1})["ok"] == 1
            except (ConnectionError, AssertionError):
                return False

        wait_for("service", 20, served)


def test_all_lost_and_back(start, trio):
    p = proxy(start, trio)
    with greeted(p.port) as w:
        for m in trio:
            m.kill()
        for m in trio:
            p.wait_log(DOWN % m.port)
        r = w.command({"find": "x", "lsid": lsid()})
        assert r["ok"] == 0 and r["code"] == 6, r
        assert w.hello(client=False)["ok"] == 1  # puerta itself is well
        for m in trio:
            m.start()
        wait_for("service", 20, lambda: w.command({"ping": 1, "lsid": lsid()})["ok"] == 1)


def test_slow_start(start, trio):
    """A backend that came back gets less than its share at first, and its share later."""
    p = proxy(start, trio, {"slow_start": "20s", "fall": 1, "rise": 1})
    at = p.mark()
    trio[0].kill()
    p.wait_log(DOWN % trio[0].port, since=at)
    trio[0].start()
    landing(p, trio[0])
    with greeted(p.port) as w:
        got = [w.command({"whoami": 1, "lsid": lsid()}, "admin")["port"] for _ in range(300)]
    assert got.count(trio[0].port) < 60, got.count(trio[0].port)  # a fair share is 100


@pytest.mark.parametrize("name", ["localhost"])
def test_names_are_resolved(start, trio, name):
    p = start.keep(rig.Puerta.for_backends([f"{name}:{m.port}" for m in trio], forward="request", affinity="session_id", health=HEALTH))
    assert ports(p) == {m.port for m in trio}


def test_a_name_that_does_not_exist_harms_nobody(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses + [f"nowhere.invalid:{free_port()}"], forward="request", affinity="session_id", health=HEALTH))
    assert ports(p) == {m.port for m in trio}
