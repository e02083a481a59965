// Retryable reads and writes until standard input ends. Usage: node load.js URI WORKERS COLLECTION. Prints "ready", then { operations, inserted, added, errors }.
'use strict';
const { run, said } = require('./common');
const [uri, workers, name] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
let ended = false;
process.stdin.on('end', () => { ended = true; }).resume();

run(uri, { appName: 'load' }, async (client) => {
  const coll = client.db('load').collection(name);
  const out = { operations: 0, inserted: 0, added: 0, errors: [] };
  async function attempt(work) {
    try {
      await work();
      out.operations += 1;
      return true;
    } catch (e) {
      out.errors.push(said(e));
      return false;
    }
  }
  async function worker(w) {
    for (let i = 0; !ended; i += 1) {
      if (await attempt(() => coll.insertOne({ _id: `n${w}-${i}` }))) out.inserted += 1;
      if (await attempt(() => coll.updateOne({ _id: `counter${w}` }, { $inc: { value: 1 } }, { upsert: true }))) out.added += 1;
      await attempt(async () => {
        if (!(await coll.findOne({ _id: `counter${w}` }))) throw new Error('the counter is gone');
      });
    }
  }
  const all = Array.from({ length: workers }, (_, w) => worker(w));
  console.log('ready');
  await Promise.all(all);
  return out;
});
