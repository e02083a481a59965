"""Slots move while everything is checked: no error, nothing lost, nothing doubled, nothing out of order."""
import threading
import time

import pytest
from conftest import SOAK
from load import Load
from resp import Error, encode
from slots import key_in, keys_in, slot

MOVED = 40  # slots moved at a time


def ping_pong(cluster, end, moved):
    """Moves MOVED slots from the last master to the first and back until end; the same ones after the first time."""
    a, b = cluster.masters()[0], cluster.masters()[-1]
    while not end.is_set():
        cluster.reshard(b, a, MOVED)
        moved[0] += MOVED
        cluster.reshard(a, b, MOVED)
        moved[0] += MOVED


@pytest.mark.threads
def test_live_reshard_exactly_once_and_in_order(start, own_cluster):
    """Connections with several keys each, some in one slot, most of them in slots that move; pipelines of INCR, APPEND and GET."""
    own_cluster.wait_ok()
    p = start(own_cluster)
    first = set(range(MOVED))
    last = set(sorted(own_cluster.slots_of(own_cluster.masters()[-1]))[:MOVED])

    def names(i):
        tags = [key_in(first, f"a{i}."), key_in(last, f"b{i}."), key_in(range(16384), f"c{i}.")]
        return [f"{{{t}}}{n}{kind}" for t in tags for n in range(2) for kind in ("", "t")]

    # Filler, so that moving a slot takes several MIGRATEs and keys of it are on both sides for a while.
    with p.connect() as c:
        for part in (first, last):
            fill = [k for _, k in zip(range(3000), keys_in(part, "fill"))]
            assert set(c.pipeline([("SET", k, "x" * 100) for k in fill])) == {"OK"}
    end, moved, failure = threading.Event(), [0], []

    def move():
        try:
            ping_pong(own_cluster, end, moved)
        except Exception as e:
            failure.append(e)

    mover = threading.Thread(target=move)
    with Load(p.port, 16, names) as load:
        mover.start()
        time.sleep(max(SOAK, 4) * 2)
        end.set()
        mover.join(120)
    assert not failure
    assert not load.verdict(own_cluster.reader())
    assert moved[0] >= 2 * MOVED and load.replies > 1000
    own_cluster.wait_ok()


@pytest.fixture
def split(own_cluster):
    """A slot on its way from the second master to the third, for one test; the place where things happen by hand."""

    class Split:
        def __init__(self):
            own_cluster.wait_ok()
            self.source, self.target = own_cluster.masters()[1:3]
            tag = key_in(own_cluster.slots_of(self.source), f"split{time.time_ns()}")
            self.slot = slot(tag)
            self.keys = [f"{{{tag}}}{i}" for i in range(6)]

        def begin(self):
            own_cluster.begin_move(self.slot, self.source, self.target)

        def move(self, *keys):
            own_cluster.move_keys(self.source, self.target, *keys)

        def end(self):
            own_cluster.end_move(self.slot, self.target)

    s = Split()
    yield s
    with s.source.connect() as c:
        left = c.command("CLUSTER", "GETKEYSINSLOT", s.slot, 1000)
    if left and not isinstance(left, Error):
        s.move(*left)
    s.end()
    own_cluster.wait_ok()
    # Home again, so that the next test finds the slots as they were.
    own_cluster.begin_move(s.slot, s.target, s.source)
    left = s.target.call("CLUSTER", "GETKEYSINSLOT", s.slot, 1000)
    if left:
        own_cluster.move_keys(s.target, s.source, *left)
    own_cluster.end_move(s.slot, s.source)
    own_cluster.wait_ok()


def test_ask_then_moved(start, own_cluster, split):
    """Every stage of a slot's migration, by hand: keys on the source, on the target (ASK), and after the slot has its new owner (MOVED)."""
    p = start(own_cluster, slot_refresh="10m")
    k = split.keys
    with p.connect() as c:
        assert c.pipeline([("SET", x, i) for i, x in enumerate(k[:3])]) == ["OK"] * 3
        split.begin()
        assert c.pipeline([("INCR", x) for x in k[:3]]) == [1, 2, 3]
        split.move(k[1])
        assert c.pipeline([("INCR", k[0]), ("INCR", k[1]), ("INCR", k[3]), ("INCR", k[1]), ("INCR", k[0]), ("GET", k[1])]) == [2, 3, 1, 4, 3, b"4"]
        assert split.target.info("commandstats").get("cmdstat_asking")  # that was ASK
        split.move(k[0], k[2])
        split.end()
        assert c.pipeline([("INCR", x) for x in k[:4]]) == [4, 5, 4, 2]
        assert c.command("MGET", *k[:4]) == [b"4", b"5", b"4", b"2"]


