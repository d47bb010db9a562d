/**
 * core/retained: what a filter finds against the definition, walks that stop and go on while the index
 * changes, and counters that end at 0.
 */
import fc from 'fast-check';
import t from 'tap';
import { type Message, makeMessage } from '../../src/core/message.ts';
import type { StoreEvents, Ticket } from '../../src/core/ports.ts';
import { RetainedIndex } from '../../src/core/retained.ts';
import { Stats } from '../../src/core/stats.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { SeededRandom } from './manual-time.ts';
import { World } from './world.ts';

function matches(filter: string, topic: string): boolean {
  const f = filter.split('/');
  const l = topic.split('/');
  if (topic.startsWith('$') && (f[0] === '#' || f[0] === '+')) return false;
  for (let i = 0; i < f.length; i++) {
    if (f[i] === '#') return true;
    if (i >= l.length) return false;
    if (f[i] !== '+' && f[i] !== l[i]) return false;
  }
  return f.length === l.length;
}

const level = fc.constantFrom('a', 'b', 'c', '', '$x', '__proto__', 'constructor');
const topic = fc
  .array(level, { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join('/'))
  .filter((name) => name !== '');
const filter = fc
  .tuple(
    fc.array(fc.oneof(level, fc.constant('+')), { minLength: 0, maxLength: 3 }),
    fc.constantFrom('#', '+', 'a', 'b', ''),
  )
  .map(([levels, last]) => [...levels, last].join('/'));

function found(index: RetainedIndex, pattern: string, budget: number): string[] {
  const walk = index.walk(pattern);
  const out: Message[] = [];
  for (let turns = 0; !walk.done; turns++) {
    if (turns > 10_000) throw new Error('the walk never ends');
    if (walk.take(budget, out) > budget) throw new Error('over its budget');
  }
  return out.map((message) => message.topic).sort();
}

t.test('a walk finds what the definition says, at any budget', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(topic, fc.boolean()), { maxLength: 60 }),
      filter,
      fc.integer({ min: 1, max: 7 }),
      (changes, pattern, budget) => {
        const stats = new Stats();
        const index = new RetainedIndex(stats, new SeededRandom(1));
        const model = new Set<string>();
        for (const [name, isPut] of changes) {
          if (isPut) {
            index.put(makeMessage(1, name, Buffer.from('x')));
            model.add(name);
          } else if (index.remove(name) !== model.delete(name)) {
            throw new Error('remove lied');
          }
        }
        const expected = [...model].filter((name) => matches(pattern, name)).sort();
        if (found(index, pattern, budget).join(' ') !== expected.join(' ')) {
          throw new Error(`${pattern} on ${[...model].join(' ')}`);
        }
        for (const name of model) if (index.get(name)?.topic !== name) throw new Error('get lied');
        if (stats.retainedMessages !== model.size) throw new Error('miscounted');
        for (const name of model) index.remove(name);
        if (stats.retainedMessages !== 0 || stats.retainedBytes !== 0) throw new Error('leftovers');
      },
    ),
    { numRuns: 1000 },
  );
  t.pass('index and definition agree');
});

t.test('changes during a walk: what stays is found once, what goes at most once', async (t) => {
  fc.assert(
    fc.property(
      fc.uniqueArray(topic, { minLength: 1, maxLength: 20 }),
      fc.array(fc.tuple(topic, fc.boolean()), { maxLength: 30 }),
      filter,
      (initial, changes, pattern) => {
        const index = new RetainedIndex(new Stats(), new SeededRandom(1));
        for (const name of initial) index.put(makeMessage(1, name, Buffer.from('x')));
        const touched = new Set(changes.map(([name]) => name));
        const walk = index.walk(pattern);
        const out: Message[] = [];
        const seen = new Map<string, number>();
        for (let turns = 0; !walk.done; turns++) {
          walk.take(1, out);
          for (const message of out.splice(0)) {
            seen.set(message.topic, (seen.get(message.topic) ?? 0) + 1);
          }
          const change = changes[turns];
          if (change !== undefined) {
            if (change[1]) index.put(makeMessage(2, change[0], Buffer.from('y')));
            else index.remove(change[0]);
          }
          if (turns > 1000) throw new Error('the walk never ends');
        }
        for (const name of initial) {
          if (touched.has(name)) continue;
          const times = seen.get(name) ?? 0;
          if (times !== (matches(pattern, name) ? 1 : 0))
            throw new Error(`${name}: ${times} times`);
        }
        for (const name of seen.keys()) {
          if (!matches(pattern, name)) throw new Error(`${name} is not asked for`);
        }
      },
    ),
    { numRuns: 1000 },
  );
  t.pass('nothing untouched is missed or doubled');
});

