/**
 * The shared store under the faults of ADR 0014, over a model of Redis in virtual time: what was said to
 * be queued is there once and in order, whatever is lost on the way; who is no longer the owner writes
 * nothing. Appended is what was settled, what is left and what the bounds made go, at every end.
 */
import t from 'tap';
import { type BridgeBudget, BridgeBudgets } from '../../../src/core/bridge-budgets.ts';
import { MOVED_TOPIC } from '../../../src/core/link-names.ts';
import { makeMessage } from '../../../src/core/message.ts';
import { EntryState } from '../../../src/core/queue-entry.ts';
import { AppendCall, sessionAppend } from '../../../src/store/redis/functions/session-queue.ts';
import { HEAD_GAP } from '../../../src/store/redis/functions/session-record.ts';
import { sessionKeys } from '../../../src/store/redis/keys.ts';
import { sessionRecord, textMessage, textOf } from '../../contract/store-recorder.ts';
import { numbered, World, type WorldNode } from './redis-world.ts';

function put(node: WorldNode, number: number, texts: readonly string[], spacingMs = 0): void {
  const one = (text: string): void => {
    node.node.enqueue(number, textMessage(text));
  };
  if (spacingMs === 0) node.act(() => texts.forEach(one));
  else for (const [i, text] of texts.entries()) node.act(() => one(text), i * spacingMs);
}

/** Positions that were told for each text; fails for those that were told twice. */
function told(node: WorldNode): Map<string, number | string> {
  const byText = new Map<string, number | string>();
  for (const { append, seq, why } of node.node.told) {
    const text = textOf(append.message);
    if (byText.has(text)) throw new Error(`${text} was told twice`);
    byText.set(text, seq ?? why!);
  }
  return byText;
}

t.test('what is queued has the position that is told, and goes in few calls', async (t) => {
  const world = new World(1);
  const owner = world.join('owner');
  const other = world.join('other');
  const opened = world.take(owner, 1, 'c');
  world.know(other, 9, 'c', opened);
  const texts = numbered('m', 300);
  other.act(() => {
    for (const text of texts) other.node.enqueue(9, textMessage(text));
  });
  world.until(() => other.node.told.length === 300);
  t.same(
    [...told(other).values()],
    texts.map((_, i) => i + 1),
  );
  t.same(new Set(other.node.told.map(({ owner: name }) => name)), new Set(['owner']));
  t.same(world.texts(owner, 1), texts);
  t.equal(other.store.counters.appendCalls, 1);
  t.match(other.store, { waitingMessages: 0, waitingBytes: 0, writable: true });
});

t.test('one call takes many sessions, each shard its own', async (t) => {
  const world = new World(2);
  const node = world.join('node');
  const sessions = 100;
  for (let i = 1; i <= sessions; i++) world.take(node, i, `c${i}`);
  const message = textMessage('to all');
  node.act(() => {
    for (let i = 1; i <= sessions; i++) node.node.enqueue(i, message);
  });
  world.until(() => node.node.told.length === sessions);
  t.equal(node.store.counters.appendCalls, 4);
  for (let i = 1; i <= sessions; i++) t.same(world.texts(node, i), ['to all']);
});

t.test('a QoS 2 message that is replayed while it still waits is queued once', async (t) => {
  const world = new World(1);
  const node = world.join('node');
  world.take(node, 1, 'c');
  const names = [10, 11].map((publisherSeq) => ({ publisherSid: 'p', publisherSeq }));
  node.act(() => node.node.enqueue(1, textMessage('under way')));
  // Its publisher comes back to this node: what is not known to be handed on is handed on again.
  node.act(() => {
    for (const text of ['first', 'again']) {
      for (const name of names) node.node.enqueue(1, textMessage(text), {}, name);
    }
    node.node.enqueue(1, textMessage('new'), {}, { publisherSid: 'p', publisherSeq: 12 });
  }, 0.05);
  world.until(() => node.node.told.length === 6);
  t.same(world.texts(node, 1), ['under way', 'first', 'first', 'new']);
  t.same(
    node.node.told.map(({ seq }) => seq),
    [1, 2, 3, 0, 0, 4],
    'each is answered: it is in the queue, or was',
  );
});

