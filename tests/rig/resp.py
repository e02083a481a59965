"""A plain RESP2/RESP3 connection over a socket, for tests that must see every byte. Standard library only."""
import socket


class Error(str):
    """An error reply, without the leading '-'."""


class Status(str):
    """A simple string."""


class Map(list):
    """A RESP3 map as a list of pairs, in the order sent."""


class Set(list):
    """A RESP3 set, in the order sent."""


class Push(list):
    """A RESP3 push message."""


class Double(str):
    """A RESP3 double as written on the wire."""


class Verbatim(bytes):
    """A RESP3 verbatim string with its 'txt:' prefix."""


class Big(int):
    """A RESP3 big number."""


def bulk(arg):
    if isinstance(arg, bytes):
        return arg
    return str(arg).encode()


def encode(*args):
    """One request as a multibulk frame."""
    out = [b"*%d\r\n" % len(args)]
    for a in map(bulk, args):
        out += (b"$%d\r\n" % len(a), a, b"\r\n")
    return b"".join(out)


class Conn:
    """One connection. Replies come back as Python values that keep their wire type."""

    def __init__(self, port, host="127.0.0.1", timeout=30, tls=None, server_name=None):
        """tls: an ssl context."""
        self.sock = socket.create_connection((host, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name or host)
        self.buf = bytearray()
        self.pos = 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, raw):
        self.sock.sendall(raw)

    def command(self, *args):
        self.send(encode(*args))
        return self.read()

    def pipeline(self, commands):
        """Sends all commands in one write; the replies in order."""
        self.send(b"".join(encode(*c) for c in commands))
        return [self.read() for _ in commands]

    def more(self):
        if self.pos:
            del self.buf[: self.pos]
            self.pos = 0
        data = self.sock.recv(1 << 18)
        if not data:
            raise ConnectionError("connection closed by the peer")
        self.buf += data

    def line(self):
        at = self.buf.find(b"\r\n", self.pos)
        while at < 0:
            self.more()
            at = self.buf.find(b"\r\n", self.pos)
        out = bytes(self.buf[self.pos : at])
        self.pos = at + 2
        return out

    def take(self, n):
        """n bytes and the CRLF after them."""
        if len(self.buf) - self.pos < n + 2 and n > 1 << 20:
            return self.take_large(n)
        while len(self.buf) - self.pos < n + 2:
            self.more()
        out = bytes(self.buf[self.pos : self.pos + n])
        assert self.buf[self.pos + n : self.pos + n + 2] == b"\r\n", "a bulk string does not end in CRLF"
        self.pos += n + 2
        return out

    def take_large(self, n):
        out = bytearray(n + 2)
        have = len(self.buf) - self.pos
        out[:have] = self.buf[self.pos :]
        self.buf, self.pos = bytearray(), 0
        view = memoryview(out)
        while have < n + 2:
            got = self.sock.recv_into(view[have:])
            if not got:
                raise ConnectionError(f"connection closed by the peer, {have} of {n} bytes of a bulk string read")
            have += got
        assert out[n:] == b"\r\n", "a bulk string does not end in CRLF"
        return bytes(view[:n])

    def read(self):
        """One whole reply."""
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self.take(int(rest))
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return Status(rest.decode())
        if kind == b"-":
            return Error(rest.decode(errors="replace"))
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"_":
            return None
        if kind == b"%":
            return Map((self.read(), self.read()) for _ in range(int(rest)))
        if kind == b"~":
            return Set(self.read() for _ in range(int(rest)))
        if kind == b">":
            return Push(self.read() for _ in range(int(rest)))
        if kind == b",":
            return Double(rest.decode())
        if kind == b"#":
            return rest == b"t"
        if kind == b"=":
            return Verbatim(self.take(int(rest)))
        if kind == b"(":
            return Big(rest)
        raise ValueError(f"not RESP: {line[:80]!r}")

    def closed(self):
        """Reads until the peer has closed; what came before that."""
        out = bytes(self.buf[self.pos :])
        while True:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                return out
            if not data:
                return out
            out += data


def typed(v):
    """A value with its wire types made visible, for exact comparison."""
    if isinstance(v, list):
        return (type(v).__name__, [tuple(map(typed, x)) if isinstance(v, Map) else typed(x) for x in v])
    return (type(v).__name__, v)
