"""Where the log goes, who may fill it, and what never stands in it."""
import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
from cluster import free_port, wait_for
from puerta import BINARY, RELOADED, WORKERS, config, listener, run
from resp import Conn

pytestmark = pytest.mark.threads


def read(path):
    return path.read_text() if path.exists() else ""


def with_log(cluster, port, **log):
    return config(listener(cluster, port), workers=WORKERS, log=log)


def test_a_file_that_is_moved_away(start, cluster):
    """logrotate's way: rename, SIGUSR1; a relative path is taken from the configuration's directory."""
    p = start(cluster, top={"log": {"to": "./own.log"}}, ready=False)
    own, old = p.dir / "own.log", p.dir / "own.log.1"
    wait_for("it to be ready", 20, lambda: "serving with" in read(own))
    assert stat.S_IMODE(own.stat().st_mode) & 0o027 == 0
    own.rename(old)
    p.kill(signal.SIGUSR1)
    wait_for("the new file", 10, lambda: "log: opened again" in read(own))
    assert "opened again" not in read(old) and p.log() == ""
    own.unlink()
    own.mkdir()  # what cannot be opened leaves the old one in use, unlinked as it is
    p.kill(signal.SIGUSR1)
    with p.connect() as c:
        assert c.command("PING") == "PONG"
    assert p.alive()


def test_a_reload_changes_where_it_goes(start, cluster):
    p = start(cluster)
    first, second = p.dir / "first.log", p.dir / "second.log"
    p.reload(with_log(cluster, p.port, to=str(first), format="json"))
    wait_for("the first file", 10, lambda: re.search(RELOADED, read(first)))
    at = p.mark()
    p.reload(with_log(cluster, p.port, to="/no/such/directory/x.log"))
    wait_for("the refusal", 10, lambda: "cannot log to /no/such/directory/x.log: No such file" in read(first))
    wait_for("the refusal", 10, lambda: "configuration not applied; generation 2 serves on" in read(first))
    assert all(json.loads(line)["level"] for line in read(first).splitlines())
    p.reload(with_log(cluster, p.port, to=str(second), level="debug"))
    wait_for("the second file", 10, lambda: "generation 3 serves" in read(second))
    assert p.log(at) == ""
    p.reload(with_log(cluster, p.port, to="stderr"))
    p.wait_log("generation 4 serves", since=at)


def test_a_target_that_is_not_there(cluster, tmp_path):
    for to, why in (("/no/such/x.log", "No such file"), ("syslog:/no/such/socket", "No such file")):
        file = tmp_path / "c.lua"
        file.write_text(with_log(cluster, 1, to=to))
        r = run(file)
        assert r.returncode == 1 and f"cannot log to {to}: {why}" in r.stderr
    file.write_text(with_log(cluster, 1, to="sysloog"))
    r = run("-t", file)
    assert r.returncode == 1 and 'log.to' in r.stderr and 'did you mean "syslog"' in r.stderr


