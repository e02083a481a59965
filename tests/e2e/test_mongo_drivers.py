"""Real drivers and mongosh over real FerretDB processes, in both ways of forwarding; and very many clients over few backend connections.

The FerretDBs share no data, so that an operation on a wrong one shows at once. With forward = "request" sessions are placed one by one:
each program does all it does in one session, and must find it all in one place.
"""
import asyncio
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import bson
import ferret
import mongo_wire
import pytest
from bson import json_util
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

HERE = Path(__file__).resolve().parent / "mongo"
NODE_MODULES = ferret.BUILD / "node" / "node_modules"
NODE = shutil.which("node", path=f"{NODE_MODULES}/.bin") or shutil.which("node")  # the one that npm brought where the system's is too old
RAW = bson.CodecOptions(document_class=RawBSONDocument)

pytestmark = pytest.mark.skipif(ferret.missing() is not None, reason=str(ferret.missing()))

FILE = HERE / "documents.json"
DOCUMENTS = [bson.encode(d) for d in json_util.loads(FILE.read_text(), json_options=json_util.CANONICAL_JSON_OPTIONS)]
BIG = [bson.encode({"_id": i, "data": f"big {i % 10}" * 200000}) for i in range(40)]


@pytest.fixture(scope="module")
def ferrets():
    with ferret.Ferrets(3) as f:
        yield f


@pytest.fixture(scope="module", params=["connection", "request"])
def mongo(request, ferrets):
    """A puerta before them."""
    from conftest import Starter, rig

    s = Starter()
    yield s.keep(rig.Puerta.for_backends(ferrets, forward=request.param))
    s.end()


def uri(p):
    return f"mongodb://127.0.0.1:{p.port}/"


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
    needs = {"node": [NODE, NODE_MODULES / "mongodb"], "mongosh": [NODE, NODE_MODULES / "mongosh"], "go": [ferret.BUILD / "mongo-driver-go"]}.get(client, [])
    for path in needs:
        if not path or not os.path.exists(path):
            pytest.skip(f"{client}: no {path or 'node'} (tools/deps.sh test)")
    return {
        "pymongo": lambda: [sys.executable, HERE / "python" / "driver.py"],
        "node": lambda: [NODE, HERE / "node" / "driver.js"],
        "mongosh": lambda: [NODE, NODE_MODULES / "mongosh" / "bin" / "mongosh.js", "--quiet", "--norc"],
        "libmongoc": lambda: [request.getfixturevalue("c_driver")],
        "go": lambda: [ferret.BUILD / "mongo-driver-go"],
    }[client]()


def run(client, command, at, name, home):
    """The lines a program printed, by their first word."""
    args = [at, "--file", HERE / "node" / "shell.js"] if client == "mongosh" else [at, name, FILE]
    environment = os.environ | {"NAME": name, "DOCUMENTS": str(FILE), "NODE_CLIENTS": str(NODE_MODULES), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
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


@pytest.mark.parametrize("client", ["pymongo", "node", "mongosh", "libmongoc", "go"])
def test_flow(client, mongo, ferrets, request, tmp_path):
    """insertMany, cursors in turns, aggregate, update, delete, indexes, a 40 MB bulk; what went through puerta is read past it, and the other way round."""
    command = program(client, request)
    name = f"flow_{client}_{mongo.port}"
    for f in ferrets:
        with direct(f) as d:
            d[name].theirs.insert_many([RawBSONDocument(x) for x in DOCUMENTS])
    lines = run(client, command, uri(mongo), name, tmp_path)
    with direct(ferrets.at(lines["backend"])) as d:
        assert stored(d[name].ours) == DOCUMENTS
        assert d[name].numbers.count_documents({}) == 9001
        assert sorted(stored(d[name].big), key=lambda x: bson.decode(x)["_id"]) == BIG
    assert told(client, lines["ours"]) == told(client, lines["theirs"]) == b"".join(DOCUMENTS)
    for f in ferrets:
        with direct(f) as d:
            assert f.address == lines["backend"] or d[name].list_collection_names() == ["theirs"]
            d.drop_database(name)


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
        {"_id": "large", "b": os.urandom(11_000_000)},
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
