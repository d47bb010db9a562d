/** Frames of peer links: everything comes back as it was, and hostile bytes meet LinkDamage alone. */
import assert from 'node:assert';
import fc from 'fast-check';
import t from 'tap';
import * as codec from '../../../src/cluster/link/frame-codec.ts';
import { FrameSplitter } from '../../../src/cluster/link/frame-splitter.ts';
import { FRAME_HEADER_BYTES } from '../../../src/cluster/link/frame-writer.ts';
import * as handshake from '../../../src/cluster/link/handshake.ts';
import { LinkDamage } from '../../../src/cluster/link/link-damage.ts';
import * as messages from '../../../src/cluster/link/message-codec.ts';
import { FrameType, type Heartbeat } from '../../../src/cluster/ports.ts';
import type {
  Interest,
  SessionImage,
  SubscriptionChange,
} from '../../../src/core/cluster-ports.ts';
import { type Message, makeMessage } from '../../../src/core/message.ts';
import type { SubscriptionRecord } from '../../../src/core/ports.ts';
import type { Principal } from '../../../src/core/principal.ts';
import { Publication } from '../../../src/core/publication.ts';
import { CLEARED } from '../../../src/core/retained-version.ts';
import type { RedisReply } from '../../../src/drivers/redis/redis-port.ts';

type Decode<T> = (buffer: Buffer, start: number, end: number) => T;

/** Plain objects, as decoders make them. */
function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;
}

const NOW_MS = 1_800_000_000_000;

/** Checks length and type, and decodes from the middle of a larger buffer, as a read chunk is. */
function back<T>(frame: Buffer, type: number, decode: Decode<T>): T {
  if (frame.readUInt32BE(0) !== frame.length - 4) throw new Error('the length is wrong');
  if (frame[4] !== type) throw new Error('the type is wrong');
  const chunk = Buffer.concat([Buffer.alloc(3, 0xee), frame, Buffer.alloc(9, 0xee)]);
  const value = decode(chunk, 3 + FRAME_HEADER_BYTES, 3 + frame.length);
  // What was decoded may not point into the chunk.
  chunk.fill(0xdd);
  return value;
}

// ---------------------------------------------------------------------------------- what there is

/** Lone surrogates have no UTF-8. */
const text = fc.string({ unit: 'binary', maxLength: 40 }).map((it) => it.toWellFormed());
const u32 = fc.oneof(fc.nat(), fc.constantFrom(0, 1, 0xffff_ffff));
const u53 = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 2 ** 32, 2 ** 32 - 1, 2 ** 53 - 1));
const nullable = fc.option(text);
const hex16 = fc.nat().map((it) => it.toString(16).padStart(16, '0'));
const bytes = fc.uint8Array({ maxLength: 300 }).map((it) => Buffer.from(it));
const qos = fc.constantFrom<0 | 1 | 2>(0, 1, 2);

const subscription: fc.Arbitrary<SubscriptionRecord> = record({
  filter: text,
  qos,
  noLocal: fc.boolean(),
  retainAsPublished: fc.boolean(),
  retainHandling: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
  subscriptionId: u32,
});
const subscriptions = fc.array(subscription, { maxLength: 5 });

const image: fc.Arbitrary<SessionImage> = record({
  clientId: text,
  sid: hex16,
  epoch: u53,
  counter: u53,
  owner: nullable,
  identity: nullable,
  tenant: text,
  expiryIntervalS: u32,
  subscriptions,
});

const change: fc.Arbitrary<SubscriptionChange> = record({
  clientId: text,
  sid: hex16,
  epoch: u53,
  counter: u53,
  added: subscriptions,
  removed: fc.array(text, { maxLength: 5 }),
});

const finite = fc.double({ noNaN: true, noDefaultInfinity: true });
const heartbeat: fc.Arbitrary<Heartbeat> = record({
  sentMs: finite,
  echoMs: finite,
  hasRedis: fc.boolean(),
  linksUp: fc.nat(65_535),
  position: u53,
  items: u53,
  digest: u53,
});

const reply: fc.Arbitrary<RedisReply> = fc.letrec<{ reply: RedisReply; list: RedisReply[] }>(
  (tie) => ({
    list: fc.array(tie('reply'), { maxLength: 4 }),
    reply: fc.oneof(
      { maxDepth: 7, withCrossShrink: true },
      fc.constant(null),
      fc.integer(),
      text,
      bytes,
      tie('list'),
    ),
  }),
).reply;