t.test('retained messages are bounded in number and bytes, topics included', async (t) => {
  const world = await World.start({ limits: { retainedMessagesMax: 5, retainedBytesMax: 2000 } });
  const publisher = world.connected(5, 'p');
  for (let i = 0; i < 20; i++) publisher.publish(`t/${i}`, 'x', { retain: true });
  t.equal(world.stats.retainedMessages, 5);
  publisher.publish('t/0', 'y', { retain: true });
  publisher.publish('t/1', '', { retain: true });
  t.equal(world.stats.retainedMessages, 4, 'changing and removing is always allowed');
  publisher.publish('x'.repeat(3000), 'x', { retain: true });
  t.equal(world.stats.retainedMessages, 4);
  t.ok(world.stats.retainedBytes <= 2000, `${world.stats.retainedBytes} bytes`);
  publisher.publish('t/9', 'x'.repeat(1000), { retain: true });
  publisher.publish('t/9', 'x'.repeat(1900), { retain: true });
  t.equal(world.stats.retainedMessages, 5, 'a replacement counts instead of what it replaces');
  for (const topic of ['t/0', 't/2', 't/3', 't/4', 't/9'])
    publisher.publish(topic, '', { retain: true });
  t.equal(world.stats.retainedMessages, 0);
  t.equal(world.stats.retainedBytes, 0);
});

t.test('[MQTT5-3.3.1-9] an expired retained message is not sent and not kept', async (t) => {
  const world = await World.durable({ commitsAlone: true });
  const publisher = world.connected(5, 'p');
  publisher.publish('t/short', 'x', { retain: true, expiryS: 10 });
  publisher.publish('t/long', 'x', { retain: true, expiryS: 100 });
  world.time.pass(20_000);
  const reader = world.connected(5, 'r');
  reader.subscribe('t/#', 0);
  world.settle();
  t.same(
    reader.publishes().map(({ topic: name, expiryS }) => `${name} ${expiryS}`),
    ['t/long 80'],
  );
  t.equal(world.stats.retainedMessages, 1);
  world.settle();
  t.same([...world.store.disk.retained.keys()], ['t/long']);
});

t.test('expired retained messages make room though nobody asks for them', async (t) => {
  const world = await World.start();
  const publisher = world.connected(5, 'p');
  for (let i = 0; i < 50; i++) publisher.publish(`t/${i}`, 'x', { retain: true, expiryS: 5 });
  publisher.publish('t/kept', 'x', { retain: true });
  t.equal(world.stats.retainedMessages, 51);
  world.time.pass(4000);
  t.equal(world.stats.retainedMessages, 51);
  world.time.pass(4000);
  t.equal(world.stats.retainedMessages, 1);
});

class TellingStore extends MemoryStore {
  readonly tellsRetained: boolean = true;
  events!: StoreEvents;
  #ticket: Ticket = 0;

  override start(events: StoreEvents): Promise<void> {
    this.events = events;
    return Promise.resolve();
  }

  override putRetained(): Ticket {
    return ++this.#ticket;
  }

  override removeRetained(): Ticket {
    return ++this.#ticket;
  }
}

t.test('a store that tells of retained messages apart: acks wait for that alone', async (t) => {
  const store = new TellingStore();
  const world = await World.start({ store });
  const client = world.client(5, 'c');
  client.connect();
  world.settle();
  client.receive();
  for (const [id, payload] of ['set', '', 'again', 'fails'].entries()) {
    client.publish('r', payload, { qos: 1, id: id + 1, retain: true });
  }
  world.settle();
  t.strictSame(client.receive(), [], 'not safe');
  store.events.retainedCommitted!(2, null);
  world.settle();
  t.match(client.receive(), [{ packetId: 1 }, { packetId: 2 }], 'set and cleared');
  store.events.retainedCommitted!(3, null);
  store.events.retainedCommitted!(4, new Error('full'));
  world.settle();
  t.match(client.receive(), [{ packetId: 3 }, { type: 'puback', packetId: 4, reasonCode: 0x97 }]);
});

t.test('a record elsewhere may have what nobody here has heard of: its clear is one', async (t) => {
  const store = new TellingStore();
  const world = await World.start({ store });
  const client = world.client(5, 'c');
  client.connect();
  world.settle();
  client.receive();
  client.publish('unknown', '', { qos: 1, id: 1, retain: true });
  world.settle();
  t.strictSame(client.receive(), [], 'the clear alone is waited for');
  store.events.retainedCommitted!(1, null);
  world.settle();
  t.match(client.receive(), [{ packetId: 1, reasonCode: 0x10 }]);
});
