"""The tests' front door, tests/test.sh: that it passes where all is well, fails where it is not, says so, and leaves nothing behind."""
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import ferret
import puerta as rig
import pytest
from certs import Authority
from cluster import free_port
from mongos import Trio
from pymongo import MongoClient

ROOT = Path(__file__).resolve().parents[2]


def front(tmp_path, *args):
    """(exit code, what it printed, its report)."""
    file = tmp_path / "report.json"
    file.unlink(missing_ok=True)
    p = subprocess.run([ROOT / "tests" / "test.sh", *map(str, args), "--json", file], capture_output=True, text=True, timeout=280, cwd=tmp_path,
                       env=os.environ | {"PUERTA_BIN": os.path.abspath(rig.BINARY)})
    return p.returncode, p.stdout + p.stderr, json.loads(file.read_text()) if file.exists() else None


def outcomes(report):
    return {c["name"]: c["outcome"] for r in report["runs"] for c in r["checks"]}


def needs_ferret():
    if ferret.missing():
        pytest.skip(ferret.missing())


@pytest.mark.parametrize("kind", ["redis", "mongo"])
def test_basic_with_servers_of_its_own(kind, tmp_path):
    if kind == "mongo":
        needs_ferret()
    code, text, report = front(tmp_path, kind, "basic", "--own", "--seconds", 2)
    assert code == 0 and report["exit_code"] == 0, text
    assert report["summary"]["failed"] == 0 and report["summary"]["ok"] > 10
    assert set(outcomes(report).values()) <= {"ok", "skipped"}
    skipped = {c["name"]: c["detail"] for r in report["runs"] for c in r["checks"] if c["outcome"] == "skipped"}
    assert all(skipped.values()) and set(skipped) <= {"transactions", "decimal"}


def test_redis_routing_at_a_target(cluster, proxy, tmp_path):
    before = [m.call("DBSIZE") for m in cluster.masters()]
    code, text, report = front(tmp_path, "redis", "routing", "--target", f"127.0.0.1:{proxy.port}", "--nodes", cluster.nodes[0].address)
    assert code == 0, text
    assert outcomes(report) == dict.fromkeys(["connect", "key_slots", "owners", "tags", "reads"], "ok")
    assert [m.call("DBSIZE") for m in cluster.masters()] == before


def test_redis_routing_without_nodes_says_what_it_skipped(proxy, tmp_path):
    code, text, report = front(tmp_path, "redis", "routing", "--target", f"127.0.0.1:{proxy.port}")
    assert code == 0, text
    assert report["summary"]["skipped"] == 4 and "--nodes" in text


def test_mongo_routing_at_a_target(start, tmp_path):
    needs_ferret()
    with ferret.Ferrets(3) as ferrets:
        for forward in ("connection", "request"):
            p = start.keep(rig.Puerta.for_backends(ferrets, forward=forward))
            code, text, report = front(tmp_path, "mongo", "routing", "--target", f"127.0.0.1:{p.port}", "--forward", forward,
                                       "--nodes", ",".join(ferrets.addresses))
            assert code == 0, text
            by_client = dict.fromkeys(["client_together", "client_again", "clients_spread"], "ok" if forward == "connection" else "skipped")
            assert outcomes(report) == {"connect": "ok", "session_together": "ok", "cursor_stays": "ok"} | by_client
        for f in ferrets:
            with MongoClient(f.uri, directConnection=True) as c:
                assert [n for n in c.list_database_names() if n.startswith("puerta-check")] == []


def test_mongo_transactions_where_the_server_has_them(start, tmp_path):
    """The scripted mongos: they have transactions, and lack much else, dropDatabase, too: what is left behind is said."""
    with Trio() as trio:
        p = start.keep(rig.Puerta.for_backends(trio))
        code, text, report = front(tmp_path, "mongo", "basic", "--target", f"127.0.0.1:{p.port}", "--seconds", 1)
    got = outcomes(report)
    assert code == 1 and got["transactions"] == got["cursors"] == got["kill_cursors"] == "ok", text
    assert got["aggregate"] == got["clean_up"] == "failed" and "could not be dropped" in text, text


APART = """
local n = 0
return { identify = function() n = n + 1 return n end }
"""


def test_clients_that_are_torn_apart_or_all_in_one_place_are_found_out(start, tmp_path):
    needs_ferret()
    with ferret.Ferrets(3) as ferrets:
        for affinity, check, says in (("apart.lua", "client_together", "was answered by"), ("socket_addr", "clients_spread", "landed on one of 3")):
            affinity = rig.Lua(f'puerta.policy("{affinity}")')
            p = start.keep(rig.Puerta.for_backends(ferrets, affinity=affinity, files={"apart.lua": APART}))
            code, text, report = front(tmp_path, "mongo", "routing", "--target", f"127.0.0.1:{p.port}", "--nodes", ",".join(ferrets.addresses))
            assert code == 1 and outcomes(report)[check] == "failed" and says in text, text


def test_nothing_listens(tmp_path):
    for kind in ("redis", "mongo"):
        code, text, report = front(tmp_path, kind, "basic", "--target", f"127.0.0.1:{free_port()}")
        assert code == 1 and report["exit_code"] == 1, text
        assert outcomes(report) == {"connect": "failed"} and report["summary"]["not_run"] > 10
        assert "nothing listens there" in text and "refused" in text


