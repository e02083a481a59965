"""The admin server: what it shows, what it changes, and who may ask for it."""
import os
import signal
import socket
import stat
import time

import puerta as rig
import pytest
from admin import Admin
from cluster import free_port, wait_for
from mongos import Trio

TOKEN = "s3cret.Token-of/tests"


@pytest.fixture
def unix(start, cluster, tmp_path):
    """A puerta with an admin socket in a directory of the test."""
    p = start(cluster, top={"admin": {"bind": f"unix:{tmp_path}/a.sock", "slow": "100us"}}, name="cache")
    p.admin = Admin(tmp_path / "a.sock")
    return p


@pytest.fixture
def tcp(start, cluster):
    port = free_port()
    p = start(cluster, top={"admin": {"bind": f"127.0.0.1:{port}"}}, name="cache")
    p.admin = Admin(port)
    return p


@pytest.fixture
def guarded(start, cluster):
    port = free_port()
    p = start(cluster, top={"admin": {"bind": f"0.0.0.0:{port}", "token": TOKEN}}, name="cache")
    p.admin = Admin(port, TOKEN)
    return p


# ---- what it shows ----


@pytest.mark.threads
def test_status_of_redis(unix):
    with unix.connect() as c:
        for i in range(200):
            c.command("SET", f"s{i}", i)
        s = unix.admin.status()
    assert s["state"] == "ready" and s["pid"] == unix.pid and s["workers"] == rig.WORKERS and s["generation"] == 1
    assert abs(s["time"] - time.time()) < 60 and 0 < s["uptime_s"] < 600 and s["memory"]["rss"] > 1e6
    assert s["clients"] == 1 and s["totals"]["requests"] == 200 and s["totals"]["accepted"] == 1
    l, = s["listeners"]
    assert (l["name"], l["kind"], l["bind"], l["clients"], l["requests"]) == ("cache", "redis", f"127.0.0.1:{unix.port}", 1, 200)
    bounds, counts = l["latency"]["bounds_us"], l["latency"]["counts"]
    assert bounds == sorted(set(bounds)) and counts == sorted(counts) and len(counts) == len(bounds) + 1
    assert counts[-1] == 200 and l["latency"]["sum_us"] > 0
    assert l["policy"] == {"name": "slot_owner", "calls": 200, "failures": 0, "ns": l["policy"]["ns"], "suspended": False}
    assert l["policy"]["ns"] > 0
    assert sorted(n["role"] for n in l["nodes"]) == ["master"] * 3 + ["replica"] * 3
    assert sum(n["requests"] for n in l["nodes"]) == 200 and all(n["up"] for n in l["nodes"] if n["role"] == "master")
    owned = [last - first + 1 for first, last, _ in l["slots"]]
    assert sum(owned) == 16384 and all(l["nodes"][i]["role"] == "master" for _, _, i in l["slots"])
    by_node = [sum(last - first + 1 for first, last, i in l["slots"] if i == k) for k in range(6)]
    assert by_node == [n["slots"] for n in l["nodes"]]
    slots, = unix.admin.get("/slots").json()
    assert slots["slots"] == l["slots"] and slots["owned"] == 16384
    nodes, = unix.admin.get("/backends").json()
    assert [n["address"] for n in nodes["nodes"]] == [n["address"] for n in l["nodes"]]
    assert unix.admin.get("/sessions").json() == []


def test_status_of_mongodb(start, tmp_path):
    with Trio() as trio:
        p = start.keep(rig.Puerta.for_backends([trio.addresses[0], (trio.addresses[1], {"weight": 3}), (trio.addresses[2], {"drain": True})],
                                               top={"admin": {"bind": f"unix:{tmp_path}/a.sock"}}, name="orders", forward="request",
                                               affinity="session_id", health={"interval": "200ms"}))
        admin = Admin(tmp_path / "a.sock")
        import pymongo
        with pymongo.MongoClient("127.0.0.1", p.port) as client:
            for _ in range(5):
                with client.start_session() as session:
                    client.db.c.find_one({}, session=session)
            l, = admin.status()["listeners"]
            assert l["kind"] == "mongodb" and l["requests"] >= 5 and l["clients"] >= 1 and l["sessions"] >= 1
            assert {b["name"]: (b["state"], b["weight"]) for b in l["backends"]} == {
                trio.addresses[0]: ("up", 1), trio.addresses[1]: ("up", 3), trio.addresses[2]: ("draining", 1)}
            table, = admin.get("/sessions").json()
            assert sum(b["sessions"] for b in table["backends"]) == table["sessions"] >= 1
            assert table["listener"] == "orders"
            trio[0].kill()
            wait_for("it is down", 10, lambda: admin.get("/backends").json()[0]["backends"][0]["state"] == "down")
            assert admin.get("/backends").json()[0]["backends"][0]["why"]


