/**
 * Users in a real Redis: the layouts of EMQX and mosquitto-go-auth, hashes of every kind, names that
 * try to reach other keys, and a Redis that is killed, stopped, emptied and filled with nonsense.
 * FIELD classes 1, 2, 11, 23, 26, 31.
 */
import { createHash, pbkdf2Sync } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { Credentials } from '../../../src/access/authenticator.ts';
import { hashPassword } from '../../../src/access/authn/hash-password.ts';
import {
  RedisAuthenticator,
  type RedisUserOptions,
} from '../../../src/access/authn/redis-authenticator.ts';
import { RedisServer, redisAdmin, sharedRedis } from '../../support/redis-server.ts';
import {
  credentials,
  hashQueue,
  KeptLog,
  MovedClock,
  outcome,
  random,
  sleep,
  until,
} from '../backend-kit.ts';

const CANARY = 'canary-5b21-secret';

const usual: RedisUserOptions = {
  url: '',
  keyPrefix: '',
  timeoutMs: 2000,
  cacheS: 0,
  cacheEntriesMax: 100,
  layout: 'emqx',
  hashField: 'password_hash',
  saltField: 'salt',
  superuserField: 'is_superuser',
  hash: 'sha256',
  salt: 'prefix',
  pbkdf2Iterations: 1000,
};

async function stage(t: Test, options: Partial<RedisUserOptions>) {
  const clock = new MovedClock();
  const log = new KeptLog();
  const service = { ...usual, ...options };
  const queue = hashQueue(clock);
  const redis = new RedisAuthenticator({ service, queue, clock, random, log });
  await redis.start();
  t.teardown(() => redis.stop());
  const login = async (
    username: string,
    password: string | Buffer,
    more: Partial<Credentials> = {},
  ): Promise<string> => outcome(await redis.authenticate(credentials(username, password, more)));
  return { redis, login, clock, log, queue };
}

function hex(algorithm: string, text: string): string {
  return createHash(algorithm).update(text).digest('hex');
}

function goAuthHash(password: string, iterations = 1000, digest = 'sha512'): string {
  const salt = Buffer.from('0123456789abcdef');
  const key = pbkdf2Sync(password, salt, iterations, 64, digest);
  return `PBKDF2$${digest}$${iterations}$${salt.toString('base64')}$${key.toString('base64')}`;
}

t.test('the layout of EMQX, each kind of hash', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  const set = (user: string, ...fields: string[]): Promise<unknown> =>
    admin('HSET', `${prefix}mqtt_user:${user}`, ...fields);
  await set(
    'pre',
    'password_hash',
    hex('sha256', 'saltright'),
    'salt',
    'salt',
    'is_superuser',
    '1',
  );
  await set('upper', 'password_hash', hex('sha256', 'saltright').toUpperCase(), 'salt', 'salt');
  await set('suf', 'password_hash', hex('sha512', 'rightsalt'), 'salt', 'salt');
  await set('bare', 'password_hash', hex('sha256', 'right'), 'is_superuser', 'false');
  const slow = pbkdf2Sync('right', 'salt', 1000, 32, 'sha256').toString('hex');
  await set('slow', 'password_hash', slow, 'salt', 'salt', 'is_superuser', 'true');
  await set('open', 'password_hash', 'RIGHT', 'salt', 'salt');
  await set('nohash', 'salt', 'salt');

  const cases: [string, Partial<RedisUserOptions>][] = [
    ['pre', { hash: 'sha256', salt: 'prefix' }],
    ['upper', { hash: 'sha256', salt: 'prefix' }],
    ['suf', { hash: 'sha512', salt: 'suffix' }],
    ['bare', { hash: 'sha256', salt: 'none' }],
    ['slow', { hash: 'pbkdf2_sha256', salt: 'prefix' }],
  ];
  for (const [user, options] of cases) {
    const { login, redis } = await stage(t, { url, keyPrefix: prefix, ...options });
    t.equal(await login(user, 'right'), 'accepted', user);
    for (const wrong of ['Right', 'right ', 'wrong', 'saltright', hex('sha256', 'saltright')]) {
      t.equal(await login(user, wrong), 'bad_credentials', `${user} with ${wrong}`);
    }
    const answer = await redis.authenticate(credentials(user, 'right'));
    const isSuper = answer.kind === 'accepted' && answer.who.superuser;
    t.equal(isSuper, user === 'pre' || user === 'slow', 'superuser only where it says so');
    t.equal(answer.kind === 'accepted' && answer.who.user, user);
  }
  const plain = await stage(t, { url, keyPrefix: prefix, hash: 'plain' });
  t.equal(await plain.login('open', 'RIGHT'), 'accepted');
  t.equal(await plain.login('open', 'right'), 'bad_credentials', 'case counts');
  t.equal(await plain.login('open', 'RIGHT\u0000'), 'bad_credentials');

  const { login, redis } = await stage(t, { url, keyPrefix: prefix });
  t.equal(await login('nobody', 'right'), 'ignored', 'left to the next link');
  t.equal(await login('nohash', 'right'), 'ignored', 'a user without a hash is none');
  t.equal(await login('nohash', ' '), 'ignored');
  t.equal(await login('pre', ''), 'bad_credentials', 'an empty password (class 1)');
  t.equal(await login('', 'right'), 'bad_credentials');
  t.equal(outcome(await redis.authenticate(credentials('pre', null))), 'ignored');
  t.equal(outcome(await redis.authenticate(credentials(null, 'right'))), 'ignored');
  const unknown = await redis.authenticate(credentials('nobody', 'right'));
  t.equal('beforeRefusal' in unknown && (await unknown.beforeRefusal()), 'bad_credentials');
});

