"""TLS of Redis listeners: before a real cluster that speaks nothing else, with real clients; and what goes wrong with certificates."""
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest
import redis
from certs import Authority, hello_bytes
from cluster import Cluster, Node, free_port, wait_for
from puerta import NODE, NODE_MODULES, RELOADED, ROOT, config, listener, percentile
from puerta import run as run_puerta
from resp import Error, encode
from slots import slot

NAME = "redis.test"


@pytest.fixture(scope="module")
def ca():
    a = Authority()
    yield a
    a.end()


@pytest.fixture(scope="module")
def server(ca):
    return ca.issue("server")


@pytest.fixture(scope="module")
def client(ca):
    return ca.issue("client")


@pytest.fixture(scope="module")
def tls_cluster(ca, client):
    """Three masters, three replicas, TLS everywhere; their certificates name redis.test and no address. Clients have to show one."""
    node = ca.issue("node", names=(NAME,))
    options = {"tls-cert-file": node.cert, "tls-key-file": node.key, "tls-ca-cert-file": ca.ca, "tls-auth-clients": "yes",
               "tls-replication": "yes", "tls-cluster": "yes"}
    with Cluster(options=options, tls=ca.client(client, server_name_checked=False)) as c:
        yield c


@pytest.fixture
def both(start, tls_cluster, server, client, ca):
    """TLS on both sides."""
    return start(tls_cluster, tls=server.options(), backend_tls=client.options(ca=str(ca.ca), server_name=NAME))


