/**
 * What the shared store writes into Redis reads back as it was; whatever is cut, flipped or made up is
 * known as damage, and a record of a newer release as that.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { type Message, makeMessage } from '../../../src/core/message.ts';
import type { SubscriptionRecord } from '../../../src/core/ports.ts';
import { SentEntry } from '../../../src/core/queue-entry.ts';
import type { Turn } from '../../../src/core/roaming-record.ts';
import { OWN_IDENTITY, SharedAppend } from '../../../src/core/shared-append.ts';
import { RecordDamage } from '../../../src/store/embedded/damage.ts';
import { MessageMemory } from '../../../src/store/embedded/message-codec.ts';
import { checkSeal, seal } from '../../../src/store/embedded/seal.ts';
import { decodeEntry, encodeEntry } from '../../../src/store/redis/entry-codec.ts';
import {
  decodeMessage,
  decodePending,
  encodeMessage,
  encodePending,
} from '../../../src/store/redis/message-value.ts';
import { NewerRecord } from '../../../src/store/redis/record-version.ts';
import {
  decodeSubscriptions,
  encodeSubscriptions,
} from '../../../src/store/redis/subscriptions-codec.ts';

const incarnation = '0123456789abcdef0123456789abcdef';
/** As `encodePending` wrote it before there was a version behind it. */
const PENDING_WITHOUT_VERSION =
  '0126070a00066b6570742f616f6e010a2473686172652f672f61026d31de811097';

/** As entries and subscriptions were written before any session went to another region. */
const ENTRY_THAT_STAYS =
  '017e0201020c2473686172652f672f612f62100123456789abcdef0123456789abcdef090522090c0003612f62' +
  '7061796c6f6164c1892467';
const SUBSCRIPTION_THAT_STAYS = '0101190303612f23875dba26';

const SUBSCRIPTION: SubscriptionRecord = {
  filter: 'a/#',
  qos: 1,
  noLocal: false,
  retainAsPublished: true,
  retainHandling: 1,
  subscriptionId: 3,
};

const messages: fc.Arbitrary<Message> = fc
  .record({
    sequence: fc.maxSafeNat(),
    topic: fc.string({ unit: 'grapheme', maxLength: 40 }),
    payload: fc.uint8Array({ maxLength: 300 }),
    properties: fc.uint8Array({ maxLength: 30 }),
    qos: fc.constantFrom(0, 1, 2),
    retain: fc.boolean(),
    expiresAtMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2 ** 42 })),
  })
  .map(({ sequence, topic, payload, properties, qos, retain, expiresAtMs }) =>
    makeMessage(sequence, topic, payload, {
      qos: qos as 0 | 1 | 2,
      retain,
      properties: Buffer.from(properties),
      expiresAtMs,
    }),
  );

const appends: fc.Arbitrary<SharedAppend> = fc
  .record({
    message: messages,
    qos: fc.constantFrom(1, 2),
    retain: fc.boolean(),
    ids: fc.option(fc.array(fc.integer({ min: 1, max: 268_435_455 }), { maxLength: 5 })),
    sharedFilter: fc.option(fc.string({ unit: 'grapheme', maxLength: 30 })),
    identity: fc.option(
      fc.record({
        publisherSid: fc.constantFrom('00ff00ff00ff00ff', 'w00ff00ff00ff00ff', 'ünlike', 'f'),
        publisherSeq: fc.maxSafeNat(),
      }),
    ),
    packetId: fc.option(fc.integer({ min: 1, max: 65_535 })),
    isReleased: fc.boolean(),
  })
  .map(({ message, qos, retain, ids, sharedFilter, identity, packetId, isReleased }) => {
    const by = identity ?? OWN_IDENTITY;
    const append = new SharedAppend(message, qos as 1 | 2, retain, ids, sharedFilter, by);
    if (packetId !== null) append.sentAs = { packetId, isReleased: isReleased && qos === 2 };
    return append;
  });

