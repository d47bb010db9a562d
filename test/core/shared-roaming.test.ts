// Sessions of a datacenter that go to another region and come back: where each node's messages belong, and what
// it says of that in the queue of the link (ADR 0023).
import t from 'tap';
import { makeMessage } from '../../src/core/message.ts';
import { Publication } from '../../src/core/publication.ts';
import type { Session } from '../../src/core/session.ts';
import type { FakeNode } from './fake-datacenter.ts';
import { kept, MovingDatacenter } from './moving-datacenter.ts';

async function setUp() {
  const eu = new MovingDatacenter();
  const one = await eu.node();
  const two = await eu.node();
  eu.hold(one);
  eu.linked(one);
  const device = two.world.connected(5, 'dev', kept);
  device.subscribe('to/dev', 2);
  eu.settle();
  return { eu, one, two, device };
}

/** The other region hands it back. */
function comesBack(eu: MovingDatacenter, session: Session): void {
  const { identity } = session;
  const record = { ...session.record(), identity, will: null };
  const handed = { record, inboundIds: [], born: 4, turn: 1, taken: null };
  eu.mover.answer = { kind: 'handed', home: 'us', handed };
  const asked = { client: 'dev', found: null, isSure: false, isClean: false };
  eu.holder.arriveAt(asked, () => {});
  eu.settle();
}

t.test('the holder has said more than its region, and its client comes back', async (t) => {
  const { eu, one, two, device } = await setUp();
  const session = eu.session('dev');
  eu.holder.letGo(session, 'us', 5e15);
  eu.settle();
  t.ok(device.sink.ended, 'its client is elsewhere');
  // That node has died, and nobody knows it yet.
  two.roam.listener = null;
  eu.holder.redirectOwn(session, 'us', 5e15);
  eu.settle();
  t.strictSame(
    eu.queueOf('$link/us'),
    ['node to us'],
    'not all nodes have: the region says nothing',
  );
  const publisher = one.world.connected(5, 'publisher', kept);
  publisher.publish('to/dev', 'there', { qos: 1, id: 1 });
  eu.settle();

  comesBack(eu, session);
  t.equal(eu.session('dev').roam!.leaving, null, 'it is here again');
  publisher.publish('to/dev', 'still there', { qos: 1, id: 2 });
  eu.settle();
  t.strictSame(eu.queueOf('dev'), [], 'as the node has said, it belongs to the other region');
  t.strictSame(eu.queueOf('$link/us'), ['node to us', 'there', 'still there']);
});

/** Publishes again what its node had not handed on when it died. */
function comesTo(node: FakeNode, eu: MovingDatacenter): void {
  const publisher = node.world.client(5, 'publisher');
  publisher.connect(kept);
  eu.settle();
  publisher.accepted();
}

t.test('a message of a node that died is published again where it belonged: here', async (t) => {
  const { eu, one, two } = await setUp();
  const publisher = two.world.connected(5, 'publisher', kept);
  two.loses.add('$link/us');
  publisher.publish('to/dev', 'before', { qos: 2, id: 1 });
  eu.settle();
  t.strictSame(eu.queueOf('dev'), ['before']);
  two.kill();
  const session = eu.session('dev');
  eu.holder.letGo(session, 'us', 5e15);
  eu.settle();
  eu.holder.redirectOwn(session, 'us', 5e15);
  eu.settle();
  comesTo(one, eu);
  t.strictSame(eu.queueOf('dev'), ['before'], 'once');
  t.strictSame(
    eu.lastForUs(),
    { text: 'before', placed: [['dev', 'eu']] },
    'and the other region, whose all is by now, is told that this is not',
  );
});

t.test(
  'a message of a node that died is published again where it belonged: elsewhere',
  async (t) => {
    const { eu, one, two } = await setUp();
    const session = eu.session('dev');
    const publisher = two.world.connected(5, 'publisher', kept);
    eu.holder.letGo(session, 'us', 5e15);
    eu.settle();
    eu.holder.redirectOwn(session, 'us', 5e15);
    eu.settle();
    two.loses.add('$link/us');
    publisher.publish('to/dev', 'away', { qos: 2, id: 1 });
    eu.settle();
    t.strictSame(
      two.chosen.map((choices) => [...choices]),
      [[['$roam/dev', 'us']]],
    );
    two.kill();
    // Its client is here again, and so is all that is published from now on.
    const record = { ...session.record(), identity: null, will: null };
    const handed = { record, inboundIds: [], born: 4, turn: 1, taken: null };
    eu.mover.answer = { kind: 'handed', home: 'us', handed };
    eu.holder.arriveAt({ client: 'dev', found: null, isSure: false, isClean: false }, () => {});
    eu.settle();
    eu.holder.openedAt('dev', null, () => {});
    eu.holder.cutNow('dev', () => {});
    eu.settle();
    comesTo(one, eu);
    t.strictSame(eu.queueOf('dev'), []);
    t.strictSame(eu.lastForUs(), { text: 'away', placed: [['dev', 'us']] });
  },
);

