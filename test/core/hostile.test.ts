/**
 * The broker against what attacks and odd clients have done to others (FIELD section 2, by class):
 * whatever one of them sends, only that one is closed, and nothing is left of it.
 */
import t from 'tap';
import type { ConnectDecision, ConnectRequest } from '../../src/core/ports.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import {
  connectBytes,
  type FakeClient,
  publishBytes,
  subscribeBytes,
  type Version,
} from './fake-client.ts';
import { accepted, FakeClientGate, FakeGate } from './fake-gate.ts';
import { World } from './world.ts';

const versions: readonly Version[] = [3, 4, 5];

/** A pair of clients that must not notice anything. */
class Bystanders {
  readonly #world: World;
  readonly #reader: FakeClient;
  readonly #writer: FakeClient;
  #count = 0;

  constructor(world: World) {
    this.#world = world;
    this.#reader = world.connected(5, 'bystander reader');
    this.#reader.subscribe('bystander', 1);
    this.#writer = world.connected(4, 'bystander writer');
    world.settle();
    this.#reader.receive();
  }

  /** True when they still work. */
  check(): boolean {
    const payload = `${++this.#count}`;
    this.#writer.publish('bystander', payload, { qos: 1, id: this.#count % 60_000 || 1 });
    this.#world.settle();
    const [seen] = this.#reader.publishes();
    if (seen?.payload !== payload) return false;
    this.#reader.ack('puback', seen.packetId);
    this.#world.settle();
    return this.#writer.receive().some((packet) => packet.type === 'puback');
  }

  leave(): void {
    this.#reader.sink.close();
    this.#writer.sink.close();
  }
}

t.test(
  'class 10: `$` namespaces are closed to publish, will and subscribe, `$SYS` is readable',
  async (t) => {
    const world = await World.start();
    const watcher = world.connected(5, 'watcher');
    watcher.subscribe(['#', '+/+', '$SYS/#', '$SYS/+'], 0);
    world.settle();
    const [suback] = watcher.receive();
    t.same(suback?.type === 'suback' && suback.reasonCodes, [0, 0, 0, 0]);
    const closed = [
      '$SYS/x',
      '$CONTROL/dynamic-security/v1',
      '$x',
      '$',
      '$share/g/t',
      '$queue/t',
      '$MQTT/1',
    ];
    for (const topic of closed) {
      for (const version of versions) {
        const will = world.client(version, 'will');
        will.connect({ will: { topic } });
        world.settle();
        const [connack] = will.receive();
        t.ok(
          connack?.type === 'connack' && connack.packet.reasonCode >= 0x80,
          `will ${topic} v${version}`,
        );
        will.sink.close();
        const client = world.connected(version, 'client');
        client.publish(topic, 'x', { qos: 0 });
        client.publish(topic, 'x', { qos: 1, id: 5, retain: true });
        world.settle();
        const [puback] = client.receive();
        if (version === 5) t.equal(puback?.type === 'puback' && puback.reasonCode, 0x87, topic);
        client.sink.close();
      }
      if (topic === '$SYS/x' || topic.startsWith('$share')) continue;
      const subscriber = world.connected(5, 'subscriber');
      subscriber.subscribe([topic, `${topic}/#`, `$share/g/${topic}`], 0);
      world.settle();
      const [refusal] = subscriber.receive();
      t.ok(
        refusal?.type === 'suback' && refusal.reasonCodes.every((code) => code >= 0x80),
        `subscribe ${topic}: ${JSON.stringify(refusal)}`,
      );
      subscriber.sink.close();
    }
    t.same(watcher.payloads(), []);
    t.equal(world.stats.retainedMessages, 0);
    world.broker.publish('$SYS/broker/x', 'from inside', { retain: true });
    world.settle();
    t.same(watcher.payloads(), ['from inside'], 'once, and not through # or +/+');
  },
);

