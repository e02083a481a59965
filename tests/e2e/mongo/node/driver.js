// The Node driver. Usage: node driver.js URI DATABASE DOCUMENTS.json. Prints what test_mongo_drivers.py reads, "ok" at the end, or throws.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const modules = process.env.NODE_CLIENTS || path.join(__dirname, '../../../../build/node/node_modules');
const { MongoClient, BSON } = require(path.join(modules, 'mongodb'));
const [uri, name, file] = process.argv.slice(2);
const range = (n) => Array.from({ length: n }, (_, i) => i);
const hex = (docs) => Buffer.concat(docs).toString('hex');

async function main() {
  const client = await new MongoClient(uri, { appName: name, serverSelectionTimeoutMS: 10000 }).connect();
  const session = client.startSession();
  const db = client.db(name);
  const numbers = db.collection('numbers');
  console.log('backend', (await client.db('where').collection('marker').findOne({}, { session })).backend);

  const inserted = await numbers.insertMany(range(10000).map((i) => ({ _id: i, group: i % 10, text: `number ${i}` })), { session });
  assert.strictEqual(inserted.insertedCount, 10000);
  const all = numbers.find({}, { session, batchSize: 500 }).sort({ _id: 1 });
  const some = numbers.find({ group: 7 }, { session, batchSize: 37 }).sort({ _id: 1 });
  for (const i of range(10000)) { // two cursors in turns
    assert.deepStrictEqual(await all.next(), { _id: i, group: i % 10, text: `number ${i}` });
    if (i % 10 === 7) assert.strictEqual((await some.next())._id, i);
  }
  assert.strictEqual(await all.next(), null);
  assert.strictEqual(await some.next(), null);
  const unread = numbers.find({}, { session, batchSize: 2 });
  await unread.next();
  await unread.close(); // killCursors

  const groups = [{ $match: { group: { $lt: 5 } } }, { $group: { _id: '$group', n: { $sum: 1 } } }, { $sort: { _id: 1 } }];
  assert.deepStrictEqual(await numbers.aggregate(groups, { session, batchSize: 2 }).toArray(), range(5).map((i) => ({ _id: i, n: 1000 })));
  assert.strictEqual((await numbers.updateMany({ _id: { $lt: 5 } }, { $set: { seen: true } }, { session })).modifiedCount, 5);
  assert.deepStrictEqual(await numbers.findOneAndUpdate({ _id: 4 }, { $inc: { group: 1 } }, { session, returnDocument: 'after' }), { _id: 4, group: 5, text: 'number 4', seen: true });
  assert.strictEqual((await numbers.deleteMany({ group: 4 }, { session })).deletedCount, 999);
  assert.strictEqual(await numbers.countDocuments({}, { session }), 9001);
  await assert.rejects(numbers.insertOne({ _id: 1 }, { session }), { code: 11000 });

  assert.strictEqual(await numbers.createIndex({ group: 1 }, { name: 'by_group', session }), 'by_group');
  assert.deepStrictEqual((await numbers.indexes({ session })).map((i) => i.name).sort(), ['_id_', 'by_group']);
  await numbers.dropIndex('by_group', { session });
  assert.strictEqual((await numbers.indexes({ session })).length, 1);

  const big = range(40).map((i) => ({ _id: i, data: `big ${i % 10}`.repeat(200000) }));
  assert.strictEqual((await db.collection('big').insertMany(big, { session })).insertedCount, 40);
  const back = await db.collection('big').find({}, { session, raw: true, batchSize: 15 }).sort({ _id: 1 }).toArray();
  assert.deepStrictEqual(back, big.map((d) => Buffer.from(BSON.serialize(d))));

  const documents = BSON.EJSON.parse(fs.readFileSync(file, 'utf8'), { relaxed: false });
  await db.collection('ours').insertMany(documents, { session });
  for (const collection of ['ours', 'theirs']) {
    console.log(collection, hex(await db.collection(collection).find({}, { session, raw: true }).toArray()));
  }
  await session.endSession();
  await client.close();
  console.log('ok');
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
