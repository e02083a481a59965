// Cursors and transactions of a load balanced client. Usage: node balanced.js URI, which says loadBalanced=true. Prints { ports }.
'use strict';
const assert = require('assert');
const { run } = require('./common');

run(process.argv[2], {}, async (client) => {
  const db = client.db('balanced');
  const ports = new Set();
  await Promise.all(Array.from({ length: 12 }, async (_, w) => {
    const docs = await db.collection('numbers').find({ n: 50, tag: `b${w}` }, { batchSize: 7 }).toArray();
    assert.deepStrictEqual(docs.map((d) => d._id), Array.from({ length: 50 }, (__, i) => i));
    docs.forEach((d) => ports.add(d.port));
    await client.withSession((session) => session.withTransaction(async () => {
      await db.collection('pairs').insertOne({ w, half: 1 }, { session });
      await db.collection('pairs').insertOne({ w, half: 2 }, { session });
    }));
  }));
  assert.strictEqual((await db.collection('pairs').find({}).toArray()).length, 24);
  return { ports: [...ports] };
});