t.test('replies that are lost lose nothing and double nothing', async (t) => {
  for (let seed = 1; seed <= 10; seed++) {
    const world = new World(seed);
    const owner = world.join('owner');
    const writers = [world.join('a'), world.join('b')];
    const opened = world.take(owner, 1, 'c');
    for (const [i, writer] of writers.entries()) {
      world.know(writer, 5, 'c', opened);
      put(writer, 5, numbered(i === 0 ? 'a' : 'b', 150), 0.4);
    }
    for (let i = 0; i < 6; i++) {
      world.pass(10 + world.kernel.chance.next() * 10);
      writers[i % 2]!.port.loseReplies(1 + world.kernel.chance.below(3));
    }
    world.until(() => writers.every(({ node }) => node.told.length === 150));
    const entries = world.read(owner, 1);
    const found = entries.map((entry) => textOf(entry.message));
    t.same(
      found.filter((text) => text.startsWith('a')),
      numbered('a', 150),
      `seed ${seed}`,
    );
    t.same(
      found.filter((text) => text.startsWith('b')),
      numbered('b', 150),
      `seed ${seed}`,
    );
    const positions = new Map(entries.map((entry) => [textOf(entry.message), entry.seq]));
    let unknown = 0;
    let tail = 0;
    for (const writer of writers) {
      for (const [text, seq] of told(writer)) {
        if (seq === 0) unknown++;
        else if (seq !== positions.get(text)) t.fail(`${text} was told to be at ${seq}`);
        tail = Math.max(tail, Number(seq));
      }
      // Where the position was lost with the answer, the owner is told how far the queue reaches.
      for (const { tailSeq } of writer.node.tails) tail = Math.max(tail, tailSeq);
    }
    t.equal(tail, 300);
    t.equal(
      unknown,
      writers.reduce((sum, { store }) => sum + store.counters.dedupes, 0),
    );
  }
});

t.test('Redis goes and comes back with its data', async (t) => {
  const world = new World(3);
  const node = world.join('node');
  world.take(node, 1, 'c');
  put(node, 1, numbered('m', 200), 1);
  world.pass(50);
  world.redis.down();
  world.pass(100);
  const before = node.node.told.length;
  t.ok(before < 100);
  t.ok(node.store.waitingMessages > 0);
  world.redis.up(true);
  world.until(() => node.node.told.length === 200);
  t.same(world.texts(node, 1), numbered('m', 200));
  t.same(
    [...told(node).values()].filter((seq) => seq !== 0).toSorted(),
    [...new Set([...told(node).values()].filter((seq) => seq !== 0))].toSorted(),
  );
});

t.test('a server that lacks the latest gets it again, before anything newer', async (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    const world = new World(seed);
    const node = world.join('node');
    world.take(node, 1, 'c');
    world.take(node, 2, 'd');
    world.pass(500);
    put(node, 1, numbered('m', 200), 1);
    put(node, 2, numbered('n', 100), 2);
    world.pass(100 + seed * 7);
    const acked = node.node.told.length;
    t.ok(acked > 50);
    world.redis.rollBack(60);
    world.until(() => node.node.told.length === 300);
    t.same(world.texts(node, 1), numbered('m', 200), `seed ${seed}`);
    t.same(world.texts(node, 2), numbered('n', 100), `seed ${seed}`);
    t.ok(node.store.counters.rewrites > 0);
  }
});

t.test('what was acknowledged longer ago is not kept', async (t) => {
  const world = new World(4);
  const node = world.join('node', { rewriteMs: 20 });
  world.take(node, 1, 'c');
  world.pass(500);
  put(node, 1, numbered('m', 100), 1);
  world.until(() => node.node.told.length === 100);
  world.pass(100);
  world.redis.rollBack(10);
  world.pass(200);
  t.equal(node.store.counters.rewrites, 0);
  t.same(world.texts(node, 1), numbered('m', 100));
});

