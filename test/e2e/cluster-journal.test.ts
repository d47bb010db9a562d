// Redis goes away under a datacenter: durable messages are acknowledged all the same, because they are on two
// disks, and nothing of them is lost when Redis and killed nodes are back, in the order they were sent (P6).
import t from 'tap';
import type { Client } from '../conformance/client.ts';
import { ack, publish } from '../conformance/packets.ts';
import { DURABLE } from '../support/redis-server.ts';
import { sleep, TestCluster, until } from './cluster-kit.ts';

t.setTimeout(240_000);

const ACK_MS = 10_000;

/** Publishes one after the other, each acknowledged in time; the slowest took so long. */
async function acked(pub: Client, topic: string, texts: readonly string[]): Promise<number> {
  let slowestMs = 0;
  for (const text of texts) {
    const startMs = performance.now();
    const packetId = pub.sendPublish(topic, text, { qos: 1 });
    await pub.waitFor('PUBACK', { packetId }, ACK_MS);
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
  }
  return slowestMs;
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => `${from + index}`);
}

/** First deliveries of each publisher, in their order. */
async function received(
  sub: Client,
  wanted: Readonly<Record<string, readonly string[]>>,
): Promise<Record<string, string[]>> {
  const got: Record<string, string[]> = {};
  let missing = 0;
  for (const [topic, texts] of Object.entries(wanted)) {
    got[topic] = [];
    missing += texts.length;
  }
  while (missing > 0) {
    const { topic, payload } = await sub.message({}, { timeoutMs: 20_000 });
    const text = payload.toString();
    if (got[topic]!.includes(text)) continue;
    got[topic]!.push(text);
    missing--;
  }
  return got;
}

async function journaled(cluster: TestCluster, name: string): Promise<number> {
  return (await cluster.node(name).metrics()).get('causeway_journal_messages') ?? Number.NaN;
}

for (const how of ['stopped', 'killed'] as const) {
  t.test(`Redis is ${how}, then a node is killed`, async (t) => {
    const cluster = await TestCluster.start(t, {
      names: ['a', 'b', 'c'],
      redisArgs: DURABLE,
      hasAdmin: true,
    });
    const { redis } = cluster;
    const online = await cluster.durable('c', 'online');
    await online.subscribed('j/#', { qos: 1 });
    const away = await cluster.durable('a', 'away');
    await away.subscribed('j/#', { qos: 1 });
    await away.disconnect();
    const pubA = await cluster.client('a', 'pub-a');
    const pubB = await cluster.client('b', 'pub-b');
    await acked(pubA, 'j/a', numbers(1, 5));
    await acked(pubB, 'j/b', numbers(1, 5));

    if (how === 'stopped') redis.signal('SIGSTOP');
    else await redis.stop('SIGKILL');
    const slowestMs = Math.max(
      await acked(pubA, 'j/a', numbers(6, 30)),
      await acked(pubB, 'j/b', numbers(6, 30)),
    );
    t.ok(slowestMs < 1000, `the slowest PUBACK took ${Math.round(slowestMs)} ms`);
    t.equal(await journaled(cluster, 'a'), 50, 'two sessions, 25 messages');
    t.equal((await cluster.node('a').metrics()).get('causeway_cluster_degraded'), 1);
    await cluster.node('a').kill();
    await sleep(300);
    if (how === 'stopped') redis.signal('SIGCONT');
    else await redis.resume();

    const wanted = { 'j/a': numbers(1, 30), 'j/b': numbers(1, 30) };
    t.strictSame(await received(online, wanted), wanted, 'the one that was there all the time');
    await cluster.startNode('a');
    const { client: back } = await cluster.resumed('a', 'away');
    t.ok(back.connack.sessionPresent);
    t.strictSame(await received(back, wanted), wanted, 'the one that was away');
    await until('nothing is left in a journal', async () => {
      for (const name of ['a', 'b', 'c']) if ((await journaled(cluster, name)) !== 0) return false;
      return (await cluster.node('b').metrics()).get('causeway_journal_copies') === 0;
    });
    const { client: again } = await cluster.resumed('b', 'pub-a');
    await acked(again, 'j/a', ['31']);
    await back.message({ topic: 'j/a', payload: '31' });
    t.strictSame(cluster.errors(), []);
  });
}

