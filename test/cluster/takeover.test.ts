/** Sessions that move between nodes: who is asked, who waits, and what a will is worth (P3, P5). */
import t from 'tap';
import { FrameType } from '../../src/cluster/ports.ts';
import { makeMessage } from '../../src/core/message.ts';
import { FakeSite, LINK_GRACE_MS, type Opened, type SiteNode } from './fake-site.ts';

/** The session as the core of that node would announce it. */
function adopt(site: FakeSite, node: SiteNode, clientId: string, opened: Opened): void {
  const { epoch, sid } = opened.record;
  node.remote.owns({ ...site.image(node, clientId, epoch), sid });
}

/** Opened there, and announced. */
function owned(site: FakeSite, node: SiteNode, clientId: string): Opened {
  const opened = site.open(node, clientId);
  site.time.settle();
  adopt(site, node, clientId, opened);
  site.time.settle();
  return opened;
}

function two(): { site: FakeSite; a: SiteNode; b: SiteNode } {
  const site = new FakeSite();
  return { site, a: site.node(), b: site.node() };
}

const will = { message: makeMessage(1, 'w', Buffer.from('x')), delayS: 0, dueAtMs: 0 };

t.test('a session nobody owns is opened at once, one of another identity not at all', async (t) => {
  const { site, a } = two();
  const first = site.open(a, 'c');
  t.equal(first.kind, 'waits');
  site.time.settle();
  t.equal(first.kind, 'opened');
  t.equal(first.record.present, false);
  const again = site.open(a, 'c');
  site.time.settle();
  t.equal(again.record.present, true, 'its own: nobody is asked');
  t.equal(site.network.count(FrameType.LET_GO), 0);
  const other = site.open(a, 'c', { identity: 'mallory' });
  site.time.settle();
  t.equal(other.kind, 'foreign');
});

t.test('P3: the owner before lets go first, and what it had sent is applied (P5)', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  const first = owned(site, a, 'c');
  a.remote.holdsLetGo = true;
  const second = site.open(b, 'c');
  site.time.settle();
  t.strictSame(a.remote.letGoes, ['c']);
  t.equal(second.kind, 'waits', 'what it has read is not safe yet');
  // What a has sent of it to c is on its way.
  site.network.cut(a.incarnation, c.incarnation);
  a.remote.want('sent', 2);
  for (const done of a.remote.heldLetGo) done();
  site.time.settle();
  t.equal(second.kind, 'waits');
  site.network.mend(a.incarnation, c.incarnation);
  site.time.settle();
  t.equal(second.kind, 'opened');
  t.ok(second.record.epoch > first.record.epoch);
});

t.test(
  'S19: whoever had it before the one in between lets go, though nobody here knows it',
  async (t) => {
    const site = new FakeSite();
    const [a, b, c] = [site.node(), site.node(), site.node()];
    // It ends with its connection: nobody is told of it.
    site.open(a, 'c', { expiryIntervalS: 0 });
    site.time.settle();
    a.remote.holdsLetGo = true;
    const between = site.open(b, 'c', { expiryIntervalS: 0 });
    site.time.settle();
    const last = site.open(c, 'c', { expiryIntervalS: 0 });
    site.time.settle();
    t.equal(last.kind, 'waits', 'b answers at once, as it never had it');
    t.strictSame(a.remote.letGoes, ['c', 'c'], 'both have asked it');
    t.equal(site.ledger.count('adopted'), 0);
    for (const done of a.remote.heldLetGo.splice(0)) done();
    site.time.settle();
    t.equal(last.kind, 'opened');
    t.equal(between.kind, 'unavailable');
    t.ok(site.ledger.calls.includes(`adopted c ${last.record.epoch}`));
    const next = site.open(b, 'c', { expiryIntervalS: 0 });
    site.time.settle();
    t.equal(next.kind, 'opened');
    t.equal(a.remote.letGoes.length, 2, 'it is not asked any more');
  },
);