def fill(c, n=300):
    for i in range(n):
        assert c.command("SET", f"key:{i}", f"value:{i}") == "OK"
    return {slot(f"key:{i}") * 3 // 16384 for i in range(n)}


def handshakes(p, ctx, **kwargs):
    with p.connect(tls=ctx, **kwargs) as c:
        return c.command("PING")


def refused(p, ctx=None, pattern="", data=b"", **kwargs):
    """A client that is not let in; the log says why, and names it."""
    time.sleep(1.1)  # one line a second
    at = p.mark()
    with socket.create_connection(("127.0.0.1", p.port), timeout=20) as s:
        here = s.getsockname()[1]
        try:
            if ctx:
                s = ctx.wrap_socket(s, server_hostname="127.0.0.1")
            s.sendall(data or encode("PING"))
            while s.recv(4096):
                pass
        except OSError:
            pass
        finally:
            s.close()
    line = p.wait_log(rf"tls: [\w-]+: 127\.0\.0\.1:{here}: .*", since=at)[0]
    assert re.search(pattern, line), line


# ---- clients ----

def test_both_sides(both, ca):
    with both.connect(tls=ca.client()) as c:
        assert fill(c) == {0, 1, 2}
        assert c.command("MGET", *(f"key:{i}" for i in range(50))) == [b"value:%d" % i for i in range(50)]
        assert c.pipeline([("GET", f"key:{i}") for i in range(300)]) == [b"value:%d" % i for i in range(300)]
        assert c.sock.version() == "TLSv1.3"


def test_redis_cli(both, ca):
    cli = ["redis-cli", "-p", str(both.port), "--tls", "--cacert", str(ca.ca)]
    assert subprocess.run([*cli, "SET", "cli", "yes"], capture_output=True, text=True, timeout=30).stdout == "OK\n"
    assert subprocess.run([*cli, "-3", "GET", "cli"], capture_output=True, text=True, timeout=30).stdout == "yes\n"


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py(both, ca, protocol):
    r = redis.Redis(port=both.port, ssl=True, ssl_ca_certs=str(ca.ca), ssl_check_hostname=True, host="localhost", protocol=protocol)
    assert r.set("py", "x" * 100000) and r.get("py") == b"x" * 100000
    with r.pipeline(transaction=False) as p:
        for i in range(200):
            p.set(f"py:{i}", i)
        assert all(p.execute())
    assert r.mget([f"py:{i}" for i in range(200)]) == [b"%d" % i for i in range(200)]
    r.close()


def test_node_clients(both, ca):
    script = ROOT / "tests/e2e/node/tls_clients.js"
    out = subprocess.run([NODE, script, str(both.port), str(ca.ca)], capture_output=True, text=True, timeout=120,
                         env=os.environ | {"NODE_CLIENTS": str(NODE_MODULES)})
    assert out.returncode == 0 and out.stdout.strip() == "ok", out.stdout + out.stderr


def test_tls_1_2_alone(both, ca):
    ctx = ca.client(maximum_version=ssl.TLSVersion.TLSv1_2)
    with both.connect(tls=ctx) as c:
        assert c.sock.version() == "TLSv1.2"
        fill(c, 50)
        assert c.command("SET", "big", b"z" * 3_000_000) == "OK"
        assert c.command("GET", "big") == b"z" * 3_000_000


# ---- bytes ----

def test_one_byte_records(both, ca):
    """Each byte in a record, each record in pieces: what is asked is found all the same."""
    with both.connect(tls=ca.client()) as c:
        for b in encode("SET", "slow", "motion") + encode("GET", "slow"):
            c.send(bytes([b]))
        assert (c.read(), c.read()) == ("OK", b"motion")


def test_records_in_pieces(both, ca):
    """The encrypted bytes arrive one by one: a memory BIO on our side, a slow socket below."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ca.client().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", both.port), timeout=20) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def call(f, *args):
            while True:
                try:
                    out = f(*args)
                except ssl.SSLWantReadError:
                    trickle()
                    incoming.write(s.recv(7))
                else:
                    trickle()
                    return out

        def trickle():
            for b in outgoing.read():
                s.sendall(bytes([b]))

        call(tls.do_handshake)
        call(tls.write, encode("SET", "bits", "bytes") + encode("GET", "bits"))
        reply = b""
        while not reply.endswith(b"bytes\r\n"):
            reply += call(tls.read, 4096)
        assert reply == b"+OK\r\n$5\r\nbytes\r\n"


@pytest.mark.parametrize("size", [16383, 16384, 16385, 65536, 1_000_000])
def test_sizes_around_a_record(both, ca, size):
    value = os.urandom(size)
    with both.connect(tls=ca.client()) as c:
        assert c.command("SET", "record", value) == "OK"
        assert c.command("GET", "record") == value


def test_100_mb(start, tls_cluster, server, client, ca):
    both = start(tls_cluster, tls=server.options(), backend_tls=client.options(ca=str(ca.ca), server_name=NAME), request_timeout="60s")
    value = os.urandom(1 << 20) * 100
    with both.connect(tls=ca.client(), timeout=120) as c:
        assert c.command("SET", "huge", value) == "OK"
        assert c.command("GET", "huge") == value
        assert c.command("DEL", "huge") == 1
    assert both.rss() < 700 << 20


def test_reads_that_stop_and_go_on(both, ca):
    """A client that asks for much and reads nothing for a while: its requests are held back, with decrypted ones inside, and go on afterwards."""
    with both.connect(tls=ca.client(), timeout=60) as c:
        assert c.command("SET", "fat", b"f" * 100_000) == "OK"
        n, asked = 400, threading.Event()

        def ask():
            for i in range(n):
                c.send(encode("GET", "fat") + encode("ECHO", str(i)))
            asked.set()

        plain = threading.Thread(target=ask)
        plain.start()
        asked.wait(2)
        for i in range(n):
            assert c.read() == b"f" * 100_000
            assert c.read() == str(i).encode()
        plain.join()


def test_pipeline_beyond_max_pipeline(start, tls_cluster, server, client, ca):
    """One record holds more requests than may be in flight: the rest waits inside TLS, where the socket tells nothing of it."""
    p = start(tls_cluster, tls=server.options(), backend_tls=client.options(ca=str(ca.ca), server_name=NAME), max_pipeline=3)
    with p.connect(tls=ca.client()) as c:
        c.send(b"".join(encode("ECHO", i) + encode("SET", f"p:{i}", i) for i in range(2000)))
        for i in range(2000):
            assert c.read() == str(i).encode()
            assert c.read() == "OK"


def test_half_close(both, ca):
    """What was asked before the end is answered."""
    with both.connect(tls=ca.client()) as c:
        c.send(b"".join(encode("SET", f"h:{i}", i) for i in range(100)) + encode("QUIT"))
        replies = c.closed()
        assert replies == b"+OK\r\n" * 101


def test_close_notify_is_sent(both, ca):
    ctx = ca.client()
    with both.connect(tls=ctx) as c:
        c.sock.suppress_ragged_eofs = False
        c.send(encode("QUIT"))
        assert c.read() == "OK"
        assert c.sock.recv(10) == b""  # a ragged end would raise


def test_idle_clients(both, ca):
    """2,000 of them, still there and answered afterwards."""
    ctx, clients = ca.client(), []
    for _ in range(2000):
        clients.append(both.connect(tls=ctx, timeout=120))
    before = both.rss()
    for c in clients:
        c.send(encode("PING"))
    assert all(c.read() == "PONG" for c in clients)
    assert len(clients) == 2000 and before < 600 << 20
    for c in clients:
        c.close()
    wait_for("the clients to be gone", 30, lambda: both.fds() < 100)


# ---- who is let in ----

def test_plain_client_at_a_tls_port(both):
    refused(both, pattern="does not speak TLS: a plain client at a TLS port")
    refused(both, data=b"GET / HTTP/1.1\r\n\r\n", pattern="HTTP")


def test_tls_client_at_a_plain_port(start, cluster, ca):
    refused(start(cluster), ca.client(), pattern="speaks TLS, and this listener has no tls")


def test_client_that_does_not_trust_us(both):
    other = Authority("Another CA")
    refused(both, other.client(), pattern="does not trust our certificate: unknown CA")
    other.end()


def test_client_certificates(start, tls_cluster, server, client, ca):
    p = start(tls_cluster, tls=server.options(ca=str(ca.ca), client_auth="required"), backend_tls=client.options(ca=str(ca.ca), server_name=NAME))
    assert handshakes(p, ca.client(client)) == "PONG"
    refused(p, ca.client(), pattern="shows no certificate")
    other = Authority("Another CA")
    refused(p, ca.client(other.issue("stranger")), pattern="certificate is not accepted: not issued by our ca")
    refused(p, ca.client(ca.issue("late", days=-1)), pattern="certificate is not accepted: certificate has expired")
    other.end()


def test_optional_client_certificates(start, tls_cluster, server, client, ca):
    p = start(tls_cluster, tls=server.options(ca=str(ca.ca), client_auth="optional"), backend_tls=client.options(ca=str(ca.ca), server_name=NAME))
    assert handshakes(p, ca.client(client)) == "PONG"
    assert handshakes(p, ca.client()) == "PONG"
    other = Authority("Another CA")
    refused(p, ca.client(other.issue("stranger")), pattern="certificate is not accepted")
    other.end()


def test_min_version(start, tls_cluster, server, client, ca):
    p = start(tls_cluster, tls=server.options(min_version="1.3"), backend_tls=client.options(ca=str(ca.ca), server_name=NAME))
    assert handshakes(p, ca.client()) == "PONG"
    refused(p, ca.client(maximum_version=ssl.TLSVersion.TLSv1_2), pattern="no TLS version that min_version allows")


def test_ciphers(start, tls_cluster, server, client, ca):
    p = start(tls_cluster, tls=server.options(ciphers="ECDHE-ECDSA-AES256-GCM-SHA384", ciphersuites="TLS_CHACHA20_POLY1305_SHA256"),
              backend_tls=client.options(ca=str(ca.ca), server_name=NAME))
    with p.connect(tls=ca.client()) as c:
        assert c.sock.cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"
    with p.connect(tls=ca.client(maximum_version=ssl.TLSVersion.TLSv1_2)) as c:
        assert c.sock.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_server_names(start, tls_cluster, server, client, ca):
    a, b = ca.issue("a", names=("a.example.com",)), ca.issue("b", names=("*.b.example.com",))
    p = start(tls_cluster, tls=server.options(sni={"a.example.com": a.options(), "*.b.example.com": b.options()}),
              backend_tls=client.options(ca=str(ca.ca), server_name=NAME))
    for name in ("a.example.com", "x.b.example.com", "localhost"):
        assert handshakes(p, ca.client(), server_name=name) == "PONG"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshakes(p, ca.client(), server_name="x.y.b.example.com")


def test_slow_handshake_is_cut(start, tls_cluster, server, client, ca):
    p = start(tls_cluster, tls=server.options(handshake_timeout="300ms"), backend_tls=client.options(ca=str(ca.ca), server_name=NAME))
    refused(p, data=b"\x16\x03\x01", pattern="handshake takes too long")


def test_resumption(both, ca):
    """A session is resumed, also at another worker's, and after a reload."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        ctx = ca.client(maximum_version=version)
        with both.connect(tls=ctx) as c:
            assert c.command("PING") == "PONG"
            session = c.sock.session
            assert not c.sock.session_reused
        at = both.reload()
        both.wait_log(RELOADED, since=at)
        s = ctx.wrap_socket(socket.create_connection(("127.0.0.1", both.port)), server_hostname="127.0.0.1", session=session)
        s.sendall(encode("PING"))
        assert s.recv(100) == b"+PONG\r\n" and s.session_reused
        s.close()


# ---- nodes ----

def test_nodes_that_are_not_who_they_should_be(start, tls_cluster, server, client, ca):
    other = Authority("Another CA")
    for options, pattern in ((dict(ca=str(other.ca), server_name=NAME), "its certificate is not accepted: not issued by our ca"),
                             (dict(ca=str(ca.ca), server_name="other.test"), "its certificate is not accepted: hostname mismatch"),
                             (dict(ca=str(ca.ca)), "its certificate is not accepted: IP address mismatch")):
        p = start(tls_cluster, tls=server.options(), backend_tls=client.options(**options), ready=False)
        p.wait_log(rf"seed 127\.0\.0\.1:\d+: {pattern}")
    other.end()


def test_node_wants_a_certificate(start, tls_cluster, server, ca):
    p = start(tls_cluster, tls=server.options(), backend_tls={"ca": str(ca.ca), "server_name": NAME}, ready=False)
    p.wait_log(r"seed 127\.0\.0\.1:\d+: it wants a certificate of us: set cert and key of backend_tls")


def test_node_is_plain(start, cluster, ca):
    p = start(cluster, backend_tls={"ca": str(ca.ca)}, ready=False)
    p.wait_log(r"seed 127\.0\.0\.1:\d+: .*a plain port\?")


def test_nodes_without_verification(start, tls_cluster, client):
    p = start(tls_cluster, backend_tls=client.options(verify=False))
    assert "backend_tls.verify is off" in p.log()
    with p.connect() as c:  # plain at the front
        assert fill(c) == {0, 1, 2}


def test_nodes_with_names(start, ca):
    """Nodes announce host names, which their certificates bear: no server_name is needed, neither for links nor for rounds of questions."""
    node = ca.issue("named", names=("localhost",))
    options = {"tls-cert-file": node.cert, "tls-key-file": node.key, "tls-ca-cert-file": ca.ca, "tls-auth-clients": "no", "tls-replication": "yes",
               "tls-cluster": "yes", "cluster-announce-hostname": "localhost", "cluster-preferred-endpoint-type": "hostname"}
    with Cluster(masters=3, replicas=0, options=options, tls=ca.client(server_name_checked=False)) as c:
        p = start([f"localhost:{n.port}" for n in c.nodes], backend_tls={"ca": str(ca.ca)}, slot_refresh="100ms", top={"log": {"level": "debug"}})
        with p.connect() as client:
            assert fill(client, 100) == {0, 1, 2}
        time.sleep(1)
        assert "mismatch" not in p.log()


def test_a_node_dies_and_comes_back(both, tls_cluster, ca):
    with both.connect(tls=ca.client()) as c:
        fill(c, 50)
        victim = tls_cluster.replicas_of(tls_cluster.masters()[0])[0]
        victim.kill()
        fill(c, 50)
        assert victim.start()
        tls_cluster.wait_ok()
        fill(c, 50)


# ---- files ----

def bad_configuration(tmp_path, tls, side="tls"):
    file = tmp_path / "c.lua"
    file.write_text(config(listener(["127.0.0.1:1"], free_port(), **{side: tls})))
    out = run_puerta("-t", file)
    return out.returncode, out.stderr.replace(str(tmp_path), "")


def test_missing_and_wrong_files(tmp_path, server, client, ca):
    code, said = bad_configuration(tmp_path, server.options(key=str(client.key)))
    assert code == 1 and re.search(r'/c\.lua:\d+: listener "redis-\d+": tls\.key: .*client\.key: does not belong to the certificate .*server\.pem', said)
    code, said = bad_configuration(tmp_path, server.options(cert="nowhere.pem"))
    assert code == 1 and re.search(r"/c\.lua:\d+: listener .*tls\.cert: /nowhere\.pem: No such file", said)
    (tmp_path / "junk.pem").write_text("junk")
    code, said = bad_configuration(tmp_path, server.options(cert="junk.pem"))
    assert code == 1 and "tls.cert: /junk.pem: no PEM file with a certificate" in said
    code, said = bad_configuration(tmp_path, server.options(key="junk.pem"))
    assert code == 1 and "tls.key: /junk.pem: no PEM file with a private key" in said
    code, said = bad_configuration(tmp_path, {"ca": "junk.pem"}, "backend_tls")
    assert code == 1 and "backend_tls.ca: /junk.pem: no PEM file with a certificate" in said
    code, said = bad_configuration(tmp_path, server.options(ciphers="NONSENSE"))
    assert code == 1 and 'tls.ciphers: OpenSSL knows none of "NONSENSE"' in said
    code, said = bad_configuration(tmp_path, server.options(sni={"a.test": server.options(key=str(client.key))}))
    assert code == 1 and 'tls.sni["a.test"].key: ' in said and "1 error; configuration not applied" in said


def test_passphrase(tmp_path, server):
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "pkey", "-in", server.key, "-aes256", "-passout", "pass:x", "-out", locked], check=True)
    code, said = bad_configuration(tmp_path, server.options(key=str(locked)))
    assert code == 1 and "needs a passphrase" in said


