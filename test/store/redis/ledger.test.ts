/**
 * Who owns which session and what becomes of those nobody owns, over a model of Redis in virtual time:
 * opening, closing, wills, dead nodes, what a joiner loads, and the answers that are lost on the way.
 */
import t from 'tap';
import type { LookAnswer, OpenedRecord, SessionImage } from '../../../src/core/cluster-ports.ts';
import type { WillRecord } from '../../../src/core/ports.ts';
import { removeCall, sessionRemove } from '../../../src/store/redis/functions/session-end.ts';
import {
  HEAD_GAP,
  saveCall,
  sessionSave,
} from '../../../src/store/redis/functions/session-record.ts';
import { clientIndexKey, ownedKey, sessionKeys } from '../../../src/store/redis/keys.ts';
import { sessionRecord, textMessage, textOf } from '../../contract/store-recorder.ts';
import { World, type WorldNode } from './redis-world.ts';

const subscription = {
  filter: '$share/g/a/+',
  qos: 2,
  noLocal: true,
  retainAsPublished: false,
  retainHandling: 1,
  subscriptionId: 5,
} as const;

function will(text: string, delayS = 0): WillRecord {
  return { message: textMessage(text, 'will'), delayS, dueAtMs: 0 };
}

function close(
  world: World,
  node: WorldNode,
  clientId: string,
  { sid, epoch }: OpenedRecord,
  expiryIntervalS = 3600,
  willDelayS = -1,
): string {
  return world.ask(node, (done) =>
    node.store.ledger.close(clientId, sid, epoch, expiryIntervalS, willDelayS, done),
  );
}

function look(world: World, node: WorldNode, clientId: string): LookAnswer {
  return world.ask(node, (done) => node.store.ledger.look(clientId, node.node.incarnation, done));
}

function due(world: World, node: WorldNode): readonly string[] {
  return (
    world.ask<readonly string[] | null>(node, (done) => node.store.ledger.due(100, done)) ?? []
  );
}

function load(world: World, node: WorldNode): SessionImage[] {
  const images: SessionImage[] = [];
  const isComplete = world.ask<boolean>(node, (done) =>
    node.store.ledger.load((image) => images.push(image), done),
  );
  if (!isComplete) throw new Error('the load was broken off');
  return images.toSorted((a, b) => (a.clientId < b.clientId ? -1 : 1));
}

function members(world: World, key: string): string[] {
  const value = world.redis.db.values().get(key);
  return value?.type === 'set' ? [...value.set] : [];
}

/** Whoever removed it has died before it could say so. */
function vanish(world: World, { sid, epoch }: OpenedRecord): void {
  const { keys, args } = removeCall(sessionKeys('cw:', 'c'), sid, epoch);
  const { reply } = world.redis.execute(sessionRemove, keys as string[], args.map(String));
  if (reply !== 1) throw new Error(`not removed: ${reply}`);
}

t.test(
  'a session is opened, saved, resumed elsewhere, begun anew, refused to others',
  async (t) => {
    const world = new World(1);
    const a = world.join('a');
    const b = world.join('b');
    const first = world.take(a, 1, 'c', { identity: 'user' });
    t.match(first, { present: false, subscriptions: [], headSeq: 1, tailSeq: 0, oldWill: null });
    let ticket = 0;
    const awaited = { unsafeCount: 0, waiter: null, failed: false };
    a.act(() => {
      const subscriptions = [subscription];
      ticket = a.store.saveSession(sessionRecord(1, 'c', { subscriptions, counter: 3 }));
      a.store.addInboundId(1, 9);
      for (const [packetId, seq] of [
        [30, 1],
        [20, 2],
        [10, 3],
      ] as const) {
        const choices = new Map([['$share/g/é', `m${seq}`]]);
        a.store.beginInbound(1, packetId, textMessage(`p${seq}`), choices, seq, awaited);
      }
      a.store.inboundDone(1, 20);
    });
    world.until(() => awaited.unsafeCount === 0 && a.node.events.committedTicket >= ticket);
    t.notOk(awaited.failed);
    const answer = world.answer(b, 'c', { identity: 'user' });
    if (answer.kind !== 'opened') throw new Error(answer.kind);
    t.same(answer.previousOwners, ['a']);
    const { record } = answer;
    t.match(record, { present: true, sid: first.sid, counter: 3, publisherSeq: 3 });
    t.ok(record.epoch > first.epoch);
    t.same(record.subscriptions, [subscription]);
    t.same(record.inboundIds, [9, 10, 20, 30]);
    t.same(
      record.pending.map(({ packetId, publisherSeq, message, choices }) => [
        packetId,
        publisherSeq,
        textOf(message),
        [...choices],
      ]),
      [
        [30, 1, 'p1', [['$share/g/é', 'm1']]],
        [10, 3, 'p3', [['$share/g/é', 'm3']]],
      ],
      'in the order they were sent in',
    );
    t.equal(world.answer(a, 'c', { identity: 'other' }).kind, 'foreign');
    const anew = world.take(a, 2, 'c', { identity: 'user', cleanStart: true });
    t.match(anew, { present: false, subscriptions: [], inboundIds: [], pending: [] });
    t.not(anew.sid, first.sid);
  },
);

