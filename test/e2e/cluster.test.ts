// A datacenter as its clients see it: real nodes, a real Redis, and what P1 to P6 promise, from plain
// delivery across nodes to nodes and a Redis that die. Each group has a cluster of its own.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import type { Client } from '../conformance/client.ts';
import { ack, type PropertyName } from '../conformance/packets.ts';
import { redisAdmin } from '../support/redis-server.ts';
import { LEASE_MS, sleep, TestCluster, until } from './cluster-kit.ts';

const run = promisify(execFile);
t.setTimeout(870_000);
/** Clusters of their own, so they need not wait for each other; two cores carry no more. */
t.jobs = 2;

const payloads = async (client: Client, count: number): Promise<string[]> => {
  const found: string[] = [];
  while (found.length < count) found.push((await client.message()).payload.toString());
  return found;
};
const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => `${from + index}`);

t.test('two nodes are one broker', async (t) => {
  const cluster = await TestCluster.start(t, { names: ['a', 'b'] });

  await t.test('every QoS crosses, at the lower of both', async () => {
    const sub = await cluster.client('b', 'cross-sub');
    await sub.subscribed([
      { filter: 'cross/0', qos: 0 },
      { filter: 'cross/1', qos: 1 },
      { filter: 'cross/2', qos: 2 },
    ]);
    const kept = await cluster.durable('b', 'cross-kept');
    await kept.subscribed('cross/#', { qos: 2 });
    const pub = await cluster.client('a', 'cross-pub');
    for (const qos of [0, 1, 2]) {
      await pub.publish(`cross/${qos}`, `q${qos}`, { qos });
      await sub.message({ topic: `cross/${qos}`, payload: `q${qos}`, qos });
      await kept.message({ topic: `cross/${qos}`, payload: `q${qos}`, qos });
    }
    for (const client of [sub, kept, pub]) client.destroy();
  });

  await t.test('a foreign client', async (t) => {
    const [a, b] = ['a', 'b'].map((name) => `${cluster.node(name).port()}`);
    const words = ['-h', '127.0.0.1', '-t', 'foreign/x', '-q', '1'];
    await run('mosquitto_pub', [...words, '-p', a!, '-r', '-m', 'from abroad']);
    const { stdout } = await run('mosquitto_sub', [...words, '-p', b!, '-C', '1', '-W', '10']);
    t.equal(stdout, 'from abroad\n');
  });

  await t.test('SUBACK means subscribed everywhere', async (t) => {
    const pub = await cluster.client('a', 'barrier-pub');
    const sub = await cluster.client('b', 'barrier-sub');
    let missed = 0;
    for (let index = 0; index < 300; index++) {
      const topic = `barrier/${index}`;
      await sub.subscribed(topic);
      pub.sendPublish(topic, `${index}`);
      const got = await sub.next(2000);
      if (got?.type !== 'PUBLISH' || got.payload.toString() !== `${index}`) missed++;
    }
    t.equal(missed, 0);
    for (const client of [sub, pub]) client.destroy();
  });

  await t.test('a session moves with its queue and what is in flight', async (t) => {
    const receiveMaximum = { properties: [['receiveMaximum' as PropertyName, 2] as const] };
    const before = await cluster.durable('a', 'mover', receiveMaximum);
    await before.subscribed('move/#', { qos: 2 });
    const pub = await cluster.client('b', 'move-pub');
    for (let index = 1; index <= 10; index++) await pub.publish('move/x', `${index}`, { qos: 2 });
    // The first is released, the second received, neither completed.
    const first = await before.message({ payload: '1' }, { acknowledge: false });
    const second = await before.message({ payload: '2' }, { acknowledge: false });
    before.send(ack('PUBREC', first.packetId));
    await before.waitFor('PUBREL', { packetId: first.packetId });
    await sleep(200);
    await before.drop();

    const after = await cluster.durable('b', 'mover');
    t.ok(after.connack.sessionPresent);
    // [MQTT5-4.4.0-1]: what was not completed goes on under its packet identifiers.
    const resumed = [await after.next(), await after.next()];
    t.match(resumed, [
      { type: 'PUBREL', packetId: first.packetId },
      { type: 'PUBLISH', packetId: second.packetId, dup: true },
    ]);
    after.send(ack('PUBCOMP', first.packetId));
    await after.acknowledge(resumed[1]!);
    t.strictSame(await payloads(after, 8), numbers(3, 10));
    for (const client of [after, pub]) client.destroy();
  });

  await t.test('whoever connects elsewhere takes the session over', async (t) => {
    const old = await cluster.durable('a', 'taken');
    await old.subscribed('taken/#', { qos: 1 });
    const now = await cluster.durable('b', 'taken');
    t.ok(now.connack.sessionPresent);
    await old.expect('DISCONNECT', { reasonCode: 0x8e });
    await old.expectClose();
    const pub = await cluster.client('a', 'taken-pub');
    await pub.publish('taken/x', 'to b', { qos: 1 });
    await now.message({ payload: 'to b' });
    for (const client of [now, pub]) client.destroy();
  });

  await t.test(
    'a shared group has members at both nodes, and a queue when all are away',
    async (t) => {
      const pub = await cluster.client('a', 'group-pub');
      const one = await cluster.client('a', 'group-one');
      const two = await cluster.client('b', 'group-two');
      for (const member of [one, two]) await member.subscribed('$share/g/group/#', { qos: 1 });
      for (let index = 1; index <= 20; index++)
        await pub.publish('group/x', `${index}`, { qos: 1 });
      const got: string[] = [];
      const shares = new Map<Client, number>();
      while (got.length < 20) {
        for (const member of [one, two]) {
          const packet = await member.next(got.length < 20 ? 50 : 0);
          if (packet?.type !== 'PUBLISH') continue;
          await member.acknowledge(packet);
          got.push(packet.payload.toString());
          shares.set(member, (shares.get(member) ?? 0) + 1);
        }
      }
      t.strictSame(
        got.toSorted((left, right) => Number(left) - Number(right)),
        numbers(1, 20),
      );
      t.equal(shares.size, 2, 'both have had some');
      for (const client of [one, two]) client.destroy();

      const absent = await cluster.durable('b', 'group-absent');
      await absent.subscribed('$share/away/group/#', { qos: 1 });
      await absent.disconnect();
      for (let index = 1; index <= 5; index++) await pub.publish('group/y', `${index}`, { qos: 1 });
      const back = await cluster.durable('a', 'group-absent');
      t.strictSame(
        (await payloads(back, 5)).toSorted((left, right) => Number(left) - Number(right)),
        numbers(1, 5),
      );
      for (const client of [pub, back]) client.destroy();
    },
  );

  await t.test('retained messages are at every node, also at one that comes later', async (t) => {
    const pub = await cluster.client('a', 'retained-pub');
    await pub.publish('kept/one', '1', { qos: 1, retain: true });
    await pub.publish('kept/gone', '2', { qos: 1, retain: true });
    await pub.publish('kept/gone', '', { qos: 1, retain: true });
    const retainedAt = async (name: string): Promise<string[]> => {
      const sub = await cluster.client(name, `retained-${name}`);
      await sub.subscribed('kept/#');
      const { topic, payload, retain } = await sub.message();
      await sub.expectNothing();
      sub.destroy();
      return [topic, payload.toString(), `${retain}`];
    };
    t.strictSame(await retainedAt('b'), ['kept/one', '1', 'true']);
    await cluster.startNode('c');
    t.strictSame(await retainedAt('c'), ['kept/one', '1', 'true']);
    pub.destroy();
  });

  t.strictSame(cluster.errors(), []);
});

