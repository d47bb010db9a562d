/**
 * What a node says about the settings of its Redis: what breaks a promise is named, what drops keys is
 * refused, what may not be read is said to be unknown.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  judgeSettings,
  type RedisSetting,
  readRedisSettings,
} from '../../src/drivers/redis/redis-settings.ts';
import { askRedis } from '../support/redis-ask.ts';
import { openCaller } from '../support/redis-calls.ts';
import { DURABLE, RedisServer } from '../support/redis-server.ts';

const SECRET = 'canary-settings-pw';

function short(settings: readonly RedisSetting[]): Record<string, string> {
  return Object.fromEntries(
    settings.map(({ setting, value, severity }) => [setting, `${severity} ${value}`]),
  );
}

t.test('a real server, set well, badly, and not to be read', async (t) => {
  const server = await RedisServer.start(t, [...DURABLE, '--maxmemory-policy', 'noeviction']);
  const caller = openCaller(t, server.url);
  await caller.link.ready(5000);
  const well = await readRedisSettings(caller.link, 0);
  t.match(short(well), {
    'maxmemory-policy': 'ok noeviction',
    appendonly: 'ok yes',
    appendfsync: 'ok always',
    replicas: 'ok 0',
    version: /^ok \d+\.\d+/,
  });
  t.ok(well.every(({ server: name, sentence }) => name === server.url && sentence.endsWith('.')));

  await askRedis(server.port, 'CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
  await askRedis(server.port, 'CONFIG', 'SET', 'maxmemory', '100mb');
  await askRedis(server.port, 'CONFIG', 'SET', 'appendfsync', 'everysec');
  t.match(short(await readRedisSettings(caller.link, 1)), {
    'maxmemory-policy': 'refuse allkeys-lru',
    appendfsync: 'ok everysec',
    replicas: 'warn 0',
    'min-replicas-to-write': 'warn 0',
  });
  t.match(short(await readRedisSettings(caller.link, 0)), { appendfsync: 'warn everysec' });

  const rights = ['on', `>${SECRET}`, '~*', '+evalsha', '+script|load', '+info', '+ping'];
  await askRedis(server.port, 'ACL', 'SETUSER', 'node', ...rights);
  const url = `redis://node:${SECRET}@127.0.0.1:${server.port}`;
  const bound = openCaller(t, url);
  await bound.link.ready(5000);
  const read = await readRedisSettings(bound.link, 0);
  t.match(
    short(read),
    { 'maxmemory-policy': 'refuse allkeys-lru', appendonly: 'ok yes', appendfsync: 'warn ?' },
    'INFO tells most of it',
  );
  t.notOk(JSON.stringify(read).includes('canary'));
  await askRedis(server.port, 'ACL', 'SETUSER', 'node', '-info');
  const blind = short(await readRedisSettings(bound.link, 1));
  t.strictSame(new Set(Object.values(blind)), new Set(['warn ?']), 'nothing is guessed');
});

t.test(
  'a real server with a replica: who is waited for, and what a cut-off primary does',
  async (t) => {
    const server = await RedisServer.start(t, [...DURABLE, '--repl-diskless-sync-delay', '0']);
    const caller = openCaller(t, server.url);
    await caller.link.ready(5000);
    const replicated = async (replicasMin: number) => {
      const found = await readRedisSettings(caller.link, replicasMin);
      return new Map(found.map((one) => [one.setting, `${one.severity}: ${one.sentence}`]));
    };
    await askRedis(server.port, 'CONFIG', 'SET', 'min-replicas-to-write', '1');
    t.equal(
      (await replicated(0)).get('min-replicas-to-write'),
      'warn: Redis has fewer replicas than that: it refuses every write.',
    );
    const replica = await RedisServer.start(t, ['--replicaof', `127.0.0.1 ${server.port}`]);
    const endMs = performance.now() + 10_000;
    while (!`${await askRedis(server.port, 'INFO', 'replication')}`.includes('state=online')) {
      if (performance.now() > endMs) throw new Error(`${replica.url} does not replicate`);
      await sleep(50);
    }
    t.match(
      (await replicated(0)).get('replicas'),
      /^warn: Not all replicas are waited for \(cluster\.redis\.replicasMin\)/,
    );
    const well = await replicated(1);
    t.equal(well.get('replicas'), 'ok: Every replica is waited for.');
    t.equal(
      well.get('min-replicas-to-write'),
      'ok: A primary without its replicas refuses writes.',
    );
    await askRedis(server.port, 'CONFIG', 'SET', 'min-replicas-to-write', '0');
    t.match((await replicated(1)).get('min-replicas-to-write'), /^warn: A primary that is cut off/);
  },
);

t.test('each case', async (t) => {
  const base = new Map([
    ['redis_version', '7.0.15'],
    ['maxmemory-policy', 'noeviction'],
    ['maxmemory', '0'],
    ['appendonly', 'yes'],
    ['appendfsync', 'always'],
    ['connected_slaves', '0'],
    ['min-replicas-to-write', '0'],
  ]);
  const cases: readonly (readonly [string, string, number, string, string])[] = [
    ['redis_version', '6.0.16', 0, 'version', 'refuse 6.0.16'],
    ['redis_version', '5.0.7', 0, 'version', 'refuse 5.0.7'],
    ['redis_version', '6.2.0', 0, 'version', 'ok 6.2.0'],
    ['redis_version', '10.0.0', 0, 'version', 'ok 10.0.0'],
    ['maxmemory-policy', 'volatile-ttl', 0, 'maxmemory-policy', 'warn volatile-ttl'],
    ['appendonly', 'no', 0, 'appendonly', 'warn no'],
    ['appendonly', 'no', 1, 'appendonly', 'warn no'],
    ['appendfsync', 'no', 0, 'appendfsync', 'warn no'],
    ['connected_slaves', '1', 0, 'replicas', 'warn 1'],
    ['connected_slaves', '2', 1, 'replicas', 'warn 2'],
    ['connected_slaves', '1', 1, 'replicas', 'ok 1'],
    ['min-replicas-to-write', '1', 0, 'min-replicas-to-write', 'warn 1'],
    ['min-replicas-to-write', '2', 1, 'min-replicas-to-write', 'warn 2'],
  ];
  for (const [name, value, replicasMin, setting, wanted] of cases) {
    const found = short(judgeSettings('s', new Map([...base, [name, value]]), replicasMin));
    t.equal(found[setting], wanted, `${name} ${value} with ${replicasMin}`);
  }
});