t.test(
  'class 15: packets only a server sends, and types that do not exist, close one client',
  async (t) => {
    for (const version of versions) {
      const world = await World.start();
      const bystanders = new Bystanders(world);
      for (let type = 0; type < 16; type++) {
        for (const flags of [0, 2, 15]) {
          for (const body of [[], [0, 0], [0, 1], [0, 1, 0], new Array(130).fill(0)]) {
            const packet = Buffer.from([
              (type << 4) | flags,
              ...(body.length > 127 ? [130, 1] : [body.length]),
              ...body,
            ]);
            // As the first packet, and behind CONNECT.
            const early = world.client(version, 'hostile');
            early.send(Buffer.from(packet));
            const late = world.connected(version, 'hostile');
            late.send(Buffer.from(packet));
            world.settle();
            const isServerOnly = [0, 2, 9, 11, 13].includes(type) || (type === 15 && version !== 5);
            if (isServerOnly && !late.sink.ended) t.fail(`v${version} type ${type} is taken`);
            if (type !== PacketType.CONNECT && !early.sink.destroyed)
              t.fail(`type ${type} before CONNECT`);
            late.receive();
            early.sink.close();
            late.sink.close();
          }
        }
        if (!bystanders.check()) t.fail(`v${version} type ${type} hurt others`);
      }
      bystanders.leave();
      t.same(world.leftovers(), {}, `v${version}`);
      t.equal(world.stats.internalErrors, 0);
    }
  },
);

t.test('class 16: an error of a gate or handler costs one connection', async (t) => {
  const world = await World.start({
    gate: new (class extends FakeGate {
      override connect({ packet }: ConnectRequest): ConnectDecision {
        if (packet?.clientId === 'throws at connect') throw new Error('connect');
        const client = new FakeClientGate();
        client.filtersReceive = true;
        client.publish = (topic) => {
          if (topic === 'throws') throw new Error('publish');
          return 1;
        };
        client.subscribe = (filter) => {
          if (filter === 'throws') throw new Error('subscribe');
          return 1;
        };
        client.receive = (topic) => {
          if (packet?.clientId === 'throws at receive' && topic === 'bystander') {
            throw new Error('receive');
          }
          return true;
        };
        return accepted(null, client);
      }
    })(),
  });
  const bystanders = new Bystanders(world);
  const hostile: { readonly [name: string]: () => FakeClient } = {
    connect: () => {
      const client = world.client(5, 'throws at connect');
      client.connect();
      return client;
    },
    publish: () => {
      const client = world.connected(5, 'a');
      client.publish('throws', 'x', { qos: 1, id: 1 });
      return client;
    },
    subscribe: () => {
      const client = world.connected(5, 'b');
      client.subscribe('throws');
      return client;
    },
    'receive, beside others': () => {
      const client = world.connected(5, 'throws at receive');
      client.subscribe('bystander', 1);
      bystanders.check();
      return client;
    },
  };
  for (const [name, attack] of Object.entries(hostile)) {
    const before = world.stats.internalErrors;
    const client = attack();
    world.settle();
    t.ok(client.sink.ended || client.sink.destroyed, `${name}: closed`);
    t.ok(world.stats.internalErrors > before, `${name}: counted`);
    client.sink.close();
    t.ok(bystanders.check(), `${name}: others go on`);
  }
  bystanders.leave();
  t.same(world.leftovers(), {});
});

t.test('class 17: 65,535 slashes in topic, filter and will', async (t) => {
  const deep = '/'.repeat(65_535);
  const wild = '+/'.repeat(32_767);
  const world = await World.start();
  const bystanders = new Bystanders(world);
  const started = process.hrtime.bigint();
  for (const version of [4, 5] as const) {
    for (const filter of [deep, wild, `${wild}#`, `$share/g/${deep.slice(0, 60_000)}`]) {
      const client = world.connected(version, 'deep');
      client.subscribe(filter, 1);
      world.settle();
      const [suback] = client.receive();
      t.same(suback?.type === 'suback' && suback.reasonCodes, [version === 5 ? 0x8f : 0x80]);
      client.unsubscribe(filter);
      client.publish(deep, 'x', { qos: 1, id: 3 });
      client.publish(deep, 'x', { qos: 0, retain: true });
      world.settle();
      t.ok(client.sink.ended);
      client.sink.close();
    }
    for (const [topic, isDestroyed] of [
      [deep.slice(0, 60_000), false],
      [deep, true],
    ] as const) {
      const will = world.client(version, 'will');
      will.connect({ will: { topic } });
      world.settle();
      t.ok(
        isDestroyed ? will.sink.destroyed : will.sink.ended,
        'the longer is over connectBytesMax',
      );
      will.sink.close();
    }
  }
  // As deep as allowed, with every filter that matches.
  const client = world.connected(5, 'allowed');
  const levels = 200;
  client.subscribe(
    [`${'a/'.repeat(levels - 1)}a`, `${'+/'.repeat(levels - 1)}+`, `${'+/'.repeat(levels - 1)}#`],
    0,
  );
  client.publish(`${'a/'.repeat(levels - 1)}a`, 'x', { retain: true });
  world.settle();
  t.equal(client.publishes().length, 1);
  client.subscribe(`${'+/'.repeat(levels - 1)}#`, 0);
  world.settle();
  t.equal(client.publishes().length, 1);
  client.sink.close();
  t.ok(bystanders.check());
  bystanders.leave();
  t.same(world.leftovers(), {});
  const ms = Number(process.hrtime.bigint() - started) / 1e6;
  t.ok(ms < 3000, `${ms.toFixed(0)} ms`);
});

