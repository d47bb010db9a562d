/**
 * core/inlet: whatever way bytes are cut into chunks and parsing is held and released, the broker sees
 * the same packets in the same order, and answers what it cannot parse.
 */
import fc from 'fast-check';
import t from 'tap';
import {
  ALLOW,
  type AuthAnswer,
  type ConnectDecision,
  type GateWaiter,
  type Verdict,
  WAIT,
} from '../../src/core/ports.ts';
import { encodeAuth } from '../../src/wire/auth.ts';
import { PINGREQ } from '../../src/wire/ping.ts';
import { connectBytes, publishBytes, subscribeBytes } from './fake-client.ts';
import { accepted, FakeClientGate, FakeGate } from './fake-gate.ts';
import { World } from './world.ts';

/** A gate that lets the test say when it knows. */
class SlowGate extends FakeGate {
  /** Every method is known, and decided at once. */
  override readonly enhanced = {
    begin: () => ({
      step: (_data: Buffer | null, next: (answer: AuthAnswer) => void) =>
        next({ kind: 'decided', decision: this.connect() }),
    }),
  };
  /** How often the next questions are answered with WAIT. */
  waits = 0;
  #waiter: GateWaiter | null = null;
  asked: string[] = [];

  override connect(): ConnectDecision {
    return accepted(null, new SlowClientGate(this));
  }

  answer(topic: string, waiter: GateWaiter): typeof ALLOW | typeof WAIT {
    if (this.waits > 0) {
      this.waits--;
      if (this.#waiter !== null) throw new Error('asked again before the answer');
      this.#waiter = waiter;
      return WAIT;
    }
    this.asked.push(topic);
    return ALLOW;
  }

  get isWaiting(): boolean {
    return this.#waiter !== null;
  }

  resume(): void {
    const waiter = this.#waiter;
    this.#waiter = null;
    waiter?.resume();
  }
}

class SlowClientGate extends FakeClientGate {
  readonly #gate: SlowGate;

  constructor(gate: SlowGate) {
    super();
    this.#gate = gate;
  }

  override publish(...[topic, , , , waiter]: Parameters<FakeClientGate['publish']>): Verdict {
    return this.#gate.answer(topic, waiter);
  }

  override subscribe(filter: string, _qos: number, waiter: GateWaiter): Verdict {
    return this.#gate.answer(filter, waiter);
  }
}

/** What each packet of the stream leads to, in order. */
function stream(count: number): { bytes: Buffer; topics: string[] } {
  const packets: Buffer[] = [connectBytes(5, 'sender')];
  const topics: string[] = [];
  for (let i = 0; i < count; i++) {
    if (i % 7 === 6) {
      packets.push(subscribeBytes(5, i + 1, [`s/${i}`]));
      topics.push(`s/${i}`);
    } else if (i % 5 === 4) {
      packets.push(PINGREQ);
    } else {
      // Long and short ones, so that lengths need one and two bytes.
      const payload = `${i}:${'x'.repeat(i % 3 === 0 ? 300 : 2)}`;
      const qos = (i % 3) as 0 | 1 | 2;
      packets.push(publishBytes(5, `t/${i % 4}/${i}`, payload, { qos, id: qos ? i + 1 : 0 }));
      topics.push(`t/${i % 4}/${i}`);
    }
  }
  return { bytes: Buffer.concat(packets), topics };
}

t.test('any chunking and any hold gives the same packets in the same order', async (t) => {
  const { bytes, topics } = stream(24);
  const plain = await World.start();
  const reference = plain.client(5, 'sender');
  reference.send(bytes);
  plain.settle();
  const expected = reference.receive();
  t.equal(expected.filter((packet) => packet.type !== 'connack').length, 18, 'acks and pings');

  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 40 }),
      fc.array(fc.nat(2), { minLength: 1, maxLength: 40 }),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }),
      async (sizes, waits, resumes) => {
        const gate = new SlowGate();
        const world = await World.start({ gate });
        const client = world.client(5, 'sender');
        let position = 0;
        for (let i = 0; position < bytes.length; i++) {
          gate.waits = waits[i % waits.length]!;
          const end = Math.min(bytes.length, position + sizes[i % sizes.length]!);
          // Also while it is paused: bytes may still be on their way.
          client.send(Buffer.from(bytes.subarray(position, end)));
          position = end;
          if (client.sink.paused !== gate.isWaiting) throw new Error('paused without a reason');
          if (resumes[i % resumes.length]) gate.resume();
          if (i % 3 === 0) world.settle();
        }
        gate.waits = 0;
        while (gate.isWaiting) gate.resume();
        world.settle();
        const received = client.receive();
        if (JSON.stringify(gate.asked) !== JSON.stringify(topics)) {
          throw new Error(`seen ${gate.asked.join(' ')}`);
        }
        if (JSON.stringify(received) !== JSON.stringify(expected)) {
          throw new Error(`answered ${JSON.stringify(received)}`);
        }
        if (world.errors.length > 0) throw new Error(JSON.stringify(world.errors));
      },
    ),
    { numRuns: 300 },
  );
});

