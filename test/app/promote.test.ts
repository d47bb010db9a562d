/**
 * `causeway promote` without its command line: what a node opens afterwards is what the directory had,
 * however often it is run and whatever stands in the way.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { KeptPositions } from '../../src/app/migration/kept-positions.ts';
import type { LeftOut } from '../../src/app/migration/migration.ts';
import { type Promoted, promote } from '../../src/app/migration/promote.ts';
import {
  joinCall,
  nodeJoin,
  nodeKeys,
  nodeRenew,
  renewCall,
} from '../../src/cluster/node-functions.ts';
import { makeMessage } from '../../src/core/message.ts';
import { isRising } from '../support/redis-calls.ts';
import { redisAdmin } from '../support/redis-server.ts';
import {
  changeIn,
  clusterConfig,
  durableRedis,
  fill,
  folderFor,
  leftIn,
  type PlannedSession,
  planned,
  quiet,
  Reader,
  subscription,
  will,
} from './promote-kit.ts';

t.setTimeout(180_000);

interface Run {
  readonly promoted: Promoted;
  readonly leftOut: readonly LeftOut[];
}

async function run(
  directory: string,
  url: string,
  prefix: string,
  more: { readonly isDryRun?: boolean; readonly isKept?: boolean } = {},
  progress: () => void = () => {},
): Promise<Run> {
  const leftOut: LeftOut[] = [];
  const promoted = await promote({
    directory,
    cluster: clusterConfig(url, prefix),
    log: quiet,
    isDryRun: false,
    isKept: false,
    ...more,
    hooks: { leftOut: (item) => leftOut.push(item), progress },
  });
  return { promoted, leftOut };
}

const id = (seq: number): number => (seq % 65_535) + 1;

/** Everything a node finds is what was planned. */
async function expectThere(t: Test, reader: Reader, sessions: readonly PlannedSession[]) {
  for (const session of sessions) {
    const { record, number } = await reader.open(session.clientId, session.identity);
    const what = JSON.stringify(session.clientId);
    t.equal(record.present, true, what);
    t.strictSame(record.subscriptions, session.subscriptions, what);
    t.strictSame(
      [...record.inboundIds],
      [...session.inboundIds].sort((a, b) => a - b),
    );
    const queue = await reader.queue(number);
    t.strictSame(
      queue.map(({ seq, ...entry }) => ({ ...entry, id: id(seq) })),
      session.entries.map(({ seq, ...entry }) => ({ ...entry, id: id(seq) })),
      `queue of ${what}`,
    );
    t.strictSame(
      record.releasedSeqs.map(id),
      session.entries.filter((one) => one.isReleased).map(({ seq }) => id(seq)),
    );
    t.ok(isRising(queue.map(({ seq }) => seq)));
  }
}

/** One of each kind that may be in a directory. */
function zoo(): PlannedSession[] {
  const manyMessages = Array.from({ length: 3000 }, (_, index) => ({
    seq: index * 2 + 5,
    text: `${'x'.repeat(700)} ${index}`,
    qos: 1 as const,
  }));
  return [
    planned('plain', [{ qos: 1 }, { qos: 2 }, { qos: 1, ids: [3, 9] }]),
    planned('empty', []),
    planned('no subscriptions', [{}], { subscriptions: [] }),
    planned('{odd} 100%\u0001\u00e9\u{1f600}', [{}, {}], { identity: 'somebody' }),
    planned('states', [
      { seq: 65_530, isReleased: true },
      { seq: 65_533 },
      { seq: 65_536, isReleased: true },
      { seq: 200_007, ids: [1] },
      { seq: 200_008 },
    ]),
    planned('inbound', [], { inboundIds: [65_535, 1, 700] }),
    planned('many', manyMessages),
    planned('shared', [], { subscriptions: [subscription('$share/g/b/#'), subscription('c')] }),
    planned('wills', [], { will: will('w/wills', 30, Date.now() + 3_600_000) }),
  ];
}

t.test('a node opens what the directory had: order, packet ids, states, wills', async (t) => {
  const { url, prefix, admin } = await durableRedis(t);
  const directory = join(folderFor(t), 'data');
  const sessions = zoo();
  await fill(directory, sessions, [makeMessage(1, 'kept', Buffer.from('k'), { retain: true })]);

  const dry = await run(directory, url, prefix, { isDryRun: true });
  t.match(dry.promoted, { stored: null, isEqual: true, hasLoss: false, retained: 1, removed: 0 });
  t.strictSame(await admin('KEYS', `${prefix}*`), [], 'a dry run writes nothing');

  const { promoted, leftOut } = await run(directory, url, prefix);
  t.strictSame(leftOut, []);
  t.strictSame(promoted.stored, promoted.found);
  t.match(promoted, { isEqual: true, hasLoss: false, retained: 1, removed: sessions.length });
  t.match(promoted.found, { sessions: 9, queued: 3011, inbound: 3, wills: 1, subscriptions: 9 });
  t.strictSame(await leftIn(directory), { clientIds: [], retained: ['kept'] });
  t.strictSame(await admin('KEYS', `${prefix}*:p*`), [], 'nothing but sessions is left');

  const reader = await Reader.start(t, url, prefix);
  const images = await reader.images();
  t.strictSame(
    images.map(({ clientId, owner, identity }) => [clientId, owner, identity]).sort(),
    sessions.map(({ clientId, identity }) => [clientId, null, identity]).sort(),
    'a node that starts knows all of them',
  );
  await expectThere(t, reader, sessions);
  t.equal(await admin('HGET', `${prefix}s:{wills}:m`, 'will'), null, 'its client is back');

  const again = await run(directory, url, prefix);
  t.match(again.promoted, { isEqual: true, found: { sessions: 0 }, removed: 0 });
});

