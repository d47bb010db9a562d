/**
 * What the shared store keeps of a session that goes from region to region (docs/adr/0023), over a real
 * Redis, which is killed between two owners: entries with the packet identifier a client knows them by,
 * what was released, the turns of identifiers, and pages that are appended again.
 */
import t from 'tap';
import { EntryState, type QueueEntry, SentEntry } from '../../../src/core/queue-entry.ts';
import type { Turn } from '../../../src/core/roaming-record.ts';
import { RoamingState } from '../../../src/core/roaming-state.ts';
import { moveIdentity, SharedAppend } from '../../../src/core/shared-append.ts';
import { openRedis } from '../../../src/drivers/redis/redis-link.ts';
import { systemScheduler } from '../../../src/listeners/scheduler.ts';
import {
  read,
  release,
  sessionRecord,
  settle,
  textMessage,
  textOf,
} from '../../contract/store-recorder.ts';
import { DURABLE, RedisServer, redisAdmin } from '../../support/redis-server.ts';
import { type Queued, RedisNode } from './redis-node.ts';

const { QUEUED, RELEASED } = EntryState;
const BORN = 1_790_000_000_123_456;

type Tap = Parameters<typeof RedisServer.start>[0];

interface Joined {
  readonly node: RedisNode;
  /** As a process that is gone: nothing of it comes to Redis any more. */
  readonly kill: () => void;
}

function durableServer(t: Tap): Promise<RedisServer> {
  return RedisServer.start(t, DURABLE);
}

async function join(t: Tap, { url }: RedisServer, name: string): Promise<Joined> {
  const port = openRedis({
    urls: [url],
    scheduler: systemScheduler,
    backoffMinMs: 10,
    backoffMaxMs: 50,
  });
  const node = new RedisNode({ port, incarnation: name });
  t.teardown(async () => {
    await node.store.stop();
    port.close();
  });
  await node.store.start(node.events);
  await until(() => port.isUp);
  return { node, kill: () => port.close() };
}

async function until(isSo: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('what was waited for did not come');
}

async function killed(server: RedisServer): Promise<void> {
  await server.stop('SIGKILL');
  await server.resume();
}

interface Paged {
  /** Position in the queue it comes from. */
  readonly from: number;
  /** Null: it was not sent there. */
  readonly packetId: number | null;
  readonly isReleased?: boolean;
}

/** Appends messages of QoS 2 that are called by the position they come from; what was told of each. */
async function append(node: RedisNode, number: number, page: readonly Paged[]): Promise<Queued[]> {
  const appends = page.map(({ from, packetId, isReleased = false }) => {
    const identity = moveIdentity(BORN, from);
    const made = new SharedAppend(textMessage(`${from}`), 2, false, null, null, identity);
    if (packetId !== null) made.sentAs = { packetId, isReleased };
    return made;
  });
  for (const one of appends) node.store.enqueue(number, one);
  const told = (): Queued[] => node.told.filter((queued) => appends.includes(queued.append));
  await until(() => told().length === appends.length);
  return told();
}

/** Position, text, packet identifier of another region (0: none), state. */
type Seen = readonly [number, string, number, number];

function seen(entry: QueueEntry): Seen {
  const packetId = entry instanceof SentEntry ? entry.packetId : 0;
  return [entry.seq, textOf(entry.message), packetId, entry.state];
}

const PAGE: readonly Paged[] = [
  { from: 40, packetId: 41, isReleased: true },
  { from: 41, packetId: 42 },
  { from: 44, packetId: 60_000 },
  { from: 45, packetId: null },
];

t.test('the next owner has packet identifiers of another region, whoever was killed', async (t) => {
  const server = await durableServer(t);
  const a = await join(t, server, 'a');
  await a.node.take(1, 'c');
  await append(a.node, 1, PAGE);
  const expected: Seen[] = [
    [1, '40', 41, RELEASED],
    [2, '41', 42, QUEUED],
    [3, '44', 60_000, QUEUED],
    [4, '45', 0, QUEUED],
  ];
  t.same((await read(a.node.store, 1)).map(seen), expected);
  a.kill();
  await killed(server);
  const b = await join(t, server, 'b');
  await b.node.take(1, 'c');
  const entries = await read(b.node.store, 1);
  t.same(entries.map(seen), expected);
  t.same(
    entries.map(({ sentBefore }) => sentBefore),
    [true, true, true, false],
    'what a client has seen comes with DUP',
  );
});

