/**
 * core/sessions and CONNECT: who may have a session, what a resumed one brings, and that everything
 * the gate handed out for a connection is handed back, however it ends.
 */
import t from 'tap';
import type { ConnectDecision, ConnectRequest, Verdict } from '../../src/core/ports.ts';
import { WAIT } from '../../src/core/ports.ts';
import type { ConnectOptions, FakeClient, Received, Version } from './fake-client.ts';
import { accepted, FakeClientGate, FakeGate } from './fake-gate.ts';
import { World } from './world.ts';

/** Counts client gates that are open. */
class CountingGate extends FakeGate {
  opened = 0;
  closed = 0;
  waits = false;
  readonly #waiting: (() => void)[] = [];

  override connect(
    request: ConnectRequest,
    decide: (decision: ConnectDecision) => void,
  ): ConnectDecision | typeof WAIT {
    const decision = (): ConnectDecision => {
      this.opened++;
      return accepted(request.packet?.username ?? null, new CountedGate(this));
    };
    if (!this.waits) return decision();
    this.#waiting.push(() => decide(decision()));
    return WAIT;
  }

  answer(): void {
    for (const waiting of this.#waiting.splice(0)) waiting();
  }
}

class CountedGate extends FakeClientGate {
  readonly #gate: CountingGate;
  #isOpen = true;

  constructor(gate: CountingGate) {
    super();
    this.#gate = gate;
  }

  override publish(topic: string): Verdict {
    return topic.startsWith('denied') ? 0 : 1;
  }