def test_expired_certificate_is_said(tmp_path, ca):
    code, said = bad_configuration(tmp_path, ca.issue("old", days=-1).options())
    assert code == 0 and re.search(r"warn +tls: .*tls\.cert: .*old\.pem: has expired on ", said)


def test_rotation_under_load(start, tls_cluster, server, client, ca, tmp_path):
    """A new certificate every half second, while clients work and others come: no error; old connections live, new ones see the new one."""
    cert, key = tmp_path / "live.pem", tmp_path / "live.key"
    first, second = ca.issue("first"), ca.issue("second")
    first.copy_to(cert, key)
    p = start(tls_cluster, tls={"cert": str(cert), "key": str(key)}, backend_tls=client.options(ca=str(ca.ca), server_name=NAME))
    stop, errors, done, latencies = threading.Event(), [], [0] * 8, []

    def work(i):
        try:
            with p.connect(tls=ca.client()) as c:
                while not stop.is_set():
                    began = time.monotonic()
                    assert c.command("SET", f"w:{i}", done[i]) == "OK"
                    latencies.append(time.monotonic() - began)
                    done[i] += 1
        except Exception as e:  # noqa: BLE001
            errors.append(e)

    def come_and_go():
        try:
            while not stop.is_set():
                assert handshakes(p, ca.client()) == "PONG"
                done[7] += 1
        except Exception as e:  # noqa: BLE001
            errors.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(7)] + [threading.Thread(target=come_and_go)]
    for t in threads:
        t.start()
    for i in range(8):
        (second if i % 2 == 0 else first).copy_to(cert, key)
        at = p.reload()
        p.wait_log(RELOADED, since=at)
        with p.connect(tls=ca.client()) as c:
            subject = dict(x[0] for x in c.sock.getpeercert()["subject"])
        assert subject["commonName"] == ("second" if i % 2 == 0 else "first")
        time.sleep(0.3)
    stop.set()
    for t in threads:
        t.join()
    assert not errors and all(done), errors
    assert percentile(latencies, 50) > 0


