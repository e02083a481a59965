"""SIGHUP under load, SIGTERM, SIGINT."""
import re
import signal
import threading
import time

import pytest
import puerta as rig
from cluster import free_port
from conftest import SOAK
from load import Load
from resp import Conn, encode
from slots import key_in


def names(i):
    return [f"{{rl{i}}}", f"{{rl{i}}}t", f"rl{i}.a", f"rl{i}.b", f"rl{i}.ct"]


class Reloads:
    """A puerta and the files for it."""

    def __init__(self, start, cluster, **top):
        self.cluster, self.top, self.port = cluster, {"workers": 1} | top, free_port()
        self.p = start.text(self.text(), port=self.port)

    def text(self, top=None, **options):
        return rig.config(rig.listener(self.cluster, self.port, **options), **(self.top | (top or {})))


@pytest.fixture
def reloads(start, cluster):
    return Reloads(start, cluster)


@pytest.mark.threads
def test_good_and_broken_files_under_load(start, cluster):
    r = Reloads(start, cluster)
    broken = [r.text().replace("bind", "bnid"), r.text() + "\n)", r.text(max_redirects="two"), r.text().replace("return", "error('boom') return")]
    refused = 0
    with Load(r.port, 8, names, depth=16) as load:
        end = time.monotonic() + max(SOAK, 3)
        n = 0
        while time.monotonic() < end:
            n += 1
            at = r.p.reload(r.text(max_redirects=3 + n % 5, policy=rig.Lua('puerta.policy("slot_owner")')))
            r.p.wait_log(rig.RELOADED, since=at)
            at = r.p.reload(broken[n % len(broken)])
            r.p.wait_log(r"puerta\.lua:\d+: ", since=at)
            refused += 1
    assert not load.verdict(cluster.reader())
    assert load.replies > 500 and refused >= 4
    with r.p.connect() as c:
        assert c.command("PING") == "PONG"


def test_broken_file_is_refused_with_file_and_line(reloads):
    text = reloads.text(max_redirects=99, nonsense=1)
    line = 1 + next(i for i, x in enumerate(text.splitlines()) if "nonsense" in x)
    at = reloads.p.reload(text)
    reloads.p.wait_log(r"puerta\.lua:\d+: .*nonsense", since=at)
    log = reloads.p.log(at)
    assert re.search(rf"puerta\.lua:{line}: .*nonsense", log) and re.search(r"puerta\.lua:\d+: .*max_redirects", log)
    with reloads.p.connect() as c:
        assert c.command("SET", "rf", "1") == "OK"


def test_a_reload_takes_effect_on_open_connections(reloads):
    with reloads.p.connect() as c:
        assert c.command("SET", "re", "1") == "OK"
        at = reloads.p.reload(reloads.text(policy=rig.Lua('puerta.policy("%s")' % write_policy(reloads.p, "return puerta.REJECT"))))
        reloads.p.wait_log(rig.RELOADED, since=at)
        end = time.monotonic() + 5
        while c.command("GET", "re") == b"1" and time.monotonic() < end:
            time.sleep(0.02)
        assert c.command("GET", "re") == "ERR rejected by policy (PT-L01)"
        reloads.p.reload(reloads.text())
        end = time.monotonic() + 5
        while c.command("GET", "re") != b"1" and time.monotonic() < end:
            time.sleep(0.02)
        assert c.command("GET", "re") == b"1"


def write_policy(p, body):
    path = p.dir / "mine.lua"
    path.write_text(f'local puerta = require "puerta"\nlocal policy = {{}}\nfunction policy.route(req, cluster)\n  {body}\nend\nreturn policy\n')
    return str(path)


def test_broken_policy_is_refused_at_reload(reloads):
    path = write_policy(reloads.p, "return nonsense.field")
    at = reloads.p.reload(reloads.text(policy=rig.Lua(f'puerta.policy("{path}")')))
    reloads.p.wait_log(r"mine\.lua:4: ", since=at)
    with reloads.p.connect() as c:
        assert c.command("SET", "bp", "1") == "OK"


@pytest.mark.parametrize("change", [{"workers": 2}, {"bind": 1}])
def test_changed_restart_option_is_refused_by_name(reloads, change):
    if "workers" in change:
        text, name = reloads.text(top=change), "workers"
    else:
        text, name = reloads.text().replace(f'bind = "127.0.0.1:{reloads.port}"', f'bind = "127.0.0.1:{free_port()}"'), "bind"
    at = reloads.p.reload(text)
    reloads.p.wait_log(rf"{name}.*restart|restart.*{name}", since=at)
    with Conn(reloads.port) as c:
        assert c.command("PING") == "PONG"
    at = reloads.p.reload(reloads.text(max_redirects=7))  # and the next good one is taken
    reloads.p.wait_log(rig.RELOADED, since=at)
    assert "restart" not in reloads.p.log(at)


