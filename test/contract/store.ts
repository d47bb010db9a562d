/**
 * What every store keeps to, whatever it writes to (core/ports.ts: SessionStore, RetainedStore). Run
 * by the tests of each implementation; what asks for a record that outlives the store is left to
 * those that have one, and what asks for a position before a message is stored to those the core gives
 * positions to.
 */
import type { Test } from 'tap';
import { Message } from '../../src/core/message.ts';
import type { RestoredSession, Ticket } from '../../src/core/ports.ts';
import { EntryState, type QueueEntry } from '../../src/core/queue-entry.ts';
import type { RetainedVersion } from '../../src/core/retained-version.ts';
import {
  entryOf,
  read,
  release,
  sessionRecord,
  settle,
  textMessage,
  textOf,
} from './store-recorder.ts';
import type { StoreSubject } from './store-subject.ts';

export interface StoreHome {
  /** Makes a store over what an earlier one of this home has left, and starts it. */
  open(): Promise<StoreSubject>;
}

/** `makeHome` gives a new place for each test; it registers its own teardown. */
export function storeContract(
  t: Test,
  makeHome: (t: Test) => StoreHome,
  {
    isDurable,
    givesPositions = false,
    stampsRetained = false,
  }: {
    readonly isDurable: boolean;
    /** The queue does, and nodes share it: `append` is nothing for it. */
    readonly givesPositions?: boolean;
    /** It gives versions itself, and a record elsewhere knows what was cleared. */
    readonly stampsRetained?: boolean;
  },
): void {
  everyStore(t, makeHome);
  if (!givesPositions) takingPositions(t, makeHome);
  if (!isDurable) return;
  if (!givesPositions) eliding(t, makeHome);
  appending(t, makeHome);
  reading(t, makeHome, givesPositions);
  reopening(t, makeHome);
  if (!stampsRetained) keepingTombstones(t, makeHome);
  if (!givesPositions) restoring(t, makeHome);
}

function takingPositions(t: Test, makeHome: (t: Test) => StoreHome): void {
  t.test('an entry is durable before its ticket is reported', async (t) => {
    const { store, events } = await makeHome(t).open();
    t.ok(store.writable);
    await events.done(store.saveSession(sessionRecord(1, 'c')));
    const entry = entryOf(1, textMessage('x'));
    const ticket = store.append(1, entry);
    t.equal(entry.durable, ticket === 0, 'ticket 0 means durable at return');
    await events.done(ticket);
    t.ok(entry.durable);
    t.equal(events.lastError, null);
    settle(store, 1, entry);
    await store.stop();
  });

  t.test('tickets of entries never fall either', async (t) => {
    const { store, events } = await makeHome(t).open();
    const tickets = [store.saveSession(sessionRecord(1, 'c'))];
    for (let seq = 1; seq <= 20; seq++) {
      tickets.push(store.append(1, entryOf(seq, textMessage(`${seq}`))));
      if (seq % 5 === 0) await events.done(tickets.at(-1)!);
    }
    tickets.push(store.addInboundId(1, 7), store.deleteSession(1));
    await events.done(tickets.at(-1)!);
    t.same(
      tickets,
      tickets.toSorted((a, b) => a - b),
    );
    await store.stop();
  });
}

