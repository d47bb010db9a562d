/** Retained messages of a datacenter without Cassandra: versions, tombstones, catching up (P7, case 15, 16). */
import t from 'tap';
import { FrameType } from '../../src/cluster/ports.ts';
import type { RetainedRounds } from '../../src/cluster/ports-local.ts';
import type { RetainedVersion } from '../../src/core/cluster-ports.ts';
import { CLEARED } from '../../src/core/retained-version.ts';
import { Tombstones } from '../../src/core/tombstones.ts';
import {
  Answer,
  FakeSite,
  incarnationOf,
  LINK_GRACE_MS,
  message,
  type SiteNode,
  TOMBSTONE_MS,
} from './fake-site.ts';

function held({ remote }: SiteNode): string[] {
  return [...remote.store.values()].map((one) => `${one.topic}=${one.payload}`).sort();
}

/** As found on disk, written at that wall-clock time by some node. */
function onDisk(node: SiteNode, topic: string, payload: string, atMs: number, writer = 9): void {
  const found = message(topic, payload);
  found.version = { timeUs: atMs * 1000, writer };
  node.remote.store.set(topic, found);
}

t.test('a change is stamped above what it replaces and reaches every node', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  const first = a.remote.retain(message('t', '1'), 't');
  const second = a.remote.retain(message('t', '2'), 't');
  t.ok(second.timeUs > first.timeUs);
  site.time.settle();
  for (const node of [b, c]) t.strictSame(held(node), ['t=2']);
  t.strictSame(b.remote.store.get('t')?.version, second);
  // b's clock is behind what it heard of: still above.
  const third = b.remote.retain(message('t', '3'), 't');
  t.ok(third.timeUs > second.timeUs);
  t.not(third.writer, second.writer);
  site.time.settle();
  for (const node of [a, b, c]) t.strictSame(held(node), ['t=3']);
});

t.test('S24: a change that was accepted before keeps its version, unless it is over', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  const { bus } = a.cluster;
  const nowUs = site.time.wallMs() * 1000;
  const accepted = { timeUs: nowUs - 5000, writer: 9 };
  t.equal(bus.isRetainedOver('t', accepted), false, 'nothing is known');
  onDisk(a, 't', 'before', accepted.timeUs / 1000 - 1);
  t.equal(bus.isRetainedOver('t', accepted), false, 'what is known is older');
  const again = message('t', 'again');
  const version = bus.announceRetained('t', again, null, null, accepted);
  t.strictSame(version, accepted);
  site.time.settle();
  t.strictSame(b.remote.store.get('t')?.version, accepted);
  t.equal(b.cluster.bus.isRetainedOver('t', accepted), false, 'it is what is known');
  t.equal(b.cluster.bus.isRetainedOver('t', { timeUs: nowUs - 6000, writer: 10 }), true);
  // A clear that comes late, and one that came meanwhile.
  const cleared = { timeUs: nowUs - 4000, writer: 9 + CLEARED };
  t.strictSame(bus.announceRetained('t', null, accepted, null, cleared), cleared);
  site.time.settle();
  t.strictSame(held(b), []);
  t.equal(b.cluster.bus.isRetainedOver('t', accepted), true, 'buried');
  t.equal(b.cluster.bus.isRetainedOver('t', cleared), false);
  t.equal(
    bus.isRetainedOver('u', { timeUs: nowUs + 90_000_000, writer: 9 }),
    true,
    'a wrong clock',
  );
  t.equal(a.cluster.counters.retainedSkewed, 1);
});

t.test('hard case 15: a retained ack waits for the live nodes', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  site.network.cut(a.incarnation, b.incarnation);
  const answer = new Answer();
  a.remote.retain(message('t', '1'), 't', answer);
  site.time.settle();
  t.equal(answer.unsafeCount, 1);
  site.network.mend(a.incarnation, b.incarnation);
  site.time.settle();
  t.equal(answer.told, 1);
  t.strictSame(held(b), ['t=1']);
});

t.test('hard case 15: subscription and retained change keep their order on a link', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  site.network.arrived.length = 0;
  a.remote.retain(message('t', '1'), 't');
  a.remote.want('t', 2);
  a.remote.retain(message('t', '2'), 't');
  site.time.settle();
  const types = site.network.arrived
    .filter((line) => line.startsWith(`${a.incarnation}>${b.incarnation}`))
    .map((line) => Number(line.split(' ')[1]));
  t.strictSame(types, [FrameType.RETAINED, FrameType.INTEREST, FrameType.RETAINED]);
});

