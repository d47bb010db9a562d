/**
 * What each function promises (ADR 0013), on a real Redis and on the model at once: every answer is the
 * same on both. The interleavings are those of DESIGN's hard cases 1, 7, 9, 10, 13.
 */
import t, { type Test } from 'tap';
import {
  buryCall,
  deadCall,
  deadReply,
  forgetCall,
  joinCall,
  joinReply,
  leaveCall,
  nodeBury,
  nodeDead,
  nodeForget,
  nodeJoin,
  nodeKeys,
  nodeLeave,
  nodeRenew,
  recordText,
  renewCall,
  renewReply,
  roleCall,
  roleTake,
} from '../../../src/cluster/node-functions.ts';
import type { RedisFunction, RedisReply } from '../../../src/drivers/redis/redis-port.ts';
import {
  indexAdd,
  indexCall,
  indexRemove,
  indexScan,
  scanCall,
  scanReply,
} from '../../../src/store/redis/functions/client-index.ts';
import {
  dueAdd,
  dueAddCall,
  dueSettle,
  dueSettleCall,
  dueTake,
  dueTakeCall,
  dueTakeReply,
} from '../../../src/store/redis/functions/due.ts';
import { fencedAnswer, type RedisCall } from '../../../src/store/redis/functions/reply.ts';
import {
  closeCall,
  closeReply,
  orphanCall,
  orphanReply,
  removeCall,
  sessionClose,
  sessionOrphan,
  sessionRemove,
} from '../../../src/store/redis/functions/session-end.ts';
import {
  InboundCall,
  inboundAnswer,
  sessionInbound,
} from '../../../src/store/redis/functions/session-inbound.ts';
import {
  adoptCall,
  type OpenArguments,
  type OpenReply,
  openCall,
  openReply,
  sessionAdopt,
  sessionOpen,
} from '../../../src/store/redis/functions/session-open.ts';
import {
  AppendCall,
  type AppendReply,
  appendReply,
  positionOf,
  type ReadReply,
  readCall,
  readReply,
  sessionAppend,
  sessionRead,
  sessionSettle,
  settleCall,
} from '../../../src/store/redis/functions/session-queue.ts';
import {
  type AssertArguments,
  assertCall,
  HEAD_GAP,
  listCall,
  listReply,
  saveCall,
  sessionAssert,
  sessionList,
  sessionSave,
} from '../../../src/store/redis/functions/session-record.ts';
import {
  lookCall,
  lookReply,
  sessionLook,
  sessionUnclaim,
  sessionWillDone,
  unclaimCall,
  willDoneCall,
} from '../../../src/store/redis/functions/session-will.ts';
import { InboundChange } from '../../../src/store/redis/inbound-change.ts';
import { sessionKeys } from '../../../src/store/redis/keys.ts';
import { SeededRandom } from '../../core/manual-time.ts';
import { seedOr } from '../../support/seed.ts';
import { comparable, Model, RealRedis } from './functions-harness.ts';

const NEVER = 4294967295;
const START_MS = 1_800_000_000_123;
const K = sessionKeys('p:', 'client');
type Opened = Extract<OpenReply, { kind: 'opened' }>;

const real = await RealRedis.start(t);

/** Both at once; an answer that differs fails the test. */
class Both {
  readonly model: Model = new Model();
  readonly #t: Test;
  #sids = 0;

  constructor(t: Test) {
    this.#t = t;
    this.at(START_MS);
  }

  static async begin(t: Test): Promise<Both> {
    await real.empty();
    return new Both(t);
  }

  at(nowMs: number): void {
    this.model.nowMs = nowMs;
    real.at(nowMs);
  }

  get nowMs(): number {
    return this.model.nowMs;
  }

  async call(fn: RedisFunction, call: RedisCall): Promise<RedisReply> {
    const reply = await real.call(fn, call.keys, call.args);
    const here = comparable(fn.name, reply);
    const there = comparable(fn.name, this.model.call(fn, call.keys, call.args));
    if (here !== there) this.#t.equal(here, there, `${fn.name} on Redis and model`);
    return reply;
  }

