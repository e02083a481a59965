"""puerta ctl: what an operator types, and what comes back."""
import fcntl
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import threading
import time

import puerta as rig
import pymongo
import pytest
from cluster import free_port, wait_for
from mongos import Trio


class Ctl:
    def __init__(self, at, **env):
        self.at, self.env = at, env

    def __call__(self, *args, code=0):
        r = rig.run("ctl", *args, *(["--admin", self.at] if self.at else []), env=self.env)
        assert r.returncode == code, r.stdout + r.stderr
        return r.stdout if code == 0 else r.stderr


@pytest.fixture
def served(start, cluster, tmp_path):
    p = start(cluster, top={"admin": {"bind": f"unix:{tmp_path}/a.sock", "slow": "100us"}}, name="cache")
    p.ctl = Ctl(f"unix:{tmp_path}/a.sock")
    return p


class Load:
    """One client that asks all the time."""

    def __init__(self, p):
        self.p, self.on = p, True
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with self.p.connect() as c:
            while self.on:
                c.command("SET", "load", "x")
                time.sleep(0.001)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *exc):
        self.on = False
        self.thread.join()


def test_tables(served, cluster):
    with served.connect() as c:
        for i in range(50):
            c.command("SET", f"k{i}", "v")
        text = served.ctl("status")
    assert f"pid {served.pid}, ready for" in text and "requests 50" in text
    assert f"cache: redis at 127.0.0.1:{served.port}; " in text and "policy slot_owner: 50 calls" in text
    for address in cluster.addresses:
        assert re.search(rf"{re.escape(address)} +(master|replica) +", text)
        assert address in served.ctl("backends")
    slots = served.ctl("slots")
    assert "16384 of 16384 slots have an owner" in slots and re.search(r" 0-\d+ +127\.0\.0\.1:", slots)
    assert "no listener keeps sessions" in served.ctl("sessions")
    assert re.search(r"\d+ us|\d ms", served.ctl("slowlog")) and "set" in served.ctl("slowlog")
    assert "puerta_requests_total" in served.ctl("metrics")
    s = json.loads(served.ctl("status", "--json"))
    assert s["pid"] == served.pid and s["totals"]["requests"] == 50
    assert isinstance(json.loads(served.ctl("slots", "--json")), list)


def test_tables_of_mongodb(start, tmp_path):
    with Trio() as trio:
        p = start.keep(rig.Puerta.for_backends(trio.addresses, top={"admin": {"bind": f"unix:{tmp_path}/a.sock"}}, name="orders",
                                               forward="request", affinity="session_id"))
        ctl = Ctl(f"unix:{tmp_path}/a.sock")
        with pymongo.MongoClient("127.0.0.1", p.port) as client:
            with client.start_session() as s:
                client.db.c.find_one({}, session=s)
            text, sessions, frame = ctl("status"), ctl("sessions"), ctl("top", "--once")
        assert "orders: mongodb at" in text and re.search(r"[1-9]\d* sessions", sessions)
        for address in trio.addresses:
            assert re.search(rf"{re.escape(address)} +up +1 ", text) and address in sessions and address in frame


def test_top_shows_what_happens_now(served):
    with Load(served):
        frame = served.ctl("top", "--once")
    rate = re.search(r"cache \(redis\)  1 clients  (\d+) requests/s  p50 (\S+ \w+)  p95 (\S+ \w+)  p99 (\S+ \w+)", frame)
    assert rate and int(rate[1]) > 0, frame
    assert re.search(r"policy slot_owner  \d+ calls/s  \d+ ns each", frame)
    assert "\033" not in frame


def test_top_in_a_small_terminal(served, tmp_path):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(slave)
    top = subprocess.Popen([rig.BINARY, "ctl", "top", "--admin", served.ctl.at], stdin=slave, stdout=slave, stderr=slave)
    screen = b""
    try:
        with Load(served):
            def frames():
                nonlocal screen
                if select.select([master], [], [], 0.1)[0]:
                    screen += os.read(master, 65536)
                return screen.count(b"\033[H") >= 3

            wait_for("three frames", 15, frames)
            os.write(master, b"q")  # the last frame is one under load
            assert top.wait(10) == 0
        while select.select([master], [], [], 0.2)[0]:
            screen += os.read(master, 65536)
        assert termios.tcgetattr(slave) == before
    finally:
        top.kill()
        os.close(master)
        os.close(slave)
    text = screen.decode()
    assert text.startswith("\033[?1049h") and text.endswith("\033[?1049l")
    last = text.split("\033[H")[-1].split("\033[J")[0]
    lines = [re.sub(r"\033\[[?\d]*[A-Za-z]", "", x) for x in last.splitlines()]
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert re.search(r"[1-9]\d* requests/s", last), last


def test_reload(served):
    assert served.ctl("reload") == "generation 2 serves\n"
    served.file.write_text(served.file.read_text().replace("name = ", "nmae = "))
    why = served.ctl("reload", code=1)
    assert f"{served.file}:" in why and "nmae" in why


def test_log_level(served):
    assert "level debug" in served.ctl("log-level", "debug")
    assert "expected" in served.ctl("log-level", "loud", code=1)
    assert "expected" in served.ctl("log-level", "x&y", code=1)


def test_drain(served):
    assert "draining" in served.ctl("drain")
    served.wait_exit()


def test_a_token(start, cluster, tmp_path):
    port = free_port()
    start(cluster, top={"admin": {"bind": f"127.0.0.1:{port}", "token": "open-sesame"}})
    (tmp_path / "token").write_text("open-sesame\n")
    (tmp_path / "wrong").write_text("sesame\n")
    ctl = Ctl(f"127.0.0.1:{port}")
    assert "--token-file" in ctl("status", code=1)
    assert "--token-file" in ctl("reload", "--token-file", tmp_path / "wrong", code=1)
    assert "ready for" in ctl("status", "--token-file", tmp_path / "token")
    assert "ready for" in Ctl(f"localhost:{port}", PUERTA_TOKEN="open-sesame")("status")
    assert "no token in" in ctl("status", "--token-file", tmp_path / "none", code=1)


def test_it_finds_the_run_directory(start, cluster, tmp_path):
    p = start(cluster, top={"admin": rig.Lua("{}")}, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert f"pid {p.pid}," in Ctl(None, XDG_RUNTIME_DIR=str(tmp_path))("status")


def test_nobody_is_there(tmp_path):
    assert "No such file" in Ctl(f"unix:{tmp_path}/none")("status", code=1)
    assert "refused" in Ctl(f"127.0.0.1:{free_port()}")("status", code=1)
    assert "expected unix:/path or host:port" in Ctl("nonsense")("status", code=1)


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\nno json",
                                  b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", b"\0" * 100])
def test_somebody_else_is_there(said):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            c, _ = server.accept()
            c.recv(4096)
            c.sendall(said)
            c.close()

        t = threading.Thread(target=serve)
        t.start()
        Ctl(f"127.0.0.1:{server.getsockname()[1]}")("status", code=1)
        t.join()


def test_arguments(served):
    assert "which command" in served.ctl(code=2)
    assert "no command nothing" in served.ctl("nothing", code=2)
    assert "expected one argument: LEVEL" in served.ctl("log-level", code=2)
    assert "too many arguments" in served.ctl("status", "now", code=2)
    for word in ("status", "top", "reload", "drain", "sessions", "slots", "backends", "log-level"):
        assert word in rig.run("ctl", "--help").stdout
