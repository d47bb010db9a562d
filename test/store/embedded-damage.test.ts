/** A damaged record of any kind is moved aside and counted; everything else is served. */
import t, { type Test } from 'tap';
import type { QueueEntry } from '../../src/core/queue-entry.ts';
import {
  entryOf,
  read,
  sessionRecord,
  settle,
  textMessage,
  textOf,
} from '../contract/store-recorder.ts';
import { EmbeddedHome, type EmbeddedSubject } from './embedded-home.ts';

/**
 * Two sessions with one run each of own bodies, a shared block and large bodies; some of it settled,
 * so that every kind of record is there.
 */
async function furnish(home: EmbeddedHome): Promise<void> {
  const { store, events } = await home.open();
  const settled: { number: number; entry: QueueEntry }[] = [];
  for (let number = 1; number <= 3; number++) {
    store.saveSession(sessionRecord(number, `c${number}`));
    store.addInboundId(number, 7);
  }
  for (let seq = 1; seq <= 3; seq++) {
    const shared = textMessage(`shared ${seq}`);
    let ticket = 0;
    for (let number = 1; number <= 3; number++) {
      const own = entryOf(seq * 10, textMessage(`own ${seq} of c${number}`));
      store.append(number, own);
      const both = entryOf(seq * 10 + 1, shared);
      ticket = store.append(number, both);
      // The third session keeps the second run alone, the others all but one entry.
      if (number !== 3 && seq === 2) settled.push({ number, entry: own });
      if (number === 3 && seq !== 2) settled.push({ number, entry: own }, { number, entry: both });
    }
    await events.done(ticket);
    // A run of its own, whose bodies are too large to be in it.
    let large = 0;
    for (let number = 1; number <= 2; number++) {
      large = store.append(number, entryOf(seq * 10 + 2, textMessage(`large ${seq}`.padEnd(9000))));
    }
    await events.done(large);
  }
  for (const { number, entry } of settled) settle(store, number, entry);
  store.putRetained(textMessage('retained 1', 'r/1'));
  await events.done(store.putRetained(textMessage('retained 2', 'r/2')));
  // The settled go with the next synced commit.
  await events.done(store.putRetained(textMessage('retained 3', 'r/3')));
  await store.stop();
}

interface Found {
  readonly clients: string[];
  readonly texts: Record<string, string[]>;
  readonly retained: string[];
  readonly quarantined: number;
}

async function look(subject: EmbeddedSubject): Promise<Found> {
  const { store, events } = subject;
  const texts: Record<string, string[]> = {};
  for (const [clientId, { record }] of events.sessions) {
    const entries = await read(store, record.sessionNumber);
    texts[clientId] = entries.map(({ message }) => textOf(message).trim());
  }
  return {
    clients: [...events.sessions.keys()],
    texts,
    retained: [...events.retainedMessages.keys()],
    quarantined: store.quarantined,
  };
}

/** Damages the nth record of a kind, of runs or of their progress; returns its key. */
function damage(home: EmbeddedHome, kind: string, nth: number, part?: number): Promise<Buffer> {
  return home.raw(async (db) => {
    const keys = await db.keys({ gte: Buffer.from(kind), lt: afterKind(kind) }).all();
    const key = keys.filter((one) => part === undefined || one[17] === 0x30 + part)[nth]!;
    const value = (await db.get(key))!;
    value[Math.floor(value.length / 2)]! ^= 0x40;
    await db.put(key, value);
    return key;
  });
}

function afterKind(kind: string): Buffer {
  return Buffer.from([kind.charCodeAt(0) + 1]);
}

/** The store still takes, keeps and gives back what is new. */
async function stillWorks(t: Test, home: EmbeddedHome, subject: EmbeddedSubject): Promise<void> {
  const { store, events } = subject;
  const next = Math.max(0, ...[...events.sessions.values()].map((s) => s.record.sessionNumber)) + 1;
  const message = textMessage('new and shared');
  store.saveSession(sessionRecord(next, 'new'));
  let ticket = store.append(next, entryOf(1, message));
  for (const { record, tailSeq } of events.sessions.values()) {
    ticket = store.append(record.sessionNumber, entryOf(Math.max(1000, tailSeq + 1), message));
  }
  await events.done(ticket);
  t.equal(events.lastError, null);
  await store.stop();
  const again = await home.open();
  t.equal(again.store.quarantined, 0, 'what was moved aside is not found again');
  for (const [clientId, { record }] of again.events.sessions) {
    const entries = await read(again.store, record.sessionNumber);
    t.equal(textOf(entries.at(-1)!.message), 'new and shared', `${clientId} goes on`);
  }
  await again.store.stop();
}

