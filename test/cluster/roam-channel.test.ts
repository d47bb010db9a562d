/** What nodes say of sessions that move between regions: in order, told again, applied by all. */
import t from 'tap';
import { JournalLinks } from '../../src/cluster/journal-links.ts';
import { FrameType } from '../../src/cluster/ports.ts';
import {
  type Incarnation,
  ROAM_BYTES_MAX,
  type RoamListener,
} from '../../src/core/cluster-ports.ts';
import { FakeSite, type SiteNode } from './fake-site.ts';

/** Remembers what it hears, and tells whoever gets the tables one text. */
class Ear implements RoamListener {
  readonly node: SiteNode;
  readonly heard: string[] = [];
  /** `heard` by the sender. */
  readonly from: Map<Incarnation, string[]> = new Map();
  readonly told: Incarnation[] = [];
  /** What is told with tables; null: nothing. */
  state: string | null = null;
  /** Called for each text. */
  onSaid: (text: string) => void = () => {};
  onLost: () => void = () => {};
  onGone: () => void = () => {};

  constructor(node: SiteNode) {
    this.node = node;
    node.cluster.bus.listenRoam(this);
  }

  said(from: Incarnation, payload: Buffer): void {
    const text = payload.toString();
    this.heard.push(text);
    this.from.set(from, [...(this.from.get(from) ?? []), text]);
    this.onSaid(text);
  }

  tell(peer: Incarnation): void {
    this.told.push(peer);
    if (this.state !== null) this.node.cluster.bus.roam.send(peer, Buffer.from(this.state));
  }

  gone(peer: Incarnation): void {
    this.heard.push(`gone ${peer}`);
    this.onGone();
  }

  lost(): void {
    this.heard.push('lost');
    this.onLost();
  }

  say(text: string): void {
    this.node.cluster.bus.roam.sendAll(Buffer.from(text));
  }

  /** `applied`, or `dead`, goes to `heard`. */
  wait(): void {
    this.node.cluster.bus.roam.whenApplied((isApplied) => {
      this.heard.push(isApplied ? 'applied' : 'dead');
    });
  }
}

/** Nodes that are ready, with their ears. */
function nodes(site: FakeSite, count: number): Ear[] {
  const ears: Ear[] = [];
  for (let i = 0; i < count; i++) {
    const node = site.make();
    ears.push(new Ear(node));
    site.register(node);
    site.time.settle();
    if (!node.isReady) throw new Error('the node does not become ready');
  }
  return ears;
}

const LARGE_BYTES = 1024 * 1024;

t.test('what is said comes in order with sessions, to all or to one', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = nodes(site, 3) as [Ear, Ear, Ear];
  const known: string[] = [];
  b.onSaid = (text) => known.push(`${text}: ${[...b.node.remote.sessions.keys()]}`);
  a.say('before');
  a.node.remote.owns(site.image(a.node, 'x', 3, 'q'));
  a.say('between');
  a.node.cluster.bus.announceEnd('x', 'sid-x', 3);
  a.node.remote.sessions.delete('x');
  a.node.cluster.bus.roam.send(b.node.incarnation, Buffer.from('after'));
  site.time.settle();
  t.strictSame(known, ['before: ', 'between: x', 'after: ']);
  t.strictSame(c.heard, ['before', 'between']);
  t.strictSame(b.from.get(a.node.incarnation), ['before', 'between', 'after']);
  t.strictSame(a.heard, [], 'nobody hears himself');
});

t.test('who they are: this node, and the others that count', async (t) => {
  const site = new FakeSite();
  const [a, b] = nodes(site, 2) as [Ear, Ear];
  const { roam } = a.node.cluster.bus;
  t.equal(roam.self, a.node.incarnation);
  t.strictSame([...roam.members()], [b.node.incarnation]);
  // c is heard of and told, and has not applied it.
  const c = new Ear(site.make());
  a.state = 'a knows';
  site.network.swallow = (_from, _to, type) => type === FrameType.COUNTED_IN;
  site.network.cuts.add(`${a.node.incarnation}>${'00000003'.padEnd(32, 'f')}`);
  site.register(c.node);
  site.time.settle();
  t.strictSame([...roam.members()], [b.node.incarnation], 'c does not count');
  a.say('to the joiner as well');
  site.network.mend(a.node.incarnation, c.node.incarnation);
  site.time.settle();
  t.strictSame(c.heard, ['a knows', 'to the joiner as well']);
  t.strictSame([...roam.members()], [b.node.incarnation, c.node.incarnation]);
});

