/**
 * core/sessions: wills. Every way a connection can end, by will delay, by session expiry and by what
 * comes next (FIELD class 24), over restarts, and never for a client that was refused.
 */
import t from 'tap';
import type { ConnectDecision, ConnectRequest } from '../../src/core/ports.ts';
import type { ConnectOptions, FakeClient } from './fake-client.ts';
import { accepted, FakeClientGate, FakeGate } from './fake-gate.ts';
import { FakeDisk } from './fake-store.ts';
import { World } from './world.ts';

/** How the connection ends. */
const endings: { readonly [name: string]: (client: FakeClient, world: World) => void } = {
  'socket closed': (client) => client.sink.close(),
  'socket failed': (client) => client.sink.close(new Error('reset')),
  'protocol error': (client) => client.send(Buffer.from([0x00, 0x00])),
  'DISCONNECT 0x04': (client) => client.disconnect(0x04),
  'keep alive': (_client, world) => world.time.pass(1600),
};

/** Wills seen by a watcher, with the time they came at. */
class Watcher {
  readonly seen: { readonly payload: string; readonly atMs: number }[] = [];
  readonly #client: FakeClient;
  readonly #world: World;
  readonly #startMs: number;

  constructor(world: World) {
    this.#world = world;
    this.#client = world.connected(5, 'watcher');
    this.#client.subscribe('will/#', 1);
    world.settle();
    this.#startMs = world.time.nowMs;
  }

  /** Lets time pass, second by second. */
  pass(ms: number): void {
    const endMs = this.#world.time.nowMs + ms;
    while (this.#world.time.nowMs < endMs) {
      this.#world.time.pass(Math.min(1000, endMs - this.#world.time.nowMs));
      this.read();
    }
  }