t.test('QoS 2 of a durable publisher while Redis is away', async (t) => {
  const cluster = await TestCluster.start(t, { names: ['a', 'b', 'c'], redisArgs: DURABLE });
  const { redis } = cluster;
  const sub = await cluster.durable('b', 'sub');
  await sub.subscribed('q/#', { qos: 2 });
  const pubs = [];
  for (const name of ['stays', 'moves', 'mourns']) {
    pubs.push(await cluster.durable(name === 'mourns' ? 'a' : 'c', name));
  }
  const [stays, moves, mourns] = pubs as [Client, Client, Client];
  for (const pub of pubs) await pub.publish('q/x', 'before', { qos: 2 });
  for (let left = pubs.length; left > 0; left--) await sub.message();

  await redis.stop('SIGKILL');
  const taken = new Map<Client, number>();
  for (const pub of pubs) {
    const startMs = performance.now();
    const whole = pub.sendPublish('q/x', 'whole', { qos: 2 });
    await pub.waitFor('PUBREC', { packetId: whole }, ACK_MS);
    pub.send(ack('PUBREL', whole));
    await pub.waitFor('PUBCOMP', { packetId: whole }, ACK_MS);
    // Taken, and not released: whoever has its session next must know the packet id.
    const packetId = pub.sendPublish(`q/${pubs.indexOf(pub)}`, 'once', { qos: 2 });
    await pub.waitFor('PUBREC', { packetId }, ACK_MS);
    taken.set(pub, packetId);
    t.ok(performance.now() - startMs < 2000, 'from two disks, at once');
  }
  await cluster.node('a').kill();
  moves.destroy();
  stays.destroy();
  await redis.resume();

  for (const [name, at, pub] of [
    ['stays', 'c', stays],
    ['moves', 'b', moves],
    ['mourns', 'b', mourns],
  ] as const) {
    const { client } = await cluster.resumed(at, name);
    const packetId = taken.get(pub)!;
    t.ok(client.connack.sessionPresent, name);
    const topic = `q/${pubs.indexOf(pub)}`;
    client.send(publish({ version: 5, topic, payload: 'once', qos: 2, packetId, dup: true }));
    await client.waitFor('PUBREC', { packetId }, 5000);
    client.send(ack('PUBREL', packetId));
    await client.waitFor('PUBCOMP', { packetId }, 5000);
    await client.publish(topic, 'after', { qos: 2 });
  }
  const got: string[] = [];
  while (got.length < 3 * 3) {
    const message = await sub.message({}, { timeoutMs: 10_000 });
    got.push(`${message.topic} ${message.payload.toString()}`);
  }
  await sub.expectSilence(300);
  const wanted = pubs.flatMap((_, at) => ['q/x whole', `q/${at} once`, `q/${at} after`]);
  t.strictSame(got.toSorted(), wanted.toSorted(), 'each once');
  for (const at of [0, 1, 2]) {
    t.ok(got.indexOf(`q/${at} once`) < got.indexOf(`q/${at} after`), 'in order');
  }
  t.strictSame(cluster.errors(), []);
});

t.test('a node that was killed with its journal, and its peer too', async (t) => {
  const cluster = await TestCluster.start(t, { names: ['a', 'b'], redisArgs: DURABLE });
  const sub = await cluster.durable('b', 'sub');
  await sub.subscribed('k/#', { qos: 1 });
  await sub.disconnect();
  const pub = await cluster.client('a', 'pub');
  await cluster.redis.stop('SIGKILL');
  await acked(pub, 'k/x', numbers(1, 20));
  await Promise.all([cluster.node('a').kill(), cluster.node('b').kill()]);
  await cluster.redis.resume();
  // Only the disk of the one that kept the copy comes back.
  await cluster.startNode('b');
  const { client: back } = await cluster.resumed('b', 'sub');
  const wanted = { 'k/x': numbers(1, 20) };
  t.strictSame(await received(back, wanted), wanted);
  await cluster.startNode('a');
  const { client: pubAgain } = await cluster.resumed('a', 'pub');
  await acked(pubAgain, 'k/x', ['21']);
  const { payload } = await back.message();
  t.equal(payload.toString(), '21', 'its own journal brings nothing twice');
  t.strictSame(cluster.errors(), []);
});

t.test('no other node: parked, or one disk', async (t) => {
  for (const mode of ['park', 'local'] as const) {
    const cluster = await TestCluster.start(t, {
      names: ['a'],
      redisArgs: DURABLE,
      flags: ['--set', `cluster.degraded=${mode}`],
    });
    const sub = await cluster.durable('a', 'sub');
    await sub.subscribed('l/#', { qos: 1 });
    const pub = await cluster.client('a', 'pub');
    await cluster.redis.stop('SIGKILL');
    if (mode === 'local') {
      await acked(pub, 'l/x', numbers(1, 5));
      // Longer than its lease: it knows of no other.
      await sleep(2500);
      await acked(pub, 'l/x', numbers(6, 10));
      await cluster.node('a').kill();
      await cluster.redis.resume();
      await cluster.startNode('a');
      const { client: back } = await cluster.resumed('a', 'sub');
      const wanted = { 'l/x': numbers(1, 10) };
      t.strictSame(await received(back, wanted), wanted);
    } else {
      const packetId = pub.sendPublish('l/x', '1', { qos: 1 });
      await t.rejects(pub.waitFor('PUBACK', { packetId }, 1000), 'nothing is acknowledged');
      await cluster.redis.resume();
      await pub.waitFor('PUBACK', { packetId }, 10_000);
      await sub.message({ topic: 'l/x', payload: '1' });
    }
    t.strictSame(cluster.errors(), []);
    await cluster.end();
  }
});
