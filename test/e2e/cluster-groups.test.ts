// A shared subscription whose members are all away, with real nodes and a real Redis (DESIGN hard case
// 14): whoever comes first gets what waits, and a node that dies while it hands it on loses nothing.
import t from 'tap';
import type { Client } from '../conformance/client.ts';
import { ack } from '../conformance/packets.ts';
import { sleep, TestCluster } from './cluster-kit.ts';

const FILTER = '$share/g/work/#';
const MESSAGES = 100;
/** Longer than a queue of a group stays with a node after its last member has gone. */
const AWAY_MS = 2500;
t.setTimeout(870_000);
/** Each mostly waits. */
t.jobs = 2;

/** Members at two nodes that come and go; then as many QoS 1 as QoS 2 messages to `node`. */
async function filled(cluster: TestCluster, node: string, messages = MESSAGES): Promise<void> {
  for (const [node, clientId] of [
    ['n1', 'a'],
    ['n2', 'b'],
  ] as const) {
    const member = await cluster.durable(node, clientId);
    await member.subscribed(FILTER, { qos: 2 });
    await sleep(100);
    await member.drop();
  }
  await sleep(AWAY_MS);
  const publisher = await cluster.durable(node, 'pub');
  for (let index = 0; index < messages; index++) {
    await publisher.publish('work/1', `one-${index}`, { qos: 1 });
    await publisher.publish('work/2', `two-${index}`, { qos: 2 });
  }
  await publisher.disconnect();
}

/** Takes what comes until nothing does for a while; of QoS 2 by packet id, as a client has to. */
class Taker {
  readonly payloads: string[] = [];
  readonly #unreleased: Set<number> = new Set();

  async take(client: Client, quietMs: number, enough: number): Promise<void> {
    let count = 0;
    while (count < enough) {
      const packet = await client.next(quietMs);
      if (packet === null) return;
      if (packet.type === 'PUBREL') {
        this.#unreleased.delete(packet.packetId);
        client.send(ack('PUBCOMP', packet.packetId));
      } else if (packet.type === 'PUBLISH') {
        const isKnown = packet.qos === 2 && this.#unreleased.has(packet.packetId);
        if (packet.qos === 2) this.#unreleased.add(packet.packetId);
        if (!isKnown) this.payloads.push(packet.payload.toString());
        client.send(ack(packet.qos === 1 ? 'PUBACK' : 'PUBREC', packet.packetId));
        count++;
      }
    }
  }
}

const ofQos = (payloads: readonly string[], name: string): string[] =>
  payloads.filter((text) => text.startsWith(name)).sort(byNumber);
const byNumber = (a: string, b: string): number => Number(a.slice(4)) - Number(b.slice(4));
const all = (name: string, messages = MESSAGES): string[] =>
  Array.from({ length: messages }, (_, index) => `${name}-${index}`);

t.test('a member gets what came when all were away, wherever it comes back', async (t) => {
  const cluster = await TestCluster.start(t, { names: ['n1', 'n2', 'n3'] });
  await filled(cluster, 'n3');
  const taker = new Taker();
  const { client } = await cluster.resumed('n1', 'b');
  await taker.take(client, 3000, 2 * MESSAGES);
  t.strictSame(ofQos(taker.payloads, 'one'), all('one'));
  t.strictSame(ofQos(taker.payloads, 'two'), all('two'));
  await taker.take(client, 1500, 1);
  t.equal(taker.payloads.length, 2 * MESSAGES, 'and nothing twice');
  const other = await cluster.resumed('n3', 'a');
  await other.client.expectSilence(1500);
  t.strictSame(cluster.errors(), []);
});