  read(): string[] {
    this.#world.settle();
    for (const { payload, packetId, qos } of this.#client.publishes()) {
      if (qos === 1) this.#client.ack('puback', packetId);
      this.seen.push({ payload, atMs: this.#world.time.nowMs - this.#startMs });
    }
    return this.seen.map(({ payload }) => payload);
  }
}

function options(delayS: number, expiryS: number): ConnectOptions {
  return {
    expiryS,
    keepAliveS: 1,
    will: { topic: 'will/c', payload: Buffer.from('dead'), qos: 1, delayIntervalS: delayS },
  };
}

t.test(
  '[MQTT5-3.1.3-9] delay x expiry: due at the delay or the session end, whichever is first',
  async (t) => {
    for (const [name, end] of Object.entries(endings)) {
      for (const delayS of [0, 5, 60]) {
        for (const expiryS of [0, 20]) {
          const world = await World.start();
          const watcher = new Watcher(world);
          const client = world.connected(5, 'c', options(delayS, expiryS));
          end(client, world);
          client.sink.close();
          watcher.read();
          const early = watcher.seen.length;
          const dueS = Math.min(delayS, expiryS);
          if (dueS > 0) {
            t.equal(early, 0, `${name}, delay ${delayS}, expiry ${expiryS}: not before its time`);
            watcher.pass((dueS - 1) * 1000);
            t.equal(watcher.seen.length, 0);
          }
          watcher.pass(100_000);
          t.same(watcher.read(), ['dead'], `${name}, delay ${delayS}, expiry ${expiryS}: once`);
          const { atMs } = watcher.seen[0]!;
          t.ok(atMs >= dueS * 1000 && atMs <= dueS * 1000 + 4000, `at ${atMs} ms`);
          t.equal(world.stats.sessions, 1, 'the watcher');
        }
      }
    }
  },
);

t.test('[MQTT5-3.14.4-3] DISCONNECT 0x00 takes the will away', async (t) => {
  for (const delayS of [0, 5]) {
    for (const expiryS of [0, 20]) {
      const world = await World.start();
      const watcher = new Watcher(world);
      const client = world.connected(5, 'c', options(delayS, expiryS));
      client.disconnect();
      client.sink.close();
      watcher.pass(60_000);
      t.same(watcher.read(), []);
      t.equal(world.stats.willsPublished, 0);
    }
  }
});

t.test('a takeover: delay x expiry x clean start', async (t) => {
  for (const delayS of [0, 5]) {
    for (const expiryS of [0, 20]) {
      for (const clean of [false, true]) {
        const world = await World.start();
        const watcher = new Watcher(world);
        const first = world.connected(5, 'c', options(delayS, expiryS));
        const second = world.connected(5, 'c', { ...options(delayS, expiryS), clean });
        t.same(first.receive(), [{ type: 'disconnect', reasonCode: 0x8e }]);
        // Only a will that is delayed in a session that goes on is not sent [MQTT5-3.1.3-9].
        const isKept = delayS > 0 && expiryS > 0 && !clean;
        const name = `delay ${delayS}, expiry ${expiryS}, clean ${clean}`;
        t.same(watcher.read(), isKept ? [] : ['dead'], name);
        second.disconnect();
        watcher.pass(30_000);
        t.equal(watcher.seen.length, isKept ? 0 : 1, `${name}: nothing follows`);
      }
    }
  }
});

t.test('a client that comes back before the delay is over: no will, later again one', async (t) => {
  const world = await World.start();
  const watcher = new Watcher(world);
  const first = world.connected(5, 'c', options(5, 20));
  first.sink.close();
  watcher.pass(3000);
  const second = world.connected(5, 'c', {
    clean: false,
    expiryS: 20,
    will: { topic: 'will/c', payload: Buffer.from('second'), qos: 0, delayIntervalS: 5 },
  });
  watcher.pass(60_000);
  t.same(watcher.read(), []);
  second.sink.close();
  watcher.pass(60_000);
  t.same(watcher.read(), ['second']);
});

t.test('a session expiry changed by DISCONNECT counts', async (t) => {
  const world = await World.start();
  const watcher = new Watcher(world);
  const client = world.connected(5, 'c', options(60, 100));
  client.disconnect(0x04, 10);
  client.sink.close();
  watcher.pass(9000);
  t.same(watcher.read(), []);
  watcher.pass(3000);
  t.same(watcher.read(), ['dead'], 'the session ended before the delay');
});

t.test('delays and expiries beyond 24 days are kept to the second', async (t) => {
  const dayS = 86_400;
  const world = await World.start({ limits: { sessionExpiryMaxS: 0xffff_ffff } });
  const watcher = new Watcher(world);
  const client = world.connected(5, 'c', {
    ...options(40 * dayS, 60 * dayS),
    keepAliveS: 0,
  });
  client.sink.close();
  world.time.pass(40 * dayS * 1000 - 2000, 60_000);
  t.same(watcher.read(), []);
  t.equal(world.stats.sessions, 2);
  watcher.pass(3000);
  t.same(watcher.read(), ['dead']);
  world.time.pass(20 * dayS * 1000 - 3000, 60_000);
  t.equal(world.stats.sessions, 2, 'not before 60 days');
  watcher.pass(3000);
  t.equal(world.stats.sessions, 1);
  t.equal(world.stats.sessionsExpired, 1);
});

t.test('wills over a restart: due when the delay is over, and never after a goodbye', async (t) => {
  const cases = [
    { name: 'connected', delayS: 0, expiryS: 0, end: () => {}, expected: ['dead'] },
    { name: 'connected, delayed', delayS: 5, expiryS: 20, end: () => {}, expected: ['dead'] },
    {
      name: 'pending',
      delayS: 5,
      expiryS: 20,
      end: (client: FakeClient) => client.sink.close(),
      expected: ['dead'],
    },
    {
      name: 'said goodbye',
      delayS: 0,
      expiryS: 0,
      end: (client: FakeClient) => client.disconnect(),
      expected: [],
    },
    {
      name: 'said goodbye, session stays',
      delayS: 0,
      expiryS: 20,
      end: (client: FakeClient) => client.disconnect(),
      expected: [],
    },
    {
      name: 'fired before',
      delayS: 0,
      expiryS: 20,
      end: (client: FakeClient) => client.sink.close(),
      expected: [],
    },
    {
      name: 'fired before, session gone',
      delayS: 0,
      expiryS: 0,
      end: (client: FakeClient) => client.sink.close(),
      expected: [],
    },
  ];
  for (const { name, delayS, expiryS, end, expected } of cases) {
    const disk = new FakeDisk();
    const before = await World.durable({ disk, commitsAlone: true });
    end(before.connected(5, 'c', { ...options(delayS, expiryS), keepAliveS: 0 }));
    before.settle();
    const { time } = before;
    time.forget();
    time.nowMs += 1000;
    const after = await World.durable({ disk, time, commitsAlone: true });
    const watcher = new Watcher(after);
    watcher.pass(30_000);
    t.same(watcher.read(), expected, name);
    t.equal(disk.sessions.size, 0, `${name}: nothing is left on disk`);
  }
});

t.test(
  'the interval of a will counts from its publication, and it is retained if it says so',
  async (t) => {
    const world = await World.start();
    const client = world.connected(5, 'c', {
      expiryS: 100,
      will: { topic: 'will/c', qos: 1, retain: true, delayIntervalS: 50, messageExpiryS: 20 },
    });
    client.sink.close();
    world.time.pass(60_000);
    const reader = world.connected(5, 'reader');
    reader.subscribe('will/#', 1);
    world.settle();
    const [will] = reader.publishes();
    t.equal(will?.payload, 'will');
    t.equal(will?.retain, true);
    t.ok(will!.expiryS >= 9 && will!.expiryS <= 11, `${will!.expiryS} s left`);
    world.time.pass(20_000);
    reader.subscribe('will/+', 1);
    world.settle();
    t.same(reader.payloads(), []);
  },
);

t.test(
  'a refused CONNECT has no will: bad topic, `$`, denied, foreign session, wrong version',
  async (t) => {
    const world = await World.start({
      gate: new (class extends FakeGate {
        override connect({ packet }: ConnectRequest): ConnectDecision {
          const { username } = packet!;
          const client = new FakeClientGate();
          client.publish = (topic) => (topic.startsWith('denied/') ? 0 : 1);
          const decision = accepted(username, client);
          return username === 'bad' ? { ...decision, refusal: 'not_authorized' } : decision;
        }
      })(),
    });
    const all = world.connected(5, 'all', { username: 'all' });
    all.subscribe(['#', '$SYS/#'], 0);
    world.settle();
    all.receive();
    const owner = world.connected(5, 'owned', {
      username: 'owner',
      expiryS: 100,
      will: { topic: 'will/owner' },
    });
    const refused: {
      readonly name: string;
      readonly id: string;
      readonly connect: ConnectOptions;
    }[] = [
      { name: 'not authorized', id: 'x', connect: { username: 'bad', will: { topic: 'will/x' } } },
      { name: 'denied topic', id: 'x', connect: { username: 'u', will: { topic: 'denied/x' } } },
      { name: '$SYS', id: 'x', connect: { username: 'u', will: { topic: '$SYS/x' } } },
      { name: '$CONTROL', id: 'x', connect: { username: 'u', will: { topic: '$CONTROL/x' } } },
      {
        name: 'foreign',
        id: 'owned',
        connect: { username: 'thief', will: { topic: 'will/thief' } },
      },
    ];
    for (const { name, id, connect } of refused) {
      for (const version of [4, 5] as const) {
        const client = world.client(version, id);
        client.connect(connect);
        world.settle();
        const [answer] = client.receive();
        t.equal(answer?.type, 'connack', name);
        t.ok(answer?.type === 'connack' && answer.packet.reasonCode >= 0x80, `${name} v${version}`);
        client.sink.close();
      }
    }
    world.time.pass(5000);
    t.same(all.payloads(), []);
    t.equal(owner.receive().length, 0, 'the owner of the foreign session stays connected');
    t.equal(world.stats.sessions, 2);
  },
);
