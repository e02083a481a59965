"""Nodes that die, hang and come back: only requests for their slots suffer, with precise errors, and service returns by itself."""
import re
import signal
import time

import pytest
from cluster import Cluster, wait_for
from conftest import SOAK
from load import Load
from resp import Conn, Error, encode
from slots import key_in, keys_in, slot

PRECISE = re.compile(r"outcome unknown|request not (sent|executed|answered)|^CLUSTERDOWN |^LOADING |^MASTERDOWN |^READONLY ")


def names_over(cluster):
    """Names of keys for a Load: each connection has two of each master's slots, in one slot, and two anywhere."""
    parts = [cluster.slots_of(m) for m in cluster.masters()]

    def names(i):
        out = []
        for n, part in enumerate(parts):
            tag = key_in(part, f"f{i}.{n}.")
            out += [f"{{{tag}}}", f"{{{tag}}}t"]
        return out

    return names


def settle(cluster):
    cluster.wait_ok()
    assert len(cluster.masters()) == 3


def serves_all(port, seconds=30):
    """Every part of the slots answers a write on one new connection."""
    def ask():
        with Conn(port, timeout=20) as c:
            return all(r == "OK" for r in c.pipeline([("SET", f"all{i}", i) for i in range(200)]))

    wait_for("all slots serve again", seconds, ask, every=0.2)


@pytest.mark.threads
def test_master_killed_under_load_and_back(start, own_cluster):
    settle(own_cluster)
    p = start(own_cluster, request_timeout="2s")
    victim = own_cluster.masters()[0]
    heir = own_cluster.replicas_of(victim)[0]
    lost_slots = own_cluster.slots_of(victim)
    with Load(p.port, 8, names_over(own_cluster), depth=8, pause=0.002, seed=int(time.time())) as load:
        time.sleep(max(1.0, SOAK / 4))
        for k in load.keys():
            k.lossy = slot(k.name) in lost_slots
        killed = time.monotonic()
        victim.kill()
        wait_for("the replica takes over", 40, lambda: lost_slots <= own_cluster.slots_of(heir, seen_by=heir))
        time.sleep(1.0)
        assert victim.start()
        own_cluster.wait_ok()
        time.sleep(1.0)
        back = time.monotonic()
        before = load.replies
        wait_for("every connection moves on", 20, lambda: all(f.progress > back or f.broken for f in load.flows))
        time.sleep(0.5)
        assert load.replies > before
    assert not load.broken and not load.wrong
    for at, key, text in load.errors:
        assert slot(key) in lost_slots, f"{key} is none of the killed master's: {text}"
        assert PRECISE.search(text), text
        assert killed <= at < back, f"{text}: {at - killed:.1f} s after the kill, the cluster was whole again after {back - killed:.1f} s"
    read = own_cluster.reader()
    for k in load.keys():
        if not k.lossy:
            value = read(k.name) or b"0"
            assert k.unknown == 0 and (len(value) if k.text and value != b"0" else int(value)) == k.acked
    serves_all(p.port)


def test_killed_and_restarted_at_once(start, own_cluster):
    """No failover happens: links break and come back. Idle connections see nothing of it."""
    settle(own_cluster)
    p = start(own_cluster)
    node = own_cluster.masters()[1]
    keys = [k for _, k in zip(range(30), keys_in(own_cluster.slots_of(node), "kr"))]
    with p.connect() as c:
        for _ in range(3):
            assert c.pipeline([("SET", k, k) for k in keys]) == ["OK"] * 30
            node.kill()
            assert node.start()
            wait_for("its slots answer", 20, lambda: not isinstance(c.command("SET", keys[0], "x"), Error))
            assert c.pipeline([("SET", k, k) for k in keys]) == ["OK"] * 30
            own_cluster.wait_ok()


def test_closed_upstream_connections_are_reopened(start, own_cluster):
    """CLIENT KILL on every node while requests flow: reads never fail, writes at most with an unknown outcome."""
    settle(own_cluster)
    p = start(own_cluster)
    with Load(p.port, 6, names_over(own_cluster), depth=16) as load:
        for _ in range(20):
            for m in own_cluster.masters():
                m.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(0.1)
    assert not load.broken and not load.wrong
    assert load.replies > 500
    for _, key, text in load.errors:
        assert PRECISE.search(text), text
    assert p.alive()
    serves_all(p.port)


