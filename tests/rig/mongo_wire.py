"""MongoDB's wire protocol for tests: messages in and out, compression, checksums, a raw client. BSON is pymongo's bson package."""
import ctypes
import itertools
import socket
import struct
import uuid
import zlib
from dataclasses import dataclass

import bson
from bson.int64 import Int64

HEADER = struct.Struct("<iiii")
REPLY, UPDATE, INSERT, QUERY, GET_MORE, DELETE, KILL_CURSORS, COMPRESSED, MSG = 1, 2001, 2002, 2004, 2005, 2006, 2007, 2012, 2013
CHECKSUM, MORE, EXHAUST = 1, 2, 1 << 16
NOOP, SNAPPY, ZLIB, ZSTD = 0, 1, 2, 3
COMPRESSORS = {"noop": NOOP, "snappy": SNAPPY, "zlib": ZLIB, "zstd": ZSTD}
MAX_MESSAGE = 48_000_000


class Malformed(Exception):
    """Bytes that are no message."""


# ---- compression: snappy and zstd through the C libraries that puerta is built with ----

def c_call(library, compress, data, size):
    lib = ctypes.CDLL({"snappy": "libsnappy.so.1", "zstd": "libzstd.so.1"}[library])
    n = ctypes.c_size_t(size)
    out = ctypes.create_string_buffer(size)
    if library == "snappy":
        call = lib.snappy_compress if compress else lib.snappy_uncompress
        if call(data, ctypes.c_size_t(len(data)), out, ctypes.byref(n)) != 0:
            raise Malformed("snappy")
        return out.raw[: n.value]
    call = lib.ZSTD_compress if compress else lib.ZSTD_decompress
    call.restype = ctypes.c_size_t
    got = call(out, n, data, ctypes.c_size_t(len(data)), *([3] if compress else []))
    if got > size:  # an error code
        raise Malformed("zstd")
    return out.raw[:got]


def pack(data, compressor):
    room = len(data) + len(data) // 4 + 1024
    return [lambda: data, lambda: c_call("snappy", True, data, room), lambda: zlib.compress(data),
            lambda: c_call("zstd", True, data, room)][compressor]()


def unpack(data, compressor, size):
    try:
        out = [lambda: data, lambda: c_call("snappy", False, data, size), lambda: zlib.decompress(data),
               lambda: c_call("zstd", False, data, size)][compressor]()
    except (zlib.error, IndexError) as e:
        raise Malformed(f"compressor {compressor}: {e}") from None
    if len(out) != size:
        raise Malformed(f"{len(out)} bytes unpacked, {size} promised")
    return out


def crc_table():
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
        yield i


CRC = list(crc_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = CRC[(crc ^ b) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


# ---- messages ----

@dataclass
class Message:
    request_id: int
    response_to: int
    opcode: int  # the original one of a compressed message
    flags: int
    doc: dict
    compressor: int | None = None
    ns: str | None = None  # of OP_QUERY
    size: int = 0  # on the wire

    @property
    def more(self):
        return bool(self.flags & MORE) and self.opcode == MSG


def frame(opcode, body, request_id=0, response_to=0, compressor=None):
    """A whole message of its body."""
    if compressor is not None:
        body = struct.pack("<iiB", opcode, len(body), compressor) + pack(body, compressor)
        opcode = COMPRESSED
    return HEADER.pack(16 + len(body), request_id, response_to, opcode) + body


def msg(doc, request_id=0, response_to=0, flags=0, sequences=None, compressor=None, first=False):
    """OP_MSG. doc: a dict, or BSON; sequences: {identifier: documents} of kind 1, before the body when first."""
    body = b"\0" + (doc if isinstance(doc, bytes) else bson.encode(doc))
    seq = b""
    for name, docs in (sequences or {}).items():
        section = name.encode() + b"\0" + b"".join(map(bson.encode, docs))
        seq += b"\1" + struct.pack("<i", len(section) + 4) + section
    payload = struct.pack("<I", flags) + (seq + body if first else body + seq)
    if flags & CHECKSUM:
        payload += struct.pack("<I", crc32c(HEADER.pack(20 + len(payload), request_id, response_to, MSG) + payload))
    return frame(MSG, payload, request_id, response_to, compressor)


def query(doc, ns="admin.$cmd", request_id=0, flags=4):
    return frame(QUERY, struct.pack("<i", flags) + ns.encode() + b"\0" + struct.pack("<ii", 0, -1) + bson.encode(doc), request_id)


def reply(doc, request_id=0, response_to=0, compressor=None):
    return frame(REPLY, struct.pack("<iqii", 0, 0, 0, 1) + bson.encode(doc), request_id, response_to, compressor)


def parse(raw):
    """A Message of its bytes; Malformed."""
    length, request_id, response_to, opcode = HEADER.unpack_from(raw)
    body, compressor = raw[16:], None
    if opcode == COMPRESSED:
        opcode, size, compressor = struct.unpack_from("<iiB", body)
        if not 0 <= size <= MAX_MESSAGE:
            raise Malformed(f"uncompressed size {size}")
        body = unpack(body[9:], compressor, size)
    m = Message(request_id, response_to, opcode, 0, {}, compressor, None, length)
    try:
        if opcode == MSG:
            parse_msg(m, body, raw)
        elif opcode == QUERY:
            m.flags = struct.unpack_from("<i", body)[0]
            end = body.index(b"\0", 4)
            m.ns = body[4:end].decode()
            m.doc = bson.decode(body[end + 9 :])
        elif opcode == REPLY:
            m.flags = struct.unpack_from("<i", body)[0]
            m.doc = bson.decode(body[20:])
        else:
            raise Malformed(f"opcode {opcode}")
    except (bson.errors.InvalidBSON, struct.error, ValueError) as e:
        raise Malformed(str(e)) from None
    return m


def parse_msg(m, body, raw):
    m.flags = struct.unpack_from("<I", body)[0]
    if m.flags & 0xFFFC:
        raise Malformed(f"flags {m.flags:#x}")
    end = len(body)
    if m.flags & CHECKSUM:
        end -= 4
        if m.compressor is None and crc32c(raw[:-4]) != struct.unpack("<I", raw[-4:])[0]:
            raise Malformed("checksum")
    at, bodies, sequences = 4, 0, {}
    while at < end:
        kind = body[at]
        size = struct.unpack_from("<i", body, at + 1)[0]
        if kind > 1 or size < 5 or at + 1 + size > end:
            raise Malformed("section")
        part = body[at + 1 : at + 1 + size]
        if kind == 0:
            bodies += 1
            m.doc = bson.decode(part)
        else:
            name = part.index(b"\0", 4)
            sequences[part[4:name].decode()] = bson.decode_all(part[name + 1 :])
        at += 1 + size
    if bodies != 1:
        raise Malformed(f"{bodies} bodies")
    m.doc.update(sequences)


# ---- the PROXY protocol ----

def proxy_v1(src, dst, src_port=5000, dst_port=27017):
    return f"PROXY {'TCP6' if ':' in src else 'TCP4'} {src} {dst} {src_port} {dst_port}\r\n".encode()


def proxy_v2(src, dst, src_port=5000, dst_port=27017, local=False, tlv=b""):
    family = socket.AF_INET6 if ":" in src else socket.AF_INET
    at = socket.inet_pton(family, src) + socket.inet_pton(family, dst) + struct.pack(">HH", src_port, dst_port) + tlv
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 if local else 0x21, 0x21 if family == socket.AF_INET6 else 0x11]) + struct.pack(">H", len(at)) + at


