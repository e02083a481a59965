"""MongoDB: every kind of command and reply."""
import datetime
import hashlib
import random
import re

import bson
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from checks import Failed, Skip, check, expect
from mongo_run import MongoRun as Run
from pymongo import InsertOne, ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError, OperationFailure

UNSUPPORTED = (20, 59, 115, 238, 263, 303)  # IllegalOperation, CommandNotFound, CommandNotSupported, NotImplemented, ...


@check("mongo", "basic", "connecting, hello and ping", first=True)
def connect(r: Run):
    with r.client() as c:
        expect(c.admin.command("ping")["ok"], 1, "ping")
        hello = c.admin.command("hello")
        version = c.admin.command("buildInfo")["version"]
    if not hello.get("isWritablePrimary"):
        raise Failed(f"hello says that the server takes no writes: {str(hello)[:200]}")
    return f"server {version}, wire version {hello['maxWireVersion']}"


@check("mongo", "basic", "insert and find, in batches")
def find(r: Run):
    n = r.size["documents"]
    with r.place("find") as (db, s):
        docs = [{"_id": i, "group": i % 10, "text": f"number {i}"} for i in range(n)]
        expect(len(db.c.insert_many(docs, session=s).inserted_ids), n, "insertMany")
        for size in (2, 37, 1000):
            want = docs[: size * 20]
            got = list(db.c.find({}, session=s, batch_size=size, limit=size * 20).sort("_id", 1))
            if got != want:
                raise Failed(f"find in batches of {size} gave {len(got)} documents, or others, where {len(want)} were expected")
        expect(db.c.count_documents({"group": 3}, session=s), n // 10, "countDocuments")
        expect(db.c.find_one({"_id": n}, session=s), None, "findOne of what is not there")
    return f"{n} documents"


@check("mongo", "basic", "documents with every type of value come back as they were")
def values(r: Run):
    doc = {
        "_id": bson.ObjectId(), "double": 1.5, "string": "ü€ 漢\0", "document": {"a": {"b": [1, "x", None]}}, "empty": {},
        "binary": bytes(range(256)),
        "yes": True, "no": False, "date": datetime.datetime(2026, 1, 2, 3, 4, 5, 678000), "null": None, "regex": bson.Regex("^a.*z$", "i"),
        "int": 2**31 - 1, "long": Int64(2**62), "negative": -5, "timestamp": bson.Timestamp(5, 6),
    }
    with r.place("values") as (db, s):
        db.c.insert_one(doc, session=s)
        got = db.c.find_one({"_id": doc["_id"]}, session=s)
        expect({k: v for k, v in got.items() if v != doc[k]}, {}, "fields that differ")
        expect(list(got), list(doc), "the order of fields")
    return f"{len(doc)} values"


@check("mongo", "basic", "decimal128")
def decimal(r: Run):
    with r.client() as client, r.place("decimal", client) as (db, s):
        if client.admin.command("hello").get("msg") != "isdbgrid":
            raise Skip("not sent: the server is no mongos, and FerretDB closes its connection when it meets one")
        db.c.insert_one({"_id": 1, "decimal": Decimal128("1.10")}, session=s)
        expect(db.c.find_one({"_id": 1}, session=s)["decimal"], Decimal128("1.10"), "decimal128")


@check("mongo", "basic", "updates, deletes, findAndModify, duplicate keys")
def writes(r: Run):
    with r.place("writes") as (db, s):
        db.c.insert_many([{"_id": i, "n": 0} for i in range(100)], session=s)
        expect(db.c.update_many({"_id": {"$lt": 50}}, {"$set": {"n": 1}}, session=s).modified_count, 50, "updateMany")
        expect(db.c.update_one({"_id": 500}, {"$set": {"n": 2}}, upsert=True, session=s).upserted_id, 500, "an upsert")
        after = db.c.find_one_and_update({"_id": 3}, {"$inc": {"n": 4}}, return_document=ReturnDocument.AFTER, session=s)
        expect(after, {"_id": 3, "n": 5}, "findAndModify")
        expect(db.c.delete_many({"n": 0}, session=s).deleted_count, 50, "deleteMany")
        try:
            db.c.insert_one({"_id": 3}, session=s)
        except DuplicateKeyError:
            pass
        else:
            raise Failed("a second document with the same _id was taken")
        expect(db.c.count_documents({}, session=s), 51, "documents at the end")


@check("mongo", "basic", "cursors in turns, over one client's connections")
def cursors(r: Run):
    with r.client(maxPoolSize=5) as client, r.place("cursors", client) as (db, s):
        docs = [{"_id": i, "of": i % 10} for i in range(1000)]
        db.c.insert_many(docs, session=s)
        open_ones = [db.c.find({"of": k}, session=s, batch_size=3 + k).sort("_id", 1) for k in range(10)]
        for i in range(100):
            for k, cursor in enumerate(open_ones):
                expect(next(cursor)["_id"], i * 10 + k, f"document {i} of cursor {k}")
        for k, cursor in enumerate(open_ones):
            expect(next(cursor, None), None, f"the end of cursor {k}")
    return "10 cursors"


@check("mongo", "basic", "killCursors, and getMore of a dead cursor")
def kill_cursors(r: Run):
    with r.place("kill") as (db, s):
        db.c.insert_many([{"_id": i} for i in range(100)], session=s)
        first = db.command({"find": "c", "batchSize": 5}, session=s)["cursor"]
        expect(bool(first["id"]), True, "find with a small batch leaves a cursor")
        said = db.command({"killCursors": "c", "cursors": [Int64(first["id"])]}, session=s)
        expect(said["cursorsKilled"], [first["id"]], "cursorsKilled")
        try:
            db.command({"getMore": Int64(first["id"]), "collection": "c"}, session=s)
        except OperationFailure as e:
            expect(e.code, 43, "the code of getMore's error (CursorNotFound)")
        else:
            raise Failed("getMore of a killed cursor was answered")


@check("mongo", "basic", "aggregate, distinct, indexes")
def aggregate(r: Run):
    with r.place("aggregate") as (db, s):
        db.c.insert_many([{"_id": i, "group": i % 7, "n": i} for i in range(700)], session=s)
        stages = [{"$match": {"group": {"$lt": 5}}}, {"$group": {"_id": "$group", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
        expect(list(db.c.aggregate(stages, session=s, batchSize=2)), [{"_id": i, "n": 100} for i in range(5)], "aggregate")
        expect(sorted(db.c.distinct("group", session=s)), list(range(7)), "distinct")
        expect(db.c.create_index("n", name="by_n", session=s), "by_n", "createIndex")
        expect(sorted(db.c.index_information(session=s)), ["_id_", "by_n"], "listIndexes")
        db.c.drop_index("by_n", session=s)
        expect(list(db.c.index_information(session=s)), ["_id_"], "listIndexes after dropIndexes")
        expect(db.list_collection_names(session=s), ["c"], "listCollections")


@check("mongo", "basic", "a bulk of 10 MB")
def bulk(r: Run):
    rng = random.Random(1)
    docs = [{"_id": i, "data": rng.randbytes(1 << 20)} for i in range(10)]
    want = [hashlib.sha256(d["data"]).hexdigest() for d in docs]
    with r.place("bulk") as (db, s):
        told = db.c.bulk_write([*map(InsertOne, docs), UpdateOne({"_id": 0}, {"$set": {"seen": True}})], session=s)
        expect([told.inserted_count, told.modified_count], [10, 1], "inserted and updated")
        got = [hashlib.sha256(d["data"]).hexdigest() for d in db.c.find({}, session=s).sort("_id", 1)]
        expect(got, want, "what is read back (SHA-256 of each)")


@check("mongo", "basic", "many sessions at once, each with a cursor open")
def sessions(r: Run):
    n = r.size["sessions"]
    with r.client(maxPoolSize=10) as client:
        open_ones = []
        try:
            for i in range(n):
                session = client.start_session()
                open_ones.append((session, None))
                c = client[f"{r.prefix}-sessions"].c
                c.insert_many([{"s": i, "n": k} for k in range(30)], session=session)
                open_ones[-1] = (session, c.find({"s": i}, session=session, batch_size=4).sort("n", 1))
            for k in range(30):
                for i, (_, cursor) in enumerate(open_ones):
                    expect(next(cursor)["n"], k, f"document {k} of session {i}")
        finally:
            for session, _ in open_ones:
                r.drop(client, f"{r.prefix}-sessions", session)
                session.end_session()
    return f"{n} sessions"


@check("mongo", "basic", "transactions: commit and abort")
def transactions(r: Run):
    with r.place("transactions") as (db, s):
        db.c.insert_one({"_id": 0}, session=s)  # a collection made before: older servers do not make one in a transaction
        try:
            with s.start_transaction():
                db.c.insert_one({"_id": 1}, session=s)
                db.c.insert_one({"_id": 2}, session=s)
        except OperationFailure as e:
            if e.code in UNSUPPORTED or "startTransaction" in str(e):
                raise Skip(f"not supported by the server, which says '{short_error(e)}'") from e
            raise
        expect(db.c.count_documents({}, session=s), 3, "documents after a commit")
        s.start_transaction()
        db.c.insert_one({"_id": 3}, session=s)
        expect(db.c.count_documents({}, session=s), 4, "documents seen in the transaction")
        s.abort_transaction()
        expect(db.c.count_documents({}, session=s), 3, "documents after an abort")


@check("mongo", "basic", "errors: one clear one for its request, the rest go on")
def errors(r: Run):
    with r.place("errors") as (db, s):
        for command, code in (({"noSuchCommand": 1}, 59), ({"find": "c", "filter": 5}, None), ({"getMore": Int64(12345), "collection": "c"}, 43)):
            try:
                said = db.command(command, session=s)
            except OperationFailure as e:
                if code and e.code != code:
                    raise Failed(f"{command} answered code {e.code} ({short_error(e)}), expected {code}") from e
            else:
                raise Failed(f"{command} was answered: {said}")
            expect(db.command("ping", session=s)["ok"], 1, f"ping after {command}")


@check("mongo", "quick", "compression: zlib, and what else the client has")
def compression(r: Run):
    with r.client(compressors="zlib") as client:
        offered = client.admin.command({"hello": 1, "compression": ["zlib"]}).get("compression")
        with r.place("compressed", client) as (db, s):
            db.c.insert_one({"_id": 1, "text": "a" * 1_000_000}, session=s)
            expect(len(db.c.find_one({"_id": 1}, session=s)["text"]), 1_000_000, "a text of 1 MB")
    return "zlib" if offered else "none is offered; the client goes on without"


def short_error(e):
    return re.sub(r", full error: .*", "", str(e), flags=re.S)[:160]
