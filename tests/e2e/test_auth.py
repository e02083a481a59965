"""Passwords: of clients at the door, of puerta at the nodes."""
import subprocess

import pytest
import redis
from cluster import Cluster, wait_for
from resp import Error, encode
from slots import key_in

USERS = [{"password": "open-sesame"}, {"user": "alice", "password": "wonder land"}]


@pytest.fixture(scope="module")
def locked():
    """A cluster whose nodes want a password."""
    with Cluster(masters=3, replicas=0, password="node-secret") as c:
        yield c


@pytest.fixture
def guarded(start, cluster):
    return start(cluster, auth=USERS)


def test_nothing_without_authentication(guarded, locked):
    with guarded.connect() as c, locked.nodes[0].connect(auth=False) as direct:
        for words in (["GET", "a"], ["PING"], ["MGET", "a", "b"], ["COMMAND"], ["ECHO", "x"], ["CLIENT", "ID"], ["SELECT", "0"], ["INFO"]):
            assert c.command(*words) == direct.command(*words) == "NOAUTH Authentication required."
        assert c.command("HELLO").startswith("NOAUTH") and c.command("HELLO", "3").startswith("NOAUTH")
        assert c.command("RESET") == "RESET"
        assert c.command("QUIT") == "OK"


@pytest.mark.parametrize("words", [["open-sesame"], ["default", "open-sesame"], ["alice", "wonder land"]])
def test_right_passwords(guarded, words):
    with guarded.connect() as c:
        c.send(encode("AUTH", *words) + encode("SET", "auth", "1") + encode("GET", "auth"))
        assert [c.read() for _ in range(3)] == ["OK", "OK", b"1"]
        assert c.command("RESET") == "RESET"  # and back behind the door
        assert c.command("GET", "auth").startswith("NOAUTH")
    with guarded.connect() as c:
        user = words if len(words) == 2 else ["default", *words]
        assert not isinstance(c.command("HELLO", "3", "AUTH", *user, "SETNAME", "n"), Error)
        assert c.command("GET", "auth") == b"1" and c.command("CLIENT", "GETNAME") == b"n"


@pytest.mark.parametrize("words", [["wrong"], [""], ["open-sesame "], ["open-sesam"], ["default", "wonder land"], ["alice", "open-sesame"], ["bob", "open-sesame"],
                                   ["alice", ""], ["x" * 5000], ["open-sesame\0"]])
def test_wrong_passwords(guarded, words):
    with guarded.connect() as c:
        assert c.command("AUTH", *words) == "WRONGPASS invalid username-password pair or user is disabled."
        assert c.command("GET", "a").startswith("NOAUTH")
        user = words if len(words) == 2 else ["default", *words]
        assert c.command("HELLO", "3", "AUTH", *user).startswith("WRONGPASS")
        assert c.command("GET", "a").startswith("NOAUTH")
        assert c.command("AUTH", "open-sesame") == "OK"
        assert c.command("AUTH", *words).startswith("WRONGPASS")
        assert not isinstance(c.command("GET", "a"), Error)  # as in Redis: a failed AUTH takes nothing away


def test_auth_arguments(guarded, plain):
    with guarded.connect() as c:
        assert "wrong number of arguments" in c.command("AUTH")
        assert isinstance(c.command("AUTH", "a", "b", "c"), Error)


def test_auth_where_none_is_asked(proxy, plain):
    with proxy.connect() as c, plain.connect() as direct:
        assert c.command("AUTH", "x") == direct.command("AUTH", "x")
        assert not isinstance(c.command("GET", "auth:none"), Error)


@pytest.mark.parametrize("raw", [b"*11\r\n", b"*1\r\n$16385\r\n"])
def test_strangers_may_not_send_large_requests(guarded, locked, raw):
    """Redis' limits before AUTH: memory is not for everybody."""
    with guarded.connect() as c, locked.nodes[0].connect(auth=False) as direct:
        c.send(raw)
        direct.send(raw)
        assert c.closed() == direct.closed() != b""


def test_the_passwords_show_nowhere(guarded):
    with guarded.connect() as c:
        c.command("AUTH", "open-sesame")
        c.command("AUTH", "a-wrong-try")
    log = guarded.log()
    assert "open-sesame" not in log and "wonder land" not in log and "a-wrong-try" not in log


def test_clients_authenticate(guarded):
    out = subprocess.run(["redis-cli", "-p", str(guarded.port), "--user", "alice", "--pass", "wonder land", "--no-auth-warning", "SET", "cli", "1"],
                         capture_output=True, text=True, timeout=20)
    assert out.stdout.strip() == "OK"
    for protocol in (2, 3):
        assert redis.Redis(port=guarded.port, password="open-sesame", protocol=protocol).get("cli") == b"1"
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=guarded.port, username="alice", password="no", protocol=protocol).get("cli")


def test_backend_password(start, locked):
    p = start(locked, backend_auth={"password": "node-secret"})
    with p.connect() as c:
        keys = [f"bp{i}" for i in range(50)]
        assert c.command("MSET", *[x for k in keys for x in (k, k)]) == "OK"
        assert c.command("MGET", *keys) == [k.encode() for k in keys]
        assert type(c.command("HELLO", "3")).__name__ == "Map"
        assert c.command("GET", "bp1") == b"bp1"
    assert "node-secret" not in p.log()


def test_backend_user(start, locked):
    for n in locked.nodes:
        n.call("ACL", "SETUSER", "puerta", "on", ">pp", "~*", "+@all")
    p = start(locked, backend_auth={"user": "puerta", "password": "pp"})
    with p.connect() as c:
        assert c.command("SET", "bu", "1") == "OK"
    assert any(b"user=puerta" in n.call("CLIENT", "LIST") for n in locked.nodes)


@pytest.mark.parametrize("auth,why", [({"backend_auth": {"password": "not-it"}}, "wrong user or password"), ({}, "asks for a password")], ids=["wrong", "none"])
def test_wrong_backend_password_is_told(start, locked, auth, why):
    """The log says why, clients get an error instead of waiting, and nothing hangs."""
    p = start(locked, ready=False, request_timeout="2s", **auth)
    for n in locked.nodes:
        p.wait_log(f"{n.address}: .*{why}")
    assert "not-it" not in p.log()
    with p.connect(timeout=20) as c:
        reply = c.command("GET", "a")
        assert isinstance(reply, Error) and reply.startswith(("LOADING ", "CLUSTERDOWN "))
        assert c.command("PING") == "PONG"


def test_password_changed_while_running(start, locked):
    """A node that begins to refuse the password: an error that says so, and service when it is right again."""
    p = start(locked, backend_auth={"password": "node-secret"}, request_timeout="2s", retry_interval="200ms")
    node = locked.masters()[0]
    key = key_in(locked.slots_of(node))
    with p.connect() as c:
        assert c.command("SET", key, "1") == "OK"
        with node.connect() as admin:
            admin.command("CONFIG", "SET", "requirepass", "changed")
            admin.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            reply = c.command("SET", key, "2")
            assert isinstance(reply, Error), reply
            admin.command("CONFIG", "SET", "requirepass", "node-secret")
        wait_for("service", 20, lambda: c.command("SET", key, "3") == "OK", every=0.1)
