// Interleaved cursors and transactions of one client. Usage: node matrix.js URI WORKERS CURSORS TRANSACTIONS. Prints { cursors, transactions, ports, errors }.
'use strict';
const { run, said, sleep } = require('./common');
const [uri, workers, cursors, transactions] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const pause = () => sleep(1 + Math.random() * 4);

run(uri, { appName: 'matrix' }, async (client) => {
  const db = client.db('matrix');
  const out = { cursors: 0, transactions: 0, ports: [], errors: [] };
  const ports = new Set();
  async function attempt(kind, work) {
    try {
      await work();
    } catch (e) {
      out[kind] += 1;
      out.errors.push(said(e));
    }
  }
  async function cursor(tag) {
    let n = 0;
    const mine = new Set();
    for await (const d of db.collection('numbers').find({ n: 100, tag }, { batchSize: 10 })) {
      if (d._id !== n++ || d.tag !== tag) throw new Error(`document ${n - 1} of ${tag} is ${JSON.stringify(d)}`);
      mine.add(d.port);
      if (n % 10 === 0) await pause();
    }
    if (n !== 100 || mine.size !== 1) throw new Error(`${n} documents of ${[...mine]}`);
    mine.forEach((p) => ports.add(p));
  }
  async function transaction(tag) {
    const session = client.startSession();
    try {
      session.startTransaction();
      await db.collection('pairs').insertOne({ tag, half: 1 }, { session });
      await pause();
      await db.collection('pairs').insertOne({ tag, half: 2 }, { session });
      await session.commitTransaction();
    } finally {
      await session.endSession();
    }
  }
  async function worker(w) {
    for (let i = w; i < Math.max(cursors, transactions); i += workers) {
      if (i < cursors) await attempt('cursors', () => cursor(`c${i}`));
      if (i < transactions) await attempt('transactions', () => transaction(`t${i}`));
    }
  }
  await Promise.all(Array.from({ length: workers }, (_, w) => worker(w)));
  out.ports = [...ports];
  return out;
});