t.test('nodes that die, sleep and are replaced', async (t) => {
  const cluster = await TestCluster.start(t, { names: ['a', 'b', 'c'] });

  await t.test(
    'kill -9 of the owner: wills at the others, the session elsewhere in time',
    async (t) => {
      const watcher = await cluster.client('b', 'watcher');
      await watcher.subscribed('wills/#', { qos: 1 });
      await cluster.client('a', 'mortal', {
        will: { topic: 'wills/mortal', payload: 'died', qos: 1 },
      });
      const owned = await cluster.durable('a', 'owned');
      await owned.subscribed('owned/#', { qos: 1 });
      const pub = await cluster.client('c', 'owned-pub');
      await pub.publish('owned/x', '1', { qos: 1 });
      await owned.message({ payload: '1' }, { acknowledge: false });
      await pub.publish('owned/x', '2', { qos: 1 });
      await cluster.node('a').kill();
      const killedMs = performance.now();
      await pub.publish('owned/x', '3', { qos: 1 });
      const { client: back } = await cluster.resumed('b', 'owned');
      const tookMs = performance.now() - killedMs;
      t.ok(back.connack.sessionPresent);
      t.ok(tookMs < LEASE_MS + 1000, `resumed after ${Math.round(tookMs)} ms`);
      t.strictSame(await payloads(back, 3), numbers(1, 3));
      await watcher.message({ payload: 'died' }, { timeoutMs: 10_000 });
      await cluster.startNode('a');
      const again = await cluster.durable('a', 'owned');
      t.ok(again.connack.sessionPresent);
      for (const client of [watcher, again, pub]) client.destroy();
    },
  );

  await t.test(
    'a node that wakes closes its clients before it does harm, and joins anew',
    async (t) => {
      const asleep = await cluster.durable('c', 'asleep');
      await asleep.subscribed('sleep/#', { qos: 1 });
      const passing = await cluster.client('c', 'passing');
      cluster.node('c').signal('SIGSTOP');
      const pub = await cluster.client('a', 'sleep-pub');
      await sleep(500);
      const { client: awake } = await cluster.resumed('b', 'asleep');
      t.ok(awake.connack.sessionPresent);
      await pub.publish('sleep/x', '1', { qos: 1 });
      await awake.message({ payload: '1' });
      await sleep(4500);
      cluster.node('c').signal('SIGCONT');
      await passing.closedAfter(['DISCONNECT']);
      await asleep.closedAfter(['DISCONNECT']);
      await awake.ping();
      await cluster.node('c').entry('link up', () => true);
      const { client: back } = await cluster.resumed('c', 'asleep');
      t.ok(back.connack.sessionPresent);
      await pub.publish('sleep/x', '2', { qos: 1 });
      await back.message({ payload: '2' });
      for (const client of [back, pub]) client.destroy();
    },
  );

  t.strictSame(cluster.errors(), []);
});