t.test('a Redis that is full or read-only takes it later', async (t) => {
  for (const code of ['OOM', 'READONLY']) {
    const world = new World(5);
    const node = world.join('node');
    world.take(node, 1, 'c');
    put(node, 1, numbered('m', 100), 2);
    world.pass(50);
    world.redis.refuse(code, ['session_append_1']);
    world.pass(100);
    world.redis.refuse(null);
    world.until(() => node.node.told.length === 100);
    t.same(world.texts(node, 1), numbered('m', 100));
    t.same(
      node.node.told.filter(({ why }) => why !== null),
      [],
    );
    t.ok(node.store.counters.retries > 0);
  }
});

t.test('what Redis never takes is given up, and the publisher told', async (t) => {
  const world = new World(6);
  const node = world.join('node');
  world.take(node, 1, 'c');
  world.redis.refuse('ERR', ['session_append_1']);
  put(node, 1, ['m']);
  world.until(() => node.node.told.length === 1);
  t.equal(node.node.told[0]!.why, 'failed');
  t.match(node.node.log.lines, [{ level: 'error', message: 'Redis refuses a function' }]);
  t.equal(node.store.waitingMessages, 0);
});

t.test('what waits for Redis is bounded', async (t) => {
  const world = new World(7);
  const node = world.join('node', { waitingMessagesMax: 50 });
  world.take(node, 1, 'c');
  world.redis.down();
  world.pass(50);
  put(node, 1, numbered('m', 60));
  world.pass(10);
  t.equal(node.store.writable, false);
  t.same(
    node.node.told.map(({ append, why }) => [textOf(append.message), why]),
    [...numbered('m', 10, 51).map((text) => [text, 'failed'])],
  );
  // Whoever says it goes by it already.
  const word = makeMessage(1, MOVED_TOPIC, Buffer.from('word'), { qos: 1 });
  node.act(() => node.node.enqueue(1, word));
  world.pass(10);
  world.redis.up(true);
  world.until(() => node.node.told.length === 61);
  t.equal(node.store.writable, true);
  t.same(world.texts(node, 1), [...numbered('m', 50), 'word']);
});

t.test('a session that began anew is owed nothing; its successor gets nothing of it', async (t) => {
  const world = new World(8);
  const owner = world.join('owner');
  const writer = world.join('writer');
  world.know(writer, 5, 'c', world.take(owner, 1, 'c'));
  world.take(owner, 1, 'c', { cleanStart: true });
  put(writer, 5, ['late']);
  world.until(() => writer.node.told.length === 1);
  t.equal(writer.node.told[0]!.why, 'gone');
  t.same(world.texts(owner, 1), []);
});

t.test(
  'Redis comes back empty: what waits is not owed nothing before the session is there again',
  async (t) => {
    const world = new World(9);
    const owner = world.join('owner');
    const writer = world.join('writer', { absentMsMax: 3000 });
    const opened = world.take(owner, 1, 'c');
    world.know(writer, 5, 'c', opened);
    put(writer, 5, ['before']);
    world.until(() => writer.node.told.length === 1);
    world.redis.flushAll();
    put(writer, 5, ['after', 'flush'], 1);
    let ticket = 0;
    owner.act(() => {
      ticket = owner.store.saveSession(sessionRecord(1, 'c', { counter: 4 }));
    });
    world.pass(1000);
    t.equal(writer.node.told.length, 1, 'nobody is told anything yet');
    t.same(owner.node.fencedNumbers, [], 'nobody is taken for fenced');
    const image = {
      clientId: 'c',
      sid: opened.sid,
      epoch: opened.epoch,
      counter: 3,
      owner: 'owner',
      identity: null,
      tenant: '',
      expiryIntervalS: 3600,
      subscriptions: [],
    };
    t.equal(
      world.ask(owner, (done) => owner.store.ledger.assert(image, 1, done)),
      true,
    );
    world.until(() => writer.node.told.length === 3 && owner.node.events.committedTicket >= ticket);
    t.equal(owner.node.events.lastError, null);
    t.same(
      [...told(writer).values()],
      [1, 2 + HEAD_GAP, 3 + HEAD_GAP],
      'positions are never given again, nor those that may have been given unheard',
    );
    t.same(world.texts(owner, 1), ['after', 'flush']);
    t.equal(
      world.ask(owner, (done) => owner.store.ledger.assert(image, 1, done)),
      false,
    );
  },
);

