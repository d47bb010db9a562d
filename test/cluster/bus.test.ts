/** Nodes that join, announce, forward, die and come again; links, Redis and cores are fakes. */
import t from 'tap';
import { FrameType } from '../../src/cluster/ports.ts';
import { makeMessage } from '../../src/core/message.ts';
import { Publication } from '../../src/core/publication.ts';
import { Answer, FakeSite, incarnationOf, LEASE_MS, message, type SiteNode } from './fake-site.ts';

function publication(topic: string, payload: string, qos: 0 | 1 | 2): Publication {
  const made = new Publication();
  made.setMessage(makeMessage(1, topic, Buffer.from(payload), { qos }), 1);
  return made;
}

t.test('a node alone is ready at once', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  t.equal(a.readyTimes, 1);
  t.equal(a.cluster.bus.mayServe(), true);
  t.equal(site.ledger.count('load'), 1);
  const answer = new Answer();
  a.remote.want('x', 2);
  a.cluster.bus.awaitApplied(answer);
  t.equal(answer.unsafeCount, 0);
});

t.test('hard case 5: a joiner has all routes of all members before it is ready', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  for (let i = 0; i < 2500; i++) a.remote.want(`a/${i}`, i % 2 === 0 ? 1 : 2);
  a.remote.wantGroup('g', 'w/#', 3);
  b.remote.want('b', 2);
  b.remote.owns(site.image(b, 'client', 5, 'q/1', 'q/2'));
  site.time.settle();
  const c = site.make();
  site.register(c);
  let turns = 0;
  while (!c.isReady) {
    if (turns++ > 100) throw new Error('never ready');
    // What changes while the tables are on their way is there too.
    if (turns === 2) a.remote.want('late', 2);
    if (turns === 2) a.remote.want('a/7', 0);
    site.time.turn();
  }
  t.equal(c.remote.routes.get(a.incarnation)?.size, 2500);
  t.equal(c.remote.routes.get(a.incarnation)?.get('late'), 2);
  t.equal(c.remote.routes.get(a.incarnation)?.has('a/7'), false);
  t.equal(c.remote.remoteGroups.get(`${a.incarnation} g/w/#`), 3);
  t.strictSame(c.routesOf(b), ['b,2']);
  t.equal(c.remote.sessions.get('client')?.subscriptions.length, 2);
  t.ok(turns > 3, 'tables are told in slices');
});

t.test(
  'hard case 5: durable sessions come from Redis, and an owner that is dead from nobody',
  async (t) => {
    const site = new FakeSite();
    const a = site.node();
    site.ledger.put(site.image(a, 'owned', 4, 'x'));
    site.ledger.put({ ...site.image(a, 'orphan', 4, 'y'), owner: 'dead' });
    const b = site.node();
    t.equal(b.remote.sessions.get('owned')?.owner, a.incarnation);
    t.equal(b.remote.sessions.get('orphan')?.owner, null);
    site.time.pass(1000);
    t.ok(site.ledger.calls.includes('orphan dead'), 'nobody else has seen it die');
  },
);

t.test('a joiner whose load is cut off begins again', async (t) => {
  const site = new FakeSite();
  site.node();
  site.ledger.put(site.image(null, 'c', 4, 'x'));
  const b = site.make();
  site.ledger.isAway = true;
  site.register(b);
  site.time.settle();
  t.equal(b.isReady, false);
  site.ledger.isAway = false;
  site.time.pass(1000);
  t.equal(b.isReady, true);
  t.ok(b.remote.sessions.has('c'));
});

t.test(
  'a joiner is counted in when the others have what was announced before it came',
  async (t) => {
    const site = new FakeSite();
    const [a, b] = [site.node(), site.node()];
    site.network.cut(a.incarnation, b.incarnation);
    a.remote.want('x', 2);
    const c = site.make();
    site.register(c);
    site.time.settle();
    t.equal(c.isReady, false);
    t.strictSame(c.cluster.state().joinWaitsOn, [a.incarnation]);
    site.network.mend(a.incarnation, b.incarnation);
    site.time.settle();
    t.equal(c.isReady, true);
  },
);

