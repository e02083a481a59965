// ioredis and node-redis through puerta, in TLS. Usage: node tls_clients.js PORT CA. Prints "ok" or throws.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const modules = process.env.NODE_CLIENTS || path.join(__dirname, '../../../build/node/node_modules');
const Redis = require(path.join(modules, 'ioredis'));
const { createClient } = require(path.join(modules, 'redis'));
const port = Number(process.argv[2]);
const ca = fs.readFileSync(process.argv[3]);
const keys = Array.from({ length: 50 }, (_, i) => `tls:${i}`);
const large = 'x'.repeat(1000000);

async function withIoredis() {
  const r = new Redis(port, 'localhost', { maxRetriesPerRequest: 0, lazyConnect: true, tls: { ca } });
  await r.connect();
  assert.strictEqual(await r.mset(...keys.flatMap((k) => [k, `v${k}`])), 'OK');
  assert.deepStrictEqual(await r.mget(...keys), keys.map((k) => `v${k}`));
  assert.strictEqual(await r.set('tls:large', large), 'OK');
  assert.strictEqual(await r.get('tls:large'), large);
  await r.quit();
}

async function withNodeRedis(RESP) {
  const r = createClient({ socket: { host: 'localhost', port, tls: true, ca, reconnectStrategy: false }, RESP });
  await r.connect();
  await Promise.all(keys.map((k) => r.set(k, `w${k}`)));
  assert.deepStrictEqual(await Promise.all(keys.map((k) => r.get(k))), keys.map((k) => `w${k}`));
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