t.test('a session Redis does not know for long, or the node no more, is gone', async (t) => {
  const world = new World(10);
  const writer = world.join('writer', { absentMsMax: 1000 });
  const ghost = { sid: '00000000000000ff', epoch: 1 };
  writer.store.bind(5, 'ghost', ghost.sid, ghost.epoch);
  writer.store.bind(6, 'spirit', ghost.sid, ghost.epoch);
  put(writer, 5, ['m']);
  put(writer, 6, ['n']);
  world.pass(300);
  t.equal(writer.node.told.length, 0);
  writer.act(() => writer.store.unbind(6));
  world.pass(300);
  t.same(
    writer.node.told.map(({ sessionNumber, why }) => [sessionNumber, why]),
    [[6, 'gone']],
  );
  world.pass(1000);
  t.equal(told(writer).get('m'), 'gone');
  // Redis may have been emptied since: it is waited for as long.
  put(writer, 5, ['later']);
  world.pass(600);
  t.equal(told(writer).get('later'), undefined);
  world.pass(1000);
  t.equal(told(writer).get('later'), 'gone');
  put(writer, 77, ['nobody']);
  world.until(() => writer.node.told.length === 4);
  t.equal(told(writer).get('nobody'), 'gone');
});

t.test('a full queue refuses the newest, or lets the oldest go', async (t) => {
  for (const overflow of ['newest', 'oldest'] as const) {
    const world = new World(11);
    const node = world.join('node', { queueMessagesMax: 10, overflow });
    world.take(node, 1, 'c');
    node.act(() => {
      for (const text of numbered('m', 25)) node.node.enqueue(1, textMessage(text));
    });
    world.until(() => node.node.told.length === 25);
    const full = node.node.told.filter(({ why }) => why === 'full').length;
    const dropped = node.node.told.reduce((sum, each) => sum + each.dropped, 0);
    t.same([full, dropped], overflow === 'newest' ? [15, 0] : [0, 15]);
    const from = overflow === 'newest' ? 1 : 16;
    t.same(world.texts(node, 1), numbered('m', 10, from));
    t.match(node.store.counters, { refused: full, dropped });
  }
});

t.test('who lost the session is told once, and writes nothing', async (t) => {
  const world = new World(12);
  const old = world.join('old');
  const next = world.join('next');
  world.take(old, 1, 'c');
  put(old, 1, ['m1', 'm2']);
  world.until(() => old.node.told.length === 2);
  const entries = world.read(old, 1);
  const opened = world.take(next, 4, 'c');
  t.ok(opened.present);
  const tickets: number[] = [];
  old.act(() => {
    old.store.settle(1, entries[0]!);
    tickets.push(old.store.release(1, entries[1]!), old.store.addInboundId(1, 7));
    tickets.push(old.store.saveSession(sessionRecord(1, 'c', { counter: 9 })));
  });
  world.until(() => old.node.events.committedTicket >= tickets.at(-1)!);
  t.match(old.node.events.lastError?.message, /another node/);
  old.act(() => tickets.push(old.store.addInboundId(1, 8)));
  world.until(() => old.node.events.committedTicket >= tickets.at(-1)!);
  t.same(old.node.fencedNumbers, [1], 'once');
  const failed = old.node.events.reported.filter(({ error }) => error !== null);
  t.same(
    failed.map(({ ticket }) => ticket),
    tickets,
  );
  t.same(world.texts(next, 4), ['m1', 'm2']);
  const again = world.take(next, 4, 'c');
  t.same([again.inboundIds, again.counter], [[], 0]);
});

