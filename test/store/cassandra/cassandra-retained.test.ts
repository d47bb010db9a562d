/**
 * The store of retained messages of a region: acks need the mirror's disk and Cassandra; what is owed to
 * Cassandra is found again after a crash (docs/adr/0021).
 */
import t from 'tap';
import { makeMessage } from '../../../src/core/message.ts';
import { CLEARED } from '../../../src/core/retained-version.ts';
import { encodeRecord } from '../../../src/store/cassandra/retained-record.ts';
import { FakeDisk } from '../../core/fake-store.ts';
import { KEPT_MS, NOT_KEPT_MS, RegionNode, RegionRig } from './retained-rig.ts';

t.test('a ticket needs the disk and the table, in either order', async (t) => {
  const region = new RegionRig();
  const node = await new RegionNode(region).start();
  node.mirror.commitsAlone = false;
  node.publish('a', 'one');
  region.time.settle();
  t.equal(region.table.textOf('a'), 'one');
  t.strictSame(node.told, [], 'the table has it');
  node.mirror.commit();
  region.time.settle();
  t.strictSame(node.told, [1]);
  region.table.fate = () => 'held';
  node.publish('b', 'one');
  node.publish('b', '');
  node.mirror.commit();
  region.time.settle();
  t.strictSame(node.told, [1], 'the disk has it');
  region.table.release();
  region.table.release();
  region.time.settle();
  t.strictSame(node.told, [1, 3]);
  t.equal(region.table.textOf('b'), 'cleared');
  await node.store.stop();
});

t.test('tickets are told in their order', async (t) => {
  const region = new RegionRig();
  const node = await new RegionNode(region).start();
  region.table.fate = (_, topic) => (topic === 'slow' ? 'held' : 'done');
  t.strictSame(
    ['slow', 'b', 'c'].map((topic) => node.publish(topic, 'x')),
    [1, 2, 3],
  );
  region.time.settle();
  t.strictSame(node.told, []);
  region.table.release();
  region.time.settle();
  t.strictSame(node.told, [3], 'one report for those that are due together');
});

t.test('without Cassandra mirrors are enough, when there are others', async (t) => {
  const region = new RegionRig();
  const node = await new RegionNode(region).start();
  region.table.isUp = false;
  node.publish('a', 'one');
  region.time.pass(NOT_KEPT_MS);
  t.ok(node.store.isDegraded);
  t.strictSame(node.told, []);
  region.time.pass(KEPT_MS - NOT_KEPT_MS);
  t.strictSame(node.told, [1]);
  t.equal(node.counters.kept, 1);
  node.mayKeep = false;
  node.publish('b', 'two');
  region.time.pass(10_000);
  t.strictSame(node.told, [1], 'parked');
  node.mirror.commitsAlone = false;
  node.mayKeep = true;
  node.publish('c', 'three');
  region.time.pass(1000);
  t.strictSame(node.told, [1, 2], 'what is on no disk is kept nowhere');
  node.mirror.commit();
  region.time.pass(1000);
  t.strictSame(node.told, [1, 2, 3]);
  region.table.isUp = true;
  region.time.pass(6000);
  t.notOk(node.store.isDegraded);
  t.equal(node.store.lane.size, 0);
  t.strictSame(node.told, [1, 2, 3], 'each once');
  t.equal(region.table.textOf('a'), 'one');
  t.strictSame([...node.disk.marks], ['a', 'b', 'c']);
  node.mirror.commit();
  t.strictSame([...node.disk.marks], []);
});