function everyStore(t: Test, makeHome: (t: Test) => StoreHome): void {
  t.test('what is queued is durable when that is said', async (t) => {
    const subject = await makeHome(t).open();
    const { store, events } = subject;
    t.ok(store.writable);
    await subject.create(sessionRecord(1, 'c'));
    const entry = (await subject.put(1, textMessage('x')))!;
    t.ok(entry.durable);
    t.equal(entry.seq, 1);
    t.equal(events.lastError, null);
    settle(store, 1, entry);
    await store.stop();
  });

  t.test('tickets never fall', async (t) => {
    const subject = await makeHome(t).open();
    const { store, events } = subject;
    await subject.create(sessionRecord(1, 'c'));
    const tickets = [store.saveSession(sessionRecord(1, 'c'))];
    // A store that tells of retained messages apart counts them apart.
    const retained: Ticket[] = store.tellsRetained === true ? [] : tickets;
    tickets.push(store.addInboundId(1, 7), store.removeInboundId(1, 7));
    retained.push(store.putRetained(textMessage('r')), store.removeRetained('a/b', null));
    await retainedDone(subject, retained.at(-1)!);
    tickets.push(store.saveSession(sessionRecord(1, 'c')));
    retained.push(store.putRetained(textMessage('r')));
    tickets.push(store.deleteSession(1));
    await events.done(tickets.at(-1)!);
    await retainedDone(subject, retained.at(-1)!);
    t.equal(events.lastError, null);
    for (const given of [tickets, retained]) {
      t.same(
        given,
        given.toSorted((a, b) => a - b),
      );
    }
    await store.stop();
  });

  t.test('read answers once, and later', async (t) => {
    const subject = await makeHome(t).open();
    const { store } = subject;
    for (const known of [true, false]) {
      if (known) await subject.create(sessionRecord(1, 'c'));
      let answers = 0;
      const answered = new Promise<void>((resolve) => {
        store.read(known ? 1 : 99, 1, 10, 1000, (entries, error) => {
          answers++;
          t.same(entries, []);
          t.equal(error, null);
          resolve();
        });
      });
      t.equal(answers, 0, 'not within the call');
      await answered;
      t.equal(answers, 1);
    }
    await store.stop();
  });

  t.test('stops twice without harm', async (t) => {
    const { store } = await makeHome(t).open();
    await store.stop();
    await store.stop();
  });
}

function eliding(t: Test, makeHome: (t: Test) => StoreHome): void {
  t.test('entries of a session are reported in order, then their ticket', async (t) => {
    const { store, events } = await makeHome(t).open();
    store.saveSession(sessionRecord(1, 'a'));
    store.saveSession(sessionRecord(2, 'b'));
    let ticket = 0;
    for (let seq = 1; seq <= 100; seq++) {
      const message = textMessage(`${seq}`);
      store.append(1, entryOf(seq, message));
      ticket = store.append(2, entryOf(seq, message, 2));
      if (seq % 7 === 0) await new Promise(setImmediate);
    }
    await events.done(ticket);
    const expected = Array.from({ length: 100 }, (_, i) => i + 1);
    t.same(events.of('durable', 1), expected);
    t.same(events.of('durable', 2), expected);
    const lastEntry = events.reported.findLastIndex(({ kind }) => kind === 'durable');
    const report = events.reported.findIndex(
      ({ kind, ticket: reported }) => kind === 'committed' && reported === ticket,
    );
    t.ok(lastEntry < report, 'the ticket comes after its entries');
    await store.stop();
  });

  t.test('what is settled before its commit leaves is never written', async (t) => {
    const home = makeHome(t);
    const { store, events } = await home.open();
    await events.done(store.saveSession(sessionRecord(1, 'c')));
    const early = entryOf(1, textMessage('acked at once'));
    const kept = entryOf(2, textMessage('kept'));
    store.append(1, early);
    const ticket = store.append(1, kept);
    settle(store, 1, early);
    await events.done(ticket);
    t.notOk(early.durable);
    t.same(events.of('durable', 1), [2], 'nothing is said of the one that is not owed any more');
    await store.stop();
    const again = await home.open();
    t.equal(again.events.sessions.get('c')!.queuedMessages, 1);
    t.same((await read(again.store, theNumber(again, 'c'))).map(textOfEntry), ['kept']);
    await again.store.stop();
  });

  t.test('what is settled while its commit is under way does not come back', async (t) => {
    const home = makeHome(t);
    const { store, events } = await home.open();
    await events.done(store.saveSession(sessionRecord(1, 'c')));
    const entry = entryOf(1, textMessage('x'));
    const ticket = store.append(1, entry);
    // Past the end of this turn, where the commit begins, and before its fsync can be done.
    await new Promise<void>((resolve) => setImmediate(() => queueMicrotask(resolve)));
    settle(store, 1, entry);
    await events.done(ticket);
    await store.stop();
    const again = await home.open();
    t.equal(again.events.sessions.get('c')!.queuedMessages, 0);
    t.same(await read(again.store, theNumber(again, 'c')), []);
    await again.store.stop();
  });

  t.test('deleting a session while its commit is under way frees them too', async (t) => {
    const home = makeHome(t);
    const { store, events } = await home.open();
    await events.done(store.saveSession(sessionRecord(1, 'c')));
    store.append(1, entryOf(1, textMessage('x')));
    await new Promise<void>((resolve) => setImmediate(() => queueMicrotask(resolve)));
    store.append(1, entryOf(2, textMessage('y')));
    await events.done(store.deleteSession(1));
    t.same(events.of('durable', 1), [1, 2]);
    await store.stop();
    t.equal((await home.open()).events.sessions.size, 0);
  });
}

