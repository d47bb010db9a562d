/** Sessions of dead nodes, wills that are due, sessions that expire (hard case 13), with no leader. */
import t from 'tap';
import { FakeSite, type SiteNode } from './fake-site.ts';

const WILL = 'last/words';

/** Three nodes; the last one owned sessions and dies. */
function withDead(sessions: number): { site: FakeSite; a: SiteNode; b: SiteNode; dead: string } {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  for (let i = 0; i < sessions; i++) {
    const image = site.image(c, `c${i}`, 5, 'x');
    site.ledger.put(image, WILL);
    c.remote.owns(image);
  }
  site.time.settle();
  const { incarnation } = c;
  site.kill(c);
  site.bury(incarnation);
  site.nodes.pop();
  return { site, a, b, dead: incarnation };
}

function wills(...nodes: SiteNode[]): string[] {
  return nodes.flatMap(({ remote }) => remote.wills.map(({ clientId }) => clientId)).sort();
}

t.test(
  'the sessions of a dead node are taken from it in slices, and its wills published once',
  async (t) => {
    const { site, a, b, dead } = withDead(150);
    site.time.pass(3000);
    t.ok(site.ledger.calls.filter((call) => call === `orphan ${dead}`).length >= 3);
    t.ok([...site.ledger.rows.values()].every(({ image, will }) => image.owner === null && !will));
    const all = wills(a, b);
    t.equal(all.length, 150);
    t.equal(new Set(all).size, 150, 'none twice');
    t.ok(a.remote.wills.length > 0 && b.remote.wills.length > 0, 'the survivors share the work');
    t.equal(a.cluster.state().deadNodes, 0);
  },
);

t.test('nothing is taken from a member that was taken for dead', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  const image = site.image(b, 'c', 5, 'x');
  site.ledger.put(image, WILL);
  b.remote.owns(image);
  site.time.settle();
  site.dead = [b.membership.incarnation];
  a.membership.links.events.ready();
  site.time.pass(1000);
  t.equal(site.ledger.count('orphan'), 0);
  t.equal(site.ledger.rows.get('c')?.image.owner, b.incarnation);
});

t.test('S11: what those have left who died unseen is taken by whoever is ready next', async (t) => {
  const site = new FakeSite();
  const dead = ['0a', '0b'].map((digits) => digits.repeat(16));
  site.dead = null;
  const a = site.node();
  site.time.pass(1000);
  t.equal(site.ledger.count('orphan'), 0, 'nobody can say who has died');
  site.dead = dead;
  const orphaned = (): string[] => site.ledger.calls.filter((call) => call.startsWith('orphan'));
  site.time.pass(5000);
  t.same(
    orphaned(),
    dead.map((each) => `orphan ${each}`),
  );
  t.same(site.forgotten, dead);
  // What one of them had on its way may come behind all that.
  const b = site.node();
  site.time.pass(1000);
  const before = orphaned().length;
  site.dead = [...dead, b.membership.incarnation];
  site.kill(b);
  site.bury(b.membership.incarnation);
  site.time.pass(10_000);
  t.equal(a.isReady, true);
  const count = orphaned().length - before;
  t.equal(
    count,
    1 + 3 + 3,
    'its own at once, and all of them a while after the start and the death',
  );
});

t.test('Redis away: a dead node is looked after when it is back', async (t) => {
  const { site, a, b } = withDead(3);
  site.ledger.isAway = true;
  site.time.pass(3000);
  t.equal(wills(a, b).length, 0);
  t.equal(a.cluster.state().deadNodes, 1);
  site.ledger.isAway = false;
  site.time.pass(3000);
  t.strictSame(wills(a, b), ['c0', 'c1', 'c2']);
});

t.test('a will is done when it is safe, not before', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  site.ledger.put(site.image(null, 'c', 5), WILL);
  site.ledger.due_.add('c');
  a.remote.holdsWills = true;
  site.time.pass(3000);
  t.strictSame(wills(a), ['c'], 'nor is it published again while it waits');
  t.equal(site.ledger.count('willDone'), 0);
  a.remote.willsSafe();
  site.time.settle();
  t.equal(site.ledger.count('willDone'), 1);
  t.equal(site.ledger.rows.get('c')?.will, null);
});