t.test(
  'without Cassandra and without others: the own disk, where that is said to be enough',
  async (t) => {
    const region = new RegionRig();
    const node = await new RegionNode(region, { isLocalEnough: true }).start();
    region.table.isUp = false;
    node.mayKeep = false;
    node.publish('a', 'one');
    region.time.pass(KEPT_MS);
    t.strictSame(node.told, [1]);
    // There is somebody else, who does not answer: a disk more is waited for.
    node.mayKeep = true;
    node.isDeaf = true;
    node.publish('b', 'two');
    region.time.pass(5000);
    t.strictSame(node.told, [1]);
    t.equal(node.asked.length, 1, 'asked once');
    node.publish('c', 'three');
    node.mayKeep = false;
    node.asked[0]?.(false);
    region.time.pass(KEPT_MS);
    t.strictSame(node.told, [1, 2, 3], 'it is gone');
  },
);

t.test('an answer covers what was told before the question', async (t) => {
  const region = new RegionRig();
  const node = await new RegionNode(region).start();
  region.table.isUp = false;
  node.isDeaf = true;
  node.publish('a', 'one');
  region.time.pass(KEPT_MS);
  node.publish('b', 'two');
  region.time.pass(KEPT_MS);
  node.asked[0]?.(true);
  region.time.settle();
  t.strictSame(node.told, [1]);
  region.time.pass(100);
  t.equal(node.asked.length, 2);
  node.asked[1]?.(true);
  region.time.settle();
  t.strictSame(node.told, [1, 2]);
});

t.test('who asks for the disk is told when all is there, and not when it fails', async (t) => {
  const region = new RegionRig();
  const node = await new RegionNode(region).start();
  node.mirror.commitsAlone = false;
  const told: string[] = [];
  node.store.synced(() => told.push('nothing yet'));
  t.strictSame(told, ['nothing yet']);
  const version = { timeUs: node.hybridClock.nextUs(), writer: 3 };
  node.apply('a', makeMessage(0, 'a', Buffer.from('x')), version);
  node.store.synced(() => told.push('a'));
  t.strictSame(told, ['nothing yet']);
  node.mirror.commit();
  t.strictSame(told, ['nothing yet', 'a']);
  node.apply('b', makeMessage(0, 'b', Buffer.from('x')), version);
  node.store.synced(() => told.push('b'));
  node.mirror.commit(new Error('full'));
  node.store.synced(() => told.push('b, again'));
  t.strictSame(told, ['nothing yet', 'a']);
  node.mirror.commit();
  t.strictSame(told, ['nothing yet', 'a', 'b, again']);
});

t.test('a disk that fails and a table that never takes it are errors', async (t) => {
  const region = new RegionRig();
  const node = await new RegionNode(region).start();
  node.mirror.commitsAlone = false;
  node.publish('a', 'one');
  node.mirror.commit(new Error('full'));
  region.time.settle();
  t.strictSame(node.told, ['1 full']);
  region.table.fate = () => 'final';
  node.publish('b', 'two');
  node.mirror.commit();
  region.time.settle();
  t.strictSame(node.told, ['1 full', '2 table: final']);
  t.equal(node.onDisk('b'), 'two', 'it stays in the mirror');
  region.table.fate = () => 'done';
  node.publish('c', 'three');
  node.mirror.commit();
  region.time.settle();
  t.strictSame(node.told, ['1 full', '2 table: final', 3]);
});

t.test(
  'nodes that have had different messages before there were versions agree on one',
  async (t) => {
    const region = new RegionRig();
    const nodes: RegionNode[] = [];
    for (const text of ['of the first', 'of the second', 'of the first']) {
      const disk = new FakeDisk();
      new RegionNode(region, { isAlone: true, disk }).has('a', text, null);
      nodes.push(await new RegionNode(region, { isAlone: true, disk }).start());
    }
    region.time.pass(1000);
    for (const node of nodes) node.round();
    const agreed = region.table.textOf('a');
    t.match(agreed, /^of the /);
    for (const node of nodes) t.equal(node.textOf('a'), agreed);
  },
);

