/** Redis that came back empty, or as another server: sessions are written again (ADR 0010, hard case 12). */
import t from 'tap';
import { FakeSite, type SiteNode } from './fake-site.ts';

function two(): { site: FakeSite; a: SiteNode; b: SiteNode } {
  const site = new FakeSite();
  return { site, a: site.node(), b: site.node() };
}

function own(site: FakeSite, node: SiteNode, clientId: string, epoch: number): void {
  const image = site.image(node, clientId, epoch, 'x');
  site.ledger.put(image);
  node.remote.owns(image);
}

/** Everything in Redis is gone, and every node finds out. */
function flush(site: FakeSite): void {
  site.ledger.flush();
  site.generation = 'g2';
  site.nodes.forEach(({ membership }, index) => {
    membership.secret = 'secret2';
    membership.links.events.emptied('g2', index === 0);
  });
}

t.test('owners write theirs, one node writes what nobody owns', async (t) => {
  const { site, a, b } = two();
  for (let i = 0; i < 200; i++) own(site, a, `a${i}`, 5);
  own(site, b, 'b', 6);
  const away = site.image(null, 'away', 7, 'y');
  a.remote.applySession(away);
  b.remote.applySession(away);
  site.time.settle();
  a.remote.queues.set('a0', { tailSeq: 41, messages: 7 });
  b.remote.queues.set('b', { tailSeq: 3, messages: 2 });
  flush(site);
  t.equal(a.cluster.state().isReasserting, true);
  site.time.settle();
  t.equal(site.ledger.rows.size, 202);
  t.equal(site.ledger.rows.get('b')?.image.owner, b.incarnation);
  t.equal(site.ledger.rows.get('away')?.image.owner, null);
  t.ok(site.ledger.calls.includes(`assert a0 41 ${a.incarnation}`), 'positions go on');
  t.equal(site.ledger.calls.filter((call) => call.startsWith('assert away')).length, 1);
  t.equal(a.cluster.counters.redisLostMessages, 7);
  t.equal(b.cluster.counters.redisLostMessages, 2);
  t.ok(a.logged.includes('Redis was empty: queued messages are lost'));
  t.equal(a.mesh.generation, 'g2');
  t.equal(a.mesh.secret, 'secret2');
  t.equal(a.cluster.state().isReasserting, false);
});

t.test(
  'the one who was to write them dies: the next one does, and counts nothing twice',
  async (t) => {
    const { site, a, b } = two();
    own(site, b, 'b', 6);
    b.remote.queues.set('b', { tailSeq: 3, messages: 2 });
    const away = site.image(null, 'away', 7);
    b.remote.applySession(away);
    site.time.settle();
    site.ledger.flush();
    b.membership.links.events.emptied('g2', false);
    site.time.settle();
    t.equal(site.ledger.rows.has('away'), false);
    const { incarnation } = a;
    site.kill(a);
    site.bury(incarnation);
    b.membership.links.events.emptied('g2', true);
    site.time.settle();
    t.equal(site.ledger.rows.has('away'), true);
    t.equal(b.cluster.counters.redisLostMessages, 2);
  },
);

t.test('Redis goes away in the middle: it is gone on with, as things are by then', async (t) => {
  const { site, a } = two();
  for (let i = 0; i < 100; i++) own(site, a, `a${i}`, 5);
  site.time.settle();
  site.ledger.isAway = true;
  flush(site);
  site.time.settle();
  t.equal(site.ledger.rows.size, 0);
  a.remote.change('a1', ['z']);
  site.ledger.isAway = false;
  site.time.pass(2000);
  t.equal(site.ledger.rows.size, 100);
  t.equal(site.ledger.rows.get('a1')?.image.counter, 2);
});

t.test('a session that ended meanwhile is not written', async (t) => {
  const { site, a } = two();
  own(site, a, 'a', 5);
  site.time.settle();
  site.ledger.isAway = true;
  flush(site);
  site.time.settle();
  a.cluster.bus.announceEnd('a', 'sid-a', 5);
  a.remote.sessions.delete('a');
  site.ledger.isAway = false;
  site.time.pass(2000);
  t.equal(site.ledger.rows.size, 0);
});

