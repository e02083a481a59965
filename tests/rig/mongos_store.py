#!/usr/bin/env python3
"""The shards behind the scripted mongos processes: documents, transactions, and what retryable writes have done. Test code.

One process; each mongos asks it over a unix socket, BSON documents both ways: { i, op, ... } -> { i, r } or { i, e: [code, name, text] }.
Every operation is atomic. A write that carries a key (lsid and txnNumber) is done once and its result told again.
"""
import asyncio
import copy
import struct
import sys

import bson

COMPARE = {
    "$gt": lambda a, b: a is not None and a > b, "$gte": lambda a, b: a is not None and a >= b,
    "$lt": lambda a, b: a is not None and a < b, "$in": lambda a, b: a in b, "$exists": lambda a, b: (a is not None) == bool(b),
}


def matches(doc, want):
    for field, v in want.items():
        have = doc.get(field)
        if isinstance(v, dict) and v and all(k in COMPARE for k in v):
            if not all(COMPARE[k](have, x) for k, x in v.items()):
                return False
        elif have != v:
            return False
    return True


def changed(doc, update):
    """A document after an update: $set, $inc, $push, or a replacement."""
    if not any(k.startswith("$") for k in update):
        return {"_id": doc.get("_id")} | update
    doc = copy.deepcopy(doc)
    doc.update(update.get("$set", {}))
    for k, v in update.get("$inc", {}).items():
        doc[k] = doc.get(k, 0) + v
    for k, v in update.get("$push", {}).items():
        doc[k] = doc.get(k, []) + [v]
    return doc


class Refused(Exception):
    pass


def insert(coll, q):
    n, errors = 0, []
    for i, d in enumerate(q["documents"]):
        if d["_id"] in coll:
            errors.append({"index": i, "code": 11000, "errmsg": f"E11000 duplicate key error: _id {d['_id']}"})
            if q.get("ordered", True):
                break
        else:
            coll[d["_id"]] = d
            n += 1
    return {"n": n} | ({"writeErrors": errors} if errors else {})


def update(coll, q):
    n, upserted = 0, []
    for i, u in enumerate(q["updates"]):
        found = [d for d in coll.values() if matches(d, u["q"])]
        for d in found if u.get("multi") else found[:1]:
            coll[d["_id"]] = changed(d, u["u"])
            n += 1
        if not found and u.get("upsert"):
            new = changed({k: v for k, v in u["q"].items() if not isinstance(v, dict)}, u["u"])
            new["_id"] = new.get("_id") or bson.ObjectId()
            coll[new["_id"]] = new
            upserted.append({"index": i, "_id": new["_id"]})
    return {"n": n + len(upserted), "nModified": n} | ({"upserted": upserted} if upserted else {})


def delete(coll, q):
    n = 0
    for u in q["deletes"]:
        found = [k for k, d in coll.items() if matches(d, u["q"])]
        for k in found[:1] if u.get("limit") else found:
            del coll[k]
            n += 1
    return {"n": n}


def find_and_modify(coll, q):
    old = next((d for d in coll.values() if matches(d, q.get("query", {}))), None)
    if old is None:
        return {"value": None, "lastErrorObject": {"n": 0, "updatedExisting": False}}
    if q.get("remove"):
        del coll[old["_id"]]
        return {"value": old, "lastErrorObject": {"n": 1}}
    new = coll[old["_id"]] = changed(old, q["update"])
    return {"value": new if q.get("new") else old, "lastErrorObject": {"n": 1, "updatedExisting": True}}


WRITES = {"insert": insert, "update": update, "delete": delete, "findAndModify": find_and_modify}


class Store:
    def __init__(self):
        self.data = {}  # ns -> { _id: document }
        self.done = {}  # key -> result of a retryable write
        self.applied = {}  # ns -> writes that took effect, retried ones once
        self.repeated = 0  # retryable writes that came again
        self.open = {}  # (lsid, txn) -> the writes so far
        self.ended = {}  # (lsid, txn) -> "committed", "aborted"

    def write(self, q):
        if "txn" in q:
            return self.write_in(tuple(q["txn"]), q)
        key = tuple(q["key"]) if "key" in q else None
        if key in self.done:
            self.repeated += 1
            return self.done[key]
        result = WRITES[q["what"]](self.data.setdefault(q["ns"], {}), q)
        self.applied[q["ns"]] = self.applied.get(q["ns"], 0) + 1
        if key:
            self.done[key] = result
        return result

    def write_in(self, txn, q):
        """In a transaction: done on a copy, remembered for the commit."""
        if txn not in self.open:
            raise Refused(251, "NoSuchTransaction", f"transaction {txn[1]} is {self.ended.get(txn, 'unknown')}")
        result = WRITES[q["what"]](self.seen(q), q)
        self.open[txn].append(q)
        return result

    def seen(self, q):
        """A namespace as a reader sees it: with the writes of its own transaction."""
        coll = self.data.get(q["ns"], {})
        writes = self.open.get(tuple(q["txn"]), []) if "txn" in q else []
        if "txn" in q:
            coll = copy.deepcopy(coll)
        for w in writes:
            if w["ns"] == q["ns"]:
                WRITES[w["what"]](coll, w)
        return coll

    def find(self, q):
        docs = [d for d in self.seen(q).values() if matches(d, q.get("filter", {}))]
        for field, way in reversed(list(q.get("sort", {}).items())):
            docs.sort(key=lambda d: d.get(field), reverse=way < 0)
        return docs[q.get("skip", 0) :][: q.get("limit") or None]

    def begin(self, q):
        self.open[tuple(q["txn"])] = []

    def commit(self, q):
        txn = tuple(q["txn"])
        if self.ended.get(txn) == "committed":
            return
        if txn not in self.open:
            raise Refused(251, "NoSuchTransaction", f"transaction {txn[1]} is {self.ended.get(txn, 'unknown')}")
        for w in self.open.pop(txn):
            WRITES[w["what"]](self.data.setdefault(w["ns"], {}), w)
            self.applied[w["ns"]] = self.applied.get(w["ns"], 0) + 1
        self.ended[txn] = "committed"

    def abort(self, q):
        txn = tuple(q["txn"])
        if self.ended.get(txn) == "committed":
            raise Refused(256, "TransactionCommitted", f"transaction {txn[1]} has been committed")
        self.open.pop(txn, None)
        self.ended[txn] = "aborted"

    def drop(self, q):
        return self.data.pop(q["ns"], None) is not None

    def stat(self, q):
        return {"applied": self.applied.get(q.get("ns"), 0), "repeated": self.repeated, "open": len(self.open),
                "committed": sum(e == "committed" for e in self.ended.values())}


async def serve(store, reader, writer):
    try:
        while True:
            head = await reader.readexactly(4)
            q = bson.decode(head + await reader.readexactly(struct.unpack("<i", head)[0] - 4))
            try:
                answer = {"i": q["i"], "r": getattr(store, q["op"])(q)}
            except Refused as e:
                answer = {"i": q["i"], "e": list(e.args)}
            writer.write(bson.encode(answer))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(path):
    store = Store()
    server = await asyncio.start_unix_server(lambda r, w: serve(store, r, w), path)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
