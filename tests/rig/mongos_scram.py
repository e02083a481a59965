"""SCRAM's server side for the scripted mongos (RFC 5802, RFC 7677), and the verifiers that puerta's configuration holds.

Test code: names and passwords are ASCII."""
import base64
import functools
import hashlib
import hmac
import os

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


def b64(data):
    return base64.b64encode(data).decode()


def digest(key, text, algorithm):
    return hmac.new(key, text.encode(), algorithm).digest()


@functools.lru_cache(maxsize=None)
def keys(mechanism, user, password, salt, iterations):
    """StoredKey and ServerKey."""
    algorithm = HASHES[mechanism]
    if algorithm == "sha1":
        password = hashlib.md5(f"{user}:mongo:{password}".encode()).hexdigest()
    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, iterations)
    client = digest(salted, "Client Key", algorithm)
    return hashlib.new(algorithm, client).digest(), digest(salted, "Server Key", algorithm)


def verifier(mechanism, user, password, iterations=4096):
    """What a configuration keeps instead of a password."""
    salt = os.urandom(16)
    stored, server = keys(mechanism, user, password, salt, iterations)
    return f"{mechanism}${iterations}:{b64(salt)}${b64(stored)}:{b64(server)}"


class Refused(Exception):
    """Authentication failed."""


def fields(text):
    return dict(x.split("=", 1) for x in text.split(","))


class Conversation:
    """One authentication: first(), then final()."""

    def __init__(self, mechanism, users, iterations):
        self.mechanism, self.users, self.iterations = mechanism, users, iterations
        self.user = None

    def first(self, payload):
        text = payload.decode()
        if not text.startswith("n,,"):
            raise Refused("channel binding")
        self.bare = text[3:]
        f = fields(self.bare)
        self.user = f["n"].replace("=2C", ",").replace("=3D", "=")
        if self.user not in self.users:
            raise Refused(f"no user {self.user}")
        self.salt = hashlib.sha256(self.user.encode()).digest()[: 28 if self.mechanism.endswith("256") else 16]
        self.nonce = f["r"] + b64(os.urandom(18))
        self.said = f"r={self.nonce},s={b64(self.salt)},i={self.iterations}"
        return self.said.encode()

    def final(self, payload):
        text = payload.decode()
        f = fields(text)
        algorithm = HASHES[self.mechanism]
        stored, server = keys(self.mechanism, self.user, self.users[self.user], self.salt, self.iterations)
        auth = f"{self.bare},{self.said},{text.rsplit(',p=', 1)[0]}"
        proof, signature = base64.b64decode(f["p"]), digest(stored, auth, algorithm)
        client = bytes(a ^ b for a, b in zip(proof, signature))
        if f["r"] != self.nonce or hashlib.new(algorithm, client).digest() != stored:
            raise Refused(f"wrong password for {self.user}")
        return f"v={b64(digest(server, auth, algorithm))}".encode()