t.test('an open whose answer is lost is asked for again and is one open', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const world = new World(seed, { shards: 1 });
    const node = world.join('node');
    const answers: string[] = [];
    node.port.loseReplies(1 + (seed % 4));
    const answer = world.answer(node, 'c');
    answers.push(answer.kind);
    if (answer.kind !== 'opened') {
      // It was lost before the open was made.
      t.equal(answer.kind, 'unavailable');
      world.pass(200);
      t.same(load(world, node), []);
      continue;
    }
    t.same(answer.previousOwners, [], `seed ${seed}`);
    t.equal(answer.record.present, false);
    world.pass(200);
    t.match(load(world, node), [{ clientId: 'c', owner: 'node', epoch: answer.record.epoch }]);
    t.same(members(world, ownedKey('cw:', 'node')), ['c']);
  }
});

t.test('what was opened for nobody is given back', async (t) => {
  const world = new World(2, { shards: 1 });
  const node = world.join('node');
  // The entry of the index gets through, the answer to the open does not; then Redis is away.
  node.port.loseReplies(2);
  const answers: string[] = [];
  node.act(() =>
    node.store.ledger.open('node', 1, 'ffff', { ...request, clientId: 'c' }, ({ kind }) =>
      answers.push(kind),
    ),
  );
  world.pass(3);
  world.redis.down();
  world.until(() => answers.length > 0);
  t.same(answers, ['unavailable']);
  world.redis.up(true);
  world.pass(500);
  t.match(load(world, node), [{ clientId: 'c', owner: null, sid: 'ffff' }]);
  t.same(members(world, ownedKey('cw:', 'node')), []);
});

const request = {
  clientId: 'c',
  identity: null,
  tenant: '',
  isTenantProven: false,
  version: 5,
  cleanStart: false,
  expiryIntervalS: 3600,
  will: null,
} as const;

t.test('without Redis a CONNECT is told so at once, a close waits', async (t) => {
  const world = new World(3);
  const node = world.join('node');
  const opened = world.take(node, 1, 'c');
  world.redis.down();
  world.pass(50);
  t.equal(world.answer(node, 'd').kind, 'unavailable');
  const outcomes: string[] = [];
  node.act(() =>
    node.store.ledger.close('c', opened.sid, opened.epoch, 3600, -1, (outcome) =>
      outcomes.push(outcome),
    ),
  );
  world.pass(1000);
  t.same(outcomes, []);
  world.redis.up(true);
  world.until(() => outcomes.length > 0);
  t.same(outcomes, ['closed']);
  t.match(load(world, node), [{ clientId: 'c', owner: null }]);
});

t.test('a session is not opened before its close is through', async (t) => {
  const world = new World(4);
  const node = world.join('node');
  const opened = world.take(node, 1, 'c', { will: will('must not be published') });
  const kinds: unknown[] = [];
  node.act(() => {
    // DISCONNECT, and at once a new CONNECT.
    node.store.ledger.close('c', opened.sid, opened.epoch, 3600, -1, (outcome) =>
      kinds.push(outcome),
    );
    node.store.ledger.open('node', 1, 'aaaa', request, (answer) => {
      kinds.push(answer.kind === 'opened' && answer.record.oldWill);
    });
  });
  world.until(() => kinds.length === 2);
  t.same(kinds, ['closed', null]);
  t.same(members(world, ownedKey('cw:', 'node')), ['c'], 'it is ours again');
});