t.test('at most sixty-four are written at a time', async (t) => {
  const { site, a } = two();
  for (let i = 0; i < 300; i++) own(site, a, `a${i}`, 5);
  site.time.settle();
  site.ledger.calls.length = 0;
  site.ledger.isStuck = true;
  flush(site);
  site.time.settle();
  t.equal(site.ledger.count('assert'), 64);
  site.ledger.goOn();
  site.time.settle();
  t.equal(site.ledger.rows.size, 300);
});

t.test('a client that comes before its session was written finds it all the same', async (t) => {
  const { site, a, b } = two();
  const away = site.image(null, 'away', 7, 'y');
  for (const node of [a, b]) node.remote.applySession(away);
  own(site, a, 'held', 5);
  site.time.settle();
  site.ledger.flush();
  // b knows; a, which is to write what nobody owns, does not know yet.
  b.membership.links.events.emptied('g2', false);
  const opened = site.open(b, 'away');
  const taken = site.open(b, 'held');
  site.time.settle();
  t.equal(opened.record.present, true);
  t.equal(opened.record.subscriptions.length, 1);
  t.equal(taken.record.present, true);
  t.strictSame(a.remote.letGoes, ['away', 'held'], 'all are asked, also of what is nobody’s');
  site.time.pass(61_000, 5000);
  site.ledger.calls.length = 0;
  site.open(b, 'away');
  site.time.settle();
  t.equal(site.ledger.count('assert'), 0, 'for a while only');
});

t.test('S7: Redis is emptied while a session is opened: it is there all the same', async (t) => {
  const { site, a, b } = two();
  const away = site.image(null, 'away', 7, 'y');
  for (const node of [a, b]) node.remote.applySession(away);
  site.ledger.flush();
  // b has registered again when its open is answered: Redis is the one it knows by then.
  site.ledger.isStuck = true;
  const opened = site.open(b, 'away');
  site.time.settle();
  b.membership.links.events.emptied('g2', false);
  site.ledger.goOn();
  site.time.settle();
  t.equal(opened.record.present, true);
  t.equal(opened.record.subscriptions.length, 1);
});

t.test('S7: Redis is emptied while the owner before lets go: it is opened again', async (t) => {
  const { site, a, b } = two();
  own(site, a, 'held', 5);
  site.time.settle();
  a.remote.holdsLetGo = true;
  const opened = site.open(b, 'held');
  site.time.settle();
  site.ledger.flush();
  b.membership.links.events.emptied('g2', false);
  for (const done of a.remote.heldLetGo.splice(0)) done();
  a.remote.holdsLetGo = false;
  site.time.settle();
  t.equal(opened.record.present, true);
  t.match(site.ledger.rows.get('held')?.image, {
    owner: b.incarnation,
    epoch: opened.record.epoch,
  });
});

t.test('a session that cannot be written first is not opened as a new one', async (t) => {
  const { site, a, b } = two();
  const away = site.image(null, 'away', 7, 'y');
  for (const node of [a, b]) node.remote.applySession(away);
  site.ledger.flush();
  b.membership.links.events.emptied('g2', false);
  site.ledger.isAway = true;
  const opened = site.open(b, 'away');
  site.time.settle();
  t.equal(opened.kind, 'unavailable');
});

t.test('S7: Redis was empty and no lease has lasted: what is remembered is written', async (t) => {
  for (const isAlone of [true, false]) {
    const { site, a, b } = two();
    const away = site.image(null, 'away', 7, 'y');
    for (const node of [a, b]) node.remote.applySession(away);
    own(site, a, 'held', 5);
    site.time.settle();
    site.ledger.flush();
    site.generation = 'g2';
    // Others who were there all the time know better what there is.
    if (isAlone) site.kill(b);
    if (isAlone) site.bury(b.incarnation);
    site.ledger.calls.length = 0;
    site.rejoin(a);
    site.time.settle();
    t.equal(a.isReady, true);
    t.strictSame([...site.ledger.rows.keys()].sort(), isAlone ? ['away', 'held'] : []);
    if (isAlone) t.match(site.ledger.rows.get('held')?.image, { owner: null, epoch: 5 });
  }
});

