// The session of another region: its budget, what it may ask for, and acks that wait for it (ADR 0022).
import t from 'tap';
import { Drop } from '../../src/core/drop-reason.ts';
import { LinkProperties } from '../../src/core/link-properties.ts';
import type { PeerCertificate } from '../../src/core/ports.ts';
import { type LinkTerms, RegionLinks } from '../../src/core/region-links.ts';
import { PublishView } from '../../src/wire/publish.ts';
import { type FakeClient, subscribeBytes } from './fake-client.ts';
import { FakeSink } from './fake-sink.ts';
import type { FakeStore } from './fake-store.ts';
import { World, type WorldOptions } from './world.ts';

const terms: LinkTerms = {
  region: 'us',
  user: null,
  certificate: 'us.example',
  topics: ['#'],
  budgetAgeMs: 60_000,
  budgetBytes: 5000,
};

function linksWith(more: Partial<LinkTerms> = {}): RegionLinks {
  const links = new RegionLinks('eu', Buffer.alloc(16, 1));
  links.revise([{ ...terms, ...more }]);
  return links;
}

/** The link of us, connected. */
function linked(world: World): FakeClient {
  const certificate = { subjectCommonName: 'us.example' } as PeerCertificate;
  const sink = Object.assign(new FakeSink(), { certificate });
  return world.connected(5, '$link/us', { clean: false, expiryS: 3600 }, sink);
}

function subscribe(world: World, client: FakeClient, ...filters: string[]): unknown {
  client.send(subscribeBytes(5, 9, filters, 2));
  world.settle();
  if ('commit' in world.store) (world.store as FakeStore).commit();
  world.settle();
  return client.receive().find(({ type }) => type === 'suback');
}

async function worldWith(
  links: RegionLinks,
  options: WorldOptions = {},
): Promise<{ world: World; link: FakeClient; publisher: FakeClient }> {
  const world = await World.start({ ...options, links });
  const link = linked(world);
  subscribe(world, link, 'a/#');
  return { world, link, publisher: world.connected(5, 'publisher') };
}

t.test('bytes: the oldest go, whatever queueOverflow says', async (t) => {
  const links = linksWith();
  const { world, link, publisher } = await worldWith(links, { queueOverflow: 'drop_newest' });
  link.disconnect();
  world.settle();
  for (let i = 0; i < 20; i++) publisher.publish('a/x', `${i}`.padEnd(1000), { qos: 1, id: i + 1 });
  world.settle();
  const [peer] = links.peers;
  t.equal(world.stats.dropped[Drop.link_budget], peer!.dropped);
  t.ok(peer!.dropped >= 14 && peer!.dropped <= 16, `${peer!.dropped} dropped`);
  const again = linked(world);
  const payloads = again.payloads().map((payload) => payload.trim());
  t.equal(payloads.at(-1), '19', 'the newest are there');
  t.equal(payloads.length, 20 - peer!.dropped);
});

t.test('what waited is read back in large pieces, and comes in order', async (t) => {
  const count = 90_000;
  const links = linksWith({ budgetBytes: 1e9 });
  const world = await World.durable({ commitsAlone: true, links });
  const link = linked(world);
  subscribe(world, link, 'a/#');
  link.sink.close();
  world.settle();
  const publisher = world.connected(5, 'publisher');
  const acked = (): number => publisher.receive().filter(({ type }) => type === 'puback').length;
  let acks = 0;
  for (let i = 1; i <= count; i++) {
    publisher.publish('a/x', `${i}`, { qos: 1, id: (i % 1000) + 1 });
    if (i % 50 !== 0) continue;
    world.settle();
    acks += acked();
  }
  world.settle();
  t.equal(acks + acked(), count, 'all of it is stored');
  const pieces: number[] = [];
  const read = world.store.read.bind(world.store);
  world.store.read = (session, fromSeq, messagesMax, ...rest) => {
    pieces.push(fromSeq);
    t.equal(messagesMax, 8192);
    read(session, fromSeq, messagesMax, ...rest);
  };
  const again = linked(world);
  const seen: number[] = [];
  const numbers: number[] = [];
  const properties = new LinkProperties();
  for (let i = 0; i < 8000 && seen.length < count; i++) {
    world.settle();
    for (const publish of again.publishes()) {
      seen.push(Number(publish.payload));
      const isNamed = properties.read(publish.properties, 0, publish.properties.length);
      numbers.push(isNamed ? properties.number : -1);
      again.ack('puback', publish.packetId);
    }
  }
  const all = Array.from({ length: count }, (_, i) => i + 1);
  t.strictSame(seen, all);
  t.strictSame(numbers, all);
  t.ok(pieces.length <= 4, `read at ${pieces}`);
  world.settle();
  t.equal(world.stats.queuedMessages, 0);
});

