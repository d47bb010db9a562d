/**
 * What a member has told to some only when it dies, or had told of and undone while another joins: it
 * reaches all (hard cases 5 and 6). What several that join at once have is put together.
 */
import t from 'tap';
import type { SessionImage } from '../../src/core/cluster-ports.ts';
import { makeMessage } from '../../src/core/message.ts';
import { FakeSite, message } from './fake-site.ts';

t.test('sessions a dead member has told of reach those it could not reach', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  a.remote.owns(site.image(a, 'ends', 3, 'q'));
  site.time.settle();
  t.ok(c.remote.sessions.has('ends'));
  site.network.cut(a.incarnation, c.incarnation);
  a.remote.owns(site.image(a, 'new', 3, 'q'));
  a.cluster.bus.announceSession({ ...site.image(null, 'closed', 4, 'q') });
  a.cluster.bus.announceEnd('ends', 'sid-ends', 3);
  site.time.settle();
  t.strictSame([...c.remote.sessions.keys()], ['ends'], 'only b has heard of it');
  const { incarnation } = a;
  site.kill(a);
  site.bury(incarnation);
  site.time.settle();
  t.strictSame([...c.remote.sessions.keys()].sort(), ['closed', 'new']);
  t.equal(c.remote.sessions.get('new')?.owner, null);
  t.equal(b.remote.sessions.get('new')?.owner, null);
});

for (const size of [1, 800_000]) {
  t.test(
    `retained changes of a dead member reach those it could not reach, ${size} B`,
    async (t) => {
      const site = new FakeSite();
      const [a, b, c] = [site.node(), site.node(), site.node()];
      a.remote.retain(message('cleared', '1'), 'cleared');
      site.time.settle();
      site.network.cut(a.incarnation, c.incarnation);
      for (const topic of ['one', 'two']) a.remote.retain(message(topic, 'x'.repeat(size)), topic);
      a.remote.retain(null, 'cleared');
      site.time.settle();
      t.strictSame([...c.remote.store.keys()], ['cleared'], 'only b has heard of it');
      const { incarnation } = a;
      site.kill(a);
      site.bury(incarnation);
      site.time.pass(1000);
      t.strictSame([...c.remote.store.keys()].sort(), ['one', 'two']);
      for (const topic of ['one', 'two']) {
        t.strictSame(c.remote.store.get(topic)?.version, b.remote.store.get(topic)?.version);
      }
      t.equal(c.cluster.state().tombstones, 1);
    },
  );
}

t.test('who was buried itself tells nothing of the others', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  a.remote.owns(site.image(a, 'c', 3, 'q'));
  site.time.settle();
  site.rejoin(b);
  site.time.settle();
  t.equal(b.remote.sessions.get('c')?.owner, a.incarnation);
  t.equal(a.remote.sessions.get('c')?.owner, a.incarnation);
});

t.test('what was read of a session does not undo what its owner has told meanwhile', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  const image: SessionImage = site.image(a, 'c', 3, 'q');
  site.ledger.put(image);
  a.remote.owns(image);
  site.time.settle();
  const b = site.make();
  site.ledger.isStuck = true;
  site.register(b);
  site.time.settle();
  t.ok(site.ledger.count('load') > 0, 'its answer is on its way');
  a.cluster.bus.announceSession({ ...image, owner: null });
  site.time.settle();
  t.equal(b.remote.sessions.get('c')?.owner, null);
  site.ledger.goOn();
  site.time.settle();
  t.equal(b.isReady, true);
  t.equal(b.remote.sessions.get('c')?.owner, null);
});

t.test('two that join at once do not take each other for the whole', async (t) => {
  const site = new FakeSite();
  // The last one knows the other joiner before the one that has everything.
  const [b, c, a] = [site.make(), site.make(), site.make()];
  site.register(a);
  site.time.settle();
  t.equal(a.isReady, true);
  const message = makeMessage(1, 't', Buffer.from('x'), { retain: true });
  message.version = a.cluster.bus.announceRetained('t', message, null, null, null);
  a.remote.store.set('t', message);
  site.ledger.isStuck = true;
  site.register(b);
  site.register(c);
  site.time.settle();
  // Both have read what Redis has at the same time.
  site.ledger.goOn();
  site.time.settle();
  t.ok(b.isReady && c.isReady);
  t.equal(`${b.remote.store.get('t')?.payload}`, 'x');
  t.equal(`${c.remote.store.get('t')?.payload}`, 'x');
});