function appending(t: Test, makeHome: (t: Test) => StoreHome): void {
  t.test('messages of a session have the order they were queued in', async (t) => {
    const subject = await makeHome(t).open();
    const { store } = subject;
    await subject.create(sessionRecord(1, 'a'));
    await subject.create(sessionRecord(2, 'b'));
    const puts: [number, string, Promise<QueueEntry | null>][] = [];
    for (let i = 1; i <= 100; i++) {
      const message = textMessage(`${i}`);
      puts.push([1, `${i}`, subject.put(1, message)]);
      puts.push([2, `${i}`, subject.put(2, message, { qos: 2 })]);
      if (i % 7 === 0) await new Promise(setImmediate);
    }
    for (const [, text, put] of puts) t.equal((await put)!.seq, Number(text));
    for (const number of [1, 2]) {
      const found = await read(store, number);
      t.same(
        found.map((entry) => [entry.seq, textOf(entry.message), entry.qos]),
        Array.from({ length: 100 }, (_, i) => [i + 1, `${i + 1}`, number]),
      );
    }
    await store.stop();
  });

  t.test('deleting a session frees who waits for its entries', async (t) => {
    const home = makeHome(t);
    const subject = await home.open();
    const { store, events } = subject;
    await subject.create(sessionRecord(1, 'c'));
    const put = subject.put(1, textMessage('x'));
    await events.done(store.deleteSession(1));
    await put;
    t.same(await read(store, 1), []);
    t.equal(store.deleteSession(1), 0, 'twice is nothing');
    await store.stop();
    const again = await home.open();
    t.equal(again.events.sessions.size, 0);
    await again.store.stop();
  });
}