t.test(
  'a retained change of QoS 0 waits for the link, as no other message of QoS 0 does',
  async (t) => {
    const { world, link, publisher } = await worldWith(linksWith());
    link.disconnect();
    world.settle();
    publisher.publish('a/x', 'gone');
    publisher.publish('a/x', 'on', { retain: true });
    publisher.publish('a/y', '', { retain: true });
    world.settle();
    t.match(linked(world).publishes(), [
      { topic: 'a/x', payload: 'on', qos: 1 },
      { topic: 'a/y', payload: '', qos: 1 },
    ]);
  },
);

t.test('age: of the message, looked at when its turn comes', async (t) => {
  const links = linksWith();
  const { world, link, publisher } = await worldWith(links);
  link.disconnect();
  world.settle();
  publisher.publish('a/x', 'old', { qos: 1, id: 1 });
  world.time.pass(50_000);
  publisher.publish('a/x', 'young', { qos: 2, id: 2 });
  world.time.pass(20_000);
  t.strictSame(linked(world).payloads(), ['young']);
  t.equal(world.stats.dropped[Drop.link_budget], 1);
  t.equal([...links.peers][0]!.dropped, 1);
});

t.test('a session that expires drops what it had by that name', async (t) => {
  const links = linksWith();
  const { world, link, publisher } = await worldWith(links);
  link.disconnect();
  world.settle();
  publisher.publish('a/x', 'lost', { qos: 1, id: 1 });
  world.time.pass(3_700_000, 1000);
  t.equal(world.stats.dropped[Drop.link_budget], 1);
  t.equal(world.stats.dropped[Drop.session_expired], 0);
  t.equal(world.stats.queuedMessages, 0);
});

t.test('what it may ask for', async (t) => {
  const links = linksWith({ topics: ['a/#', 'b'] });
  const world = await World.start({ links, limits: { linkSubscriptionsMax: 3 } });
  const link = linked(world);
  const filters = [
    'a/+',
    '#',
    '$link/ap/a/b',
    'c',
    '$SYS/#',
    '$share/g/a',
    '$link/AP/a',
    '$link/a',
  ];
  t.match(subscribe(world, link, ...filters), {
    reasonCodes: [2, 2, 2, 0x87, 0x87, 0x8f, 0x8f, 0x8f],
  });
  t.match(subscribe(world, link, 'b'), { reasonCodes: [0x97] }, 'more than linkSubscriptionsMax');
  t.strictSame(
    [...links.wanted.entries()].map(([filter, regions]) => [filter, [...regions]]).sort(),
    [
      ['#', ['us']],
      ['a/+', ['us']],
      ['a/b', ['ap,us']],
    ],
  );
  const publisher = world.connected(5, 'publisher');
  for (const topic of ['a/1', 'b', 'c']) publisher.publish(topic, topic, { qos: 0 });
  world.settle();
  t.strictSame(link.payloads(), ['a/1', 'b'], 'a wide filter brings no more than it may have');
  t.equal([...links.peers][0]!.withheld, 1);
});

t.test('terms that end: nothing is given any more', async (t) => {
  const links = linksWith();
  const { world, link, publisher } = await worldWith(links);
  publisher.publish('a/1', 'before', { qos: 0 });
  links.revise([]);
  publisher.publish('a/1', 'after', { qos: 0 });
  world.settle();
  t.strictSame(link.payloads(), ['before']);
});

t.test('an ack waits until the copy of a link is safe, too', async (t) => {
  const world = await World.durable({ links: linksWith() });
  const link = linked(world);
  subscribe(world, link, 'a/#');
  link.disconnect();
  world.settle();
  world.store.commit();
  const publisher = world.connected(5, 'publisher');
  publisher.publish('a/x', 'one', { qos: 1, id: 1 });
  world.settle();
  t.strictSame(publisher.receive(), [], 'not before the commit');
  world.store.commit();
  world.settle();
  t.match(publisher.receive(), [{ type: 'puback', reasonCode: 0 }]);
});

