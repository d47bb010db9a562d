/**
 * core/retained as memory: what was put comes back as it was, whatever is moved, dropped and used again
 * beside it; views that were handed out stay as they are; what is replaced makes room.
 */
import fc from 'fast-check';
import t from 'tap';
import { LevelTree, NONE, ROOT } from '../../src/core/level-tree.ts';
import { Message } from '../../src/core/message.ts';
import { Publication } from '../../src/core/publication.ts';
import { RecordSlabs } from '../../src/core/record-slabs.ts';
import { RetainedIndex } from '../../src/core/retained.ts';
import { CLEARED } from '../../src/core/retained-version.ts';
import { Stats } from '../../src/core/stats.ts';
import { BitSet } from '../../src/util/bit-set.ts';
import { KeyedHash } from '../../src/util/keyed-hash.ts';
import { SeededRandom } from './manual-time.ts';

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  // About where lengths take more than a byte.
  fc.integer({ min: 250, max: 260 }).map((length) => 'y'.repeat(length)),
);
const level = fc.oneof(
  fc.constantFrom('a', 'b', '', '$x', 'device-000000017', 'x'.repeat(17), 'é', 'Ω', '🚂🚂'),
  fc.string({ maxLength: 20 }).map((name) => name.replaceAll('/', '_')),
);
const topic = fc
  .array(level, { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join('/'))
  .filter((name) => name !== '');

const message = fc
  .record({
    topic,
    sequence: fc.nat(Number.MAX_SAFE_INTEGER),
    payload: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    // Beyond what shares a slab.
    repeats: fc.constantFrom(1, 1, 1, 1, 30),
    properties: fc.oneof(
      fc.uint8Array({ maxLength: 20 }),
      fc.uint8Array({ minLength: 250, maxLength: 260 }),
    ),
    qos: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
    retain: fc.boolean(),
    expiresAtMs: fc.constantFrom(0, 1_700_000_000_000, 1_700_000_000_000.5),
    version: fc.option(
      fc.record({
        timeUs: fc.nat(Number.MAX_SAFE_INTEGER),
        writer: fc.nat(2 * CLEARED - 1),
      }),
    ),
    source: fc.option(fc.record({ clientId: text, identity: fc.option(text), tenant: text })),
  })
  .map((made) => {
    const name = Buffer.from(made.topic);
    const payload = Buffer.concat(Array.from({ length: made.repeats }, () => made.payload));
    // Not at the beginning of its memory.
    const slab = Buffer.concat([Buffer.from('..'), Buffer.alloc(2), name, payload]);
    slab.writeUInt16BE(name.length, 2);
    const built = new Message(
      made.sequence,
      made.topic,
      slab,
      2,
      4 + name.length,
      slab.length,
      Buffer.from(made.properties),
      made.qos,
      made.retain,
      made.expiresAtMs,
    );
    built.version = made.version;
    built.source = made.source;
    return built;
  });

function shown(one: Message | null): unknown {
  if (one === null) return null;
  const { slab, bodyStart, payloadStart, bodyEnd, propertyEnd, properties, ...rest } = one;
  return {
    ...rest,
    field: slab.toString('hex', bodyStart, payloadStart),
    payload: slab.toString('hex', payloadStart, bodyEnd),
    properties: properties.toString('hex'),
  };
}

function published(index: RetainedIndex, name: string): unknown {
  const publication = new Publication();
  publication.begin(7);
  const node = index.slotOf(name);
  if (!index.show(node, publication)) return null;
  const copy = publication.copy();
  return shown(Object.assign(copy, { source: index.sourceOf(node) }));
}

t.test('what was put comes back, as a message and as a publication', async (t) => {
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 40 }), (messages) => {
      const stats = new Stats();
      const index = new RetainedIndex(stats, new SeededRandom(1));
      const model = new Map<string, Message>();
      for (const one of messages) {
        index.put(one);
        model.set(one.topic, one);
      }
      let bytes = 0;
      for (const [name, one] of model) {
        bytes += one.bytes;
        const found = index.get(name);
        const inForm = JSON.stringify(shown(one));
        if (JSON.stringify(shown(found)) !== inForm) {
          throw new Error(`${inForm} became ${JSON.stringify(shown(found))}`);
        }
        const sent = JSON.stringify({ ...(shown(one) as object), sequence: 7, version: null });
        if (JSON.stringify(published(index, name)) !== sent) throw new Error(`${sent} was sent`);
      }
      if (stats.retainedBytes !== bytes) throw new Error('bytes are miscounted');
    }),
    { numRuns: 500 },
  );
  t.pass('as it was');
});

