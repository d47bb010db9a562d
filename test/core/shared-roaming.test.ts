// Sessions of a datacenter that go to another region and come back: where each node's messages belong, and what
// it says of that in the queue of the link (ADR 0023).
import t from 'tap';
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

  const { identity } = session;
  const record = { ...session.record(), identity, will: null };
  const handed = { record, inboundIds: [], born: 4, turn: 1, taken: null };
  eu.mover.answer = { kind: 'handed', home: 'us', handed };
  const asked = { client: 'dev', found: null, isSure: false, isClean: false };
  eu.holder.arriveAt(asked, () => {});
  eu.settle();
  t.equal(eu.session('dev').roam!.leaving, null, 'it is here again');
  publisher.publish('to/dev', 'still there', { qos: 1, id: 2 });
  eu.settle();
  t.strictSame(eu.queueOf('dev'), [], 'as the node has said, it belongs to the other region');
  t.strictSame(eu.queueOf('$link/us'), ['node to us', 'there', 'still there']);
});
