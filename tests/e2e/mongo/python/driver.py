"""pymongo. Usage: driver.py URI DATABASE DOCUMENTS.json. As node/driver.js."""
import sys
from pathlib import Path

import bson
from bson import json_util
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, ReturnDocument
from pymongo.errors import DuplicateKeyError

uri, name, file = sys.argv[1:]
RAW = bson.CodecOptions(document_class=RawBSONDocument)
client = MongoClient(uri, appname=name, serverSelectionTimeoutMS=10000)
s = client.start_session()
db = client[name]
numbers = db.numbers
print("backend", client.where.marker.find_one({}, session=s)["backend"])

docs = [{"_id": i, "group": i % 10, "text": f"number {i}"} for i in range(10000)]
assert len(numbers.insert_many(docs, session=s).inserted_ids) == 10000
every = numbers.find({}, session=s, batch_size=500).sort("_id", 1)
some = numbers.find({"group": 7}, session=s, batch_size=37).sort("_id", 1)
for d in docs:  # two cursors in turns
    assert next(every) == d
    if d["group"] == 7:
        assert next(some) == d
assert not list(every) and not list(some)
unread = numbers.find({}, session=s, batch_size=2)
next(unread)
unread.close()  # killCursors

groups = [{"$match": {"group": {"$lt": 5}}}, {"$group": {"_id": "$group", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
assert list(numbers.aggregate(groups, session=s, batchSize=2)) == [{"_id": i, "n": 1000} for i in range(5)]
assert numbers.update_many({"_id": {"$lt": 5}}, {"$set": {"seen": True}}, session=s).modified_count == 5
after = numbers.find_one_and_update({"_id": 4}, {"$inc": {"group": 1}}, session=s, return_document=ReturnDocument.AFTER)
assert after == {"_id": 4, "group": 5, "text": "number 4", "seen": True}, after
assert numbers.delete_many({"group": 4}, session=s).deleted_count == 999
assert numbers.count_documents({}, session=s) == 9001
try:
    numbers.insert_one({"_id": 1}, session=s)
    raise AssertionError("a duplicate was taken")
except DuplicateKeyError:
    pass

assert numbers.create_index("group", name="by_group", session=s) == "by_group"
assert sorted(numbers.index_information(session=s)) == ["_id_", "by_group"]
numbers.drop_index("by_group", session=s)
assert len(numbers.index_information(session=s)) == 1

big = [bson.encode({"_id": i, "data": f"big {i % 10}" * 200000}) for i in range(40)]
db.big.insert_many(map(RawBSONDocument, big), session=s)
assert [d.raw for d in db.big.with_options(RAW).find({}, session=s, batch_size=15).sort("_id", 1)] == big

db.ours.insert_many(json_util.loads(Path(file).read_text(), json_options=json_util.CANONICAL_JSON_OPTIONS), session=s)
for collection in ("ours", "theirs"):
    print(collection, b"".join(d.raw for d in db[collection].with_options(RAW).find({}, session=s)).hex())
s.end_session()
client.close()
print("ok")
