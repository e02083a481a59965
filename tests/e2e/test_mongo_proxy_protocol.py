"""PROXY headers: taken from trusted sources, refused from others, sent to backends."""
import socket

import puerta as rig
import pytest
from mongo_wire import Wire, greeted, proxy_v1, proxy_v2
from mongos import Trio

TRUSTED = {"from": ["127.0.0.0/8"]}
HEADERS = {1: proxy_v1, 2: proxy_v2}


@pytest.fixture(scope="module")
def trio():
    with Trio() as t:
        yield t


@pytest.fixture(scope="module")
def sent():
    with Trio(proxy=True) as t:
        yield t


def backend(port, header):
    with greeted(port, first=header) as w:
        return w.command({"whoami": 1}, "admin")["port"]


@pytest.mark.parametrize("forward", ["connection", "request"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_address_in_the_header_counts(start, trio, version, forward):
    """socket_addr places by it, whatever socket it comes through."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, forward=forward, affinity="socket_addr", proxy_protocol=TRUSTED))
    header = HEADERS[version]
    v4 = {f"10.1.2.{i}": backend(p.port, header(f"10.1.2.{i}", "10.0.0.1", src_port=2000 + i)) for i in range(24)}
    assert set(v4.values()) == {m.port for m in trio}
    for ip, port in v4.items():
        assert backend(p.port, header(ip, "10.0.0.9", src_port=999)) == port
        assert backend(p.port, HEADERS[3 - version](ip, "10.0.0.1")) == port
    # of IPv6 the first 64 bits count
    v6 = {i: {backend(p.port, header(f"2001:db8:0:{i:x}::{k:x}", "::1")) for k in range(1, 4)} for i in range(16)}
    assert all(len(x) == 1 for x in v6.values()) and len(set().union(*v6.values())) > 1, v6


def test_a_header_in_pieces(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, affinity="socket_addr", proxy_protocol=TRUSTED))
    want = backend(p.port, proxy_v2("10.9.9.9", "10.0.0.1"))
    for header in (proxy_v1("10.9.9.9", "10.0.0.1"), proxy_v2("10.9.9.9", "10.0.0.1", tlv=b"\x03\0\4abcd")):
        with Wire(p.port) as w:
            for i in range(len(header)):
                w.sock.sendall(header[i : i + 1])
            assert w.hello()["ok"] == 1 and w.command({"whoami": 1}, "admin")["port"] == want


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", proxy_v2("1.2.3.4", "1.2.3.5", local=True)],
                         ids=["unknown", "unknown with text", "local"])
def test_headers_without_an_address(start, trio, header):
    """The connection's own address holds."""
    p = start.keep(rig.Puerta.for_backends(trio.addresses, affinity="socket_addr", proxy_protocol=TRUSTED))
    assert {backend(p.port, header) for _ in range(5)} == {backend(p.port, proxy_v1("127.0.0.1", "127.0.0.1"))}


BAD = {
    "none": b"", "http": b"GET / HTTP/1.1\r\n\r\n", "no address": b"PROXY TCP4\r\n", "words": b"PROXY TCP4 a b c d\r\n",
    "port": b"PROXY TCP4 1.2.3.4 1.2.3.5 70000 1\r\n", "family": b"PROXY TCP4 ::1 ::1 1 2\r\n", "endless": b"PROXY TCP4 " + b"1" * 2000,
    "short": proxy_v2("1.2.3.4", "1.2.3.5")[:12] + b"\x21\x11\0\4abcd", "version": proxy_v2("1.2.3.4", "1.2.3.5")[:12] + b"\x31\x11\0\x0c" + b"\1" * 12,
    "long": proxy_v2("1.2.3.4", "1.2.3.5")[:12] + b"\x21\x11\xff\xff" + b"\1" * 70000,
}


@pytest.mark.parametrize("what", BAD)
def test_bad_headers_close_that_connection(start, trio, what):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, proxy_protocol=TRUSTED, timeouts={"handshake": "5s"}))
    with greeted(p.port, first=proxy_v1("10.0.0.1", "10.0.0.2")) as other:
        at = p.mark()
        with Wire(p.port) as w:
            try:
                w.sock.sendall(BAD[what])
                w.send({"hello": 1})  # what comes without one is no header either
            except ConnectionError:
                pass
            assert w.closed()
        p.wait_log(r"(?i)proxy", since=at)
        assert other.command({"ping": 1})["ok"] == 1


def test_untrusted_sources_are_taken_as_they_are(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, proxy_protocol={"from": ["192.0.2.0/24", "2001:db8::/32"]}))
    with greeted(p.port) as w:
        assert w.command({"ping": 1})["ok"] == 1
    with Wire(p.port, first=proxy_v1("10.0.0.1", "10.0.0.2")) as w:
        w.send({"hello": 1})
        assert w.closed()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_backends_are_told(start, sent, version):
    p = start.keep(rig.Puerta.for_backends(sent.addresses, forward="connection", proxy_protocol={"send": version}))
    with greeted(p.port, "told") as w:
        assert w.command({"ping": 1})["ok"] == 1
        source = [x["source"] for x in sent.log() if x.get("event") == "proxy"]
        assert f"{version} 127.0.0.1 {w.local_port}" in source, source[-5:]


def test_the_header_passes_on(start, sent):
    """From a trusted proxy through puerta to the backend: the first source stays."""
    p = start.keep(rig.Puerta.for_backends(sent.addresses, forward="connection", proxy_protocol=TRUSTED | {"send": "v2"}))
    for src in ("10.7.7.7", "2001:db8::7"):
        with greeted(p.port, first=proxy_v1(src, src, src_port=4242)) as w:
            assert w.command({"ping": 1})["ok"] == 1
            assert f"v2 {src} 4242" in [x["source"] for x in sent.log() if x.get("event") == "proxy"]


def test_a_half_header_times_out(start, trio):
    p = start.keep(rig.Puerta.for_backends(trio.addresses, proxy_protocol=TRUSTED, timeouts={"handshake": "300ms"}))
    with Wire(p.port, first=b"PROXY TC") as w:
        assert w.closed()
    with socket.create_connection(("127.0.0.1", p.port), 10) as s:
        assert s.recv(1) == b""
