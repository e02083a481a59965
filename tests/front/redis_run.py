"""What the Redis checks of one target share: sizes, names of their own, connections."""
import secrets
import socket
import ssl

import redis
from checks import Failed
from resp import Conn, Error

SIZES = {  # seconds of a loop, connections held at once, clients of a loop, MiB of a value, keys
    "basic": {"seconds": 8, "connections": 100, "clients": 8, "value": 4, "keys": 2000},
    "quick": {"seconds": 18, "connections": 500, "clients": 16, "value": 16, "keys": 10000},
    "full": {"seconds": 150, "connections": 2000, "clients": 32, "value": 64, "keys": 50000},
}
SIZES["routing"] = SIZES["basic"]


class Wire(Conn):
    """A plain connection, over TLS when asked, logged in."""

    def __init__(self, host, port, timeout=15, user=None, password=None, context=None):
        self.buf, self.pos = bytearray(), 0
        self.sock = socket.create_connection((host, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname=host)
        if password is not None:
            said = self.command("AUTH", *([user] if user else []), password)
            if isinstance(said, Error):
                raise Failed(f"AUTH is refused: {said}", "look at --user and --password-file")


class RedisRun:
    def __init__(self, target, level, prefix):
        self.target, self.size = target, dict(SIZES[level])
        self.prefix = f"{prefix}:{secrets.token_hex(4)}"
        self.keys = set()
        self.context = ssl.create_default_context(cafile=target.ca) if target.tls else None

    def key(self, name):
        """A key of our own, removed at the end. Every key that a check writes comes from here."""
        k = f"{self.prefix}:".encode() + (name if isinstance(name, bytes) else str(name).encode())
        self.keys.add(k)
        return k

    def wire(self, timeout=15):
        t = self.target
        return Wire(t.host, t.port, timeout, t.user, t.password, self.context)

    def node(self, address):
        """A connection to a node behind the target."""
        return Wire(*address, password=self.target.nodes_password)

    def client(self, **how):
        """redis-py."""
        t = self.target
        tls = {"ssl": True, "ssl_ca_certs": t.ca} if t.tls else {}
        return redis.Redis(host=t.host, port=t.port, username=t.user, password=t.password, socket_timeout=15, socket_connect_timeout=15, **tls, **how)

    def hint(self, e):
        if isinstance(e, ssl.SSLError):
            return "the TLS handshake failed: is the listener a TLS one, is --ca the authority that signed its certificate?"
        return None

    def clean(self):
        """Removes every key of ours; what could not be removed, in words, or None."""
        keys = list(self.keys)
        try:
            with self.wire() as c:
                for i in range(0, len(keys), 500):
                    failed = [r for r in c.pipeline([("DEL", k) for k in keys[i : i + 500]]) if isinstance(r, Error)]
                    if failed:
                        return f"DEL: {failed[0]}"
        except (OSError, Failed) as e:
            return f"{len(keys)} keys may remain: {e}" if keys else None
        return None
