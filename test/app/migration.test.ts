/**
 * Moving sessions from one broker to another: the runner that counts, the data directory as a target,
 * and what is read out of single values of aedes. The way of the whole is test/foreign/aedes.test.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { EmbeddedTarget } from '../../src/app/migration/embedded-target.ts';
import { migrate } from '../../src/app/migration/migrate.ts';
import {
  type LeftOut,
  type MigrationCounts,
  MigrationError,
  type MovedSession,
  newTally,
  type SessionSource,
  type SessionTarget,
} from '../../src/app/migration/migration.ts';
import { parseQueueKey } from '../../src/cli/import/aedes-keys.ts';
import { decodeMsgpack, MsgpackDamage } from '../../src/cli/import/aedes-msgpack.ts';
import {
  decodePacket,
  decodeSubscription,
  PacketDamage,
} from '../../src/cli/import/aedes-packet.ts';
import { positionAfter } from '../../src/cli/import/aedes-queue.ts';
import { type Message, makeMessage } from '../../src/core/message.ts';
import type { Log, RestoredSession } from '../../src/core/ports.ts';
import { EntryState, QueueEntry } from '../../src/core/queue-entry.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const msgpack = createRequire(import.meta.url)('msgpack-lite') as {
  encode(value: unknown): Buffer;
};

function folderFor(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-migration-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function entry(seq: number, text: string, state: number = EntryState.QUEUED): QueueEntry {
  const message = makeMessage(seq, 'a/b', Buffer.from(text), { qos: 2 });
  const made = new QueueEntry(seq, message, 2, false, null, false);
  made.state = state;
  return made;
}

function session(clientId: string, entries: readonly QueueEntry[], ids: number[]): MovedSession {
  return {
    record: {
      clientId,
      identity: 'owner',
      tenant: 'acme',
      protocolVersion: 4,
      expiryIntervalS: 3600,
      disconnectedAtMs: 5,
      subscriptions: [
        {
          filter: 'a/#',
          qos: 2,
          noLocal: false,
          retainAsPublished: false,
          retainHandling: 0,
          subscriptionId: 0,
        },
      ],
      will: null,
    },
    inboundIds: ids,
    queue: (async function* () {
      yield* entries;
    })(),
  };
}

/** A source of two sessions and a retained message, which may change or leave something out. */
class FakeSource implements SessionSource {
  counted = 0;
  changes = false;
  extra = 0;
  async counts(): Promise<MigrationCounts> {
    this.counted++;
    const queued = 3 + this.extra + (this.changes ? this.counted : 0);
    return { ...newTally(), sessions: 2, subscriptions: 2, queued, inbound: 2, retained: 1 };
  }

  async *sessions(leftOut: (item: LeftOut) => void): AsyncIterable<MovedSession> {
    if (this.extra > 0) leftOut({ what: 'queued', isLoss: true, where: 'one', why: 'damaged' });
    yield session('one', [entry(1, 'released', EntryState.RELEASED), entry(70_000, 'x')], [7, 9]);
    yield session('two', [entry(5, 'y')], []);
  }

  async *retained(): AsyncIterable<Message> {
    yield makeMessage(9, 'kept', Buffer.from('kept'), { qos: 1, retain: true });
  }
}

const hooks = { leftOut: () => {}, progress: () => {} };

