"""Real drivers and mongosh over real FerretDB processes, in both ways of forwarding; and very many clients over few backend connections.

The FerretDBs share no data, so that an operation on a wrong one shows at once. With forward = "request" sessions are placed one by one:
each program does all it does in one session, and must find it all in one place.
"""
import asyncio
import os
import struct
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bson
import ferret
import mongo_wire
import puerta as rig
import pytest
from bson import json_util
from bson.raw_bson import RawBSONDocument
from conftest import Starter
from pymongo import MongoClient

HERE = Path(__file__).resolve().parent / "mongo"
RAW = bson.CodecOptions(document_class=RawBSONDocument)

pytestmark = pytest.mark.skipif(ferret.missing() is not None, reason=str(ferret.missing()))

FILE = HERE / "documents.json"
DOCUMENTS = [bson.encode(d) for d in json_util.loads(FILE.read_text(), json_options=json_util.CANONICAL_JSON_OPTIONS)]
BIG = [bson.encode({"_id": i, "data": f"big {i % 10}" * 200000}) for i in range(40)]


@pytest.fixture(scope="module")
def ferrets():
    with ferret.Ferrets(3) as f:
        yield f


WAYS = {
    "connection": {"forward": "connection"},
    "request": {"forward": "request"},
    "login": {"forward": "request", "compression": ["zstd", "zlib", "snappy"]},
}
FLOWS = [(way, client) for way in ("connection", "request") for client in ("pymongo", "node", "mongosh", "libmongoc", "go")]
COMPRESSORS = {"pymongo": "zlib", "libmongoc": "snappy", "go": "zstd"}


@pytest.fixture(scope="module")
def mongo(request, ferrets):
    """A puerta before them, of one of the WAYS."""
    s, options = Starter(), dict(WAYS[request.param])
    if request.param == "login":
        verifier = subprocess.run([rig.BINARY, "--scram", "app"], input="pencil\n", capture_output=True, text=True, check=True, timeout=20).stdout.strip()
        options["auth"] = [{"user": "app", "verifier": verifier}]
    yield s.keep(rig.Puerta.for_backends(ferrets, **options))
    s.end()


def uri(p, login="", options=""):
    return f"mongodb://{login}127.0.0.1:{p.port}/{options}"


def direct(f, **how):
    return MongoClient(f.uri, directConnection=True, **how)


@pytest.fixture(scope="session")
def c_driver(tmp_path_factory):
    """The C program, built here: what Debian has of libmongoc."""
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libmongoc-1.0"], capture_output=True, text=True)
    if flags.returncode:
        pytest.skip("no libmongoc-dev")
    program = tmp_path_factory.mktemp("c") / "driver"
    subprocess.run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", str(HERE / "c" / "driver.c"), "-o", str(program), *flags.stdout.split()], check=True)
    return program


def program(client, request):
    """The command of a client, up to its arguments; skips when it is not there."""
    needs = {"node": [rig.NODE, rig.NODE_MODULES / "mongodb"], "mongosh": [rig.NODE, rig.NODE_MODULES / "mongosh"], "go": [rig.BUILD / "mongo-driver-go"]}.get(client, [])
    for path in needs:
        if not path or not os.path.exists(path):
            pytest.skip(f"{client}: no {path or 'node'} (tools/deps.sh test)")
    return {
        "pymongo": lambda: [sys.executable, HERE / "python" / "driver.py"],
        "node": lambda: [rig.NODE, HERE / "node" / "driver.js"],
        "mongosh": lambda: [rig.NODE, rig.NODE_MODULES / "mongosh" / "bin" / "mongosh.js", "--quiet", "--norc"],
        "libmongoc": lambda: [request.getfixturevalue("c_driver")],
        "go": lambda: [rig.BUILD / "mongo-driver-go"],
    }[client]()


