/**
 * core: packet identifiers towards a client. Two messages that are open at the same time never have the
 * same one, whatever the order of acks, replays and queues.
 */
import t from 'tap';
import { Inflight, InflightState } from '../../src/core/inflight.ts';
import { type FakeClient, publishBytes } from './fake-client.ts';
import { World } from './world.ts';

/** Publishes `count` messages to nobody, so that the broker's message numbers move on. */
function skip(client: FakeClient, count: number): void {
  const packet = publishBytes(client.version, 'to/nobody', '');
  const chunk = Buffer.concat(new Array(1000).fill(packet));
  for (let left = count; left > 0; left -= 1000) {
    client.send(left >= 1000 ? chunk : Buffer.concat(new Array(left).fill(packet)));
  }
}

t.test('[MQTT5-2.2.1-4] a retained message replayed late does not take an id in use', async (t) => {
  const world = await World.start();
  const publisher = world.connected(5, 'p');
  for (const name of ['a', 'b', 'c']) {
    publisher.publish(`r/${name}`, name, { retain: true, qos: 1, id: 1 });
  }
  // One full round of ids after `r/c`; a window of two leaves `r/c` in the queue.
  skip(publisher, 65_533);
  const reader = world.connected(5, 'r', { receiveMaximum: 2 });
  reader.subscribe('r/#', 1);
  world.settle();
  const first = reader.publishes();
  t.equal(first.length, 2);
  reader.ack('puback', first[0]!.packetId);
  world.settle();
  const open = [first[1]!.packetId, ...reader.publishes().map((publish) => publish.packetId)];
  t.equal(open.length, 2);
  t.equal(new Set(open).size, 2, `ids ${open.join(' ')}`);
});

t.test('[MQTT5-2.2.1-4] messages that waited in the queue get ids of their own', async (t) => {
  const world = await World.start();
  const publisher = world.connected(5, 'p');
  const reader = world.connected(5, 'r', { receiveMaximum: 1 });
  reader.subscribe('t/#', 1);
  reader.receive();
  // A will keeps the number it was given at CONNECT; it waits in the queue behind the window.
  const testator = world.connected(5, 'w', { will: { topic: 't/will', qos: 1 } });
  publisher.publish('t/1', '1', { qos: 1, id: 1 });
  testator.sink.close();
  world.settle();
  const [one] = reader.publishes();
  skip(publisher, 65_600);
  reader.ack('puback', one!.packetId);
  world.settle();
  const [will] = reader.publishes();
  t.equal(will!.topic, 't/will');
  t.not(will!.packetId, 0);
});

t.test('an id comes round again only when its message is acked', async (t) => {
  for (const expiryS of [0, 100]) {
    const world = await World.start();
    const publisher = world.connected(5, 'p');
    const reader = world.connected(5, 'r', { expiryS });
    reader.subscribe('t', 1);
    reader.receive();
    const open = new Set<number>();
    let held = 0;
    let delivered = 0;
    const read = (): void => {
      for (const publish of reader.publishes()) {
        delivered++;
        if (open.has(publish.packetId)) t.fail(`id ${publish.packetId} is open twice`);
        open.add(publish.packetId);
        if (held === 0) {
          held = publish.packetId;
          continue;
        }
        reader.ack('puback', publish.packetId);
        open.delete(publish.packetId);
      }
    };
    // The first message is never acked; all others are, out of order.
    for (let i = 0; i < 66_000; i++) {
      publisher.publish('t', '', { qos: 1, id: 1 });
      if (i % 16 === 15) {
        world.settle();
        read();
      }
    }
    world.settle();
    read();
    t.ok(delivered >= 65_535, `${delivered} delivered`);
    reader.ack('puback', held);
    open.clear();
    for (let i = 0; i < 100; i++) {
      world.settle();
      read();
    }
    t.equal(delivered, 66_000, 'the rest follows when the oldest is acked');
  }
});

t.test('one ack that never comes does not make the window grow or its search slow', async (t) => {
  const inflight = new Inflight();
  inflight.push(1, 0, InflightState.AWAITS_PUBACK, null);
  for (let sequence = 1; sequence <= 300_000; sequence++) {
    const id = inflight.idFor(sequence);
    if (inflight.find(id) !== -1) t.fail(`id ${id} is open`);
    inflight.push(id, sequence, InflightState.AWAITS_PUBACK, null);
    inflight.settle(inflight.find(id));
  }
  t.equal(inflight.open, 1);
  t.ok(inflight.span < 1000, `span ${inflight.span}`);
  t.equal(inflight.find(1), inflight.first, 'the oldest is still there');
  t.equal(inflight.oldestSequence, 0);
});

t.test('a window is what was sent and not acked, as in a plain list', async (t) => {
  let seed = 7;
  const below = (bound: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % bound;
  };
  for (let run = 0; run < 50; run++) {
    const inflight = new Inflight();
    let model: { id: number; state: number; sequence: number }[] = [];
    let sequence = below(200_000);
    for (let step = 0; step < 400; step++) {
      if (below(100) < 55) {
        sequence += 1 + (below(20) === 0 ? 65_534 : below(3));
        const id = inflight.idFor(sequence);
        if (id === 0 || model.some((open) => open.id === id)) t.fail(`id ${id} is open twice`);
        const state = 1 + below(2);
        inflight.push(id, sequence, state, null);
        model.push({ id, state, sequence });
      } else if (model.length > 0) {
        // Mostly in order, sometimes anywhere.
        const at = below(4) > 0 ? 0 : below(model.length);
        const { id } = model[at]!;
        const position = inflight.find(id);
        if (position === -1 || inflight.idAt(position) !== id) t.fail(`id ${id} is not found`);
        if (model[at]!.state === InflightState.AWAITS_PUBREC) {
          inflight.setState(position, InflightState.AWAITS_PUBCOMP);
          model[at]!.state = InflightState.AWAITS_PUBCOMP;
        } else {
          inflight.settle(position);
          model = model.filter((_, index) => index !== at);
        }
      }
      if (inflight.open !== model.length) t.fail(`${inflight.open} open, not ${model.length}`);
      if (model.length > 0 && inflight.oldestSequence !== model[0]!.sequence) {
        t.fail('the oldest is another');
      }
    }
    const left: number[] = [];
    for (let position = inflight.first; position < inflight.end; position++) {
      if (inflight.stateAt(position) !== InflightState.DONE) left.push(inflight.idAt(position));
    }
    t.same(
      left,
      model.map((open) => open.id),
    );
  }
});