def test_slow_requests_are_remembered_without_their_keys(unix):
    with unix.connect() as c:
        c.command("SET", "topsecretkey", "topsecretvalue")
        c.command("EVAL", "local t = redis.call('TIME') local s = t[1] * 1000000 + t[2] "
                          "repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] > s + 30000 return 1", 1, "topsecretkey")
    r = unix.admin.get("/slowlog")
    assert b"topsecret" not in r.body
    slowest = max(r.json(), key=lambda e: e["us"])
    assert slowest["command"] == "eval" and slowest["us"] > 30000 and slowest["listener"] == "cache"
    assert abs(slowest["time"] - time.time()) < 60
    assert slowest["node"].startswith("127.0.0.1:")
    assert b"topsecret" not in unix.admin.get("/status").body


@pytest.mark.threads
def test_the_slow_log_is_bounded_and_can_be_off(unix):
    with unix.connect() as c:
        for i in range(500):
            c.command("SET", f"k{i}", "x")
    assert len(unix.admin.get("/slowlog").json()) <= 128 * rig.WORKERS
    unix.reload(unix.file.read_text().replace('"100us"', '"0s"'))
    unix.wait_log(rig.RELOADED)
    assert unix.admin.get("/slowlog").status == 200


# ---- health ----


def test_ready_and_healthy(unix):
    assert unix.admin.get("/healthz").status == 200
    assert unix.admin.get("/readyz").text == "ready\n"


def test_not_ready_without_a_cluster(start, tmp_path):
    p = start([f"127.0.0.1:{free_port()}"], top={"admin": {"bind": f"unix:{tmp_path}/a.sock"}}, name="lonely", ready=False)
    p.wait_log("admin: unix")
    admin = Admin(tmp_path / "a.sock")
    r = wait_for("an answer", 5, lambda: admin.get("/readyz"))
    assert r.status == 503 and "lonely" in r.text
    assert admin.get("/healthz").status == 200
    assert admin.status()["state"] == "starting"


# ---- what it changes ----


def test_reload_answers_the_errors(unix):
    text = unix.file.read_text()
    unix.file.write_text(text.replace("name = ", "nmae = "))
    r = unix.admin.post("/reload")
    assert r.status == 422
    assert f'{unix.file}:' in r.text and 'unknown option "nmae"' in r.text and "generation 1 serves on" in r.text
    unix.file.write_text(text.replace("workers = ", "workers = 1 + "))
    assert "workers can only change with a restart" in unix.admin.post("/reload").text
    unix.file.write_text(text)
    r = unix.admin.post("/reload")
    assert (r.status, r.text) == (200, "generation 2 serves\n")
    assert unix.admin.status()["totals"]["reloads_failed"] == 2


def test_drain_finishes_what_is_in_flight(unix):
    c = unix.connect()
    c.send(b"")
    r = unix.admin.post("/drain")
    assert r.status == 202 and "draining" in r.text
    unix.wait_exit()
    assert "drain: no new clients" in unix.log()
    c.close()


def test_log_level(unix):
    assert unix.admin.post("/log/level?level=loud").status == 400
    assert unix.admin.post("/log/level").status == 400
    assert unix.admin.post("/log/level?level=error").status == 200
    at = unix.mark()
    unix.admin.post("/reload")
    assert unix.admin.post("/log/level?level=error").status == 200
    assert unix.admin.post("/log/level?level=info").status == 200
    unix.reload()
    unix.wait_log(rig.RELOADED, since=at)


# ---- who may ask ----


def test_the_socket_is_private_and_removed(unix, tmp_path):
    assert stat.S_IMODE(os.stat(tmp_path / "a.sock").st_mode) == 0o600
    unix.kill(signal.SIGTERM)
    unix.wait_exit()
    assert os.listdir(tmp_path) == []


def test_a_socket_left_behind_gives_way(start, cluster, tmp_path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "a.sock"))
    start(cluster, top={"admin": {"bind": f"unix:{tmp_path}/a.sock"}})
    assert Admin(tmp_path / "a.sock").get("/healthz").status == 200


def test_the_run_directory_is_the_default(start, cluster, tmp_path):
    p = start(cluster, top={"admin": rig.Lua("{}")}, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    path = p.wait_log(r"admin: unix:(\S+)")[1]
    assert path.endswith("/puerta/admin.sock")
    assert Admin(path).status()["pid"] == p.pid


def test_nobody_without_the_token(guarded):
    stranger = Admin(guarded.admin.where)
    for path in ("/metrics", "/status", "/backends", "/sessions", "/slots", "/slowlog"):
        r = stranger.get(path)
        assert r.status == 401 and r.headers["WWW-Authenticate"] == "Bearer", path
        assert guarded.admin.get(path).status == 200, path
    for path in ("/reload", "/drain", "/log/level?level=debug"):
        assert stranger.post(path).status == 401
    for wrong in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "Basic " + TOKEN):
        assert Admin(guarded.admin.where, wrong).get("/status").status == 401
    assert stranger.get("/status", Authorization=TOKEN).status == 401
    assert stranger.get("/healthz").status == 200 and stranger.get("/readyz").status == 200
    assert TOKEN not in guarded.log() and TOKEN not in guarded.admin.get("/status").text
    assert guarded.alive()