t.test('a message is not handed on otherwise than it was stored', async (t) => {
  const { eu, one } = await setUp();
  const session = eu.session('dev');
  const publisher = one.world.connected(5, 'publisher', kept);
  eu.holder.letGo(session, 'us', 5e15);
  eu.settle();
  publisher.publish('to/dev', 'x', { qos: 2, id: 1 });
  eu.holder.redirectOwn(session, 'us', 5e15);
  eu.settle();
  t.strictSame(
    one.chosen.map((choices) => [...choices]),
    [[['$roam/dev', 'eu']], [['$roam/dev', 'us']]],
    'stored again, as the session has moved on meanwhile',
  );
  t.strictSame(eu.queueOf('dev'), []);
  t.strictSame(eu.lastForUs(), { text: 'x', placed: [] });
  t.equal(publisher.receive().at(-1)?.type, 'pubrec');
  publisher.publish('to/nobody', 'x', { qos: 2, id: 2 });
  eu.settle();
  t.equal(one.chosen.at(-1)!.size, 0, 'and of others nothing is kept');
});

t.test('what another region has published again belongs where it says', async (t) => {
  const { eu, one } = await setUp();
  const link = one.world.broker.linkInlet;
  const publish = (text: string, to: string): void => {
    const message = makeMessage(1, 'to/dev', Buffer.from(text), { qos: 1 });
    const publication = new Publication();
    publication.setMessage(message, 1);
    const id = 'us._____________________w.AAAAAAAB.AYvP5Wh7';
    const mark = { origin: { id, path: 'us' }, version: null, placed: new Map([['dev', to]]) };
    link.publish(publication.view, 'to/dev', publication.view.propertyStart, mark, 0, () => {});
  };
  publish('not for here', 'us');
  publish('for here', 'eu');
  eu.settle();
  t.strictSame(eu.queueOf('dev'), ['for here']);
});

t.test('the region says nothing while something of a node that died may still come', async (t) => {
  const { eu, one } = await setUp();
  one.roam.isOwed = true;
  const session = eu.session('dev');
  let isGone = false;
  eu.holder.whenDurable(eu.holder.letGo(session, 'us', 5e15), () => {
    isGone = true;
  });
  eu.settle();
  t.ok(isGone, 'it is let go all the same');
  eu.holder.redirectOwn(session, 'us', 5e15);
  eu.settle();
  t.strictSame(eu.queueOf('$link/us'), ['node to us', 'node to us']);
  eu.site.time.pass(1000);
  t.equal(eu.queueOf('$link/us').length, 2);
  one.roam.isOwed = false;
  eu.site.time.pass(1000);
  t.strictSame(eu.queueOf('$link/us').slice(2), ['region to us']);
});

t.test(
  'what the owner before may have sent keeps its identifier, whoever is the holder by then',
  async (t) => {
    const { eu, one } = await setUp();
    const publisher = one.world.connected(5, 'publisher', kept);
    publisher.publish('to/dev', 'sent', { qos: 2, id: 1 });
    publisher.publish('to/dev', 'as well', { qos: 1, id: 2 });
    eu.settle();
    eu.holder.letGo(eu.session('dev'), 'us', 5e15);
    eu.settle();
    const idsOf = (): readonly number[] => {
      const ids: number[] = [];
      eu.holder.readPage(eu.session('dev'), 0, 65_536, 'us', (page) => {
        for (const { id } of page) ids.push(id);
      });
      eu.settle();
      return ids;
    };
    t.strictSame(idsOf(), [2, 3]);
    // The same node, which still owns the session, has the links anew.
    eu.holder.close();
    eu.hold(one);
    t.strictSame(idsOf(), [2, 3]);
  },
);