t.test('two nodes that write at once agree on the higher version', async (t) => {
  const site = new FakeSite();
  const nodes = [site.node(), site.node(), site.node()];
  const [a, b] = nodes as [SiteNode, SiteNode, SiteNode];
  a.remote.retain(message('t', 'a'), 't');
  b.remote.retain(message('t', 'b'), 't');
  site.time.settle();
  const first = held(a);
  for (const node of nodes) t.strictSame(held(node), first);
});

t.test('a clear outweighs what is older, wherever it comes from', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  // a's message to c is late; b clears the topic meanwhile.
  site.network.cut(a.incarnation, c.incarnation);
  a.remote.retain(message('t', '1'), 't');
  site.time.settle();
  t.strictSame(held(b), ['t=1']);
  b.remote.retain(null, 't');
  site.time.settle();
  t.strictSame(held(c), []);
  site.network.mend(a.incarnation, c.incarnation);
  site.time.settle();
  t.strictSame(held(c), [], 'the tombstone is newer');
  for (const node of [a, b, c]) t.strictSame(held(node), []);
  t.equal(c.cluster.state().tombstones, 1);
  // A later write is above the tombstone, though nobody has a message to compare with.
  c.remote.retain(message('t', '2'), 't');
  site.time.settle();
  for (const node of [a, b, c]) t.strictSame(held(node), ['t=2']);
  t.equal(a.cluster.state().tombstones, 0);
});

t.test('tombstones go after their time, and are bounded', async (t) => {
  const over: string[] = [];
  const stones = new Tombstones(
    () => 1000,
    3,
    (topic) => over.push(topic),
  );
  const version = (timeUs: number): RetainedVersion => ({ timeUs, writer: 1 });
  for (let i = 0; i < 4; i++) stones.put(`t${i}`, version(5), i);
  t.equal(stones.size, 3);
  t.equal(stones.dropped, 1);
  t.equal(stones.isOver('t0', version(4)), false, 'the oldest went');
  t.equal(stones.isOver('t1', version(5)), true);
  t.equal(stones.isOver('t1', version(6)), false);
  stones.expire(1002);
  t.strictSame(
    [...stones.entries()].map(([topic]) => topic),
    ['t3'],
  );
  t.strictSame(over, ['t0', 't1', 't2'], 'the store is told');
  const long = 'x'.repeat(40_000_000);
  for (let i = 0; i < 2; i++) stones.put(`${i}${long}`, version(5), 2000);
  t.equal(stones.size, 1, 'their characters are bounded, too');
  t.equal(stones.dropped, 3);
});

t.test(
  'hard case 18: what was cleared before a restart of all nodes does not come back',
  async (t) => {
    const site = new FakeSite();
    const a = site.node();
    const cleared = { timeUs: site.time.wallMs() * 1000, writer: 3 };
    a.cluster.bus.buryRetained('t', cleared);
    a.cluster.bus.buryRetained('u', cleared);
    const b = site.make();
    onDisk(b, 't', 'old', site.time.wallMs() - 5000);
    onDisk(b, 'u', 'newer', site.time.wallMs() + 1);
    site.register(b);
    site.time.settle();
    t.strictSame(held(b), ['u=newer']);
    t.strictSame(held(a), ['u=newer']);
    site.time.pass(TOMBSTONE_MS + 1000, 10_000);
    t.strictSame(a.remote.unburied, ['t']);
  },
);

t.test('clock_skew: a version too far ahead is refused, counted and said', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  const ahead = { timeUs: (site.time.wallMs() + 120_000) * 1000, writer: 1 };
  a.remote.store.set('t', Object.assign(message('t', 'x'), { version: ahead }));
  a.remote.retain(message('t', 'y'), 't');
  site.time.settle();
  t.equal(b.cluster.counters.retainedSkewed, 1);
  t.ok(b.logged.includes('clock_skew'));
  t.strictSame(held(b), []);
});

// ---------------------------------------------------------------------------------- catching up

