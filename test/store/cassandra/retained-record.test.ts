/** The blob of a topic in Cassandra: what was written is read, and all else is known as damage. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { type Message, makeMessage } from '../../../src/core/message.ts';
import { CLEARED, isAbove, type RetainedVersion } from '../../../src/core/retained-version.ts';
import {
  decodeRecord,
  encodeRecord,
  RecordMemory,
} from '../../../src/store/cassandra/retained-record.ts';
import { RecordDamage } from '../../../src/store/embedded/damage.ts';

const timeUs = 1_800_000_000_000_001;
const writers = fc.integer({ min: 0, max: 0xffff_ffff });

const sources = fc.option(
  fc.record(
    {
      clientId: fc.string({ unit: 'grapheme', maxLength: 30 }),
      identity: fc.option(fc.string({ unit: 'grapheme', maxLength: 30 })),
      tenant: fc.string({ maxLength: 10 }),
    },
    { noNullPrototype: true },
  ),
);

const messages: fc.Arbitrary<Message> = fc
  .record({
    payload: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    properties: fc.uint8Array({ maxLength: 200 }),
    qos: fc.constantFrom(0, 1, 2),
    retain: fc.boolean(),
    expiresAtMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2 ** 42 })),
    source: sources,
  })
  .map(({ payload, properties, qos, retain, expiresAtMs, source }) => {
    const message = makeMessage(0, 'a/ü', payload, {
      qos: qos as 0 | 1 | 2,
      retain,
      properties: Buffer.from(properties),
      expiresAtMs,
    });
    message.source = source;
    return message;
  });

function seen(message: Message | null): object | null {
  if (message === null) return null;
  const { topic, payload, properties, qos, retain, expiresAtMs, source } = message;
  return { topic, payload, properties, qos, retain, expiresAtMs, source };
}

t.test('what was encoded comes back', async () => {
  fc.assert(
    fc.property(messages, writers, (message, writer) => {
      const version = { timeUs, writer };
      const found = decodeRecord('a/ü', encodeRecord(message, version), timeUs);
      assert.deepEqual(seen(found.message), seen(message));
      assert.deepEqual(found.version, version);
      assert.deepEqual(found.message!.version, version);
    }),
    { numRuns: 300 },
  );
});

t.test('a clear comes back as one, above every message of its microsecond', async () => {
  fc.assert(
    fc.property(writers, writers, (writer, other) => {
      const version = { timeUs, writer: writer + CLEARED };
      const found = decodeRecord('t', encodeRecord(null, version), timeUs);
      assert.equal(found.message, null);
      assert.deepEqual(found.version, version);
      assert.ok(isAbove(found.version, { timeUs, writer: other }));
      // What expires while it waits is written as a clear with the version it had.
      const expired = decodeRecord('t', encodeRecord(null, { timeUs, writer }), timeUs);
      assert.deepEqual(expired.version, version);
    }),
  );
});

t.test('in one microsecond the larger bytes are the higher version', async () => {
  fc.assert(
    fc.property(messages, writers, messages, writers, (one, writer, two, other) => {
      if (writer === other) return;
      const left: RetainedVersion = { timeUs, writer };
      const right: RetainedVersion = { timeUs, writer: other };
      const bytes = Buffer.compare(encodeRecord(one, left), encodeRecord(two, right));
      assert.equal(bytes > 0, isAbove(left, right));
    }),
    { numRuns: 300 },
  );
});

/** Decodes, or says that it is damage; nothing else comes out of it. */
function isRead(record: Buffer): boolean {
  try {
    decodeRecord('a/ü', record, timeUs);
    return true;
  } catch (error) {
    if (!(error instanceof RecordDamage)) throw error;
    return false;
  }
}

t.test('what is cut off or flipped is damage, or another record', async (t) => {
  let damaged = 0;
  fc.assert(
    fc.property(messages, writers, fc.nat(), fc.nat(255), (message, writer, at, flip) => {
      const record = encodeRecord(message, { timeUs, writer });
      for (let end = 0; end < record.length; end++) {
        if (!isRead(record.subarray(0, end))) damaged++;
      }
      for (let bit = 0; bit < 8; bit++) {
        const flipped = Buffer.from(record);
        flipped[5] = flipped[5]! ^ (1 << bit);
        if (!isRead(flipped)) damaged++;
      }
      const changed = Buffer.from(record);
      changed[at % record.length] = changed[at % record.length]! ^ flip;
      isRead(changed);
    }),
    { numRuns: 100 },
  );
  t.ok(damaged > 1000);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => void isRead(Buffer.from(bytes))),
  );
});

t.test('formats, flags and messages that nobody writes are damage', async (t) => {
  const record = encodeRecord(makeMessage(0, 't', Buffer.from('x'), {}), { timeUs, writer: 1 });
  for (const [at, value] of [
    [0, 0],
    [0, 2],
    [5, 0x80],
    [5, 3],
  ] as const) {
    const changed = Buffer.from(record);
    changed[at] = value;
    t.notOk(isRead(changed), `${at}: ${value}`);
  }
  const empty = record.subarray(0, record.length - 1);
  t.throws(() => decodeRecord('t', empty, timeUs), /payload/, 'a message without one');
  const source = makeMessage(0, 't', Buffer.from('x'), {});
  source.source = { clientId: 'c', identity: null, tenant: '' };
  const text = encodeRecord(source, { timeUs, writer: 1 }).toString('latin1');
  for (const other of ['["c",nul1,""]', '["c",1234,""]', '[1234,null,0]', '{"c": null, }']) {
    const changed = Buffer.from(text.replace('["c",null,""]', other), 'latin1');
    t.throws(() => decodeRecord('t', changed, timeUs), /source/, other);
  }
});

t.test('a message does not hold on to the page it came in', async (t) => {
  const record = encodeRecord(makeMessage(0, 't', Buffer.from('x'), {}), { timeUs, writer: 1 });
  const page = Buffer.alloc(1_000_000);
  record.copy(page, 10);
  const { message } = decodeRecord('t', page.subarray(10, 10 + record.length), timeUs);
  t.ok(message!.slab.buffer.byteLength < page.length);
  t.not(message!.slab.buffer, page.buffer);
  t.not(message!.properties.buffer, page.buffer);
});

t.test('publishers with many topics are one object, and too many are forgotten', async (t) => {
  const memory = new RecordMemory();
  const recordOf = (clientId: string): Buffer => {
    const message = makeMessage(0, 't', Buffer.from('x'));
    message.source = { clientId, identity: 'me', tenant: '' };
    return encodeRecord(message, { timeUs: 1, writer: 1 });
  };
  const of = (clientId: string) => decodeRecord('t', recordOf(clientId), 1, memory).message?.source;
  t.strictSame(of('a'), { clientId: 'a', identity: 'me', tenant: '' });
  t.equal(of('a'), of('a'));
  t.not(of('a'), of('b'));
  for (let i = 0; i < 25_000; i++) of(`client-${i}`);
  t.ok(memory.sources <= 256);
  t.strictSame(of('a'), { clientId: 'a', identity: 'me', tenant: '' });
});
