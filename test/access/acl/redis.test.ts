/**
 * Rules in a real Redis, in the layouts of EMQX and mosquitto-go-auth: what they grant, that a broken
 * one grants nothing, that changes reach connected clients, and that a Redis that is away changes
 * nothing for them and lets no unknown client in.
 */
import t, { type Test } from 'tap';
import type { GrantedRule } from '../../../src/access/acl/granted-rule.ts';
import { SlotTable } from '../../../src/access/acl/placeholder.ts';
import { type RedisRuleOptions, RedisRuleSource } from '../../../src/access/acl/redis-source.ts';
import { RuleSet } from '../../../src/access/acl/rule-set.ts';
import type { RuleSubject } from '../../../src/access/acl/source.ts';
import { RedisServer, redisAdmin, sharedRedis } from '../../support/redis-server.ts';
import { KeptLog, MovedClock, random, sleep, subject, until } from '../backend-kit.ts';

async function stage(t: Test, options: Partial<RedisRuleOptions>) {
  const clock = new MovedClock();
  const log = new KeptLog();
  const source = new RedisRuleSource({
    service: {
      url: '',
      layout: 'emqx',
      keyPrefix: '',
      timeoutMs: 2000,
      cacheS: 60,
      cacheEntriesMax: 100,
      ...options,
    },
    clock,
    random,
    log,
  });
  await source.start();
  t.teardown(() => source.stop());
  const rulesOf = async (who: RuleSubject): Promise<readonly GrantedRule[] | 'unavailable'> => {
    const answer = await source.rulesFor(who);
    return answer.kind === 'granted' ? answer.rules : answer.kind;
  };
  return { source, clock, log, rulesOf };
}

t.test('the layout of EMQX', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  const key = `${prefix}mqtt_acl:alice`;
  await admin('HSET', key, 'b/#', 'subscribe', 'a/%c', 'publish', 'c/$' + '{username}/+', 'all');
  await admin('HSET', key, 'd', '{"action":"publish","qos":[1,"2"],"retain":false}', 'e', '3');
  const { rulesOf, source } = await stage(t, { url, keyPrefix: prefix });
  const rules = await rulesOf(subject('alice'));
  const all = { allow: true, qos: null, retain: null, source: `redis ${key}` };
  t.strictSame(rules, [
    { ...all, actions: ['publish'], topic: 'a/%c' },
    { ...all, actions: ['subscribe'], topic: 'b/#' },
    { ...all, actions: ['publish', 'subscribe'], topic: 'c/%u/+' },
    { ...all, actions: ['publish'], topic: 'd', qos: [1, 2], retain: false },
    { ...all, actions: ['publish', 'subscribe'], topic: 'e' },
  ]);
  t.strictSame(await rulesOf(subject('bob')), [], 'none is an answer');
  t.strictSame(await rulesOf(subject(null)), [], 'nor has nobody any');
  t.equal(source.counters.cacheHits, 0);
  await rulesOf(subject('alice'));
  t.equal(source.counters.cacheHits, 1);
});

t.test('rules that cannot be read in full grant nothing', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  const bad: [string, string, string][] = [
    ['word', 'a', 'Publish'],
    ['number', 'a', '4'],
    ['deny', 'a', 'deny'],
    ['json', 'a', '{"action":"all"'],
    ['list', 'a', '["all"]'],
    ['action', 'a', '{"action":"every"}'],
    ['condition', 'a', '{"action":"all","ipaddr":"10.0.0.1"}'],
    ['qos', 'a', '{"action":"all","qos":3}'],
    ['noqos', 'a', '{"action":"all","qos":[]}'],
    ['retain', 'a', '{"action":"all","retain":"maybe"}'],
    ['permission', 'a', '{"action":"all","permission":"deny"}'],
    ['filter', 'a/#/b', 'all'],
    ['empty', '', 'all'],
    ['literal', 'eq a/#', 'all'],
    ['unknown', 'a/$' + '{nothing}', 'all'],
    ['shared', '$share/g/a', 'all'],
  ];
  for (const [user, topic, value] of bad) {
    await admin('HSET', `${prefix}mqtt_acl:${user}`, 'fine', 'all', topic, value);
  }
  await admin('SET', `${prefix}mqtt_acl:text`, 'all');
  await admin('RPUSH', `${prefix}mqtt_acl:rlist`, 'all');
  const many = Array.from({ length: 1001 }, (_, i) => [`t/${i}`, 'all']).flat();
  await admin('HSET', `${prefix}mqtt_acl:many`, ...many);
  const { rulesOf, log } = await stage(t, { url, keyPrefix: prefix });
  for (const user of [...bad.map(([user]) => user), 'text', 'rlist', 'many']) {
    t.equal(await rulesOf(subject(user)), 'unavailable', user);
  }
  t.equal(log.lines.length, 1);
  await admin('HDEL', `${prefix}mqtt_acl:many`, 't/0');
  t.equal((await rulesOf(subject('many'))).length, 1000, 'as many as may be');
});