t.test('S8: whoever is known to have it lets go, though Redis names somebody else', async (t) => {
  for (const named of ['nobody', 'another'] as const) {
    const site = new FakeSite();
    const [a, b, c] = [site.node(), site.node(), site.node()];
    const first = owned(site, a, 'c');
    a.remote.holdsLetGo = true;
    const { record } = first;
    if (named === 'another') {
      site.open(c, 'c');
      site.time.settle();
    } else {
      // Opened by a node that could not wait any more, and given back: a does not know.
      const image = site.image(a, 'c', record.epoch + 1);
      site.ledger.put({ ...image, sid: record.sid, owner: null });
    }
    const opened = site.open(b, 'c');
    site.time.settle();
    t.equal(opened.kind, 'waits', `${named} is named: a still has it`);
    for (const done of a.remote.heldLetGo.splice(0)) done();
    site.time.settle();
    t.equal(opened.kind, 'opened');
  }
});

t.test(
  'S20: after data loss a session is nobody’s in Redis, and whoever was left is asked',
  async (t) => {
    for (const isHeardOf of [true, false]) {
      const site = new FakeSite();
      const [a, b, c] = [site.node(), site.node(), site.node()];
      const first = site.open(a, 'c');
      site.time.settle();
      adopt(site, a, 'c', first);
      site.time.settle();
      // Its client is gone from a, which waits with its close until all is in the queues.
      const { record } = first;
      const left = { ...site.image(null, 'c', record.epoch), sid: record.sid };
      a.cluster.bus.announceSession(left);
      site.time.settle();
      site.ledger.flush();
      site.ledger.put(left);
      if (isHeardOf) b.membership.links.events.emptied('g2', false);
      else site.ledger.publisherSeq = site.time.wallMs();
      site.time.settle();
      for (const node of [a, c]) node.remote.holdsLetGo = true;
      const second = site.open(b, 'c');
      site.time.settle();
      t.strictSame([a.remote.letGoes, c.remote.letGoes], [['c'], ['c']]);
      for (const done of c.remote.heldLetGo.splice(0)) done();
      site.time.settle();
      t.equal(second.kind, 'waits');
      for (const done of a.remote.heldLetGo.splice(0)) done();
      site.time.settle();
      t.equal(second.kind, 'opened');
      t.equal(b.cluster.counters.takeovers, 0, 'nobody had it');
      // Long after that Redis is believed.
      for (const node of [a, c]) node.remote.holdsLetGo = false;
      site.time.pass(200_000);
      const later = { ...site.image(null, 'c', second.record.epoch), sid: record.sid };
      site.ledger.put(later);
      b.cluster.bus.announceSession(later);
      site.time.settle();
      site.open(c, 'c');
      site.time.settle();
      t.strictSame([a.remote.letGoes, c.remote.letGoes], [['c'], ['c']]);
    }
  },
);

t.test('the old owner waits for its links no longer than the grace', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  owned(site, a, 'c');
  site.network.cut(a.incarnation, c.incarnation);
  a.remote.want('sent', 2);
  const second = site.open(b, 'c');
  site.time.pass(LINK_GRACE_MS - 200);
  t.equal(second.kind, 'waits');
  site.time.pass(500);
  t.equal(second.kind, 'opened');
});

t.test('an owner that dies has let go; one that is dead already is not asked', async (t) => {
  const { site, a, b } = two();
  site.open(a, 'c');
  site.open(a, 'd');
  site.time.settle();
  const { incarnation } = a;
  site.kill(a);
  const asked = site.open(b, 'c');
  site.time.settle();
  t.equal(asked.kind, 'waits');
  site.bury(incarnation);
  t.equal(asked.kind, 'opened', 'with its death');
  const later = site.open(b, 'd');
  site.time.settle();
  t.equal(later.kind, 'opened');
  t.equal(b.cluster.counters.takeovers, 1);
});