# ---- a client without opinions ----

def client_document(app=None, driver="rig", version="1"):
    d = {"driver": {"name": driver, "version": version}, "os": {"type": "Linux"}, "platform": "tests"}
    return {"application": {"name": app}} | d if app else d


class Wire:
    """One connection. Blocking; ConnectionError when the peer has closed."""

    def __init__(self, port, host="127.0.0.1", timeout=20, first=b"", source=None, tls=None):
        """tls: an ssl context; it begins after what is sent first."""
        self.sock = socket.create_connection((host, port), timeout, source_address=source and (source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ids = itertools.count(1)
        if first:
            self.sock.sendall(first)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=host)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    @property
    def local_port(self):
        return self.sock.getsockname()[1]

    def exactly(self, n):
        out = bytearray()
        while len(out) < n:
            piece = self.sock.recv(n - len(out))
            if not piece:
                raise ConnectionResetError(f"closed after {len(out)} of {n} bytes")
            out += piece
        return bytes(out)

    def recv_raw(self):
        head = self.exactly(16)
        return head + self.exactly(HEADER.unpack(head)[0] - 16)

    def recv(self):
        return parse(self.recv_raw())

    def send(self, doc, db="admin", opcode=MSG, **how):
        """Sends a command and returns its requestID. how: as of msg() or query()."""
        n = next(self.ids)
        self.sock.sendall(query(doc, request_id=n, **how) if opcode == QUERY else msg(doc | {"$db": db}, request_id=n, **how))
        return n

    def ask(self, doc, db="admin", **how):
        """A command and its whole reply, which must belong to it and have its opcode."""
        n = self.send(doc, db, **how)
        m = self.recv()
        assert m.response_to == n, (m.response_to, n, m.doc)
        assert m.opcode == (REPLY if how.get("opcode") == QUERY else MSG)
        return m

    def command(self, doc, db="test", **how):
        return self.ask(doc, db, **how).doc

    def hello(self, app=None, client=True, opcode=MSG, **fields):
        """hello, or isMaster when it goes by OP_QUERY."""
        doc = ({"isMaster": 1} if opcode == QUERY else {"hello": 1}) | {"helloOk": True} | ({"client": client_document(app)} if client else {}) | fields
        return self.ask(doc, opcode=opcode).doc

    def closed(self, timeout=10):
        """Does the peer close (whatever it still says)? False after timeout."""
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(65536):
                pass
            return True
        except TimeoutError:
            return False
        except ConnectionError:
            return True


def greeted(port, app=None, hello=None, **how):
    """A Wire that has said hello. hello: more fields of it; how: as of Wire."""
    w = Wire(port, **how)
    try:
        said = w.hello(app, **(hello or {}))
        assert said["ok"] == 1, said
    except BaseException:
        w.close()
        raise
    return w


def awaiting(topology_version, ms):
    """The fields of an awaitable hello."""
    return {"topologyVersion": topology_version, "maxAwaitTimeMS": Int64(ms)}


def lsid():
    """A new logical session id."""
    return {"id": bson.Binary(uuid.uuid4().bytes, 4)}