function fields(message: Message): object {
  return {
    sequence: message.sequence,
    topic: message.topic,
    payload: Buffer.from(message.payload),
    field: Buffer.from(message.slab.subarray(message.bodyStart, message.payloadStart)),
    properties: Buffer.from(message.properties),
    qos: message.qos,
    retain: message.retain,
    expiresAtMs: message.expiresAtMs,
  };
}

t.test('what is pending reads back with the version it was retained under', async (t) => {
  const choices = fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 3 });
  const version = fc.record(
    { timeUs: fc.maxSafeNat(), writer: fc.nat(0xffff_ffff) },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(messages, choices, fc.option(version), (message, chosen, retainedUnder) => {
      message.version = retainedUnder;
      const value = encodePending(message, new Map(chosen));
      const found = decodePending(Buffer.from(value));
      assert.deepEqual(fields(found.message), fields(message));
      assert.deepEqual(found.choices, new Map(chosen));
      assert.deepEqual(found.message.version, retainedUnder);
      assert.equal(value[0], retainedUnder === null ? 1 : 2, 'older releases read what has none');
    }),
  );
  t.pass();
});

t.test('a pending message of a release without versions is read', async (t) => {
  const value = Buffer.from(PENDING_WITHOUT_VERSION, 'hex');
  const { message, choices } = decodePending(value);
  t.match(message, { topic: 'kept/a', qos: 2, retain: true, version: null });
  t.equal(message.payload.toString(), 'on');
  t.strictSame([...choices], [['$share/g/a', 'm1']]);
});

t.test('an entry reads back as it was appended', async (t) => {
  fc.assert(
    fc.property(appends, fc.constantFrom(0, 1, 2 ** 42), (append, queuedAtMs) => {
      const value = encodeEntry(append, incarnation, queuedAtMs);
      const stored = decodeEntry(Buffer.from(value), 77, new MessageMemory());
      const { entry } = stored;
      const isOwn = append.identity.publisherSid === null;
      t.strictSame(fields(entry.message), fields(append.message));
      t.strictSame(
        [entry.seq, entry.qos, entry.retain, entry.subscriptionIds, entry.sharedFilter],
        [77, append.qos, append.retain, append.subscriptionIds, append.sharedFilter],
      );
      const { sentAs } = append;
      const state = sentAs?.isReleased === true ? 2 : 0;
      t.strictSame([entry.state, entry.durable, entry.sentBefore], [state, true, sentAs !== null]);
      const known = entry instanceof SentEntry ? entry : null;
      t.strictSame(known?.packetId, sentAs?.packetId);
      t.strictSame(known?.wasReleased, sentAs?.isReleased);
      t.equal(value[0], sentAs === null ? 1 : 2, 'older releases read what has none');
      t.strictSame(stored.identity, {
        writer: append.identity.publisherSid ?? incarnation,
        sequence: isOwn ? append.message.sequence : append.identity.publisherSeq,
      });
      t.equal(entry.queuedAtMs, sentAs === null ? queuedAtMs : 0, 'no budget asks a client');
    }),
    { numRuns: 150 },
  );
});

t.test('an entry keeps nothing of the reply it came in alive', async (t) => {
  const message = makeMessage(1, 'a/b', Buffer.from('x'.repeat(100)), { qos: 1 });
  const reply = Buffer.from(
    encodeEntry(new SharedAppend(message, 1, false, null, null, OWN_IDENTITY), incarnation, 0),
  );
  const { entry } = decodeEntry(reply, 1, new MessageMemory());
  t.not(entry.message.slab.buffer, reply.buffer);
  reply.fill(0);
  t.equal(entry.message.payload.toString(), 'x'.repeat(100));
});

