/**
 * A real Redis that holds users and rules, and is frozen, killed, lying, locked, and back again, under
 * a running node: nobody is let in wrongly, who is connected notices nothing, and no restart is needed.
 */
import t from 'tap';
import { RedisServer, redisAdmin } from '../support/redis-server.ts';
import { codeOf, type LoginFields, login, NearNode, Site, until } from './access-kit.ts';
import { Flow, redisUser } from './backend-kit.ts';

const BAD = 0x86;
const NOT_AUTHORIZED = 0x87;
const UNAVAILABLE = 0x88;

const user = (username: string, password = 'right'): LoginFields => ({ username, password });

type Admin = (...args: string[]) => Promise<unknown>;

async function fill(admin: Admin): Promise<void> {
  for (const name of ['ann', 'from', 'to', 'witness']) {
    await admin('HSET', `mqtt_user:${name}`, ...redisUser('right'));
    await admin('HSET', `mqtt_acl:${name}`, 'flow', 'all', `own/${name}/#`, 'all');
  }
}

function configure(site: Site, redis: RedisServer, password: string): void {
  site.write('redis-password', password);
  const common = {
    url: `redis://default@127.0.0.1:${redis.port}`,
    passwordFile: 'redis-password',
    timeoutMs: 300,
  };
  site.configure({
    authentication: { chain: ['redis'], redis: { ...common, cacheS: 0 } },
    authorization: { redis: { ...common, cacheS: 1 } },
  });
}

