"""What the MongoDB checks of one target share: sizes, databases of their own, clients.

Whatever a check does it does in one session, so that it also holds where backends share no data (FerretDB): a session stays where it is.
"""
import contextlib
import secrets

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, ConfigurationError, OperationFailure, PyMongoError

SIZES = {  # seconds of a loop, connections at once, clients of a loop, documents of a collection, sessions
    "basic": {"seconds": 4, "connections": 40, "clients": 6, "documents": 1000, "sessions": 20},
    "quick": {"seconds": 8, "connections": 150, "clients": 12, "documents": 5000, "sessions": 50},
    "full": {"seconds": 120, "connections": 400, "clients": 16, "documents": 10000, "sessions": 60},
}
SIZES["routing"] = SIZES["basic"]
APP = "puerta-check"


class MongoRun:
    def __init__(self, target, level, prefix):
        self.target = target
        self.size = dict(SIZES[level])
        self.prefix = f"{prefix}-{secrets.token_hex(4)}"
        self.left = set()  # databases that could not be dropped

    def client(self, app=APP, **how):
        t = self.target
        tls = {"tls": True, "tlsCAFile": t.ca} if t.tls else {}
        login = {"username": t.user, "password": t.password} if t.user else {}
        return MongoClient(t.host, t.port, appname=app, serverSelectionTimeoutMS=5000, connectTimeoutMS=5000, socketTimeoutMS=30000,
                           **{k: v for k, v in tls.items() if v is not None}, **login, **how)

    @contextlib.contextmanager
    def place(self, name, client=None):
        """(a database of our own, a session in which everything is done); the database is dropped at the end."""
        with contextlib.ExitStack() as stack:
            client = client or stack.enter_context(self.client())
            session = stack.enter_context(client.start_session())
            database = client[f"{self.prefix}-{name}"]
            try:
                yield database, session
            finally:
                self.drop(client, database.name, session)

    def drop(self, client, name, session=None):
        try:
            if session and session.in_transaction:
                session.abort_transaction()
            client.drop_database(name, session=session)
        except PyMongoError:
            self.left.add(name)

    def hint(self, e):
        if isinstance(e, OperationFailure) and e.code in (13, 18):
            return "look at --user and --password-file; the user needs readWrite and dropDatabase on databases that begin with the prefix"
        if isinstance(e, ConfigurationError):
            return "what listens there does not answer as a mongos would"
        if isinstance(e, AutoReconnect) and ("refused" in str(e) or "getaddrinfo" in str(e)):
            return "nothing listens there: does puerta run, and are host and port right?"
        if isinstance(e, AutoReconnect):
            return "puerta's log says why a connection ends; are all backends up? A TLS listener needs --tls"
        return None

    def clean(self):
        """Drops what a check could not drop; what is left all the same, in words, or None."""
        names, self.left = self.left, set()
        if names:
            with self.client() as client:
                for n in sorted(names):
                    self.drop(client, n)
        return f"databases that could not be dropped: {', '.join(sorted(self.left))}" if self.left else None