t.test('wills and ends of sessions come when they were to come', async (t) => {
  const { url, prefix, admin } = await durableRedis(t);
  const directory = join(folderFor(t), 'data');
  const now = Date.now();
  await fill(directory, [
    planned('due', [], { will: will('w/due', 0, now - 5000), goneMs: now - 5000 }),
    planned('later', [], { will: will('w/later', 100, now + 60_000), goneMs: now - 40_000 }),
    planned('connected', [], { will: will('w/connected', 500, 0), goneMs: 0 }),
    planned('over', [], { goneMs: now - 2 * 86_400_000 }),
  ]);
  const { promoted } = await run(directory, url, prefix);
  t.match(promoted, { isEqual: true, removed: 4, stored: { wills: 3 } });
  const reader = await Reader.start(t, url, prefix);
  const due = await new Promise<readonly string[] | null>((resolve) => {
    reader.store.ledger.due(100, resolve);
  });
  t.strictSame([...(due ?? [])].sort(), ['due', 'over']);
  const look = (clientId: string) =>
    new Promise<unknown>((resolve) => {
      reader.store.ledger.look(clientId, 'feed'.repeat(8), resolve);
    });
  t.match(await look('due'), {
    kind: 'will',
    will: { message: { topic: 'w/due' }, tenant: 'acme' },
  });
  t.match(await look('over'), { kind: 'ended' });
  t.match(await look('later'), { kind: 'wait', untilMs: now + 60_000 });
  const gone = Number(await admin('HGET', `${prefix}s:{connected}:m`, 'gone'));
  t.ok(gone >= now - 1000 && gone <= Date.now() + 1000, 'its connection ended with the node');
  t.match(await look('connected'), { kind: 'wait', untilMs: gone + 500_000 });
  const scores = (await admin('KEYS', `${prefix}t:*`)) as string[];
  const times = await Promise.all(scores.map((key) => admin('ZRANGE', key, '0', '-1')));
  t.ok(times.flat().includes('later') && times.flat().includes('connected'));
});

t.test('a client id of the datacenter is named, the others go on', async (t) => {
  const { url, prefix, admin } = await durableRedis(t);
  const reader = await Reader.start(t, url, prefix);
  await reader.open('theirs');
  const directory = join(folderFor(t), 'data');
  await fill(directory, [
    planned('mine', [{}]),
    planned('theirs', [{}, {}], { inboundIds: [4], will: will('w', 0, 0) }),
  ]);
  const { promoted, leftOut } = await run(directory, url, prefix);
  t.match(promoted, { isEqual: true, hasLoss: true, removed: 1 });
  t.match(promoted.leftOut, { sessions: 1, subscriptions: 1, queued: 2, inbound: 1, wills: 1 });
  t.match(leftOut[0], { what: 'sessions', where: 'theirs', why: /has a session of that client/ });
  t.strictSame((await leftIn(directory)).clientIds, ['theirs'], 'it stays where it is');
  t.equal(await admin('LLEN', `${prefix}s:{theirs}:q`), 1, 'and theirs is as it was');
});

t.test('--keep, what is used again, and what the datacenter has done with it since', async (t) => {
  const { url, prefix } = await durableRedis(t);
  const directory = join(folderFor(t), 'data');
  const sessions = [planned('stays', [{}, {}]), planned('used', [{}]), planned('ended', [{}])];
  await fill(directory, sessions);
  const kept = await run(directory, url, prefix, { isKept: true });
  t.match(kept.promoted, { isEqual: true, hasLoss: false, removed: 0 });
  t.equal((await leftIn(directory)).clientIds.length, 3);

  const reader = await Reader.start(t, url, prefix);
  const { number } = await reader.open('ended');
  reader.store.deleteSession(number);
  const { number: own } = await reader.open('stays');
  const [first] = await reader.queue(own);
  reader.store.settle(own, { seq: first!.seq } as never);
  await reader.store.stop();
  // Somebody started the node alone on it all the same.
  await changeIn(directory, (store, sessions) => {
    const { record } = sessions.find((one) => one.record.clientId === 'used')!;
    store.saveSession({ ...record, disconnectedAtMs: 1 });
  });

  const again = await run(directory, url, prefix);
  t.match(again.promoted, { isEqual: true, hasLoss: true, removed: 2 });
  t.match(again.leftOut[0], { where: 'used', why: /used here again since/ });
  t.match(again.promoted.stored, { sessions: 2, queued: 3 }, 'counted as they were moved');
  t.strictSame((await leftIn(directory)).clientIds, ['used']);
  const after = await Reader.start(t, url, prefix);
  const opened = await after.open('stays');
  t.equal((await after.queue(opened.number)).length, 1, 'nothing came a second time');
  t.equal((await after.open('ended')).record.present, false, 'nor what had ended');
});