t.test(
  'class 18: many wildcard filters that all match cost a bounded time for one message',
  async (t) => {
    const world = await World.start();
    const client = world.connected(5, 'x');
    const levels = 12;
    const filters: string[] = [];
    for (let i = 0; i < 4096; i++) {
      filters.push(
        Array.from({ length: levels }, (_, bit) => ((i >> bit) & 1 ? '+' : 'a')).join('/'),
      );
    }
    for (let i = 0; i < filters.length; i += 512) client.subscribe(filters.slice(i, i + 512), 0);
    world.settle();
    client.receive();
    const started = process.hrtime.bigint();
    client.publish(`${'a/'.repeat(levels - 1)}a`, 'x');
    world.settle();
    const ms = Number(process.hrtime.bigint() - started) / 1e6;
    t.equal(client.publishes().length, 1, 'one copy for 4096 overlapping subscriptions');
    t.ok(ms < 500, `${ms.toFixed(1)} ms`);
  },
);

t.test(
  'class 18: 4096 overlapping subscriptions with identifiers are merged without a quadratic copy',
  async (t) => {
    const world = await World.start();
    const client = world.connected(5, 'x');
    const levels = 12;
    for (let i = 0; i < 4096; i++) {
      const filter = Array.from({ length: levels }, (_, bit) => ((i >> bit) & 1 ? '+' : 'a')).join(
        '/',
      );
      client.subscribe(filter, 0, i + 1);
    }
    world.settle();
    client.receive();
    const started = process.hrtime.bigint();
    client.publish(`${'a/'.repeat(levels - 1)}a`, 'x');
    world.settle();
    const ms = Number(process.hrtime.bigint() - started) / 1e6;
    const [got] = client.publishes();
    t.equal(new Set(got?.subscriptionIds).size, 4096);
    t.ok(ms < 500, `${ms.toFixed(1)} ms`);
  },
);

t.test('class 19: ten thousand odd handshakes leave nothing behind', async (t) => {
  const world = await World.durable({ commitsAlone: true });
  const bystanders = new Bystanders(world);
  const odd: ((client: FakeClient) => void)[] = [
    () => {},
    (client) => client.send(Buffer.from([0x10])),
    (client) => client.send(connectBytes(5, client.clientId).subarray(0, 20)),
    (client) => client.send(connectBytes(5, ''), connectBytes(5, '')),
    (client) => client.connect({ will: { topic: 'will/+' } }),
    (client) =>
      client.connect({
        will: {
          topic: 'will',
          delayIntervalS: 1,
          properties: Buffer.from([0x26, 0, 1, 0x61, 0, 1, 0x62]),
        },
      }),
    (client) => client.connect({ authenticationMethod: 'unknown' }),
    (client) => client.connect({ expiryS: 1, will: { topic: 'will', delayIntervalS: 5 } }),
    (client) => {
      client.connect({ expiryS: 1 });
      client.publish('t', 'x', { qos: 2, id: 1 });
      client.publish('t', 'x', { qos: 2, id: 1, dup: true });
    },
    (client) => {
      client.connect();
      client.subscribe(['a/#', '$share/g/a/#', 'b'], 2);
      client.publish('b', 'x', { qos: 2, id: 7 });
    },
    (client) => {
      client.connect({ clean: false, expiryS: 1 });
      client.subscribe('a/#', 1);
      client.disconnect(0, 0);
    },
    (client) => {
      client.connect();
      client.disconnect(4, 100);
    },
    (client) => client.send(Buffer.from('\x10\x0c\x00\x04MQTT\x07\x02\x00\x00\x00\x00', 'latin1')),
  ];
  for (let i = 0; i < 10_000; i++) {
    const client = world.client(5, `odd ${i % 10}`);
    odd[i % odd.length]!(client);
    if (i % 3 === 0) world.settle();
    if (i % 7 !== 0) client.sink.close();
    else client.sink.close(new Error('reset'));
    if (i % 100 === 0) world.time.pass(500);
  }
  world.time.pass(30_000, 500);
  t.ok(bystanders.check());
  bystanders.leave();
  world.settle();
  t.same(world.leftovers(), {});
  t.equal(world.stats.internalErrors, 0);
  t.equal(world.store.disk.sessions.size, 0, 'nothing is left on disk');
  t.same(world.errors, []);
});