function reading(t: Test, makeHome: (t: Test) => StoreHome, givesPositions: boolean): void {
  t.test('a queue is read in windows and in order while it grows and is settled', async (t) => {
    const home = makeHome(t);
    const subject = await home.open();
    const { store } = subject;
    await subject.create(sessionRecord(1, 'c'));
    let tail = 0;
    const append = async (count: number): Promise<void> => {
      const puts: Promise<unknown>[] = [];
      for (let i = 0; i < count; i++) puts.push(subject.put(1, textMessage(`m${++tail}`)));
      await Promise.all(puts);
    };
    await append(2000);
    let expected = 1;
    const total = 6000;
    while (expected <= total) {
      // Appended before the read is asked for: an empty answer must not hide it.
      if (tail < total) await append(Math.min(total - tail, 1 + ((expected * 7) % 300)));
      const tailWhenAsked = tail;
      const entries = await read(store, 1, { fromSeq: expected, messagesMax: 256 });
      t.ok(entries.length > 0 || expected > tailWhenAsked, 'what was appended is there');
      t.ok(entries.length <= 256);
      for (const entry of entries) {
        if (entry.seq !== expected || textOf(entry.message) !== `m${expected}`) {
          t.fail(`got ${entry.seq} ${textOf(entry.message)} in place of ${expected}`);
          return;
        }
        expected++;
        if (entry.seq % 3 === 1) settle(store, 1, entry);
        if (entry.seq % 3 === 2) store.settleStored(1, entry.seq, entry.message.bytes);
      }
    }
    const left = await read(store, 1);
    t.same(
      left.map(({ seq }) => seq),
      Array.from({ length: total / 3 }, (_, i) => (i + 1) * 3),
      'only what is not settled',
    );
    await store.stop();
    const again = await home.open();
    const restored = again.events.sessions.get('c')!;
    t.equal(restored.queuedMessages, total / 3);
    const leftBytes = left.reduce((sum, { message }) => sum + message.bytes, 0);
    // A queue that gives positions counts what it keeps, which is a little more.
    if (givesPositions) t.ok(restored.queuedBytes > leftBytes);
    else t.equal(restored.queuedBytes, leftBytes, 'bytes to the byte');
    t.equal(restored.tailSeq, total);
    t.ok(restored.headSeq <= 3);
    const reread = await read(again.store, restored.record.sessionNumber);
    t.same(reread.map(textOfEntry), left.map(textOfEntry));
    await again.store.stop();
  });

  t.test('a read is bounded by messages and bytes, with one message at least', async (t) => {
    const subject = await makeHome(t).open();
    const { store } = subject;
    await subject.create(sessionRecord(1, 'c'));
    const puts: Promise<unknown>[] = [];
    for (let i = 0; i < 50; i++) puts.push(subject.put(1, textMessage('x'.repeat(1000))));
    await Promise.all(puts);
    t.same((await read(store, 1, { messagesMax: 7 })).map(seqOf), [1, 2, 3, 4, 5, 6, 7]);
    t.same((await read(store, 1, { fromSeq: 10, bytesMax: 2500 })).map(seqOf), [10, 11, 12]);
    t.same((await read(store, 1, { fromSeq: 49, bytesMax: 1 })).map(seqOf), [49]);
    t.same(await read(store, 1, { fromSeq: 51 }), []);
    await store.stop();
  });

  t.test('everything of an entry comes back', async (t) => {
    const home = makeHome(t);
    const subject = await home.open();
    const { store } = subject;
    await subject.create(sessionRecord(1, 'c'));
    await subject.create(sessionRecord(2, 'd'));
    const plain = textMessage('plain', 'täst/…');
    const message = new Message(
      2 ** 45,
      't/1',
      Buffer.from('..\0\x03t/1payload..'),
      2,
      7,
      14,
      Buffer.from([0x26, 0, 1, 0x61, 0, 1, 0x62]),
      2,
      true,
      2 ** 41,
    );
    const ids = [1, 268_435_455];
    const big = textMessage('b'.repeat(300_000));
    await Promise.all([
      subject.put(1, plain),
      subject.put(1, message, { qos: 2, retain: true, subscriptionIds: ids }),
      subject.put(1, big, { subscriptionIds: ids }),
      subject.put(2, message),
    ]);
    await store.stop();
    const again = await home.open();
    const [first, second, third] = await read(again.store, theNumber(again, 'c'));
    t.match(first, { seq: 1, qos: 1, retain: false, subscriptionIds: null, durable: true });
    t.match(second, { seq: 2, qos: 2, retain: true, subscriptionIds: ids, state: 0 });
    t.same(third!.subscriptionIds, ids);
    t.equal(textOf(third!.message), 'b'.repeat(300_000));
    t.equal(first!.message.topic, 'täst/…');
    const other = (await read(again.store, theNumber(again, 'd')))[0]!;
    for (const stored of [second!.message, other.message]) {
      t.equal(stored.sequence, 2 ** 45);
      t.equal(stored.topic, 't/1');
      t.equal(textOf(stored), 'payload');
      t.same(stored.properties, message.properties);
      t.match(stored, { qos: 2, retain: true, expiresAtMs: 2 ** 41 });
      t.equal(stored.bytes, message.bytes);
    }
    await again.store.stop();
  });
}

