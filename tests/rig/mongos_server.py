#!/usr/bin/env python3
"""A scripted mongos: one asyncio process that speaks enough of MongoDB's protocol for drivers to take it for a mongos 8.0. Test code, no database.

It is there for what FerretDB lacks: transactions with recoveryToken that belong to one process, retryable writes, cursors that other processes do not know and
whose ids may collide, exhaust getMore, awaitable and exhaust hello, unacknowledged writes, OP_COMPRESSED, SCRAM, the PROXY protocol, and faults on demand.
Documents, and what a transaction or a retryable write has done, live in mongos_store.py, shared by all processes as shards would.
What arrives is written to a log of JSON lines, at once, so that it outlives kill -9. Settings (SETTINGS) change over a unix socket.

The collection "numbers" is made up: find { n: 100, tag: x } gives 100 documents { _id: i, tag: x, port }.
"""
import asyncio
import json
import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bson  # noqa: E402
import mongo_wire as wire  # noqa: E402
import mongos_scram as scram  # noqa: E402
from bson import json_util  # noqa: E402
from bson.int64 import Int64  # noqa: E402

SETTINGS = {
    "accept": None,         # "close", "reset": what happens to a new connection
    "hang": False,          # read everything, answer nothing
    "hello_error": None,    # [code, name]: hello answers ok: 0
    "legacy_only": False,   # hello in OP_MSG answers ok: 0, isMaster in OP_QUERY works
    "hello_fields": {},     # over those of HELLO; None: left out
    "streaming": True,      # topologyVersion in hello
    "delay": 0,             # s before each command runs
    "reset_after": None,    # messages, over all connections, until the one that carries the next is reset
    "fail": {},             # command -> { action: "error" | "close" | "reset" | "hang" | "raw", code, name, labels, raw: hex bytes, times, after: done before }
    "cursor_ids": "random",  # "count": 1, 2, 3, as small servers do
    "exhaust_pause": 0,     # s between the replies of an exhaust getMore
    "compressors": ["zlib"],
    "stray": False,         # answers unacknowledged writes too, as FerretDB does
    "users": {},            # name -> password; none: no authentication
    "mechanisms": ["SCRAM-SHA-1", "SCRAM-SHA-256"],
    "iterations": 4096,
    "proxy": False,         # a PROXY header must come first
    "batch": 101,           # documents of a first batch that does not say
}
HELLO = {
    "msg": "isdbgrid", "maxBsonObjectSize": 16 * 1024 * 1024, "maxMessageSizeBytes": wire.MAX_MESSAGE, "maxWriteBatchSize": 100000,
    "logicalSessionTimeoutMinutes": 30, "minWireVersion": 0, "maxWireVersion": 25, "readOnly": False,
}
HELLOS = ("hello", "isMaster", "ismaster")
OPEN = HELLOS + ("saslStart", "saslContinue", "ping", "buildInfo", "endSessions")  # before authentication
PLAIN = HELLOS + ("saslStart", "saslContinue")  # never compressed
WRITES = {  # command -> what the shards need of it
    "insert": ("documents", "ordered"), "update": ("updates",), "delete": ("deletes",), "findAndModify": ("query", "update", "remove", "new"),
}
LOG_WHOLE = 4096  # larger documents are not logged


class CommandError(Exception):
    def __init__(self, code, name, text, labels=()):
        self.doc = {"ok": 0.0, "errmsg": text, "code": code, "codeName": name} | ({"errorLabels": list(labels)} if labels else {})