def test_broken_rotation_changes_nothing(start, tls_cluster, server, client, ca, tmp_path):
    cert, key = tmp_path / "live.pem", tmp_path / "live.key"
    server.copy_to(cert, key)
    p = start(tls_cluster, tls={"cert": str(cert), "key": str(key)}, backend_tls=client.options(ca=str(ca.ca), server_name=NAME))
    key.write_text("half a file")
    at = p.reload()
    p.wait_log(r"tls\.key: .*live\.key: no PEM file with a private key", since=at)
    p.wait_log("configuration not applied; generation 1 serves on", since=at)
    assert handshakes(p, ca.client()) == "PONG"


@pytest.mark.threads
def test_workers_share_sessions_and_contexts(start, tls_cluster, server, client, ca):
    """Several workers, tickets of one used at another, reloads meanwhile."""
    p = start(tls_cluster, tls=server.options(), backend_tls=client.options(ca=str(ca.ca), server_name=NAME), top={"workers": 3})
    ctx = ca.client()
    with p.connect(tls=ctx) as c:
        assert c.command("PING") == "PONG"
        session = c.sock.session
    reused = []
    for i in range(30):
        s = ctx.wrap_socket(socket.create_connection(("127.0.0.1", p.port)), server_hostname="127.0.0.1", session=session)
        s.sendall(encode("SET", f"s:{i}", i))
        assert s.recv(100) == b"+OK\r\n"
        reused.append(s.session_reused)
        s.close()
        if i % 10 == 9:
            at = p.reload()
            p.wait_log(RELOADED, since=at)
    assert all(reused)