t.test('who joined while Redis was empty hears of what was written since', async (t) => {
  const { site, a, b } = two();
  const away = site.image(null, 'away', 7, 'y');
  for (const node of [a, b]) node.remote.applySession(away);
  site.ledger.flush();
  const c = site.node();
  t.equal(c.remote.sessions.has('away'), false);
  a.membership.links.events.emptied('g2', true);
  site.time.settle();
  t.equal(c.remote.sessions.get('away')?.subscriptions.length, 1);
});

t.test(
  'hard case 12: another server: owners assert themselves, nothing counts as lost',
  async (t) => {
    const { site, a, b } = two();
    own(site, a, 'a', 9);
    own(site, b, 'b', 9);
    a.remote.queues.set('a', { tailSeq: 41, messages: 7 });
    const away = site.image(null, 'away', 7);
    for (const node of [a, b]) node.remote.applySession(away);
    site.time.settle();
    // The new server had not heard of the last opening of a.
    site.ledger.rows.clear();
    site.ledger.put(site.image(b, 'a', 4));
    site.ledger.put(site.image(b, 'b', 9));
    for (const node of [a, b]) node.cluster.redisUp(true);
    site.time.settle();
    t.equal(site.ledger.rows.get('a')?.image.owner, a.incarnation);
    t.equal(site.ledger.rows.get('a')?.image.epoch, 9);
    t.equal(site.ledger.rows.has('away'), true);
    t.equal(site.ledger.calls.filter((call) => call.startsWith('assert away')).length, 1);
    t.equal(a.cluster.counters.redisLostMessages, 0);
    site.ledger.calls.length = 0;
    a.cluster.redisUp(false);
    site.time.settle();
    t.equal(site.ledger.count('assert'), 0, 'the same server has what it had');
  },
);

t.test('S7: what is left, or whose owner dies, is written by those who know it', async (t) => {
  const { site, a, b } = two();
  own(site, a, 'left', 5);
  own(site, a, 'died', 5);
  site.time.settle();
  site.ledger.flush();
  // b has been through with what is nobody's.
  b.membership.links.events.emptied('g2', true);
  site.time.settle();
  t.equal(site.ledger.rows.size, 0);
  a.remote.owns({ ...a.remote.sessions.get('left')!, owner: null });
  site.time.pass(200);
  t.equal(site.ledger.rows.get('left')?.image.owner, null);
  t.equal(site.ledger.rows.has('died'), false);
  const { incarnation } = a;
  site.kill(a);
  site.bury(incarnation);
  site.time.pass(200);
  t.equal(site.ledger.rows.get('died')?.image.owner, null);
});

t.test('nobody’s is what only its owner says of a session', async (t) => {
  const { site, a, b } = two();
  const c = site.node();
  own(site, a, 'c', 5);
  site.time.settle();
  // As b writes what it remembers.
  b.cluster.bus.announceSession({ ...a.remote.sessions.get('c')!, owner: null });
  site.time.settle();
  t.equal(c.remote.sessions.get('c')?.owner, a.incarnation);
  a.remote.owns({ ...a.remote.sessions.get('c')!, owner: null });
  site.time.settle();
  t.equal(c.remote.sessions.get('c')?.owner, null);
});

t.test('a node that is buried meanwhile writes nothing more', async (t) => {
  const { site, a } = two();
  for (let i = 0; i < 300; i++) own(site, a, `a${i}`, 5);
  site.time.settle();
  site.ledger.isStuck = true;
  flush(site);
  site.time.settle();
  site.rejoin(a);
  const before = site.ledger.count('assert');
  site.ledger.goOn();
  site.time.pass(2000);
  t.equal(site.ledger.count('assert'), before + 300, 'the other one writes what it has left');
});