t.test('a joiner has everything retained before it is ready, in pages', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  for (let i = 0; i < 2500; i++) a.remote.retain(message(`t/${i}`, 'x'), `t/${i}`);
  a.remote.retain(null, 't/9');
  a.remote.store.set('$SYS/x', message('$SYS/x', 'mine'));
  const b = site.make();
  site.register(b);
  let turns = 0;
  while (!b.isReady) {
    if (turns++ > 200) throw new Error('never ready');
    if (turns === 8) a.remote.retain(message('late', 'x'), 'late');
    if (turns === 8) a.remote.retain(null, 't/0');
    site.time.turn();
  }
  t.equal(b.remote.store.size, 2499);
  t.equal(b.remote.store.has('late'), true);
  t.equal(b.remote.store.has('t/0'), false);
  t.equal(b.cluster.state().tombstones, 2, 'what was cleared is known too');
  t.ok(site.network.count(FrameType.RETAINED_PAGE) >= 3);
});

t.test('large messages make small pages', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  for (let i = 0; i < 8; i++) a.remote.retain(message(`t/${i}`, 'x'.repeat(200_000)), `t/${i}`);
  site.node();
  t.ok(site.network.count(FrameType.RETAINED_PAGE) >= 4);
});

t.test('the source dies: another one is asked, from the beginning', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  for (let i = 0; i < 2500; i++) a.remote.retain(message(`t/${i}`, 'x'), `t/${i}`);
  site.time.settle();
  const c = site.make();
  site.register(c);
  const pagesOf = (node: SiteNode): number =>
    site.network.count(FrameType.RETAINED_PAGE, node.incarnation, c.incarnation);
  for (let i = 0; pagesOf(a) === 0; i++) {
    if (i > 100) throw new Error('no page comes');
    site.time.turn();
  }
  t.equal(c.isReady, false);
  const { incarnation } = a;
  site.kill(a);
  site.bury(incarnation);
  site.time.settle();
  t.equal(c.isReady, true);
  t.equal(c.remote.store.size, 2500);
  t.equal(pagesOf(b), 3);
});

t.test('pages and questions that a lost link session takes along come again', async (t) => {
  for (const lost of ['question', 'page'] as const) {
    const site = new FakeSite();
    const a = site.node();
    for (let i = 0; i < 2500; i++) a.remote.retain(message(`t/${i}`, 'x'), `t/${i}`);
    const b = site.make();
    site.register(b);
    for (let i = 0; site.network.count(FrameType.RETAINED_PAGE) === 0; i++) {
      if (i > 100) throw new Error('no page comes');
      site.time.turn();
    }
    const [from, to] = lost === 'question' ? [b, a] : [a, b];
    site.network.cut(from.incarnation, to.incarnation);
    site.time.settle();
    t.equal(b.isReady, false);
    from.mesh.giveUp(to.incarnation);
    site.network.mend(from.incarnation, to.incarnation);
    site.time.settle();
    t.equal(b.isReady, true, lost);
    t.equal(b.remote.store.size, 2500);
  }
});

t.test('what was cleared while a node was away stays cleared', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  const version = a.remote.retain(message('t', '1'), 't');
  site.time.pass(1000);
  a.remote.retain(null, 't');
  // b comes back with what it had on disk.
  const b = site.make();
  b.remote.store.set('t', Object.assign(message('t', '1'), { version }));
  site.register(b);
  site.time.settle();
  t.strictSame(held(b), []);
  t.strictSame(held(a), []);
});

t.test('hard case 18: away for longer than tombstones live: absent means deleted', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  site.time.pass(10, 10);
  const gone = a.remote.retain(message('gone', '1'), 'gone');
  const kept = a.remote.retain(message('kept', '1'), 'kept');
  a.remote.retain(null, 'gone');
  site.time.pass(TOMBSTONE_MS + 1000, 10_000);
  t.equal(a.cluster.state().tombstones, 0);
  const b = site.make();
  b.remote.store.set('gone', Object.assign(message('gone', '1'), { version: gone }));
  b.remote.store.set('kept', Object.assign(message('kept', '1'), { version: kept }));
  site.register(b);
  site.time.settle();
  t.strictSame(held(b), ['kept=1']);
  t.strictSame(held(a), ['kept=1']);
});

t.test('a node vouches for what it has from one that did', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  site.time.pass(10, 10);
  const gone = a.remote.retain(message('gone', '1'), 'gone');
  a.remote.retain(null, 'gone');
  site.time.pass(TOMBSTONE_MS + 1000, 10_000);
  const b = site.node();
  const { incarnation } = a;
  site.kill(a);
  site.bury(incarnation);
  const c = site.make();
  c.remote.store.set('gone', Object.assign(message('gone', '1'), { version: gone }));
  site.register(c);
  site.time.settle();
  t.equal(c.isReady, true);
  t.strictSame(held(c), []);
  t.strictSame(held(b), []);
});