t.test('a joiner is not ready before it counts the others in itself', async (t) => {
  const site = new FakeSite();
  const [, b] = [site.node(), site.node()];
  const c = site.make();
  site.network.cut(incarnationOf(3), b.incarnation);
  site.register(c);
  site.time.settle();
  t.ok(site.network.count(FrameType.COUNTED_IN, b.incarnation, incarnationOf(3)) > 0);
  t.equal(c.isReady, false, 'its SUBACKs would not wait for b');
  site.network.mend(c.incarnation, b.incarnation);
  site.time.settle();
  t.equal(c.isReady, true);
});

t.test('a link session that is lost while a joiner is counted in: tables first', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  for (let i = 0; i < 20_000; i++) a.remote.want(`a/${i}`, 2);
  site.time.settle();
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.want('before', 2);
  const c = site.make();
  site.register(c);
  site.time.settle();
  t.equal(c.isReady, false, 'a waits for b');
  // c has the tables. What comes now is lost with the link session.
  site.network.cut(a.incarnation, c.incarnation);
  a.remote.want('lost', 2);
  a.mesh.giveUp(c.incarnation);
  site.network.mend(a.incarnation, c.incarnation);
  site.network.mend(a.incarnation, b.incarnation);
  for (let i = 0; !c.isReady; i++) {
    if (i > 200) throw new Error('never ready');
    site.time.turn();
  }
  t.equal(c.remote.routes.get(a.incarnation)?.size, 20_002);
});

t.test('what the core had before the first join is in the tables', async (t) => {
  const site = new FakeSite();
  const a = site.make();
  a.remote.own.set('early', 2);
  site.register(a);
  const b = site.node();
  t.strictSame(b.routesOf(a), ['early,2']);
});

t.test('a node alone that was buried sweeps what its former life may still open', async (t) => {
  const site = new FakeSite();
  const a = site.node();
  const former = a.incarnation;
  site.rejoin(a);
  site.time.pass(1000);
  t.ok(site.ledger.calls.includes(`orphan ${former}`));
});

t.test('a session belongs to what its newest owner announces', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  const owned = (by: SiteNode): number | undefined =>
    c.cluster.state().nodes.find(({ nodeId }) => nodeId === by.nodeId)?.sessionsOwned;
  a.remote.owns(site.image(a, 'asked', 3));
  a.remote.owns(site.image(a, 'told', 3));
  site.ledger.put(site.image(a, 'asked', 3));
  site.time.settle();
  t.equal(owned(a), 2);
  // Asked to let go: it is not a's from then on.
  site.open(b, 'asked');
  site.time.settle();
  t.equal(owned(a), 1);
  // Nobody asked a: it hears of the new owner.
  b.remote.owns(site.image(b, 'told', 4));
  site.time.settle();
  t.equal(owned(a), 0);
  t.equal(owned(b), 1);
});

t.test('interests, groups, sessions, changes and ends reach every node', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  a.remote.want('x', 1);
  a.remote.want('x', 2);
  a.remote.want('y', 2);
  a.remote.want('y', 0);
  a.remote.wantGroup('g', 'f', 2);
  a.remote.wantGroup('g', 'f', 1);
  a.remote.owns(site.image(a, 'c1', 7, 'q'));
  a.remote.change('c1', ['r'], ['q']);
  a.remote.owns(site.image(a, 'c2', 7));
  a.cluster.bus.announceEnd('c2', 'sid-c2', 7);
  a.remote.sessions.delete('c2');
  site.time.settle();
  for (const node of [b, c]) {
    t.strictSame(node.routesOf(a), ['x,2']);
    t.equal(node.remote.remoteGroups.get(`${a.incarnation} g/f`), 1);
    const image = node.remote.sessions.get('c1');
    t.equal(image?.counter, 2);
    t.strictSame(
      image?.subscriptions.map(({ filter }) => filter),
      ['r'],
    );
    t.equal(node.remote.sessions.has('c2'), false);
  }
  t.equal(a.cluster.counters.routeDrifts + b.cluster.counters.routeDrifts, 0);
});

t.test('a change whose predecessor is missing brings the whole image', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  a.remote.owns(site.image(a, 'c1', 7, 'q'));
  site.time.settle();
  b.remote.sessions.delete('c1');
  a.remote.change('c1', ['r']);
  site.time.settle();
  t.equal(site.network.count(FrameType.NEED_SESSION, b.incarnation, a.incarnation), 1);
  t.equal(b.remote.sessions.get('c1')?.subscriptions.length, 2);
});