function reopening(t: Test, makeHome: (t: Test) => StoreHome): void {
  t.test('numbers of sessions stay apart over restarts', async (t) => {
    const home = makeHome(t);
    let next = 1;
    for (let round = 0; round < 4; round++) {
      const subject = await home.open();
      const { store, events } = subject;
      for (const { record } of events.sessions.values()) {
        next = Math.max(next, record.sessionNumber + 1);
      }
      const numbers = [...events.sessions.values()].map(({ record }) => record.sessionNumber);
      t.equal(new Set(numbers).size, round * 3);
      for (const [clientId, { record }] of events.sessions) {
        const entries = await read(store, record.sessionNumber);
        t.same(entries.map(textOfEntry), [clientId], `the queue of ${clientId} is its own`);
      }
      for (let i = 0; i < 3; i++) {
        const clientId = `c${round}-${i}`;
        await subject.create(sessionRecord(next, clientId));
        await subject.put(next, textMessage(clientId));
        next++;
      }
      await store.stop();
    }
  });

  t.test('a released QoS 2 entry comes back released', async (t) => {
    const home = makeHome(t);
    const subject = await home.open();
    let { store, events } = subject;
    await subject.create(sessionRecord(1, 'c'));
    const entries: (QueueEntry | null)[] = [];
    for (const text of ['1', '2', '3']) {
      entries.push(await subject.put(1, textMessage(text), { qos: 2 }));
    }
    await events.done(release(store, 1, entries[0]!));
    await events.done(release(store, 1, entries[2]!));
    settle(store, 1, entries[2]!);
    await store.stop();
    ({ store, events } = await home.open());
    const { record, queuedMessages, headSeq } = events.sessions.get('c')!;
    t.equal(queuedMessages, 2);
    t.equal(headSeq, 1);
    const [first, second, ...none] = await read(store, record.sessionNumber);
    t.match(first, { seq: 1, state: EntryState.RELEASED, sentBefore: true });
    t.match(second, { seq: 2, state: EntryState.QUEUED, sentBefore: false });
    t.same(none, []);
    settle(store, record.sessionNumber, first!);
    await store.stop();
    ({ store, events } = await home.open());
    t.equal(events.sessions.get('c')!.headSeq, 2);
    t.same((await read(store, record.sessionNumber)).map(seqOf), [2]);
    await store.stop();
  });

  t.test('positions go on after everything was settled', async (t) => {
    const home = makeHome(t);
    for (let round = 0; round < 3; round++) {
      const subject = await home.open();
      const { store, events } = subject;
      let number = 1;
      if (round === 0) {
        await subject.create(sessionRecord(1, 'c'));
      } else {
        const restored: RestoredSession = events.sessions.get('c')!;
        number = restored.record.sessionNumber;
        t.match(restored, {
          tailSeq: round * 10,
          headSeq: round * 10 + 1,
          queuedMessages: 0,
          queuedBytes: 0,
        });
      }
      for (let i = 1; i <= 10; i++) {
        const entry = (await subject.put(number, textMessage('x')))!;
        t.equal(entry.seq, round * 10 + i);
        settle(store, number, entry);
      }
      await store.stop();
    }
  });

  t.test('inbound ids come back until they are removed', async (t) => {
    const home = makeHome(t);
    const subject = await home.open();
    let { store, events } = subject;
    await subject.create(sessionRecord(1, 'c'));
    for (const id of [1, 300, 65_535]) store.addInboundId(1, id);
    await events.done(store.removeInboundId(1, 300));
    await store.stop();
    ({ store, events } = await home.open());
    const { record, inboundIds } = events.sessions.get('c')!;
    t.same(new Set(inboundIds), new Set([1, 65_535]));
    store.removeInboundId(record.sessionNumber, 1);
    await events.done(store.removeInboundId(record.sessionNumber, 65_535));
    await store.stop();
    ({ store, events } = await home.open());
    t.same(events.sessions.get('c')!.inboundIds, []);
    await store.stop();
  });

  t.test('retained messages are replaced and removed', async (t) => {
    const home = makeHome(t);
    const subject = await home.open();
    let { store, events } = subject;
    store.putRetained(textMessage('old', 'r/1'));
    await retainedDone(subject, store.putRetained(textMessage('gone', 'r/2')));
    store.putRetained(textMessage('new', 'r/1'));
    const third = textMessage('third', 'r/3');
    third.source = { clientId: 'c/1', identity: 'ü', tenant: 'acme' };
    store.putRetained(third);
    await retainedDone(subject, store.removeRetained('r/2', null));
    await store.stop();
    ({ store, events } = await home.open());
    const found = [...events.retainedMessages].map(([topic, message]) => [topic, textOf(message)]);
    t.same(found, [
      ['r/1', 'new'],
      ['r/3', 'third'],
    ]);
    t.same(events.retainedMessages.get('r/3')!.source, third.source);
    t.equal(events.retainedMessages.get('r/1')!.source, null);
    await store.stop();
  });
}