t.test('a layout of its own', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  await admin('HSET', `${prefix}dev/alice/client-1`, 'pw', hex('sha256', 'right'), 'su', '1');
  const own: Partial<RedisUserOptions> = {
    layout: 'custom',
    userKey: 'dev/%u/%c',
    hashField: 'pw',
    superuserField: 'su',
  };
  const { login } = await stage(t, { url, keyPrefix: prefix, ...own, salt: 'none' });
  t.equal(await login('alice', 'right'), 'accepted');
  t.equal(await login('alice', 'right', { clientId: 'client-2' }), 'ignored');
});

t.test('the layout of mosquitto-go-auth', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  await admin('SET', `${prefix}alice`, goAuthHash('right'));
  await admin('SET', `${prefix}alice:su`, 'true');
  await admin('SET', `${prefix}bob`, goAuthHash('right', 500, 'sha256'));
  await admin('SET', `${prefix}bob:su`, 'false');
  await admin('SET', `${prefix}carol`, await hashPassword(Buffer.from('right'), 'argon2id', 1024));
  const { redis, login } = await stage(t, { url, keyPrefix: prefix, layout: 'mosquitto_go_auth' });
  for (const user of ['alice', 'bob', 'carol']) {
    const answer = await redis.authenticate(credentials(user, 'right'));
    t.equal(outcome(answer), 'accepted', user);
    t.equal(answer.kind === 'accepted' && answer.who.superuser, user === 'alice');
    t.equal(await login(user, 'wrong'), 'bad_credentials');
  }
  t.equal(await login('alice:su', 'true'), 'ignored', 'the key of something else (class 23)');
  t.equal(await login('nobody', 'right'), 'ignored');
});

t.test('records that cannot be read let nobody in', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  const records: [string, string[]][] = [
    ['short', ['HSET', 'password_hash', hex('sha256', 'right').slice(2)]],
    ['cut', ['HSET', 'password_hash', '']],
    ['odd', ['HSET', 'password_hash', 'zz'.repeat(32)]],
    ['bcrypt', ['HSET', 'password_hash', '$2b$10$abcdefghijklmnopqrstuv']],
    ['list', ['RPUSH', 'right']],
    ['text', ['SET', 'right']],
  ];
  for (const [user, [command = '', ...rest]] of records) {
    await admin(command, `${prefix}mqtt_user:${user}`, ...rest);
  }
  const { login, log, redis } = await stage(t, { url, keyPrefix: prefix, salt: 'none' });
  for (const [user] of records) {
    for (const password of ['right', '$2b$10$abcdefghijklmnopqrstuv']) {
      t.equal(await login(user, password), 'authentication_unavailable', user);
    }
  }
  t.equal(log.lines.length, 1, 'one line in ten seconds');
  t.equal(redis.counters.errors, 12);

  const texts: [string, string][] = [
    ['empty', ''],
    ['plain', 'right'],
    ['bcrypt', '$2b$10$abcdefghijklmnopqrstuv'],
    ['nokey', 'PBKDF2$sha512$1000$c2FsdHNhbHQ=$'],
    ['shortkey', 'PBKDF2$sha512$1000$c2FsdHNhbHQ=$YQ=='],
    ['endless', goAuthHash('right').replace('$1000$', '$9000000000$')],
    ['none', goAuthHash('right').replace('$1000$', '$0$')],
    ['md5', goAuthHash('right').replace('sha512', 'md5')],
    ['tail', `${goAuthHash('right')}$x`],
  ];
  for (const [user, value] of texts) await admin('SET', `${prefix}${user}`, value);
  const goAuth = await stage(t, { url, keyPrefix: prefix, layout: 'mosquitto_go_auth' });
  for (const [user] of texts) {
    t.equal(await goAuth.login(user, 'right'), 'authentication_unavailable', user);
  }
});