const topic = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
  .map((it) => it.toWellFormed().replaceAll(/[+#\0]/g, '_'));

/** Content type and a user property, as a client sent them. */
const properties = fc.constantFrom(
  Buffer.alloc(0),
  Buffer.from([3, 0, 2, 0x61, 0x62]),
  Buffer.concat([Buffer.from([0x26, 0, 1, 0x6b, 0, 200]), Buffer.alloc(200, 0x76)]),
);

const expiry = fc.oneof(fc.constant(0), fc.integer({ min: NOW_MS - 1000, max: NOW_MS * 4 }));

const message: fc.Arbitrary<Message> = record({
  topic,
  payload: fc.oneof(bytes, fc.constant(Buffer.alloc(9000, 7))),
  qos,
  properties,
}).chain((it) =>
  record({ retain: fc.boolean(), expiresAtMs: expiry, sequence: u53 }).map((more) =>
    makeMessage(more.sequence, it.topic, it.payload, { ...it, ...more }),
  ),
);

const principal: fc.Arbitrary<Principal> = record({
  clientId: text,
  identity: nullable,
  tenant: text,
});
const version = record({ timeUs: u53, writer: u32 });

const retained: fc.Arbitrary<messages.RetainedChange> = fc
  .tuple(version, topic, fc.option(message), fc.option(principal))
  .map(([version, topic, message, source]) => {
    if (message === null) {
      return { topic, version: { ...version, writer: version.writer + CLEARED }, message };
    }
    message.source = source;
    message.version = version;
    return { topic: message.topic, version, message };
  });

function publicationOf(message: Message): Publication {
  const publication = new Publication();
  publication.setMessage(message, message.sequence);
  return publication;
}

/** A message as plain values, whatever memory it lies in. */
function plain(message: Message): object {
  const { slab, bodyStart, payloadStart } = message;
  return {
    topic: message.topic,
    topicField: slab.subarray(bodyStart, payloadStart).toString('hex'),
    payload: message.payload.toString('hex'),
    properties: message.properties.toString('hex'),
    qos: message.qos,
    retain: message.retain,
    sequence: message.sequence,
    expiresAtMs: message.expiresAtMs,
    source: message.source,
    version: message.version,
  };
}

/** What is due comes back as due now, since a message that has expired is not one that never does. */
function arrived(message: Message): object {
  const { expiresAtMs } = message;
  return { ...plain(message), expiresAtMs: expiresAtMs === 0 ? 0 : Math.max(NOW_MS, expiresAtMs) };
}

function plainChange(it: messages.RetainedChange): object {
  return { ...it, message: it.message === null ? null : arrived(it.message) };
}

const decodePublished: Decode<Message> = (buffer, start, end) =>
  messages.decodePublished(buffer, start, end, NOW_MS);
const decodeGroup: Decode<messages.GroupPublished> = (buffer, start, end) =>
  messages.decodeGroupPublished(buffer, start, end, NOW_MS);
const decodeRetained: Decode<messages.RetainedChange> = (buffer, start, end) =>
  messages.decodeRetained(buffer, start, end, NOW_MS);
const decodePage: Decode<messages.RetainedPage> = (buffer, start, end) =>
  messages.decodeRetainedPage(buffer, start, end, NOW_MS);

// ---------------------------------------------------------------------------------- there and back

t.test('each frame comes back as it was', async (t) => {
  const same = <T>(
    name: string,
    values: fc.Arbitrary<T>,
    type: number,
    encode: (value: T) => Buffer,
    decode: Decode<unknown>,
  ): void => {
    fc.assert(
      fc.property(values, (value) => {
        const found = back(encode(value), type, decode);
        assert.deepStrictEqual(found, value);
      }),
      { numRuns: 60 },
    );
    t.pass(name);
  };
  const interest = record({ filter: text, interest: fc.constantFrom<Interest>(0, 1, 2) });
  const { INTEREST, GROUP, IMAGE, CHANGE, END, HINT, LET_GO, LET_GO_DONE } = FrameType;
  same(
    'INTEREST',
    interest,
    INTEREST,
    (it) => codec.encodeInterest(it.filter, it.interest),
    codec.decodeInterest,
  );
  const group = record({ group: text, filter: text, members: u32 });
  same(
    'GROUP',
    group,
    GROUP,
    (it) => codec.encodeGroup(it.group, it.filter, it.members),
    codec.decodeGroup,
  );
  same('IMAGE', image, IMAGE, codec.encodeImage, codec.decodeImage);
  same('CHANGE', change, CHANGE, codec.encodeChange, codec.decodeChange);
  const end = record({ clientId: text, sid: hex16, epoch: u53 });
  same('END', end, END, (it) => codec.encodeEnd(it.clientId, it.sid, it.epoch), codec.decodeEnd);
  const hint = record({ clientId: text, sid: hex16, tailSeq: u53 });
  same(
    'HINT',
    hint,
    HINT,
    (it) => codec.encodeHint(it.clientId, it.sid, it.tailSeq),
    codec.decodeHint,
  );
  const letGo = record({ request: u53, clientId: text, epoch: u53 });
  same(
    'LET_GO',
    letGo,
    LET_GO,
    (it) => codec.encodeLetGo(it.request, it.clientId, it.epoch),
    codec.decodeLetGo,
  );
  same('LET_GO_DONE', u53, LET_GO_DONE, codec.encodeLetGoDone, codec.decodeLetGoDone);
  same(
    'NEED_SESSION',
    text,
    FrameType.NEED_SESSION,
    codec.encodeNeedSession,
    codec.decodeNeedSession,
  );
  same('TABLES_END', u53, FrameType.TABLES_END, codec.encodeTablesEnd, codec.decodeTablesEnd);
  same('HEARTBEAT', heartbeat, FrameType.HEARTBEAT, codec.encodeHeartbeat, codec.decodeHeartbeat);
  const renew = record({ request: u53, incarnation: text, generation: text });
  same(
    'RENEW_FOR',
    renew,
    FrameType.RENEW_FOR,
    (it) => codec.encodeRenewFor(it.request, it.incarnation, it.generation),
    codec.decodeRenewFor,
  );
  const renewed = record({ request: u53, reply });
  same(
    'RENEWED',
    renewed,
    FrameType.RENEWED,
    (it) => codec.encodeRenewed(it.request, it.reply),
    codec.decodeRenewed,
  );
  const want = record({ cursor: text, bytesMax: u32 });
  same(
    'RETAINED_WANT',
    want,
    FrameType.RETAINED_WANT,
    (it) => codec.encodeRetainedWant(it.cursor, it.bytesMax),
    codec.decodeRetainedWant,
  );
  const entry = record({ after: u53, position: u53, entry: bytes });
  same(
    'JOURNAL',
    entry,
    FrameType.JOURNAL,
    (it) => codec.encodeJournal(it.after, it.position, it.entry),
    codec.decodeJournal,
  );
  const done = record({ position: u53, state: fc.constantFrom<codec.JournalState>(0, 1, 2, 3) });
  same(
    'JOURNAL_DONE',
    done,
    FrameType.JOURNAL_DONE,
    (it) => codec.encodeJournalDone(it.position, it.state),
    codec.decodeJournalDone,
  );
  same(
    'JOURNAL_OWED',
    record({ dead: text, isOwed: fc.boolean() }),
    FrameType.JOURNAL_OWED,
    (it) => codec.encodeJournalOwed(it.dead, it.isOwed),
    codec.decodeJournalOwed,
  );
  same('ROAM', bytes, FrameType.ROAM, codec.encodeRoam, codec.decodeRoam);
});

t.test('frames that are all in their type', async (t) => {
  const { TABLES_BEGIN, COUNTED_IN, NEED_TABLES, GOODBYE } = FrameType;
  t.strictSame([...codec.encodeTablesBegin()], [0, 0, 0, 1, TABLES_BEGIN]);
  t.strictSame([...codec.encodeCountedIn()], [0, 0, 0, 1, COUNTED_IN]);
  t.strictSame([...codec.encodeNeedTables()], [0, 0, 0, 1, NEED_TABLES]);
  t.strictSame([...codec.encodeGoodbye()], [0, 0, 0, 1, GOODBYE]);
});

t.test('large frames do not disturb those after them', async (t) => {
  const large = Buffer.alloc(300_000, 1);
  const found = back(codec.encodeJournal(0, 1, large), FrameType.JOURNAL, codec.decodeJournal);
  t.equal(found.entry.equals(large), true);
  t.strictSame(back(codec.encodeLetGoDone(7), FrameType.LET_GO_DONE, codec.decodeLetGoDone), 7);
});

t.test('messages', async (t) => {
  const check = (name: string, found: unknown, wanted: unknown): void =>
    assert.deepStrictEqual(found, wanted, name);
  fc.assert(
    fc.property(message, text, text, (message, group, filter) => {
      const publication = publicationOf(message);
      const one = back(
        messages.encodePublish(publication, NOW_MS),
        FrameType.PUBLISH,
        decodePublished,
      );
      check('PUBLISH', plain(one), arrived(message));
      const frame = messages.encodeGroupPublish(publication, group, filter, NOW_MS);
      const other = back(frame, FrameType.GROUP_PUBLISH, decodeGroup);
      const wanted = { group, filter, message: arrived(message) };
      check('GROUP_PUBLISH', { ...other, message: plain(other.message) }, wanted);
    }),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(fc.array(retained, { maxLength: 4 }), nullable, (changes, cursor) => {
      for (const it of changes) {
        const one = back(messages.encodeRetained(it, NOW_MS), FrameType.RETAINED, decodeRetained);
        check('RETAINED', { ...one, message: one.message && plain(one.message) }, plainChange(it));
      }
      const frame = messages.encodeRetainedPage({ changes, cursor }, NOW_MS);
      const page = back(frame, FrameType.RETAINED_PAGE, decodePage);
      check('RETAINED_PAGE', page.cursor, cursor);
      const found = page.changes.map((it) => ({ ...it, message: it.message && plain(it.message) }));
      check('RETAINED_PAGE', found, changes.map(plainChange));
    }),
    { numRuns: 60 },
  );
  t.pass('all four kinds of frames');
});

t.test('what links between regions tell goes with a message', async (t) => {
  const properties = Buffer.from([0x26, 0, 1, 0x61, 0, 1, 0x62]);
  const own = makeMessage(1, 'a', Buffer.from('x'), { properties });
  const id = 'eu.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAB.AAAAAAAB';
  for (const path of ['', 'eu', 'eu,us']) {
    for (const version of [null, { timeUs: 7, writer: 8 }]) {
      const publication = publicationOf(own);
      publication.mark = { origin: { id, path }, version };
      const frame = messages.encodePublish(publication, NOW_MS);
      const got = back(frame, FrameType.PUBLISH, decodePublished);
      t.strictSame([got.mark, got.properties], [publication.mark, properties]);
    }
  }
  const publication = publicationOf(own);
  publication.mark = { origin: null, version: { timeUs: 7, writer: 8 } };
  const plainFrame = messages.encodePublish(publication, NOW_MS);
  t.equal(back(plainFrame, FrameType.PUBLISH, decodePublished).mark, null, 'no name, no mark');
  plainFrame[FRAME_HEADER_BYTES]! |= 16;
  t.throws(() => back(plainFrame, FrameType.PUBLISH, decodePublished), LinkDamage);
});

t.test('many small messages share memory, and each keeps its own bytes', async (t) => {
  const decoded: Message[] = [];
  for (let i = 0; i < 2000; i++) {
    const message = makeMessage(i, `topic/${i}`, Buffer.from(`payload ${i}`));
    const frame = messages.encodePublish(publicationOf(message), NOW_MS);
    decoded.push(back(frame, FrameType.PUBLISH, decodePublished));
  }
  t.ok(decoded.every((it, i) => it.payload.toString() === `payload ${i}`));
  t.ok(new Set(decoded.map(({ slab }) => slab)).size < 10);
});

t.test('the clock of the receiver counts for expiry', async (t) => {
  const message = makeMessage(1, 'a', Buffer.alloc(0), { expiresAtMs: NOW_MS + 5000 });
  const frame = messages.encodePublish(publicationOf(message), NOW_MS + 1000);
  const found = messages.decodePublished(frame, FRAME_HEADER_BYTES, frame.length, 50_000);
  t.equal(found.expiresAtMs, 54_000);
});

// ---------------------------------------------------------------------------------- hostile bytes

const decoders: readonly Decode<unknown>[] = [
  codec.decodeInterest,
  codec.decodeGroup,
  codec.decodeImage,
  codec.decodeChange,
  codec.decodeEnd,
  codec.decodeHint,
  codec.decodeLetGo,
  codec.decodeLetGoDone,
  codec.decodeNeedSession,
  codec.decodeTablesEnd,
  codec.decodeHeartbeat,
  codec.decodeRenewFor,
  codec.decodeRenewed,
  codec.decodeRetainedWant,
  codec.decodeJournal,
  codec.decodeJournalDone,
  codec.decodeJournalOwed,
  codec.decodeRoam,
  decodePublished,
  decodeGroup,
  decodeRetained,
  decodePage,
  handshake.decodeHello,
  handshake.decodeWelcome,
  handshake.decodeProof,
  handshake.decodeAck,
  handshake.decodeRefused,
];

/** True when it was refused. */
function meets(decode: Decode<unknown>, bytes: Buffer): boolean {
  try {
    decode(bytes, 0, bytes.length);
    return false;
  } catch (error) {
    if (!(error instanceof LinkDamage)) throw error;
    return true;
  }
}

t.test('random bytes meet LinkDamage and nothing else', async (t) => {
  let refused = 0;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (random) => {
      const bytes = Buffer.from(random);
      for (const decode of decoders) if (meets(decode, bytes)) refused++;
    }),
    { numRuns: 1500 },
  );
  t.ok(refused > 10_000, `${refused} refused`);
});

t.test('frames that were cut off or changed meet LinkDamage and nothing else', async (t) => {
  const frames = fc.oneof(
    image.map((it): [Buffer, Decode<unknown>] => [codec.encodeImage(it), codec.decodeImage]),
    change.map((it): [Buffer, Decode<unknown>] => [codec.encodeChange(it), codec.decodeChange]),
    reply.map((it): [Buffer, Decode<unknown>] => [codec.encodeRenewed(1, it), codec.decodeRenewed]),
    retained.map((it): [Buffer, Decode<unknown>] => [
      messages.encodeRetained(it, NOW_MS),
      decodeRetained,
    ]),
    message.map((it): [Buffer, Decode<unknown>] => [
      messages.encodePublish(publicationOf(it), NOW_MS),
      decodePublished,
    ]),
  );
  fc.assert(
    fc.property(frames, fc.nat(), fc.nat(), fc.nat(255), ([frame, decode], at, cut, byte) => {
      const body = Buffer.from(frame.subarray(FRAME_HEADER_BYTES));
      body[at % body.length] = byte;
      meets(decode, body);
      meets(decode, body.subarray(0, cut % body.length));
    }),
    { numRuns: 1500 },
  );
  t.pass('none threw anything else');
});

t.test('what lists and texts promise is not believed', async (t) => {
  const endless = Buffer.alloc(60, 0xff);
  const list = Buffer.concat([Buffer.alloc(8), Buffer.from([4, 0xff, 0xff, 0xff, 0xff])]);
  const before = process.memoryUsage().heapUsed;
  for (const decode of decoders) {
    if (decode === handshake.decodeProof || decode === handshake.decodeRefused) continue;
    t.ok(meets(decode, endless));
  }
  t.ok(meets(codec.decodeRenewed, list));
  t.ok(process.memoryUsage().heapUsed - before < 8 * 1024 * 1024);
  let nested = Buffer.alloc(8);
  for (let i = 0; i < 2000; i++) nested = Buffer.concat([nested, Buffer.from([4, 0, 0, 0, 1])]);
  t.ok(meets(codec.decodeRenewed, Buffer.concat([nested, Buffer.from([0])])), 'nested too deeply');
  const wild = makeMessage(1, 'a/+', Buffer.alloc(0));
  const frame = messages.encodePublish(publicationOf(wild), NOW_MS);
  t.ok(meets(decodePublished, frame.subarray(FRAME_HEADER_BYTES)), 'a wildcard in a topic');
});

// ---------------------------------------------------------------------------------- cutting

t.test('frames are cut the same however the bytes come', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.nat(40), fc.nat(20_000)), { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 8 }),
      (sizes, steps) => {
        const frames = sizes.map((size, i) => codec.encodeJournal(0, i, Buffer.alloc(size, i)));
        const stream = Buffer.concat(frames);
        const splitter = new FrameSplitter(30_000);
        const seen: Buffer[] = [];
        const sink = {
          frame: (type: number, buffer: Buffer, start: number, end: number): boolean => {
            if (type !== FrameType.JOURNAL) throw new Error('another type');
            seen.push(Buffer.from(buffer.subarray(start, end)));
            return true;
          },
        };
        const chunk = Buffer.alloc(9000);
        for (let at = 0, step = 0; at < stream.length; step++) {
          const count = Math.min(steps[step % steps.length]!, stream.length - at);
          stream.copy(chunk, 0, at, at + count);
          splitter.feed(chunk, 0, count, sink);
          at += count;
        }
        const wanted = frames.map((it) => it.subarray(FRAME_HEADER_BYTES).toString('hex'));
        if (splitter.pendingBytes !== 0) throw new Error('bytes are left');
        assert.deepStrictEqual(
          seen.map((it) => it.toString('hex')),
          wanted,
        );
      },
    ),
    { numRuns: 100 },
  );
  t.pass('all of them');
});