class StoreClient:
    """The shards, asked over a unix socket."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.n, self.waiting = reader, writer, 0, {}
        self.task = asyncio.ensure_future(self.listen())

    async def listen(self):
        while True:
            head = await self.reader.readexactly(4)
            a = bson.decode(head + await self.reader.readexactly(struct.unpack("<i", head)[0] - 4))
            self.waiting.pop(a["i"]).set_result(a)

    async def ask(self, op, **q):
        self.n += 1
        f = self.waiting[self.n] = asyncio.get_running_loop().create_future()
        self.writer.write(bson.encode({"i": self.n, "op": op} | q))
        a = await f
        if "e" in a:
            code, name, text = a["e"]
            raise CommandError(code, name, text, ["TransientTransactionError"] if code == 251 else ())
        return a["r"]


class Cursor:
    def __init__(self, ns, docs, session):
        self.ns, self.docs, self.session = ns, docs, session

    def batch(self, n):
        out, self.docs = self.docs[:n], self.docs[n:]
        return out


class Mongos:
    """What the connections of this process share."""

    def __init__(self, port, store, log, settings):
        self.port, self.store, self.log_file = port, store, log
        self.settings = SETTINGS | settings
        self.process_id = bson.ObjectId()
        self.counter = 0
        self.changed = asyncio.Event()  # replaced whenever the topology version rises
        self.cursors, self.next_cursor = {}, 0
        self.transactions = {}  # session -> [number, state]
        self.connections, self.accepted, self.messages = 0, 0, 0

    def set(self, settings):
        unknown = settings.keys() - SETTINGS.keys()
        if unknown:
            raise ValueError(f"no such settings: {unknown}")
        self.settings.update(settings)
        if settings.keys() & {"hello_fields", "hello_error"}:
            self.bump()

    def bump(self):
        self.counter += 1
        self.changed.set()
        self.changed = asyncio.Event()

    def version(self):
        return {"processId": self.process_id, "counter": Int64(self.counter)}

    def state(self):
        return {"connections": self.connections, "accepted": self.accepted, "messages": self.messages, "cursors": len(self.cursors),
                "process_id": str(self.process_id), "transactions": sum(s == "open" for _, s in self.transactions.values())}

    def log(self, **what):
        doc = what.pop("doc", None)
        line = json.dumps({"t": time.time(), "port": self.port} | {k: v for k, v in what.items() if v is not None})
        if doc is not None:
            line = f'{line[:-1]}, "doc": {json_util.dumps(doc)}}}'
        self.log_file.write(line + "\n")

    def open_cursor(self, ns, docs, session):
        self.next_cursor += 1
        n = self.next_cursor if self.settings["cursor_ids"] == "count" else random.getrandbits(62) + 1
        self.cursors[n] = Cursor(ns, docs, session)
        return n

    def fault(self, name):
        f = self.settings["fail"].get(name) or (self.settings["fail"].get("*") if name not in PLAIN else None)
        if f is None or f.get("times", -1) == 0:
            return None
        if f.get("times", -1) > 0:
            f["times"] -= 1
        return f


class Connection:
    def __init__(self, mongos, reader, writer):
        self.mongos, self.reader, self.writer = mongos, reader, writer
        mongos.accepted += 1
        self.n = mongos.accepted
        self.peer = writer.get_extra_info("peername")[1]
        self.has_client = False
        self.user = self.conversation = None
        self.request_id = random.getrandbits(20)

    @property
    def settings(self):
        return self.mongos.settings

    # ---- bytes ----

    def reset(self):
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise ConnectionResetError

    async def read_proxy(self):
        head = await self.reader.readexactly(5)
        if head == b"PROXY":
            line = (head + await self.reader.readuntil(b"\r\n")).decode().split()
            source = f"v1 {line[2]} {line[4]}" if line[1] != "UNKNOWN" else "v1 unknown"
        else:
            head += await self.reader.readexactly(11)
            if head[:12] != b"\r\n\r\n\0\r\nQUIT\n":
                raise wire.Malformed("no PROXY header")
            body = await self.reader.readexactly(struct.unpack(">H", head[14:16])[0])
            size = 16 if head[13] >> 4 == 2 else 4
            family = socket.AF_INET6 if size == 16 else socket.AF_INET
            source = f"v2 {socket.inet_ntop(family, body[:size])} {struct.unpack('>H', body[2 * size : 2 * size + 2])[0]}" if head[12] & 1 else "v2 local"
        self.mongos.log(conn=self.n, peer=self.peer, event="proxy", source=source)

    async def read(self):
        head = await self.reader.readexactly(16)
        length = wire.HEADER.unpack(head)[0]
        if not 16 <= length <= wire.MAX_MESSAGE:
            raise wire.Malformed(f"length {length}")
        m = wire.parse(head + await self.reader.readexactly(length - 16))
        if m.opcode == wire.REPLY:
            raise wire.Malformed("a reply")
        return m

    async def write(self, m, doc, flags=0, response_to=None):
        """Answers m in its own opcode; returns the requestID of the answer."""
        self.request_id += 1
        to = m.request_id if response_to is None else response_to
        compressor = m.compressor if next(iter(m.doc)) not in PLAIN else None
        if m.opcode == wire.QUERY:
            self.writer.write(wire.reply(doc, self.request_id, to))
        else:
            self.writer.write(wire.msg(doc, self.request_id, to, flags, compressor=compressor))
        await self.writer.drain()
        return self.request_id

    # ---- one message after the other ----

    async def serve(self):
        m = self.mongos
        m.connections += 1
        try:
            if self.settings["accept"] == "reset":
                self.reset()
            if self.settings["accept"] != "close":
                self.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.settings["proxy"]:
                    await self.read_proxy()
                while True:
                    await self.one(await self.read())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except wire.Malformed as e:
            m.log(conn=self.n, event="malformed", text=str(e))
        finally:
            m.connections -= 1
            m.log(conn=self.n, event="closed")
            self.writer.close()

    def note(self, m, name):
        session = self.session(m.doc)
        small = m.doc if m.size <= LOG_WHOLE else None
        self.mongos.log(conn=self.n, peer=self.peer, cmd=name, db=m.doc.get("$db") or m.ns, lsid=session, txn=m.doc.get("txnNumber"), op=m.opcode,
                        flags=m.flags, id=m.request_id, compressor=m.compressor, size=m.size, user=self.user, doc=small)

    def session(self, doc):
        s = doc.get("lsid")
        return s and f"{self.user or ''}:{bytes(s['id']).hex()}"

    async def one(self, m):
        name = next(iter(m.doc), "")
        self.mongos.messages += 1
        self.note(m, name)
        if self.settings["reset_after"] is not None:
            self.settings["reset_after"] -= 1
            if self.settings["reset_after"] < 0:
                self.settings["reset_after"] = None
                self.reset()
        if self.settings["hang"]:
            await asyncio.Event().wait()
        fault = self.mongos.fault(name)
        if fault and not fault.get("after"):
            return await self.fail(m, fault)
        if name in HELLOS:
            return await self.hello(m, name)
        if self.settings["delay"]:
            await asyncio.sleep(self.settings["delay"])
        try:
            doc = await self.run(m, name)
        except CommandError as e:
            doc = e.doc
        if fault:
            return await self.fail(m, fault)
        await self.answer(m, name, doc)

    async def answer(self, m, name, doc):
        if m.more and not self.settings["stray"]:
            return
        stream = name == "getMore" and m.flags & wire.EXHAUST
        to = None
        while stream and doc["ok"] and doc["cursor"]["id"]:
            to = await self.write(m, doc, wire.MORE, to)
            await asyncio.sleep(self.settings["exhaust_pause"])
            try:
                doc = await self.run(m, name)
            except CommandError as e:
                doc = e.doc
        await self.write(m, doc, 0, to)

    async def fail(self, m, fault):
        action = fault.get("action", "error")
        if action == "hang":
            await asyncio.Event().wait()
        if action == "reset":
            self.reset()
        if action == "close":
            raise ConnectionAbortedError
        if action == "raw":  # responseTo is right, everything else as told
            raw = bytearray.fromhex(fault["raw"])
            raw[8:12] = struct.pack("<i", m.request_id)
            self.writer.write(raw)
            await self.writer.drain()
            return
        if not m.more:
            await self.write(m, CommandError(fault["code"], fault.get("name", "Scripted"), "scripted fault", fault.get("labels", ())).doc)

    # ---- hello ----

    async def hello(self, m, name):
        d = m.doc
        try:
            if "client" in d and self.has_client:
                raise CommandError(186, "ClientMetadataCannotBeMutated", "The client metadata document may only be sent in the first hello")
            if ("topologyVersion" in d) != ("maxAwaitTimeMS" in d):
                raise CommandError(51760, "Location51760", "A request with a 'topologyVersion' must include 'maxAwaitTimeMS', and the reverse")
            self.hello_allowed(m)
        except CommandError as e:
            await self.write(m, e.doc)
            return
        self.has_client = self.has_client or "client" in d
        stream = bool(m.flags & wire.EXHAUST) and m.opcode == wire.MSG and "topologyVersion" in d
        known, to = d.get("topologyVersion"), None
        while True:
            if known and known["processId"] == self.mongos.process_id and known["counter"] >= self.mongos.counter:
                try:
                    await asyncio.wait_for(self.mongos.changed.wait(), d["maxAwaitTimeMS"] / 1000)
                except TimeoutError:
                    pass
            try:
                self.hello_allowed(m)
                doc = self.hello_reply(d, name)
            except CommandError as e:
                await self.write(m, e.doc, 0, to)
                return
            to = await self.write(m, doc, wire.MORE if stream else 0, to)
            if not stream:
                return
            known = self.mongos.version()

    def hello_allowed(self, m):
        if self.settings["hello_error"]:
            raise CommandError(*self.settings["hello_error"], "scripted: hello fails")
        if self.settings["legacy_only"] and m.opcode == wire.MSG:
            raise CommandError(59, "CommandNotFound", "no such command: 'hello'")

    def hello_reply(self, d, name):
        s = self.settings
        doc = {"isWritablePrimary" if name == "hello" else "ismaster": True} | ({"helloOk": True} if d.get("helloOk") else {}) | HELLO
        doc |= {"localTime": bson.datetime_ms.DatetimeMS(int(time.time() * 1000)), "connectionId": self.n}
        if s["streaming"]:
            doc["topologyVersion"] = self.mongos.version()
        both = [c for c in d.get("compression", []) if c in s["compressors"]]
        if both:
            doc["compression"] = both
        if "saslSupportedMechs" in d and s["users"]:
            doc["saslSupportedMechs"] = s["mechanisms"]
        if "speculativeAuthenticate" in d and s["users"]:
            try:
                doc["speculativeAuthenticate"] = self.sasl_start(d["speculativeAuthenticate"])
            except CommandError:
                pass
        doc = {k: v for k, v in (doc | s["hello_fields"]).items() if v is not None}
        return doc | {"ok": 1.0}

    # ---- commands ----

    async def run(self, m, name):
        d = m.doc
        if m.opcode == wire.QUERY:
            raise CommandError(352, "UnsupportedOpQueryCommand", f"Unsupported OP_QUERY command: {name}")
        if self.settings["users"] and not self.user and name not in OPEN:
            raise CommandError(13, "Unauthorized", f"Command {name} requires authentication")
        command = COMMANDS.get(name)
        if command is None:
            raise CommandError(59, "CommandNotFound", f"no such command: '{name}'")
        txn = await self.transaction(d, name)
        doc = await command(self, d, txn)
        if txn:
            doc["recoveryToken"] = {"recoveryShardId": "shard0"}
        return doc | {"ok": 1.0}

    async def transaction(self, d, name):
        """{ txn: [session, number] } of a statement in a transaction that this process knows; {}: in none."""
        if d.get("autocommit") is not False or name in ("commitTransaction", "abortTransaction"):
            return {}
        session, number = self.session(d), d["txnNumber"]
        known = self.mongos.transactions.get(session, [-1, None])
        if d.get("startTransaction"):
            if number < known[0]:
                raise CommandError(225, "TransactionTooOld", f"transaction {number} is older than {known[0]}")
            self.mongos.transactions[session] = [number, "open"]
            await self.mongos.store.ask("begin", txn=[session, number])
        elif known != [number, "open"]:
            raise CommandError(251, "NoSuchTransaction", f"cannot continue txnId {number} for session {session}: no such transaction here",
                               ["TransientTransactionError"])
        return {"txn": [session, number]}

    async def end_transaction(self, d, op, state):
        session, number = self.session(d), d["txnNumber"]
        known = self.mongos.transactions.get(session, [-1, None])
        if known[0] != number and "recoveryToken" not in d:
            raise CommandError(251, "NoSuchTransaction", f"no transaction {number} here, and no recoveryToken", ["TransientTransactionError"])
        await self.mongos.store.ask(op, txn=[session, number])
        if known[0] == number:
            known[1] = state
        return {"recoveryToken": {"recoveryShardId": "shard0"}}

    async def commit(self, d, _):
        return await self.end_transaction(d, "commit", "committed")

    async def abort(self, d, _):
        return await self.end_transaction(d, "abort", "aborted")

    async def nothing(self, d, _):
        return {}

    async def build_info(self, d, _):
        return {"version": "8.0.0", "versionArray": [8, 0, 0, 0], "gitVersion": "scripted"}

    async def whoami(self, d, _):
        """Which process and connection this is, and as whom."""
        return {"port": self.mongos.port, "conn": self.n, "user": self.user}

    async def write_command(self, d, txn):
        what = next(iter(d))
        keyed = {"key": [self.session(d), d["txnNumber"]]} if "txnNumber" in d and not txn else {}
        q = {k: d[k] for k in WRITES[what] if k in d}
        return await self.mongos.store.ask("write", what=what, ns=f"{d['$db']}.{d[what]}", **q, **keyed, **txn)

    async def find(self, d, txn):
        ns = f"{d['$db']}.{d['find']}"
        want = d.get("filter", {})
        if d["find"] == "numbers":
            docs = [{"_id": i, "tag": want.get("tag"), "port": self.mongos.port} for i in range(want["n"])]
        else:
            q = {k: d[k] for k in ("filter", "sort", "skip", "limit") if k in d}
            docs = await self.mongos.store.ask("find", ns=ns, **q, **txn)
        return self.first_batch(ns, docs, d.get("batchSize"), d, d.get("singleBatch"))

    def first_batch(self, ns, docs, size, d, single=False):
        size = self.settings["batch"] if size is None else size
        first, rest = docs[:size], docs[size:]
        n = self.mongos.open_cursor(ns, rest, self.session(d)) if rest and not single else 0
        return {"cursor": {"firstBatch": first, "id": Int64(n), "ns": ns}}

    async def aggregate(self, d, txn):
        ns, docs = f"{d['$db']}.{d['aggregate']}", None
        for stage in d["pipeline"]:
            (op, v), = stage.items()
            if docs is None:
                docs = await self.mongos.store.ask("find", ns=ns, filter=v if op == "$match" else {}, **txn)
                if op == "$match":
                    continue
            if op == "$group":  # countDocuments
                docs = [{"_id": 1, "n": len(docs)}] if docs else []
            elif op in ("$skip", "$limit"):
                docs = docs[v:] if op == "$skip" else docs[:v]
            else:
                raise CommandError(40324, "Location40324", f"Unrecognized pipeline stage name: '{op}'")
        return self.first_batch(ns, docs or [], d.get("cursor", {}).get("batchSize"), d)

    async def count(self, d, txn):
        return {"n": len(await self.mongos.store.ask("find", ns=f"{d['$db']}.{d['count']}", filter=d.get("query", {}), **txn))}

    async def drop(self, d, _):
        if not await self.mongos.store.ask("drop", ns=f"{d['$db']}.{d['drop']}"):
            raise CommandError(26, "NamespaceNotFound", "ns not found")
        return {}

    async def get_more(self, d, _):
        n, ns = d["getMore"], f"{d['$db']}.{d['collection']}"
        c = self.mongos.cursors.get(n)
        if c is None:
            raise CommandError(43, "CursorNotFound", f"cursor id {n} not found")
        if c.ns != ns:
            raise CommandError(13, "Unauthorized", f"cursor {n} belongs to {c.ns}, not {ns}")
        if c.session != self.session(d):
            raise CommandError(50738, "Location50738", f"cursor {n} was created in session {c.session}, not {self.session(d)}")
        batch = c.batch(d.get("batchSize") or len(c.docs))
        if not c.docs:
            del self.mongos.cursors[n]
        return {"cursor": {"nextBatch": batch, "id": Int64(n if c.docs else 0), "ns": ns}}

    async def kill_cursors(self, d, _):
        killed = [n for n in d["cursors"] if self.mongos.cursors.pop(n, None)]
        lost = [n for n in d["cursors"] if n not in killed]
        return {"cursorsKilled": killed, "cursorsNotFound": lost, "cursorsAlive": [], "cursorsUnknown": []}

    async def end_sessions(self, d, _):
        gone = {f"{self.user or ''}:{bytes(s['id']).hex()}" for s in d["endSessions"]}
        self.mongos.cursors = {n: c for n, c in self.mongos.cursors.items() if c.session not in gone}
        return {}

    # ---- authentication ----

    def sasl_start(self, d):
        if d["mechanism"] not in self.settings["mechanisms"]:
            raise CommandError(334, "MechanismUnavailable", f"no mechanism {d['mechanism']}")
        self.conversation = scram.Conversation(d["mechanism"], self.settings["users"], self.settings["iterations"])
        self.skip_empty = d.get("options", {}).get("skipEmptyExchange", False)
        self.step = 1
        return {"conversationId": 1, "done": False, "payload": self.sasl(self.conversation.first, d)}

    def sasl(self, step, d):
        try:
            return step(bytes(d["payload"]))
        except (scram.Refused, KeyError, ValueError):
            self.conversation = None
            raise CommandError(18, "AuthenticationFailed", "Authentication failed.") from None

    async def start(self, d, _):
        return self.sasl_start(d)

    async def go_on(self, d, _):
        if self.conversation is None:
            raise CommandError(17, "ProtocolError", "No SASL session state found")
        self.step += 1
        payload = self.sasl(self.conversation.final, d) if self.step == 2 else b""
        done = self.skip_empty or self.step == 3
        if done:
            self.user = self.conversation.user
        return {"conversationId": 1, "done": done, "payload": payload}


COMMANDS = {
    "find": Connection.find, "getMore": Connection.get_more, "killCursors": Connection.kill_cursors, "aggregate": Connection.aggregate,
    "count": Connection.count, "insert": Connection.write_command, "update": Connection.write_command, "delete": Connection.write_command,
    "findAndModify": Connection.write_command, "drop": Connection.drop, "commitTransaction": Connection.commit, "abortTransaction": Connection.abort,
    "endSessions": Connection.end_sessions, "ping": Connection.nothing, "createIndexes": Connection.nothing, "buildInfo": Connection.build_info,
    "whoami": Connection.whoami, "saslStart": Connection.start, "saslContinue": Connection.go_on,
}


async def control(mongos, reader, writer):
    """JSON lines: { set: {...} }, { bump: true }, or {}; each is answered with the state."""
    while line := await reader.readline():
        q = json.loads(line)
        mongos.set(q.get("set", {}))
        if q.get("bump"):
            mongos.bump()
        writer.write(json.dumps(mongos.state()).encode() + b"\n")
    writer.close()


async def main(port, path, store, log, settings):
    store = StoreClient(*await asyncio.open_unix_connection(store))
    with open(log, "a", buffering=1) as f:
        mongos = Mongos(port, store, f, settings)
        server = await asyncio.start_server(lambda r, w: Connection(mongos, r, w).serve(), "127.0.0.1", port, backlog=1024, limit=1 << 20)
        await asyncio.start_unix_server(lambda r, w: control(mongos, r, w), path)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:5], json.loads(sys.argv[5])))