@pytest.mark.parametrize("kind", ["syslog", "journald"])
def test_daemons(start, cluster, tmp_path, kind):
    """Both protocols over a socket of ours; a daemon that does not read costs lines and nothing else."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        daemon.settimeout(10)
        p = start(cluster, top={"log": {"to": f"{kind}:{path}"}}, ready=False)
        got = ""
        while "ready: serving" not in got:
            got = daemon.recv(65536).decode()
        if kind == "syslog":
            assert re.fullmatch(r"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d puerta\[%d\]: ready: serving with %d workers?" % (p.pid, WORKERS), got)
        else:
            assert re.fullmatch(rf"PRIORITY=6\nSYSLOG_IDENTIFIER=puerta\nPT_EVENT=ready\nMESSAGE=ready: serving with {WORKERS} workers?\n", got)
        for i in range(50):  # more than its queue takes
            p.kill(signal.SIGUSR1)
            with p.connect() as c:
                assert c.command("SET", "k", str(i)) == "OK"
    assert p.log() == ""


def test_a_pipe_that_nobody_reads(cluster, tmp_path):
    """Workers answer, a reload is done, and the end is not held up."""
    r, w = os.pipe()
    os.set_blocking(w, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(w, b"x")
    os.set_blocking(w, True)
    port = free_port()
    file = tmp_path / "c.lua"
    file.write_text(config(listener(cluster, port), workers=2, log={"level": "debug"}))
    process = subprocess.Popen([BINARY, str(file)], stderr=w, stdin=subprocess.DEVNULL)
    try:
        def answers():
            try:
                with Conn(port, timeout=5) as c:
                    return c.command("SET", "a", "b") == "OK"
            except OSError:
                return False

        wait_for("it to serve", 20, answers)
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
            for _ in range(100):  # each is closed with a line
                speak_http(port)
        assert answers()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(r)
        os.close(w)


def speak_http(port):
    """One that is closed with a line in the log."""
    with Conn(port) as c:
        c.send(b"POST / HTTP/1.1\r\n\r\n")
        try:
            assert c.sock.recv(100) == b""
        except ConnectionResetError:
            pass


def test_clients_cannot_flood_it(start, cluster):
    """Whatever they do: a few lines a second, and how many there would have been."""
    p = start(cluster, auth={"password": "right"})
    at, began = p.mark(), time.monotonic()
    for _ in range(200):
        speak_http(p.port)
        for garbage in (b"*1\r\n$-5\r\n", b"*2\r\n$4\r\nAUTH\r\n$5\r\nwrong\r\n", b"*-1\r\n:::\r\n"):
            with p.connect() as c:
                c.send(garbage)
                c.sock.recv(100)
    assert 1 <= len(p.log(at).splitlines()) < 20 * (2 + time.monotonic() - began)

    def told():
        speak_http(p.port)
        return re.search(r"it speaks HTTP.*\(and \d+ more like it\)", p.log(at))

    wait_for("how many there were", 10, told, every=0.3)


def test_no_secret_ever(start, cluster):
    """At debug level: passwords of clients and of nodes, keys and values."""
    p = start(cluster, top={"log": {"level": "debug"}}, auth={"user": "door", "password": "tellnobody1"})
    with p.connect() as c:
        c.command("AUTH", "door", "tellnobody2")
        c.command("AUTH", "door", "tellnobody1")
        c.command("SET", "tellnobody3", "tellnobody4")
        c.command("GET", "tellnobody3")
        c.command("NOSUCH", "tellnobody5", "tellnobody6")
        c.command("MGET", "tellnobody7", "tellnobody8", "x")
        c.command("EVAL", "return redis.error_reply('tellnobody9')", "0")
        c.send(b"*2\r\n$11\r\ntellnobody0\r\n$zz\r\n")
    with p.connect() as c:
        c.send(b"GET tellnobodya \"tellnobodyb\r\n")
        c.send(b"tellnobodyc tellnobodyd\r\n")
    p.wait_log("ready")
    at = p.reload()
    p.wait_log(RELOADED, since=at)
    assert "tellnobody" not in p.log()


def test_a_node_that_repeats_the_password(start):
    """A server that does not know AUTH answers with an error that quotes its arguments: neither log nor clients see them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$%d\r\n%s\r\n:%d\r\n$40\r\n%s\r\n" % (len(host), host.encode(), port, b"a" * 40)

        def talk(c):
            topology = False
            with contextlib.suppress(ConnectionError), c, c.makefile("rwb") as f:  # puerta may leave in the midst of it
                while line := f.readline():
                    words = [f.readline() and f.readline().rstrip() for _ in range(int(line[1:]))]
                    if words[0] == b"AUTH" and not known:  # the first one that asks is told the cluster
                        topology = True
                        f.write(b"+OK\r\n")
                    elif words[0] == b"CLUSTER" and topology:
                        f.write(slots if words[1] == b"SLOTS" else b"-ERR unknown subcommand 'SHARDS'\r\n")
                        known.extend(words[1:] if words[1] == b"SLOTS" else [])
                    else:
                        f.write(b"-ERR unknown command '%s', with args beginning with: %s\r\n" % (words[0], b" ".join(b"'%s'" % w for w in words[1:])))
                    f.flush()

        def serve():
            while True:
                try:
                    threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()
                except OSError:
                    return

        known = []
        threading.Thread(target=serve, daemon=True).start()
        p = start([f"{host}:{port}"], top={"log": {"level": "debug"}}, backend_auth={"password": "tellnobody"})
        with p.connect() as c:
            reply = c.command("GET", "a")
        assert reply.startswith("ERR") and "tellnobody" not in reply
        p.wait_log(r"fails fast: it does not know AUTH")
        assert "tellnobody" not in p.log()
        server.shutdown(socket.SHUT_RDWR)