t.test('a frame that is too large is refused by its length alone', async (t) => {
  const splitter = new FrameSplitter(1000);
  const sink = { frame: (): boolean => true };
  const head = Buffer.from([0, 0, 3, 233, 1]);
  t.throws(() => splitter.feed(head, 0, 5, sink), LinkDamage);
  const bit = new FrameSplitter(1000);
  bit.feed(head, 0, 2, sink);
  t.throws(() => bit.feed(head, 2, 5, sink), LinkDamage);
  const empty = new FrameSplitter(1000);
  t.throws(() => empty.feed(Buffer.alloc(4), 0, 4, sink), LinkDamage);
});

// ---------------------------------------------------------------------------------- handshake

t.test('handshake frames', async (t) => {
  const hello: handshake.Hello = {
    major: handshake.PROTOCOL_MAJOR,
    minor: 3,
    generation: 'g',
    from: 'a',
    to: 'b',
    release: '1.2.3',
    session: '0123456789abcdef',
    attempt: 12,
    nonce: 'ff',
  };
  const frame = handshake.encodeHello(hello);
  t.strictSame(back(frame, handshake.LinkType.HELLO, handshake.decodeHello), hello);
  const later = handshake.encodeHello({ ...hello, major: 2 });
  t.equal(back(later, handshake.LinkType.HELLO, handshake.decodeHello).major, 2);
  const body = frame.subarray(FRAME_HEADER_BYTES);
  const welcome = handshake.encodeWelcome('secret', body, 1, 'ee', 99);
  const found = back(welcome.frame, handshake.LinkType.WELCOME, handshake.decodeWelcome);
  t.match(found, { major: 1, minor: 1, nonce: 'ee', applied: 99 });
  t.ok(found.proven.equals(welcome.proven));
  const { proofOf, isSameProof } = handshake;
  t.ok(isSameProof(found.mac, proofOf('secret', 'acceptor', body, found.proven)));
  // Whatever is changed on the way, or said by the other side's voice, is no proof.
  t.notOk(isSameProof(found.mac, proofOf('secret', 'dialler', body, found.proven)));
  t.notOk(isSameProof(found.mac, proofOf('Secret', 'acceptor', body, found.proven)));
  for (const other of [
    { ...hello, minor: 2 },
    { ...hello, attempt: 13 },
    { ...hello, nonce: 'fe' },
  ]) {
    const changed = handshake.encodeHello(other).subarray(FRAME_HEADER_BYTES);
    t.notOk(isSameProof(found.mac, proofOf('secret', 'acceptor', changed, found.proven)));
  }
  const { proven } = handshake.encodeWelcome('secret', body, 1, 'ee', 100);
  t.notOk(isSameProof(found.mac, proofOf('secret', 'acceptor', body, proven)));
  t.equal(back(handshake.encodeAck(2 ** 40), handshake.LinkType.ACK, handshake.decodeAck), 2 ** 40);
  const mac = back(
    handshake.encodeProof(found.mac),
    handshake.LinkType.PROOF,
    handshake.decodeProof,
  );
  t.ok(mac.equals(found.mac));
  const refused = handshake.encodeRefused(handshake.Refusal.SECRET);
  t.match(back(refused, handshake.LinkType.REFUSED, handshake.decodeRefused), /secrets/);
});
