"""The command line and the configuration as a user meets them; bad seeds."""
import json
import re
import subprocess
import socket
import threading
import time

import pytest
import puerta as rig
from cluster import free_port, wait_for

GOOD = rig.config(rig.listener(["127.0.0.1:7000"], 6390))


@pytest.fixture
def file(tmp_path):
    def write(text, name="c.lua"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_version_and_help():
    v = rig.run("--version")
    assert v.returncode == 0 and re.fullmatch(r"puerta \d+\.\d+\S*\n", v.stdout)
    h = rig.run("--help")
    assert h.returncode == 0 and all(w in h.stdout for w in ("--test", "--dump", "--log-level", "-w", "FILE"))


@pytest.mark.parametrize("args", [["--nonsense"], ["-w"], ["-w", "x"], ["--log-level", "loud"], ["run", "a.lua", "b.lua"]])
def test_wrong_arguments(args):
    r = rig.run(*args)
    assert r.returncode not in (0, -6, -11) and r.stderr and "anitizer" not in r.stderr


@pytest.mark.parametrize("flags", [["-t"], ["--test"]])
def test_a_good_file(file, flags):
    for args in ([*flags, file(GOOD)], [*flags, "-c", file(GOOD)], [*flags, "run", file(GOOD)]):
        r = rig.run(*args)
        assert (r.returncode, r.stdout.strip()) == (0, "configuration ok"), r.stderr


def test_a_missing_file():
    r = rig.run("-t", "/nowhere/at/all.lua")
    assert r.returncode == 1 and "/nowhere/at/all.lua" in r.stderr + r.stdout


def test_five_mistakes_five_errors(file):
    path = file("""local puerta = require "puerta"
return puerta.config {
  wokers = 2,
  listeners = {
    puerta.redis {
      bind = "127.0.0.1:6390",
      nodes = { "127.0.0.1:7000", "no port" },
      slot_refresh = 60,
      max_redirects = "many",
      request_timeout = "5 parsecs",
    },
  },
}
""")
    r = rig.run("-t", path)
    out = r.stdout + r.stderr
    assert r.returncode == 1
    for line, word in ((3, "workers"), (7, "no port"), (8, '60s'), (9, "many"), (10, "5 parsecs")):
        assert re.search(rf"c\.lua:{line}: .*{re.escape(word)}", out), out
    assert len(re.findall(r"c\.lua:\d+: ", out)) == 5 and "5 errors" in out


@pytest.mark.parametrize("text,line", [
    ("return {", 1), ("return 5", 1), ("", 1), ("error 'boom'", 1), ("\n\nlocal x = nil + 1", 3), ('local p = require "puerta"\nreturn p.config { listeners = {} }', 2),
    ('local p = require "puerta"\n\nreturn p.config { listeners = { p.redis { bind = "127.0.0.1:1" } } }', 3),
    ('local p = require "puerta"\nreturn p.config { listeners = { p.redis { bind = "127.0.0.1:6390", nodes = {} } } }', 2),
])
def test_bad_texts(file, text, line):
    r = rig.run("-t", file(text))
    out = r.stdout + r.stderr
    assert r.returncode == 1 and re.search(rf"c\.lua:{line}\b", out), out
    assert "configuration ok" not in out and "anitizer" not in out


def test_running_a_bad_file_ends_at_once(file):
    r = rig.run("run", file(GOOD.replace("bind", "bnid")), timeout=20)
    assert r.returncode == 1 and "bind" in r.stderr and re.search(r"c\.lua:\d+", r.stderr)


def test_dump_is_a_valid_file_with_all_defaults(file):
    secret = file(rig.config(rig.listener(["127.0.0.1:7000"], 6390, name="cache", auth=[{"password": "hush hush"}])))
    r = rig.run("--dump", secret)
    assert r.returncode == 0 and "hush hush" not in r.stdout and "***" in r.stdout
    for option in ("slot_refresh", "max_redirects", "request_timeout", "drain_timeout", "workers", "cache"):
        assert option in r.stdout
    again = rig.run("-t", file(r.stdout, "again.lua"))
    assert again.returncode == 0, again.stdout + again.stderr
    twice = rig.run("--dump", file(r.stdout, "again.lua"))
    assert twice.stdout.replace("again.lua", "c.lua") == r.stdout


def scram(user, password):
    return subprocess.run([rig.BINARY, "--scram", user], input=password + "\n", capture_output=True, text=True, timeout=60)


def test_scram_makes_what_auth_takes(file):
    r = scram("app", "correct horse")
    assert r.returncode == 0 and r.stdout.startswith("SCRAM-SHA-256$15000:") and "correct horse" not in r.stdout + r.stderr
    assert scram("app", "correct horse").stdout != r.stdout, "the salt is drawn anew"
    text = f"""local puerta = require "puerta"
return puerta.config {{ listeners = {{ puerta.mongodb {{ bind = "127.0.0.1:{free_port()}", forward = "request",
  backends = {{ puerta.backend {{ "127.0.0.1:27017" }} }}, auth = {{ {{ user = "app", verifier = "{r.stdout.strip()}" }} }} }} }} }}
"""
    ok = rig.run("-t", file(text))
    assert (ok.returncode, ok.stdout.strip()) == (0, "configuration ok"), ok.stderr


@pytest.mark.parametrize("password", ["", "control\x01character"])
def test_scram_refuses_a_password_nobody_could_use(password):
    r = scram("app", password)
    assert r.returncode == 1 and not r.stdout and "--scram" in r.stderr


@pytest.mark.parametrize("path", sorted((rig.ROOT / "conf").glob("*.lua")), ids=lambda p: p.name)
def test_shipped_examples(path):
    secrets = {name: "a secret" for name in re.findall(r'env\.secret "(\w+)"', path.read_text())}
    for name in secrets:
        if name.endswith("VERIFIER"):
            secrets[name] = scram("app", "a secret").stdout.strip()
    r = rig.run("-t", path, env=secrets)
    assert (r.returncode, r.stdout.strip()) == (0, "configuration ok"), r.stdout + r.stderr


def test_there_are_shipped_examples():
    assert (rig.ROOT / "conf" / "redis.lua").exists()


def test_environment(start, cluster):
    port = free_port()
    text = rig.config(rig.listener([rig.Lua('env.string("PUERTA_SEED")')], rig.Lua('env.string("PUERTA_BIND")'), auth=[{"password": rig.Lua('env.secret("PUERTA_PASS")')}]), workers=1)
    p = start.text(text, env={"PUERTA_SEED": cluster.nodes[0].address, "PUERTA_BIND": f"127.0.0.1:{port}", "PUERTA_PASS": "from env"}, port=port)
    with p.connect() as c:
        assert c.command("AUTH", "from env") == "OK" and c.command("SET", "env", "1") == "OK"


def test_the_shipped_configuration_runs(start, cluster):
    port = free_port()
    p = start.text((rig.ROOT / "conf" / "redis.lua").read_text(), env={"PUERTA_BIND": f"127.0.0.1:{port}", "PUERTA_NODES": ",".join(cluster.addresses[:2])}, port=port)
    with p.connect() as c:
        assert c.pipeline([("SET", f"ship{i}", i) for i in range(50)]) == ["OK"] * 50


def test_json_log(start, cluster):
    p = start(cluster, top={"log": {"format": "json"}})
    lines = p.log().splitlines()
    events = [json.loads(line) for line in lines]
    assert any(e["event"] == "ready" for e in events) and all({"ts", "level", "event", "msg"} <= e.keys() for e in events)


def test_log_level(start, cluster):
    """The command line wins over the file."""
    p = start(cluster, top={"log": {"level": "info"}}, args=["--log-level", "error"], ready=False)
    wait_for("service", 20, lambda: answers(p))
    assert p.log() == ""


def answers(p):
    try:
        with p.connect(timeout=5) as c:
            return c.command("SET", "answers", "1") == "OK"
    except OSError:
        return False


class NotRedis:
    """Answers every connection with a web page."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", free_port()))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c, _ = self.socket.accept()
            except OSError:
                return
            c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            c.close()


def test_bad_seeds_are_named_and_skipped(start, cluster, plain):
    """One refuses, one is no Redis, one is no cluster, one does not resolve, one never answers, one is good."""
    web, mute = NotRedis(), socket.create_server(("127.0.0.1", free_port()))
    refusing, silent = f"127.0.0.1:{free_port()}", "127.0.0.1:%d" % mute.getsockname()[1]
    bad = [refusing, web.address, plain.address, "no-such-host.invalid:6379", silent]
    p = start([*bad, cluster.nodes[0].address], connect_timeout="500ms")
    with p.connect() as c:
        assert c.pipeline([("SET", f"seed{i}", i) for i in range(99)]) == ["OK"] * 99
    for seed in (refusing, web.address, plain.address, "no-such-host.invalid", silent):
        p.wait_log(rf"(?m)(warn|error).*{re.escape(seed)}")
    web.socket.close()
    mute.close()


def test_no_good_seed_yet(start, cluster):
    """Nothing answers at first: clients are told so, and are served as soon as a seed is there."""
    port = free_port()
    p = start([f"127.0.0.1:{port}"], ready=False, request_timeout="1s")
    p.wait_log(rf"127\.0\.0\.1:{port}")

    def ask():
        with p.connect(timeout=5) as c:
            return c.command("SET", "early", "1")

    try:
        reply = ask()
        assert str(reply).startswith(("LOADING ", "CLUSTERDOWN ")), reply
    except OSError:
        pass  # not listening before it is ready is as good
    relay = socket.create_server(("127.0.0.1", port))  # the seed appears: a relay to a real node
    threading.Thread(target=relay_all, args=(relay, cluster.nodes[0].port), daemon=True).start()
    p.wait_ready(20)
    wait_for("service", 20, lambda: ask() == "OK", every=0.2)
    relay.close()


def relay_all(listen, port):
    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        a.close()
        b.close()

    while True:
        try:
            a, _ = listen.accept()
        except OSError:
            return
        b = socket.create_connection(("127.0.0.1", port))
        for pair in ((a, b), (b, a)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


def test_the_last_seed_may_go_when_others_are_known(start, own_cluster):
    """Topology comes from any known node, not from the seeds alone."""
    own_cluster.wait_ok()
    seed = own_cluster.replicas_of(own_cluster.masters()[0])[0]
    p = start([seed.address], slot_refresh="1s")
    seed.kill()
    try:
        source, target = own_cluster.masters()[1:]
        slot = min(own_cluster.slots_of(source))
        at = p.mark()

        def told_of_a_move():
            for a, b in ((source, target), (target, source)):
                own_cluster.begin_move(slot, a, b)
                own_cluster.end_move(slot, b)
                time.sleep(1.5)  # two rounds; the log tells at most one change a second, so one move may pass untold
                with p.connect() as c:
                    assert c.pipeline([("SET", f"ls{i}", i) for i in range(200)]) == ["OK"] * 200
            return len(re.findall(r"topology: .*generation", p.log(at))) >= 2

        wait_for("puerta to see the moves", 40, told_of_a_move)
    finally:
        assert seed.start()
        own_cluster.wait_ok()
