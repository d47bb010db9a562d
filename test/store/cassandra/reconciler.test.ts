/** Rounds over the table of retained messages: each row of the table in docs/adr/0021, and what gets in between. */
import t from 'tap';
import { makeMessage } from '../../../src/core/message.ts';
import { CLEARED } from '../../../src/core/retained-version.ts';
import { encodeRecord } from '../../../src/store/cassandra/retained-record.ts';
import { type NodeOptions, RegionNode, RegionRig } from './retained-rig.ts';

const DAY_S = 86_400;

interface Times {
  readonly nowMs: number;
  /** µs, so many seconds ago. */
  readonly ago: (seconds: number) => number;
}

function timesOf(region: RegionRig): Times {
  const nowMs = region.time.wallMs();
  return { nowMs, ago: (seconds) => (nowMs - seconds * 1000) * 1000 };
}

function put(
  region: RegionRig,
  topic: string,
  text: string,
  timeUs: number,
  expiresAtMs = 0,
): void {
  const message = makeMessage(0, topic, Buffer.from(text), { qos: 1, expiresAtMs });
  region.table.put(topic, encodeRecord(message, { timeUs, writer: 3 }), timeUs);
}

function clear(region: RegionRig, topic: string, timeUs: number): void {
  const version = { timeUs, writer: 3 + CLEARED };
  region.table.put(topic, encodeRecord(null, version), timeUs, region.tombstoneS);
}

async function rig(
  options: NodeOptions = {},
): Promise<{ region: RegionRig; node: RegionNode } & Times> {
  const region = new RegionRig();
  const node = await new RegionNode(region, options).start();
  return { region, node, ...timesOf(region) };
}

const WHO = { timeUs: 0, writer: 3 };

for (const isAlone of [false, true]) {
  for (const hasRecords of [false, true]) {
    const who = `${isAlone ? 'alone' : 'with others'}${hasRecords ? ', whole records' : ''}`;
    t.test(`each case of a topic: ${who}`, async (t) => {
      const { region, node, ago, nowMs } = await rig({ isAlone, lastRoundMs: 1 });
      // Newer there.
      node.has('newer', 'old', { ...WHO, timeUs: ago(500) });
      put(region, 'newer', 'new', ago(400));
      put(region, 'unknown', 'new', ago(30 * DAY_S));
      node.has('cleared', 'old', { ...WHO, timeUs: ago(500) });
      clear(region, 'cleared', ago(400));
      clear(region, 'both cleared', ago(400));
      // In one microsecond a clear wins.
      node.has('tie', 'old', { ...WHO, timeUs: ago(400) });
      clear(region, 'tie', ago(400));
      // Older there, or nothing.
      node.has('older', 'new', { ...WHO, timeUs: ago(400) });
      put(region, 'older', 'old', ago(500));
      node.has('older, both old', 'new', { ...WHO, timeUs: ago(30 * DAY_S) });
      put(region, 'older, both old', 'old', ago(40 * DAY_S));
      node.has('older clear', 'new', { ...WHO, timeUs: ago(400) });
      clear(region, 'older clear', ago(500));
      node.has('none', 'new', { ...WHO, timeUs: ago(400) });
      node.has('forgotten', 'old', { ...WHO, timeUs: ago(11 * DAY_S) });
      // Somebody is about to write it.
      node.has('just now', 'new', { ...WHO, timeUs: ago(10) });
      node.has('$SYS/x', 'own', null);
      // Expired.
      put(region, 'expired', 'x', ago(400), nowMs - 3_700_000);
      put(region, 'expired lately', 'x', ago(400), nowMs - 1000);
      node.has('replaced by expired', 'old', { ...WHO, timeUs: ago(500) });
      put(region, 'replaced by expired', 'x', ago(400), nowMs - 3_700_000);
      node.has('expired here', 'x', { ...WHO, timeUs: ago(400) }, nowMs - 1000);
      // Same.
      node.has('same', 'x', { ...WHO, timeUs: ago(30 * DAY_S) });
      put(region, 'same', 'x', ago(30 * DAY_S));

      t.ok(node.round(5000, hasRecords));
      region.time.pass(1000);
      const here = [...node.index].map(([topic, { payload }]) => [topic, `${payload}`]);
      t.strictSame(Object.fromEntries(here), {
        newer: 'new',
        unknown: 'new',
        older: 'new',
        'older, both old': 'new',
        'older clear': 'new',
        none: 'new',
        'just now': 'new',
        '$SYS/x': 'own',
        'expired here': 'x',
        same: 'x',
      });
      const written = region.table.writes.map(({ topic }) => topic).sort();
      t.strictSame(written, ['none', 'older', 'older clear', 'older, both old']);
      t.equal(region.table.versionOf('none')!.timeUs, ago(400), 'with the version it has');
      t.equal(region.table.textOf('older'), 'new');
      t.equal(region.table.textOf('tie'), 'cleared');
      t.strictSame(
        ['expired', 'expired lately', 'replaced by expired', 'just now'].map(
          (topic) => region.table.row(topic) !== null,
        ),
        [false, true, false, false],
      );
      t.match(node.counters, {
        takenOver: 5,
        rewritten: 4,
        forgotten: 1,
        expired: 2,
        rounds: 1,
        damaged: 0,
      });
      t.strictSame(node.rounds, [nowMs]);
      t.equal(node.onDisk('newer'), 'new');
      t.equal(node.onDisk('forgotten'), isAlone ? null : 'cleared');
      if (hasRecords) t.equal(region.table.reads, 0);

      // And once more: nothing is left to do but for what was too new.
      region.time.pass(120_000, 1000);
      t.ok(node.round());
      region.time.pass(1000);
      t.match(node.counters, { takenOver: 5, rewritten: 5, forgotten: 1, expired: 2, rounds: 2 });
    });
  }
}