t.test('question and answer that a lost link session takes along come again', async (t) => {
  for (const lost of ['question', 'answer'] as const) {
    const { site, a, b } = two();
    owned(site, a, 'c');
    const [from, to] = lost === 'question' ? [b, a] : [a, b];
    if (lost === 'question') site.network.cut(b.incarnation, a.incarnation);
    else a.remote.holdsLetGo = true;
    const second = site.open(b, 'c');
    site.time.settle();
    if (lost === 'answer') {
      site.network.cut(a.incarnation, b.incarnation);
      for (const done of a.remote.heldLetGo.splice(0)) done();
      a.remote.holdsLetGo = false;
      site.time.settle();
    }
    from.mesh.giveUp(to.incarnation);
    site.network.mend(from.incarnation, to.incarnation);
    site.time.settle();
    t.equal(second.kind, 'opened', lost);
  }
});

t.test('requests of one client are answered in order', async (t) => {
  const { site, a, b } = two();
  owned(site, a, 'c');
  a.remote.holdsLetGo = true;
  const second = site.open(b, 'c');
  const third = site.open(b, 'c');
  const other = site.open(b, 'd');
  site.time.settle();
  t.equal(site.ledger.calls.filter((call) => call === 'open c').length, 2, 'the third waits');
  t.equal(other.kind, 'opened', 'others do not');
  a.remote.holdsLetGo = false;
  for (const done of a.remote.heldLetGo) done();
  site.time.settle();
  t.equal(second.kind, 'opened');
  t.equal(third.kind, 'opened');
  t.ok(third.record.epoch > second.record.epoch);
});

t.test('a request of an older epoch than the one held is answered at once', async (t) => {
  const { site, a, b } = two();
  a.remote.owns(site.image(a, 'c', 9_000_000_000_000_000));
  site.time.settle();
  // Redis gives b a lower epoch, as after a failover, and b has not heard of the one a has.
  site.ledger.put(site.image(a, 'c', 5));
  b.remote.sessions.delete('c');
  const opened = site.open(b, 'c');
  site.time.settle();
  t.equal(opened.kind, 'opened');
  t.strictSame(a.remote.letGoes, [], 'the core is not told');
  t.equal(a.remote.sessions.get('c')?.owner, a.incarnation);
});

t.test('an epoch is above what this node knows, whatever Redis has kept', async (t) => {
  const { site, a, b } = two();
  a.remote.owns(site.image(a, 'c', 9_000_000_000_000_000));
  site.time.settle();
  site.ledger.put(site.image(a, 'c', 5));
  const opened = site.open(b, 'c');
  site.time.settle();
  t.equal(opened.record.epoch, 9_000_000_000_000_001);
  t.strictSame(a.remote.letGoes, ['c']);
});

t.test('who has waited long for the owner before does not take it from the next', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  owned(site, a, 'c');
  a.remote.holdsLetGo = true;
  const late = site.open(b, 'c');
  site.time.settle();
  // c takes it from b, which does not hear of that but from what c announces.
  site.network.cut(b.incarnation, c.incarnation);
  const next = site.open(c, 'c');
  site.time.settle();
  site.network.mend(b.incarnation, c.incarnation);
  site.time.settle();
  t.equal(next.kind, 'waits', 'a still has it, though Redis has named b since');
  for (const done of a.remote.heldLetGo) done();
  site.time.settle();
  t.equal(late.kind, 'unavailable');
  t.equal(next.kind, 'opened');
});

t.test(
  'takeover storm: who was told that it is not here does not have it afterwards',
  async (t) => {
    const { site, a, b } = two();
    owned(site, b, 'c');
    b.remote.holdsLetGo = true;
    // a takes it from b; before b has let go, b takes it back from a.
    const atA = site.open(a, 'c');
    site.time.settle();
    t.equal(atA.kind, 'waits');
    const atB = site.open(b, 'c');
    site.time.settle();
    t.strictSame(a.remote.letGoes, ['c']);
    t.equal(atB.kind, 'opened');
    adopt(site, b, 'c', atB);
    for (const done of b.remote.heldLetGo.splice(0)) done();
    site.time.settle();
    t.equal(atA.kind, 'unavailable', 'never two owners');
    t.equal(site.ledger.rows.get('c')?.image.owner, b.incarnation);
  },
);