t.test('nothing leaves to another region that a crash could still take back', async (t) => {
  const world = await World.durable({ links: linksWith() });
  const link = linked(world);
  subscribe(world, link, 'a/#');
  const publisher = world.connected(5, 'publisher');
  publisher.publish('a/x', 'one', { qos: 1, id: 1 });
  world.settle();
  t.strictSame(link.payloads(), [], 'not before the commit');
  world.store.commit();
  world.settle();
  t.strictSame(link.payloads(), ['one']);
});

t.test('and with others who keep the message, whoever is first', async (t) => {
  for (const names of [
    ['link', 'local'],
    ['local', 'link'],
  ]) {
    const world = await World.durable({ links: linksWith() });
    for (const name of names) {
      const client =
        name === 'link' ? linked(world) : world.connected(5, 'local', { clean: false, expiryS: 9 });
      subscribe(world, client, 'a/#');
      client.disconnect();
      world.settle();
      world.store.commit();
    }
    const publisher = world.connected(5, 'publisher');
    const answers = (): unknown[] => {
      world.settle();
      return publisher.receive().map((one) => [one.type, 'reasonCode' in one && one.reasonCode]);
    };
    for (const qos of [1, 2] as const) {
      publisher.publish('a/x', `${qos}`, { qos, id: qos });
      t.strictSame(answers(), [], `QoS ${qos}, not before the commit`);
      world.store.commit();
      t.strictSame(answers(), [[qos === 1 ? 'puback' : 'pubrec', 0]]);
    }
    publisher.publish('a/x', 'lost', { qos: 1, id: 3 });
    world.store.commit(new Error('full'));
    t.strictSame(answers(), [['puback', 0x97]]);
  }
});

t.test('what was in flight when the connection ended comes again, and only that', async (t) => {
  const world = await World.durable({ commitsAlone: true, links: linksWith({ budgetBytes: 1e9 }) });
  let link = linked(world);
  subscribe(world, link, 'a/#');
  const publisher = world.connected(5, 'publisher');
  const publish = (from: number, to: number): void => {
    for (let i = from; i <= to; i++) {
      publisher.publish('a/x', `${i}`, { qos: i % 10 === 0 ? 2 : 1, id: i });
    }
    world.settle();
  };
  publish(1, 100);
  const ids = new Map<number, number>();
  const take = (): (readonly [number, dup: boolean])[] =>
    link.publishes().map(({ payload, packetId, dup }) => {
      const number = Number(payload);
      if (dup) t.equal(packetId, ids.get(number), 'under the same identifier');
      ids.set(number, packetId);
      return [number, dup];
    });
  const numbers = (from: number, to: number): number[] =>
    Array.from({ length: to - from + 1 }, (_, i) => from + i);
  t.strictSame(
    take(),
    numbers(1, 100).map((number) => [number, false]),
  );
  const acked = [1, 2, 5, 77];
  for (const number of acked) link.ack('puback', ids.get(number)!);
  link.ack('pubrec', ids.get(20)!);
  world.settle();
  t.match(world.stats, { inflightMessages: 96, queuedMessages: 96 });
  for (let connections = 0; connections < 3; connections++) {
    link.sink.close();
    world.settle();
    t.match(world.stats, { inflightMessages: 0 });
    publish(101 + connections * 10, 110 + connections * 10);
    link = linked(world);
    world.settle();
    const open = numbers(1, 100).filter((number) => number !== 20 && !acked.includes(number));
    t.strictSame(take(), [
      ...[...open, ...numbers(101, 100 + connections * 10)].map((number) => [number, true]),
      ...numbers(101 + connections * 10, 110 + connections * 10).map((number) => [number, false]),
    ]);
  }
  for (const [number, id] of ids) {
    if (acked.includes(number)) continue;
    if (number % 10 !== 0) link.ack('puback', id);
    else link.ack(number === 20 ? 'pubcomp' : 'pubrec', id);
  }
  world.settle();
  for (const number of ids.keys()) {
    if (number % 10 === 0 && number !== 20) link.ack('pubcomp', ids.get(number)!);
  }
  world.settle();
  t.match(world.stats, { inflightMessages: 0, queuedMessages: 0, queuedBytes: 0 });
  const [stored] = [...world.store.disk.sessions.values()].filter(
    ({ entries }) => entries.size > 0,
  );
  t.equal(stored, undefined, 'nothing is left in the store');
});