t.test('names that try to reach other keys', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  const record = ['password_hash', hex('sha256', 'right'), 'salt', ''];
  await admin('HSET', `${prefix}mqtt_user:__proto__`, ...record);
  await admin('HSET', `${prefix}mqtt_user:aa:bb:cc`, ...record);
  await admin('HSET', `${prefix}mqtt_user:%u`, ...record);
  const before = await admin('DBSIZE');
  const { login } = await stage(t, { url, keyPrefix: prefix });
  t.equal(await login('__proto__', 'right'), 'accepted', 'a name like any other (class 31)');
  t.equal(await login('constructor', 'right'), 'ignored');
  t.equal(await login('aa:bb:cc', 'right'), 'accepted', 'a hardware address at the end of a key');
  t.equal(await login('%u', 'right'), 'accepted', 'not read as a placeholder again');
  for (const odd of [
    'a\r\nFLUSHALL\r\n',
    '{x}',
    'a\u0000b',
    'a"b\'c',
    '*',
    '$' + '{jndi}',
    'x'.repeat(600),
    '../x',
  ]) {
    t.equal(await login(odd, 'right'), 'ignored', JSON.stringify(odd.slice(0, 20)));
  }
  t.equal(await admin('DBSIZE'), before, 'nothing was run (class 11)');
});

t.test('killed, stopped, emptied and back', async (t) => {
  const server = await RedisServer.start(t);
  const admin = await redisAdmin(t, server.url);
  const fill = (to: typeof admin): Promise<unknown> =>
    to('HSET', 'mqtt_user:alice', 'password_hash', hex('sha256', 'right'));
  await fill(admin);
  const options = { url: server.url, timeoutMs: 600 };
  const { login, log } = await stage(t, options);
  const cached = await stage(t, { ...options, cacheS: 10 });
  t.equal(await login('alice', 'right'), 'accepted');
  t.equal(await cached.login('alice', 'right'), 'accepted');

  server.signal('SIGSTOP');
  const startMs = performance.now();
  t.equal(await login('alice', 'right'), 'authentication_unavailable', 'slow');
  t.ok(performance.now() - startMs < 5000);
  t.equal(await cached.login('alice', 'right'), 'accepted', 'was right a moment ago');
  t.equal(await cached.login('alice', 'wrong'), 'authentication_unavailable');
  server.signal('SIGCONT');
  await until(() => cached.redis.isUp, 'up');
  t.equal(await login('alice', 'right'), 'accepted', 'back');

  await server.stop('SIGKILL');
  await until(() => log.text.includes('failed'), 'said in the log');
  for (let i = 0; i < 20; i += 1) {
    t.equal(await login('alice', 'right'), 'authentication_unavailable', 'down');
    t.equal(await login('nobody', 'right'), 'authentication_unavailable', 'not "ignored"');
  }
  await server.resume();
  await until(() => log.text.includes('answers again'), 'said that it is back');
  t.equal(await login('alice', 'right'), 'ignored', 'Redis came back empty: there are no users');
  await fill(await redisAdmin(t, server.url));
  t.equal(await login('alice', 'right'), 'accepted', 'without a restart');

  cached.clock.addedMs += 10_001;
  await until(() => cached.redis.isUp, 'up');
  t.equal(await cached.login('alice', 'right'), 'accepted');
  await (await redisAdmin(t, server.url))('FLUSHALL');
  t.equal(await login('alice', 'right'), 'ignored');
  t.equal(await cached.login('alice', 'right'), 'accepted', 'for cacheS');
  (await cached.redis.prepare()).commit();
  t.equal(await cached.login('alice', 'right'), 'ignored', 'a reload forgets');
});