t.test('a takeover gives back the will of the open connection, by its name', async (t) => {
  const world = new World(5);
  const a = world.join('a');
  const b = world.join('b');
  const first = world.take(a, 1, 'c', { will: will('gone') });
  const second = world.take(b, 1, 'c');
  t.match(second.oldWill, { isDue: true, sid: first.sid, epoch: first.epoch });
  t.equal(textOf(second.oldWill!.message), 'gone');
  b.act(() => b.store.ledger.oldWillSettled('c', second.oldWill!.sid, second.oldWill!.epoch));
  world.pass(20);
  t.equal(world.take(a, 2, 'c').oldWill, null);
});

t.test('a delayed will is published once, when it is due, by whoever looks', async (t) => {
  const world = new World(6);
  const a = world.join('a');
  const b = world.join('b');
  const opened = world.take(a, 1, 'c', { will: will('delayed', 10), identity: 'u', tenant: 't' });
  t.equal(close(world, a, 'c', opened, 3600, 10), 'closed');
  world.pass(20);
  t.same(members(world, ownedKey('cw:', 'a')), []);
  world.pass(5000);
  t.same(due(world, b), []);
  t.match(look(world, b, 'c'), { kind: 'wait' });
  world.pass(6000);
  t.same(due(world, b), ['c']);
  const found = look(world, b, 'c');
  if (found.kind !== 'will') throw new Error(found.kind);
  t.match(found.will, { clientId: 'c', identity: 'u', tenant: 't', sid: opened.sid });
  t.equal(textOf(found.will.message), 'delayed');
  t.match(look(world, a, 'c'), { kind: 'wait' }, 'another is publishing it');
  t.same(members(world, ownedKey('cw:', 'b')), ['c'], 'should it die, others know');
  const { sid, epoch } = found.will;
  t.equal(
    world.ask(b, (done) => b.store.ledger.willDone('c', sid, epoch, done)),
    true,
  );
  t.match(look(world, b, 'c'), { kind: 'wait' });
  world.pass(20);
  t.same(members(world, ownedKey('cw:', 'b')), []);
  t.same(due(world, b), []);
  world.pass(3_700_000);
  t.same(due(world, a), ['c']);
  t.match(look(world, a, 'c'), { kind: 'ended', sid: opened.sid });
  world.pass(20);
  t.same(due(world, a), []);
  t.same(members(world, clientIndexKey('cw:', 'c')), []);
});

t.test('a session that ends with its connection is no more', async (t) => {
  const world = new World(7);
  const node = world.join('node');
  const opened = world.take(node, 1, 'c', { expiryIntervalS: 0 });
  t.equal(close(world, node, 'c', opened, 0), 'ended');
  world.pass(20);
  const resumed = world.take(node, 1, 'd');
  t.equal(close(world, node, 'd', resumed, 0), 'ended');
  world.pass(20);
  t.same(members(world, clientIndexKey('cw:', 'd')), []);
  t.same(load(world, node), []);
  const other = world.take(node, 2, 'e');
  world.take(node, 2, 'e');
  t.equal(close(world, node, 'e', other), 'fenced');
  t.ok(members(world, ownedKey('cw:', 'node')).includes('e'), 'the later opening stays');
});

t.test('a dead node’s sessions are taken from it in parts, with their wills', async (t) => {
  const world = new World(8);
  const dead = world.join('dead');
  const survivor = world.join('survivor');
  for (let i = 1; i <= 30; i++) {
    world.take(dead, i, `c${i}`, { will: i <= 10 ? will(`w${i}`) : null });
  }
  world.take(survivor, 1, 'c30');
  world.kernel.kill(dead.sim);
  const taken: string[] = [];
  for (let isMore = true, rounds = 0; isMore && rounds < 50; rounds++) {
    const answer = world.ask<{ clientIds: readonly string[]; isMore: boolean } | null>(
      survivor,
      (done) => survivor.store.ledger.orphan('dead', 8, done),
    );
    taken.push(...answer!.clientIds);
    isMore = answer!.isMore;
  }
  t.equal(new Set(taken).size, 29, 'all but the one that is another’s');
  t.same(members(world, ownedKey('cw:', 'dead')), []);
  const due10 = due(world, survivor).filter((clientId) => {
    const found = look(world, survivor, clientId);
    return found.kind === 'will' && textOf(found.will.message) === `w${clientId.slice(1)}`;
  });
  t.equal(new Set(due10).size, 10);
  t.match(
    load(world, survivor).filter(({ owner }) => owner !== null),
    [{ clientId: 'c30' }],
  );
});

