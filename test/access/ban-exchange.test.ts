// Bans of several nodes over a real Redis (ADR 0018): what is later wins, lifts are remembered, and a
// Redis that lost everything gets it back. The nodes are tables of bans with a connection each.
import t, { type Test } from 'tap';
import type { Ban } from '../../src/access/ban.ts';
import { BanExchange, type BanExchangeOptions } from '../../src/access/ban-exchange.ts';
import { tableKeys } from '../../src/access/ban-functions.ts';
import { Bans, type BansOptions } from '../../src/access/bans.ts';
import { slotOfKey } from '../../src/drivers/redis/hash-slot.ts';
import { openRedis } from '../../src/drivers/redis/redis-link.ts';
import { systemRandom, systemScheduler } from '../../src/listeners/scheduler.ts';
import { SeededRandom } from '../core/manual-time.ts';
import { until } from '../e2e/cluster-kit.ts';
import { type SharedRedis, sharedRedis } from '../support/redis-server.ts';
import { KeptLog } from './backend-kit.ts';
import { folderFor, forEver } from './bans-kit.ts';

t.setTimeout(180_000);
const server = await sharedRedis(t);
let tests = 0;
/** A datacenter of its own in the one Redis. */
const own = (): SharedRedis => {
  tests += 1;
  return { ...server, prefix: `${server.prefix}${tests}:` };
};

/** Real time, and as wrong as a test wants it. */
class SkewedClock {
  skewMs = 0;

  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Math.floor(performance.timeOrigin + performance.now()) + this.skewMs;
  }
}

interface NodeOptions {
  readonly bans?: Partial<BansOptions>;
  readonly exchange?: Partial<BanExchangeOptions>;
  readonly skewMs?: number;
}

let seeds = 0;

async function node(t: Test, redis: SharedRedis, options: NodeOptions = {}) {
  const clock = new SkewedClock();
  clock.skewMs = options.skewMs ?? 0;
  seeds += 1;
  const common = { clock, random: new SeededRandom(seeds), log: new KeptLog() };
  const bans = new Bans({ file: null, isShared: true, ...common, ...options.bans });
  const ended: Ban[] = [];
  bans.onBanned = (ban) => ended.push(ban);
  await bans.start();
  const link = openRedis({ scheduler: systemScheduler, urls: [redis.url] });
  t.teardown(() => link.close());
  const exchange = new BanExchange({
    ...{ bans, redis: link, keyPrefix: redis.prefix, scheduler: systemScheduler, ...common },
    random: systemRandom,
    ...options.exchange,
  });
  link.listen({ redisUp: (isOther) => exchange.redisUp(isOther), redisDown: () => {} });
  await link.ready(5000);
  exchange.start();
  t.teardown(() => exchange.stop());
  await exchange.synced();
  const has = (value: string): boolean => [...bans.list()].some((ban) => ban.value === value);
  return { bans, exchange, clock, ended, has, log: common.log };
}

const wiped = async ({ admin, prefix }: SharedRedis): Promise<void> => {
  const keys = (await admin('KEYS', `${prefix}l:*`)) as string[];
  await admin('DEL', ...keys);
};
const later = { origin: 'login', kind: 'address', value: '192.0.2.1' } as const;

t.test('added here, in force there; lifted there, over here', async (t) => {
  const redis = own();
  const [a, b] = [await node(t, redis), await node(t, redis)];
  const ban = a.bans.add({ kind: 'client', value: 'x' }, forEver);
  await until('b has it', () => b.has('x'));
  t.match(b.ended, [{ id: ban.id, reason: 'test', by: 'alice' }], 'who is connected is ended');
  t.ok(b.bans.lift(ban.id));
  await until('a has it no more', () => !a.has('x'));
  a.bans.add({ kind: 'client', value: 'x' }, forEver);
  await until('b has the next one', () => b.has('x'));
  await until('it is known that Redis has it', () => a.exchange.waiting === 0);
});

t.test('clocks that differ: what was done with knowledge of the other is later', async (t) => {
  const redis = own();
  const ahead = await node(t, redis, { skewMs: 3_600_000 });
  const behind = await node(t, redis);
  const { id } = ahead.bans.add({ kind: 'user', value: 'u' }, forEver);
  await until('the other has it', () => behind.has('u'));
  behind.bans.lift(id);
  await until('the lift is later', () => !ahead.has('u'));
  behind.bans.add({ kind: 'user', value: 'u' }, forEver);
  await until('the ban after it is later still', () => ahead.has('u'));
});

