/**
 * What AppendWriter hands to the journal, and what queues make of a journal that is replayed (docs/adr/0017):
 * lanes in their order with what is under way first, each message in the queue once whoever appends it.
 */
import t from 'tap';
import { EntryState, SentEntry } from '../../../src/core/queue-entry.ts';
import { moveIdentity, SharedAppend } from '../../../src/core/shared-append.ts';
import { JournalEntry } from '../../../src/store/journal/journal-entry.ts';
import type { AppendJournal } from '../../../src/store/journal/journal-ports.ts';
import type { JournalRecord } from '../../../src/store/journal/journal-record.ts';
import { JOURNAL_AFTER_MS } from '../../../src/store/redis/append-writer.ts';
import { textMessage, textOf } from '../../contract/store-recorder.ts';
import { numbered, World } from './redis-world.ts';

class Notebook implements AppendJournal {
  hasRoom = true;
  readonly kept: JournalRecord[] = [];
  readonly open: Set<JournalEntry> = new Set();

  keep(record: JournalRecord, kept: () => void, queued: () => void): JournalEntry {
    this.kept.push(record);
    const entry = new JournalEntry(this.kept.length, record, kept, queued);
    this.open.add(entry);
    return entry;
  }

  answered(entry: JournalEntry): void {
    if (!this.open.delete(entry)) throw new Error('answered twice');
  }
}

t.test('Redis is away: all goes to the journal, in order, and is queued once', async (t) => {
  const world = new World(31);
  const journal = new Notebook();
  const node = world.join('node', {}, journal);
  world.take(node, 1, 'c');
  const texts = numbered('m', 40);
  node.act(() => {
    for (const text of texts.slice(0, 10)) node.node.enqueue(1, textMessage(text));
  });
  world.until(() => node.node.told.length === 10);
  t.equal(journal.kept.length, 0, 'nothing while Redis answers');
  // Under way when it goes.
  node.act(() => {
    for (const text of texts.slice(10, 20)) node.node.enqueue(1, textMessage(text));
  });
  node.act(() => node.port.partition(), 0.05);
  node.act(() => {
    for (const text of texts.slice(20, 30)) node.node.enqueue(1, textMessage(text));
  }, 5);
  world.pass(JOURNAL_AFTER_MS + 200);
  t.same(
    journal.kept.map(({ seq }) => seq),
    Array.from({ length: 20 }, (_, i) => i + 11),
  );
  t.same(new Set(journal.kept.map(({ writer }) => writer)), new Set(['node']));
  for (const entry of journal.open) entry.kept?.();
  t.equal(node.node.kepts.length, 20);
  node.act(() => {
    for (const text of texts.slice(30)) node.node.enqueue(1, textMessage(text));
  });
  world.pass(10);
  t.equal(journal.kept.length, 30, 'behind those in the journal: at once');
  node.act(() => node.port.heal());
  world.until(() => node.node.told.length === 40);
  t.equal(journal.open.size, 0, 'all are answered');
  t.same(world.texts(node, 1), texts);
});

t.test('what a publisher’s session names is journaled under that name', async (t) => {
  const world = new World(32);
  const journal = new Notebook();
  const node = world.join('node', {}, journal);
  world.take(node, 1, 'c');
  node.act(() => node.port.partition());
  node.act(() => {
    node.node.enqueue(1, textMessage('a'), {}, { publisherSid: 'ab', publisherSeq: 1 });
    node.node.enqueue(1, textMessage('b'));
    node.node.enqueue(1, textMessage('c'), {}, { publisherSid: 'ab', publisherSeq: 2 });
    node.node.enqueue(1, textMessage('d'));
  }, 1);
  world.pass(JOURNAL_AFTER_MS + 200);
  t.same(
    journal.kept.map(({ writer, seq }) => `${writer} ${seq}`),
    ['ab 1', 'node 1', 'ab 2', 'node 2'],
  );
  node.act(() => node.port.heal());
  world.until(() => node.node.told.length === 4);
  t.same(world.texts(node, 1), ['a', 'b', 'c', 'd']);
});

t.test('no room: what follows waits for room, in order', async (t) => {
  const world = new World(33);
  const journal = new Notebook();
  const node = world.join('node', {}, journal);
  world.take(node, 1, 'c');
  node.act(() => node.port.partition());
  journal.hasRoom = false;
  node.act(() => {
    for (const text of numbered('m', 5)) node.node.enqueue(1, textMessage(text));
  }, 1);
  world.pass(JOURNAL_AFTER_MS + 200);
  t.equal(journal.kept.length, 0);
  journal.hasRoom = true;
  world.pass(200);
  t.same(
    journal.kept.map(({ seq }) => seq),
    [1, 2, 3, 4, 5],
  );
});