t.test('a will its publisher died with is published by another', async (t) => {
  const world = new World(9);
  const a = world.join('a');
  const b = world.join('b');
  const opened = world.take(a, 1, 'c', { will: will('last words', 1) });
  close(world, a, 'c', opened, 3600, 1);
  world.pass(2000);
  t.equal(look(world, a, 'c').kind, 'will');
  world.kernel.kill(a.sim);
  t.equal(look(world, b, 'c').kind, 'wait');
  world.ask(b, (done) => b.store.ledger.orphan('a', 100, done));
  t.equal(look(world, b, 'c').kind, 'will');
});

t.test('S7: what is written late does not give a session back to who has left it', async (t) => {
  const world = new World(17);
  const node = world.join('node');
  const { sid, epoch } = world.take(node, 1, 'c');
  world.redis.flushAll();
  // Redis takes nothing new for a while; the client goes meanwhile.
  world.redis.refuse('OOM', ['index_add_1', 'session_assert_1']);
  const image: SessionImage = {
    clientId: 'c',
    sid,
    epoch,
    counter: 0,
    owner: 'node',
    identity: null,
    tenant: '',
    expiryIntervalS: 3600,
    subscriptions: [],
  };
  node.act(() => node.store.ledger.assert(image, 0, () => {}));
  world.pass(50);
  node.act(() => node.store.ledger.close('c', sid, epoch, 3600, -1, () => {}));
  world.pass(200);
  world.redis.refuse(null);
  world.pass(3000);
  t.match(load(world, node), [{ clientId: 'c', sid, epoch, owner: null }]);
});

t.test('B7: a close waits for what its owner writes, and that for the session', async (t) => {
  const world = new World(18);
  const node = world.join('node');
  const { sid, epoch } = world.take(node, 1, 'c');
  world.redis.flushAll();
  node.act(() => node.store.saveSession(sessionRecord(1, 'c', { counter: 4 })));
  world.pass(50);
  const outcomes: string[] = [];
  node.act(() =>
    node.store.ledger.close('c', sid, epoch, 3600, -1, (outcome) => outcomes.push(outcome)),
  );
  const image: SessionImage = {
    clientId: 'c',
    sid,
    epoch,
    counter: 4,
    owner: null,
    identity: null,
    tenant: '',
    expiryIntervalS: 3600,
    subscriptions: [subscription],
  };
  let isWritten: boolean | null = null;
  node.act(() =>
    node.store.ledger.assert(image, -1, (answer) => {
      isWritten = answer;
    }),
  );
  // Writers give up what they have for a session that is not there for ten seconds.
  world.pass(500);
  t.equal(isWritten, true, 'it is there again at once');
  t.match(load(world, node), [{ clientId: 'c', sid, epoch, owner: null }]);
  t.strictSame(outcomes, ['gone']);
});

t.test('S8: an open that has waited is not made for a node that may not serve', async (t) => {
  const world = new World(16);
  const a = world.join('a');
  const b = world.join('b');
  const { sid, epoch } = world.take(a, 1, 'c');
  // Behind something that takes long: meanwhile the lease of b is over.
  let mayOpen = true;
  b.store.ledger.mayOpen = () => mayOpen;
  b.port.partition();
  const answers: string[] = [];
  b.act(() => b.store.ledger.close('c', 'ffff', 1, 3600, -1, () => {}));
  b.act(() => b.store.ledger.open('b', 1, 'eeee', { ...request, clientId: 'c' }, () => {}));
  world.pass(100);
  mayOpen = false;
  b.port.heal();
  world.until(() => b.port.isUp);
  b.act(() =>
    b.store.ledger.open('b', 1, 'eeef', { ...request, clientId: 'c' }, ({ kind }) =>
      answers.push(kind),
    ),
  );
  world.pass(1000);
  t.same(answers, ['unavailable']);
  t.match(load(world, a), [{ clientId: 'c', owner: 'a', sid, epoch }], 'a still has it');
  t.same(members(world, ownedKey('cw:', 'b')), []);
});