t.test('a publication is one frame for all; QoS 0 is dropped for who is behind', async (t) => {
  const site = new FakeSite();
  const [a, b, c] = [site.node(), site.node(), site.node()];
  const peers = [...a.remote.peers.values()];
  const frames: Buffer[] = [];
  const { send } = a.mesh;
  a.mesh.send = (peer, frame) => {
    if (frame[4] === FrameType.PUBLISH) frames.push(frame);
    send.call(a.mesh, peer, frame);
  };
  a.cluster.bus.forward(publication('t', 'one', 1), peers);
  t.equal(frames.length, 2);
  t.equal(frames[0], frames[1], 'the same buffer');
  a.mesh.streams.get(b.incarnation)!.audience.pressed = true;
  a.cluster.bus.forward(publication('t', 'two', 0), peers);
  a.cluster.bus.forward(publication('t', 'three', 1), peers);
  site.time.settle();
  t.strictSame(b.remote.delivered, ['t one', 't three']);
  t.strictSame(c.remote.delivered, ['t one', 't two', 't three']);
  const peerB = a.remote.peers.get(b.incarnation)!;
  a.cluster.bus.forwardToGroup(publication('t', 'four', 1), peerB, 'g', '+');
  site.time.settle();
  t.equal(b.remote.delivered.at(-1), '$share/g/+ t');
});

t.test('hints of a turn are one for each session', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  a.cluster.bus.hint(b.incarnation, 'c', 's', 4);
  a.cluster.bus.hint(b.incarnation, 'c', 's', 5);
  a.cluster.bus.hint(b.incarnation, 'd', 's', 1);
  site.time.settle();
  t.strictSame(b.remote.hints, ['c 5', 'd 1']);
});

t.test('a node that dies takes its routes along, and is a peer no more', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  b.remote.want('x', 2);
  b.remote.owns(site.image(b, 'c', 3, 'q'));
  site.time.settle();
  const { incarnation } = b;
  site.kill(b);
  site.bury(incarnation);
  t.equal(a.remote.peers.size, 0);
  t.equal(a.remote.routes.size, 0);
  t.strictSame(a.remote.died, [incarnation]);
  t.equal(a.remote.sessions.get('c')?.owner, null);
  t.equal(a.cluster.state().nodes.length, 1);
});

t.test(
  'hard case 2: a node that was buried fails what waits, forgets, and joins anew',
  async (t) => {
    const site = new FakeSite();
    const [a, b] = [site.node(), site.node()];
    a.remote.want('mine', 2);
    b.remote.want('x', 2);
    site.time.settle();
    site.network.cut(a.incarnation, b.incarnation);
    a.remote.want('late', 2);
    const answer = new Answer();
    a.cluster.bus.awaitApplied(answer);
    const former = a.incarnation;
    site.rejoin(a);
    t.equal(answer.failed, true);
    t.equal(answer.told, 1);
    t.equal(a.remote.lostTimes, 1);
    site.time.settle();
    t.not(a.incarnation, former);
    t.equal(a.isReady, true);
    t.equal(a.readyTimes, 2);
    t.strictSame(a.routesOf(b), ['x,2']);
    t.strictSame(b.routesOf(a), [], 'its clients are gone');
    t.equal(b.remote.peers.size, 1);
    site.time.pass(1000);
    t.ok(
      site.ledger.calls.includes(`orphan ${former}`),
      'answers to the old life may have come late',
    );
  },
);

t.test(
  'a session that ended while this node was away is forgotten with the next life',
  async (t) => {
    const site = new FakeSite();
    const [a, b] = [site.node(), site.node()];
    for (const id of ['stays', 'ends', 'held']) {
      const image = site.image(b, id, 3, 'q');
      b.remote.owns(image);
      if (id !== 'held') site.ledger.put(image);
    }
    site.time.settle();
    t.equal(a.remote.sessions.size, 3);
    site.network.cut(b.incarnation, a.incarnation);
    b.cluster.bus.announceEnd('ends', 'sid-ends', 3);
    b.remote.sessions.delete('ends');
    site.ledger.rows.delete('ends');
    site.rejoin(a);
    site.network.cuts.clear();
    b.mesh.pump(a.incarnation);
    site.time.settle();
    t.equal(a.isReady, true);
    t.strictSame([...a.remote.sessions.keys()].sort(), ['held', 'stays']);
  },
);

