"""The clients of upgrades.py: each keeps one connection, is busy on it, and checks every answer. asyncio and plain sockets."""
import asyncio
import random
import struct
import time
from collections import Counter

from bson.int64 import Int64
from mongo_wire import client_document, lsid, msg, parse
from resp import encode

PATIENCE = 60  # seconds without an answer


class Tally:
    """What all clients have met."""

    def __init__(self):
        self.answers = self.visits = 0
        self.faults, self.examples = Counter(), {}
        self.slowest = (0.0, "nobody")
        self.lag = 0.0

    def fault(self, kind, example):
        self.faults[kind] += 1
        self.examples.setdefault(kind, example)

    def answered(self, since, name, what):
        """One or more answers, for which somebody has waited since then."""
        self.answers += 1
        self.slowest = max(self.slowest, (time.monotonic() - since, f"{name}: {what}"))

    def take_slowest(self):
        """(seconds of the slowest answer, whose, seconds that this program itself was late at most) since the last call."""
        out = (*self.slowest, self.lag)
        self.slowest, self.lag = (0.0, "nobody"), 0.0
        return out

    async def watch(self, ended):
        """How late we are ourselves: answers cannot look faster than that."""
        while not ended.is_set():
            began = time.monotonic()
            await asyncio.sleep(0.01)
            self.lag = max(self.lag, time.monotonic() - began - 0.01)


class Wrong(Exception):
    """An answer that cannot be."""


class Client:
    """Lives on one connection; when it ends, that is a fault, and it takes a new one."""

    def __init__(self, i, name, port, tally, ended, pause):
        self.name, self.port, self.tally, self.ended, self.pause = name, port, tally, ended, pause
        self.rng = random.Random(i)
        self.turns = 0

    async def live(self):
        await asyncio.sleep(self.rng.random() * self.pause * 2)
        while not self.ended.is_set():
            try:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as e:
                self.tally.fault("refused connects", f"{self.name}: {e}")
                await asyncio.sleep(0.2)
                continue
            try:
                await self.begin()
                while not self.ended.is_set():
                    await asyncio.wait_for(self.turn(), PATIENCE)
                    self.turns += 1
                    await asyncio.sleep(self.rng.random() * self.pause * 2)
            except Wrong as e:
                self.tally.fault("wrong answers", f"{self.name}: {e}")
            except TimeoutError:
                self.tally.fault("requests without an answer", f"{self.name}, turn {self.turns}")
            except (OSError, EOFError) as e:
                self.tally.fault("reconnects", f"{self.name}, turn {self.turns}: {e!r}")
            finally:
                self.writer.close()