t.test('S7: a close does not wait for a session that Redis has lost', async (t) => {
  const world = new World(19);
  const node = world.join('a');
  const { sid, epoch } = world.take(node, 1, 'c');
  world.redis.flushAll();
  const outcomes: string[] = [];
  const image = {
    ...{ clientId: 'c', sid, epoch, counter: 1, owner: null },
    ...{ identity: null, tenant: '', expiryIntervalS: 3600, subscriptions: [] },
  };
  const answers: (boolean | null)[] = [];
  node.act(() => {
    node.store.saveSession(sessionRecord(1, 'c', { counter: 1 }));
    node.store.ledger.close('c', sid, epoch, 3600, -1, (outcome) => outcomes.push(outcome));
    node.store.ledger.assert(image, 0, (isWritten) => answers.push(isWritten));
  });
  world.pass(500);
  t.same([outcomes, answers], [['gone'], [true]]);
  t.match(load(world, node), [{ clientId: 'c', sid, epoch, counter: 1, owner: null }]);
});

t.test('S15: nothing is written in the name of a node whose lease is over', async (t) => {
  const world = new World(17);
  const node = world.join('a');
  const opened = world.take(node, 1, 'c');
  close(world, node, 'c', opened, 3600, -1);
  const { sid, epoch } = opened;
  // Survivors are through with what it had: to them it is dead.
  let mayServe = true;
  node.store.ledger.mayOpen = () => mayServe;
  const image = {
    ...{ clientId: 'c', sid, epoch, counter: 0, owner: 'a' },
    ...{ identity: null, tenant: '', expiryIntervalS: 3600, subscriptions: [] },
  };
  const answers: (boolean | null)[] = [];
  node.act(() => node.store.ledger.assert(image, 0, (isWritten) => answers.push(isWritten)));
  mayServe = false;
  world.pass(200);
  t.same(answers, [null]);
  t.match(load(world, node), [{ clientId: 'c', sid, epoch, owner: null }]);
});

t.test('S15: whoever looks at a session that a dead node has takes it from it', async (t) => {
  const world = new World(18);
  const a = world.join('a');
  const b = world.join('b');
  world.take(a, 1, 'c', { will: will('last words') });
  world.kernel.kill(a.sim);
  t.equal(look(world, b, 'c').kind, 'wait');
  world.pass(2000);
  t.match(load(world, b), [{ owner: 'a' }], 'it may be alive');
  b.store.ledger.isDead = (incarnation) => incarnation === 'a';
  t.equal(look(world, b, 'c').kind, 'wait');
  world.pass(100);
  t.match(load(world, b), [{ owner: null }]);
  t.equal(look(world, b, 'c').kind, 'will');
});

t.test('what is given back takes its claim of the old will along', async (t) => {
  const world = new World(14);
  const a = world.join('a');
  const b = world.join('b');
  world.take(a, 1, 'c', { will: will('last words') });
  const { sid, epoch, oldWill } = world.take(b, 2, 'c');
  t.match(oldWill, { isDue: true });
  // Its node may not serve any more: nobody publishes the will, and nobody may be kept out by that.
  b.act(() => b.store.ledger.giveBack('b', 'c', sid, epoch, 3600));
  world.pass(100);
  const record = world.take(a, 3, 'c');
  t.match(record, { present: true, oldWill: { sid: oldWill!.sid, epoch: oldWill!.epoch } });
  t.equal(textOf(record.oldWill!.message), 'last words');
});

t.test('a claim of a dead node that nobody found is in nobody’s way', async (t) => {
  for (const isKnownDead of [false, true]) {
    const world = new World(15);
    const a = world.join('a');
    const b = world.join('b');
    if (isKnownDead) b.store.ledger.isDead = (incarnation) => incarnation === 'a';
    for (const clientId of ['c', 'd']) {
      const opened = world.take(a, 1, clientId, { will: will('last words', 1) });
      close(world, a, clientId, opened, 3600, 1);
    }
    world.pass(2000);
    for (const clientId of ['c', 'd']) t.equal(look(world, a, clientId).kind, 'will');
    world.kernel.kill(a.sim);
    // Whoever took its sessions from it was through before the claims came to Redis.
    t.equal(look(world, b, 'd').kind, 'wait');
    world.pass(50);
    t.equal(look(world, b, 'd').kind, isKnownDead ? 'will' : 'wait');
    const answer = world.answer(b, 'c');
    t.equal(answer.kind, isKnownDead ? 'opened' : 'unavailable');
    if (answer.kind === 'opened') t.equal(textOf(answer.record.oldWill!.message), 'last words');
  }
});

