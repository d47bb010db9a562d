// The directory of sessions over a table that follows Cassandra's rules: what is written when, that nothing
// waits for it, and that no home overwrites what another region has claimed since (ADR 0023).
import t from 'tap';
import type { Awaited } from '../../../src/core/awaited.ts';
import { bridgeIdOf } from '../../../src/core/bridge-names.ts';
import { linkIdOf } from '../../../src/core/link-names.ts';
import { Ownership } from '../../../src/core/ownership.ts';
import type { SubscriptionRecord } from '../../../src/core/ports.ts';
import { Session, Subscription } from '../../../src/core/session.ts';
import type { ListedSession } from '../../../src/core/session-directory.ts';
import { NEVER_EXPIRES } from '../../../src/core/sessions.ts';
import {
  CassandraDirectory,
  DELAY_MS,
  ENDED_MAX,
  LISTED_MS,
  LOOKUP_MS,
} from '../../../src/store/cassandra/cassandra-directory.ts';
import { DirectoryCounters } from '../../../src/store/cassandra/directory-counters.ts';
import { decodeListed } from '../../../src/store/cassandra/listed-record.ts';
import { HybridClock } from '../../../src/util/hybrid-clock.ts';
import { LogRecorder } from '../../contract/store-recorder.ts';
import { ManualTime } from '../../core/manual-time.ts';
import { FakeTable } from './fake-table.ts';

const SOON_MS = 2 * DELAY_MS;

class World {
  readonly time: ManualTime = new ManualTime();
  readonly table: FakeTable;

  constructor() {
    const { time } = this;
    this.table = new FakeTable({
      later: (task) => time.nextTurn(task),
      wallMs: () => time.wallMs(),
    });
  }

  home(of: string): string | null {
    return this.listed(of)?.home ?? null;
  }

  listed(clientId: string): ListedSession | null {
    const row = this.table.row(clientId);
    return row === null ? null : decodeListed(clientId, row.record!, row.timeUs);
  }
}

interface FindAnswer {
  found: ListedSession | null | undefined;
  isSure: boolean | undefined;
}

class Region {
  readonly counters: DirectoryCounters = new DirectoryCounters();
  readonly directory: CassandraDirectory;
  readonly log: LogRecorder = new LogRecorder();
  readonly #world: World;
  #number = 1;

  constructor(world: World, region: string, skewMs = 0) {
    const { time, table } = world;
    this.#world = world;
    this.directory = new CassandraDirectory({
      region,
      moves: true,
      table,
      clock: time,
      scheduler: time,
      hybridClock: new HybridClock(() => time.wallMs() + skewMs, 60_000),
      log: this.log,
      counters: this.counters,
      inFlightMax: 4,
    });
    this.directory.start();
  }