t.test(
  'a node that is fenced meanwhile answers unavailable and gives the session back',
  async (t) => {
    const { site, a, b } = two();
    owned(site, a, 'c');
    a.remote.holdsLetGo = true;
    const second = site.open(b, 'c');
    site.time.settle();
    b.membership.serves = false;
    for (const done of a.remote.heldLetGo) done();
    site.time.settle();
    t.equal(second.kind, 'unavailable');
    t.equal(site.ledger.rows.get('c')?.image.owner, null, 'or nobody would ever look at it');
    t.equal(site.ledger.count('giveBack'), 1, 'with its claim of the old will');
    const fenced = site.open(b, 'd');
    site.time.settle();
    t.equal(fenced.kind, 'unavailable');
    t.equal(site.ledger.rows.has('d'), false, 'Redis was not even asked');
  },
);

t.test('a node that is buried meanwhile opens nothing under its old name', async (t) => {
  const { site, a, b } = two();
  owned(site, a, 'c');
  a.remote.holdsLetGo = true;
  const waiting = site.open(b, 'c');
  site.time.settle();
  site.ledger.isStuck = true;
  const asking = site.open(b, 'd');
  site.time.settle();
  site.rejoin(b);
  t.equal(waiting.kind, 'unavailable');
  site.ledger.goOn();
  site.time.settle();
  t.equal(asking.kind, 'unavailable');
  t.equal(site.ledger.rows.get('d')?.image.owner, null);
});

t.test('a clean start that is not wanted any more has still ended what was', async (t) => {
  const { site, a, b } = two();
  const before = site.image(a, 'c', 5, 'x');
  a.remote.owns(before);
  site.ledger.put(before);
  site.time.settle();
  a.remote.holdsLetGo = true;
  site.open(b, 'c', { cleanStart: true });
  site.time.settle();
  b.membership.serves = false;
  for (const done of a.remote.heldLetGo) done();
  site.time.settle();
  const made = site.ledger.rows.get('c')!.image;
  t.not(made.sid, before.sid);
  t.match(a.remote.sessions.get('c'), { sid: made.sid, owner: null, subscriptions: [] });
});

t.test('what is opened and given back is nobody’s to all', async (t) => {
  const { site, a, b } = two();
  const c = site.node();
  const before = site.image(a, 'c', 5, 'x');
  a.remote.owns(before);
  site.ledger.put(before);
  site.time.settle();
  t.equal(c.remote.sessions.get('c')?.owner, a.incarnation);
  a.remote.holdsLetGo = true;
  site.open(b, 'c');
  site.time.settle();
  b.membership.serves = false;
  for (const done of a.remote.heldLetGo) done();
  site.time.settle();
  const { epoch } = site.ledger.rows.get('c')!.image;
  t.ok(epoch > 5);
  for (const { remote } of [b, c]) {
    t.match(remote.sessions.get('c'), { sid: before.sid, epoch, owner: null });
    t.equal(remote.sessions.get('c')?.subscriptions.length, before.subscriptions.length);
  }
});

t.test('a close waits for the links, and no longer than the grace', async (t) => {
  const { site, a, b } = two();
  const opened = site.open(a, 'c');
  site.time.settle();
  const { sid, epoch } = opened.record;
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.want('sent', 2);
  a.cluster.bus.close('c', sid, epoch, 3600, -1);
  site.time.settle();
  t.equal(
    site.ledger.count('close'),
    0,
    'or a publisher that comes back elsewhere overtakes itself',
  );
  site.time.pass(LINK_GRACE_MS + 100);
  t.equal(site.ledger.count('close'), 1);
  t.equal(site.ledger.rows.get('c')?.image.owner, null);
});