t.test('a node that starts loads every durable session, and says when it could not', async (t) => {
  const world = new World(10);
  const a = world.join('a');
  for (let i = 1; i <= 200; i++) world.take(a, i, `c${i}`, { identity: i % 2 === 0 ? 'u' : null });
  world.take(a, 201, 'passing', { expiryIntervalS: 0 });
  let ticket = 0;
  a.act(() => {
    for (let i = 1; i <= 200; i++) {
      const subscriptions = [{ ...subscription, filter: `f/${i}` }];
      ticket = a.store.saveSession(sessionRecord(i, `c${i}`, { subscriptions, counter: 2 }));
    }
  });
  world.until(() => a.node.events.committedTicket >= ticket);
  const joiner = world.join('joiner');
  const images = load(world, joiner);
  t.equal(images.length, 200);
  for (const { clientId, subscriptions, owner, counter } of images) {
    const filter = subscriptions[0]?.filter;
    if (filter !== `f/${clientId.slice(1)}` || owner !== 'a' || counter !== 2) t.fail(clientId);
  }
  // One that cannot be read hides no other.
  const { sid, epoch } = images[0]!;
  const keys = sessionKeys('cw:', images[0]!.clientId);
  const { keys: names, args } = saveCall(keys, sid, epoch, 3600, 9, Buffer.from('nonsense'));
  world.ask(a, (done) => a.port.call(sessionSave, names, args, done));
  t.equal(load(world, joiner).length, 199);
  t.equal(joiner.store.counters.quarantined, 1);
  const opened = world.take(joiner, 1, images[0]!.clientId, { identity: images[0]!.identity });
  t.match(opened, { present: false, subscriptions: [] }, 'its client has to subscribe anew');
  world.redis.down();
  world.pass(50);
  const isComplete = world.ask<boolean>(joiner, (done) => joiner.store.ledger.load(() => {}, done));
  t.equal(isComplete, false);
});

t.test('who removes a session does not take a new one out of the index', async (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const world = new World(seed, { delayMs: [0.1, 5], shards: 8 });
    const a = world.join('a');
    const b = world.join('b');
    world.take(a, 1, 'c');
    a.act(() => {
      a.store.deleteSession(1);
      a.store.unbind(1);
    });
    let isOpen = false;
    const again = seed % 2 === 0 ? a : b;
    again.act(
      () =>
        again.store.ledger.open(again.node.incarnation, 1, 'bbbb', request, ({ kind }) => {
          isOpen = kind === 'opened';
        }),
      world.kernel.chance.next() * 20,
    );
    world.until(() => isOpen);
    world.pass(200);
    t.match(load(world, b), [{ clientId: 'c', sid: 'bbbb' }], `seed ${seed}`);
    t.same(members(world, ownedKey('cw:', again.node.incarnation)), ['c'], `seed ${seed}`);
  }
});

t.test('two who remove a session one after the other leave nothing in the index', async (t) => {
  const key = clientIndexKey('cw:', 'c');
  for (let seed = 1; seed <= 30; seed++) {
    const world = new World(seed, { delayMs: [0.1, 5], shards: 8 });
    const a = world.join('a');
    const b = world.join('b');
    world.take(a, 1, 'c');
    const second = world.take(b, 2, 'c');
    world.pass(200);
    t.same(members(world, key), ['c'], `seed ${seed}`);
    // Its own is fenced, but finds the session of b.
    a.act(() => a.store.deleteSession(1));
    b.act(() => b.store.deleteSession(2), world.kernel.chance.next() * 20);
    world.pass(200);
    t.same(members(world, key), [], `seed ${seed}, epoch ${second.epoch}`);
  }
});