t.test('subscriptions and single messages read back', async (t) => {
  const subscription: fc.Arbitrary<SubscriptionRecord> = fc.record(
    {
      filter: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
      qos: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
      noLocal: fc.boolean(),
      retainAsPublished: fc.boolean(),
      retainHandling: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
      subscriptionId: fc.integer({ min: 0, max: 268_435_455 }),
    },
    { noNullPrototype: true },
  );
  const turn: fc.Arbitrary<Turn> = fc.tuple(fc.maxSafeNat(), fc.integer({ min: -1, max: 1000 }));
  fc.assert(
    fc.property(
      fc.array(subscription, { maxLength: 8 }),
      fc.array(turn, { maxLength: 4 }),
      messages,
      (subscriptions, turns, message) => {
        const value = encodeSubscriptions(subscriptions, turns);
        t.strictSame(decodeSubscriptions(value), { subscriptions, turns });
        t.strictSame(fields(decodeMessage(encodeMessage(message))), fields(message));
      },
    ),
    { numRuns: 80 },
  );
  t.equal(encodeSubscriptions([]).length, 0);
});

t.test('what stays in its region is written as it was before sessions moved', async (t) => {
  const message = makeMessage(9, 'a/b', Buffer.from('payload'), { qos: 2 });
  const append = new SharedAppend(message, 2, true, [1, 2], '$share/g/a/b', OWN_IDENTITY);
  t.equal(encodeEntry(append, incarnation, 5).toString('hex'), ENTRY_THAT_STAYS);
  t.equal(encodeSubscriptions([SUBSCRIPTION]).toString('hex'), SUBSCRIPTION_THAT_STAYS);
});

t.test('no packet identifier is 0, and none of QoS 1 is released', async (t) => {
  const message = makeMessage(9, 'a/b', Buffer.from('payload'), { qos: 1 });
  const made = (packetId: number, isReleased: boolean): Buffer => {
    const append = new SharedAppend(message, 1, false, null, null, OWN_IDENTITY);
    append.sentAs = { packetId, isReleased };
    return encodeEntry(append, incarnation, 0);
  };
  const decode = (value: Buffer): number => decodeEntry(value, 1, new MessageMemory()).entry.seq;
  t.equal(decode(made(65_535, false)), 1);
  for (const value of [made(0, false), made(65_536, false), made(1, true)]) {
    assert.throws(() => decode(value), RecordDamage);
  }
});

t.test('damage is known, wherever it is', async () => {
  const message = makeMessage(9, 'a/b', Buffer.from('payload'), { qos: 2 });
  const append = new SharedAppend(message, 2, true, [1, 2], '$share/g/a/b', OWN_IDENTITY);
  const sent = new SharedAppend(message, 2, true, null, null, OWN_IDENTITY);
  sent.sentAs = { packetId: 7, isReleased: true };
  const decodeOne = (value: Buffer): unknown => decodeEntry(value, 1, new MessageMemory());
  const turns: Turn[] = [
    [0, -1],
    [900, 2],
  ];
  const kinds: [Buffer, (value: Buffer) => unknown, number][] = [
    [encodeEntry(append, incarnation, 5), decodeOne, 3],
    [encodeEntry(sent, incarnation, 5), decodeOne, 3],
    [encodeSubscriptions([SUBSCRIPTION]), decodeSubscriptions, 3],
    [encodeSubscriptions([SUBSCRIPTION], turns), decodeSubscriptions, 3],
    [encodeMessage(message), decodeMessage, 2],
  ];
  for (const [value, decode, newerVersion] of kinds) {
    for (let at = 0; at < value.length; at++) {
      for (const bit of [1, 0x80]) {
        const flipped = Buffer.from(value);
        flipped[at]! ^= bit;
        assert.throws(() => decode(flipped), RecordDamage);
      }
      if (at > 0) assert.throws(() => decode(value.subarray(0, at)), RecordDamage);
    }
    // Sealed anew, so that only what is inside can tell.
    for (let at = 0; at < checkSeal(value); at++) {
      for (const byte of [0, 0x3f, 0xff]) {
        const made = Buffer.from(value);
        made[at] = byte;
        seal(made, 0, checkSeal(value));
        try {
          decode(made);
        } catch (error) {
          assert(error instanceof RecordDamage || error instanceof NewerRecord, `${error}`);
        }
      }
    }
    const newer = Buffer.from(value);
    newer[0] = newerVersion;
    seal(newer, 0, checkSeal(value));
    assert.throws(() => decode(newer), NewerRecord);
  }
});