  session(clientId: string, expiryIntervalS = 60): Session {
    const session = new Session(clientId, this.#number++, 'somebody', 'tenant');
    session.durable = true;
    session.version = 5;
    session.expiryIntervalS = expiryIntervalS;
    return session;
  }

  /** A client has connected. */
  claim(clientId: string, expiryIntervalS = 60): Session {
    const session = this.session(clientId, expiryIntervalS);
    this.directory.claimed(session);
    return session;
  }

  subscribe(session: Session, filter: string): void {
    session.subscriptions ??= new Map();
    const subscription = new Subscription(session, filter, 2, true, false, 1, [7], null);
    session.subscriptions.set(filter, subscription);
    this.directory.changed(session);
  }

  leave(session: Session): void {
    session.disconnectedAtMs = this.#world.time.wallMs();
    this.directory.left(session);
  }

  end(session: Session): void {
    session.ended = true;
    this.directory.ended(session);
  }

  /** Undefined: not answered yet. */
  find(clientId: string): FindAnswer {
    const answer: FindAnswer = { found: undefined, isSure: undefined };
    this.directory.find(clientId, (found, isSure) => {
      answer.found = found;
      answer.isSure = isSure;
    });
    return answer;
  }
}

t.test('a session is listed with all that another region needs, in one write', (t) => {
  const world = new World();
  const eu = new Region(world, 'eu');
  const session = eu.claim('one');
  for (const clientId of [linkIdOf('us'), bridgeIdOf('plant')]) {
    const own = eu.claim(clientId);
    eu.subscribe(own, 'a');
    eu.leave(own);
    eu.end(own);
  }
  eu.subscribe(session, 'a/#');
  eu.subscribe(session, '$share/g/b');
  t.equal(world.table.writes.length, 0, 'nothing waits for it');
  world.time.pass(SOON_MS);
  t.equal(world.table.writes.length, 1);
  t.match(world.table.writes[0], { ttlS: 0 }, 'its client is there: it does not end');
  const listed = world.listed('one')!;
  const { home, listing, record } = listed;
  const { identity, tenant, expiryIntervalS, protocolVersion, disconnectedAtMs, will } = record;
  t.strictSame([home, identity, tenant, expiryIntervalS], ['eu', 'somebody', 'tenant', 60]);
  t.strictSame([protocolVersion, disconnectedAtMs, will], [5, 0, null]);
  t.ok(listing.epoch > 0);
  const wanted: Partial<SubscriptionRecord> = {
    qos: 2,
    noLocal: true,
    retainHandling: 1,
    subscriptionId: 7,
  };
  t.match(record.subscriptions, [
    { filter: 'a/#', ...wanted },
    { filter: '$share/g/b', ...wanted },
  ]);
  t.equal(eu.directory.waiting, 0);
  t.equal(eu.counters.coalesced, 2);
  t.end();
});

t.test('a row ends with its session', (t) => {
  const world = new World();
  const eu = new Region(world, 'eu');
  const leaves = eu.claim('leaves');
  const ends = eu.claim('ends');
  const stays = eu.claim('stays', NEVER_EXPIRES);
  world.time.pass(SOON_MS);
  const { length } = world.table.writes;
  eu.leave(leaves);
  eu.leave(stays);
  eu.end(ends);
  world.time.pass(SOON_MS);
  t.equal(world.table.writes.length - length, 1, 'what never ends is not written again');
  t.equal(world.home('ends'), null);
  t.equal(world.home('leaves'), 'eu');
  t.equal(world.listed('leaves')!.record.disconnectedAtMs, leaves.disconnectedAtMs);
  world.time.pass(61_000, 1000);
  t.equal(world.home('leaves'), null, 'by itself, though its home may be gone');
  t.equal(world.home('stays'), 'eu');

  const again = eu.claim('ends');
  eu.end(again);
  eu.claim('ends');
  world.time.pass(SOON_MS);
  t.equal(world.home('ends'), 'eu', 'one that began anew is not removed with the old one');
  t.end();
});

t.test('found elsewhere', (t) => {
  const world = new World();
  const eu = new Region(world, 'eu');
  const us = new Region(world, 'us');
  eu.subscribe(eu.claim('one'), 'a');
  const left = eu.claim('left', 1);
  world.time.pass(SOON_MS);
  eu.leave(left);
  world.time.pass(SOON_MS);

  const [found, own, none] = [us.find('one'), eu.find('one'), us.find('nobody')];
  t.equal(found.found, undefined, 'never from inside the call');
  world.time.settle();
  t.match(found.found, { home: 'eu', record: { subscriptions: [{ filter: 'a' }] } });
  t.strictSame(own, { found: null, isSure: false }, 'what is not here any more may be elsewhere');
  t.strictSame(none, { found: null, isSure: true });
  t.strictSame([us.counters.lookups, us.counters.found, us.counters.unanswered], [2, 1, 0]);

  // The row is there a little longer than the session.
  const row = world.table.row('left')!;
  world.time.pass(1000);
  world.table.put('left', row.record!, row.timeUs + 1);
  const late = us.find('left');
  world.time.settle();
  t.equal(late.found, null, 'it has ended');

  world.table.put('one', Buffer.from('damaged'), row.timeUs + 10_000_000);
  const damaged = us.find('one');
  world.time.settle();
  t.equal(damaged.found, null);
  t.match(us.log.lines, [{ message: 'directory of sessions' }]);
  t.end();
});

t.test('the last claim is the home, whatever the one before writes later', (t) => {
  const world = new World();
  const eu = new Region(world, 'eu');
  const us = new Region(world, 'us');
  const there = eu.claim('one');
  world.time.pass(SOON_MS);
  const answer = us.find('one');
  world.time.settle();
  const here = us.session('one');
  here.listing = { ...answer.found!.listing, epoch: answer.found!.listing.epoch + 1 };
  us.directory.claimed(here);
  world.time.pass(SOON_MS);
  t.match(world.listed('one'), { home: 'us' });
  t.ok(world.listed('one')!.listing.epoch > there.listing!.epoch, 'the later CONNECT is above');

  eu.subscribe(there, 'late');
  world.time.pass(SOON_MS);
  t.equal(world.home('one'), 'us', 'a change');
  eu.leave(there);
  world.time.pass(SOON_MS);
  t.equal(world.home('one'), 'us', 'a connection that ends late');
  eu.end(there);
  world.time.pass(SOON_MS);
  t.equal(world.home('one'), 'us', 'the end of what it had');
  eu.claim('one');
  world.time.pass(SOON_MS);
  t.equal(world.home('one'), 'eu', 'until the client comes back');
  t.end();
});

t.test('a claim stands above one of a clock that is ahead', (t) => {
  const world = new World();
  const eu = new Region(world, 'eu', 5000);
  const us = new Region(world, 'us');
  eu.claim('one');
  world.time.pass(SOON_MS);
  const answer = us.find('one');
  world.time.settle();
  const here = us.session('one');
  here.listing = answer.found!.listing;
  us.directory.claimed(here);
  world.time.pass(SOON_MS);
  t.equal(world.home('one'), 'us');
  t.end();
});

t.test('after a restart', (t) => {
  const world = new World();
  new Region(world, 'eu').claim('stays');
  new Region(world, 'eu').claim('ends');
  new Region(world, 'eu').claim('moves');
  world.time.pass(SOON_MS);
  new Region(world, 'us').claim('moves');
  world.time.pass(SOON_MS);

  const eu = new Region(world, 'eu');
  const unknown = eu.session('unknown');
  eu.leave(unknown);
  for (const clientId of ['stays', 'moves']) eu.leave(eu.session(clientId));
  for (const clientId of ['ends', 'never']) eu.end(eu.session(clientId));
  const late = eu.session('moves');
  world.time.pass(SOON_MS);
  world.time.pass(SOON_MS);
  t.ok(world.table.row('stays')!.expires, 'whose client was there when it stopped ends now');
  t.equal(world.home('ends'), null);
  t.equal(world.home('moves'), 'us');
  t.equal(world.home('unknown'), 'eu', 'what nobody has listed is listed now');
  t.ok(eu.directory.isListed(unknown));
  t.equal(world.home('never'), null, 'but not by its end');
  const us = new Region(world, 'us');
  us.claim('unknown');
  eu.subscribe(unknown, 'a');
  world.time.pass(SOON_MS);
  t.equal(world.home('unknown'), 'us', 'below every claim');
  eu.end(late);
  world.time.pass(SOON_MS);
  t.equal(world.home('moves'), 'us');
  t.equal(eu.directory.waiting, 0);
  t.end();
});

t.test('Cassandra is away', (t) => {
  const world = new World();
  const { table, time } = world;
  const eu = new Region(world, 'eu');
  const us = new Region(world, 'us');
  table.isUp = false;
  const gone = eu.claim('gone');
  const one = eu.claim('one');
  for (let i = 0; i < 100; i++) eu.subscribe(one, `a/${i}`);
  eu.end(gone);
  time.pass(10_000, 500);
  t.strictSame([table.writes.length, eu.directory.waiting], [0, 2], 'one of each waits');
  const down = us.find('one');
  time.settle();
  t.strictSame(down, { found: null, isSure: false }, 'a CONNECT is answered at once');

  table.isUp = true;
  table.fate = () => 'fails';
  time.pass(3000, 25);
  t.ok(table.writes.length < 15, `with pauses: ${table.writes.length} writes`);
  t.ok(eu.counters.failures > 0);
  table.fate = (call) => (call === 'write' ? 'late' : 'done');
  time.pass(10_000, 25);
  t.equal(eu.directory.waiting > 0, true, 'what may not have been done is repeated');
  table.fate = () => 'done';
  time.pass(10_000, 25);
  t.equal(world.listed('one')!.record.subscriptions.length, 100);
  t.strictSame([world.home('gone'), eu.directory.waiting], [null, 0]);
  t.strictSame(table.doubled, [], 'one call for a session at a time');

  table.fate = () => 'held';
  const slow = us.find('one');
  time.pass(LOOKUP_MS - 50, 25);
  t.equal(slow.found, undefined);
  time.pass(100, 25);
  t.equal(slow.found, null, 'a CONNECT waits so long and no longer');
  table.release();
  time.settle();
  t.equal(slow.found, null);
  t.strictSame([us.counters.unanswered, us.counters.found], [2, 0]);

  table.fate = () => 'final';
  eu.subscribe(one, 'b');
  time.pass(SOON_MS);
  t.strictSame([eu.counters.rejected, eu.directory.waiting], [1, 0]);
  t.end();
});

t.test('ends that wait are bounded', (t) => {
  const world = new World();
  world.table.isUp = false;
  const eu = new Region(world, 'eu');
  for (let i = 0; i <= ENDED_MAX; i++) {
    const session = eu.session(`c${i}`);
    session.ended = true;
    eu.directory.ended(session);
  }
  t.strictSame([eu.directory.waiting, eu.counters.dropped], [ENDED_MAX, 1]);
  t.end();
});

t.test('a stop writes what waits at once, and answers whoever asks', (t) => {
  const world = new World();
  const { table, time } = world;
  const eu = new Region(world, 'eu');
  const one = eu.claim('one');
  table.fate = () => 'held';
  time.pass(SOON_MS);
  eu.leave(one);
  for (let i = 0; i < 20; i++) eu.claim(`more-${i}`);
  let isFlushed = false;
  eu.directory.flush(() => {
    isFlushed = true;
  });
  table.fate = () => 'done';
  time.pass(50, 25);
  t.notOk(isFlushed, 'not before its call is over');
  table.release();
  time.pass(300, 25);
  t.ok(isFlushed);
  t.ok(table.row('one')!.expires);
  t.equal(world.home('more-19'), 'eu');
  table.fate = () => 'held';
  const asked = new Region(world, 'us');
  const answer = asked.find('one');
  asked.directory.stop();
  t.equal(answer.found, null);
  t.end();
});

t.test('two nodes of a datacenter: who has it writes, whatever their clocks say', (t) => {
  const world = new World();
  const one = new Region(world, 'eu', 5000);
  const two = new Region(world, 'eu', -5000);
  const epochMs = world.time.wallMs();
  const atOne = one.session('dc');
  atOne.ownership = new Ownership('1'.repeat(16), epochMs, 0, 'one');
  one.directory.claimed(atOne, epochMs * 1000);
  one.subscribe(atOne, 'a');
  world.time.pass(SOON_MS);
  one.subscribe(atOne, 'b');
  // The other node takes it before that is written.
  const atTwo = two.session('dc');
  atTwo.ownership = new Ownership('1'.repeat(16), epochMs + 1, 0, 'two');
  two.directory.claimed(atTwo, (epochMs + 1) * 1000);
  two.subscribe(atTwo, 'c');
  one.directory.released(atOne);
  atOne.ownership = new Ownership('1'.repeat(16), epochMs + 1, 0, 'two');
  one.directory.left(atOne);
  world.time.pass(SOON_MS);
  const filters = (): unknown => world.listed('dc')?.record.subscriptions.map((of) => of.filter);
  t.strictSame(filters(), ['c']);
  t.equal(world.table.writes.length, 2, 'what the first had to say is over');
  t.equal(one.directory.waiting, 0);

  // The other one dies; the first sees to what it had.
  atOne.ownership.owner = null;
  one.leave(atOne);
  world.time.pass(SOON_MS);
  t.match(world.table.writes.at(-1), { ttlS: 60 }, 'its end has begun');
  t.equal(world.home('dc'), 'eu');
  two.subscribe(atTwo, 'late');
  world.time.pass(SOON_MS);
  t.ok(world.listed('dc')!.record.disconnectedAtMs > 0, 'what a dead node had to say is older');
  const back = two.session('dc');
  back.ownership = new Ownership('1'.repeat(16), epochMs + 2, 0, 'three');
  two.directory.claimed(back, (epochMs + 2) * 1000);
  world.time.pass(SOON_MS);
  t.match(world.table.writes.at(-1), { ttlS: 0 });
  t.equal(world.listed('dc')!.record.disconnectedAtMs, 0, 'and its client is there again');
  // A clean start at the node whose clock is behind.
  two.directory.forget('dc', (epochMs + 3) * 1000);
  world.time.pass(SOON_MS);
  t.equal(world.home('dc'), null);
  t.end();
});

t.test('a write fails when another node has the session by then', (t) => {
  const world = new World();
  const one = new Region(world, 'eu');
  const session = one.session('dc');
  session.ownership = new Ownership('1'.repeat(16), 7, 0, 'one');
  one.directory.claimed(session, 7000);
  world.table.fate = () => 'fails';
  world.time.pass(DELAY_MS + 25);
  one.directory.released(session);
  world.table.fate = () => 'done';
  world.time.pass(SOON_MS);
  t.equal(world.home('dc'), null, 'it is the other one that writes');
  t.equal(one.directory.waiting, 0);
  t.end();
});

t.test('begun here after a row of another region was found, it is above that', (t) => {
  const world = new World();
  const us = new Region(world, 'us', 5000);
  us.leave(us.claim('strayed'));
  world.time.pass(SOON_MS);
  const eu = new Region(world, 'eu');
  const answer = eu.find('strayed');
  world.time.pass(25);
  t.equal(answer.found?.home, 'us');
  const session = eu.session('strayed');
  eu.directory.claimed(session, world.time.wallMs() * 1000);
  world.time.pass(SOON_MS);
  t.equal(world.home('strayed'), 'eu');
  t.end();
});

/** An answer to a client. */
class Answer implements Awaited {
  unsafeCount = 0;
  waiter = { messageSafe: (): void => void this.times++ };
  failed = false;
  times = 0;
  readonly session: Session;