t.test('an ACL user, a password from a file, and no secret anywhere', async (t) => {
  const server = await RedisServer.start(t);
  const admin = await redisAdmin(t, server.url);
  await admin('ACL', 'SETUSER', 'app', 'on', `>${CANARY}`, '~mqtt_user:*', '+hmget');
  await admin('HSET', 'mqtt_user:alice', 'password_hash', hex('sha256', `${CANARY}-user`));
  await admin('HSET', 'mqtt_user:bob', 'password_hash', `${CANARY}-not-a-hash`);
  const folder = mkdtempSync(join(tmpdir(), 'causeway-redis-auth-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, `${CANARY}\n`, { mode: 0o600 });
  const url = `redis://app@127.0.0.1:${server.port}`;
  const { login, log, redis } = await stage(t, { url, passwordFile });
  t.strictSame(log.lines, [], 'nobody but us can read the file');
  chmodSync(passwordFile, 0o644);
  (await redis.prepare()).commit();
  t.match(log.lines, [{ level: 'warn', fields: { file: passwordFile, mode: '0644' } }]);
  t.match(log.text, 'authentication.redis.passwordFile');
  const said: string[] = [];
  t.equal(await login('alice', `${CANARY}-user`), 'accepted');
  said.push(await login('bob', `${CANARY}-not-a-hash`));
  await admin('HSET', 'other:x', 'password_hash', 'y');
  const elsewhere = await stage(t, { url, passwordFile, layout: 'custom', userKey: 'other:%u' });
  said.push(await elsewhere.login('x', 'y'));
  t.strictSame(said, ['authentication_unavailable', 'authentication_unavailable']);
  t.match(elsewhere.log.text, 'NOPERM', 'what is missing is said');

  writeFileSync(passwordFile, `${CANARY}-wrong\n`);
  const problem = await redis.prepare().then(
    () => null,
    (error: Error) => error,
  );
  t.match(problem, { name: 'AccessError' });
  t.equal(await login('alice', `${CANARY}-user`), 'accepted', 'the old connection is kept');
  await admin('ACL', 'SETUSER', 'app', `>${CANARY}-wrong`);
  const connections = async (): Promise<number> =>
    String(await admin('CLIENT', 'LIST')).split('user=app ').length - 1;
  const before = await connections();
  const unused = await redis.prepare();
  t.equal(await connections(), before + 1, 'the new one is tried');
  unused.discard();
  for (let i = 0; i < 100 && (await connections()) > before; i += 1) await setTimeout(20);
  t.equal(await connections(), before, 'and closed when it is not wanted');
  t.equal(await login('alice', `${CANARY}-user`), 'accepted');
  (await redis.prepare()).commit();
  t.equal(await login('alice', `${CANARY}-user`), 'accepted', 'the new one is used');
  writeFileSync(passwordFile, '');
  await t.rejects(redis.prepare(), { name: 'AccessError' });
  const all = [log.text, elsewhere.log.text, JSON.stringify(redis.counters), `${problem}`].join();
  t.notOk(all.includes('canary'), all);
});

t.test('slow hashes are not worked out for who is blocked by then', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  await admin('SET', `${prefix}alice`, goAuthHash('right'));
  const service = { url, keyPrefix: prefix, layout: 'mosquitto_go_auth' } as const;
  const { redis, login, queue } = await stage(t, service);
  const hold = Promise.withResolvers<void>();
  const holding = [queue.submit('a', () => hold.promise), queue.submit('b', () => hold.promise)];
  let isBlocked = false;
  const blocked = { isKeptOut: () => isBlocked };
  const logins = [
    login('alice', 'right', blocked),
    login('alice', 'wrong', blocked),
    login('alice', 'right', { remoteAddress: '192.0.2.2' }),
  ];
  const unknown = await redis.authenticate(credentials('nobody', 'wrong', blocked));
  const spent = 'beforeRefusal' in unknown ? unknown.beforeRefusal() : null;
  await until(() => queue.waiting === 3, 'all wait, and those of one password for one hash');
  isBlocked = true;
  hold.resolve();
  t.strictSame(await Promise.all(logins), ['login_blocked', 'login_blocked', 'accepted']);
  t.equal(await spent, 'login_blocked');
  await Promise.all(holding);
  t.match(queue.counters, { done: 3, keptOut: 3 });
});

t.test('unknown user and wrong password cost the same', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  await admin('SET', `${prefix}alice`, goAuthHash('right', 60_000));
  const { redis, login } = await stage(t, {
    url,
    keyPrefix: prefix,
    layout: 'mosquitto_go_auth',
    timeoutMs: 5000,
  });
  t.equal(await login('alice', 'right'), 'accepted');
  const time = async (user: string, password: string): Promise<number> => {
    const startMs = performance.now();
    const answer = await redis.authenticate(credentials(user, password));
    if ('beforeRefusal' in answer) await answer.beforeRefusal();
    return performance.now() - startMs;
  };
  // In turns, and the quickest of each: what else the machine does is the same for both.
  let [known, unknown] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const isSame = (): boolean => unknown > known / 2 && unknown < known * 2;
  for (let i = 0; i < 8 || (i < 40 && !isSame()); i += 1) {
    known = Math.min(known, await time('alice', `wrong-${i}`));
    unknown = Math.min(unknown, await time('nobody', `wrong-${i}`));
  }
  const both = `${known.toFixed(1)} ms, ${unknown.toFixed(1)} ms`;
  t.ok(isSame(), both);
});