t.test('a clear whose tombstone is over does not come back (hard case 18)', async (t) => {
  const region = new RegionRig();
  const here = await new RegionNode(region).start();
  const there = await new RegionNode(region).start();
  here.publish('a', 'old');
  region.time.pass(120_000, 1000);
  t.ok(there.round());
  t.equal(there.textOf('a'), 'old');
  // One is away for longer than tombstones live.
  here.publish('a', '');
  region.time.pass(1000);
  region.time.nowMs += 11 * DAY_S * 1000;
  t.equal(region.table.row('a'), null);
  t.ok(there.round());
  t.equal(there.textOf('a'), null, 'confirmed and now absent: deleted');
  t.equal(there.counters.forgotten, 1);
  t.equal(region.table.row('a'), null);
});

t.test('what Cassandra has lost is written again, however old it is', async (t) => {
  const { region, node, ago } = await rig();
  for (const days of [1, 20, 300]) node.has(`${days}`, 'x', { ...WHO, timeUs: ago(days * DAY_S) });
  t.ok(node.round(), 'the first: the mirror is from a time without Cassandra');
  region.time.pass(1000);
  t.equal(region.table.size, 3);
  region.time.pass(600_000, 10_000);
  region.table.truncate();
  t.ok(node.round());
  region.time.pass(1000);
  t.equal(region.table.size, 3, 'no tombstone can have come and gone since the last round');
  t.equal(node.counters.forgotten, 0);
  t.equal(node.index.size, 3);
});

t.test('a tombstone that ends while the round is under way', async (t) => {
  const { region, node, nowMs } = await rig({ lastRoundMs: 1 });
  const bornMs = nowMs - region.tombstoneS * 1000 + 2000;
  node.has('a', 'old', { ...WHO, timeUs: bornMs * 1000 });
  // Cleared a second later, over a second from now; the ring takes longer.
  region.latencyMs = 5000;
  t.ok(node.round());
  t.equal(node.textOf('a'), null);
  t.strictSame(region.table.writes, []);
});

t.test('a topic that changes while its page is under way', async (t) => {
  for (const isAlone of [false, true]) {
    const { region, node, ago } = await rig({ isAlone });
    for (const topic of ['cleared', 'set', 'both']) put(region, topic, 'theirs', ago(400));
    let ended = 0;
    node.reconciler.start(false, () => ended++);
    // The page has come, the records are asked for.
    region.table.fate = (call) => (call === 'read' ? 'held' : 'done');
    region.time.pass(40, 20);
    t.equal(region.table.held, 3);
    node.publish('cleared', '');
    node.publish('set', 'ours');
    node.publish('both', 'ours');
    node.publish('both', '');
    const stale = region.table;
    const rows = ['cleared', 'set', 'both'].map((topic) => stale.row(topic)!);
    const row = stale.row.bind(stale);
    stale.row = (topic) => rows.find((old) => old.topic === topic) ?? null;
    // Confirmed before the old answers come.
    region.time.pass(1000);
    t.equal(node.store.lane.size, 0);
    region.table.release();
    region.time.pass(1000);
    stale.row = row;
    t.equal(ended, 1);
    t.strictSame([...node.index.keys()], ['set'], 'what was cleared stays so');
    t.equal(node.textOf('set'), 'ours');
    t.equal(region.table.textOf('both'), 'cleared');
    t.equal(region.table.textOf('set'), 'ours');
  }
});

