// The clients of demo-mongodb.sh: many of them through puerta, told apart by their appName, and where each landed: every FerretDB has a document that tells its address.
// Usage: node demo-mongodb.js CONNECTIONS_PORT REQUESTS_PORT BACKEND,...   Prints a table for each way to forward, "ok" at the end, or throws.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { MongoClient } = require(path.join(process.env.NODE_CLIENTS, 'mongodb'));
const [connections, requests, list] = process.argv.slice(2);
const backends = list.split(',');
const range = (n) => Array.from({ length: n }, (_, i) => i);
const label = (backend) => 'ABC'[backends.indexOf(backend)];

// Connections that puerta has open to each backend.
function established() {
  const rows = fs.readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1).map((line) => line.trim().split(/\s+/));
  const to = (b) => rows.filter((f) => f[3] === '01' && parseInt(f[2].split(':')[1], 16) === Number(b.split(':')[1])).length;
  return backends.map(to);
}
const open = (port, appName) => new MongoClient(`mongodb://127.0.0.1:${port}/`, { appName, serverSelectionTimeoutMS: 10000 }).connect();
const marker = (client, options) => client.db('where').collection('marker').findOne({}, options);
const print = (backend, what) => console.log(`  ${label(backend)}  ${backend}  ${what}`);

async function wholeConnections() {
  console.log('forward = "connection": 12 clients, each with a monitor and a pool; a client stays together');
  const clients = await Promise.all(range(12).map((i) => open(connections, `client-${i + 1}`)));
  const seen = await Promise.all(clients.map((c) => Promise.all(range(4).map(async () => (await marker(c)).backend))));
  seen.forEach((s, i) => assert(new Set(s).size === 1, `client-${i + 1} saw ${s}`));
  const counts = established();
  backends.forEach((b, k) => {
    const here = seen.flatMap((s, i) => (s[0] === b ? [`client-${i + 1}`] : []));
    print(b, `${String(counts[k]).padStart(3)} connections: ${here.join(' ') || '(none)'}`);
  });
  await Promise.all(clients.map((c) => c.close()));
}

async function singleRequests() {
  console.log('forward = "request": 200 sessions over 50 connections of 10 clients, a cursor open in each; a session stays where its cursor is');
  const clients = await Promise.all(range(10).map((i) => new MongoClient(`mongodb://127.0.0.1:${requests}/`, { appName: `pooled-${i + 1}`, maxPoolSize: 5 }).connect()));
  const landed = {};
  let most = backends.map(() => 0);
  await Promise.all(range(200).map(async (i) => {
    const client = clients[i % clients.length];
    const session = client.startSession();
    const { backend } = await marker(client, { session });
    const items = client.db('demo').collection('items');
    await items.insertMany(range(20).map((n) => ({ session: i, n })), { session });
    const cursor = items.find({ session: i }, { session, batchSize: 3 }).sort({ n: 1 });
    for (const n of range(20)) assert.strictEqual((await cursor.next()).n, n);
    assert.strictEqual(await cursor.next(), null);
    landed[backend] = (landed[backend] || 0) + 1;
    most = established().map((n, k) => Math.max(n, most[k]));
    await session.endSession();
  }));
  backends.forEach((b, k) => print(b, `${String(landed[b] || 0).padStart(3)} sessions over ${most[k]} connections`));
  await Promise.all(clients.map((c) => c.close()));
}

(async () => {
  await wholeConnections();
  console.log();
  await singleRequests();
  console.log('ok');
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