function retained(name: string, payload: string): Message {
  const field = Buffer.byteLength(name);
  const slab = Buffer.alloc(2 + field + payload.length);
  slab.writeUInt16BE(field, 0);
  slab.write(name, 2);
  slab.write(payload, 2 + field, 'latin1');
  const start = 2 + field;
  return new Message(1, name, slab, 0, start, slab.length, Buffer.alloc(0), 1, true, 0);
}

t.test('a storm of changes: each topic has its last, and its topic one place', async (t) => {
  const stats = new Stats();
  const random = new SeededRandom(3);
  const index = new RetainedIndex(stats, random);
  const model = new Map<string, string>();
  const names = Array.from({ length: 3000 }, (_, i) =>
    i % 7 === 0 ? `site/${i % 10}/a level that is long/${i}` : `site/${i % 10}/device-${i}/state`,
  );
  const handedOut: { readonly message: Message; readonly payload: string }[] = [];
  for (let step = 0; step < 40_000; step++) {
    const name = names[random.below(names.length)]!;
    if (random.below(4) === 0) {
      if (index.remove(name) !== model.delete(name)) t.fail(`${name}: remove lied`);
      if (index.slotOf(name) !== -1) t.fail(`${name} has a slot`);
    } else {
      const payload = `${step}`.padEnd(random.below(200) + 5, '.');
      const slot = index.slotOf(name);
      index.put(retained(name, payload));
      model.set(name, payload);
      if (slot !== -1 && index.slotOf(name) !== slot) t.fail(`${name} has lost its slot`);
      if (step % 100 === 0) handedOut.push({ message: index.get(name)!, payload });
    }
  }
  for (const name of names) {
    const payload = index.get(name)?.payload.toString('latin1');
    if (payload !== model.get(name)) t.fail(`${name}: ${payload}`);
  }
  for (const { message: one, payload } of handedOut) {
    if (one.payload.toString('latin1') !== payload) t.fail('changed under its reader');
  }
  const found: Message[] = [];
  for (const walk = index.walk('site/+/+/state'); !walk.done; ) walk.take(10, found);
  const wanted = [...model.keys()].filter((name) => name.endsWith('state'));
  t.strictSame(found.map((one) => one.topic).sort(), wanted.sort());
  t.equal(stats.retainedMessages, model.size);
  for (const name of names) index.remove(name);
  t.equal(stats.retainedBytes, 0);
  for (const walk = index.walk('#'); !walk.done; ) walk.take(10, found);
  t.equal(found.length, wanted.length, 'nothing is left');
});

t.test('what is replaced makes room', async (t) => {
  const places = new Map<number, string>();
  const slabs: RecordSlabs = new RecordSlabs({
    isAt: (owner, slab, at) => places.get(owner) === `${slab}:${at}`,
    moved: (owner, slab, at) => places.set(owner, `${slab}:${at}`),
  });
  const random = new SeededRandom(5);
  const LIVE = 1000;
  const BYTES = 100;
  for (let step = 0; step < 50_000; step++) {
    const owner = random.below(LIVE);
    const out = slabs.add(owner, BYTES);
    const { slab, at } = slabs;
    out.writeUInt32LE(owner, at + 8);
    const old = places.get(owner)?.split(':').map(Number);
    places.set(owner, `${slab}:${at}`);
    if (old !== undefined) slabs.drop(old[0]!, old[1]!);
  }
  t.equal(places.size, LIVE);
  for (const [owner, place] of places) {
    const [slab = 0, at = 0] = place.split(':').map(Number);
    if (slabs.buffer(slab).readUInt32LE(at + 8) !== owner) t.fail(`${owner} is not at ${place}`);
    if (slabs.endOf(slab, at) !== at + 8 + BYTES) t.fail('its length is another');
  }
  // At worst each slab is half full, but for the open one.
  t.ok(slabs.bytes <= 2 * LIVE * 112 + 16 * 1024, `${slabs.bytes} bytes`);
});

