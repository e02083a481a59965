"""Real clients: redis-cli, redis-benchmark, redis-py, ioredis, node-redis."""
import os
import subprocess
from pathlib import Path

import pytest
import redis

HERE = Path(__file__).resolve().parent


def cli(proxy, *args, stdin=None):
    p = subprocess.run(["redis-cli", "-p", str(proxy.port), *args], input=stdin, capture_output=True, text=True, timeout=60)
    assert p.returncode == 0, p.stderr
    return p.stdout.strip()


@pytest.mark.parametrize("proto", ["-2", "-3"])
def test_redis_cli(proxy, proto):
    assert cli(proxy, proto, "SET", "cli", "hello") == "OK"
    assert cli(proxy, proto, "GET", "cli") == "hello"
    assert cli(proxy, proto, "MSET", "cli1", "1", "cli2", "2", "cli3", "3") == "OK"
    assert cli(proxy, proto, "MGET", "cli1", "cli2", "cli3") == "1\n2\n3"
    assert cli(proxy, proto, stdin="PING\nINCR cli1\nGET cli1\n") == "PONG\n2\n2"


def test_redis_cli_pipe_mode(proxy):
    """--pipe waits for the echo of a random string behind the last command."""
    out = cli(proxy, "--pipe", stdin="".join(f"SET pipe:{i} {i}\r\n" for i in range(5000)))
    assert "errors: 0, replies: 5000" in out


def test_redis_benchmark_default_tests(proxy):
    p = subprocess.run(["redis-benchmark", "-p", str(proxy.port), "-n", "2000", "-c", "20", "-P", "4", "-r", "1000", "-q"], capture_output=True, text=True, timeout=300)
    out = p.stdout + p.stderr
    assert p.returncode == 0 and "rror" not in out.replace("WARNING: Could not fetch server CONFIG", ""), out
    for name in ("PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPOP", "SADD", "HSET", "SPOP", "ZADD", "ZPOPMIN", "LRANGE_600", "MSET"):
        assert f"{name}" in out


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py(proxy, protocol):
    r = redis.Redis(port=proxy.port, protocol=protocol, client_name="py", decode_responses=True)
    keys = {f"py:{i}": f"v{i}" for i in range(64)}
    assert r.client_getname() == "py"
    assert r.mset(keys) and r.mget(list(keys)) == list(keys.values())
    with r.pipeline(transaction=False) as p:
        for k in keys:
            p.append(k, "+").get(k)
        assert p.execute() == [x for v in keys.values() for x in (len(v) + 1, v + "+")]
    r.delete("py:h", "py:z", "py:s")
    assert r.hset("py:h", mapping={"a": 1, "b": 2}) == 2 and r.hgetall("py:h") == {"a": "1", "b": "2"}
    assert r.zadd("py:z", {"m": 1.5}) == 1 and r.zscore("py:z", "m") == 1.5
    assert r.sadd("py:s", "x") == 1 and r.smembers("py:s") == {"x"}
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        r.lpush("py:h", "x")
    with pytest.raises(redis.ResponseError, match="not supported"):
        r.dbsize()
    assert r.eval("return redis.call('GET', KEYS[1])", 1, "py:0") == "v0+"
    with pytest.raises(redis.exceptions.NoScriptError):
        r.evalsha("0" * 40, 1, "py:0")
    assert r.delete(*keys) == 64
    r.close()


def test_node(proxy):
    p = subprocess.run(["node", str(HERE / "node" / "clients.js"), str(proxy.port)], capture_output=True, text=True, timeout=60, env=os.environ)
    assert p.returncode == 0 and p.stdout.strip() == "ok", p.stdout + p.stderr