  override closed(): void {
    if (!this.#isOpen) throw new Error('closed twice');
    this.#isOpen = false;
    this.#gate.closed++;
  }
}

function connack(packets: readonly Received[]): { code: number; present: boolean } | null {
  const first = packets[0];
  if (first?.type !== 'connack') return null;
  return { code: first.packet.reasonCode, present: first.packet.sessionPresent };
}

t.test(
  'class 23: only the identity that made a session may resume, clean or take it over',
  async (t) => {
    const world = await World.start({ gate: new CountingGate() });
    const owner = world.connected(5, 'id', { username: 'owner', expiryS: 100 });
    owner.subscribe('t', 1);
    world.settle();
    owner.receive();
    const attempts: readonly [Version, ConnectOptions][] = [
      [5, { username: 'thief', clean: false }],
      [5, { username: 'thief', clean: true }],
      [4, { username: 'thief', clean: false }],
      [5, {}],
    ];
    for (const isOwnerThere of [true, false]) {
      if (!isOwnerThere) owner.sink.close();
      for (const [version, options] of attempts) {
        const thief = world.client(version, 'id');
        thief.connect(options);
        world.settle();
        t.equal(connack(thief.receive())?.code, 0x87);
        thief.sink.close();
      }
    }
    const publisher = world.connected(5, 'p', { username: 'p' });
    publisher.publish('t', 'mine', { qos: 1, id: 1 });
    const again = world.connected(5, 'id', { username: 'owner', clean: false, expiryS: 100 });
    t.same(again.payloads(), ['mine']);
  },
);

t.test(
  'class 19: what the gate gave for a connection is given back, however it ends',
  async (t) => {
    const gate = new CountingGate();
    const world = await World.start({ gate, limits: { sessionsMax: 2 } });
    world.connected(5, 'owned', { username: 'owner', expiryS: 100 });
    const start = (id: string, options: ConnectOptions): FakeClient => {
      const client = world.client(5, id);
      client.connect(options);
      return client;
    };
    const ways: { readonly [name: string]: () => void } = {
      'connected and closed': () => start('a', {}).sink.close(),
      'connected and taken over': () => {
        start('a', {});
        start('a', {}).sink.close();
      },
      'foreign session': () => start('owned', { username: 'thief' }).sink.close(),
      'denied will': () => start('a', { will: { topic: 'denied/x' } }).sink.close(),
      'too many sessions': () => {
        const one = start('a', {});
        const two = start('b', {});
        one.sink.close();
        two.sink.close();
      },
      'gone before the decision': () => {
        gate.waits = true;
        start('a', {}).sink.close();
        gate.answer();
        gate.waits = false;
      },
      'timed out before the decision': () => {
        gate.waits = true;
        const client = start('a', {});
        world.time.pass(11_000);
        t.ok(client.sink.destroyed);
        gate.answer();
        client.sink.close();
        gate.waits = false;
      },
      'decided later': () => {
        gate.waits = true;
        const client = start('a', {});
        world.settle();
        t.same(client.receive(), []);
        gate.answer();
        gate.waits = false;
        world.settle();
        t.equal(connack(client.receive())?.code, 0);
        client.disconnect();
        client.sink.close();
      },
    };
    for (const [name, way] of Object.entries(ways)) {
      way();
      world.settle();
      t.equal(gate.opened - gate.closed, 1, `${name}: only the owner's is open`);
    }
  },
);

t.test(
  'class 3: what follows CONNECT waits for the decision, and is nothing when it is no',
  async (t) => {
    const gate = new CountingGate();
    gate.waits = true;
    const world = await World.start({ gate });
    const client = world.client(5, 'eager');
    client.connect();
    client.subscribe('t', 0);
    client.publish('t', 'early', { qos: 1, id: 1, retain: true });
    world.settle();
    t.same(client.receive(), []);
    t.equal(world.stats.retainedMessages, 0);
    gate.answer();
    world.settle();
    t.same(
      client.receive().map((packet) => packet.type),
      ['connack', 'suback', 'publish', 'puback'],
    );
  },
);

t.test('session present and what a session keeps, by version and clean start', async (t) => {
  for (const version of [3, 4, 5] as const) {
    const keep: ConnectOptions = version === 5 ? { clean: false, expiryS: 10 } : { clean: false };
    const world = await World.start();
    const publisher = world.connected(5, 'p');
    const first = world.client(version, 'c');
    first.connect(keep);
    world.settle();
    t.same(connack(first.receive()), { code: 0, present: false });
    first.subscribe(['t', 'gone'], 1);
    first.unsubscribe('gone');
    first.disconnect();
    first.sink.close();
    publisher.publish('t', 'kept', { qos: 1, id: 1 });
    publisher.publish('gone', 'not this', { qos: 1, id: 2 });
    publisher.publish('t', 'nor QoS 0');
    const second = world.client(version, 'c');
    second.connect(keep);
    world.settle();
    const got = second.receive();
    t.same(connack(got), { code: 0, present: version !== 3 });
    t.same(
      got.flatMap((packet) => (packet.type === 'publish' ? [packet.publish.payload] : [])),
      ['kept'],
    );
    second.sink.close();
    const clean = world.client(version, 'c');
    clean.connect({ clean: true });
    world.settle();
    t.same(connack(clean.receive()), { code: 0, present: false });
    publisher.publish('t', 'nobody', { qos: 1, id: 3 });
    world.settle();
    t.same(clean.payloads(), []);
    clean.sink.close();
    publisher.sink.close();
    t.same(world.leftovers(), {}, `v${version}`);
  }
});

t.test(
  'a session ends when its expiry is over, not before, and its messages are counted',
  async (t) => {
    const world = await World.start();
    const client = world.connected(5, 'c', { expiryS: 10 });
    client.subscribe('t', 1);
    client.sink.close();
    const publisher = world.connected(5, 'p');
    publisher.publish('t', 'x', { qos: 1, id: 1 });
    world.time.pass(9900);
    t.equal(world.stats.sessions, 2);
    world.time.pass(200);
    t.equal(world.stats.sessions, 1);
    t.equal(world.stats.sessionsExpired, 1);
    publisher.sink.close();
    t.same(world.leftovers(), {});
  },
);

t.test('the wall clock may jump: a session does not end early when it goes back', async (t) => {
  const world = await World.start();
  const client = world.connected(5, 'c', { expiryS: 100 });
  client.sink.close();
  world.time.wallOffsetMs -= 3_600_000;
  world.time.pass(99_000, 1000);
  t.equal(world.stats.sessions, 1);
  const again = world.client(5, 'c');
  again.connect({ clean: false, expiryS: 100 });
  world.settle();
  t.equal(connack(again.receive())?.present, true);
});

t.test('limits of connections and sessions are told', async (t) => {
  const world = await World.start({ limits: { connectionsMax: 2 } });
  world.connected(5, 'a');
  world.connected(4, 'b');
  for (const version of [4, 5] as const) {
    const third = world.client(version, 'c');
    third.connect();
    world.settle();
    t.equal(connack(third.receive())?.code, version === 5 ? 0x97 : 0x88);
    t.ok(third.sink.ended);
    third.sink.close();
  }
  const none = world.client(5, 'd', undefined, {
    name: 'full',
    transport: 'tcp',
    limits: { connectionsMax: 0 },
  });
  t.ok(none.sink.destroyed, 'a listener with its own limit');
});

t.test(
  'the overlap of a no-local and an ordinary subscription gives its own message once',
  async (t) => {
    const world = await World.start();
    const client = world.connected(5, 'c');
    client.subscribe([{ filter: 'a/#', noLocal: true }], 2, 1);
    client.subscribe([{ filter: 'a/b' }], 0, 2);
    client.subscribe([{ filter: '+/b', noLocal: true }], 1, 3);
    const other = world.connected(5, 'o');
    world.settle();
    client.receive();
    client.publish('a/b', 'own', { qos: 2, id: 1 });
    other.publish('a/b', 'foreign', { qos: 2, id: 1 });
    client.publish('a/c', 'own, no local');
    world.settle();
    const seen = client
      .publishes()
      .map(
        ({ payload, qos, subscriptionIds }) => `${payload} ${qos} ${[...subscriptionIds].sort()}`,
      );
    t.same(seen, ['own 0 2', 'foreign 2 1,2,3']);
  },
);