const own = (client: string, ...seqs: number[]): string[] =>
  seqs.map((seq) => `own ${seq} of ${client}`);

const whole: Record<string, string[]> = {
  c1: [
    'own 1 of c1',
    'shared 1',
    'large 1',
    'shared 2',
    'large 2',
    'own 3 of c1',
    'shared 3',
    'large 3',
  ],
  c2: [
    'own 1 of c2',
    'shared 1',
    'large 1',
    'shared 2',
    'large 2',
    'own 3 of c2',
    'shared 3',
    'large 3',
  ],
  c3: [...own('c3', 2), 'shared 2'],
};

interface Case {
  readonly name: string;
  readonly kind: string;
  readonly nth: number;
  readonly part?: number;
  /** What is gone, by client. */
  readonly without?: Record<string, readonly string[]>;
  /** What comes back though it was settled. */
  readonly again?: Record<string, readonly string[]>;
  readonly lostClient?: string;
  readonly lostRetained?: string;
}

const cases: readonly Case[] = [
  { name: 'a run', kind: 'q', nth: 0, part: 0, without: { c1: ['own 1 of c1', 'shared 1'] } },
  { name: 'progress', kind: 'q', nth: 0, part: 1, again: { c1: ['own 2 of c1'] } },
  { name: 'large bodies', kind: 'b', nth: 0, without: { c1: ['large 1'] } },
  {
    name: 'a shared block',
    kind: 'm',
    nth: 1,
    without: { c1: ['shared 2'], c2: ['shared 2'], c3: ['shared 2'] },
  },
  { name: 'a count', kind: 'c', nth: 0 },
  { name: 'a session', kind: 's', nth: 0, lostClient: 'c1' },
  { name: 'inbound ids', kind: 'i', nth: 0 },
  { name: 'a tail', kind: 'h', nth: 0 },
  { name: 'a retained message', kind: 'r', nth: 1, lostRetained: 'r/2' },
  { name: 'the number counter', kind: 'n', nth: 0 },
  { name: 'the version', kind: 'v', nth: 0 },
];

for (const { name, kind, nth, part, without = {}, again = {}, ...lost } of cases) {
  t.test(`damaged: ${name}`, async (t) => {
    const home = new EmbeddedHome(t);
    await furnish(home);
    const key = await damage(home, kind, nth, part);
    const subject = await home.open();
    const found = await look(subject);
    // A count is looked at only when a queue lets go of its block.
    if (kind !== 'c') t.equal(found.quarantined, 1, 'counted');
    const clients = ['c1', 'c2', 'c3'].filter((client) => client !== lost.lostClient);
    t.same(found.clients, clients);
    for (const client of clients) {
      const texts = found.texts[client]!;
      const expected = new Set(whole[client]!);
      for (const text of without[client] ?? []) expected.delete(text);
      for (const text of again[client] ?? []) expected.add(text);
      t.same(new Set(texts), expected, `${client} has the rest`);
      t.equal(texts.length, expected.size);
    }
    const retained = ['r/1', 'r/2', 'r/3'].filter((topic) => topic !== lost.lostRetained);
    t.same(found.retained, retained);
    if (kind === 'c') {
      const { record } = subject.events.sessions.get('c1')!;
      const entries = await read(subject.store, record.sessionNumber);
      for (const entry of entries) settle(subject.store, record.sessionNumber, entry);
      await subject.events.done(subject.store.putRetained(textMessage('x', 'barrier')));
      t.equal(subject.store.quarantined, 1, 'counted when it was looked at');
      t.same((await look(subject)).texts.c2, whole.c2, 'nobody loses a body');
    }
    await stillWorks(t, home, subject);
    await home.raw(async (db) => {
      const aside = await db.get(Buffer.concat([Buffer.from('x'), key]));
      t.ok(aside, 'it lies aside under its old key');
    });
    if (lost.lostClient !== undefined) {
      t.ok(((await home.kinds()).q ?? 0) > 0, 'its queue is kept for whoever mends the record');
    }
  });
}

t.test('two damaged records at once, one of them met again and again', async (t) => {
  const home = new EmbeddedHome(t);
  await furnish(home);
  await damage(home, 'm', 0);
  await damage(home, 'q', 2, 0);
  const { store, events } = await home.open();
  for (let i = 0; i < 3; i++) {
    for (const { record } of events.sessions.values()) await read(store, record.sessionNumber);
  }
  t.equal(store.quarantined, 2);
  // Entries without a body count as settled; the session commits like any other afterwards.
  const { record } = events.sessions.get('c1')!;
  const ticket = store.append(record.sessionNumber, entryOf(500, textMessage('after')));
  await events.done(ticket);
  t.ok(events.of('durable', record.sessionNumber).includes(500));
  await store.stop();
});