t.test('a Redis that dies, and one that comes back empty', async (t) => {
  const cluster = await TestCluster.start(t, { names: ['a', 'b'] });
  const sub = await cluster.durable('b', 'redis-sub');
  await sub.subscribed('redis/#', { qos: 1 });
  const away = await cluster.durable('b', 'redis-away');
  await away.subscribed('redis/#', { qos: 1 });
  await away.disconnect();
  const live = await cluster.client('b', 'redis-live');
  await live.subscribed('live/#');
  const pub = await cluster.client('a', 'redis-pub');

  await t.test('kill -9 and restart: nothing that was acked is lost', async (t) => {
    const acked: string[] = [];
    for (let index = 1; index <= 40; index++) {
      const packetId = pub.sendPublish('redis/x', `${index}`, { qos: 1 });
      if (index === 20) {
        await cluster.redis.stop('SIGKILL');
        await pub.publish('live/x', 'without Redis');
        await live.message({ payload: 'without Redis' });
        await cluster.redis.resume();
      }
      await pub.waitFor('PUBACK', { packetId }, 10_000);
      acked.push(`${index}`);
    }
    const got = new Set<string>();
    while (got.size < acked.length) got.add((await sub.message()).payload.toString());
    t.strictSame([...got], acked);
    const { client: back } = await cluster.resumed('a', 'redis-away');
    const kept = new Set<string>();
    while (kept.size < acked.length) kept.add((await back.message()).payload.toString());
    t.strictSame([...kept], acked);
    await back.disconnect();
  });

  await t.test('FLUSHALL: sessions and subscriptions are back, live traffic goes on', async (t) => {
    const admin = await redisAdmin(t, cluster.redis.url);
    await admin('FLUSHALL');
    await pub.publish('live/x', 'emptied');
    await live.message({ payload: 'emptied' });
    await pub.publish('redis/x', 'after', { qos: 1 });
    await sub.message({ payload: 'after' }, { timeoutMs: 10_000 });
    const names = async (): Promise<string[]> =>
      ((await admin('KEYS', 'causeway:s:*:m')) as string[]).toSorted();
    const backMs = await until('sessions in Redis', async () => {
      const found = (await names()).join();
      return found.includes('{redis-sub}') && found.includes('{redis-away}');
    });
    t.ok(backMs < 5000);
    const { client: back } = await cluster.resumed('a', 'redis-away');
    t.ok(back.connack.sessionPresent, 'nobody has to subscribe again');
    await pub.publish('redis/x', 'found', { qos: 1 });
    const last = async (): Promise<string> => (await back.message()).payload.toString();
    let found = await last();
    while (found !== 'found') found = await last();
    for (const client of [sub, live, back, pub]) t.notOk(client.isClosed);
  });

  t.strictSame(cluster.errors(), []);
});
