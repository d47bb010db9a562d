/** Clients without durable sessions while Redis is away (P6): one owner at a time, and Redis hears of it. */
import t from 'tap';
import { makeMessage } from '../../src/core/message.ts';
import { FakeSite, type Opened, type SiteNode } from './fake-site.ts';

const BRIEF = { cleanStart: true, expiryIntervalS: 0 };
const will = { message: makeMessage(1, 'w', Buffer.from('x')), delayS: 0, dueAtMs: 0 };

function withoutRedis(): { site: FakeSite; a: SiteNode; b: SiteNode } {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  away(site, true);
  return { site, a, b };
}

function away(site: FakeSite, isAway: boolean): void {
  site.ledger.isAway = isAway;
  for (const { membership } of site.nodes) membership.hasRedis = !isAway;
}

function opened(site: FakeSite, node: SiteNode, clientId: string, options = {}): Opened {
  const answer = site.open(node, clientId, { ...BRIEF, ...options });
  site.time.pass(100);
  return answer;
}

t.test('a client without a durable session gets in, one with such a session does not', (t) => {
  const { site, a } = withoutRedis();
  const brief = opened(site, a, 'c');
  t.equal(brief.kind, 'opened');
  t.equal(brief.record.present, false);
  t.equal(opened(site, a, 'd', { expiryIntervalS: 60 }).kind, 'unavailable');
  a.remote.sessions.set('e', site.image(a, 'e', 5));
  t.equal(opened(site, a, 'e').kind, 'unavailable', 'it would have to end what all know of');
  t.equal(a.cluster.counters.openedWithoutRedis, 1);
  t.end();
});

t.test('P3: a node that has the client lets go of it first', (t) => {
  const { site, a, b } = withoutRedis();
  t.equal(opened(site, a, 'c').kind, 'opened');
  a.remote.holdsLetGo = true;
  const second = opened(site, b, 'c');
  t.equal(second.kind, 'waits');
  t.strictSame(a.remote.letGoes, ['c']);
  for (const done of a.remote.heldLetGo.splice(0)) done();
  site.time.pass(100);
  t.equal(second.kind, 'opened');
  t.end();
});

t.test('nobody is asked for a client that has left meanwhile', (t) => {
  const { site, a, b } = withoutRedis();
  t.equal(opened(site, b, 'c', { isWanted: () => false }).kind, 'unavailable');
  t.strictSame(a.remote.letGoes, [], 'it may be there by now');
  t.end();
});

t.test('a question that a lost link session took is asked again, as the same', (t) => {
  const { site, a, b } = withoutRedis();
  site.network.cut(b.incarnation, a.incarnation);
  const first = opened(site, b, 'c');
  t.equal(first.kind, 'waits');
  b.mesh.giveUp(a.incarnation);
  site.network.mend(b.incarnation, a.incarnation);
  site.time.pass(100);
  t.equal(first.kind, 'opened');
  t.end();
});

t.test('a node that is dead is not waited for', (t) => {
  const { site, a, b } = withoutRedis();
  const { incarnation } = a;
  site.kill(a);
  const first = opened(site, b, 'c');
  t.equal(first.kind, 'waits');
  site.bury(incarnation);
  site.time.pass(100);
  t.equal(first.kind, 'opened');
  t.end();
});

t.test('Redis hears of those who are still there, with their wills, and of nobody else', (t) => {
  const { site, a } = withoutRedis();
  const stays = opened(site, a, 'stays', { will });
  const goes = opened(site, a, 'goes', { will });
  a.cluster.bus.close('goes', goes.record.sid, goes.record.epoch, 0, -1);
  away(site, false);
  site.ledger.calls.length = 0;
  site.time.pass(200);
  t.strictSame([...site.ledger.rows.keys()], ['stays']);
  const row = site.ledger.rows.get('stays')!;
  t.equal(row.image.owner, a.incarnation);
  t.equal(row.image.sid, stays.record.sid);
  t.equal(row.will?.topic, 'w');
  a.cluster.bus.close('stays', stays.record.sid, stays.record.epoch, 0, -1);
  site.time.pass(3000);
  t.equal(site.ledger.rows.size, 0, 'it ends as any other');
  t.end();
});

t.test('one that Redis gives a higher epoch is closed under that', (t) => {
  const { site, a, b } = withoutRedis();
  // Of a connection before, in a Redis whose clock was ahead.
  const before = site.image(null, 'c', 9e12);
  const row = site.ledger.put({ ...before, expiryIntervalS: 0, owner: b.incarnation }, 'w/before');
  row.image = { ...row.image, expiryIntervalS: 0 };
  const first = opened(site, a, 'c');
  away(site, false);
  site.time.pass(200);
  t.equal(site.ledger.rows.get('c')!.image.epoch, 9e12 + 1);
  t.strictSame(b.remote.letGoes, ['c', 'c'], 'whom Redis names is asked, too');
  t.strictSame(
    a.remote.wills.map(({ message }) => message.topic),
    ['w/before'],
    'the will of that connection is due',
  );
  t.equal(site.ledger.rows.get('c')!.oldWill, null, 'and dealt with');
  a.cluster.bus.close('c', first.record.sid, first.record.epoch, 0, -1);
  site.time.pass(3000);
  t.equal(site.ledger.rows.size, 0);
  t.end();
});

t.test('a will that only memory has goes with a newer connection, here or there', (t) => {
  const { site, a, b } = withoutRedis();
  const first = opened(site, a, 'c', { will });
  const again = opened(site, a, 'c', { will });
  t.match(again.record.oldWill, { isDue: true, sid: first.record.sid, epoch: first.record.epoch });
  const there = opened(site, b, 'c');
  t.equal(there.kind, 'opened');
  t.strictSame(
    a.remote.wills.map(({ sid, message }) => [sid, message.topic]),
    [[again.record.sid, 'w']],
  );
  t.end();
});

t.test('Redis is back before it has heard: the newer connection has the will to publish', (t) => {
  const { site, a } = withoutRedis();
  const first = opened(site, a, 'c', { will });
  site.ledger.isAway = false;
  const { membership } = a;
  const again = site.open(a, 'c', BRIEF);
  membership.hasRedis = true;
  site.time.settle();
  t.equal(again.kind, 'opened');
  const { oldWill } = again.record;
  t.match(oldWill, { isDue: true, sid: first.record.sid });
  t.end();
});

t.test('only one node has lost Redis: who takes the client elsewhere asks it first', (t) => {
  const { site, a, b } = withoutRedis();
  b.membership.hasRedis = true;
  t.equal(opened(site, a, 'c').kind, 'opened');
  site.ledger.isAway = false;
  a.remote.holdsLetGo = true;
  const there = site.open(b, 'c', BRIEF);
  site.time.settle();
  t.equal(there.kind, 'waits');
  for (const done of a.remote.heldLetGo.splice(0)) done();
  site.time.pass(100);
  t.equal(there.kind, 'opened');
  t.strictSame(a.remote.letGoes, ['c']);
  a.membership.hasRedis = true;
  site.time.pass(200);
  t.equal(site.ledger.rows.get('c')!.image.owner, b.incarnation, 'it does not come back for it');
  t.end();
});

t.test('a session that is somebody else’s after all ends here', (t) => {
  const { site, a } = withoutRedis();
  opened(site, a, 'c', { identity: 'alice' });
  site.ledger.put({ ...site.image(null, 'c', 3), identity: 'mallory' });
  away(site, false);
  site.time.pass(200);
  t.strictSame(a.remote.letGoes, ['c']);
  t.equal(site.ledger.rows.get('c')!.image.identity, 'mallory');
  t.end();
});