@pytest.mark.threads
def test_a_storm_of_hellos(start, tls_cluster, server, client, ca):
    """Many begin a handshake and leave at any moment of it; who is connected works on, a new one comes in, and puerta ends well in the midst of it."""
    p = start(tls_cluster, tls=server.options(), backend_tls=client.options(ca=str(ca.ca), server_name=NAME), top={"workers": 3})
    end, began, wrong, hello = threading.Event(), [], [], hello_bytes()

    def leave(n):
        for i in range(100_000):
            try:
                with socket.create_connection(("127.0.0.1", p.port), timeout=10) as s:
                    if i % 2:
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset
                    s.sendall(hello)
                    if i % 3 == n % 3:
                        s.recv(1)
                    elif i % 3 == 0:
                        time.sleep(0.001)
            except ConnectionResetError:
                pass
            except OSError as e:
                if not end.is_set():
                    wrong.append(e)
                return
            began.append(i)

    with p.connect(tls=ca.client()) as c:
        storm = [threading.Thread(target=leave, args=(n,)) for n in range(4)]
        for t in storm:
            t.start()
        while len(began) < 3000:
            assert c.command("PING") == "PONG"
        assert handshakes(p, ca.client()) == "PONG"
    end.set()
    p.kill(signal.SIGINT)
    p.wait_exit()
    for t in storm:
        t.join()
    assert not wrong