t.test('a session that began anew has sent nothing yet', async (t) => {
  const world = await World.durable({ commitsAlone: true, links: linksWith() });
  const publisher = world.connected(5, 'publisher');
  const connect = (clean: boolean, receiveMaximum: number): FakeClient => {
    const certificate = { subjectCommonName: 'us.example' } as PeerCertificate;
    const sink = Object.assign(new FakeSink(), { certificate });
    return world.connected(5, '$link/us', { clean, expiryS: 3600, receiveMaximum }, sink);
  };
  for (const receiveMaximum of [10, 1]) {
    const link = connect(true, receiveMaximum);
    subscribe(world, link, 'a/#');
    for (const id of [1, 2, 3]) publisher.publish('a/x', `${id}`, { qos: 1, id });
    world.settle();
    t.equal(link.publishes().length, Math.min(3, receiveMaximum));
    link.sink.close();
    world.settle();
  }
  const again = connect(false, 10);
  world.settle();
  t.match(again.publishes(), [
    { payload: '1', dup: true },
    { payload: '2', dup: false },
    { payload: '3', dup: false },
  ]);
});

t.test('what is in flight is not counted to what waits in memory', async (t) => {
  const [inflight, waiting] = [2500, 2500];
  const world = await World.durable({ commitsAlone: true, links: linksWith({ budgetBytes: 1e9 }) });
  const certificate = { subjectCommonName: 'us.example' } as PeerCertificate;
  const sink = Object.assign(new FakeSink(), { certificate });
  const options = { clean: false, expiryS: 3600, receiveMaximum: inflight };
  const link = world.connected(5, '$link/us', options, sink);
  subscribe(world, link, 'a/#');
  let reads = 0;
  const read = world.store.read.bind(world.store);
  world.store.read = (...args) => {
    reads++;
    read(...args);
  };
  const publisher = world.connected(5, 'publisher');
  for (let i = 1; i <= inflight + waiting; i++) {
    publisher.publish('a/x', `${i}`.padEnd(1000), { qos: 1, id: (i % 1000) + 1 });
    if (i % 50 === 0) world.settle();
  }
  const seen: number[] = [];
  for (let i = 0; i < 100 && seen.length < inflight + waiting; i++) {
    world.settle();
    for (const publish of link.publishes()) {
      seen.push(Number(publish.payload));
      link.ack('puback', publish.packetId);
    }
  }
  t.strictSame(
    seen,
    Array.from({ length: inflight + waiting }, (_, i) => i + 1),
  );
  t.equal(reads, 0);
});

t.test(
  'messages of other regions: handed on with their name, not to where they have been',
  async (t) => {
    const links = linksWith();
    const { world, link } = await worldWith(links);
    const local = world.connected(5, 'local', { clean: false, expiryS: 100 });
    subscribe(world, local, 'a/#');
    const view = new PublishView();
    const take = (path: string, qos: 0 | 1 | 2): boolean[] => {
      const topic = Buffer.from('\0\x03a/x');
      view.qos = qos;
      Object.assign(view, { topicBuffer: topic, topicStart: 0, topicEnd: topic.length });
      const payload = Buffer.from(path);
      Object.assign(view, { payloadBuffer: payload, payloadStart: 0, payloadEnd: payload.length });
      const settled: boolean[] = [];
      const id = 'ap.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAB.AAAAAAAB';
      const mark = { origin: { id, path }, version: null };
      world.broker.linkInlet.publish(view, 'a/x', 0, mark, 0, (failed) => settled.push(failed));
      world.settle();
      return settled;
    };
    t.strictSame(take('ap', 1), [false]);
    t.strictSame(take('ap,us', 2), [false]);
    t.strictSame(take('us', 0), [false]);
    t.strictSame(local.payloads(), ['ap', 'ap,us', 'us']);
    const handed = link.publishes();
    t.equal(handed.length, 1);
    const read = new LinkProperties();
    const { properties } = handed[0]!;
    t.ok(read.read(properties, 0, properties.length));
    t.strictSame(
      [read.origin().id, read.path],
      ['ap.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAB.AAAAAAAB', 'ap,eu'],
    );
    t.equal([...links.peers][0]!.returned, 2);
    t.equal(world.broker.linkInlet.refusal('$SYS/x'), 'reserved');
    t.equal(world.broker.linkInlet.refusal('a'.repeat(70_000)), 'too_long');
  },
);