t.test('nobody waits for QoS 0: it costs nothing while Cassandra is away', async (t) => {
  const region = new RegionRig();
  const node = await new RegionNode(region).start();
  node.mayKeep = false;
  region.table.isUp = false;
  for (let n = 0; n < 100; n++) t.equal(node.publish('a', `${n}`, { qos: 0 }), 0);
  for (let n = 0; n < 100; n++) t.equal(node.publish('c', '', { qos: 0 }), 0);
  t.equal(node.publish('b', 'x'), 1);
  region.table.isUp = true;
  region.time.pass(10_000);
  t.strictSame(node.told, [1]);
  t.equal(region.table.textOf('a'), '99');
  t.equal(region.table.textOf('c'), 'cleared');
});

for (const isAlone of [false, true]) {
  t.test(
    `a crash between disk and table: marks bring it back${isAlone ? ', alone' : ''}`,
    async (t) => {
      const region = new RegionRig();
      let node = await new RegionNode(region, { isAlone }).start();
      node.publish('set', 'old');
      node.publish('cleared', 'old');
      node.publish('expires', 'old');
      region.time.pass(100);
      t.strictSame([...node.disk.marks], [], 'confirmed');
      t.equal(node.onDisk('set'), 'old', 'what is confirmed stays on the disk');
      region.table.isUp = false;
      node.publish('set', 'new');
      node.publish('cleared', '');
      node.publish('expires', 'new', { expiresAtMs: region.time.wallMs() + 1000 });
      region.time.pass(2000);
      node.expire('expires');
      region.time.pass(2000);
      t.strictSame([...node.disk.marks].sort(), ['cleared', 'expires', 'set']);
      // Twice: what is owed outlives a start that does not get through either.
      for (let i = 0; i < 2; i++) {
        node = await node.crash();
        region.time.pass(5000);
        t.equal(node.store.lane.size, 3);
        t.strictSame([...node.disk.marks].sort(), ['cleared', 'expires', 'set']);
      }
      t.strictSame([...node.index.keys()], ['set']);
      const before = region.table.writes.length;
      region.table.isUp = true;
      region.time.pass(6000);
      t.equal(region.table.textOf('set'), 'new');
      t.equal(region.table.textOf('cleared'), 'cleared');
      t.equal(region.table.textOf('expires'), 'cleared', 'what it had replaced must not come back');
      t.ok(region.table.writes.length - before <= 4);
      t.strictSame([...node.disk.marks], []);
      t.equal(node.onDisk('set'), 'new');
      t.equal(node.onDisk('cleared'), 'cleared', 'others may ask for it, or Cassandra lose it');
      const writes = region.table.writes.length;
      node = await node.crash();
      region.time.pass(1000);
      t.equal(region.table.writes.length, writes, 'nothing is owed any more');
      t.equal(node.textOf('set'), 'new');
    },
  );
}

t.test('what was not committed is not owed', async (t) => {
  const region = new RegionRig();
  let node = await new RegionNode(region).start();
  node.mirror.commitsAlone = false;
  region.table.isUp = false;
  node.publish('a', 'one');
  node = await node.crash();
  region.table.isUp = true;
  region.time.pass(1000);
  t.equal(region.table.writes.length, 1, 'the one that failed');
  t.equal(node.textOf('a'), null);
});

t.test('a node alone stamps above all it has seen', async (t) => {
  const region = new RegionRig();
  let node = await new RegionNode(region, { isAlone: true }).start();
  node.publish('a', 'one');
  region.time.settle();
  const first = region.table.versionOf('a')!;
  t.match(first, { timeUs: region.time.wallMs() * 1000, writer: 7 });
  const ahead = first.timeUs + 3_000_000;
  const other = makeMessage(0, 'b', Buffer.from('theirs'), { qos: 1 });
  node.apply('b', other, { timeUs: ahead, writer: 9 });
  node.publish('b', '');
  region.time.settle();
  t.strictSame(region.table.versionOf('b'), { timeUs: ahead + 1, writer: CLEARED + 7 });
  t.strictSame(node.store.lastClear, region.table.versionOf('b'), 'which links are told');
  // The clock is set back by far, and the node starts again.
  region.time.wallOffsetMs -= 3_600_000;
  node = await node.crash();
  node.publish('a', 'two');
  region.time.settle();
  t.equal(region.table.textOf('a'), 'two', 'above what it replaces, whatever the clock says');
  node.publish('a', '');
  region.time.settle();
  t.equal(region.table.textOf('a'), 'cleared');
  node.publish('new', 'x');
  region.time.settle();
  const { timeUs } = region.table.versionOf('new')!;
  t.ok(timeUs < region.time.wallMs() * 1000 + 100, 'others as the clock says');
});