t.test('two nodes that begin together keep what either has', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.make(), site.make()];
  const long = site.time.wallMs() - 100 * TOMBSTONE_MS;
  onDisk(a, 'only/a', 'x', long);
  onDisk(b, 'only/b', 'x', long + 5);
  // Neither is there before the other: both wait for each other, and catch up from each other.
  site.network.cut(incarnationOf(1), incarnationOf(2));
  site.ledger.isStuck = true;
  site.register(a);
  site.register(b);
  site.network.mend(incarnationOf(1), incarnationOf(2));
  site.time.settle();
  site.ledger.goOn();
  site.time.settle();
  t.ok(a.isReady && b.isReady);
  for (const node of [a, b]) t.strictSame(held(node), ['only/a=x', 'only/b=x']);
});

t.test('what nobody can vouch for is kept, and told to all with the version it has', async (t) => {
  const site = new FakeSite();
  // The whole datacenter was off; the first to come has missed a day.
  const [a, b] = [site.make(), site.node()];
  const long = site.time.wallMs() - 100 * TOMBSTONE_MS;
  onDisk(a, 'only/a', 'x', long);
  onDisk(a, 'both', 'new', long + 2);
  onDisk(b, 'both', 'old', long + 1);
  onDisk(b, 'newer/b', 'new', long + 2);
  onDisk(a, 'newer/b', 'old', long + 1);
  const foreign = message('alone', 'x');
  a.remote.store.set('alone', foreign);
  site.register(a);
  site.time.settle();
  const all = ['alone=x', 'both=new', 'newer/b=new', 'only/a=x'];
  t.strictSame(held(a), all);
  t.strictSame(held(b), all);
  t.strictSame(b.remote.store.get('only/a')?.version, { timeUs: long * 1000, writer: 9 });
});

t.test('a node that was buried catches up on what it missed', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  a.remote.retain(message('gone', '1'), 'gone');
  a.remote.retain(message('t', '1'), 't');
  site.time.settle();
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.retain(null, 'gone');
  a.remote.retain(message('t', '2'), 't');
  site.rejoin(b);
  site.time.settle();
  t.equal(b.isReady, true);
  t.strictSame(held(b), ['t=2']);
});

t.test(
  'more changes lost with a link session than are kept: everything is told again',
  async (t) => {
    const site = new FakeSite();
    const [a, b] = [site.node(), site.node()];
    site.network.cut(a.incarnation, b.incarnation);
    const large = 'x'.repeat(1_000_000);
    for (let i = 0; i < 20; i++) a.remote.retain(message(`t/${i}`, large), `t/${i}`);
    a.remote.retain(null, 't/3');
    a.mesh.giveUp(b.incarnation);
    site.network.mend(a.incarnation, b.incarnation);
    site.time.pass(LINK_GRACE_MS);
    t.equal(b.remote.store.size, 19);
    t.equal(b.remote.store.has('t/3'), false);
  },
);

// ---------------------------------------------------------------------------------- rounds

/** What a node knows of rounds over a record that all regions share. */
class FakeRounds implements RetainedRounds {
  beganMs: number;
  isStale = false;
  readonly owed: Set<string> = new Set();

  constructor(beganMs = 0) {
    this.beganMs = beganMs;
  }

  isOwed(topic: string): boolean {
    return this.owed.has(topic);
  }

  /** Of a mirror of long ago: what was written before a time long ago. */
  mayBeOver({ timeUs }: RetainedVersion, beganMs: number): boolean {
    return beganMs === LONG_AGO_MS && timeUs < LONG_AGO_MS * 1000;
  }

  heard(beganMs: number): void {
    this.beganMs = Math.max(this.beganMs, beganMs);
  }

  /** Who asked whether it is on the disk. */
  readonly asked: (() => void)[] = [];

  synced(done: () => void): void {
    this.asked.push(done);
  }
}

const LONG_AGO_MS = 1000;

