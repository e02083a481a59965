// What the Node scripts share: the driver, and a few words for errors.
'use strict';
const path = require('path');
const modules = process.env.NODE_CLIENTS || path.join(__dirname, '../../../build/node/node_modules');
const mongodb = require(path.join(modules, 'mongodb'));

exports.mongodb = mongodb;
exports.sleep = (ms) => new Promise((done) => setTimeout(done, ms));
exports.said = (e) => `${e.name} ${e.code ?? ''} ${e.message} ${e.errorLabels ?? ''}`.slice(0, 300);
// Runs work(client) on a client of this URI, prints what it returns as JSON; an exception ends with 1.
exports.run = async (uri, options, work) => {
  const client = new mongodb.MongoClient(uri, options);
  try {
    await client.connect();
    console.log(JSON.stringify(await work(client)));
  } catch (e) {
    console.error(e);
    process.exitCode = 1;
  } finally {
    await client.close();
  }
};