t.test('a will that could not be stored for all is tried again', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  site.ledger.put(site.image(null, 'c', 5), WILL);
  site.ledger.due_.add('c');
  a.remote.holdsWills = true;
  site.time.pass(1500);
  a.remote.willsSafe(true);
  a.remote.holdsWills = false;
  site.time.pass(3000);
  t.equal(a.remote.wills.length, 2);
  t.equal(site.ledger.rows.get('c')?.will, null);
});

t.test('a will that was published and Redis had not heard of is not published again', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  site.ledger.put(site.image(null, 'c', 5), WILL);
  site.ledger.due_.add('c');
  a.remote.holdsWills = true;
  site.time.pass(1500);
  site.ledger.isAway = true;
  a.remote.willsSafe();
  site.time.pass(3000);
  t.not(site.ledger.rows.get('c')?.will, null);
  site.ledger.isAway = false;
  site.time.pass(3000);
  t.equal(site.ledger.rows.get('c')?.will, null);
  t.equal(a.remote.wills.length, 1);
});

t.test('a session whose time is over ends after its will, and every node forgets it', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  const image = site.image(null, 'c', 5, 'x');
  site.ledger.put(image, WILL).isExpired = true;
  site.ledger.due_.add('c');
  a.remote.applySession(image);
  b.remote.applySession(image);
  for (let i = 0; wills(a, b).length === 0; i++) {
    if (i > 100) throw new Error('no will comes');
    site.time.pass(50);
  }
  t.equal(wills(a, b).length, 1);
  t.equal(site.ledger.rows.size, 0, 'at once, not when it is next in line');
  t.equal(a.remote.sessions.size, 0);
  t.equal(b.remote.sessions.size, 0);
  t.equal(a.cluster.counters.sessionsExpired + b.cluster.counters.sessionsExpired, 1);
});

t.test('a claim dies with its node: a survivor publishes', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  site.ledger.put(site.image(null, 'c', 5), WILL);
  site.ledger.due_.add('c');
  a.remote.holdsWills = true;
  b.remote.holdsWills = true;
  site.time.pass(2000);
  t.strictSame(wills(a, b), ['c']);
  const [claimer, other] = a.remote.wills.length === 1 ? [a, b] : [b, a];
  other.remote.holdsWills = false;
  const { incarnation } = claimer;
  site.kill(claimer);
  site.bury(incarnation);
  site.time.pass(3000);
  t.strictSame(wills(other), ['c']);
  t.equal(site.ledger.rows.get('c')?.will, null);
});

t.test('a node that may not serve looks after nothing, nor does one that was buried', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  a.membership.serves = false;
  site.ledger.put(site.image(null, 'c', 5), WILL);
  site.ledger.due_.add('c');
  site.time.pass(3000);
  t.equal(site.ledger.count('due'), 0);
  a.membership.serves = true;
  site.ledger.isStuck = true;
  site.time.pass(2000);
  site.rejoin(a);
  site.ledger.goOn();
  site.time.settle();
  t.equal(a.isReady, true);
  t.equal(a.remote.wills.length, 0, 'an answer to the life before is nobody’s');
  site.time.pass(2000);
  t.equal(a.remote.wills.length, 1);
});

t.test('a claim that came while the lease ended is not acted on', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  site.ledger.put(site.image(null, 'c', 5), WILL);
  site.ledger.due_.add('c');
  const { look } = site.ledger;
  site.ledger.look = (clientId, by, done) => {
    look.call(site.ledger, clientId, by, (answer) => {
      a.membership.serves = false;
      done(answer);
    });
  };
  site.time.pass(2000);
  t.equal(a.remote.wills.length, 0);
});

t.test('looks are bounded: sixteen at a time', async (t) => {
  const site = new FakeSite();
  site.node();
  for (let i = 0; i < 60; i++) {
    site.ledger.put(site.image(null, `c${i}`, 5), WILL);
    site.ledger.due_.add(`c${i}`);
  }
  site.time.pass(1000);
  site.ledger.calls.length = 0;
  for (const row of site.ledger.rows.values()) row.will = null;
  let inFlight = 0;
  let most = 0;
  const { look } = site.ledger;
  site.ledger.look = (clientId, by, done) => {
    most = Math.max(most, ++inFlight);
    look.call(site.ledger, clientId, by, (answer) => {
      inFlight--;
      done(answer);
    });
  };
  for (let i = 0; i < 60; i++) site.ledger.due_.add(`c${i}`);
  site.time.pass(3000);
  t.equal(most, 16);
});