t.test('the end of a round is heard when what it found is there', async (t) => {
  const site = new FakeSite();
  const rounds = [new FakeRounds(), new FakeRounds(), new FakeRounds()] as const;
  const [a, b, c] = [site.node(rounds[0]), site.node(rounds[1]), site.node(rounds[2])];
  site.network.cut(a.incarnation, b.incarnation);
  const version = { timeUs: site.time.wallMs() * 1000, writer: 5 };
  a.cluster.bus.takeRetained('t', message('t', 'found'), version, null);
  a.cluster.roundEnded(5000);
  site.time.settle();
  t.strictSame(held(c), ['t=found']);
  t.equal(rounds[2].beganMs, 0, 'nobody is told before all have it');
  site.network.mend(a.incarnation, b.incarnation);
  site.time.settle();
  t.strictSame(held(b), ['t=found']);
  for (const { beganMs } of rounds.slice(1)) t.equal(beganMs, 5000);
});

t.test('what a link brings is answered when all nodes have it', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  const version = { timeUs: site.time.wallMs() * 1000, writer: 5 };
  // Also when it comes again.
  for (let i = 0; i < 2; i++) {
    const awaited = message('t', 'x');
    site.network.cut(a.incarnation, b.incarnation);
    t.equal(a.cluster.bus.takeRetained('t', message('t', 'x'), version, awaited), 'taken');
    site.time.settle();
    t.equal(awaited.unsafeCount, 1);
    site.network.mend(a.incarnation, b.incarnation);
    site.time.settle();
    t.equal(awaited.unsafeCount, 0);
    t.strictSame(held(b), ['t=x']);
  }
  const gone = { timeUs: version.timeUs + 1, writer: 5 };
  t.equal(a.cluster.bus.takeRetained('t', null, gone, null), 'taken');
  t.equal(a.cluster.bus.takeRetained('t', message('t', 'x'), version, null), 'older');
  const ahead = { timeUs: version.timeUs + 120_000_000, writer: 5 };
  t.equal(a.cluster.bus.takeRetained('t', null, ahead, null), 'clock_skew');
});

t.test('what a lost link session has taken along comes before the end of the round', async (t) => {
  const site = new FakeSite();
  const rounds = new FakeRounds();
  const [a, b] = [site.node(new FakeRounds(9000)), site.node(rounds)];
  rounds.beganMs = 0;
  site.network.cut(a.incarnation, b.incarnation);
  const version = { timeUs: site.time.wallMs() * 1000, writer: 5 };
  // More than is kept for a session that is lost.
  const large = 'x'.repeat(1_000_000);
  for (let i = 0; i < 20; i++) {
    a.cluster.bus.takeRetained(`t/${i}`, message(`t/${i}`, large), version, null);
  }
  a.cluster.roundEnded(9000);
  a.mesh.giveUp(b.incarnation);
  const before: number[] = [];
  const { heard } = rounds;
  rounds.heard = (beganMs) => {
    before.push(b.remote.store.size);
    heard.call(rounds, beganMs);
  };
  site.network.mend(a.incarnation, b.incarnation);
  site.time.settle();
  site.time.pass(1000, 50);
  t.equal(b.remote.store.size, 20);
  t.equal(rounds.beganMs, 9000);
  t.ok(
    before.every((size) => size === 20),
    `${before}`,
  );
});

t.test('a joiner hears of the last round with what it catches up on', async (t) => {
  const site = new FakeSite();
  const a = site.node(new FakeRounds(7000));
  for (let i = 0; i < 2500; i++) a.remote.retain(message(`t/${i}`, 'x'), `t/${i}`);
  const rounds = new FakeRounds();
  let size = -1;
  rounds.heard = (beganMs) => {
    rounds.beganMs = beganMs;
    size = b.remote.store.size;
  };
  const b = site.make(rounds);
  site.register(b);
  site.time.settle();
  t.equal(rounds.beganMs, 7000);
  t.equal(size, 2500, 'when it is all there');
  t.notOk(b.remote.store.has('$causeway/round'));
});

t.test('hard case 18: a mirror of long ago is not believed, but for what it owes', async (t) => {
  const site = new FakeSite();
  const a = site.node(new FakeRounds(site.time.wallMs()));
  const kept = a.remote.retain(message('kept', '1'), 'kept');
  const rounds = new FakeRounds(LONG_AGO_MS);
  rounds.isStale = true;
  rounds.owed.add('owed');
  const b = site.make(rounds);
  const now = site.time.wallMs();
  onDisk(b, 'over', 'x', now - 500_000);
  onDisk(b, 'owed', 'x', now - 500_000);
  b.remote.store.set('kept', Object.assign(message('kept', '1'), { version: kept }));
  site.register(b);
  site.time.settle();
  t.strictSame(held(b), ['kept=1', 'owed=x']);
  t.strictSame(held(a), ['kept=1', 'owed=x']);
});