t.test('a walk goes on behind what is taken away and used again', async (t) => {
  const tree = new LevelTree(1, 2);
  const add = (name: string): number => tree.add(ROOT, name, 0, name.length);
  const first = add('first');
  const second = add('second');
  const third = add('third');
  const serial = tree.serial(second);
  tree.remove(second);
  const fourth = add('fourth');
  t.equal(fourth, second, 'its number is used again');
  t.not(tree.serial(fourth), serial);
  t.equal(tree.childAfter(ROOT, serial), third);
  t.equal(tree.nextChild(ROOT, first), third);
  t.equal(tree.nextChild(ROOT, fourth), NONE);
  t.equal(tree.lastChild(ROOT), fourth);
  for (const node of [first, third, fourth]) tree.remove(node);
  t.equal(tree.firstChild(ROOT), NONE);
  t.notOk(tree.hasChildren(ROOT));
});

t.test('tables have those with siblings, and do not grow by what comes and goes', async (t) => {
  const tree = new LevelTree(1, 2);
  const find = (parent: number, name: string): number => tree.find(parent, name, 0, name.length);
  const add = (parent: number, name: string): number => tree.add(parent, name, 0, name.length);
  let parent = ROOT;
  for (let depth = 0; depth < 100; depth++) parent = add(parent, `level-${depth}`);
  t.equal(tree.tableBytes, 0, 'only children are in none');
  const random = new SeededRandom(7);
  const names = Array.from({ length: 50 }, (_, i) => `device-${i}`);
  const nodes = new Map<string, number>();
  for (let step = 0; step < 50_000; step++) {
    // Often there is one, or none, beside a lot that come and go at other times.
    const name = names[random.below(step % 2000 < 1000 ? 3 : names.length)]!;
    const node = nodes.get(name);
    if (node === undefined) {
      nodes.set(name, add(parent, name));
      tree.setRecord(nodes.get(name)!, step, step & 0xfffc);
    } else {
      tree.setRecord(node, NONE, 0);
      tree.remove(node);
      nodes.delete(name);
    }
    if (step % 100 !== 0) continue;
    for (const one of names) {
      if (find(parent, one) !== (nodes.get(one) ?? NONE)) t.fail(`${one} after ${step} steps`);
    }
  }
  // The smallest for each of 256.
  t.ok(tree.tableBytes <= 256 * 8 * 4, `${tree.tableBytes} bytes`);
});

t.test('KeyedHash: by key, head and each unit', async (t) => {
  const hash = new KeyedHash(0x01020304, 0x05060708);
  const values = new Set<number>();
  for (const name of ['', 'a', 'b', 'ab', 'ba', 'abc', 'a\u0000', '\u0100', 'Ω']) {
    values.add(hash.of(0, name, 0, name.length));
    values.add(hash.of(1, name, 0, name.length));
    values.add(new KeyedHash(1, 2).of(0, name, 0, name.length));
    t.equal(hash.of(1, `x/${name}/y`, 2, 2 + name.length), hash.of(1, name, 0, name.length));
  }
  t.equal(values.size, 27, 'all different');
  // Of numbered names no table gets much more than its share.
  const counts = new Array<number>(256).fill(0);
  for (let i = 0; i < 100_000; i++) {
    const name = `device-${i}`;
    counts[hash.of(9, name, 0, name.length) >>> 24]!++;
  }
  t.ok(Math.max(...counts) < 500, `${Math.max(...counts)}, where 390 are to be expected`);
});

t.test('BitSet', async (t) => {
  const set = new BitSet();
  for (const number of [0, 7, 8, 8191, 8192, 1_000_000]) set.add(number);
  for (const number of [0, 7, 8, 8191, 8192, 1_000_000]) t.ok(set.has(number), `${number}`);
  for (const number of [1, 6, 9, 8190, 8193, 999_999, 5_000_000]) t.notOk(set.has(number));
});