def test_a_listener_that_says_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as s:
        code, text, report = front(tmp_path, "redis", "basic", "--target", f"127.0.0.1:{s.getsockname()[1]}")
    assert code == 1 and "no answer in time" in text, text


def test_a_plain_redis_is_no_puerta_and_keeps_its_data(plain, tmp_path):
    plain.call("SET", "not:ours", "kept")
    before = plain.call("DBSIZE")
    code, text, report = front(tmp_path, "redis", "basic", "--target", plain.address, "--seconds", 2)
    assert code == 1 and "is the target a puerta" in text, text
    got = outcomes(report)
    assert got["set_get"] == got["fan_out"] == got["consistency"] == "ok" and got["refused"] == "failed"
    assert plain.call("DBSIZE") == before and plain.call("GET", "not:ours") == b"kept"


def test_interrupted_it_cleans_up(cluster, proxy, start, tmp_path):
    needs_ferret()
    with ferret.Ferrets(3) as ferrets:
        mongo = start.keep(rig.Puerta.for_backends(ferrets))
        before = [m.call("DBSIZE") for m in cluster.masters()]
        for kind, port in (("redis", proxy.port), ("mongo", mongo.port)):
            p = subprocess.Popen([ROOT / "tests" / "test.sh", kind, "basic", "--target", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
            said = ""
            while "a loop of clients" not in said:
                said += (c := p.stdout.read(1))
                assert c, said
            time.sleep(1)
            p.terminate()
            assert p.wait(60) == 2, said
        assert [m.call("DBSIZE") for m in cluster.masters()] == before
        for f in ferrets:
            with MongoClient(f.uri, directConnection=True) as c:
                assert [n for n in c.list_database_names() if n.startswith("puerta-check")] == []


@pytest.fixture(scope="module")
def ca():
    c = Authority()
    yield c
    c.end()


def test_tls_and_passwords(cluster, start, ca, tmp_path):
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("secret\n"), wrong.write_text("guess\n")
    p = start(cluster, tls=ca.issue("front").options(), auth=[{"password": rig.Lua('"secret"')}])
    to = ["redis", "basic", "--seconds", 1, "--target", f"localhost:{p.port}"]
    code, text, report = front(tmp_path, *to, "--tls", "--ca", ca.ca, "--password-file", right)
    assert code == 0 and report["summary"]["skipped"] == 0, text
    for args, says in ((["--tls", "--ca", ca.ca], "--password-file"), (["--tls", "--ca", ca.ca, "--password-file", wrong], "AUTH is refused"),
                       (["--tls", "--password-file", right], "--ca"), (["--password-file", right], "--tls")):
        code, text, report = front(tmp_path, *to, *args)
        assert code == 1 and says in text and outcomes(report) == {"connect": "failed"}, text


def test_mongo_tls(start, ca, tmp_path):
    needs_ferret()
    with ferret.Ferrets(2) as ferrets:
        p = start.keep(rig.Puerta.for_backends(ferrets, tls=ca.issue("front-mongo").options()))
        to = ["mongo", "routing", "--target", f"localhost:{p.port}"]
        code, text, report = front(tmp_path, *to, "--tls", "--ca", ca.ca)
        assert code == 0 and outcomes(report)["client_together"] == "ok", text
        code, text, report = front(tmp_path, *to)
        assert code == 1 and outcomes(report) == {"connect": "failed"} and "--tls" in text, text


def test_mongo_login(start, tmp_path):
    needs_ferret()
    verifier = subprocess.run([rig.BINARY, "--scram", "app"], input="pencil\n", capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("pencil"), wrong.write_text("guess")
    with ferret.Ferrets(2) as ferrets:
        p = start.keep(rig.Puerta.for_backends(ferrets, forward="request", auth=[{"user": "app", "verifier": verifier}]))
        to = ["mongo", "routing", "--target", f"127.0.0.1:{p.port}", "--forward", "request", "--user", "app", "--password-file"]
        code, text, report = front(tmp_path, *to, right)
        assert code == 0 and outcomes(report)["cursor_stays"] == "ok", text
        code, text, report = front(tmp_path, *to, wrong)
        assert code == 1 and outcomes(report) == {"connect": "failed"} and "look at --user" in text, text


@pytest.mark.parametrize("args,says", [
    (["redis"], "needs one of"), (["redis", "slow"], "invalid choice"), (["all", "basic", "--target", "a:1"], "two Puertas"),
    (["redis", "basic", "--target", "here"], "no HOST:PORT"), (["redis", "basic", "--seconds", "0"], "from 1"), (["redis", "basic", "--prefix", "a{b"], "letters"),
])
def test_usage(args, says, tmp_path):
    code, text, report = front(tmp_path, *args)
    assert code == 2 and says in text and report is None


def test_help_names_what_there_is(tmp_path):
    code, text, _ = front(tmp_path, "--help")
    assert code == 0 and all(word in text for word in ("basic", "quick", "full", "routing", "--target", "--prefix", "exit code"))