t.test('a word that was lost with the queue it was in is said once more', async (t) => {
  const { eu } = await setUp();
  eu.holder.regions = () => ['us'];
  const session = eu.session('dev');
  eu.holder.letGo(session, 'us', 5e15);
  eu.settle();
  eu.site.time.pass(20_000);
  t.strictSame(eu.mover.asksAgain, [], 'its own region has not said so either');
  eu.holder.redirectOwn(session, 'us', 5e15);
  eu.settle();
  const words = ['node to us', 'node to us', 'region to us'];
  t.strictSame(eu.queueOf('$link/us'), words);
  eu.site.time.pass(10_000);
  t.strictSame(eu.mover.asksAgain, [], 'it may be on its way');
  eu.site.time.pass(10_000);
  t.strictSame(eu.mover.asksAgain, ['us of dev: to us 5000000000000000']);
  eu.holder.redirected('us', 'dev', 'us', 5e15)(false);
  eu.site.time.pass(40_000);
  t.equal(eu.mover.asksAgain.length, 1, 'it has come');

  eu.holder.sayAgain('dev', session, 'us', 5e15);
  eu.settle();
  t.strictSame(eu.queueOf('$link/us'), [...words, 'region to us']);
  eu.holder.sayAgain('gone', null, 'us', 6e15);
  eu.settle();
  t.strictSame(eu.queueOf('$link/us').slice(4), words, 'all say so of one that nobody knows here');
});

t.test(
  'a session that goes on to a third region belongs there once its nodes say so',
  async (t) => {
    const { eu } = await setUp();
    const session = eu.session('dev');
    eu.holder.letGo(session, 'us', 5e15);
    eu.settle();
    eu.holder.redirectOwn(session, 'us', 5e15);
    eu.settle();
    const words = ['node to us', 'node to us', 'region to us'];
    t.strictSame(eu.queueOf('$link/us'), words);
    eu.holder.letGo(session, 'ap', 6e15);
    eu.settle();
    t.strictSame(eu.queueOf('$link/us'), words, 'nothing is said of that CONNECT yet');
    eu.holder.redirectOwn(session, 'ap', 6e15);
    eu.settle();
    t.strictSame(eu.queueOf('$link/us').slice(3), ['node to ap', 'node to ap', 'region to ap']);
  },
);

/** Its client was elsewhere, and is here again; `silent` has not said so, and so its region has not. */
function thereAndBack(eu: MovingDatacenter, silent: FakeNode): void {
  const session = eu.session('dev');
  eu.holder.letGo(session, 'us', 5e15);
  eu.settle();
  silent.roam.listener = null;
  eu.holder.redirectOwn(session, 'us', 5e15);
  eu.settle();
  comesBack(eu, session);
}

t.test(
  'a late word of the other region does not make this one say more than its nodes',
  async (t) => {
    const { eu, one, two } = await setUp();
    thereAndBack(eu, two);
    const said = eu.queueOf('$link/us');
    eu.holder.redirected('us', 'dev', 'us', 5e15)(false);
    eu.settle();
    t.strictSame(eu.queueOf('$link/us'), said, 'it says nothing of a stay that has just begun');
    const publisher = one.world.connected(5, 'publisher', kept);
    publisher.publish('to/dev', 'there', { qos: 1, id: 1 });
    eu.settle();
    t.strictSame(eu.queueOf('dev'), [], 'and its nodes go on as they have said');
  },
);

t.test('a node that begins while a session is on its way says what others have', async (t) => {
  const { eu, one, two } = await setUp();
  thereAndBack(eu, two);
  const said = eu.queueOf('$link/us');
  const join = async (): Promise<void> => {
    const { incarnation } = await eu.node();
    // With the tables.
    one.roam.listener!.tell(incarnation);
    eu.settle();
  };
  await join();
  t.strictSame(eu.queueOf('$link/us').slice(said.length), ['node to us'], 'its region has not');
  await join();
  t.equal(eu.queueOf('$link/us').length, said.length + 2, 'each says so for itself');
});

t.test('a client that comes back waits until its session is forgotten', async (t) => {
  const { eu, one } = await setUp();
  const session = eu.session('dev');
  eu.holder.letGo(session, 'us', 5e15);
  eu.settle();
  // All of it is elsewhere, and its client is on its way back.
  eu.holder.forget(session);
  comesBack(eu, session);
  t.notOk(eu.site.rows.has('dev'), 'what was here is out of the way');
  const back = one.world.client(5, 'dev');
  back.connect(kept);
  eu.settle();
  t.ok(back.accepted(), 'session present');
  t.strictSame([...eu.session('dev').subscriptions!.keys()], ['to/dev']);
});

