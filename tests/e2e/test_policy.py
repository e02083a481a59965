"""Policies in Lua: reads land on replicas, the user's own module, and what happens when it fails."""
import time

import pytest
import puerta as rig
from resp import Conn
from slots import keys_in


def policy(name, opts=None):
    return rig.Lua(f'puerta.policy("{name}"' + (f", {rig.lua(opts)}" if opts else "") + ")")


def module(body, head=""):
    return {"mine.lua": f'local puerta = require "puerta"\n{head}\nlocal policy = {{}}\nfunction policy.route(req, cluster)\n  {body}\nend\nreturn policy\n'}


def calls(node, command):
    """How often a node has run a command."""
    stat = node.info("commandstats").get(f"cmdstat_{command}", "calls=0,")
    return int(stat.split("calls=")[1].split(",")[0])


def gets(cluster):
    replicas = [n for n in cluster.nodes if n.info("replication")["role"] == "slave"]
    masters = [n for n in cluster.nodes if n not in replicas]
    return sum(calls(n, "get") for n in masters), sum(calls(n, "get") for n in replicas)


def read_300(p, prefix):
    keys = [k for _, k in zip(range(100), keys_in(range(16384), prefix))]
    with p.connect() as c:
        assert c.pipeline([("SET", k, k) for k in keys]) == ["OK"] * 100
        time.sleep(0.3)  # replication is asynchronous
        assert c.pipeline([("GET", k) for k in keys] * 3) == [k.encode() for k in keys] * 3
        return c


def test_slot_owner_reads_from_masters(start, cluster):
    p = start(cluster)
    m, r = gets(cluster)
    read_300(p, "so")
    m2, r2 = gets(cluster)
    assert (m2 - m, r2 - r) == (300, 0)


def test_read_replica_reads_from_replicas(start, cluster):
    p = start(cluster, policy=policy("read_replica"))
    read_300(p, "warm")  # links to the replicas are open now
    m, r = gets(cluster)
    read_300(p, "rr")
    m2, r2 = gets(cluster)
    assert (m2 - m, r2 - r) == (0, 300)


def test_read_replica_falls_back_to_the_master(start, own_cluster):
    p = start(own_cluster, policy=policy("read_replica"), request_timeout="2s")
    read_300(p, "warm")
    replica = own_cluster.replicas_of(own_cluster.masters()[0])[0]
    replica.kill()
    try:
        keys = [k for _, k in zip(range(50), keys_in(own_cluster.slots_of(own_cluster.masters()[0]), "warm"))]
        with p.connect() as c:
            assert c.pipeline([("SET", k, "1") for k in keys]) == ["OK"] * 50
            assert c.pipeline([("GET", k) for k in keys]) == [b"1"] * 50
    finally:
        assert replica.start()
        own_cluster.wait_ok()


def test_a_module_of_the_user(start, cluster):
    """Keys with a prefix are refused, others go on; the file is found beside the configuration."""
    p = start(cluster, policy=policy("mine.lua"), files=module('if req:key_starts_with "secret:" then return puerta.REJECT end\n  return puerta.DEFAULT'))
    with p.connect() as c:
        assert c.pipeline([("SET", "a", "1"), ("GET", "secret:a"), ("GET", "a"), ("MGET", "a", "b")]) == ["OK", "ERR rejected by policy (PT-L01)", b"1", [b"1", None]]


@pytest.mark.parametrize("body", [
    'if req:key_starts_with "bad" then error("on purpose") end return puerta.DEFAULT',
    'if req:key_starts_with "bad" then return nil end return puerta.DEFAULT',
    'if req:key_starts_with "bad" then return "nonsense" end return puerta.DEFAULT',
    'if req:key_starts_with "bad" then return 999 end return puerta.DEFAULT',
    'if req:key_starts_with "bad" then return nothing.at.all end return puerta.DEFAULT',
])
def test_a_policy_that_fails_means_the_slot_owner(start, cluster, body):
    p = start(cluster, policy=policy("mine.lua"), files=module(body))
    keys = [f"{'bad' if i % 10 == 0 else 'good'}{i}" for i in range(100)]
    with p.connect() as c:
        for _ in range(5):
            assert c.pipeline([("SET", k, k) for k in keys]) == ["OK"] * 100
            assert c.pipeline([("GET", k) for k in keys]) == [k.encode() for k in keys]
    p.wait_log(r"(?i)warn.*policy")


def test_a_policy_that_always_fails_is_suspended(start, cluster):
    p = start(cluster, policy=policy("mine.lua"), files=module('if req:key_starts_with "s" then error("always") end return puerta.DEFAULT'))
    with p.connect() as c:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert c.pipeline([("SET", f"s{i}", i) for i in range(200)]) == ["OK"] * 200
    p.wait_log(r"suspend")
    assert p.log().count("always") < 12  # one line a second, not one a request


def test_a_wrong_node_is_not_obeyed_blindly(start, cluster):
    """A policy may name any node; a write still ends at the slot's owner, a read at one that has the slot."""
    p = start(cluster, policy=policy("mine.lua"), files=module("return 0"))
    with p.connect() as c:
        keys = [f"wn{i}" for i in range(60)]
        assert c.pipeline([("SET", k, k) for k in keys]) == ["OK"] * 60
        assert c.pipeline([("GET", k) for k in keys]) == [k.encode() for k in keys]
        assert c.command("MGET", *keys) == [k.encode() for k in keys]


def test_a_policy_stuck_in_a_loop_is_noticed(start, cluster):
    """The watchdog names the policy; other workers and the control thread live on until it aborts."""
    p = start(cluster, top={"watchdog": {"warn": "100ms", "abort": "1s"}}, policy=policy("mine.lua"),
              files=module('if req:key_starts_with "loop" then while true do end end\n  return puerta.DEFAULT'))
    with Conn(p.port, timeout=20) as c:
        assert c.command("SET", "fine", "1") == "OK"
        c.send(b"GET loop\r\n")
        p.wait_log(r"(?i)watchdog|stuck")
        assert "mine.lua" in p.log()
        code = p.wait_exit(20)
        assert code != 0
        p.expect_exit = code
