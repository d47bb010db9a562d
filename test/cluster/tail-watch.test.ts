/** Hints that were lost (hard case 8): owners look how far their queues have grown. */
import t from 'tap';
import { FrameType } from '../../src/cluster/ports.ts';
import { FakeSite, type SiteNode } from './fake-site.ts';

const ROUND_MS = 60_000;

function owns(site: FakeSite, node: SiteNode, clientId: string): void {
  const image = site.image(node, clientId, 3, 'q');
  node.remote.owns(image);
  site.ledger.put(image);
}

t.test('when a member dies, what it may not have told any more is looked for', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  for (let i = 0; i < 100; i++) {
    owns(site, a, `c${i}`);
    site.ledger.tails.set(`c${i}`, i);
  }
  b.remote.owns(site.image(b, 'other', 3, 'q'));
  site.time.settle();
  t.strictSame(a.remote.hints, []);
  const { incarnation } = b;
  site.kill(b);
  site.bury(incarnation);
  site.time.settle();
  t.equal(a.remote.hints.length, 100, 'its own, each once');
  t.ok(a.remote.hints.includes('c7 7'));
  t.equal(site.ledger.count('tail'), 100);
});

t.test('when a link session was given up, hints may have gone with it', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  owns(site, a, 'c');
  site.ledger.tails.set('c', 4);
  site.time.settle();
  t.equal(site.ledger.count('tail'), 0, 'the first tables of a member tell of nothing lost');
  const times = site.network.count(FrameType.TABLES_BEGIN, b.incarnation, a.incarnation);
  b.mesh.giveUp(a.incarnation);
  site.time.settle();
  t.ok(site.network.count(FrameType.TABLES_BEGIN, b.incarnation, a.incarnation) > times);
  t.strictSame(a.remote.hints, ['c 4']);
});

t.test('each session is looked at now and then, a few at a time', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  for (let i = 0; i < 30; i++) a.remote.owns(site.image(a, `c${i}`, 3, 'q'));
  owns(site, a, 'c3');
  site.ledger.tails.set('c3', 9);
  site.time.settle();
  site.time.pass(ROUND_MS / 2);
  const half = site.ledger.count('tail');
  t.ok(half >= 13 && half <= 16, `${half} in half a round`);
  site.time.pass(ROUND_MS / 2 + 200);
  t.strictSame(a.remote.hints, ['c3 9'], 'a queue that nobody knows is not grown');
  const whole = site.ledger.count('tail');
  t.ok(whole >= 29 && whole <= 32, `${whole} in a round`);
});

t.test('S8: what another took and could not tell of is let go, and all hear of it', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  owns(site, a, 'c');
  owns(site, a, 'mine');
  site.time.settle();
  // b opens both; it dies before its question comes to a, and c takes its sessions from it.
  const { incarnation } = b;
  const image = site.image(a, 'c', 4, 'q');
  site.ledger.put({ ...image, owner: null });
  // This node opens it again at this moment: that is no other.
  site.ledger.put(site.image(a, 'mine', 4, 'q'));
  site.kill(b);
  site.bury(incarnation);
  site.time.settle();
  for (const node of [a, c]) {
    t.match(node.remote.sessions.get('c'), { owner: null, epoch: 4 }, 'nobody waits for it here');
  }
  t.equal(a.remote.sessions.get('mine')?.owner, a.incarnation);
});