t.test('a packet that is held when its last part arrives stays before what follows', async (t) => {
  const gate = new SlowGate();
  const world = await World.start({ gate });
  const client = world.connected(5, 'sender');
  const first = publishBytes(5, 'a', 'one', { qos: 1, id: 1 });
  const second = publishBytes(5, 'b', 'two', { qos: 1, id: 2 });
  const third = publishBytes(5, 'c', 'three', { qos: 1, id: 3 });
  client.send(first.subarray(0, 4));
  gate.waits = 1;
  client.send(first.subarray(4), second, third.subarray(0, 5));
  t.ok(gate.isWaiting);
  client.send(third.subarray(5));
  gate.resume();
  world.settle();
  t.same(gate.asked, ['a', 'b', 'c']);
  t.same(
    client.receive().map((packet) => packet.type === 'puback' && packet.packetId),
    [1, 2, 3],
  );
});

t.test(
  'an authentication step that is decided at once does not let held input overtake',
  async (t) => {
    const gate = new SlowGate();
    const world = await World.start({ gate });
    const client = world.connected(5, 'sender', { authenticationMethod: 'any' });
    gate.waits = 1;
    client.publish('a', '1');
    const again = encodeAuth({ reasonCode: 0x19, authenticationMethod: 'any' });
    client.send(again, publishBytes(5, 'b', '2'));
    client.send(publishBytes(5, 'c', '3'));
    gate.resume();
    world.settle();
    t.same(gate.asked, ['a', 'b', 'c']);
    t.same(client.receive(), [{ type: 'auth', reasonCode: 0 }]);
    t.notOk(client.sink.paused);
  },
);

t.test('[MQTT5-3.1.0-1] bytes that are no CONNECT close at once', async (t) => {
  const world = await World.start();
  for (const bytes of [
    PINGREQ,
    publishBytes(4, 'a', 'b'),
    Buffer.from(`GET / HTTP/1.1\r\nHost: ${'x'.repeat(90)}\r\n\r\n`),
  ]) {
    const client = world.client(4, 'x');
    client.send(Buffer.from(bytes));
    t.ok(client.sink.destroyed);
    client.sink.close();
  }
  t.same(world.leftovers(), {});
});

t.test('an announced giant is refused before it is buffered', async (t) => {
  const world = await World.start({ limits: { packetBytesMax: 2048 } });
  const client = world.connected(5, 'x');
  // 256 MiB announced, four bytes sent.
  client.send(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]));
  world.settle();
  t.same(client.receive(), [{ type: 'disconnect', reasonCode: 0x95 }]);
  t.ok(client.sink.ended);

  const early = world.client(5, 'y');
  early.send(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]));
  t.ok(early.sink.destroyed, 'before CONNECT only connectBytesMax is accepted');
});

t.test('a remaining length of five bytes is malformed', async (t) => {
  const world = await World.start();
  const client = world.connected(5, 'x');
  client.send(Buffer.from([0x30, 0x80]), Buffer.from([0x80, 0x80, 0x80, 0x01]));
  world.settle();
  t.same(client.receive(), [{ type: 'disconnect', reasonCode: 0x81 }]);
});