t.test('what a node says as it begins reaches a link that it comes to know of later', async (t) => {
  const { eu, one } = await setUp();
  eu.holder.letGo(eu.session('dev'), 'us', 5e15);
  eu.settle();
  const said = eu.queueOf('$link/us').length;
  const late = await eu.node();
  const image = one.remote.knownSession('$link/us')!;
  late.remote.applyEnd(image.clientId, image.sid, image.epoch);
  // Another life of it.
  late.roam.listener!.lost();
  one.roam.listener!.tell(late.incarnation);
  eu.settle();
  t.equal(eu.queueOf('$link/us').length, said, 'nobody owns it: it is not in the tables');
  late.remote.applySession({ ...image, epoch: image.epoch + 1 });
  eu.settle();
  t.strictSame(eu.queueOf('$link/us').slice(said), ['node to eu']);
  late.remote.applySession({ ...image, epoch: image.epoch + 2 });
  eu.settle();
  t.equal(eu.queueOf('$link/us').length, said + 1, 'once');
});

t.test(
  'a word of an earlier CONNECT elsewhere outlasts the holder that has heard it',
  async (t) => {
    const { eu, one, two } = await setUp();
    eu.holder.regions = () => ['us'];
    eu.site.time.pass(1000);
    one.world.connected(5, 'dev', kept);
    eu.settle();
    const { born, epoch } = eu.session('dev').roam!;
    t.ok(epoch > born + 1);
    eu.holder.redirected('us', 'dev', 'us', born + 1)(false);
    eu.settle();
    t.equal(eu.session('dev').roam!.homeOf('us'), 'us', 'what is published there is there');
    eu.holder.close();
    eu.hold(two);
    eu.holder.regions = () => ['us'];
    t.equal(eu.session('dev').roam!.homeOf('us'), 'us', 'the next one knows');
    eu.holder.redirected('us', 'dev', 'eu', epoch)(false);
    eu.site.time.pass(2000);
    t.equal(eu.session('dev').roam!.homeOf('us'), 'eu');
    t.notOk(eu.notes.has('m/dev'), 'and nothing is left of it');
  },
);

t.test('back from a region that is silent, it has what it subscribed to there', async (t) => {
  const { eu, one, two } = await setUp();
  const session = eu.session('dev');
  eu.holder.letGo(session, 'us', 5e15);
  eu.settle();
  const { roaming: _, ...record } = session.record();
  const [before] = record.subscriptions;
  const listed = { ...record, subscriptions: [{ ...before!, filter: 'new/dev' }], will: null };
  const found = { home: 'us', epoch: 6e15, timeUs: 5, record: listed };
  eu.mover.answer = { kind: 'silent' };
  eu.holder.arriveAt({ client: 'dev', found, isSure: true, isClean: false }, () => {});
  eu.settle();
  const back = one.world.client(5, 'dev');
  back.connect(kept);
  eu.settle();
  t.ok(back.accepted(), 'session present');
  t.strictSame([...eu.session('dev').subscriptions!.keys()], ['new/dev']);
  const publisher = two.world.connected(5, 'publisher', kept);
  publisher.publish('to/dev', 'unwanted', { qos: 1, id: 1 });
  publisher.publish('new/dev', 'wanted', { qos: 1, id: 2 });
  eu.settle();
  t.strictSame(back.payloads(), ['wanted'], 'every node knows');
});

t.test('what is noted to be elsewhere and was not settled is not delivered', async (t) => {
  const { eu, one, two, device } = await setUp();
  device.sink.close();
  eu.settle();
  const publisher = two.world.connected(5, 'publisher', kept);
  publisher.publish('to/dev', 'there', { qos: 2, id: 1 });
  publisher.publish('to/dev', 'perhaps', { qos: 2, id: 2 });
  eu.settle();
  eu.holder.letGo(eu.session('dev'), 'us', 5e15);
  eu.settle();
  // The holder dies with what it was about to settle.
  one.world.store.settle = () => {};
  const page = (had: number): void => {
    eu.holder.readPage(eu.session('dev'), had, 65_536, 'us', () => {});
    eu.settle();
  };
  page(0);
  page(1);
  eu.holder.save(eu.session('dev'));
  eu.holder.close();
  eu.hold(two);
  t.equal(eu.queueOf('dev').length, 2);

  eu.mover.answer = { kind: 'silent' };
  const { roaming: _, ...record } = eu.session('dev').record();
  const found = { home: 'us', epoch: 6e15, timeUs: 5, record: { ...record, will: null } };
  eu.holder.arriveAt({ client: 'dev', found, isSure: true, isClean: false }, () => {});
  eu.settle();
  t.strictSame(
    eu.queueOf('dev'),
    [],
    'one is settled, the other one put aside until us says whether it has it',
  );
});