  /** It has subscribed. */
  constructor(region: Region, session: Session, filter: string) {
    this.session = session;
    region.subscribe(session, filter);
    region.directory.awaitListed(session, this);
  }

  get isHeld(): boolean {
    return this.unsafeCount > 0;
  }
}

t.test('what a client is told of its subscriptions waits until that is listed', (t) => {
  const world = new World();
  const eu = new Region(world, 'eu');
  const session = eu.claim('one');
  const first = new Answer(eu, session, 'a');
  const second = new Answer(eu, session, 'b');
  t.ok(first.isHeld && second.isHeld);
  world.table.fate = () => 'held';
  world.time.settle();
  t.equal(world.table.writes.length, 1, 'at once, with all that has come in that turn');
  const third = new Answer(eu, session, 'c');
  world.table.fate = () => 'done';
  world.table.release();
  world.time.settle();
  t.strictSame([first.times, second.times, third.times], [1, 1, 1]);
  t.equal(world.table.writes.length, 2, 'a later one is in a row of its own');
  t.equal(world.listed('one')!.record.subscriptions.length, 3);
  const fourth = new Answer(eu, session, 'd');
  world.table.fate = () => 'fails';
  world.time.settle();
  t.strictSame(
    [fourth.isHeld, eu.counters.late],
    [false, 0],
    'a write that fails is not waited for',
  );
  t.end();
});

t.test('a client does not wait for long, nor does the next one', (t) => {
  const world = new World();
  const eu = new Region(world, 'eu');
  world.table.fate = () => 'held';
  const one = new Answer(eu, eu.claim('one'), 'a');
  world.time.pass(LISTED_MS - 50);
  t.ok(one.isHeld);
  world.time.pass(100);
  t.strictSame([one.isHeld, eu.counters.late], [false, 1]);
  const two = new Answer(eu, eu.claim('two'), 'a');
  t.strictSame([two.isHeld, eu.counters.late], [false, 2], 'as nobody answers');
  world.table.fate = () => 'done';
  world.table.release();
  world.time.settle();
  t.equal(one.times, 1, 'it is told once');
  t.ok(new Answer(eu, eu.claim('three'), 'a').isHeld, 'it answers again');
  world.table.isUp = false;
  t.notOk(new Answer(eu, eu.claim('four'), 'a').isHeld);
  eu.directory.stop();
  t.equal(world.listed('three'), null);
  t.end();
});

t.test('who waits for rows when too many are under way, or nothing is to be written', (t) => {
  const world = new World();
  const eu = new Region(world, 'eu');
  world.table.fate = () => 'held';
  const held = ['a', 'b', 'c', 'd'].map((id) => new Answer(eu, eu.claim(id), 'x'));
  world.time.settle();
  t.ok(held.every(({ isHeld }) => isHeld));
  t.notOk(new Answer(eu, eu.claim('e'), 'x').isHeld, 'as many as there may be are');
  const answer = held[0]!;
  eu.directory.awaitListed(answer.session, answer);
  t.equal(answer.unsafeCount, 1, 'nothing of it has changed since');
  t.end();
});