t.test('the layout of mosquitto-go-auth, as it decides there', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  await admin('SADD', `${prefix}alice:sacls`, 'in/#', 'both/#');
  await admin('SADD', `${prefix}alice:racls`, 'in/read/#', 'both/#');
  await admin('SADD', `${prefix}alice:wacls`, 'out/%c');
  await admin('SADD', `${prefix}alice:rwacls`, 'rw/#');
  await admin('SADD', `${prefix}common:wacls`, 'all/%u');
  await admin('SADD', `${prefix}common:sacls`, 'news');
  await admin('SADD', `${prefix}common:racls`, 'news');
  const { rulesOf } = await stage(t, { url, keyPrefix: prefix, layout: 'mosquitto_go_auth' });
  const grants = await rulesOf(subject('alice'));
  if (grants === 'unavailable') throw new Error('unavailable');
  const client = new RuleSet('', [], new SlotTable()).compile({
    ...subject('alice'),
    isSuperuser: false,
    grants,
  });
  const isAllowed = (decision: number): boolean => (decision & 1) === 1;
  t.ok(isAllowed(client.subscribe('in/#', 0)));
  t.ok(isAllowed(client.subscribe('both/x', 0)));
  t.ok(isAllowed(client.subscribe('news', 0)));
  t.notOk(isAllowed(client.subscribe('rw/x', 0)), 'to read is not to subscribe');
  t.ok(isAllowed(client.receive('in/read/x')));
  t.notOk(isAllowed(client.receive('in/other')), 'to subscribe is not to read');
  t.ok(isAllowed(client.receive('both/x')));
  t.ok(isAllowed(client.publish('out/client-1', 0, false)));
  t.notOk(isAllowed(client.publish('out/client-2', 0, false)));
  t.ok(isAllowed(client.publish('all/alice', 0, false)));
  t.ok(isAllowed(client.publish('rw/x', 0, false)));
  t.notOk(isAllowed(client.publish('in/read/x', 0, false)));
  t.equal((await rulesOf(subject('bob'))).length, 3, 'what is common');
  t.strictSame(await rulesOf(subject('alice:x')), [], 'a name that would be another key');
  for (const set of ['racls', 'wacls']) {
    const filters = Array.from({ length: 600 }, (_, i) => `${set}/${i}`);
    await admin('SADD', `${prefix}dave:${set}`, ...filters);
  }
  t.equal(await rulesOf(subject('dave')), 'unavailable', 'too many together');
  await admin('SADD', `${prefix}alice:wacls`, 'broken/#/x');
  await admin('SET', `${prefix}carol:racls`, 'x');
  const fresh = await stage(t, { url, keyPrefix: prefix, layout: 'mosquitto_go_auth' });
  t.equal(await fresh.rulesOf(subject('alice')), 'unavailable');
  t.equal(await fresh.rulesOf(subject('carol')), 'unavailable', 'a key of another type');
});

t.test('names from outside', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  await admin('HSET', `${prefix}mqtt_acl:__proto__`, '__proto__', 'publish');
  const { rulesOf } = await stage(t, { url, keyPrefix: prefix });
  t.match(await rulesOf(subject('__proto__')), [{ topic: '__proto__', actions: ['publish'] }]);
  for (const odd of ['constructor', 'a\r\nFLUSHALL\r\n', '*', '{x}', 'a\u0000b', '', '%u']) {
    t.strictSame(await rulesOf(subject(odd)), [], JSON.stringify(odd));
  }
  t.equal(await admin('EXISTS', `${prefix}mqtt_acl:__proto__`), 1);
});