t.test('a joiner is told behind the sessions, before the tables end and it counts', async (t) => {
  const site = new FakeSite();
  const [a, b] = nodes(site, 2) as [Ear, Ear];
  for (let i = 0; i < 2500; i++) a.node.remote.owns(site.image(a.node, `s${i}`, 3, 'q'));
  site.time.settle();
  a.state = 'state';
  const c = new Ear(site.make());
  c.state = 'mine';
  const seen: unknown[] = [];
  c.onSaid = (text) => {
    const counts = [...a.node.cluster.bus.roam.members()].includes(c.node.incarnation);
    seen.push([text, c.node.remote.sessions.size, c.node.isReady, counts]);
  };
  site.register(c.node);
  site.time.turn();
  site.time.turn();
  const { from } = c;
  t.equal(from.size, 0);
  t.ok(site.network.count(FrameType.IMAGE, a.node.incarnation, c.node.incarnation) > 0);
  // While the tables are on their way.
  a.say('late');
  site.time.settle();
  t.strictSame(from.get(a.node.incarnation), ['late', 'state']);
  t.strictSame(seen.at(-1), ['state', 2500, false, false]);
  t.equal(c.node.isReady, true);
  const lines = site.network.arrived.filter((line) =>
    line.startsWith(`${a.node.incarnation}>${c.node.incarnation} `),
  );
  const at = (type: number): number => lines.findLastIndex((line) => line.endsWith(` ${type}`));
  t.equal(at(FrameType.TABLES_END), at(FrameType.ROAM) + 1);
  for (const ear of [a, b]) t.strictSame(ear.from.get(c.node.incarnation), ['mine']);
  t.strictSame(b.told, [a.node.incarnation, c.node.incarnation]);
});

t.test('what a lost link session takes along is told again, and applied only then', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = nodes(site, 3) as [Ear, Ear, Ear];
  a.say('first');
  site.time.settle();
  const [from, to] = [a.node.incarnation, b.node.incarnation];
  site.network.cut(from, to);
  a.say('lost');
  a.state = 'first, lost';
  a.wait();
  site.time.settle();
  t.strictSame(a.heard, [], 'b has not applied it');
  a.node.mesh.giveUp(to);
  site.time.settle();
  t.strictSame(a.heard, []);
  a.say('after');
  b.onSaid = (text) => {
    if (text === 'first, lost') t.strictSame(a.heard, [], 'not before it was told again');
  };
  site.network.mend(from, to);
  site.time.settle();
  t.strictSame(b.heard, ['first', 'first, lost', 'after']);
  t.strictSame(c.heard, ['first', 'lost', 'after'], 'nobody else is told');
  t.strictSame(a.heard, ['applied']);
});

t.test('tables that are asked for again bring it again', async (t) => {
  const site = new FakeSite();
  const [a, b] = nodes(site, 2) as [Ear, Ear];
  a.state = 'state';
  a.say('one');
  site.network.swallow = (_from, _to, type) => type === FrameType.INTEREST;
  a.node.remote.want('swallowed', 2);
  site.time.settle();
  site.network.swallow = null;
  site.time.pass(20_000);
  t.strictSame(b.node.routesOf(a.node), ['swallowed,2']);
  t.strictSame(b.heard, ['one', 'state']);
});

t.test('whether all have applied it: at once, later, and without who is gone', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = nodes(site, 3) as [Ear, Ear, Ear];
  a.wait();
  t.strictSame(a.heard, ['applied'], 'nothing is under way');
  site.network.cut(a.node.incarnation, c.node.incarnation);
  a.say('one');
  a.wait();
  site.time.settle();
  t.strictSame(b.heard, ['one']);
  t.strictSame(a.heard, ['applied'], 'c has not');
  const { incarnation } = c.node;
  site.kill(c.node);
  site.bury(incarnation);
  t.strictSame(a.heard.slice(1), [`gone ${incarnation}`, 'applied']);
  t.strictSame(b.heard, ['one', `gone ${incarnation}`]);
  t.strictSame([...a.node.cluster.bus.roam.members()], [b.node.incarnation]);
  // What is said to it goes nowhere.
  const arrived = site.network.count(FrameType.ROAM);
  a.node.cluster.bus.roam.send(incarnation, Buffer.from('nobody'));
  site.time.settle();
  t.equal(site.network.count(FrameType.ROAM), arrived);
});

t.test('nothing is called applied while the lease may be over', async (t) => {
  const site = new FakeSite();
  const [a, b] = nodes(site, 2) as [Ear, Ear];
  a.node.membership.serves = false;
  a.say('one');
  a.wait();
  site.time.settle();
  t.strictSame(b.heard, ['one']);
  a.wait();
  t.strictSame(a.heard, [], 'others may count who is not known here');
  a.node.membership.serves = true;
  site.time.pass(100);
  t.strictSame(a.heard, ['applied', 'applied']);
});