t.test('what a lost link session took along is told again', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  a.remote.owns(site.image(a, 'closed', 3, 'q'));
  a.remote.owns(site.image(a, 'over', 3, 'q'));
  a.remote.want('old', 2);
  site.time.settle();
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.change('closed', ['r']);
  a.remote.owns({ ...a.remote.sessions.get('closed')!, owner: null });
  a.cluster.bus.announceEnd('over', 'sid-over', 3);
  a.remote.sessions.delete('over');
  a.remote.want('old', 0);
  a.remote.want('new', 2);
  a.remote.retain(message('t', 'kept'), 't');
  a.cluster.bus.forward(publication('t', 'live', 1), [...a.remote.peers.values()]);
  site.time.settle();
  a.mesh.giveUp(b.incarnation);
  site.network.mend(a.incarnation, b.incarnation);
  site.time.settle();
  t.equal(b.remote.sessions.get('closed')?.owner, null);
  t.equal(b.remote.sessions.get('closed')?.subscriptions.length, 2, 'nobody owns it, nobody tells');
  t.equal(b.remote.sessions.has('over'), false);
  t.strictSame(b.routesOf(a), ['new,2']);
  t.equal(b.remote.store.get('t')?.payload.toString(), 'kept');
  t.equal(a.cluster.counters.linkLostMessages, 1);
  site.time.pass(2 * LEASE_MS);
  t.equal(b.cluster.counters.routeDrifts, 0);
});

t.test('hard case 3: a lease is renewed through a peer', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  const replies: unknown[] = [];
  const ask = (): void => {
    a.membership.links.askPeer(b.incarnation, a.incarnation, 'g1', (reply) => replies.push(reply));
  };
  b.membership.renewReply = ['ok', 5, Buffer.from('x')];
  ask();
  site.time.settle();
  t.strictSame(replies, [['ok', 5, Buffer.from('x')]]);
  site.network.cut(a.incarnation, b.incarnation);
  ask();
  site.time.pass(4000);
  t.strictSame(replies.at(-1), null, 'no answer is one in the end');
});

t.test('heartbeats carry clocks and an echo to membership', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  site.time.pass(LEASE_MS);
  const heard = a.membership.heartbeats.at(-1)!;
  t.equal(heard.from, b.incarnation);
  t.ok(heard.heartbeat.echoMs > 0);
  t.ok(heard.heartbeat.echoMs <= heard.heartbeat.sentMs);
  t.equal(heard.heartbeat.hasRedis, true);
  a.mesh.events.down(b.incarnation, 2500);
  t.strictSame(a.membership.unreached, [`${b.incarnation} 2500`]);
});

t.test('a node that stops leaves when the others have what it sent', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.want('x', 0);
  a.remote.want('y', 2);
  let stopped = 0;
  a.cluster.stop(() => stopped++);
  site.time.settle();
  t.equal(stopped, 0);
  t.equal(a.membership.state, 'ready');
  site.network.mend(a.incarnation, b.incarnation);
  site.time.settle();
  t.equal(stopped, 1);
  t.equal(a.mesh.isStopped, true);
  t.equal(b.remote.peers.size, 0);
});

t.test('a node that stops does not wait for a broken link beyond the grace', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.want('y', 2);
  let stopped = 0;
  a.cluster.stop(() => stopped++);
  site.time.pass(1500);
  t.equal(stopped, 0);
  site.time.pass(1000);
  t.equal(stopped, 1);
});

t.test('operators see nodes, links, lag and who is waited for', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  b.remote.want('x', 2);
  b.remote.owns(site.image(b, 'c', 3));
  site.time.settle();
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.want('z', 2);
  a.cluster.bus.awaitApplied(new Answer());
  const state = a.cluster.state();
  t.equal(state.state, 'ready');
  t.equal(state.answersWaiting, 1);
  const [self, peer] = state.nodes;
  t.equal(self?.isSelf, true);
  t.equal(peer?.nodeId, 'node1');
  t.equal(peer?.state, 'ready');
  t.equal(peer?.interests, 1);
  t.equal(peer?.sessionsOwned, 1);
  t.equal(peer?.answersWaiting, 1);
  t.ok(peer!.lagFrames > 0);
  t.equal(peer?.linkOut?.direction, 'out');
  t.equal(peer?.linkIn?.direction, 'in');
});