def test_sigterm_drains(start, cluster):
    """No new connections, everything in flight is answered, then it ends by itself."""
    p = start(cluster, top={"drain_timeout": "20s"}, request_timeout="20s")
    node = cluster.masters()[0]
    key = key_in(cluster.slots_of(node), "drain")
    conns = [p.connect() for _ in range(20)]
    assert all(c.command("SET", key, "0") == "OK" for c in conns)
    node.signal(signal.SIGSTOP)
    try:
        for c in conns:
            c.send(encode("INCR", key) * 10)
        time.sleep(0.3)
        p.kill(signal.SIGTERM)
        at = time.monotonic() + 10
        refused = False
        while not refused and time.monotonic() < at:
            try:
                with Conn(p.port, timeout=2) as late:
                    refused = late.closed() == b""
            except OSError:
                refused = True
            time.sleep(0.05)
        assert refused and p.alive()
    finally:
        node.signal(signal.SIGCONT)
    got = sorted(c.read() for c in conns for _ in range(10))
    assert got == list(range(1, 201))
    for c in conns:
        c.close()
    assert p.wait_exit(20) == 0


def test_drain_is_bounded(start, cluster):
    p = start(cluster, top={"drain_timeout": "1s"}, request_timeout="60s")
    node = cluster.masters()[0]
    key = key_in(cluster.slots_of(node), "bound")
    with p.connect() as c:
        assert c.command("SET", key, "0") == "OK"
        node.signal(signal.SIGSTOP)
        try:
            c.send(encode("INCR", key))
            time.sleep(0.2)
            p.kill(signal.SIGTERM)
            assert p.wait_exit(15) == 0
        finally:
            node.signal(signal.SIGCONT)
    cluster.wait_ok()


def test_sigterm_with_idle_clients_does_not_wait_for_them(start, cluster):
    p = start(cluster, top={"drain_timeout": "60s"})
    conns = [p.connect() for _ in range(50)]
    assert conns[0].command("PING") == "PONG"
    p.kill(signal.SIGTERM)
    assert p.wait_exit(20) == 0
    assert [c.closed() for c in conns] == [b""] * 50


def test_sigterm_under_load_loses_no_reply(start, cluster):
    """Every request that was taken is answered: what the cluster holds is what the clients were told."""
    p = start(cluster)
    with Load(p.port, 8, lambda i: [f"st{time.time_ns()}.{i}.{n}" for n in range(4)], depth=8) as load:
        time.sleep(0.7)
        p.kill(signal.SIGTERM)
        assert p.wait_exit(30) == 0
    assert all(f.broken is not None for f in load.flows)
    assert not load.wrong and not load.errors
    read = cluster.reader()
    for k in load.keys():
        # A pipeline cut off by the end may have been executed in part only if it had been answered in part.
        assert int(read(k.name) or 0) >= k.acked


def test_sigint_stops_at_once(start, cluster):
    p = start(cluster, top={"drain_timeout": "60s"}, request_timeout="60s")
    node = cluster.masters()[0]
    with p.connect() as c:
        key = key_in(cluster.slots_of(node), "int")
        assert c.command("SET", key, "0") == "OK"
        node.signal(signal.SIGSTOP)
        try:
            c.send(encode("INCR", key))
            time.sleep(0.2)
            p.kill(signal.SIGINT)
            assert p.wait_exit(15) == 0
        finally:
            node.signal(signal.SIGCONT)
    cluster.wait_ok()


def test_reloads_while_clients_come_and_go(start, cluster):
    r = Reloads(start, cluster)
    end = threading.Event()
    failures = []

    def come_and_go():
        try:
            while not end.is_set():
                with Conn(r.port) as c:
                    assert c.pipeline([("SET", "cg", "1"), ("GET", "cg")]) == ["OK", b"1"]
        except Exception as e:
            failures.append(repr(e))

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for t in threads:
        t.start()
    for n in range(40):
        r.p.reload(r.text(max_redirects=1 + n % 9))
        time.sleep(0.05)
    end.set()
    for t in threads:
        t.join(30)
    assert not failures