/** Of a store whose versions are given: with other nodes, that is. */
export function keepingTombstones(t: Test, makeHome: (t: Test) => StoreHome): void {
  t.test('tombstones of cleared topics are kept until they are over', async (t) => {
    const home = makeHome(t);
    const subject = await home.open();
    let { store, events } = subject;
    store.putRetained(versioned('gone', 'r/1', 1));
    store.putRetained(versioned('gone', 'r/ü', 2));
    const first = { timeUs: 1_800_000_000_000_001, writer: 0xffff_ffff };
    await retainedDone(subject, store.removeRetained('r/1', first));
    store.removeRetained('r/ü', { timeUs: 5, writer: 0 });
    // Nothing was there: the clear may be told before the message it outweighs.
    store.removeRetained('r/3', { timeUs: 6, writer: 1 });
    await retainedDone(subject, store.removeRetained('r/4', { timeUs: 7, writer: 1 }));
    store.putRetained(versioned('new', 'r/3', 8));
    store.forgetTombstone('r/4');
    await store.stop();
    ({ store, events } = await home.open());
    t.same([...events.retainedMessages.keys()], ['r/3']);
    t.same(Object.fromEntries(events.tombstones), {
      'r/1': first,
      'r/ü': { timeUs: 5, writer: 0 },
    });
    // A message that is on its way to the disk is in the tombstone's place.
    store.putRetained(versioned('again', 'r/1', first.timeUs + 1));
    store.forgetTombstone('r/1');
    await store.stop();
    ({ store, events } = await home.open());
    t.same([...events.retainedMessages.keys()], ['r/1', 'r/3']);
    await store.stop();
  });
}

function restoring(t: Test, makeHome: (t: Test) => StoreHome): void {
  t.test('session records and wills come back', async (t) => {
    const home = makeHome(t);
    const { store, events } = await home.open();
    const subscription = {
      filter: '$share/g/a/+',
      qos: 2,
      noLocal: true,
      retainAsPublished: true,
      retainHandling: 2,
      subscriptionId: 77,
    } as const;
    const record = sessionRecord(1, 'c', {
      identity: 'user',
      protocolVersion: 4,
      expiryIntervalS: 0xffffffff,
      disconnectedAtMs: 1_700_000_000_000,
      subscriptions: [subscription],
      will: { message: textMessage('last words', 'w'), delayS: 30, dueAtMs: 1_700_000_030_000 },
    });
    store.saveSession(sessionRecord(1, 'c', { identity: 'before' }));
    await events.done(store.saveSession(record));
    await store.stop();
    const again = await home.open();
    const restored = again.events.sessions.get('c')!;
    const { will, sessionNumber, ...rest } = restored.record;
    const { will: _, sessionNumber: __, ...expected } = record;
    t.same(rest, expected);
    t.equal(textOf(will!.message), 'last words');
    t.match(will, { delayS: 30, dueAtMs: 1_700_000_030_000 });
    t.match(restored, { headSeq: 1, tailSeq: 0, queuedMessages: 0, queuedBytes: 0 });
    t.ok(sessionNumber > 0);
    await again.store.stop();
  });
}

/** Once it was said what became of a retained change. */
function retainedDone({ store, events }: StoreSubject, ticket: Ticket): Promise<void> {
  return store.tellsRetained === true ? events.retainedDone(ticket) : events.done(ticket);
}

function versioned(text: string, topic: string, timeUs: number): Message {
  const message = textMessage(text, topic);
  const version: RetainedVersion = { timeUs, writer: 1 };
  message.version = version;
  return message;
}

function theNumber(subject: StoreSubject, clientId: string): number {
  return subject.events.sessions.get(clientId)!.record.sessionNumber;
}

function textOfEntry(entry: QueueEntry): string {
  return textOf(entry.message);
}

function seqOf(entry: QueueEntry): number {
  return entry.seq;
}