t.test('messages of a time without versions are written once, below all others', async (t) => {
  const region = new RegionRig();
  const disk = new FakeDisk();
  const nowMs = region.time.wallMs();
  const before = new RegionNode(region, { isAlone: true, disk });
  before.has('mine', 'mine', null);
  before.has('taken', 'mine', null);
  before.has('over', 'mine', null, nowMs - 1);
  disk.marks.add('mine').add('gone');
  region.table.put(
    'taken',
    encodeRecord(makeMessage(0, 'taken', Buffer.from('theirs'), {}), { timeUs: 2e9, writer: 1 }),
    2e9,
  );
  region.table.isUp = false;
  let node = await new RegionNode(region, { isAlone: true, disk }).start();
  region.time.pass(1000);
  t.strictSame([...disk.marks].sort(), ['mine', 'taken']);
  node = await node.crash();
  region.table.isUp = true;
  region.time.pass(6000);
  t.equal(region.table.textOf('mine'), 'mine');
  t.equal(region.table.textOf('taken'), 'theirs');
  t.equal(region.table.row('over'), null);
  t.strictSame([...disk.marks], []);
  const writes = region.table.writes.length;
  node = await node.crash();
  region.time.pass(1000);
  t.equal(region.table.writes.length, writes);
});

t.test('tombstones: kept until written, and while others may ask', async (t) => {
  const region = new RegionRig();
  const node = await new RegionNode(region).start();
  region.table.isUp = false;
  node.publish('a', '');
  node.publish('b', '');
  region.time.pass(100);
  // Ten days later.
  node.store.forgetTombstone('a');
  node.store.forgetTombstone('b');
  region.time.pass(100);
  t.equal(node.onDisk('a'), 'cleared', 'Cassandra does not know yet');
  const other = makeMessage(0, 'b', Buffer.from('theirs'), { qos: 1 });
  node.apply('b', other, { timeUs: node.hybridClock.nextUs(), writer: 9 });
  region.table.isUp = true;
  region.time.pass(6000);
  t.equal(node.onDisk('a'), null);
  t.equal(node.onDisk('b'), 'theirs', 'a message has taken its place');
  node.publish('a', 'x');
  node.publish('a', '');
  region.time.pass(100);
  t.equal(node.onDisk('a'), 'cleared');
  node.store.forgetTombstone('a');
  region.time.pass(100);
  t.equal(node.onDisk('a'), null);
});

t.test('what comes from elsewhere is mirrored alone', async (t) => {
  const region = new RegionRig();
  for (const isAlone of [false, true]) {
    const node = await new RegionNode(region, { isAlone }).start();
    const other = makeMessage(0, 'a', Buffer.from('theirs'), { qos: 1 });
    node.apply('a', other, { timeUs: node.hybridClock.nextUs(), writer: 9 });
    region.time.settle();
    t.equal(node.onDisk('a'), 'theirs');
    node.apply('a', null, { timeUs: node.hybridClock.nextUs(), writer: CLEARED + 9 });
    region.time.settle();
    t.equal(node.onDisk('a'), isAlone ? null : 'cleared');
    t.strictSame([...node.disk.marks], []);
  }
  t.strictSame(region.table.writes, []);
});