t.test('an emptied Redis gets all of it back, and a lift is not undone', async (t) => {
  const redis = own();
  const folder = await folderFor(t);
  const file = `${folder}/b.json`;
  const a = await node(t, redis);
  const b = await node(t, redis, { bans: { file } });
  const kept = a.bans.add({ kind: 'user', value: 'kept' }, forEver);
  const over = a.bans.add({ kind: 'user', value: 'over' }, forEver);
  await until('b has both', () => b.has('kept') && b.has('over'));
  await b.bans.saved();
  await b.exchange.stop();
  a.bans.lift(over.id);
  await until('told', () => a.exchange.waiting === 0);
  await wiped(redis);
  const [data = ''] = tableKeys(redis.prefix, 'operator').slice(1, 2);
  await until('put back', async () => (await redis.admin('HLEN', data)) === 2);
  // From its disk, with the ban that was lifted while it was away.
  const again = await node(t, redis, { bans: { file } });
  t.ok(again.has('kept'));
  t.notOk(again.has('over'));
  t.match([...again.bans.list()], [{ id: kept.id }]);
  await again.bans.saved();
  const restarted = new Bans({ ...again, file, isShared: true, random: systemRandom });
  await restarted.start();
  t.same([...restarted.keysOf('operator')].length, 2, 'the lift is on its disk too');
});

t.test('a node that was alone brings its bans', async (t) => {
  const redis = own();
  const folder = await folderFor(t);
  const file = `${folder}/alone.json`;
  const alone = new Bans({
    ...{ file, clock: new SkewedClock(), random: systemRandom, log: new KeptLog() },
  });
  alone.add({ kind: 'client', value: 'old' }, forEver);
  await alone.saved();
  const other = await node(t, redis);
  await node(t, redis, { bans: { file } });
  await until('the other has it', () => other.has('old'));
});

t.test(
  'what nodes notice is told too, goes on counting, and never costs an operator',
  async (t) => {
    const redis = own();
    const small = { exchange: { recordsMax: { automatic: 5 } } };
    const [a, b] = [await node(t, redis, small), await node(t, redis, small)];
    const learned: Ban[] = [];
    b.bans.onLearned = (ban) => learned.push(ban);
    const details = { reason: 'r', expiresAtMs: a.clock.wallMs() + 60_000, step: 3 };
    for (let index = 1; index <= 20; index++) {
      a.bans.addAutomatic({ kind: 'address', value: `192.0.2.${index}` }, 'login', details);
    }
    a.bans.add({ kind: 'client', value: 'x' }, forEver);
    await until('b has the operator’s', () => b.has('x'));
    await until('all is said', () => a.exchange.waiting === 0);
    await until('b has what there is room for', () => b.bans.activeOf('login') === 5);
    t.match(learned, [{ ...later, step: 3 }]);
    t.equal(a.exchange.counters.refused, 15);
    t.ok(a.log.lines.some(({ message }) => /too many bans/.test(message)));
    const [keys = ''] = tableKeys(redis.prefix, 'automatic').slice(3, 4);
    t.equal(await redis.admin('ZCARD', keys), 5, 'each of them has an end');
  },
);

t.test('an operator’s ban of the same target stands before what was noticed', async (t) => {
  const redis = own();
  const [a, b] = [await node(t, redis), await node(t, redis)];
  const address = { kind: 'address', value: '192.0.2.7' } as const;
  const { id } = a.bans.add(address, forEver);
  await until('b has it', () => b.has('192.0.2.7'));
  t.equal(b.bans.addAutomatic(address, 'login', { reason: '', expiresAtMs: 0, step: 0 }).id, id);
  const other = { kind: 'address', value: '192.0.2.8' } as const;
  b.bans.addAutomatic(other, 'login', { reason: '', expiresAtMs: b.clock.wallMs() + 9e4, step: 0 });
  await until('a has it', () => a.has('192.0.2.8'));
  a.bans.add(other, forEver);
  const isOperators = (): boolean =>
    [...b.bans.list()].some((ban) => ban.value === '192.0.2.8' && ban.origin === 'operator');
  await until('replaced at b', isOperators);
});

t.test('records nobody can read are counted and left alone', async (t) => {
  const redis = own();
  const a = await node(t, redis);
  a.bans.add({ kind: 'user', value: 'good' }, forEver);
  await until('told', () => a.exchange.waiting === 0);
  const [meta = '', data = '', versions = ''] = tableKeys(redis.prefix, 'operator');
  for (const [field, value] of [
    ['f1', 'nonsense'],
    ['f2', '1 x {"id":"i","kind":"planet"}'],
    ['f3', ''],
  ] as const) {
    await redis.admin('HSET', data, field, value);
    await redis.admin(
      'ZADD',
      versions,
      `${await redis.admin('HINCRBY', meta, 'version', '1')}`,
      field,
    );
  }
  const b = await node(t, redis);
  t.ok(b.has('good'));
  t.equal(b.exchange.counters.broken, 3);
});

t.test('all keys of a table are on one server of a Redis Cluster', async (t) => {
  for (const table of ['operator', 'automatic']) {
    const slots = new Set(tableKeys('prefix:', table).map((key) => slotOfKey(key)));
    t.equal(slots.size, 1);
  }
});
