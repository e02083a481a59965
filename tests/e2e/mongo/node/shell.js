// mongosh. Usage: NAME=DATABASE DOCUMENTS=FILE mongosh URI --file shell.js. As driver.js, but documents are told as extended JSON.
'use strict';
const assert = require('assert');
const fs = require('fs');
const name = process.env.NAME;
const range = (n) => Array.from({ length: n }, (_, i) => i);
const same = (a, b) => assert.strictEqual(EJSON.stringify(a, { relaxed: false }), EJSON.stringify(b, { relaxed: false }));
const session = db.getMongo().startSession();
const data = session.getDatabase(name);
const numbers = data.numbers;
print('backend', session.getDatabase('where').marker.findOne().backend);

same(Object.keys(numbers.insertMany(range(10000).map((i) => ({ _id: i, group: i % 10, text: `number ${i}` }))).insertedIds).length, 10000);
const all = numbers.find().sort({ _id: 1 }).batchSize(500);
const some = numbers.find({ group: 7 }).sort({ _id: 1 }).batchSize(37);
for (const i of range(2000)) { // two cursors in turns; each step is slow in a shell
  const d = all.next();
  assert(d._id === i && d.group === i % 10 && d.text === `number ${i}`, EJSON.stringify(d));
  if (i % 10 === 7) assert.strictEqual(some.next()._id, i);
}
same(all.toArray().map((d) => d._id), range(8000).map((i) => i + 2000));
same(some.toArray().map((d) => d._id), range(800).map((i) => i * 10 + 2007));
const unread = numbers.find().batchSize(2);
unread.next();
unread.close(); // killCursors

same(numbers.aggregate([{ $match: { group: { $lt: 5 } } }, { $group: { _id: '$group', n: { $sum: 1 } } }, { $sort: { _id: 1 } }], { cursor: { batchSize: 2 } }).toArray(),
  range(5).map((i) => ({ _id: i, n: 1000 })));
same(numbers.updateMany({ _id: { $lt: 5 } }, { $set: { seen: true } }).modifiedCount, 5);
same(numbers.findOneAndUpdate({ _id: 4 }, { $inc: { group: 1 } }, { returnDocument: 'after' }), { _id: 4, group: 5, text: 'number 4', seen: true });
same(numbers.deleteMany({ group: 4 }).deletedCount, 999);
same(numbers.countDocuments({}), 9001);
try {
  numbers.insertOne({ _id: 1 });
  throw new Error('a duplicate was taken');
} catch (e) {
  assert.strictEqual(e.code, 11000, e);
}

same(numbers.createIndex({ group: 1 }, { name: 'by_group' }), 'by_group');
same(numbers.getIndexes().map((i) => i.name).sort(), ['_id_', 'by_group']);
numbers.dropIndex('by_group');
same(numbers.getIndexes().length, 1);

const big = range(40).map((i) => ({ _id: i, data: `big ${i % 10}`.repeat(200000) }));
same(Object.keys(data.big.insertMany(big).insertedIds).length, 40);
assert(data.big.find().sort({ _id: 1 }).batchSize(15).toArray().every((d, i) => d._id === i && d.data === big[i].data));

data.ours.insertMany(EJSON.parse(fs.readFileSync(process.env.DOCUMENTS, 'utf8'), { relaxed: false }));
for (const collection of ['ours', 'theirs']) print(collection, EJSON.stringify(data.getCollection(collection).find().toArray(), { relaxed: false }));
session.endSession();
print('ok');