t.test('replayed by its node and by two others: in the queue once, in order', async (t) => {
  for (const seed of [41, 42, 43, 44, 45, 46]) {
    const world = new World(seed);
    const journal = new Notebook();
    const node = world.join('node', {}, journal);
    const [one, two] = [world.join('one'), world.join('two')];
    world.take(node, 1, 'c');
    const texts = numbered('m', 200);
    node.act(() => node.port.partition());
    node.act(() => {
      for (const text of texts) node.node.enqueue(1, textMessage(text));
    }, 1);
    world.pass(JOURNAL_AFTER_MS + 200);
    t.equal(journal.kept.length, 200);
    let answered = 0;
    const records = [...journal.kept];
    // The second has what was not answered when the first was given up, here: from the beginning too.
    for (const other of [one, two]) {
      for (const [i, record] of records.entries()) {
        other.act(() => other.store.replay(record, () => answered++), i / (seed - 39));
      }
      if (seed % 2 === 0) other.port.loseReplies(2);
    }
    node.act(() => node.port.heal(), seed);
    world.until(() => node.node.told.length === 200 && answered === 400);
    t.same(world.texts(node, 1), texts, `seed ${seed}`);
  }
});

t.test(
  'what a client knows from another region is replayed with its packet identifier, once',
  async (t) => {
    const world = new World(36);
    const journal = new Notebook();
    const node = world.join('node', {}, journal);
    const keeper = world.join('keeper');
    world.take(node, 1, 'c');
    node.act(() => node.port.partition());
    const page = [40, 41, 44].map((from) => {
      const message = textMessage(`${from}`);
      const append = new SharedAppend(message, 2, false, null, null, moveIdentity(1e15, from));
      append.sentAs = { packetId: from + 1, isReleased: from === 40 };
      return append;
    });
    node.act(() => {
      for (const append of page) node.store.enqueue(1, append);
    }, 1);
    world.pass(JOURNAL_AFTER_MS + 200);
    t.same(
      journal.kept.map(({ seq }) => seq),
      [40, 41, 44],
    );
    let answers = 0;
    keeper.act(() => {
      for (const record of journal.kept) keeper.store.replay(record, () => answers++);
    });
    world.until(() => answers === 3);
    node.act(() => node.port.heal());
    world.until(() => node.node.told.length === 3);
    t.same(
      node.node.told.map(({ seq }) => seq),
      [0, 0, 0],
      'the queue has had them',
    );
    world.take(keeper, 1, 'c');
    const seen = world
      .read(keeper, 1)
      .map((entry) => [
        textOf(entry.message),
        entry instanceof SentEntry ? entry.packetId : 0,
        entry.state,
      ]);
    const { QUEUED, RELEASED } = EntryState;
    t.same(seen, [
      ['40', 41, RELEASED],
      ['41', 42, QUEUED],
      ['44', 45, QUEUED],
    ]);
  },
);

t.test('packet ids of a publisher: kept by the journal, written by whoever has them', async (t) => {
  const world = new World(35);
  const journal = new Notebook();
  const node = world.join('node', {}, journal);
  const keeper = world.join('keeper');
  const opened = world.take(node, 1, 'p');
  const waits = () => ({ unsafeCount: 0, waiter: null, failed: false });
  const [first, second, released] = [waits(), waits(), waits()];
  const message = textMessage('m');
  const store = node.node.store;
  node.act(() => store.beginInbound(1, 7, message, new Map(), 1, first));
  world.pass(50);
  t.equal(first.unsafeCount, 0);
  t.equal(journal.kept.length, 0, 'nothing while Redis answers');
  node.act(() => node.port.partition());
  node.act(() => {
    store.inboundDone(1, 7);
    store.endInbound(1, 7, released);
    store.beginInbound(1, 8, message, new Map(), 2, second);
  }, 1);
  world.pass(JOURNAL_AFTER_MS + 200);
  t.equal(journal.kept.length, 3);
  t.same(node.node.promised, ['p', 'p', 'p']);
  t.equal(second.unsafeCount, 1);
  for (const entry of journal.open) entry.kept?.();
  t.match(
    [second, released],
    [
      { unsafeCount: 0, failed: false },
      { unsafeCount: 0, failed: false },
    ],
  );
  // Its peer has the copy, and writes it though another has the session by then.
  const record = world.take(keeper, 1, 'p');
  t.same(record.inboundIds, [7], 'read before that');
  let answers = 0;
  keeper.act(() => {
    for (const entry of journal.kept) keeper.node.store.replay(entry, () => answers++);
  });
  world.until(() => answers === 3);
  const next = world.take(keeper, 1, 'p');
  t.same(next.inboundIds, [8]);
  t.match(next.pending, [{ packetId: 8, publisherSeq: 2, publisherEpoch: opened.epoch }]);
  keeper.act(() => keeper.node.store.inboundDone(1, 8));
  world.pass(100);
  node.act(() => node.port.heal());
  world.until(() => journal.open.size === 0);
  t.same(node.node.promised, []);
  const last = world.take(keeper, 1, 'p');
  t.same([last.inboundIds, last.pending], [[8], []], 'nothing behind what its next owner wrote');
});