t.test('settled in any order, also over lost replies, it does not come back', async (t) => {
  for (let seed = 1; seed <= 10; seed++) {
    const world = new World(seed);
    const node = world.join('node');
    world.take(node, 1, 'c');
    put(node, 1, numbered('m', 120));
    world.until(() => node.node.told.length === 120);
    const entries = [...world.read(node, 1)];
    const kept = new Set<number>();
    while (entries.length > 0) {
      const [entry] = entries.splice(world.kernel.chance.below(Math.min(entries.length, 20)), 1);
      if (world.kernel.chance.next() < 0.1) kept.add(entry!.seq);
      else node.act(() => node.store.settle(1, entry!), world.kernel.chance.below(3));
      if (world.kernel.chance.next() < 0.2) world.pass(1);
      if (world.kernel.chance.next() < 0.03) node.port.loseReplies(1);
    }
    world.pass(5);
    world.until(() => node.store.settleLag === 0);
    const expected = [...kept].toSorted((a, b) => a - b);
    t.same(
      world.read(node, 1).map(({ seq }) => seq),
      expected,
      `seed ${seed}`,
    );
    const opened = world.take(world.join('next'), 1, 'c');
    t.equal(opened.headSeq, expected[0] ?? 121);
    const { settled, appends } = node.store.counters;
    const left = opened.tailSeq - opened.headSeq + 1 - opened.settledSeqs.length;
    t.equal(appends, settled + left, 'appended = settled + left');
  }
});

t.test('a QoS 2 message that was released comes back so, at once and elsewhere', async (t) => {
  const world = new World(13);
  const node = world.join('node');
  world.take(node, 1, 'c');
  node.act(() => {
    for (const text of ['1', '2', '3']) node.node.enqueue(1, textMessage(text), { qos: 2 });
  });
  world.until(() => node.node.told.length === 3);
  const entries = world.read(node, 1);
  let ticket = 0;
  node.act(() => {
    ticket = node.store.release(1, entries[1]!);
  });
  world.until(() => node.node.events.committedTicket >= ticket);
  const states = (found: typeof entries): number[] => found.map(({ state }) => state);
  const expected = [EntryState.QUEUED, EntryState.RELEASED, EntryState.QUEUED];
  t.same(states(world.read(node, 1)), expected);
  const next = world.join('next');
  t.same(world.take(next, 1, 'c').releasedSeqs, [2]);
  t.same(states(world.read(next, 1)), expected);
});

t.test('a publisher’s QoS 2 message is in the queue once, whoever replays it', async (t) => {
  const world = new World(14);
  const a = world.join('a');
  const b = world.join('b');
  world.know(b, 1, 'c', world.take(a, 1, 'c'));
  const identity = (publisherSeq: number): { publisherSid: string; publisherSeq: number } => ({
    publisherSid: '00000000000000aa',
    publisherSeq,
  });
  a.act(() => {
    a.node.enqueue(1, textMessage('own 1'));
    a.node.enqueue(1, textMessage('first'), { qos: 2 }, identity(1));
    a.node.enqueue(1, textMessage('own 2'));
  });
  world.until(() => a.node.told.length === 3);
  b.act(() => {
    b.node.enqueue(1, textMessage('first'), { qos: 2 }, identity(1));
    b.node.enqueue(1, textMessage('second'), { qos: 2 }, identity(2));
  });
  world.until(() => b.node.told.length === 2);
  t.same(
    b.node.told.map(({ seq }) => seq),
    [0, 4],
  );
  t.same(world.texts(a, 1), ['own 1', 'first', 'own 2', 'second']);
  t.equal(b.store.counters.dedupes, 1);
});

t.test('a value that is damaged is set aside, counted and settled; the rest is read', async (t) => {
  const world = new World(15);
  const node = world.join('node');
  const opened = world.take(node, 1, 'c');
  put(node, 1, ['before']);
  world.until(() => node.node.told.length === 1);
  const call = new AppendCall(1000, 1e6, 'oldest');
  call.session(sessionKeys('cw:', 'c'), opened.sid, 'vandal', 0);
  call.value(1, Buffer.from('no entry at all'));
  world.ask(node, (done) => node.port.call(sessionAppend, call.keys, call.args, done));
  put(node, 1, ['behind']);
  world.until(() => node.node.told.length === 2);
  const entries = world.read(node, 1);
  t.same(
    entries.map(({ seq, message }) => [seq, textOf(message)]),
    [
      [1, 'before'],
      [3, 'behind'],
    ],
  );
  t.equal(node.store.counters.quarantined, 1);
  t.match(node.node.log.lines, [{ level: 'error', fields: { clientId: 'c', what: /entry 2/ } }]);
  node.act(() => {
    for (const entry of entries) node.store.settle(1, entry);
  });
  world.until(() => node.store.settleLag === 0);
  t.equal(world.take(node, 1, 'c').headSeq, 4, 'it does not stop the queue');
});