t.test('hard case 18: nor does another that joins with it take it over', async (t) => {
  const site = new FakeSite();
  const [old, young] = [new FakeRounds(LONG_AGO_MS), new FakeRounds(site.time.wallMs())];
  old.isStale = true;
  const [a, b] = [site.make(old), site.make(young)];
  onDisk(a, 'over', 'x', LONG_AGO_MS - 500);
  onDisk(b, 'kept', 'x', LONG_AGO_MS - 500);
  site.network.cut(incarnationOf(1), incarnationOf(2));
  site.ledger.isStuck = true;
  site.register(a);
  site.register(b);
  site.network.mend(incarnationOf(1), incarnationOf(2));
  site.time.settle();
  site.ledger.goOn();
  site.time.settle();
  t.ok(a.isReady && b.isReady);
  for (const node of [a, b]) t.strictSame(held(node), ['kept=x']);
  t.equal(old.beganMs, young.beganMs);
});

t.test('what was told is on a disk when one of the others says so', async (t) => {
  const site = new FakeSite();
  const rounds = [new FakeRounds(), new FakeRounds(), new FakeRounds()] as const;
  const [a, b, c] = [site.node(rounds[0]), site.node(rounds[1]), site.node(rounds[2])];
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.retain(message('t', '1'), 't');
  const answers: boolean[] = [];
  t.equal(
    a.cluster.askKept((isKept) => answers.push(isKept)),
    true,
  );
  site.time.pass(200, 10);
  t.equal(rounds[1].asked.length, 0, 'it does not have it');
  t.equal(rounds[2].asked.length, 1);
  t.strictSame(held(c), ['t=1'], 'asked after it was told');
  t.strictSame(answers, []);
  rounds[2].asked[0]?.();
  site.time.settle();
  t.strictSame(answers, [true]);
  site.network.mend(a.incarnation, b.incarnation);
  site.time.pass(3000, 50);
  t.strictSame(answers, [true], 'told once');
});

t.test('a question that is lost is asked again; nobody left is an answer', async (t) => {
  const site = new FakeSite();
  const rounds = [new FakeRounds(), new FakeRounds()] as const;
  const a = site.node(rounds[0]);
  const answers: boolean[] = [];
  const ask = (): boolean => a.cluster.askKept((isKept) => answers.push(isKept));
  t.equal(ask(), false, 'there is nobody');
  const b = site.node(rounds[1]);
  t.equal(ask(), true);
  site.time.pass(200, 10);
  t.equal(rounds[1].asked.length, 1);
  site.network.cut(b.incarnation, a.incarnation);
  rounds[1].asked[0]?.();
  b.mesh.giveUp(a.incarnation);
  site.network.mend(b.incarnation, a.incarnation);
  site.time.pass(1200, 50);
  t.equal(rounds[1].asked.length, 2);
  t.strictSame(answers, []);
  const { incarnation } = b;
  site.kill(b);
  site.bury(incarnation);
  site.time.settle();
  t.strictSame(answers, [false]);
});

t.test('a peer is not asked before it has what a lost link session has taken along', async (t) => {
  const site = new FakeSite();
  const rounds = [new FakeRounds(), new FakeRounds()] as const;
  const [a, b] = [site.node(rounds[0]), site.node(rounds[1])];
  // Tables that take several turns to tell.
  for (let i = 0; i < 5000; i++) a.remote.want(`f/${i}`, 1);
  site.time.settle();
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.retain(message('t', '1'), 't');
  a.mesh.giveUp(b.incarnation);
  const had: boolean[] = [];
  rounds[1].synced = (done) => {
    had.push(b.remote.store.has('t'));
    done();
  };
  const answers: boolean[] = [];
  a.cluster.askKept((isKept) => answers.push(isKept));
  site.network.mend(a.incarnation, b.incarnation);
  for (let i = 0; i < 20; i++) {
    site.time.jump(50);
    site.time.turn();
  }
  site.time.pass(1000);
  t.strictSame(answers, [true]);
  t.ok(had.length > 0 && had.every((one) => one), `${had}`);
});