t.test('a node that was buried hears so, and speaks under its next name', async (t) => {
  const site = new FakeSite();
  const [a, b] = nodes(site, 2) as [Ear, Ear];
  const former = a.node.incarnation;
  const other = b.node.incarnation;
  site.network.cut(former, other);
  a.say('under way');
  a.wait();
  a.state = 'a new life';
  b.state = 'of b';
  a.onLost = () => {
    t.equal(a.node.remote.lostTimes, 1, 'its connections are closed');
    a.node.cluster.bus.roam.whenApplied((isApplied) => a.heard.push(`${isApplied}`));
  };
  site.rejoin(a.node);
  t.strictSame(a.heard, ['lost', 'dead', 'false', `gone ${other}`]);
  site.time.settle();
  t.not(a.node.cluster.bus.roam.self, former);
  t.equal(a.node.cluster.bus.roam.self, a.node.incarnation);
  t.strictSame(b.heard, [`gone ${former}`, 'a new life']);
  t.strictSame(b.from.get(a.node.incarnation), ['a new life']);
  t.equal(a.heard.at(-1), 'of b');
  t.strictSame([...a.node.cluster.bus.roam.members()], [other]);
});

t.test('between two lives nothing leaves', async (t) => {
  const site = new FakeSite();
  const [a, b] = nodes(site, 2) as [Ear, Ear];
  a.node.membership.state = 'out';
  a.node.membership.links.events.lost();
  a.say('of the dead');
  a.node.cluster.bus.roam.send(b.node.incarnation, Buffer.from('of the dead'));
  site.time.settle();
  t.strictSame(b.heard, []);
  t.strictSame([...a.node.cluster.bus.roam.members()], []);
});

t.test('a large payload, and one byte more than there may be', async (t) => {
  const site = new FakeSite();
  const [a, b] = nodes(site, 2) as [Ear, Ear];
  const { roam } = a.node.cluster.bus;
  const payload = Buffer.alloc(LARGE_BYTES, 'x');
  roam.sendAll(payload);
  payload.fill('y');
  site.time.settle();
  t.ok(b.heard[0] === 'x'.repeat(LARGE_BYTES), 'as it was when it was sent');
  // As large as the largest message with what is around it: only looked at for its length.
  const large = { length: ROAM_BYTES_MAX + 1 } as Buffer;
  t.throws(() => roam.sendAll(large), /283115521 bytes/);
  t.throws(() => roam.send(b.node.incarnation, large), /283115521 bytes/);
  t.throws(() => roam.send('nobody', large), /283115521 bytes/);
  t.throws(() => a.node.cluster.bus.listenRoam(b), /one listener/);
});

t.test('nobody listens: it is said once, and the frames count as applied', async (t) => {
  const site = new FakeSite();
  const [a] = nodes(site, 1) as [Ear];
  const b = site.node();
  a.say('one');
  a.say('two');
  a.wait();
  site.time.settle();
  t.strictSame(a.heard, ['applied']);
  t.equal(b.logged.filter((line) => line.includes('moves between regions')).length, 1);
});

t.test('a journal that has promises of a dead node', async (t) => {
  const site = new FakeSite();
  const [a] = nodes(site, 1) as [Ear];
  const [ours, theirs] = [new JournalLinks(), new JournalLinks()];
  const b = site.make(null, ours);
  const c = site.make(null, theirs);
  for (const node of [b, c]) site.register(node);
  site.time.settle();
  const { roam } = b.cluster.bus;
  t.equal(roam.isOwed, true, 'who knows who has died just now');
  site.time.pass(10_000);
  t.equal(roam.isOwed, false);
  theirs.owes(a.node.incarnation, true);
  site.time.settle();
  t.equal(roam.isOwed, false, 'it writes them itself');
  const { incarnation } = a.node;
  site.kill(a.node);
  site.bury(incarnation);
  t.equal(roam.isOwed, true);
  site.time.pass(10_000);
  t.equal(roam.isOwed, true, 'however long that takes');
  theirs.owes(incarnation, false);
  site.time.settle();
  t.equal(roam.isOwed, false);
  const seen: boolean[] = [];
  new Ear(b).onGone = () => seen.push(roam.isOwed);
  site.kill(c);
  site.bury(c.incarnation);
  t.strictSame(seen, [true], 'what a dead one had on its way comes later: at once');
  site.time.pass(5000);
  t.equal(roam.isOwed, true);
  site.time.pass(5000);
  t.equal(roam.isOwed, false);
});