/** A member as far as Redis can tell, until it is told to end. */
async function member(reader: Reader, nodeId: string): Promise<() => void> {
  const keys = nodeKeys(reader.prefix);
  const record = { nodeId, address: '127.0.0.1:1', release: '0', protocol: 1 };
  const call = (fn: typeof nodeJoin, { keys: of, args }: ReturnType<typeof joinCall>) =>
    new Promise<unknown>((resolve) => {
      reader.link.call(fn, of, args, (_failure, reply) => resolve(reply));
    });
  await call(nodeJoin, joinCall(keys, 'aaaa', record, 'g1', 's'));
  const timer = setInterval(() => void call(nodeRenew, renewCall(keys, 'aaaa', 'g1')), 80);
  return () => clearInterval(timer);
}

t.test('nodes that run are named; nodes that died do not matter', async (t) => {
  const { url, prefix } = await durableRedis(t);
  const directory = join(folderFor(t), 'data');
  await fill(directory, [planned('one', [{}])]);
  const reader = await Reader.start(t, url, prefix);
  const end = await member(reader, 'node-a');
  await t.rejects(run(directory, url, prefix), {
    name: 'MigrationError',
    message: /are running \(node-a\).*stop them/,
  });
  end();
  t.strictSame((await reader.images()).length, 0);
  t.strictSame((await leftIn(directory)).clientIds, ['one']);
  const { promoted } = await run(directory, url, prefix);
  t.match(promoted, { isEqual: true, removed: 1 });
});

t.test('a node that starts meanwhile may not know all: nothing is removed', async (t) => {
  const { url, prefix } = await durableRedis(t);
  const directory = join(folderFor(t), 'data');
  const sessions = Array.from({ length: 600 }, (_, index) => planned(`c${index}`, [{}]));
  await fill(directory, sessions);
  const reader = await Reader.start(t, url, prefix);
  let late: Promise<() => void> | null = null;
  const begun = run(directory, url, prefix, {}, () => {
    late ??= member(reader, 'late');
  });
  await t.rejects(begun, { message: /are running \(late\)/ });
  (await late!)();
  t.equal((await leftIn(directory)).clientIds.length, 600);
  t.match((await run(directory, url, prefix)).promoted, {
    isEqual: true,
    stored: { sessions: 600, queued: 600 },
    removed: 600,
  });
});

t.test('what cannot be used is said in a sentence', async (t) => {
  const { url, prefix } = await durableRedis(t);
  const folder = folderFor(t);
  await t.rejects(run(join(folder, 'none'), url, prefix), {
    name: 'MigrationError',
    message: /is not the data directory of a node/,
  });
  t.notOk(existsSync(join(folder, 'none')), 'nor does it become one');
  const directory = join(folder, 'data');
  await fill(directory, [planned('one', [{}])]);
  await changeIn(directory, async () => {
    await t.rejects(run(directory, url, prefix), { message: /is in use by another process/ });
  });
  const admin = await redisAdmin(t, url);
  t.strictSame(await admin('KEYS', `${prefix}*`), []);
});

t.test('positions give the packet ids that clients know', (t) => {
  const queue = fc.array(
    fc.record({
      gap: fc.oneof(
        { weight: 5, arbitrary: fc.constant(0) },
        fc.nat({ max: 50 }),
        fc.nat({ max: 400_000 }),
      ),
      isReleased: fc.boolean(),
    }),
    { minLength: 1, maxLength: 40 },
  );
  fc.assert(
    fc.property(fc.nat({ max: 1_000_000 }), queue, (from, entries) => {
      const line = new KeptPositions();
      let seq = from;
      let last = 0;
      let holes = 0;
      for (const [index, { gap, isReleased }] of entries.entries()) {
        seq += 1 + gap;
        const position = line.place(seq, isReleased);
        if (index === 0 && position !== seq) return false;
        if (index > 0 && (position <= last || position > last + 65_535)) return false;
        const isKept = id(position) === id(seq);
        const needed = (((seq - last - 1) % 65_535) + 65_535) % 65_535;
        const mustKeep = isReleased || index === 0 || holes + needed <= 2 * 65_535;
        // Given up only where more holes than are worth it would be needed.
        if (mustKeep && !isKept) return false;
        if (!mustKeep && position !== last + 1) return false;
        if (index > 0) holes += position - last - 1;
        last = position;
      }
      return line.tail === last;
    }),
    { numRuns: 200 },
  );
  const line = new KeptPositions();
  for (let seq = 1; seq <= 70_000; seq++) line.place(seq, false);
  t.equal(line.place(80_000, false), 70_001, 'nobody can have been sent that');
  t.equal(line.place(80_001, true), 80_001, 'but what was released keeps its id');
  t.end();
});