t.test('a node that dies half-way', async (t) => {
  const cluster = await TestCluster.start(t, { names: ['n1', 'n2'] });
  await filled(cluster, 'n2');
  const taker = new Taker();
  const { client } = await cluster.resumed('n1', 'a');
  await taker.take(client, 3000, MESSAGES / 2);
  await cluster.node('n1').kill();
  client.destroy();
  // Both come to the node that is left: what was given to one stays with it.
  const a = await cluster.resumed('n2', 'a');
  const b = await cluster.resumed('n2', 'b');
  const other = new Taker();
  for (let round = 0; round < 2; round++) {
    await taker.take(a.client, 1500, Number.POSITIVE_INFINITY);
    await other.take(b.client, 1500, Number.POSITIVE_INFINITY);
  }
  const payloads = [...taker.payloads, ...other.payloads];
  t.strictSame(ofQos(payloads, 'two'), all('two'), 'QoS 2 once');
  t.strictSame(ofQos([...new Set(payloads)], 'one'), all('one'), 'QoS 1 at least once');
});

t.test('a member that goes gives QoS 1 back, and keeps the QoS 2 it was given', async (t) => {
  const messages = 20;
  const cluster = await TestCluster.start(t, { names: ['n1', 'n2'] });
  await filled(cluster, 'n2', messages);
  const mute = await cluster.resumed('n1', 'a', { properties: [['receiveMaximum', 10]] });
  const seen: string[] = [];
  for (let packet = await mute.client.next(3000); packet !== null; ) {
    if (packet.type === 'PUBLISH') seen.push(packet.payload.toString());
    packet = await mute.client.next(500);
  }
  t.equal(seen.length, 10, 'its window');
  await mute.client.drop();
  const other = new Taker();
  const b = await cluster.resumed('n2', 'b');
  await other.take(b.client, 3000, Number.POSITIVE_INFINITY);
  t.strictSame(
    ofQos(other.payloads, 'one'),
    all('one', messages),
    'all QoS 1, also what had been sent',
  );
  const begun = ofQos(seen, 'two');
  t.ok(begun.length > 0, `${begun.length} were sent`);
  for (const text of begun) t.notOk(other.payloads.includes(text), `${text} has begun`);
  const own = new Taker();
  const a = await cluster.resumed('n2', 'a');
  await own.take(a.client, 2000, Number.POSITIVE_INFINITY);
  t.strictSame(ofQos(own.payloads, 'one'), []);
  const two = [...own.payloads, ...other.payloads];
  t.strictSame(ofQos(two, 'two'), all('two', messages), 'QoS 2 once');
});

t.test('its bounds are those of a session', async (t) => {
  const messages = 40;
  const cluster = await TestCluster.start(t, {
    names: ['n1', 'n2'],
    hasAdmin: true,
    flags: ['--set', 'limits.queueMessagesMax=50'],
  });
  await filled(cluster, 'n2', messages);
  const publisher = await cluster.durable('n2', 'pub');
  await publisher.publish('work/3', 'old-0', {
    qos: 1,
    properties: [['messageExpiryInterval', 1]],
  });
  await sleep(1500);
  const taker = new Taker();
  const { client } = await cluster.resumed('n1', 'a');
  await taker.take(client, 3000, Number.POSITIVE_INFINITY);
  // The oldest made room: of each pair, and one for the one that has expired since.
  t.strictSame(ofQos(taker.payloads, 'one'), all('one', messages).slice(-24));
  t.strictSame(ofQos(taker.payloads, 'two'), all('two', messages).slice(-25));
  t.strictSame(ofQos(taker.payloads, 'old'), []);
  const n1 = cluster.node('n1');
  const n2 = cluster.node('n2');
  t.equal(await n2.metric('causeway_group_queued_messages_total'), 81);
  t.equal(await n2.metric('causeway_messages_dropped_total{reason="queue_full"}'), 31);
  t.equal(await n1.metric('causeway_group_moved_messages_total'), 49);
  t.equal(await n1.metric('causeway_group_queues'), 1);
  t.equal(await n1.metric('causeway_messages_dropped_total{reason="expired"}'), 1);
});