def test_a_new_token_counts_after_a_reload(guarded):
    guarded.file.write_text(guarded.file.read_text().replace(TOKEN, "another"))
    assert guarded.admin.post("/reload").status == 200
    assert guarded.admin.get("/status").status == 401
    assert Admin(guarded.admin.where, "another").get("/status").status == 200


def test_foreign_names_and_pages_are_refused(tcp):
    port = tcp.admin.where
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "localhost"):
        assert tcp.admin.get("/status", Host=host).status == 200, host
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "[::1].evil.example", ""):
        assert tcp.admin.get("/status", Host=host).status == 403, host
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port}.evil.example", f"ftp://127.0.0.1:{port}", "http://", ""):
        assert tcp.admin.post("/drain", Origin=origin).status == 403, origin
    own = tcp.admin.post("/log/level?level=info", Origin=f"http://127.0.0.1:{port}")
    assert own.status == 200
    assert tcp.alive()


def test_clear_answers_to_what_is_not_there(tcp):
    assert tcp.admin.get("/nothing").status == 404
    r = tcp.admin.get("/reload")
    assert r.status == 405 and r.headers["Allow"] == "POST"
    assert tcp.admin.post("/status").status == 405
    assert tcp.admin.ask("/status", "DELETE").status == 405
    assert tcp.admin.ask("/status", "HEAD").body == b""
    assert "/metrics" in tcp.admin.get("/help").text
    assert tcp.admin.get("/status").headers["Cache-Control"] == "no-store"


# ---- hostile HTTP ----

HOSTILE = [
    b"",
    b"\0" * 5000,
    b"GET /status\r\n\r\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /status HTTP/1.1\r\n" + b"X: " + b"y" * 200000 + b"\r\n\r\n",
    b"GET /status HTTP/1.1\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
    b"GET /%00%2e%2e/%zz?%&=&level HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /log/level?level=%00 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    b"POST /log/level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /log/level HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /log/level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 300000,
    b"POST /log/level HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
    b"POST /log/level HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200,
]


@pytest.mark.parametrize("i", range(len(HOSTILE)))
def test_hostile_requests(tcp, i):
    got = tcp.admin.raw(HOSTILE[i])
    assert b"root:" not in got
    assert tcp.admin.get("/healthz").status == 200
    with tcp.connect() as c:
        c.command("SET", "still", "here")
    assert tcp.alive()


def test_clients_that_hang_do_not_keep_others_out(tcp):
    fds = tcp.fds()
    hanging = [socket.create_connection(("127.0.0.1", tcp.admin.where)) for _ in range(200)]
    for s in hanging:
        try:
            s.sendall(b"GET /status HTTP/1.1\r\nHo")
        except OSError:
            pass
    assert tcp.fds() <= fds + 70
    with tcp.connect() as c:
        c.command("SET", "a", "b")
    for s in hanging:
        s.close()
    wait_for("an answer", 20, lambda: ask_or_none(tcp.admin))
    wait_for("descriptors are back", 20, lambda: tcp.fds() <= fds + 3)


def ask_or_none(admin):
    try:
        return admin.get("/healthz").status == 200
    except OSError:
        return False


# ---- configuration ----


@pytest.mark.parametrize("admin, error", [
    ('{ bind = "0.0.0.0:9901" }', "admin.bind: expected option token with an address that is not loopback"),
    ('{ bind = "unix:relative" }', "expected an absolute path of up to 100 bytes after unix:"),
    ('{ bind = "nonsense" }', "expected host:port"),
    ('{ token = "with space" }', "expected letters, digits and punctuation: it stands in a header"),
    ('{ slow = 5 }', "with a unit"),
    ('{ tokne = "x" }', 'did you mean "token"'),
])
def test_configuration_errors(tmp_path, admin, error):
    f = tmp_path / "c.lua"
    f.write_text(rig.config(rig.listener(["127.0.0.1:1"], free_port()), admin=rig.Lua(admin)))
    r = rig.run("-t", f)
    assert r.returncode == 1 and error in r.stderr and f"{f}:4:" in r.stderr, r.stderr


def test_an_address_in_use(start, cluster, tcp):
    p = start(cluster, top={"admin": {"bind": f"127.0.0.1:{tcp.admin.where}"}}, ready=False)
    p.expect_exit = 1
    assert p.wait_exit() == 1
    assert f"{p.file}:" in p.log() and "Address already in use" in p.log()


def test_the_token_is_not_dumped(tmp_path):
    f = tmp_path / "c.lua"
    f.write_text(rig.config(rig.listener(["127.0.0.1:1"], free_port()), admin={"bind": "127.0.0.1:9901", "token": TOKEN}))
    r = rig.run("--dump", f)
    assert r.returncode == 0 and TOKEN not in r.stdout and 'token = "***"' in r.stdout and 'slow = "100ms"' in r.stdout