t.test('what changes reaches those who are connected', async (t) => {
  const { url, prefix, admin } = await sharedRedis(t);
  const key = `${prefix}mqtt_acl:alice`;
  await admin('HSET', key, 'a', 'all', 'b', 'all');
  const { source, rulesOf, clock } = await stage(t, { url, keyPrefix: prefix, cacheS: 60 });
  const told: (readonly string[])[] = [];
  const rules = await rulesOf(subject('alice'));
  if (rules === 'unavailable') throw new Error('unavailable');
  const topics = (list: readonly GrantedRule[]): string[] => list.map(({ topic }) => topic);
  const leave = source.watch(subject('alice'), rules, (list) => told.push(topics(list)));
  const second: string[][] = [];
  const leaveToo = source.watch(subject('alice', { clientId: 'client-2' }), rules, (list) => {
    second.push(topics(list));
  });
  t.equal(source.watched, 1, 'one question for both');
  clock.addedMs += 60_001;
  await sleep(600);
  t.strictSame(told, [], 'nothing changed');
  await admin('HDEL', key, 'a');
  await sleep(300);
  t.strictSame(told, [], 'not before its time');
  clock.addedMs += 60_001;
  await until(() => told.length > 0, 'told');
  t.strictSame(told, [['b']]);
  t.strictSame(second, [['b']]);
  leaveToo();
  await admin('HSET', key, 'c', 'publish');
  (await source.prepare()).commit();
  await until(() => told.length > 1, 'told after a reload, at once');
  t.strictSame(told[1], ['b', 'c']);
  await admin('DEL', key);
  (await source.prepare()).commit();
  await until(() => told.length > 2, 'told that there are none');
  t.strictSame(told[2], []);
  t.equal(second.length, 1, 'who has left hears nothing');
  leave();
  leave();
  t.equal(source.watched, 0, 'nothing is kept for who is gone');

  // Two that read at different moments: the one that is behind is told.
  await admin('HSET', key, 'new', 'all');
  const late = source.watch(subject('alice'), rules, (list) => told.push(topics(list)));
  const current = await stage(t, { url, keyPrefix: prefix }).then((one) =>
    one.rulesOf(subject('alice')),
  );
  const early = source.watch(subject('alice'), current as GrantedRule[], () => second.push(['x']));
  await until(() => told.length > 3, 'told');
  t.strictSame(told[3], ['new']);
  t.equal(second.length, 1, 'and who knew it is not');
  late();
  early();
});

t.test('away: connected clients keep what they have, unknown ones stay out', async (t) => {
  const server = await RedisServer.start(t);
  const admin = await redisAdmin(t, server.url);
  await admin('HSET', 'mqtt_acl:alice', 'a', 'all');
  const { source, rulesOf, clock, log } = await stage(t, {
    url: server.url,
    cacheS: 2,
    timeoutMs: 600,
  });
  const rules = await rulesOf(subject('alice'));
  if (rules === 'unavailable') throw new Error('unavailable');
  const told: number[] = [];
  source.watch(subject('alice'), rules, (list) => told.push(list.length));

  server.signal('SIGSTOP');
  clock.addedMs += 5000;
  const startMs = performance.now();
  t.equal(await rulesOf(subject('bob')), 'unavailable', 'slow');
  t.ok(performance.now() - startMs < 5000);
  server.signal('SIGCONT');
  await until(() => source.isUp, 'up');
  t.strictSame(await rulesOf(subject('bob')), []);

  await server.stop('SIGKILL');
  await until(() => !source.isUp, 'down');
  clock.addedMs += 5000;
  t.equal(await rulesOf(subject('alice')), 'unavailable', 'a new connection: not known any more');
  await sleep(600);
  t.strictSame(told, [], 'the connected one keeps what it has');
  await server.resume();
  const again = await redisAdmin(t, server.url);
  await again('HSET', 'mqtt_acl:alice', 'a', 'all', 'b', 'all');
  await until(() => source.isUp, 'up');
  clock.addedMs += 5000;
  await until(() => told.length > 0, 'told again, without a restart');
  t.strictSame(told.at(-1), 2);
  await again('FLUSHALL');
  clock.addedMs += 5000;
  await until(() => told.at(-1) === 0, 'emptied: no rights');
  t.ok(log.lines.length <= 6);
});

t.test('many users: refreshed in turns, a few at one time; the cache is bounded', async (t) => {
  const { url, prefix } = await sharedRedis(t);
  const { source, rulesOf, clock } = await stage(t, { url, keyPrefix: prefix, cacheS: 5 });
  const leaves: (() => void)[] = [];
  for (let i = 0; i < 300; i += 1) {
    const who = subject(`user-${i}`);
    const rules = (await rulesOf(who)) as readonly GrantedRule[];
    leaves.push(source.watch(who, rules, () => {}));
  }
  const hits = source.counters.cacheHits;
  t.strictSame(await rulesOf(subject('user-299')), []);
  t.equal(source.counters.cacheHits, hits + 1);
  t.strictSame(await rulesOf(subject('user-0')), [], 'made room, asked again');
  t.equal(source.counters.cacheHits, hits + 1);
  clock.addedMs += 6000;
  await sleep(400);
  for (const leave of leaves) leave();
  t.equal(source.watched, 0);
  t.equal(source.counters.errors, 0);
});

t.test('one question for clients that come at the same time', async (t) => {
  const server = await RedisServer.start(t);
  const admin = await redisAdmin(t, server.url);
  await admin('HSET', 'mqtt_acl:alice', 'a', 'all');
  const { rulesOf } = await stage(t, { url: server.url, cacheS: 0, timeoutMs: 2000 });
  await admin('CONFIG', 'RESETSTAT');
  const all = await Promise.all(Array.from({ length: 200 }, () => rulesOf(subject('alice'))));
  t.ok(all.every((rules) => rules !== 'unavailable' && rules.length === 1));
  const stats = `${await admin('INFO', 'commandstats')}`;
  t.match(stats, 'cmdstat_hgetall:calls=1,');
});
