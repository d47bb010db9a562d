// One node of the aedes stack: aedes, mqemitter-redis between the nodes, aedes-persistence-redis for
// what they keep, one loopback listener, everybody allowed. Started by ../aedes-stack.ts with the
// port, the Redis and the node's id. Everything is at its default but the emitter's concurrency, which
// is the one aedes has without Redis.

import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { Aedes, type AedesOptions } from 'aedes';

const [port = '', redisUrl = '', id = ''] = process.argv.slice(2);
const CONCURRENCY = 100;

// Neither has types.
const require = createRequire(import.meta.url);
const Redis = require('ioredis') as new (url: string) => object;
const makeEmitter = require('mqemitter-redis') as (options: object) => object;
const makePersistence = require('aedes-persistence-redis') as (options: object) => object;

const broker = await Aedes.createBroker({
  id,
  concurrency: CONCURRENCY,
  mq: makeEmitter({
    concurrency: CONCURRENCY,
    matchEmptyLevels: true,
    subConn: new Redis(redisUrl),
    pubConn: new Redis(redisUrl),
  }),
  persistence: makePersistence({ conn: new Redis(redisUrl) }),
} as unknown as AedesOptions);
const server = createServer({ noDelay: true }, (socket) => {
  broker.handle(socket);
});
server.listen(Number(port), '127.0.0.1');

process.on('SIGTERM', () => {
  process.exit(0);
});