def run(client, command, at, name, home):
    """The lines a program printed, by their first word."""
    args = [at, "--file", HERE / "node" / "shell.js"] if client == "mongosh" else [at, name, FILE]
    environment = os.environ | {"NAME": name, "DOCUMENTS": str(FILE), "NODE_CLIENTS": str(rig.NODE_MODULES), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    p = subprocess.run([str(x) for x in [*command, *args]], capture_output=True, text=True, timeout=180, env=environment)
    lines = p.stdout.splitlines()
    assert p.returncode == 0 and lines and lines[-1] == "ok", (p.stdout + p.stderr)[-5000:]
    return dict(line.split(" ", 1) for line in lines[:-1])


def told(client, text):
    """The documents a program read, as bytes: it prints them in hexadecimal, mongosh as extended JSON."""
    if client != "mongosh":
        return bytes.fromhex(text)
    return b"".join(bson.encode(d) for d in json_util.loads(text, json_options=json_util.CANONICAL_JSON_OPTIONS))


def stored(collection):
    """A collection's documents as bytes, in the order of insertion."""
    return [d.raw for d in collection.with_options(RAW).find()]


@pytest.mark.parametrize("mongo,client", FLOWS + [("login", client) for client in COMPRESSORS], indirect=["mongo"])
def test_flow(client, mongo, ferrets, request, tmp_path):
    """insertMany, cursors in turns, aggregate, update, delete, indexes, a 40 MB bulk; what went through puerta is read past it, and the other way round.
    "login": as a user that puerta checks, and with the compressor that the driver has."""
    command = program(client, request)
    at = uri(mongo, "app:pencil@", f"?compressors={COMPRESSORS[client]}") if "login" in request.node.callspec.id else uri(mongo)
    name = f"flow_{client}_{mongo.port}"
    for f in ferrets:
        with direct(f) as d:
            d[name].theirs.insert_many([RawBSONDocument(x) for x in DOCUMENTS])
    lines = run(client, command, at, name, tmp_path)
    with direct(ferrets.at(lines["backend"])) as d:
        assert stored(d[name].ours) == DOCUMENTS
        assert d[name].numbers.count_documents({}) == 9001
        assert sorted(stored(d[name].big), key=lambda x: bson.decode(x)["_id"]) == BIG
    assert told(client, lines["ours"]) == told(client, lines["theirs"]) == b"".join(DOCUMENTS)
    for f in ferrets:
        with direct(f) as d:
            assert f.address == lines["backend"] or d[name].list_collection_names() == ["theirs"]
            d.drop_database(name)


@pytest.mark.parametrize("mongo", ["connection", "request"], indirect=True)
def test_bytes(mongo, ferrets):
    """Documents that drivers do not make are passed on as they are, in both directions."""
    deep = {"_id": "deep"}
    inner = deep
    for _ in range(90):
        inner["d"] = inner = {}
    documents = [bson.encode(x) for x in (
        {"_id": "names", "": 1, " ": 2, "ünï": 3, "x" * 1000: 4},
        {"_id": "regular expression", "r": bson.Regex("^a", "imsx")},
        {"_id": "text", "t": "a\0b" * 1000},
        deep,
        {"_id": "large", "b": os.urandom(5_000_000)},
        {"_id": "many", "m": {str(i): i for i in range(20000)}},
    )]
    with MongoClient(uri(mongo), serverSelectionTimeoutMS=10000) as c, c.start_session() as s:
        there = ferrets.at(c["where"].marker.find_one({}, session=s)["backend"])
        with direct(there) as d:
            c["bytes"].ours.insert_many([RawBSONDocument(x) for x in documents], session=s)
            assert stored(d["bytes"].ours) == documents
            d["bytes"].theirs.insert_many([RawBSONDocument(x) for x in documents])
            assert [x.raw for x in c["bytes"].theirs.with_options(RAW).find({}, session=s)] == documents
            d.drop_database("bytes")


@pytest.mark.threads
@pytest.mark.parametrize("forward,affinity", [("connection", "hybrid"), ("connection", "socket_addr"), ("request", "fingerprint"), ("request", "socket_addr")])
def test_one_client_stays_together(forward, affinity, ferrets, start):
    """Threads of one client, each with cursors and sessions of its own over whatever connections the driver takes: all find the data of one backend."""
    p = start.keep(rig.Puerta.for_backends(ferrets, forward=forward, affinity=affinity))
    with MongoClient(uri(p), appname="together", serverSelectionTimeoutMS=10000) as c:
        rows = [{"_id": i} for i in range(100)]
        c.together.rows.insert_many(rows)

        def work(number):
            cursors = [c.together.rows.find({}, batch_size=9).sort("_id", 1) for _ in range(4)]
            assert list(zip(*cursors)) == [(r,) * 4 for r in rows]  # in turns
            c.together.done.insert_one({"_id": number})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(16)))
        assert c.together.done.count_documents({}) == 16
        c.drop_database("together")


