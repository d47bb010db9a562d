/**
 * One aedes as its users run it: aedes-persistence-redis for what it keeps, mqemitter-redis between
 * nodes, all of them real. Started by aedes.test.ts; prints `listening PORT`.
 * Arguments: URL of the Redis, name of the persistence package.
 */
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { Aedes, type AedesOptions } from 'aedes';

const [redisUrl = '', persistencePackage = ''] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const Redis = require('ioredis') as new (url: string) => object;
const makePersistence = require(persistencePackage) as (options: { conn: object }) => object;
const makeEmitter = require('mqemitter-redis') as (options: object) => object;

const options = {
  persistence: makePersistence({ conn: new Redis(redisUrl) }),
  mq: makeEmitter({ subConn: new Redis(redisUrl), pubConn: new Redis(redisUrl) }),
} as unknown as AedesOptions;
const broker = await Aedes.createBroker(options);
const server = createServer((socket) => {
  broker.handle(socket);
});
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  process.stdout.write(`listening ${port}\n`);
});
process.on('SIGTERM', () => {
  broker.close(() => process.exit(0));
});
