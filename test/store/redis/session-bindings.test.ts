// What session numbers stand for: which lane outlives a session that is bound anew, and what an opening leaves.
import t from 'tap';
import type { AppendLane } from '../../../src/store/redis/append-lane.ts';
import type { OwnerLane } from '../../../src/store/redis/owner-lane.ts';
import { type OpenedSession, SessionBindings } from '../../../src/store/redis/session-bindings.ts';

interface Bound {
  readonly bindings: SessionBindings;
  /** Lanes somebody was told of that the core does not have any more. */
  readonly unbound: (AppendLane | OwnerLane)[];
}

function bound(): Bound {
  const unbound: (AppendLane | OwnerLane)[] = [];
  const told = { unbind: (lane: AppendLane | OwnerLane) => unbound.push(lane) };
  const calls = { shardOf: () => 0 };
  const bindings = new SessionBindings({ prefix: 'cw:', calls, appends: told, owners: told });
  return { bindings, unbound };
}

function opened(clientId: string, sid: string, epoch: number): OpenedSession {
  return {
    ...{ clientId, sid, epoch, head: 4, settledSeqs: [6], version: 5 },
    ...{ will: null, willDelayS: 0, turns: [] },
  };
}

t.test('a number nobody bound has no lanes', async (t) => {
  const { bindings } = bound();
  t.equal(bindings.appendLane(1), null);
  t.equal(bindings.ownerLane(1), null);
  bindings.unbind(1);
});

t.test('a session under a later epoch keeps what waits for its queue, not its owner', async (t) => {
  const { bindings, unbound } = bound();
  bindings.bind(1, 'c', 's', 7);
  const append = bindings.appendLane(1);
  const owner = bindings.ownerLane(1);
  bindings.bind(1, 'c', 's', 7);
  t.equal(bindings.ownerLane(1), owner, 'the same again changes nothing');
  bindings.bind(1, 'c', 's', 8);
  t.equal(bindings.appendLane(1), append);
  t.not(bindings.ownerLane(1), owner);
  t.same(unbound, [owner]);
  t.equal(bindings.ownerLane(1)?.epoch, 8);
});

t.test('another session of the client, and its end, tell of both lanes', async (t) => {
  const { bindings, unbound } = bound();
  bindings.bind(1, 'c', 's', 7);
  const lanes = [bindings.appendLane(1), bindings.ownerLane(1)];
  bindings.bind(1, 'c', 'other', 8);
  t.same(unbound, lanes);
  lanes.push(bindings.appendLane(1), bindings.ownerLane(1));
  t.equal(bindings.appendLane(1)?.sid, 'other');
  bindings.unbind(1);
  t.same(unbound, lanes);
  t.equal(bindings.get(1), undefined);
});

t.test('what was opened goes with the number it is bound to, and no other', async (t) => {
  const { bindings } = bound();
  bindings.keepOpened(opened('c', 's', 7));
  t.equal(bindings.openedOf('c', 's')?.epoch, 7, 'not bound yet');
  t.equal(bindings.openedOf('c', 'other'), null);
  bindings.bind(1, 'c', 's', 6);
  bindings.ownerLane(1);
  t.equal(bindings.writtenOf('c', 's', 6), null, 'another epoch: somebody else’s');
  bindings.bind(1, 'c', 's', 7);
  const lane = bindings.ownerLane(1)!;
  t.equal(bindings.writtenOf('c', 's', 7), lane);
  t.equal(bindings.writtenOf('c', 's', 8), null);
  t.notOk(lane.positions.settle(4), 'its positions begin where the queue did');
  t.notOk(lane.positions.settle(6), 'without those that were settled then');
  t.ok(lane.positions.settle(5));
  t.equal(bindings.openedOf('c', 's')?.epoch, 7, 'bound');
  bindings.unbind(1);
  t.equal(bindings.openedOf('c', 's'), null);
});

t.test('of those nobody binds the oldest go', async (t) => {
  const { bindings } = bound();
  for (let i = 0; i <= 10_000; i++) bindings.keepOpened(opened(`c${i}`, 's', 1));
  t.equal(bindings.openedOf('c0', 's'), null);
  t.ok(bindings.openedOf('c1', 's'));
  t.ok(bindings.openedOf('c10000', 's'));
});