def test_hung_master_does_not_touch_other_slots(start):
    """SIGSTOP: requests for its slots wait and then fail, all others are answered in the meantime; after the failover all slots serve."""
    with Cluster(node_timeout=9000, options={"cluster-require-full-coverage": "no"}) as cluster:
        p = start(cluster, request_timeout="6s")
        masters = cluster.masters()
        hung = masters[1]
        lost = cluster.slots_of(hung)
        stuck_key = key_in(lost, "h")
        others = [k for m in (masters[0], masters[2]) for _, k in zip(range(20), keys_in(cluster.slots_of(m), "h"))]
        with p.connect() as stuck, p.connect() as free, p.connect() as mixed:
            assert stuck.command("SET", stuck_key, "1") == "OK"
            hung.signal(signal.SIGSTOP)
            try:
                began = time.monotonic()
                stuck.send(encode("INCR", stuck_key))
                mixed.send(encode("GET", others[0]) + encode("GET", stuck_key))
                slowest = 0.0
                while time.monotonic() < began + 4:
                    one = time.monotonic()
                    assert free.pipeline([("SET", k, "v") for k in others]) == ["OK"] * 40
                    assert free.command("MGET", *others) == [b"v"] * 40
                    slowest = max(slowest, time.monotonic() - one)
                    with p.connect(timeout=5) as new:
                        assert new.command("GET", others[0]) == b"v"
                assert slowest < 2
                reply = stuck.read()
                assert time.monotonic() - began > 5
                assert isinstance(reply, Error) and "outcome unknown" in reply
                # From now on the node fails fast: nobody waits for it again and again.
                one = time.monotonic()
                quick = [stuck.command("INCR", stuck_key) for _ in range(5)]
                if hung in cluster.masters(seen_by=masters[0]):
                    assert all(isinstance(q, Error) and PRECISE.search(q) for q in quick)
                    assert time.monotonic() - one < 5
                wait_for("the replica takes over", 60, lambda: any(lost <= cluster.slots_of(m, seen_by=masters[0]) for m in cluster.masters(masters[0]) if m is not hung))
                serves_all(p.port)
                mixed.read()
            finally:
                hung.signal(signal.SIGCONT)
            cluster.wait_ok()
            serves_all(p.port)
            assert stuck.command("SET", stuck_key, "again") == "OK" and stuck.command("GET", stuck_key) == b"again"


def test_manual_failover_under_load_is_invisible(start, own_cluster):
    """CLUSTER FAILOVER: the old master stops writes, hands over, and answers MOVED. No client sees an error."""
    settle(own_cluster)
    p = start(own_cluster)
    with Load(p.port, 8, names_over(own_cluster), depth=16) as load:
        for _ in range(2):
            master = own_cluster.masters()[2]
            replica = own_cluster.replicas_of(master)[0]
            time.sleep(0.3)
            replica.call("CLUSTER", "FAILOVER")
            wait_for("the handover", 20, lambda: replica in own_cluster.masters(seen_by=replica))
            own_cluster.wait_ok()
            time.sleep(0.5)
    assert not load.verdict(own_cluster.reader())
    assert load.replies > 1000


def test_nobody_left_for_some_slots(start):
    """A master without a replica dies: its slots fail with a clear error, the others serve; when it is back, so are they."""
    with Cluster(masters=3, replicas=0, node_timeout=1500, options={"cluster-require-full-coverage": "no"}) as cluster:
        p = start(cluster, request_timeout="1s")
        dead, *alive = cluster.masters()
        key, other = key_in(cluster.slots_of(dead)), key_in(cluster.slots_of(alive[0]))
        with p.connect() as c:
            assert c.pipeline([("SET", key, "1"), ("SET", other, "1")]) == ["OK", "OK"]
            dead.kill()
            for _ in range(20):
                a, b, both = c.pipeline([("GET", key), ("GET", other), ("MGET", other, key)])
                assert isinstance(a, Error) and PRECISE.search(a), a
                assert b == b"1"
                assert both[0] == b"1" and isinstance(both[1], Error) and PRECISE.search(both[1]), both
                time.sleep(0.15)
            assert dead.start()
            cluster.wait_ok()
            wait_for("its slots answer", 20, lambda: c.command("SET", key, "2") == "OK", every=0.2)


def test_whole_cluster_gone_and_back(start):
    with Cluster(masters=3, replicas=0, node_timeout=1500) as cluster:
        p = start(cluster, request_timeout="1s")
        with p.connect() as c:
            assert c.command("SET", "w", "1") == "OK"
            for n in cluster.nodes:
                n.kill()
            reply = c.command("SET", "w", "2")
            assert isinstance(reply, Error) and PRECISE.search(reply), reply
            assert c.command("PING") == "PONG"
            for n in cluster.nodes:
                assert n.start()
            cluster.wait_ok()
            serves_all(p.port)
            assert c.command("SET", "w", "3") == "OK"


def test_requests_of_a_closed_client_do_not_reach_the_next(start, own_cluster):
    """A client that leaves while its requests wait for a hung node: whoever comes after on the same link gets its own replies."""
    settle(own_cluster)
    p = start(own_cluster, request_timeout="20s")
    node = own_cluster.masters()[0]
    key = key_in(own_cluster.slots_of(node), "gone")
    with p.connect() as c:
        assert c.command("SET", key, "mine") == "OK"
        node.signal(signal.SIGSTOP)
        try:
            for i in range(50):
                with p.connect() as leaving:
                    leaving.send(encode("ECHO", i) + encode("SET", key + str(i), "x") * 5 + encode("GET", key) * 10)
            c.send(encode("GET", key))
            time.sleep(0.3)
        finally:
            node.signal(signal.SIGCONT)
        assert c.read() == b"mine"
        with p.connect() as d:
            assert d.pipeline([("GET", key), ("PING",)]) == [b"mine", "PONG"]
    settle(own_cluster)