# ---- 2,000 clients over 24 backend connections ----

CLIENTS, ROWS, BATCH = 2000, 20, 5


def established(ports):
    """Connections to these ports of loopback, counted on the side that has connected."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(1 for f in rows if f[3] == "01" and int(f[2].split(":")[1], 16) in ports)


class Client:
    """A connection with a session of its own."""

    def __init__(self, number):
        self.number, self.n, self.lsid = number, 0, mongo_wire.lsid()

    async def open(self, port):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        said = await self.ask({"hello": 1, "client": mongo_wire.client_document(f"app {self.number % 50}")}, "admin")
        assert said["isWritablePrimary"]

    async def ask(self, command, db="many"):
        self.n += 1
        self.writer.write(mongo_wire.msg(command | {"$db": db}, self.n))
        head = await self.reader.readexactly(16)
        m = mongo_wire.parse(head + await self.reader.readexactly(struct.unpack_from("<i", head)[0] - 16))
        assert m.response_to == self.n and m.doc["ok"] == 1, (command, m)
        return m.doc

    async def find(self):
        self.cursor = (await self.ask({"find": "rows", "sort": {"_id": 1}, "batchSize": BATCH, "lsid": self.lsid}))["cursor"]
        self.rows = self.cursor["firstBatch"]

    async def more(self):
        if self.cursor["id"]:
            self.cursor = (await self.ask({"getMore": self.cursor["id"], "collection": "rows", "batchSize": BATCH, "lsid": self.lsid}))["cursor"]
            self.rows += self.cursor["nextBatch"]

    async def insert(self):
        assert (await self.ask({"insert": "done", "documents": [{"_id": self.number, "backend": self.rows[0]["backend"]}], "lsid": self.lsid}))["n"] == 1


async def many(port, count):
    """All do each step before any does the next, so that all their cursors are open at once. The clients, and the most backend connections seen."""
    clients = [Client(i) for i in range(CLIENTS)]
    most = 0

    async def all_of(step):
        nonlocal most
        await asyncio.gather(*map(step, clients))
        most = max(most, count())

    try:
        await all_of(lambda c: c.open(port))
        await all_of(Client.find)
        assert len({c.cursor["id"] for c in clients}) == CLIENTS  # FerretDB's own ids are few
        for _ in range(ROWS // BATCH):
            await all_of(Client.more)
        await all_of(Client.insert)
    finally:
        for c in clients:
            if hasattr(c, "writer"):
                c.writer.close()
    return clients, most


@pytest.mark.threads
def test_many_clients_over_few_connections(ferrets, start):
    pool = {"max": 4, "wait": "2m"}
    p = start.keep(rig.Puerta.for_backends(ferrets, top={"workers": 2}, forward="request", pool=pool))
    rows = {}
    for f in ferrets:
        rows[f.address] = [{"_id": i, "backend": f.address} for i in range(ROWS)]
        with direct(f) as d:
            d.many.rows.insert_many(rows[f.address])
            d.many.create_collection("done")
    ports = {f.port for f in ferrets}
    clients, most = asyncio.run(many(p.port, lambda: established(ports)))
    assert 0 < most <= 32, most
    at = Counter()
    for c in clients:
        backend = c.rows[0]["backend"]
        assert c.rows == rows[backend] and c.cursor["id"] == 0
        at[backend] += 1
    for f in ferrets:
        with direct(f) as d:
            done = [x["backend"] for x in d.many.done.find()]
            assert done == [f.address] * at[f.address]  # the session stays where its cursor was
            d.drop_database("many")
    assert sum(at.values()) == CLIENTS and min(at.values()) > CLIENTS // 10, at