t.test('what waits in the lane is not judged', async (t) => {
  const { region, node, ago } = await rig({ isAlone: true, lastRoundMs: 1 });
  put(region, 'clear', 'theirs', ago(400));
  node.has('clear', 'theirs', { ...WHO, timeUs: ago(400) });
  region.table.fate = (call) => (call === 'write' ? 'held' : 'done');
  node.publish('clear', '');
  node.publish('set', 'ours');
  region.time.nowMs += 11 * DAY_S * 1000;
  t.ok(node.round());
  t.strictSame([...node.index.keys()], ['set']);
  t.match(node.counters, { takenOver: 0, rewritten: 0, forgotten: 0 });
});

t.test('failures in between: pages and records are asked for again', async (t) => {
  const { region, node, ago } = await rig({ lastRoundMs: 1 });
  for (let n = 0; n < 2500; n++) put(region, `t/${n}`, `${n}`, ago(400));
  node.has('t/7', 'old', { ...WHO, timeUs: ago(20 * DAY_S) });
  let calls = 0;
  region.table.fate = (call) => (call !== 'write' && ++calls % 3 === 0 ? 'fails' : 'done');
  let ended: boolean | null = null;
  node.reconciler.start(false, (isWhole) => {
    ended = isWhole;
  });
  region.time.pass(2000, 20);
  region.table.isUp = false;
  region.time.pass(60_000, 100);
  t.equal(ended, null, 'it waits');
  t.ok(node.counters.progress < 1);
  region.table.isUp = true;
  region.time.pass(60_000, 20);
  t.equal(ended, true);
  t.equal(node.index.size, 2500);
  t.equal(node.textOf('t/7'), '7');
  t.match(node.counters, { takenOver: 2500, forgotten: 0, rewritten: 0, damaged: 0, progress: 1 });
  t.ok(node.log.lines.filter(({ level }) => level === 'warn').length < 20, 'said now and then');
});

t.test(
  'one record that is never read does not hold up the round, nor is ours given up',
  async (t) => {
    const { region, node, ago } = await rig({ lastRoundMs: 1 });
    put(region, 'stuck', 'new', ago(400));
    node.has('stuck', 'old', { ...WHO, timeUs: ago(20 * DAY_S) });
    region.table.fate = (call) => (call === 'read' ? 'fails' : 'done');
    t.ok(node.round(60_000));
    t.equal(node.textOf('stuck'), 'old');
    t.match(node.counters, { damaged: 1, forgotten: 0, rewritten: 0 });
  },
);

t.test('damaged rows are counted, and what is here stays', async (t) => {
  for (const hasRecords of [false, true]) {
    const { region, node, ago } = await rig({ lastRoundMs: 1 });
    node.has('bad', 'old', { ...WHO, timeUs: ago(20 * DAY_S) });
    region.table.put('bad', Buffer.from('garbage'), ago(400));
    region.table.put('unknown', Buffer.alloc(0), ago(400));
    put(region, 'good', 'x', ago(400));
    t.ok(node.round(5000, hasRecords));
    t.equal(node.counters.damaged, 2);
    t.equal(node.textOf('bad'), 'old');
    t.equal(node.textOf('good'), 'x');
    t.strictSame(region.table.writes, []);
    t.equal(node.log.lines.filter(({ level }) => level === 'error').length, 2);
  }
});

t.test('versions ahead of their time are not taken over', async (t) => {
  const { region, node, ago } = await rig();
  put(region, 'ahead', 'x', ago(-60));
  t.ok(node.round());
  t.equal(node.textOf('ahead'), null);
  t.equal(node.counters.takenOver, 0);
});

