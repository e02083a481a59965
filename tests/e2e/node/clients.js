// Real Node clients through puerta: ioredis (RESP2) and node-redis (RESP3). Usage: node clients.js PORT. Prints "ok" or throws.
'use strict';
const assert = require('assert');
const path = require('path');
const modules = process.env.NODE_CLIENTS || path.join(__dirname, '../../../build/node/node_modules');
const Redis = require(path.join(modules, 'ioredis'));
const { createClient } = require(path.join(modules, 'redis'));
const port = Number(process.argv[2]);
const keys = Array.from({ length: 50 }, (_, i) => `node:${i}`);

async function withIoredis() {
  const r = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: 0, lazyConnect: true });
  await r.connect();
  assert.strictEqual(await r.set('node:a', 'ü'), 'OK');
  assert.strictEqual(await r.get('node:a'), 'ü');
  assert.strictEqual(await r.mset(...keys.flatMap((k) => [k, `v${k}`])), 'OK');
  assert.deepStrictEqual(await r.mget(...keys, 'node:none'), [...keys.map((k) => `v${k}`), null]);
  await r.del('node:h');
  assert.strictEqual(await r.hset('node:h', { f: 1, g: 2 }), 2);
  assert.deepStrictEqual(await r.hgetall('node:h'), { f: '1', g: '2' });
  await assert.rejects(r.lpush('node:h', 'x'), /WRONGTYPE/);
  const piped = await r.pipeline(keys.map((k) => ['append', k, '!'])).exec();
  assert.deepStrictEqual(piped, keys.map((k) => [null, k.length + 2]));
  assert.strictEqual(await r.eval('return KEYS[1] .. ARGV[1]', 1, 'node:a', 'b'), 'node:ab');
  assert.strictEqual(await r.del(...keys), keys.length);
  await r.quit();
}

async function withNodeRedis(RESP) {
  const r = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: false }, RESP, name: `resp${RESP}` });
  await r.connect();
  assert.strictEqual(await r.clientGetName(), `resp${RESP}`);
  await Promise.all(keys.map((k) => r.set(k, `w${k}`)));
  assert.deepStrictEqual(await Promise.all(keys.map((k) => r.get(k))), keys.map((k) => `w${k}`));
  assert.deepStrictEqual(await r.mGet(keys), keys.map((k) => `w${k}`));
  await r.del(['node:h', 'node:z']);
  await r.hSet('node:h', { f: '1' });
  assert.deepStrictEqual({ ...(await r.hGetAll('node:h')) }, { f: '1' });
  await r.zAdd('node:z', { score: 1.5, value: 'm' });
  assert.strictEqual(await r.zScore('node:z', 'm'), 1.5);
  await assert.rejects(r.lPush('node:h', 'x'), /WRONGTYPE/);
  assert.strictEqual(await r.unlink(keys), keys.length);
  await r.close();
}

(async () => {
  await withIoredis();
  await withNodeRedis(2);
  await withNodeRedis(3);
  console.log('ok');
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