t.test('what arrives is what was there, positions and states too', async (t) => {
  const directory = join(folderFor(t), 'data');
  const options = { directory, scheduler: systemScheduler, log: quiet };
  const result = await migrate(new FakeSource(), new EmbeddedTarget(options), hooks);
  t.equal(result.isEqual, true);
  t.equal(result.hasLoss, false);
  t.strictSame(result.stored, result.found);

  const store = new EmbeddedStore(options);
  const found: RestoredSession[] = [];
  const kept: Message[] = [];
  const events = { entryDurable: () => {}, entryFailed: () => {}, committed: () => {} };
  await store.start(events, {
    session: (one) => found.push(one),
    retained: (message) => kept.push(message),
  });
  t.teardown(() => store.stop());
  const one = found.find(({ record }) => record.clientId === 'one')!;
  const { sessionNumber: _, ...record } = one.record;
  t.strictSame(record, session('one', [], []).record);
  t.strictSame([...one.inboundIds], [7, 9]);
  t.equal(one.tailSeq, 70_000);
  const entries = await new Promise<QueueEntry[]>((resolve, reject) => {
    store.read(one.record.sessionNumber, 1, 10, 10_000, (read, error) => {
      if (error === null) resolve(read);
      else reject(error);
    });
  });
  t.strictSame(
    entries.map(({ seq, state, message }) => [seq, state, message.payload.toString()]),
    [
      [1, EntryState.RELEASED, 'released'],
      [70_000, EntryState.QUEUED, 'x'],
    ],
  );
  t.strictSame(
    kept.map(({ topic, retain, qos }) => [topic, retain, qos]),
    [['kept', true, 1]],
  );
  await store.stop();
  await t.rejects(migrate(new FakeSource(), new EmbeddedTarget(options), hooks), {
    name: 'MigrationError',
    message: /already holds 2 sessions and 1 retained messages.*--data/,
  });
});

t.test('what is left out is counted, and a source that changes is not believed', async (t) => {
  const folder = folderFor(t);
  const options = { directory: join(folder, 'a'), scheduler: systemScheduler, log: quiet };
  const source = new FakeSource();
  source.extra = 1;
  const told: LeftOut[] = [];
  const result = await migrate(source, new EmbeddedTarget(options), {
    ...hooks,
    leftOut: (item) => told.push(item),
  });
  t.equal(result.isEqual, true);
  t.equal(result.hasLoss, true);
  t.equal(told.length, 1);

  const moving = new FakeSource();
  moving.changes = true;
  const target = new EmbeddedTarget({ ...options, directory: join(folder, 'b') });
  await t.rejects(migrate(moving, target, hooks), {
    name: 'MigrationError',
    message: /changed while it was read \(queued\)/,
  });
  const dry = await migrate(new FakeSource(), null, hooks);
  t.equal(dry.isEqual, true);
  t.equal(dry.stored, null);
  const short = new FakeSource();
  short.extra = 2;
  t.equal((await migrate(short, null, hooks)).isEqual, false, 'one of them is nowhere');
});

t.test('a target that loses something is found out', async (t) => {
  let isAbandoned = false;
  const losing: SessionTarget = {
    open: async () => {},
    addSession: async ({ queue }) => {
      for await (const _ of queue);
    },
    addRetained: async () => {},
    finish: async () => ({ ...(await new FakeSource().counts()), queued: 2 }),
    abandon: async () => {
      isAbandoned = true;
    },
  };
  const result = await migrate(new FakeSource(), losing, hooks);
  t.equal(result.isEqual, false);
  t.equal(isAbandoned, false);
  losing.addRetained = async () => {
    throw new MigrationError('disk');
  };
  await t.rejects(migrate(new FakeSource(), losing, hooks), { message: 'disk' });
  t.equal(isAbandoned, true);
});

/** What comes back from a map is a Map. */
function plain(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return `bytes ${value.toString('hex')}`;
  if (value instanceof Map) return [...value].map(([key, one]) => [key, plain(one)]);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value ?? null;
  return Object.entries(value).map(([key, one]) => [key, plain(one)]);
}

