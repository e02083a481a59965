"""A client of puerta's admin server: over its unix socket or an address. Standard library only."""
import contextlib
import http.client
import json
import socket


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=10):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, r):
        self.status, self.headers, self.body = r.status, r.headers, r.read()

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


class Admin:
    """where: a path of a socket, or a port of 127.0.0.1."""

    def __init__(self, where, token=None):
        self.where, self.token = where, token

    def connection(self):
        if isinstance(self.where, int):
            return http.client.HTTPConnection("127.0.0.1", self.where, timeout=10)
        return UnixConnection(str(self.where))

    def ask(self, path, method="GET", headers=None, body=None):
        c = self.connection()
        headers = dict(headers or {})
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        try:
            c.request(method, path, body=body, headers=headers)
            return Answer(c.getresponse())
        finally:
            c.close()

    def get(self, path, **headers):
        return self.ask(path, headers=headers)

    def post(self, path, **headers):
        return self.ask(path, "POST", headers=headers)

    def status(self):
        r = self.get("/status")
        assert r.status == 200, r.text
        return r.json()

    def raw(self, data, timeout=1):
        """Sends bytes as they are; what comes back until the server closes, or says nothing more for a while."""
        if isinstance(self.where, int):
            s = socket.create_connection(("127.0.0.1", self.where), timeout=timeout)
        else:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(timeout)
            s.connect(str(self.where))
        got = b""
        with s:
            try:
                s.sendall(data)
                with contextlib.suppress(OSError):  # it may have hung up already
                    s.shutdown(socket.SHUT_WR)
                while chunk := s.recv(65536):
                    got += chunk
            except (ConnectionError, TimeoutError):
                pass
        return got
