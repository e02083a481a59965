"""TLS of MongoDB listeners, both ways of forwarding: scripted mongos processes and FerretDB behind TLS, raw clients and real drivers, PROXY headers."""
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import ferret
import puerta as rig
import pytest
from certs import Authority
from cluster import wait_for
from mongo_wire import Wire, greeted, proxy_v1, proxy_v2
from mongos import DOWN, Trio
from pymongo import MongoClient
from tls_front import TlsFront

FORWARD = pytest.mark.parametrize("forward", ["connection", "request"])


@pytest.fixture(scope="module")
def ca():
    a = Authority()
    yield a
    a.end()


@pytest.fixture(scope="module")
def server(ca):
    return ca.issue("server")


@pytest.fixture(scope="module")
def trio():
    with Trio() as t:
        yield t


def server_context(pair, ca=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(pair.cert, pair.key)
    if ca:
        ctx.load_verify_locations(ca)
        ctx.verify_mode = ssl.CERT_REQUIRED
    return ctx


@pytest.fixture
def fronts():
    """Makes TLS ports before servers."""
    made = []

    def make(targets, ctx, **how):
        new = [TlsFront(t.port, ctx, **how) for t in targets]
        made.extend(new)
        return new

    yield make
    for f in made:
        f.end()


def before(start, backends, **options):
    return start.keep(rig.Puerta.for_backends([b.address for b in backends], **options))


def ports(p, n=12, **how):
    """Which mongos some clients reach."""
    out = set()
    for i in range(n):
        with greeted(p.port, f"app {i}", **how) as w:
            out.add(w.command({"whoami": 1}, "admin")["port"])
    return out


# ---- bytes ----

@FORWARD
def test_both_sides(start, trio, fronts, ca, server, forward):
    p = before(start, fronts(trio, server_context(server)), forward=forward, tls=server.options(), backend_tls={"ca": str(ca.ca)})
    assert len(ports(p, tls=ca.client())) > 1
    with greeted(p.port, "big", tls=ca.client()) as w:
        docs = [{"_id": i, "data": "x" * 100_000} for i in range(60)]
        assert w.command({"insert": "big", "documents": docs})["n"] == 60
        got = w.command({"find": "big", "batchSize": 60})["cursor"]["firstBatch"]
        assert got == docs
        w.command({"drop": "big"})


@FORWARD
def test_tls_in_front_plain_behind(start, trio, ca, server, forward):
    p = before(start, trio, forward=forward, tls=server.options())
    assert len(ports(p, tls=ca.client())) > 1


@FORWARD
def test_plain_in_front_tls_behind(start, trio, fronts, ca, server, forward):
    p = before(start, fronts(trio, server_context(server)), forward=forward, backend_tls={"ca": str(ca.ca)})
    assert len(ports(p)) > 1


@FORWARD
def test_bytes_one_by_one(start, trio, fronts, ca, server, forward):
    """A message in records of one byte each."""
    p = before(start, fronts(trio, server_context(server)), forward=forward, tls=server.options(), backend_tls={"ca": str(ca.ca)})
    with Wire(p.port, tls=ca.client()) as w:
        send = w.sock.sendall
        w.sock.sendall = lambda data: [send(data[i : i + 1]) for i in range(len(data))]
        assert w.hello("slow")["ok"] == 1
        assert w.command({"ping": 1}, "admin")["ok"] == 1


@FORWARD
def test_a_slow_reader(start, trio, fronts, ca, server, forward):
    """Much more than the buffer, in both directions, for a client that does not read for a while."""
    p = before(start, fronts(trio, server_context(server)), forward=forward, tls=server.options(), backend_tls={"ca": str(ca.ca)}, buffer="16KiB")
    with greeted(p.port, "slow", tls=ca.client(), timeout=60) as w:
        docs = [{"_id": i, "data": os.urandom(50_000)} for i in range(100)]
        assert w.command({"insert": "slow", "documents": docs})["n"] == 100
        n = w.send({"find": "slow", "batchSize": 100}, "test")
        time.sleep(1)
        m = w.recv()
        assert m.response_to == n and m.doc["cursor"]["firstBatch"] == docs
        w.command({"drop": "slow"})


@FORWARD
def test_idle_and_gone(start, trio, fronts, ca, server, forward):
    p = before(start, fronts(trio, server_context(server)), forward=forward, tls=server.options(), backend_tls={"ca": str(ca.ca)})
    wires = [greeted(p.port, f"idle {i}", tls=ca.client()) for i in range(200)]
    assert all(w.command({"ping": 1}, "admin")["ok"] == 1 for w in wires)
    for w in wires:
        w.close()
    wait_for("the clients and their connections to be gone", 20, lambda: p.fds() < 120)


# ---- PROXY headers ----

@FORWARD
@pytest.mark.parametrize("header", [proxy_v1, proxy_v2])
def test_a_header_before_tls(start, trio, ca, server, forward, header):
    """The header is plain, TLS begins right behind it; the address in it counts."""
    p = before(start, trio, forward=forward, tls=server.options(), affinity="socket_addr", proxy_protocol={"from": ["127.0.0.0/8"]})
    first = {ip: ports(p, 1, first=header(ip, "10.0.0.1"), tls=ca.client()) for ip in (f"10.1.2.{i}" for i in range(16))}
    assert len(set().union(*first.values())) > 1
    for ip, port in first.items():
        assert ports(p, 1, first=header(ip, "10.0.0.1", src_port=77), tls=ca.client()) == port


def test_a_header_in_pieces_before_tls(start, trio, ca, server):
    p = before(start, trio, tls=server.options(), affinity="socket_addr", proxy_protocol={"from": ["127.0.0.0/8"]})
    with Wire(p.port) as w:
        for b in proxy_v1("10.9.9.9", "10.0.0.1"):
            w.sock.sendall(bytes([b]))
            time.sleep(0.005)
        w.sock = ca.client().wrap_socket(w.sock, server_hostname="127.0.0.1")
        assert w.hello("pieces")["ok"] == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_header_for_backends_before_tls(start, trio, fronts, ca, server, version):
    made = fronts(trio, server_context(server), proxy=True)
    p = before(start, made, tls=server.options(), backend_tls={"ca": str(ca.ca)}, proxy_protocol={"send": version})
    with greeted(p.port, "headers", tls=ca.client()) as w:
        here = w.local_port
        assert w.command({"ping": 1}, "admin")["ok"] == 1
    seen = b"".join(h for f in made for h in f.headers)
    assert (b" %d " % here if version == "v1" else here.to_bytes(2, "big")) in seen


# ---- who is let in ----

def said(p, since, pattern):
    return p.wait_log(rf"tls: [\w-]+: 127\.0\.0\.1:\d+: .*{pattern}", since=since)


@FORWARD
def test_misuse_at_the_front(start, trio, ca, server, forward):
    p = before(start, trio, forward=forward, tls=server.options(ca=str(ca.ca), client_auth="required"))
    other = Authority("Another CA")
    with pytest.raises(ConnectionError):
        Wire(p.port).hello("plain")
    said(p, 0, "does not speak TLS: a plain client at a TLS port")
    for ctx, pattern in ((ca.client(), "shows no certificate"), (other.client(), "does not trust our certificate: unknown CA"),
                         (ca.client(ca.issue("late", days=-1)), "certificate has expired"), (ca.client(other.issue("alien")), "not issued by our ca")):
        time.sleep(1.1)  # one line a second
        at = p.mark()
        with pytest.raises(OSError):
            Wire(p.port, tls=ctx).hello("stranger")
        said(p, at, pattern)
    assert ports(p, 1, tls=ca.client(ca.issue("friend")))
    other.end()


@FORWARD
def test_tls_client_at_a_plain_port(start, trio, ca, forward):
    p = before(start, trio, forward=forward)
    with pytest.raises(OSError):
        Wire(p.port, tls=ca.client())
    said(p, 0, "speaks TLS, and this listener has no tls")


@FORWARD
def test_misuse_at_the_back(start, trio, fronts, ca, server, forward):
    """A backend that cannot be believed is down, with the reason."""
    other, made = Authority("Another CA"), fronts(trio, server_context(server))
    expired = fronts([trio[0]], server_context(ca.issue("late-server", days=-1)))
    for backends, options, pattern in ((made, {"ca": str(other.ca)}, "not issued by our ca"), (made, {"ca": str(ca.ca), "server_name": "other.test"}, "hostname mismatch"),
                                       (expired, {"ca": str(ca.ca)}, "certificate has expired"), (trio, {"ca": str(ca.ca)}, "")):
        p = before(start, backends, forward=forward, tls=server.options(), backend_tls=options, ready=False)
        line = p.wait_log(DOWN % r"\d+" + ".*")[0]
        assert pattern in line, line
    other.end()


@FORWARD
def test_certificates_for_backends(start, trio, fronts, ca, server, forward):
    made = fronts(trio, server_context(server, ca.ca))
    mine = ca.issue("proxy")
    p = before(start, made, forward=forward, backend_tls=mine.options(ca=str(ca.ca)))
    assert len(ports(p)) > 1
    p = before(start, made, forward=forward, backend_tls={"ca": str(ca.ca)}, ready=False)
    p.wait_log(DOWN % r"\d+" + ".*(wants a certificate of us|closed the connection)")


@FORWARD
def test_backend_sessions_are_resumed(start, trio, fronts, ca, server, forward):
    made = fronts([trio[0]], server_context(server))
    p = before(start, made, forward=forward, backend_tls={"ca": str(ca.ca)}, health={"interval": "50ms"})
    ports(p, 5)
    deadline = time.monotonic() + 20
    while not any(made[0].resumed) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert any(made[0].resumed) and not made[0].resumed[0]


@FORWARD
def test_a_backend_dies(start, trio, fronts, ca, server, forward):
    """Clients go on with another one."""
    made = fronts(trio, server_context(server))
    p = before(start, made, forward=forward, tls=server.options(), backend_tls={"ca": str(ca.ca)}, health={"interval": "100ms"})
    assert len(ports(p, 20, tls=ca.client())) > 1
    made[0].end()
    dead = trio[0].port
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if dead not in ports(p, 20, tls=ca.client()):
                return
        except (OSError, KeyError, AssertionError):
            pass
        time.sleep(0.2)
    pytest.fail("clients still go to a backend that is dead")


@FORWARD
def test_rotation_under_load(start, trio, fronts, ca, server, forward, tmp_path):
    cert, key = tmp_path / "live.pem", tmp_path / "live.key"
    pairs = [ca.issue("first"), ca.issue("second")]
    pairs[0].copy_to(cert, key)
    p = before(start, fronts(trio, server_context(server)), forward=forward, tls={"cert": str(cert), "key": str(key)}, backend_tls={"ca": str(ca.ca)})
    stop, errors, done = threading.Event(), [], [0] * 6

    def work(i):
        try:
            with greeted(p.port, f"worker {i}", tls=ca.client()) as w:
                while not stop.is_set():
                    assert w.command({"ping": 1}, "admin")["ok"] == 1
                    done[i] += 1
        except Exception as e:  # noqa: BLE001
            errors.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for i in range(6):
        pairs[(i + 1) % 2].copy_to(cert, key)
        at = p.reload()
        p.wait_log(rig.RELOADED, since=at)
        with greeted(p.port, "new", tls=ca.client()) as w:
            names = dict(x[0] for x in w.sock.getpeercert()["subject"])
            assert names["commonName"] == ("second" if i % 2 == 0 else "first")
    stop.set()
    for t in threads:
        t.join()
    assert not errors and all(done), errors


# ---- drivers ----

@pytest.fixture(scope="module")
def ferrets():
    if ferret.missing():
        pytest.skip(ferret.missing())
    with ferret.Ferrets(2) as f:
        yield f


@FORWARD
def test_pymongo(start, ferrets, fronts, ca, server, forward):
    p = before(start, fronts(ferrets, server_context(server)), forward=forward, tls=server.options(), backend_tls={"ca": str(ca.ca)})
    with MongoClient("localhost", p.port, tls=True, tlsCAFile=str(ca.ca), directConnection=True, serverSelectionTimeoutMS=20000) as c:
        with c.start_session() as s:
            docs = [{"_id": i, "data": "p" * 10_000} for i in range(300)]
            c.py.numbers.insert_many(docs, session=s)
            assert list(c.py.numbers.find({}, batch_size=7, session=s).sort("_id", 1)) == docs
            c.py.numbers.drop(session=s)


@FORWARD
def test_node(start, trio, fronts, ca, server, forward):
    p = before(start, fronts(trio, server_context(server)), forward=forward, tls=server.options(), backend_tls={"ca": str(ca.ca)})
    uri = f"mongodb://localhost:{p.port}/?tls=true&tlsCAFile={ca.ca}"
    out = subprocess.run([rig.NODE, rig.ROOT / "tests/e2e/mongo_node/matrix.js", uri, "4", "20", "20"], capture_output=True, text=True, timeout=200,
                         env=os.environ | {"NODE_CLIENTS": str(rig.NODE_MODULES)})
    assert out.returncode == 0 and re.search(r'"errors":\[\]', out.stdout), out.stdout + out.stderr


@pytest.mark.threads
@FORWARD
def test_many_workers(start, trio, fronts, ca, server, forward):
    """Contexts and kept sessions are shared by threads; configurations come and go meanwhile."""
    p = before(start, fronts(trio, server_context(server)), forward=forward, tls=server.options(), backend_tls={"ca": str(ca.ca)}, top={"workers": 3},
               health={"interval": "50ms"})
    for _ in range(3):
        assert ports(p, 9, tls=ca.client())
        at = p.reload()
        p.wait_log(rig.RELOADED, since=at)


def test_handshake_timeout(start, trio, ca, server):
    p = before(start, trio, tls=server.options(handshake_timeout="300ms"))
    with socket.create_connection(("127.0.0.1", p.port), timeout=20) as s:
        assert s.recv(10) == b""
    said(p, 0, "handshake takes too long")