t.test(
  'class 22: a storm of one client id, with subscriptions and messages under way',
  async (t) => {
    const world = await World.durable({ commitsAlone: true });
    const publisher = world.connected(4, 'publisher');
    let last: FakeClient | null = null;
    const seen = new Set<string>();
    let acked = 0;
    const take = (client: FakeClient): void => {
      for (const packet of client.receive()) {
        if (packet.type !== 'publish') continue;
        seen.add(packet.publish.payload);
        // Half of the acks are never sent.
        if (seen.size % 2 === 0) client.ack('puback', packet.publish.packetId);
      }
    };
    for (let i = 0; i < 2000; i++) {
      const client = world.client(5, 'storm');
      client.connect({ clean: false, expiryS: 100 });
      if (i === 0) client.subscribe('t', 1);
      if (i % 5 === 0) world.settle();
      if (i > 0 && i % 4 === 0) {
        publisher.publish('t', `${++acked}`, { qos: 1, id: (acked % 1000) + 1 });
      }
      if (last !== null) {
        take(last);
        if (i % 3 === 0) last.sink.close();
      }
      last = client;
      if (world.stats.sessions > 2) t.fail('more than one session of that id');
    }
    for (let i = 0; i < 10; i++) {
      world.settle();
      for (const packet of last!.receive()) {
        if (packet.type !== 'publish') continue;
        seen.add(packet.publish.payload);
        last!.ack('puback', packet.publish.packetId);
      }
    }
    t.equal(seen.size, acked, 'every acked message came');
    t.equal(world.stats.sessionsTakenOver > 0, true);
    last!.disconnect(0, 0);
    world.settle();
    t.equal(world.stats.sessions, 1);
    t.equal(world.stats.queuedMessages, 0);
    t.equal(world.stats.inflightMessages, 0);
  },
);

t.test('class 31: names like __proto__ and constructor are names', async (t) => {
  const names = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'];
  const world = await World.start();
  const reader = world.connected(5, 'reader');
  reader.subscribe(['#'], 0);
  world.settle();
  reader.receive();
  for (const name of names) {
    const client = world.connected(5, name, { expiryS: 10 });
    client.subscribe([`${name}/${name}`, `$share/${name}/${name}`], 1);
    // A user property of that name, with itself as value.
    const text = Buffer.from(name);
    const field = Buffer.concat([Buffer.from([0, text.length]), text]);
    const properties = Buffer.concat([Buffer.from([0x26]), field, field]);
    client.publish(`${name}/${name}`, name, { retain: true, qos: 1, id: 1, properties });
    client.publish(name, name, { qos: 1, id: 2, alias: 1 });
    client.send(publishBytes(5, '', name, { qos: 1, id: 3, alias: 1 }));
    world.settle();
    t.equal(client.publishes().length, 3, name);
    const seen = reader.publishes();
    t.same(
      seen.map((publish) => publish.topic),
      [`${name}/${name}`, name, name],
    );
    t.same(seen[0]!.properties, properties);
    client.sink.close();
    const again = world.connected(5, name, { clean: false });
    t.equal(again.publishes().length, 3, 'the session is the same');
    again.sink.close();
  }
  t.equal(({} as Record<string, unknown>).polluted, undefined);
  t.equal(Object.keys(Object.prototype).length, 0);
  t.equal(world.stats.internalErrors, 0);
});

t.test('SUBSCRIBE and UNSUBSCRIBE with broken filters refuse those filters alone', async (t) => {
  const world = await World.start();
  const client = world.connected(5, 'x');
  const broken = [
    'a#',
    '#/a',
    'a/#/b',
    '+a',
    'a+/b',
    '$share/g',
    '$share//t',
    '$share/g/',
    '$share/+/t',
    '$share/g#/t',
  ];
  for (const filter of broken) {
    if (client.sink.ended) t.fail(`closed at ${filter}`);
    client.send(subscribeBytes(5, 9, ['ok', filter]));
    world.settle();
    const [answer] = client.receive();
    t.ok(
      answer?.type === 'suback' && answer.reasonCodes[0] === 0 && answer.reasonCodes[1]! >= 0x80,
      `${filter}: ${JSON.stringify(answer)}`,
    );
  }
  t.equal(world.stats.subscriptions, 1);
});