  async tryOpen(options: Partial<OpenArguments> = {}): Promise<OpenReply> {
    const call = openCall(K, {
      owner: 'n1',
      hlcMs: this.nowMs,
      newSid: (++this.#sids).toString(16).padStart(16, '0'),
      identity: 'u',
      tenant: '',
      isTenantProven: false,
      cleanStart: false,
      expiryIntervalS: NEVER,
      version: 5,
      will: null,
      willDelayS: 0,
      ...options,
    });
    return openReply(await this.call(sessionOpen, call));
  }

  async open(options: Partial<OpenArguments> = {}): Promise<Opened> {
    const reply = await this.tryOpen(options);
    if (reply.kind !== 'opened') throw new Error(`open answered ${reply.kind}`);
    return reply;
  }

  async append(
    sid: string,
    values: readonly (readonly [seq: number, text: string])[],
    options: {
      writer?: string;
      after?: number;
      messagesMax?: number;
      bytesMax?: number;
      overflow?: 'oldest' | 'newest';
    } = {},
  ): Promise<AppendReply> {
    const { messagesMax = 1e6, bytesMax = 1e9, overflow = 'oldest' } = options;
    const call = new AppendCall(messagesMax, bytesMax, overflow);
    call.session(K, sid, options.writer ?? 'w', options.after ?? 0);
    for (const [seq, text] of values) call.value(seq, Buffer.from(text));
    return appendReply(await this.call(sessionAppend, call))[0]!;
  }

  async settle(
    { sid, epoch }: { readonly sid: string; readonly epoch: number },
    upTo: number,
    released: readonly number[] = [],
    settled: readonly number[] = [],
  ): Promise<string> {
    const call = settleCall(K, sid, epoch, upTo, released, settled);
    return fencedAnswer(sessionSettle.name, await this.call(sessionSettle, call));
  }

  async read(sid: string, from = 0, count = 1000, bytes = 1e9): Promise<ReadReply | null> {
    return readReply(await this.call(sessionRead, readCall(K, sid, from, count, bytes)));
  }

  async texts(sid: string): Promise<string[]> {
    return ((await this.read(sid))?.values ?? []).map((value) => value.toString());
  }

  async close(
    { sid, epoch }: { readonly sid: string; readonly epoch: number },
    expiryS = NEVER,
    willDelayS = -1,
  ): Promise<ReturnType<typeof closeReply>> {
    return closeReply(await this.call(sessionClose, closeCall(K, sid, epoch, expiryS, willDelayS)));
  }

  async orphan(owner: string): Promise<ReturnType<typeof orphanReply>> {
    return orphanReply(await this.call(sessionOrphan, orphanCall(K, owner)));
  }

  async look(by: string): Promise<ReturnType<typeof lookReply>> {
    return lookReply(await this.call(sessionLook, lookCall(K, by)));
  }

  async adopted({
    sid,
    epoch,
  }: {
    readonly sid: string;
    readonly epoch: number;
  }): Promise<RedisReply> {
    const reply = await this.call(sessionAdopt, adoptCall(K, sid, epoch));
    return typeof reply === 'number' ? reply : String(reply);
  }

  async willDone(sid: string, epoch: number): Promise<RedisReply> {
    return await this.call(sessionWillDone, willDoneCall(K, sid, epoch));
  }

  async assert(options: Partial<AssertArguments>): Promise<RedisReply> {
    const call = assertCall(K, {
      owner: '',
      sid: 'aa',
      epoch: 1,
      identity: 'u',
      tenant: '',
      version: 5,
      expiryIntervalS: NEVER,
      counter: 3,
      rec: Buffer.from('rec'),
      head: 0,
      goneMs: 0,
      will: null,
      willDelayS: 0,
      ...options,
    });
    return await this.call(sessionAssert, call);
  }

  /** Every key is the same on both; what is left on the model. */
  async same(): Promise<number> {
    const [here, there] = [await real.dump(), this.model.dump()];
    this.#t.same(Object.fromEntries(here), Object.fromEntries(there), 'the same keys');
    // That a session has ended outlasts it.
    return [...here.keys()].filter((key) => key !== K.end).length;
  }
}

t.test('session_open gives epochs that rise over everything', async (t) => {
  const both = await Both.begin(t);
  const first = await both.open();
  t.same([first.epoch, first.present, first.previousOwners], [START_MS, false, []]);
  t.same([first.head, first.tail, first.bytes, first.oldWill], [0, 0, 0, null]);
  const second = await both.open({ owner: 'n2', hlcMs: START_MS - 5000 });
  t.equal(second.epoch, START_MS + 1, 'a clock that is behind does not take it back');
  t.same([second.present, second.previousOwners, second.sid], [true, ['n1'], first.sid]);
  const third = await both.open({ hlcMs: START_MS * 1000 });
  t.equal(third.epoch, START_MS * 1000, 'microseconds are whole numbers too');
  t.equal((await both.open({ hlcMs: 1 })).epoch, START_MS * 1000 + 1);
  const stored = await real.send(['HGET', K.meta, 'epoch']);
  t.equal(String(stored), '1800000000123001', 'as decimal digits');
  await real.empty();
  const anew = await new Both(t).open({ hlcMs: START_MS + 7 });
  t.equal(anew.epoch, START_MS + 7, 'after FLUSHALL the clock alone keeps it above [hard case 1]');
});

t.test('session_open repeated, as its answer was lost, answers the same', async (t) => {
  const both = await Both.begin(t);
  await both.open({ owner: 'n1', will: Buffer.from('bye') });
  const options = { owner: 'n2', newSid: 'feed', hlcMs: START_MS + 50 };
  const first = await both.open(options);
  t.same(first.previousOwners, ['n1']);
  t.equal(String(first.oldWill?.value), 'bye');
  t.same(await both.open({ ...options, hlcMs: START_MS + 90 }), first);
  const { oldWill } = first;
  t.equal(await both.willDone(oldWill!.sid, oldWill!.epoch), 1);
  t.same(await both.open(options), { ...first, oldWill: null });
  await both.open({ owner: 'n3' });
  t.not((await both.open(options)).epoch, first.epoch, 'not when another had it meanwhile');
});

t.test('session_open names all who may still have it, until one has it alone', async (t) => {
  const both = await Both.begin(t);
  const names = async (owner: string): Promise<readonly string[]> =>
    (await both.open({ owner, newSid: 'aa' })).previousOwners;
  await both.open({ owner: 'n1', newSid: 'aa' });
  t.same(await names('n2'), ['n1']);
  t.same(await names('n3'), ['n2', 'n1'], 'n2 may not have asked n1 yet');
  const given = await both.open({ owner: 'n2', newSid: 'bb' });
  t.same(given.previousOwners, ['n3', 'n2', 'n1']);
  await both.close(given);
  t.same(await names('n4'), ['n3', 'n2', 'n1'], 'n2 has given it back, and never had it');
  await both.orphan('n4');
  const own = await both.open({ owner: 'n1', newSid: 'cc' });
  t.same(own.previousOwners, ['n3', 'n2', 'n1'], 'n4 is dead');
  t.same(await both.open({ owner: 'n1', newSid: 'cc' }), own, 'the same when it is repeated');
  t.equal(await both.adopted({ ...own, epoch: own.epoch - 1 }), 'fenced');
  t.equal(await both.adopted(own), 1);
  t.equal(await both.adopted(own), 0);
  t.same(await names('n2'), ['n1'], 'whoever had it before n1 has let go');
  for (let node = 0; node < 40; node++) await both.open({ owner: `m${node}`, newSid: 'dd' });
  const many = await both.open({ owner: 'n1', newSid: 'ee', cleanStart: true });
  t.equal(many.previousOwners.length, 32, 'there is a bound');
  t.equal(many.previousOwners[0], 'm39');
  await real.empty();
  t.equal(await new Both(t).adopted(own), 'gone');
});

t.test('session_open that is given up takes nothing from anybody', async (t) => {
  const both = await Both.begin(t);
  const options = { owner: 'n2', newSid: 'feed' };
  t.same(await both.tryOpen({ ...options, isGivenUp: true }), { kind: 'never' }, 'nor makes any');
  const first = await both.open({ owner: 'n1' });
  t.same(await both.tryOpen({ ...options, isGivenUp: true }), { kind: 'never' });
  await both.append(first.sid, [[1, 'x']]);
  t.equal((await both.open({ owner: 'n1' })).present, true, 'it is as it was');
  const taken = await both.open(options);
  t.same(await both.tryOpen({ ...options, isGivenUp: true }), taken, 'unless it was carried out');
});

t.test('session_open and who may have it', async (t) => {
  const both = await Both.begin(t);
  const own = await both.open({ identity: 'u', tenant: 't' });
  t.equal((await both.tryOpen({ identity: 'v' })).kind, 'foreign');
  t.equal((await both.tryOpen({ identity: null, cleanStart: true })).kind, 'foreign');
  t.equal((await both.tryOpen({ tenant: 'x', isTenantProven: true })).kind, 'foreign');
  t.equal((await both.open({ tenant: 'x' })).sid, own.sid, 'a tenant that is only said moves');
  await real.empty();
  const other = new Both(t);
  const nobodys = await other.open({ identity: null });
  await other.append(nobodys.sid, [[1, 'secret']]);
  const named = await other.open({ identity: 'u', newSid: 'cafe', owner: 'n2' });
  t.same([named.present, named.sid, named.tail], [false, 'cafe', 0], 'begins anew');
  t.same(named.previousOwners, ['n1'], 'whoever had it lets go');
  t.equal(await other.same(), 2);
});

t.test('session_open: expired, clean, ended by takeover', async (t) => {
  const both = await Both.begin(t);
  const first = await both.open({ expiryIntervalS: 10 });
  await both.append(first.sid, [[1, 'x']]);
  await both.close(first, 10);
  both.at(START_MS + 9999);
  t.equal((await both.open({ expiryIntervalS: 10 })).present, true, 'one ms before');
  const again = await both.open({ expiryIntervalS: 10 });
  await both.close(again, 10);
  both.at(both.nowMs + 10_000);
  const late = await both.open({ identity: 'v', newSid: 'bb' });
  t.same([late.present, late.sid], [false, 'bb'], 'an expired session is nobody’s');
  const clean = await both.open({ identity: 'v', cleanStart: true, expiryIntervalS: 0 });
  t.equal(clean.present, false);
  t.equal(await both.same(), 1, 'one that ends with its connection has a record only');
  t.equal((await both.append(clean.sid, [[1, 'x']])).status, 'absent');
  t.equal((await both.open({ identity: 'v' })).present, false, 'taken over, it has ended');
});

t.test('session_open and wills: due now, void, or being published', async (t) => {
  const will = Buffer.from('bye');
  const cases = [
    // Connected when another connection comes.
    { name: 'no delay', delayS: 0, closes: false, waitMs: 0, clean: false, isDue: true },
    { name: 'a delay', delayS: 5, closes: false, waitMs: 0, clean: false, isDue: false },
    { name: 'a delay, clean', delayS: 5, closes: false, waitMs: 0, clean: true, isDue: true },
    // Disconnected before.
    { name: 'pending', delayS: 5, closes: true, waitMs: 4999, clean: false, isDue: false },
    { name: 'pending, clean', delayS: 5, closes: true, waitMs: 1, clean: true, isDue: true },
    { name: 'delay over', delayS: 5, closes: true, waitMs: 5000, clean: false, isDue: true },
  ];
  for (const { name, delayS, closes, waitMs, clean, isDue } of cases) {
    const both = await Both.begin(t);
    const first = await both.open({ will, willDelayS: delayS });
    if (closes) await both.close(first, NEVER, delayS);
    both.at(START_MS + waitMs);
    const second = await both.open({ owner: 'n2', cleanStart: clean });
    const { oldWill } = second;
    t.equal(oldWill !== null, isDue, name);
    // Whatever became of it, it is not published again.
    t.equal(await both.willDone(first.sid, first.epoch), isDue ? 1 : 0);
    if (oldWill !== null) t.same([oldWill.sid, oldWill.epoch], [first.sid, first.epoch]);
    await both.close(second);
    t.equal((await both.look('n3')).kind, 'wait', name);
    await both.same();
  }
});

t.test('session_open waits for a will that is being published [hard case 13]', async (t) => {
  const both = await Both.begin(t);
  const first = await both.open({ will: Buffer.from('offline') });
  await both.orphan('n1');
  const found = await both.look('n2');
  t.equal(found.kind, 'will');
  t.same(await both.tryOpen({ owner: 'n3' }), { kind: 'busy', by: 'n2' });
  await both.willDone(first.sid, first.epoch);
  const next = await both.open({ owner: 'n3', will: Buffer.from('second') });
  t.equal(next.oldWill, null);
  const third = await both.open({ owner: 'n4' });
  t.equal(String(third.oldWill?.value), 'second');
  t.same(await both.tryOpen({ owner: 'n5' }), { kind: 'busy', by: 'n4' }, 'not settled yet');
  t.equal(String((await both.open({ owner: 'n4' })).oldWill?.value), 'second', 'its own it may');
  // The one who had to publish it dies: the next owner is given it.
  await both.orphan('n4');
  const last = await both.open({ owner: 'n5', cleanStart: true });
  t.equal(String(last.oldWill?.value), 'second');
  t.equal(last.oldWill?.epoch, next.epoch, 'named by the connection that left it');
});

t.test('session_append: positions, and nothing twice [hard case 7]', async (t) => {
  const both = await Both.begin(t);
  const { sid } = await both.open();
  const first = await both.append(sid, [
    [1, 'a'],
    [2, 'b'],
  ]);
  t.same([first.status, first.tail, first.owner, first.stored], ['stored', 2, 'n1', 2]);
  t.same([positionOf(first, 0), positionOf(first, 1)], [1, 2]);
  const again = await both.append(sid, [
    [2, 'b'],
    [3, 'c'],
  ]);
  t.same([again.skipped, again.stored, again.tail], [1, 1, 3], 'in another batch');
  t.same([positionOf(again, 0), positionOf(again, 1)], [0, 3]);
  t.equal((await both.append(sid, [[3, 'c']])).stored, 0);
  t.equal((await both.append(sid, [[1, 'z']], { writer: 'other' })).tail, 4, 'each for itself');
  t.same(await both.texts(sid), ['a', 'b', 'c', 'z']);
  const { epoch } = await both.open({ owner: 'n2' });
  await both.settle({ sid, epoch }, 4);
  t.equal((await both.append(sid, [[3, 'c']])).skipped, 1, 'also when it has left the queue');
  await both.same();
});

t.test(
  'session_append: pages of another region are known for 30 days, others for an hour',
  async (t) => {
    const both = await Both.begin(t);
    const { sid } = await both.open();
    const put = async (writer: string): Promise<number> =>
      (await both.append(sid, [[7, 'x']], { writer })).stored;
    const moved = 'm00064f0c8d2e40';
    t.same([await put(moved), await put('p')], [1, 1]);
    const others = async (prefix: string): Promise<void> => {
      for (let i = 0; i < 96; i++) await put(`${prefix}${i}`);
    };
    both.at(both.nowMs + 3_600_001);
    await others('a');
    t.same([await put(moved), await put('p')], [0, 1]);
    both.at(both.nowMs + 30 * 24 * 3_600_000 + 1);
    await others('b');
    t.same([await put(moved), await put('p')], [1, 1]);
    await both.same();
  },
);

t.test('session_append misses a successor, and waits for what went before', async (t) => {
  const both = await Both.begin(t);
  const old = await both.open();
  await both.append(old.sid, [[1, 'a']]);
  const anew = await both.open({ cleanStart: true });
  t.equal((await both.append(old.sid, [[2, 'late']])).status, 'replaced');
  t.same(await both.texts(anew.sid), []);
  t.equal((await both.append(anew.sid, [[5, 'x']], { after: 4 })).status, 'gap');
  t.same(await both.texts(anew.sid), [], 'what was refused before it comes first');
  t.equal((await both.append(anew.sid, [[4, 'w']])).status, 'stored');
  t.equal((await both.append(anew.sid, [[5, 'x']], { after: 4 })).status, 'stored');
  t.same(await both.texts(anew.sid), ['w', 'x']);
  await both.call(sessionRemove, removeCall(K, anew.sid, anew.epoch));
  t.equal((await both.append(anew.sid, [[6, 'y']])).status, 'absent');
  t.equal(await both.same(), 0);
});

t.test('session_append to many sessions in one call', async (t) => {
  const both = await Both.begin(t);
  const { sid } = await both.open();
  const call = new AppendCall(10, 1e6, 'newest');
  call.session(K, sid, 'w', 0);
  for (let seq = 1; seq <= 2500; seq++) call.value(seq, Buffer.from(`${seq}`));
  const other = sessionKeys('p:', 'somebody else');
  call.session(other, 'none', 'w', 0);
  call.value(1, Buffer.from('x'));
  call.session(K, sid, 'v', 0);
  call.value(1, Buffer.from('y'));
  t.equal(call.sessions, 3);
  const [full, absent, after] = appendReply(await both.call(sessionAppend, call));
  t.same([full?.stored, full?.refused.length, full?.refused[0]], [10, 2490, 10]);
  t.equal(positionOf(full!, 10), -1);
  t.equal(absent?.status, 'absent');
  t.same(after?.refused, [0]);
  const big = new AppendCall(1e6, 1e9, 'newest');
  big.session(K, sid, 'w', 0);
  for (let seq = 2501; seq <= 12_000; seq++) big.value(seq, Buffer.from(`${seq}`));
  t.equal(
    appendReply(await both.call(sessionAppend, big))[0]?.tail,
    9510,
    'beyond what unpack takes',
  );
  const settled = await both.settle(await both.open(), 9500);
  t.equal(settled, 'done');
  t.equal((await both.texts(sid)).length, 10);
  await both.same();
});

t.test('drop oldest goes around what PUBREL is due for', async (t) => {
  const both = await Both.begin(t);
  const session = await both.open();
  const five = [1, 2, 3, 4, 5].map((seq) => [seq, `m${seq}`] as const);
  await both.append(session.sid, five);
  await both.settle(session, 0, [2]);
  const bounds = { messagesMax: 5 };
  const first = await both.append(session.sid, [[6, 'm6']], bounds);
  t.same([first.dropped, first.tail], [1, 6]);
  t.same(await both.texts(session.sid), ['m2', 'm3', 'm4', 'm5', 'm6']);
  const more = [7, 8].map((seq) => [seq, `m${seq}`] as const);
  t.equal((await both.append(session.sid, more, bounds)).dropped, 2);
  const now = (await both.read(session.sid))!;
  t.same(now.values.map(String), ['m2', '', '', 'm5', 'm6', 'm7', 'm8'], 'positions stay');
  t.same(now.marks, { released: [2], settled: [3, 4] });
  t.same([now.head, now.tail, now.firstSeq], [1, 8, 2]);
  const tight = await both.append(session.sid, [[9, 'x'.repeat(9)]], { bytesMax: 10 });
  t.same(tight.refused, [0], 'what is due stays, the newest does not come');
  t.equal((await both.texts(session.sid)).length, 7, 'and nothing goes for nothing');
  await both.settle(session, 0, [], [2]);
  const after = (await both.read(session.sid))!;
  t.same([after.head, after.values.map(String)], [4, ['m5', 'm6', 'm7', 'm8']]);
  const listed = listReply(await both.call(sessionList, listCall(K)));
  t.equal(listed?.bytes, 8);
  await both.same();
});

t.test('session_settle: the list outlives every removal', async (t) => {
  const both = await Both.begin(t);
  const session = await both.open();
  // A removal that overtakes the append: without the clamp the list, and the session, would be gone.
  t.equal(await both.settle(session, 5), 'done');
  t.equal((await both.append(session.sid, [[1, 'a']])).tail, 1);
  t.equal(await both.settle(session, 99), 'done');
  t.equal(await both.settle(session, 99), 'done', 'twice');
  t.equal((await both.append(session.sid, [[2, 'b'.repeat(100)]])).tail, 2);
  t.equal(await both.settle(session, 2), 'done');
  t.same(await real.send(['LRANGE', K.queue, '0', '-1']), [Buffer.from('')], 'no body is kept');
  const open = await both.open();
  t.same([open.head, open.tail, open.bytes], [2, 2, 0]);
  await both.append(session.sid, [
    [3, 'c'],
    [4, 'd'],
    [5, 'e'],
  ]);
  await both.settle(open, 0, [4], [5]);
  const early = await both.open();
  t.same(early.marks, { released: [4], settled: [5] }, 'a new owner knows [hard case 9]');
  await both.settle(early, 3, [5], [4]);
  const end = await both.open();
  t.same([end.head, end.tail, end.marks.settled.length], [5, 5, 0], 'over what was settled early');
  await both.settle(end, 0, [77], [78]);
  t.equal(await both.same(), 3, 'what is not in the queue leaves no mark');
});

t.test('session_settle: appended = removed + left, whatever overtakes what', async (t) => {
  const seed = seedOr(1);
  t.comment(`seed ${seed}`);
  const random = new SeededRandom(seed);
  const both = await Both.begin(t);
  const session = await both.open();
  let appended = 0;
  let head = 0;
  for (let i = 0; i < 400; i++) {
    const count = random.below(5);
    if (count > 0) {
      const values: [number, string][] = [];
      for (let n = 0; n < count; n++) values.push([++appended, `${appended}`]);
      const reply = await both.append(session.sid, values);
      if (reply.tail !== appended) t.fail(`tail ${reply.tail}, appended ${appended}`);
    }
    const ahead = head + random.below(12);
    await both.settle(session, random.below(2) * ahead, [], [head + random.below(9)]);
    const { head: now, values } = (await both.read(session.sid))!;
    if (now < head || now + values.length !== appended) {
      t.fail(`after ${i}: head ${now}, left ${values.length}, appended ${appended}`);
      return;
    }
    for (const [k, value] of values.entries()) {
      if (value.length > 0 && String(value) !== `${now + k + 1}`) t.fail(`position ${now + k + 1}`);
    }
    head = now;
  }
  await both.same();
  t.ok(head > 300, `${appended} appended, ${head} removed`);
});

t.test('session_read: bounds, and nothing of another session', async (t) => {
  const both = await Both.begin(t);
  const session = await both.open();
  t.same((await both.read(session.sid))?.values, []);
  const values = Array.from({ length: 40 }, (_, i) => [i + 1, `${i + 1}`.padEnd(10)] as const);
  await both.append(session.sid, values);
  await both.append(session.sid, [[41, 'x'.repeat(5000)]]);
  const counts = async (from: number, count: number, bytes: number): Promise<number[]> => {
    const reply = (await both.read(session.sid, from, count, bytes))!;
    return [reply.firstSeq, reply.values.length];
  };
  t.same(await counts(0, 3, 1000), [1, 3]);
  t.same(await counts(5, 100, 25), [5, 3], 'about so many bytes');
  t.same(await counts(41, 100, 1), [41, 1], 'one in any case');
  t.same(await counts(42, 100, 1), [42, 0]);
  t.same(await counts(1, 100, 1e9), [1, 41]);
  t.equal(await both.read('other'), null);
});

t.test('who does not own a session writes nothing', async (t) => {
  const both = await Both.begin(t);
  const old = await both.open({ will: Buffer.from('w'), willDelayS: 9 });
  await both.append(old.sid, [[1, 'a']]);
  const answers = async (epoch: number, sid: string): Promise<RedisReply[]> => {
    const inbound = new InboundCall(K, sid, epoch);
    inbound.change(new InboundChange('pending', 1, 1, 1, Buffer.from('p')));
    return [
      await both.call(sessionSave, saveCall(K, sid, epoch, 5, 9, Buffer.from('r'))),
      await both.call(sessionSettle, settleCall(K, sid, epoch, 1, [1], [1])),
      await both.call(sessionInbound, inbound),
      await both.call(sessionClose, closeCall(K, sid, epoch, 60, -1)),
      await both.call(sessionRemove, removeCall(K, sid, epoch)),
    ];
  };
  const owner = await both.open({ owner: 'n2', will: Buffer.from('w2') });
  const before = await real.dump();
  for (const reply of await answers(old.epoch, old.sid)) t.equal(String(reply), 'fenced');
  for (const reply of await answers(owner.epoch + 1, owner.sid)) t.equal(String(reply), 'fenced');
  for (const reply of await answers(owner.epoch, 'ffff')) t.equal(String(reply), 'fenced');
  t.same(await real.dump(), before);
  await real.empty();
  const none = new Both(t);
  const call = closeCall(K, 'aa', 1, 60, -1);
  t.equal(String(await none.call(sessionClose, call)), 'gone', 'emptied, it is asserted again');
  t.same(
    await none.close({ sid: 'aa', epoch: 1 }, 0),
    { kind: 'ended' },
    'that is what was wanted',
  );
  for (const fn of [sessionSave, sessionRemove]) {
    t.equal(String(await none.call(fn, saveCall(K, 'aa', 1, 5, 9, Buffer.from('r')))), 'gone');
  }
});

t.test('session_inbound: what is pending is the next owner’s [hard case 10]', async (t) => {
  const both = await Both.begin(t);
  const session = await both.open();
  const write = async (fill: (call: InboundCall) => void): Promise<void> => {
    const call = new InboundCall(K, session.sid, session.epoch);
    fill(call);
    t.equal(fencedAnswer(sessionInbound.name, await both.call(sessionInbound, call)), 'done');
  };
  const big = Buffer.alloc(200, ':');
  await write((call) => {
    call.change(new InboundChange('pending', 7, 1, 41, Buffer.from('first:one')));
    call.change(new InboundChange('pending', 65_535, 2, 42, big));
    call.change(new InboundChange('add', 9, 3));
  });
  await write((call) => {
    call.change(new InboundChange('done', 7, 4));
    call.change(new InboundChange('done', 8, 5));
    call.change(new InboundChange('remove', 9, 6));
  });
  const next = await both.open({ owner: 'n2' });
  t.equal(next.publisherSeq, 42);
  t.same(next.inbound, [
    { packetId: 7, pending: null },
    {
      packetId: 65_535,
      pending: { publisherSeq: 42, publisherEpoch: session.epoch, value: big },
    },
  ]);
  await both.same();
});

t.test('session_inbound: what was promised is written whoever has the session, once', async (t) => {
  const both = await Both.begin(t);
  const session = await both.open();
  const write = async (
    epoch: number,
    isRecalled: boolean,
    changes: readonly InboundChange[],
    sid = session.sid,
  ): Promise<string> => {
    const call = new InboundCall(K, sid, epoch, isRecalled);
    for (const change of changes) call.change(change);
    return inboundAnswer(await both.call(sessionInbound, call));
  };
  const pending = (id: number, number: number, seq: number): InboundChange =>
    new InboundChange('pending', id, number, seq, Buffer.from(`m${seq}`));
  t.equal(await write(session.epoch, false, [pending(1, 1, 1)]), 'done');
  const next = await both.open({ owner: 'n2' });
  t.equal(await write(session.epoch, false, [pending(2, 2, 2)]), 'fenced');
  const promised = [new InboundChange('remove', 1, 2), pending(2, 3, 2), pending(3, 4, 3)];
  t.equal(await write(session.epoch, true, promised), 'done', 'though another has it');
  const again = await both.open({ owner: 'n2' });
  t.same(
    again.inbound.map(({ packetId, pending }) => [
      packetId,
      pending?.publisherSeq,
      pending?.publisherEpoch,
    ]),
    [
      [2, 2, session.epoch],
      [3, 3, session.epoch],
    ],
  );
  t.equal(again.publisherSeq, 3);
  const settled = [new InboundChange('done', 2, 5), new InboundChange('remove', 3, 6)];
  t.equal(await write(session.epoch, true, settled), 'done');
  t.equal(await write(session.epoch, true, [...promised, ...settled]), 'done', 'nothing twice');
  const last = await both.open({ owner: 'n2' });
  t.same(last.inbound, [{ packetId: 2, pending: null }]);
  t.equal(await write(last.epoch, false, [pending(3, 1, 9)]), 'done', 'the id is used again');
  t.equal(await write(next.epoch, true, [new InboundChange('remove', 3, 7)]), 'done');
  const owner = await both.open({ owner: 'n3' });
  t.match(
    owner.inbound,
    [{ packetId: 2 }, { packetId: 3, pending: { publisherSeq: 9 } }],
    'nothing behind a change of a later owner',
  );
  t.equal(await write(session.epoch, true, settled, 'ffff'), 'fenced', 'another session');
  await real.empty();
  const none = new Both(t);
  const call = new InboundCall(K, session.sid, session.epoch, true);
  call.change(settled[0]!);
  t.equal(inboundAnswer(await none.call(sessionInbound, call)), 'gone');
});

t.test('session_save: an older record does not replace a newer one', async (t) => {
  const both = await Both.begin(t);
  const { sid, epoch } = await both.open();
  const save = (counter: number, rec: string): Promise<RedisReply> =>
    both.call(sessionSave, saveCall(K, sid, epoch, 60, counter, Buffer.from(rec)));
  t.equal(await save(2, 'two'), 1);
  t.equal(await save(1, 'one'), 1);
  const listed = listReply(await both.call(sessionList, listCall(K)))!;
  t.same([String(listed.rec), listed.counter, listed.expiryIntervalS], ['two', 2, 60]);
  t.same([listed.owner, listed.identity, listed.goneMs], ['n1', 'u', 0]);
  const next = await both.open();
  t.same([String(next.rec), next.counter], ['two', 2]);
});

t.test('session_close and session_look: expiry', async (t) => {
  const both = await Both.begin(t);
  const session = await both.open({ expiryIntervalS: 60 });
  t.equal((await both.look('n2')).kind, 'owned');
  t.same(await both.close(session, 60), { kind: 'closed', nextLookMs: START_MS + 60_000 });
  both.at(START_MS + 59_999);
  t.same(await both.close(session, 60), { kind: 'closed', nextLookMs: START_MS + 60_000 });
  t.same(await both.look('n2'), { kind: 'wait', untilMs: START_MS + 60_000 });
  both.at(START_MS + 60_000);
  const ended = await both.look('n2');
  t.same(ended, { kind: 'ended', sid: session.sid, epoch: session.epoch });
  t.equal(await both.same(), 0);
  t.equal((await both.look('n2')).kind, 'gone');
  const next = await both.open();
  t.same(await both.close(next), { kind: 'closed', nextLookMs: 0 });
  t.same(await both.look('n2'), { kind: 'wait', untilMs: 0 }, 'never expires');
  t.same(await both.close(await both.open(), 0), { kind: 'ended' });
  t.equal(await both.same(), 0);
});

t.test('session_look: a will goes to one of two callers', async (t) => {
  const both = await Both.begin(t);
  const session = await both.open({ will: Buffer.from('bye'), willDelayS: 5, tenant: 't' });
  const { sid, epoch } = session;
  const closed = await both.close(session, 3600, 5);
  t.same(closed, { kind: 'closed', nextLookMs: START_MS + 5000 });
  t.equal((await both.look('n2')).kind, 'wait');
  t.equal(await both.willDone(sid, epoch), 0, 'nobody has it');
  both.at(START_MS + 5000);
  const expected = {
    kind: 'will',
    sid,
    epoch,
    will: Buffer.from('bye'),
    identity: 'u',
    tenant: 't',
  };
  t.same(await both.look('n2'), expected);
  t.same(await both.look('n3'), { kind: 'claimed', by: 'n2' });
  t.same(await both.look('n2'), expected, 'the answer may have been lost');
  t.equal(await both.call(sessionUnclaim, unclaimCall(K, 'n9')), 0);
  t.equal(await both.call(sessionUnclaim, unclaimCall(K, 'n2')), 1, 'n2 is dead');
  t.same(await both.look('n3'), expected);
  t.equal(await both.willDone(sid, epoch + 1), 0, 'another connection’s');
  t.equal(await both.willDone(sid, epoch), 1);
  t.equal(await both.willDone(sid, epoch), 0);
  t.same(await both.look('n2'), { kind: 'wait', untilMs: START_MS + 3_600_000 });
});

t.test('session_look: the will comes before the end, however long its delay', async (t) => {
  for (const expiryS of [0, 3]) {
    const both = await Both.begin(t);
    const session = await both.open({ will: Buffer.from('bye'), willDelayS: 100 });
    const closed = await both.close(session, expiryS, 100);
    t.same(closed, { kind: 'closed', nextLookMs: START_MS + expiryS * 1000 });
    both.at(START_MS + expiryS * 1000);
    t.equal((await both.look('n2')).kind, 'will');
    t.equal(await both.willDone(session.sid, session.epoch), 1);
    t.equal((await both.look('n2')).kind, 'ended');
    t.equal(await both.same(), 0);
  }
});

t.test('session_orphan: a dead node’s sessions and claims', async (t) => {
  const both = await Both.begin(t);
  t.same(await both.orphan('n1'), { isOrphaned: false, nextLookMs: 0 });
  const first = await both.open({ will: Buffer.from('one'), willDelayS: 0 });
  t.same(await both.orphan('n2'), { isOrphaned: false, nextLookMs: 0 });
  const second = await both.open({ owner: 'n2', will: Buffer.from('two'), willDelayS: 4 });
  t.equal(String(second.oldWill?.value), 'one');
  both.at(START_MS + 10);
  t.same(await both.orphan('n2'), { isOrphaned: true, nextLookMs: START_MS + 10 });
  t.same(await both.orphan('n2'), { isOrphaned: false, nextLookMs: START_MS + 10 }, 'repeated');
  const { epoch } = second;
  const one = await both.look('n3');
  t.match(one, { kind: 'will', sid: first.sid, epoch: first.epoch });
  t.equal(await both.willDone(first.sid, first.epoch), 1);
  t.same(await both.look('n3'), { kind: 'wait', untilMs: START_MS + 4010 });
  both.at(START_MS + 4010);
  t.match(await both.look('n3'), { kind: 'will', sid: first.sid, epoch });
  t.same(await both.orphan('n3'), { isOrphaned: false, nextLookMs: START_MS + 4010 }, 'n3 is dead');
  t.match(await both.look('n4'), { kind: 'will', epoch });
  // The dead one wakes: its client had said goodbye in time after all, but the will is under way.
  t.equal((await both.close(second, NEVER, -1)).kind, 'closed');
  t.match(await both.look('n4'), { kind: 'will', epoch });
  await both.same();
});

t.test('session_assert: after FLUSHALL, and after a failover', async (t) => {
  const both = await Both.begin(t);
  // Some behind 41 may have been given and not heard of.
  const head = 41 + HEAD_GAP;
  t.equal(await both.assert({ owner: 'n1', epoch: START_MS, head: 41, goneMs: 7 }), 1);
  t.equal(await both.assert({ owner: 'n2', epoch: START_MS, head: 99 }), 0, 'only one does');
  const reply = await both.append('aa', [[1, 'a']]);
  t.same([reply.tail, reply.owner], [head + 1, 'n1'], 'positions go on');
  await both.append('aa', [[2, 'b']]);
  // A failover has taken the next three positions back; they were sent.
  t.equal(await both.assert({ owner: 'n1', epoch: START_MS + 1, head: head + 5 }), 1);
  t.equal(
    (await both.append('aa', [[3, 'c']])).tail,
    head + 6,
    'what was given is not given again',
  );
  const { values, marks } = (await both.read('aa'))!;
  t.same(values.map(String), ['a', 'b', '', '', '', 'c']);
  t.same(marks.settled, [head + 3, head + 4, head + 5]);
  await both.settle({ sid: 'aa', epoch: START_MS + 1 }, head + 2);
  t.equal((await both.read('aa'))?.head, head + 5);
  await both.settle({ sid: 'aa', epoch: START_MS + 1 }, head + 6);
  t.equal(await both.assert({ epoch: START_MS + 2, head: 2 ** 52, goneMs: 5 }), 1);
  t.equal((await both.append('aa', [[4, 'd']])).tail, 2 ** 52 + 1);
  t.equal(listReply(await both.call(sessionList, listCall(K)))?.goneMs, 5);
  t.equal(await both.assert({ sid: 'bb', epoch: START_MS + 3 }), 1, 'another session');
  t.same(await both.texts('bb'), []);
  t.equal(listReply(await both.call(sessionList, listCall(K)))?.goneMs, START_MS);
  const will = { owner: 'n1', will: Buffer.from('w'), willDelayS: 2 };
  await both.assert({ sid: 'bb', epoch: START_MS + 4, ...will });
  t.same(await both.orphan('n1'), { isOrphaned: true, nextLookMs: START_MS + 2000 });
  await both.same();
});

t.test(
  'session_assert: an owner comes to what was written as nobody’s, not the reverse',
  async (t) => {
    const both = await Both.begin(t);
    t.equal(await both.assert({ epoch: START_MS, head: -1 }), 1);
    await both.append('aa', [[1, 'a']]);
    t.equal(await both.assert({ sid: 'bb', owner: 'n1', epoch: START_MS }), 0, 'another session');
    t.equal(await both.assert({ owner: 'n1', epoch: START_MS, head: 3 }), 1);
    t.equal(listReply(await both.call(sessionList, listCall(K)))?.owner, 'n1');
    t.same(await both.texts('aa'), ['a'], 'with what came meanwhile');
    t.equal(await both.assert({ epoch: START_MS, head: -1 }), 0);
    t.equal(await both.assert({ owner: 'n2', epoch: START_MS }), 0, 'one owner has it');
    await both.same();
  },
);

t.test('session_assert: a session that has ended is not written again', async (t) => {
  const ends: Record<string, (both: Both, session: Opened) => Promise<unknown>> = {
    'a clean start': async (both, session) => {
      const clean = { owner: 'n2', newSid: 'cc', cleanStart: true, expiryIntervalS: 0 };
      const after = await both.open(clean);
      t.equal(await both.assert({ sid: session.sid, epoch: session.epoch }), 0, 'another is there');
      await both.close(after, 0);
    },
    'a close': (both, session) => both.close(session, 0),
    'its owner': (both, { sid, epoch }) => both.call(sessionRemove, removeCall(K, sid, epoch)),
    'its time': async (both, session) => {
      await both.close(session, 10);
      both.at(both.nowMs + 10_000);
      t.equal((await both.look('n3')).kind, 'ended');
    },
  };
  for (const [name, end] of Object.entries(ends)) {
    const both = await Both.begin(t);
    const session = await both.open();
    await end(both, session);
    const { sid, epoch } = session;
    // A node that has not heard of it, when Redis has restarted.
    t.equal(await both.assert({ sid, epoch }), 0, name);
    t.equal(await both.assert({ sid, epoch, owner: 'n1' }), 0, name);
    t.equal(await both.same(), 0, `nothing is left: ${name}`);
    t.equal(await both.assert({ sid: 'bb', epoch: epoch + 9 }), 1, `a later one: ${name}`);
    await both.call(sessionRemove, removeCall(K, 'bb', epoch + 9));
    both.at(both.nowMs + 120_001);
    t.equal(await both.assert({ sid, epoch }), 1, `nobody is behind any more: ${name}`);
    await both.same();
  }
});

t.test('session_open: what is known is not made anew', async (t) => {
  const both = await Both.begin(t);
  t.same(await both.tryOpen({ isKnown: true }), { kind: 'absent' });
  t.equal(await real.send(['EXISTS', K.meta]), 0);
  const first = await both.open();
  t.match(await both.tryOpen({ isKnown: true }), { kind: 'opened', present: true, sid: first.sid });
  await both.same();
});

t.test('session_assert: by who does not know how far the queue had come', async (t) => {
  const both = await Both.begin(t);
  t.equal(await both.assert({ epoch: START_MS, head: -1, goneMs: 7 }), 1);
  const reply = await both.append('aa', [[1, 'a']]);
  t.equal(reply.tail, START_MS + 1, 'above all that was given before');
  // Its owner before had settled up to 33, which comes only now.
  await both.settle({ sid: 'aa', epoch: START_MS }, 33);
  t.same((await both.read('aa'))?.values.map(String), ['a'], 'takes nothing new away');
  t.equal(await both.assert({ epoch: START_MS + 1, head: -1 }), 1);
  t.same((await both.read('aa'))?.values.map(String), ['a'], 'a queue that is there goes on');
  const opened = await both.open({ owner: 'n3', newSid: 'bb' });
  t.equal(opened.publisherSeq, START_MS, 'nor is a QoS 2 message named as one of before was');
  await both.same();
});

t.test('due: an entry that is added while somebody looks is not lost', async (t) => {
  const both = await Both.begin(t);
  const key = 'p:t:{0}';
  const add = (ms: number): Promise<RedisReply> => both.call(dueAdd, dueAddCall(key, ms, 'c'));
  const take = async (): Promise<number | undefined> =>
    dueTakeReply(await both.call(dueTake, dueTakeCall(key, 10)))[0]?.ms;
  const settle = (seenMs: number, nextMs: number): Promise<RedisReply> =>
    both.call(dueSettle, dueSettleCall(key, seenMs, nextMs, 'c'));
  await add(START_MS + 5000);
  t.equal(await take(), undefined);
  await add(START_MS + 100);
  both.at(START_MS + 100);
  const seen = (await take())!;
  t.equal(seen, START_MS + 100);
  await add(START_MS + 9000);
  t.equal(await settle(seen, 0), 0, 'somebody has come meanwhile');
  const again = (await take())!;
  t.ok(again < seen);
  t.equal(await settle(again, START_MS + 9000), 1);
  both.at(START_MS + 9000);
  t.equal(await settle((await take())!, 0), 1);
  t.equal(await both.same(), 0);
});

t.test('indexes are sets of ids as they are', async (t) => {
  const both = await Both.begin(t);
  const ids = Array.from({ length: 300 }, (_, i) => `c/${i}{}%ü`);
  await both.call(indexAdd, indexCall('p:x:{1}', ids));
  await both.call(indexRemove, indexCall('p:x:{1}', ids.slice(0, 50)));
  const found: Set<string> = new Set();
  let cursor = '0';
  do {
    // Pages are Redis' own: only what they say together is compared.
    const call = scanCall('p:x:{1}', cursor, 40);
    const page = scanReply(await real.call(indexScan, call.keys, call.args));
    for (const id of page.clientIds) found.add(id);
    cursor = page.cursor;
  } while (cursor !== '0');
  t.same([...found].sort(), ids.slice(50).sort());
  t.throws(() => indexCall('k', []), RangeError);
  await both.same();
});

t.test('membership: joins, renewals, deaths, roles', async (t) => {
  const both = await Both.begin(t);
  const keys = nodeKeys('p:');
  const card = { nodeId: 'host:1', address: '10.0.0.1:7', release: '1.0.0', protocol: 2 };
  const join = async (who: string): Promise<ReturnType<typeof joinReply>> =>
    joinReply(await both.call(nodeJoin, joinCall(keys, who, card, `g-${who}`, `s-${who}`)));
  const renew = async (who: string, generation: string): Promise<ReturnType<typeof renewReply>> =>
    renewReply(await both.call(nodeRenew, renewCall(keys, who, generation)));
  const bury = (who: string, seen: number, force: boolean, by: string): Promise<RedisReply> =>
    both.call(nodeBury, buryCall(keys, who, seen, force, by));
  const role = (who: string): Promise<RedisReply> =>
    both.call(roleTake, roleCall(keys, 'sweeper', who));

  t.same(await renew('a', 'g-a'), { kind: 'unknown' });
  const first = await join('a');
  t.match(first, { kind: 'joined', generation: 'g-a', secret: 's-a', timeMs: START_MS });
  const second = await join('b');
  t.match(second, { generation: 'g-a', secret: 's-a' }, 'the first one’s');
  const a = { incarnation: 'a', counter: 0, ...card };
  t.same(second.kind === 'joined' && second.members, [a, { ...a, incarnation: 'b' }]);
  t.same(await renew('b', 'g-b'), { kind: 'generation', generation: 'g-a' });
  const renewed = await renew('a', 'g-a');
  t.same(renewed.kind === 'ok' && renewed.members[0]?.counter, 1);
  t.equal(await bury('a', 0, false, 'b'), 0, 'its counter has moved');
  t.equal(await bury('a', 1, false, 'nobody'), 0, 'by no member');
  const epoch = (await role('a')) as number;
  t.same([epoch, await role('b'), await role('a')], [START_MS, 0, epoch]);
  t.equal(await bury('a', 1, false, 'b'), 1);
  t.equal(await bury('a', 1, true, 'b'), 0, 'it is no member');
  t.same([await renew('a', 'g-a'), await join('a')], [{ kind: 'dead' }, { kind: 'dead' }]);
  t.equal(await role('b'), epoch + 1, 'its holder is dead');
  t.equal(await role('a'), 0);
  await join('c');
  // Two that cannot reach each other: one of them stays.
  t.same([await bury('c', 9, true, 'b'), await bury('b', 9, true, 'c')], [1, 0]);
  t.equal(await bury('c', 9, true, 'b'), 0, 'once');
  t.same(await renew('c', 'g-a'), { kind: 'dead' }, 'its lease is not renewed');
  t.equal(await role('c'), 0);
  const still = await renew('b', 'g-a');
  const names = still.kind === 'ok' ? still.members.map(({ incarnation }) => incarnation) : [];
  t.same(names, ['b', 'c'], 'it counts until it has left or stands still');
  t.equal(await bury('c', 0, false, 'b'), 1);
  both.at(START_MS + 86_400_001);
  t.equal(await both.call(nodeLeave, leaveCall(keys, 'b')), 1);
  t.equal(await both.call(nodeLeave, leaveCall(keys, 'b')), 0);
  const dead = async (): Promise<string[]> => deadReply(await both.call(nodeDead, deadCall(keys)));
  const forget = (who: string): Promise<RedisReply> => both.call(nodeForget, forgetCall(keys, who));
  t.same(await dead(), ['a', 'c', 'b'], 'until somebody has taken what they had');
  t.same([await forget('a'), await forget('b')], [1, 0], 'and for a day');
  t.same([await forget('a'), await dead()], [0, ['c', 'b']]);
  t.equal(await role('b'), 0);
  await both.same();
  t.throws(() => recordText({ ...card, nodeId: 'two\nlines' }), RangeError);
});

t.test('a Redis without room still lets go of what is settled', async (t) => {
  const both = await Both.begin(t);
  const session = await both.open();
  await both.append(session.sid, [
    [1, 'a'.repeat(1000)],
    [2, 'b'],
  ]);
  await real.send(['CONFIG', 'SET', 'maxmemory', '1']);
  t.teardown(() => real.send(['CONFIG', 'SET', 'maxmemory', '0']));
  const call = new AppendCall(10, 1e6, 'oldest');
  call.session(K, session.sid, 'w', 0);
  call.value(3, Buffer.from('c'));
  await t.rejects(real.call(sessionAppend, call.keys, call.args), /OOM/);
  t.equal(await both.settle(session, 1), 'done');
  await real.send(['CONFIG', 'SET', 'maxmemory', '0']);
  t.same(await both.texts(session.sid), ['b'], 'a refused append left nothing behind');
  await both.same();
});

t.test('an answer of another shape is an error that names the function', async (t) => {
  const odd: RedisReply[] = [null, 5, Buffer.from('x'), [], [Buffer.from('what')], [[]]];
  const decoders: [string, (reply: RedisReply) => unknown][] = [
    ['session_open_1', openReply],
    ['session_close_1', closeReply],
    ['session_orphan_1', orphanReply],
    ['session_look_1', lookReply],
    ['node_join_1', joinReply],
    ['node_renew_1', renewReply],
  ];
  for (const [name, decode] of decoders) {
    for (const reply of odd) t.throws(() => decode(reply), { message: new RegExp(`^${name} `) });
  }
  t.throws(() => readReply([1, 2]), /^session_read_1 /);
  t.throws(() => appendReply([[7, 0, Buffer.from(''), 0, 0, 0]]), /^session_append_1 /);
  t.throws(() => listReply([1]), /^session_list_1 /);
  t.throws(() => dueTakeReply([1]), /^due_take_1 /);
  t.throws(() => fencedAnswer('some', Buffer.from('else')), /^some /);
});