class RedisClient(Client):
    """Pipelines of SET, GET, INCR and APPEND on keys of its own. It has a name and speaks RESP3, now and then: both must survive an upgrade."""

    def __init__(self, i, port, tally, ended, pause):
        super().__init__(i, f"redis-{i}", port, tally, ended, pause)
        self.count, self.text, self.value = 0, 0, None
        self.resp3 = i % 3 == 0

    async def begin(self):
        self.writer.write(encode("HELLO", "3" if self.resp3 else "2") + encode("CLIENT", "SETNAME", self.name) + encode("DEL", *self.keys()))
        await self.reply()
        await self.expect(b"OK")
        await self.reply()
        self.count, self.text, self.value = 0, 0, None

    def keys(self):
        return [f"{self.name}.{k}" for k in ("count", "text", "value")]

    async def turn(self):
        """A few requests in one write."""
        count, text, value = self.keys()
        out, want = [], []
        for _ in range(self.rng.randint(1, 4)):
            kind = self.rng.randrange(6)
            if kind == 0:
                self.value = str(self.rng.random()).encode()
                out.append(encode("SET", value, self.value)), want.append(b"OK")
            elif kind == 1:
                out.append(encode("GET", value)), want.append(self.value)
            elif kind == 2:
                self.count += 1
                out.append(encode("INCR", count)), want.append(self.count)
            elif kind == 3:
                self.text += 1
                out.append(encode("APPEND", text, "x")), want.append(self.text)
            elif kind == 4:
                out.append(encode("CLIENT", "GETNAME")), want.append(self.name.encode())
            else:
                out.append(encode("MGET", value, count)), want.append([self.value, b"%d" % self.count if self.count else None])
        raw = b"".join(out)
        if self.rng.random() < 0.05:  # half a request, and the rest later: no boundary to move at
            cut = self.rng.randrange(1, len(raw))
            self.writer.write(raw[:cut])
            await asyncio.sleep(self.rng.random())
            raw = raw[cut:]
        self.writer.write(raw)
        began = time.monotonic()
        for w in want:
            await self.expect(w)
        self.tally.answered(began, self.name, f"pipeline of {len(want)}")

    async def expect(self, want):
        got = await self.reply()
        if got != want:
            raise Wrong(f"{got!r:.200}, expected {want!r:.100}")

    async def reply(self):
        line = (await self.reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else (await self.reader.readexactly(int(rest) + 2))[:-2]
        if kind == b":":
            return int(rest)
        if kind == b"-":
            self.tally.fault("error replies", f"{self.name}: {rest.decode()}")
            return rest
        if kind in b"*%":
            return [await self.reply() for _ in range(int(rest) * (2 if kind == b"%" else 1))]
        return None if kind == b"_" else rest


class MongoClient(Client):
    """A counter, inserts, and cursors of the scripted mongos, all in one session; it knows which mongos answers, and over which connection of that."""

    def __init__(self, i, port, way, tally, ended, pause):
        super().__init__(i, f"mongo-{way}-{i}", port, tally, ended, pause)
        self.way, self.place, self.pair = way, None, None
        self.session, self.count, self.ids = lsid(), 0, 0

    async def begin(self):
        hello = await self.ask({"hello": 1, "client": client_document(self.name)}, session=False)
        if not hello.get("isWritablePrimary"):
            raise Wrong(f"hello: {hello!r:.200}")
        self.pair = None  # a new connection may have another one behind it
        await self.look()
        found = (await self.ask({"find": "counters", "filter": {"_id": self.name}}))["cursor"]["firstBatch"]
        if not found:
            await self.ask({"insert": "counters", "documents": [{"_id": self.name, "n": 0}]})
        self.count = found[0]["n"] if found else 0

    async def look(self):
        """Must find itself where it was: the mongos, and in connection mode the very same connection to it."""
        me = await self.ask({"whoami": 1}, "admin")
        if self.place not in (None, me["port"]):
            self.tally.fault("clients at another mongos", f"{self.name}: {me['port']}, was at {self.place}")
        self.place = me["port"]
        if self.way == "connection":
            if self.pair not in (None, me["conn"]):
                self.tally.fault("clients with another backend connection", f"{self.name}: {me['conn']}, had {self.pair}")
            self.pair = me["conn"]

    async def turn(self):
        kind = self.rng.randrange(4)
        if kind == 0:
            return await self.look()
        if kind == 1:
            return await self.cursor()
        if kind == 2:
            said = await self.ask({"findAndModify": "counters", "query": {"_id": self.name}, "update": {"$inc": {"n": 1}}, "new": True})
            self.count += 1
            if (said["value"] or {}).get("n") != self.count:
                raise Wrong(f"the counter is {said['value']}, expected {self.count}")
            return
        said = await self.ask({"insert": "things", "documents": [{"_id": f"{self.name}.{self.ids}"}]})
        if said.get("n") != 1:
            raise Wrong(f"insert: {said}")

    async def cursor(self):
        """Fetched in batches, at times slowly: an open cursor must not be lost, wherever its batches go."""
        tag, n, slow = f"{self.name}.{self.ids}", 20, self.rng.random() < 0.1
        c = (await self.ask({"find": "numbers", "filter": {"n": n, "tag": tag}, "batchSize": 5}))["cursor"]
        got = c["firstBatch"]
        while c["id"]:
            if slow:
                await asyncio.sleep(self.rng.random() * 0.5)
            c = (await self.ask({"getMore": Int64(c["id"]), "collection": "numbers", "batchSize": 5}))["cursor"]
            got = got + c["nextBatch"]
        if [(d["_id"], d["tag"], d["port"]) for d in got] != [(i, tag, self.place) for i in range(n)]:
            raise Wrong(f"a cursor at {self.place} gave {got!r:.200}")

    async def ask(self, doc, db="test", session=True):
        self.ids += 1
        self.writer.write(msg(doc | ({"lsid": self.session} if session else {}) | {"$db": db}, self.ids))
        began = time.monotonic()
        head = await self.reader.readexactly(16)
        m = parse(head + await self.reader.readexactly(struct.unpack_from("<i", head)[0] - 16))
        if m.response_to != self.ids:
            raise Wrong(f"an answer to {m.response_to}, {self.ids} was asked")
        self.tally.answered(began, self.name, next(iter(doc)))
        if not m.doc.get("ok"):
            self.tally.fault("error replies", f"{self.name}: {m.doc!r:.200}")
            raise Wrong(f"{next(iter(doc))}: {m.doc!r:.200}")
        return m.doc

    async def again(self):
        """Where a new connection of this client lands."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            await self.ask({"hello": 1, "client": client_document(self.name)}, session=False)
            return (await self.ask({"whoami": 1}, "admin", session=False))["port"]
        finally:
            self.writer.close()


class Newcomer:
    """Connects, asks one thing, goes; all the time: no accept may be refused."""

    def __init__(self, ports, tally, ended):
        self.ports, self.tally, self.ended = ports, tally, ended

    async def live(self):
        while not self.ended.is_set():
            for name, port in self.ports.items():
                try:
                    await asyncio.wait_for(self.visit(name, port), PATIENCE)
                    self.tally.visits += 1
                except ConnectionRefusedError as e:
                    self.tally.fault("refused connects", f"a newcomer: {e}")
                except (OSError, EOFError, TimeoutError) as e:
                    self.tally.fault("newcomers without an answer", f"{name}: {e!r}")
            await asyncio.sleep(0.02)

    async def visit(self, name, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"PING\r\n" if name == "redis" else msg({"hello": 1, "client": client_document("newcomer"), "$db": "admin"}, 1))
            await reader.readexactly(7)
        finally:
            writer.close()