t.test('a long stretch of holes is not the end of the queue', async (t) => {
  const world = new World(16);
  const node = world.join('node');
  world.take(node, 1, 'c');
  put(node, 1, numbered('m', 3000));
  world.until(() => node.node.told.length === 3000);
  const entries = world.read(node, 1);
  node.act(() => {
    for (const entry of entries.slice(1, 2990)) node.store.settle(1, entry);
  });
  world.until(() => node.store.settleLag === 0);
  const next = world.join('next');
  world.take(next, 1, 'c');
  const found = world.ask<readonly { seq: number }[]>(next, (done) =>
    next.store.read(1, 2, 5, 1e9, (read) => done(read)),
  );
  t.same(
    found.map(({ seq }) => seq),
    [2991, 2992, 2993, 2994, 2995],
  );
});

t.test('the queue of a bridge: its own bytes, and when each entry was queued', async (t) => {
  const world = new World(17);
  const bridges = new BridgeBudgets();
  bridges.revise([{ name: 'far', budgetAgeMs: 1000, budgetBytes: 100_000 }]);
  const ofClient = (clientId: string): BridgeBudget | null => bridges.of(clientId);
  const node = world.join('node', { queueMessagesMax: 3 }, undefined, ofClient);
  world.take(node, 1, '$bridge/far');
  world.take(node, 2, 'c');
  const texts = numbered('m', 5);
  put(node, 1, texts.slice(0, 3));
  put(node, 2, ['m']);
  world.until(() => node.node.told.length === 4);
  const betweenMs = Math.floor(node.sim.clock.wallMs());
  world.pass(800);
  put(node, 1, texts.slice(3));
  world.until(() => node.node.told.length === 6);
  const next = world.join('next');
  world.take(next, 1, '$bridge/far');
  world.take(next, 2, 'c');
  const read = world.read(next, 1);
  t.same(
    read.map(({ message }) => textOf(message)),
    texts,
    'more than other queues may have',
  );
  const isLate = read.map(({ queuedAtMs }) => queuedAtMs > betweenMs);
  t.same(isLate, [false, false, false, true, true]);
  t.ok(read.every(({ queuedAtMs }) => queuedAtMs > betweenMs - 10_000));
  t.equal(world.read(next, 2)[0]!.queuedAtMs, 0, 'nobody asks for that of a client');
});

t.test('a read waits for Redis', async (t) => {
  const world = new World(18);
  const node = world.join('node');
  world.take(node, 1, 'c');
  put(node, 1, ['m']);
  world.until(() => node.node.told.length === 1);
  world.redis.down();
  world.pass(20);
  const answers: number[] = [];
  node.act(() => node.store.read(1, 1, 10, 1000, (entries) => answers.push(entries.length)));
  world.pass(500);
  t.same(answers, []);
  world.redis.up(true);
  world.until(() => answers.length > 0);
  t.same(answers, [1]);
});

t.test('a stop writes what is settled and then calls nobody back', async (t) => {
  const world = new World(19);
  const node = world.join('node');
  world.take(node, 1, 'c');
  put(node, 1, ['m1', 'm2']);
  world.until(() => node.node.told.length === 2);
  const entries = world.read(node, 1);
  let isOver = false;
  node.act(() => {
    node.store.settle(1, entries[0]!);
    node.store.end(() => {
      isOver = true;
    });
  });
  world.until(() => isOver);
  t.same(world.texts(world.join('next'), 1), [], 'not bound');
  const next = world.join('later');
  world.take(next, 1, 'c');
  t.same(world.texts(next, 1), ['m2']);
});