t.test('opened again at the same node: its close comes first, and does not wait', async (t) => {
  const { site, a, b } = two();
  const first = site.open(a, 'c', { will });
  site.time.settle();
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.want('sent', 2);
  const { sid, epoch } = first.record;
  a.cluster.bus.close('c', sid, epoch, 3600, -1);
  const second = site.open(a, 'c');
  site.time.settle();
  const order = site.ledger.calls.filter((call) => call.endsWith(' c') || call.includes(' c '));
  t.strictSame(
    order.map((call) => call.split(' ')[0]),
    ['open', 'close', 'open'],
  );
  t.equal(second.kind, 'opened');
  t.equal(second.record.oldWill, null, 'it had said goodbye');
});

/** The DISCONNECT of `c` is read at a, and its close waits for a third node's link. */
function goodbyeThatWaits(): ReturnType<typeof two> {
  const nodes = two();
  const { site, a } = nodes;
  const first = site.open(a, 'c', { will });
  site.time.settle();
  adopt(site, a, 'c', first);
  site.time.settle();
  const c = site.node();
  site.network.cut(a.incarnation, c.incarnation);
  a.remote.want('sent', 2);
  const { sid, epoch } = first.record;
  a.remote.owns({ ...a.remote.sessions.get('c')!, owner: null });
  a.cluster.bus.close('c', sid, epoch, 3600, -1);
  return nodes;
}

t.test('hard case 13: who said goodbye leaves no will, however fast it is elsewhere', async (t) => {
  const { site, a, b } = goodbyeThatWaits();
  const second = site.open(b, 'c');
  site.time.pass(LINK_GRACE_MS + 100);
  t.equal(second.kind, 'opened');
  t.not(second.record.oldWill, null, 'Redis did not know');
  t.equal(second.record.oldWill?.isDue, false);

  // One that is cut off has a will that is due.
  const third = site.open(b, 'd', { will });
  site.time.settle();
  adopt(site, b, 'd', third);
  site.time.settle();
  const fourth = site.open(a, 'd');
  site.time.pass(LINK_GRACE_MS + 100);
  t.equal(fourth.record.oldWill?.isDue, true);
});

t.test(
  'hard case 13: nor when the new owner dies before it has heard of the goodbye',
  async (t) => {
    const { site, a, b } = two();
    const first = site.open(a, 'c', { will });
    site.time.settle();
    adopt(site, a, 'c', first);
    site.time.settle();
    const c = site.node();
    site.network.cut(a.incarnation, c.incarnation);
    // Nor is a asked.
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      site.network.cut(from.incarnation, to.incarnation);
    }
    a.remote.want('sent', 2);
    const { sid, epoch } = first.record;
    a.remote.owns({ ...a.remote.sessions.get('c')!, owner: null });
    a.cluster.bus.close('c', sid, epoch, 3600, -1);
    site.open(b, 'c');
    site.time.settle();
    t.not(site.ledger.rows.get('c')!.oldWill, null, 'handed to the new owner');
    site.time.pass(LINK_GRACE_MS + 100);
    t.equal(site.ledger.rows.get('c')!.oldWill, null, 'nobody publishes it after its death');
  },
);

t.test('S25: Redis hears of the goodbye before the new owner has its answer', async (t) => {
  const { site, b } = goodbyeThatWaits();
  const second = site.open(b, 'c');
  site.time.settle();
  t.equal(second.kind, 'waits', 'until c has what was sent before');
  t.equal(site.ledger.count('close'), 0);
  t.equal(site.ledger.rows.get('c')!.oldWill, null, 'were b to die now nobody would publish it');
});

t.test('an open that waits for a close Redis does not take is given up', async (t) => {
  const { site, a } = two();
  const first = site.open(a, 'c');
  site.time.settle();
  site.ledger.isStuck = true;
  const { sid, epoch } = first.record;
  a.cluster.bus.close('c', sid, epoch, 3600, -1);
  const second = site.open(a, 'c');
  site.time.pass(4000);
  t.equal(second.kind, 'waits');
  site.time.pass(2000);
  t.equal(second.kind, 'unavailable');
  site.ledger.goOn();
  site.time.settle();
  t.equal(second.kind, 'unavailable');
  const third = site.open(a, 'c');
  site.time.settle();
  t.equal(third.kind, 'opened');
});