t.test('a storm of logins: bounded, and the loop stays free', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  await admin('SET', `${prefix}good`, goAuthHash('right', 1000));
  await admin('SET', `${prefix}victim`, goAuthHash('right', 5000));
  const { redis, login } = await stage(t, {
    url,
    keyPrefix: prefix,
    layout: 'mosquitto_go_auth',
    timeoutMs: 2000,
  });
  const tally = new Map<string, number>();
  let worstMs = 0;
  const storm: Promise<void>[] = [];
  const goods: Promise<string>[] = [];
  const startMs = performance.now();
  for (let tick = 0; tick < 50; tick += 1) {
    for (let i = 0; i < 40; i += 1) {
      const remoteAddress = `198.51.100.${i % 50}`;
      const one = login('victim', `wrong-${tick}-${i}`, { remoteAddress }).then((answer) => {
        tally.set(answer, (tally.get(answer) ?? 0) + 1);
      });
      storm.push(one);
    }
    if (tick % 10 === 5) goods.push(login('good', 'right', { remoteAddress: '203.0.113.9' }));
    const dueMs = startMs + tick * 20;
    const beforeMs = performance.now();
    await sleep(Math.max(0, dueMs - beforeMs));
    worstMs = Math.max(worstMs, performance.now() - Math.max(dueMs, beforeMs));
  }
  await Promise.all(storm);
  t.notOk(tally.has('accepted'));
  t.ok((tally.get('authentication_busy') ?? 0) > 0, JSON.stringify([...tally]));
  t.strictSame(new Set(await Promise.all(goods)), new Set(['accepted']), 'the good user always');
  t.ok(worstMs < 500, `the loop was held for ${worstMs.toFixed(0)} ms at most`);
  t.equal(redis.counters.errors, 0);
});

t.test('options that cannot be used are refused with what to do', async (t) => {
  const make = (options: object): RedisAuthenticator => {
    const clock = new MovedClock();
    const service = { ...usual, url: 'redis://127.0.0.1:1', ...options } as RedisUserOptions;
    const log = new KeptLog();
    return new RedisAuthenticator({ service, queue: hashQueue(clock), clock, random, log });
  };
  const bad: [object, RegExp][] = [
    [{ hash: 'bcrypt' }, /authentication\.redis\.hash: expected sha256.*bcrypt/],
    [{ hash: 'md5' }, /authentication\.redis\.hash/],
    [{ userKey: 'user:%c' }, /%u, the user name/],
    [{ userKey: 'user:%x' }, /unknown placeholder/],
    [{ userKey: 'user:%P' }, /unknown placeholder/],
    [{ layout: 'mosquitto_go_auth', userKey: 'x:%u' }, /custom/],
    [{ url: 'http://x' }, /authentication\.redis\.url/],
    [{ url: 'redis://app@x' }, /without a password/],
    [{ url: 'redis://:x@x', passwordFile: '/x' }, /passwordFile/],
  ];
  for (const [options, message] of bad) {
    t.throws(() => make(options), { name: 'AccessError', message }, `${message}`);
  }
  await t.rejects(make({ caFile: '/nonexistent' }).start(), { name: 'AccessError' });
  const away = make({});
  await away.start();
  t.teardown(() => away.stop());
  const answer = await away.authenticate(credentials('alice', 'right'));
  t.equal(
    outcome(answer),
    'authentication_unavailable',
    'a Redis that is away is no error at start',
  );
});