t.test('an entry of the index without a session goes when somebody loads', async (t) => {
  const key = clientIndexKey('cw:', 'c');
  const world = new World(3, { shards: 8 });
  const a = world.join('a');
  const opened = world.take(a, 1, 'c');
  world.pass(100);
  vanish(world, opened);
  t.same(load(world, a), []);
  // The session may just be made again.
  const again = world.take(a, 2, 'c');
  world.pass(100);
  t.not(again.sid, opened.sid);
  t.same(members(world, key), ['c']);
  vanish(world, again);
  t.same(load(world, a), []);
  world.pass(100);
  t.same(members(world, key), []);
});

t.test('after Redis was emptied sessions are asserted, their wills with them', async (t) => {
  const world = new World(11);
  const a = world.join('a');
  const b = world.join('b');
  const opened = world.take(a, 1, 'c', { will: will('kept') });
  world.redis.flushAll();
  const image: SessionImage = {
    clientId: 'c',
    sid: opened.sid,
    epoch: opened.epoch,
    counter: 7,
    owner: 'a',
    identity: null,
    tenant: '',
    expiryIntervalS: 3600,
    subscriptions: [subscription],
  };
  t.equal(
    world.ask(a, (done) => a.store.ledger.assert(image, 41, done)),
    true,
  );
  t.match(load(world, b), [{ clientId: 'c', owner: 'a', counter: 7 }]);
  t.same(members(world, ownedKey('cw:', 'a')), ['c']);
  const next = world.take(b, 1, 'c');
  t.match(next, { present: true, headSeq: 42 + HEAD_GAP, tailSeq: 41 + HEAD_GAP });
  t.equal(textOf(next.oldWill!.message), 'kept');
});

t.test(
  'an open that nobody waits for any more tells whom it has taken the session from',
  async (t) => {
    const world = new World(17);
    const a = world.join('a');
    const b = world.join('b');
    const { sid, epoch } = world.take(a, 1, 'c');
    const told: string[] = [];
    b.store.ledger.onSuperseded = (owner, clientId, later) => {
      told.push(`${owner} ${clientId} ${later > epoch}`);
    };
    const left: SessionImage[] = [];
    b.store.ledger.onGivenBack = (image) => left.push(image);
    const answers: string[] = [];
    // It is executed, its answer is lost, and nothing else comes through for a while.
    b.port.loseReplies(2);
    b.act(() =>
      b.store.ledger.open('b', 2, 'eeee', { ...request, clientId: 'c' }, ({ kind }) =>
        answers.push(kind),
      ),
    );
    world.until(() => !b.port.isUp);
    b.port.partition();
    world.pass(6000);
    t.same(answers, ['unavailable']);
    t.same(told, []);
    b.port.heal();
    world.pass(3000);
    t.same(told, ['a c true']);
    t.match(load(world, a), [{ clientId: 'c', owner: null, sid }], 'it is given back');
    t.same(left, load(world, a));
  },
);

for (const why of ['its node may not serve', 'nobody waits for it'] as const) {
  t.test(`an open is not carried out late when ${why} any more`, async (t) => {
    const world = new World(18);
    const a = world.join('a');
    const b = world.join('b');
    const { sid, epoch } = world.take(a, 1, 'c');
    let isOver = false;
    if (why === 'its node may not serve') b.store.ledger.mayOpen = () => !isOver;
    const isWanted = (): boolean => why !== 'nobody waits for it' || !isOver;
    const wanted = { ...request, clientId: 'c', isWanted };
    const told: string[] = [];
    b.store.ledger.onSuperseded = (owner) => told.push(owner);
    const answers: string[] = [];
    // It does not arrive, and nobody knows: it is asked for again.
    let opens = 0;
    const call = b.port.call.bind(b.port);
    b.port.call = (fn, keys, args, done) => {
      call(fn, keys, args, done);
      if (fn.name !== 'session_open_1') return;
      opens++;
      if (opens === 1) b.port.reset('gone');
    };
    b.act(() => b.store.ledger.open('b', 2, 'eeee', wanted, ({ kind }) => answers.push(kind)));
    world.until(() => opens === 1 && !b.port.isUp);
    b.port.partition();
    isOver = true;
    world.pass(3000);
    b.port.heal();
    world.pass(3000);
    t.same([opens, answers], [2, ['unavailable']]);
    t.match(load(world, a), [{ clientId: 'c', owner: 'a', sid, epoch }], 'a still has it');
    t.same(told, []);
    t.same(members(world, ownedKey('cw:', 'b')), []);
  });
}