t.test('msgpack as msgpack-lite writes it', async (t) => {
  const value = fc.letrec((tie) => ({
    leaf: fc.oneof(
      fc.integer(),
      fc.maxSafeInteger(),
      fc.double({ noNaN: true }),
      fc.boolean(),
      fc.constant(null),
      fc.string({ unit: 'grapheme' }),
      fc.string({ minLength: 250, maxLength: 70_000 }),
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    ),
    node: fc.oneof(
      { maxDepth: 4 },
      tie('leaf'),
      fc.array(tie('node'), { maxLength: 20 }),
      fc.dictionary(fc.string(), tie('node'), { noNullPrototype: true }),
    ),
  })).node;
  fc.assert(
    fc.property(value, (one) => {
      t.strictSame(plain(decodeMsgpack(msgpack.encode(one))), plain(one));
    }),
    { numRuns: 100 },
  );
  t.strictSame(decodeMsgpack(msgpack.encode(new Uint8Array([1, 2]))), Buffer.from([1, 2]));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        decodeMsgpack(Buffer.from(bytes));
      } catch (error) {
        return error instanceof MsgpackDamage;
      }
      return true;
    }),
    { numRuns: 1000 },
  );
});

t.test('packets and subscriptions', async (t) => {
  const packet = decodePacket(
    msgpack.encode({
      cmd: 'publish',
      topic: 'a/b',
      payload: Buffer.from('x'),
      qos: 1,
      retain: true,
      messageId: 300,
      messageExpiry: 1_900_000_000_000,
      properties: {
        contentType: 'text/plain',
        messageExpiryInterval: 60,
        userProperties: { k: ['v', 'w'], z: '1' },
      },
    }),
  );
  t.match(packet, { topic: 'a/b', qos: 1, retain: true, packetId: 300, expiryS: 60 });
  t.equal(packet.expiresAtMs, 1_900_000_000_000);
  const pair = (name: string, value: string): string =>
    `\x26\0${String.fromCharCode(name.length)}${name}\0${String.fromCharCode(value.length)}${value}`;
  t.equal(
    packet.properties.toString('latin1'),
    `\x03\0\x0atext/plain${pair('k', 'v')}${pair('k', 'w')}${pair('z', '1')}`,
  );
  const server = decodePacket(msgpack.encode({ topic: 't', payload: 'text', qos: 0 }));
  t.equal(server.payload.toString(), 'text');
  t.equal(server.properties.length, 0);
  for (const wrong of [
    { topic: 'a/#', qos: 0 },
    { topic: '', qos: 0 },
    { topic: 'a', qos: 3 },
    { topic: 'a', qos: 0, payload: 5 },
    'text',
  ]) {
    t.throws(() => decodePacket(msgpack.encode(wrong)), PacketDamage);
  }
  t.match(decodeSubscription('a/+', Buffer.from('2')), { filter: 'a/+', qos: 2 });
  const stored = { topic: 'a', qos: 1, nl: true, rap: true, rh: 2, subscriptionIdentifier: 5 };
  t.strictSame(decodeSubscription('a', msgpack.encode(stored)), {
    filter: 'a',
    qos: 1,
    noLocal: true,
    retainAsPublished: true,
    retainHandling: 2,
    subscriptionId: 5,
  });
  t.throws(() => decodeSubscription('a/#/b', Buffer.from('1')), PacketDamage);
});

t.test('keys of a queue, and positions that give a packet id', async (t) => {
  t.strictSame(parseQueueKey('packet:b-1:12'), { packet: 'packet:b-1:12', pubrel: null });
  t.strictSame(parseQueueKey('outgoing:c%3A1:b-1:12'), {
    packet: 'packet:b-1:12',
    pubrel: 'outgoing:c%3A1:b-1:12',
  });
  for (const wrong of ['packet:b-1', 'packet:b:1:offlineCount', 'x:b:1', 'packet:b:1x', '']) {
    t.equal(parseQueueKey(wrong), null, wrong);
  }
  fc.assert(
    fc.property(fc.nat({ max: 10_000_000 }), fc.nat({ max: 65_535 }), (seq, packetId) => {
      const next = positionAfter(seq, packetId);
      if (packetId === 0) return next === seq + 1;
      return next > seq && next - seq <= 65_535 && (next % 65_535) + 1 === packetId;
    }),
  );
});