t.test('what is released and settled by an owner is so for the next one', async (t) => {
  const server = await durableServer(t);
  const a = await join(t, server, 'a');
  await a.node.take(1, 'c');
  await append(a.node, 1, PAGE);
  const entries = await read(a.node.store, 1);
  settle(a.node.store, 1, entries[0]!);
  settle(a.node.store, 1, entries[2]!);
  const ticket = release(a.node.store, 1, entries[1]!);
  await until(() => a.node.events.committedTicket >= ticket && a.node.store.settleLag === 0);
  a.kill();
  await killed(server);
  const b = await join(t, server, 'b');
  t.same((await b.node.take(1, 'c')).releasedSeqs, [2]);
  t.same((await read(b.node.store, 1)).map(seen), [
    [2, '41', 42, RELEASED],
    [4, '45', 0, QUEUED],
  ]);
});

t.test(
  'a page that is appended again by another node is dropped, and what goes on is not',
  async (t) => {
    const server = await durableServer(t);
    const a = await join(t, server, 'a');
    const opened = await a.node.take(1, 'c');
    const first = await append(a.node, 1, PAGE.slice(0, 3));
    t.same(
      first.map(({ seq }) => seq),
      [1, 2, 3],
    );
    a.kill();
    await killed(server);
    const b = await join(t, server, 'b');
    b.node.store.bind(7, 'c', opened.sid, opened.epoch);
    const again = await append(b.node, 7, PAGE);
    t.same(
      again.map(({ seq }) => seq),
      [0, 0, 0, 4],
    );
    await b.node.take(1, 'c');
    const texts = (await read(b.node.store, 1)).map((entry) => textOf(entry.message));
    t.same(texts, ['40', '41', '44', '45']);
  },
);

t.test('turns of packet identifiers are there when another node opens the session', async (t) => {
  const server = await durableServer(t);
  const a = await join(t, server, 'a');
  const { counter, turns } = await a.node.take(1, 'c');
  t.same(turns, [], 'of a session that stays there are none');
  const state = new RoamingState('eu', 500);
  state.beginTurn(900, 3);
  const filter = { filter: 'x/#', qos: 2, subscriptionId: 0 } as const;
  const how = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  const record = sessionRecord(1, 'c', { counter, subscriptions: [{ ...filter, ...how }] });
  await a.node.events.done(a.node.store.saveSession({ ...record, roaming: state.record() }));
  a.kill();
  await killed(server);
  const b = await join(t, server, 'b');
  const opened = await b.node.take(1, 'c');
  const expected: Turn[] = [
    [0, -1],
    [501, 0],
    [900, 3],
  ];
  t.same(opened.turns, expected);
  t.same(
    opened.subscriptions.map((subscription) => subscription.filter),
    ['x/#'],
  );
  const [image] = await b.node.load();
  t.equal(image?.subscriptions.length, 1, 'who only reads the list is not in the way');
  const restored = RoamingState.ofTurns('eu', opened.turns, opened.headSeq);
  for (const seq of [1, 500, 501, 899, 900, 70_000]) t.equal(restored.idOf(seq), state.idOf(seq));
});

t.test('an owner writes turns again into a Redis that was emptied', async (t) => {
  const server = await durableServer(t);
  const { node } = await join(t, server, 'a');
  const { sid, epoch, counter } = await node.take(1, 'c');
  const state = new RoamingState('eu', 0);
  state.beginTurn(1, 2);
  const record = sessionRecord(1, 'c', { counter });
  await node.events.done(node.store.saveSession({ ...record, roaming: state.record() }));
  await (await redisAdmin(t, server.url))('FLUSHALL');
  const image = {
    ...{ clientId: 'c', sid, epoch, counter, owner: 'a', identity: null },
    ...{ tenant: '', expiryIntervalS: 3600, subscriptions: [] },
  };
  const isWritten = await new Promise((resolve) => node.store.ledger.assert(image, 7, resolve));
  t.equal(isWritten, true);
  const b = await join(t, server, 'b');
  t.same((await b.node.take(1, 'c')).turns, state.record().turns);
});