t.test('who has taken a will and is no member is dead, unless nobody can say', async (t) => {
  const { site, a, b } = two();
  const { ledger } = site;
  t.equal(ledger.isDead(a.incarnation), false);
  t.equal(ledger.isDead(b.incarnation), false);
  t.equal(ledger.isDead('ff'.repeat(16)), true, 'whoever has served was known to all who serve');
  b.membership.serves = false;
  t.equal(ledger.isDead('ff'.repeat(16)), false, 'it may have come since');
});

t.test('a node that drains opens nothing', async (t) => {
  const { site, a } = two();
  a.cluster.drain();
  const opened = site.open(a, 'c');
  site.time.settle();
  t.equal(opened.kind, 'unavailable');
});

t.test('a session that is known and that Redis has not: was Redis emptied?', async (t) => {
  const { site, a, b } = two();
  const first = owned(site, a, 'c');
  b.remote.sessions.set('c', {
    ...site.image(null, 'c', first.record.epoch),
    sid: first.record.sid,
  });
  // As FLUSHALL does, which no node has noticed yet.
  site.ledger.flush();
  b.membership.isSameRedis = false;
  const second = site.open(b, 'c');
  site.time.settle();
  t.equal(b.membership.confirms, 1);
  t.match(second.record, { present: true, sid: first.record.sid }, 'written again, then opened');

  site.ledger.flush();
  b.membership.isSameRedis = true;
  const third = site.open(b, 'c');
  site.time.settle();
  t.equal(third.record.present, false, 'it has ended, and this node has not heard of it yet');

  site.ledger.flush();
  b.membership.isSameRedis = null;
  const fourth = site.open(b, 'c');
  site.time.settle();
  t.equal(fourth.kind, 'unavailable', 'nobody can say');
  t.ok(site.open(b, 'new').kind === 'waits' && b.membership.confirms === 3, 'nobody knows it');
});

t.test(
  'an epoch is never given again, though Redis has forgotten the session it was of',
  async (t) => {
    const { site, a, b } = two();
    const first = owned(site, a, 'c');
    // The clock of Redis and of both nodes stands still.
    const { sid, epoch } = first.record;
    a.cluster.bus.announceEnd('c', sid, epoch);
    a.cluster.bus.close('c', sid, epoch, 0, -1);
    site.time.settle();
    site.ledger.rows.delete('c');
    for (const node of [a, b]) {
      const again = site.open(node, 'c');
      site.time.settle();
      t.ok(again.record.epoch > epoch, node.nodeId);
      site.ledger.rows.delete('c');
    }
  },
);

t.test('a CONNECT nobody waits for any more is not carried out', async (t) => {
  const { site, a, b } = two();
  const before = owned(site, a, 'c');
  site.ledger.isStuck = true;
  const { sid, epoch } = before.record;
  a.cluster.bus.close('c', sid, epoch, 3600, -1);
  let isWanted = true;
  const given = site.open(a, 'c', { cleanStart: true, isWanted: () => isWanted });
  site.time.settle();
  t.equal(given.kind, 'waits', 'for the close');
  isWanted = false;
  site.ledger.goOn();
  site.time.settle();
  t.equal(given.kind, 'unavailable');
  const there = site.open(b, 'c');
  site.time.settle();
  t.equal(there.record.present, true, 'the session is as it was');
});

t.test(
  'an owner whose session was taken for nobody lets go, and no answer is waited for',
  async (t) => {
    const { site, a, b } = two();
    const first = owned(site, a, 'c');
    // The fake ledger belongs to the node that was made last: b.
    site.ledger.onSuperseded(a.incarnation, 'c', first.record.epoch + 1);
    site.time.settle();
    t.strictSame(a.remote.letGoes, ['c']);
    t.equal(b.cluster.state().opening, 0);
  },
);