def test_other_slots_pass_a_slot_that_waits(start, own_cluster, split):
    """A connection waiting for TRYAGAIN does not hold up another connection, on the same node or elsewhere."""
    p = start(own_cluster)
    a, b = split.keys[:2]
    other = key_in(own_cluster.slots_of(split.source), "free")
    with p.connect() as c, p.connect() as d:
        c.command("MSET", a, "1", b, "2")
        split.begin()
        split.move(a)
        c.send(encode("MGET", a, b))
        assert d.pipeline([("SET", other, "x"), ("GET", other)] * 50) == ["OK", b"x"] * 50
        assert d.command("GET", a) == b"1"
        split.move(b)
        split.end()
        assert c.read() == [b"1", b"2"]


def test_tryagain_waits_for_the_rest_of_the_slot(start, own_cluster, split):
    p = start(own_cluster, request_timeout="20s")
    a, b = split.keys[:2]
    with p.connect() as c, p.connect() as d:
        assert c.command("MSET", a, "1", b, "2") == "OK"
        split.begin()
        split.move(a)
        with split.source.connect() as direct:  # the situation is what it should be
            assert str(direct.command("MGET", a, b)).startswith("TRYAGAIN")
        c.send(encode("MGET", a, b) + encode("MSET", a, "3", b, "4") + encode("INCR", a))
        d.send(encode("EVAL", "return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}", 2, a, b))
        time.sleep(0.5)
        split.move(b)
        split.end()
        assert [c.read() for _ in range(3)] == [[b"1", b"2"], "OK", 4]
        assert d.read() in ([b"1", b"2"], [b"3", b"4"], [b"4", b"4"])
        assert c.command("MGET", a, b) == [b"4", b"4"]


def test_tryagain_that_never_ends_is_told(start, own_cluster, split):
    p = start(own_cluster, request_timeout="1s")
    a, b = split.keys[:2]
    with p.connect() as c:
        assert c.command("MSET", a, "1", b, "2") == "OK"
        split.begin()
        split.move(a)
        reply, after = c.pipeline([("MGET", a, b), ("GET", b)])
        assert isinstance(reply, Error) and "TRYAGAIN" in reply
        assert after == b"2"


def test_fan_out_over_a_moving_slot(start, own_cluster, split):
    p = start(own_cluster)
    a, b = split.keys[:2]
    others = [f"far{i}" for i in range(20)]
    with p.connect() as c:
        assert c.command("MSET", *[x for k in [a, b, *others] for x in (k, k)]) == "OK"
        split.begin()
        split.move(a)
        assert c.command("MGET", a, *others) == [k.encode() for k in (a, *others)]
        assert c.command("EXISTS", b, *others) == 21
        split.move(b)
        split.end()
        assert c.command("MGET", a, b, *others) == [k.encode() for k in (a, b, *others)]
        assert c.command("DEL", a, b, *others) == 22


def test_max_redirects_is_a_limit(start, own_cluster, split):
    """Two nodes that point at each other: the client gets an error, not a loop."""
    p = start(own_cluster, max_redirects=3, request_timeout="3s")
    k = split.keys[0]
    with p.connect() as c:
        c.command("DEL", k)
        split.begin()  # the target imports, the key is nowhere: ASK to the target, which answers without a loop
        assert c.command("GET", k) is None
        split.target.call("CLUSTER", "SETSLOT", split.slot, "STABLE")  # now ASK leads to MOVED, back and forth
        reply = c.command("GET", k)
        assert isinstance(reply, Error)
        split.target.call("CLUSTER", "SETSLOT", split.slot, "IMPORTING", split.source.id)
        assert c.command("GET", k) is None