t.test('frozen, killed, lying, locked, and back: nobody in wrongly, nobody out', async (t) => {
  const redis = await RedisServer.start(t, ['--requirepass', 'first']);
  const admin = await redisAdmin(t, `redis://:first@127.0.0.1:${redis.port}`);
  await fill(admin);
  const site = new Site(t);
  configure(site, redis, 'first');
  const node = await NearNode.start(t, site);
  const flow = await Flow.start(node, 'flow', user('from'), user('to'));
  const witness = await login(node, { ...user('witness'), clientId: 'witness' });
  const isWell = async (what: string): Promise<void> => {
    await until(async () => (await codeOf(node, user('ann'))) === 0, `${what}: it is well again`);
    t.equal(await codeOf(node, user('ann', 'wrong')), BAD, `${what}: tells right from wrong`);
    t.equal(await codeOf(node, user('nobody')), BAD, `${what}: and known from unknown`);
    await witness.publish('own/witness/x', what, { qos: 1 });
    t.strictSame((await witness.subscribe('own/others')).reasonCodes, [NOT_AUTHORIZED], what);
  };
  const isClosed = async (what: string): Promise<void> => {
    for (const password of ['right', 'wrong']) {
      const code = await codeOf(node, user('ann', password));
      t.equal(code, UNAVAILABLE, `${what}: nobody comes in with a password that is ${password}`);
    }
    await witness.publish('own/witness/x', what, { qos: 1 });
    t.strictSame((await witness.subscribe('own/others')).reasonCodes, [NOT_AUTHORIZED], what);
  };
  await isWell('at first');

  redis.signal('SIGSTOP');
  await isClosed('frozen');
  redis.signal('SIGCONT');
  await isWell('frozen');

  // Lies about one user are no trouble of others.
  const lies: readonly (readonly [string, ...string[]])[] = [
    ['SET', 'mqtt_user:liar', 'right'],
    ['RPUSH', 'mqtt_user:liar', 'password_hash', 'right'],
    ['HSET', 'mqtt_user:liar', 'password_hash', ''],
    ['HSET', 'mqtt_user:liar', 'password_hash', 'right'],
    ['HSET', 'mqtt_user:liar', 'password_hash', 'ab'.repeat(16)],
    ['HSET', 'mqtt_user:liar', 'salt', 'x', 'is_superuser', '1'],
    ['HSET', 'mqtt_user:liar', 'password_hash', '$2b$10$abcdefghijklmnopqrstuv', 'salt', ''],
  ];
  for (const lie of lies) {
    await admin('DEL', 'mqtt_user:liar');
    await admin(...lie);
    const what = lie.slice(0, 4).join(' ');
    for (const password of ['right', '', 'ab'.repeat(16)]) {
      const code = await codeOf(node, user('liar', password));
      t.ok(code === BAD || code === UNAVAILABLE, `${what}: ${code}`);
    }
    t.equal(await codeOf(node, user('ann')), 0);
  }
  const rules: readonly (readonly [string, ...string[]])[] = [
    ['SET', 'mqtt_acl:liar', '#'],
    ['RPUSH', 'mqtt_acl:liar', '#', 'all'],
    ['HSET', 'mqtt_acl:liar', '#', 'everything'],
    ['HSET', 'mqtt_acl:liar', 'a/#/b', 'all'],
    ['HSET', 'mqtt_acl:liar', '#', '{"__proto__":{}}'],
  ];
  await admin('DEL', 'mqtt_user:liar');
  await admin('HSET', 'mqtt_user:liar', ...redisUser('right'));
  for (const rule of rules) {
    await admin('DEL', 'mqtt_acl:liar');
    await admin(...rule);
    t.equal(await codeOf(node, user('liar')), UNAVAILABLE, rule.join(' '));
  }
  await isWell('lying');

  // Killed: what was in it is gone, and it comes back empty, then filled.
  await redis.stop('SIGKILL');
  await isClosed('killed');
  await redis.resume();
  const again = await redisAdmin(t, `redis://:first@127.0.0.1:${redis.port}`);
  await until(async () => (await codeOf(node, user('ann'))) !== UNAVAILABLE, 'connected again');
  t.equal(await codeOf(node, user('ann')), BAD, 'empty: nobody is known');
  await t.rejects(flow.done, 'rights that it no longer holds end as well, once it answers');
  await fill(again);
  // That there are none is remembered as long as rules are.
  const to = await login(node, user('to'));
  await until(async () => (await to.subscribe('flow')).reasonCodes[0] === 0, 'rights are back');
  to.destroy();
  const second = await Flow.start(node, 'flow', user('from'), user('to'));
  const witnessAgain = await login(node, { ...user('witness'), clientId: 'witness' });
  witness.destroy();

  // Another password there than here: locked out until a reload brings it.
  await again('CONFIG', 'SET', 'requirepass', 'second');
  await again('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await until(async () => (await codeOf(node, user('ann'))) === UNAVAILABLE, 'locked out');
  site.write('redis-password', 'third');
  await node.reload();
  t.equal(await codeOf(node, user('ann')), UNAVAILABLE, 'a wrong one helps nobody');
  site.write('redis-password', 'second');
  t.ok(await node.reload());
  await until(
    async () => (await codeOf(node, user('ann'))) === 0,
    'and with the right one it is well',
  );
  await witnessAgain.publish('own/witness/x', 'x', { qos: 1 });
  await second.reaches(second.count + 5);
  await second.end();
  t.comment(`${flow.count} and ${second.count} messages`);
  t.equal(await node.metric('causeway_internal_errors_total'), 0);
});

t.test('class 11: no name of a client is a command', async (t) => {
  const redis = await RedisServer.start(t);
  const admin = await redisAdmin(t, redis.url);
  await fill(admin);
  const site = new Site(t);
  site.configure({
    authentication: { chain: ['redis'], redis: { url: redis.url, timeoutMs: 500, cacheS: 0 } },
    authorization: { redis: { url: redis.url, timeoutMs: 500, cacheS: 0 } },
  });
  const node = await NearNode.start(t, site);
  t.equal(await codeOf(node, user('ann')), 0);
  const before = await admin('DBSIZE');
  await admin('CONFIG', 'RESETSTAT');
  const names = [
    'x\r\nSET owned 1\r\n',
    '*3\r\n$3\r\nSET\r\n$5\r\nowned\r\n$1\r\n1\r\n',
    'ann\r\n',
    'ann\nann',
    ' ann',
    'a nn',
    '"ann"',
    '*',
    '?nn',
    '[a]nn',
    'ann:x',
    '../ann',
    '\u202eann',
    'a'.repeat(60_000),
  ];
  for (const name of names) {
    const code = await codeOf(node, {
      username: name,
      password: 'right',
      clientId: name.slice(0, 900),
    });
    t.not(code, 0, JSON.stringify(name.slice(0, 40)));
    t.equal(await codeOf(node, user('ann', name)), BAD, 'nor a password');
  }
  t.equal(await admin('DBSIZE'), before, 'nothing was written');
  const stats = String(await admin('INFO', 'commandstats'));
  const ran = [...stats.matchAll(/^cmdstat_([^:]+):/gm)].map(([, name]) => name!).sort();
  const known = ['config|resetstat', 'dbsize', 'hgetall', 'hmget', 'info', 'ping'];
  t.strictSame(
    ran.filter((name) => !known.includes(name)),
    [],
    'nothing else was asked',
  );
  t.equal(await codeOf(node, user('ann')), 0, 'and it still answers');
});