t.test('a round that is given up, and one that takes its place', async (t) => {
  const { region, node, ago } = await rig();
  for (let n = 0; n < 1500; n++) put(region, `t/${n}`, 'x', ago(400));
  region.latencyMs = 100;
  const ends: string[] = [];
  node.reconciler.start(false, (isWhole) => ends.push(`first ${isWhole}`));
  region.time.pass(40, 20);
  t.ok(node.reconciler.isRunning);
  t.equal(region.table.underWay, 1);
  node.reconciler.start(true, (isWhole) => ends.push(`second ${isWhole}`));
  t.strictSame(ends, ['first false']);
  region.time.pass(2000, 20);
  t.strictSame(ends, ['first false', 'second true']);
  t.equal(node.index.size, 1500);
  t.strictSame([node.rounds.length, node.counters.rounds], [1, 1]);
  node.reconciler.start(false, (isWhole) => ends.push(`third ${isWhole}`));
  region.time.pass(140, 20);
  node.reconciler.stop();
  t.notOk(node.reconciler.isRunning);
  region.time.pass(2000, 20);
  t.strictSame(ends.at(-1), 'third false');
  t.equal(node.rounds.length, 1);
});

t.test('rows are read no faster than is said', async (t) => {
  const { region, node, ago } = await rig({ rowsPerS: 5000 });
  for (let n = 0; n < 10_000; n++) put(region, `t/${n}`, 'x', ago(400));
  const fromMs = region.time.nowMs;
  t.ok(node.round(60_000, true));
  const tookMs = region.time.nowMs - fromMs;
  t.ok(tookMs >= 1800 && tookMs < 3000, `${tookMs} ms for 10,000 rows`);
  t.equal(node.counters.rowsRead, 10_000);
});

t.test(
  '100,000 topics that Cassandra has lost: bounded, and clients are not held up',
  async (t) => {
    const { region, node, ago } = await rig({ inFlightMax: 100 });
    for (let n = 0; n < 100_000; n++) node.has(`t/${n}`, 'x', { ...WHO, timeUs: ago(400 + n) });
    region.latencyMs = 40;
    let isWhole = false;
    let waitingMax = 0;
    node.reconciler.start(false, () => {
      isWhole = true;
    });
    for (let i = 0; !isWhole && i < 20_000; i++) {
      const writes = region.table.writes.length;
      region.time.pass(20, 20);
      waitingMax = Math.max(waitingMax, node.store.lane.size);
      if (region.table.writes.length - writes > 400) t.fail('too many writes in a tick');
      if (i === 100) node.publish('mine', 'x');
      if (i === 150) t.strictSame(node.told, [1], 'a client waits behind some, not all');
      if (i === 200) region.table.isUp = false;
      if (i === 300) region.table.isUp = true;
    }
    t.ok(isWhole);
    region.time.pass(5000);
    t.ok(waitingMax <= 1100, `${waitingMax} waited`);
    t.equal(node.counters.rewritten, 100_000);
    t.equal(region.table.size, 100_001);
  },
);

t.test(
  'a clear that its node could not write any more is written by whoever goes round',
  async (t) => {
    const { region, node, ago } = await rig();
    put(region, 'cleared', 'old', ago(500));
    put(region, 'tie', 'old', ago(400));
    put(region, 'newer', 'new', ago(300));
    put(region, 'expired here', 'x', ago(400));
    put(region, 'just now', 'old', ago(500));
    for (const topic of ['cleared', 'tie', 'newer']) {
      node.buried.set(topic, { timeUs: ago(400), writer: 9 + CLEARED });
    }
    node.buried.set('expired here', { timeUs: ago(400), writer: 3 });
    node.buried.set('just now', { timeUs: ago(5), writer: 9 + CLEARED });
    node.round();
    t.equal(region.table.textOf('cleared'), 'cleared');
    t.strictSame(region.table.versionOf('cleared'), { timeUs: ago(400), writer: 9 + CLEARED });
    t.equal(region.table.textOf('tie'), 'cleared');
    t.equal(node.textOf('newer'), 'new');
    t.equal(region.table.textOf('newer'), 'new');
    t.equal(region.table.textOf('expired here'), 'x', 'it goes by itself');
    t.equal(region.table.textOf('just now'), 'old', 'its node is about to write it');
    t.equal(node.textOf('just now'), null);
    t.strictSame(
      region.table.writes.map(({ topic, ttlS }) => [topic, ttlS]),
      [
        ['cleared', region.tombstoneS],
        ['tie', region.tombstoneS],
      ].sort(),
    );
  },
);
