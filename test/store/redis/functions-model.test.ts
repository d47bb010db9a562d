/**
 * Random calls of every function against a real Redis and against the model of the simulation: each
 * answer and, after each run, each key must be the same. A failure prints its seed (test/support/seed.ts
 * says how to repeat it).
 */
import t from 'tap';
import * as nodes from '../../../src/cluster/node-functions.ts';
import { nodeKeys } from '../../../src/cluster/node-functions.ts';
import type { RedisFunction, RedisReply } from '../../../src/drivers/redis/redis-port.ts';
import { linksPut, linksScan, linksTake } from '../../../src/geo/link-notes.ts';
import * as index from '../../../src/store/redis/functions/client-index.ts';
import * as due from '../../../src/store/redis/functions/due.ts';
import type { RedisCall } from '../../../src/store/redis/functions/reply.ts';
import * as end from '../../../src/store/redis/functions/session-end.ts';
import * as inbound from '../../../src/store/redis/functions/session-inbound.ts';
import * as open from '../../../src/store/redis/functions/session-open.ts';
import * as queue from '../../../src/store/redis/functions/session-queue.ts';
import * as record from '../../../src/store/redis/functions/session-record.ts';
import * as will from '../../../src/store/redis/functions/session-will.ts';
import { InboundChange } from '../../../src/store/redis/inbound-change.ts';
import {
  clientIndexKey,
  dueKey,
  type SessionKeys,
  sessionKeys,
} from '../../../src/store/redis/keys.ts';
import { SeededRandom } from '../../core/manual-time.ts';
import { TWINS } from '../../sim/model-functions.ts';
import { givenSeed } from '../../support/seed.ts';
import { comparable, Model, RealRedis } from './functions-harness.ts';

const RUNS = 200;
const CALLS = 150;
const CLIENTS = ['a', 'b{x}', 'c%', 'ü/7', '__proto__', '$share/g/f'];
const NODES = ['0123456789abcdef', 'fedcba9876543210', '00aa00aa00aa00aa'];
const START_MS = 1_800_000_000_123;

const NAMES: Set<string> = new Set();
/** What happened at least once: a comparison of things that never happen proves nothing. */
const SEEN: Set<string> = new Set();

const WANTED = [
  ...[
    'stored',
    'absent',
    'replaced',
    'gap',
    'skipped',
    'refused',
    'dropped',
    'holes',
    'took',
    'took nothing',
  ],
  ...['foreign', 'busy', 'never', 'opened', 'present', 'old will', 'pending', 'released'],
  ...['settled out of order', 'close closed', 'close ended', 'close fenced', 'close gone'],
  ...['look gone', 'look owned', 'look will', 'look claimed', 'look ended', 'look wait'],
  ...['dead forgotten', 'noted'],
];

class Run {
  readonly random: SeededRandom;
  readonly model: Model = new Model();
  readonly trace: string[] = [];
  readonly real: RealRedis;
  readonly answers: { readonly expected: string; readonly actual: Promise<string> }[] = [];
  /** Epochs are ms, and in some runs as large as µs. */
  readonly #scale: number;
  #sids = 0;
  #writes = 0;

  constructor(seed: number, real: RealRedis) {
    this.random = new SeededRandom(seed);
    this.real = real;
    this.#scale = this.chance(0.3) ? 1000 : 1;
    this.model.nowMs = START_MS + this.below(1000);
    real.at(this.model.nowMs);
  }

  below(bound: number): number {
    return this.random.below(bound);
  }

  chance(part: number): boolean {
    return this.random.below(1000) < part * 1000;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.random.below(items.length)]!;
  }

  bytes(most: number): Buffer {
    const bytes = Buffer.alloc(1 + this.below(most));
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.below(256);
    return bytes;
  }

  call(fn: RedisFunction, call: RedisCall): RedisReply {
    NAMES.add(fn.name);
    const reply = this.model.call(fn, call.keys, call.args);
    const at = `${this.answers.length}: ${fn.name} ${call.args.map((arg) => String(arg)).join(' ')}`;
    const actual = this.real
      .call(fn, call.keys, call.args)
      .then((answer) => `${at}\n${comparable(fn.name, answer)}`);
    this.answers.push({ expected: `${at}\n${comparable(fn.name, reply)}`, actual });
    return reply;
  }

  step(): void {
    const clientId = this.pick(CLIENTS);
    const keys = sessionKeys('p:', clientId);
    const known = this.model.db.values().get(keys.meta);
    const meta = known?.type === 'hash' ? known.hash : new Map<string, string>();
    // Mostly what is right, so that something happens.
    const sid = this.chance(0.9) ? (meta.get('sid') ?? 'none') : 'deadbeef';
    const epoch = Number(meta.get('epoch') ?? 0) + (this.chance(0.9) ? 0 : this.below(3) - 1);
    const node = this.chance(0.6) ? meta.get('owner') || this.pick(NODES) : this.pick(NODES);
    if (this.chance(0.3)) this.#timePasses();
    const what = this.below(100);
    if (what < 12) this.#open(keys, node);
    else if (what < 35) this.#append(keys, sid);
    else if (what < 50) this.#settle(keys, sid, epoch, meta);
    else if (what < 56) {
      const from = Number(meta.get('head') ?? 0) + this.below(5);
      const call = queue.readCall(keys, sid, from, this.below(12) + 1, this.below(200));
      const reply = queue.readReply(this.call(queue.sessionRead, call));
      if (reply?.values.some((value) => value.length === 0)) SEEN.add('holes');
    } else if (what < 64) this.#inbound(keys, sid, epoch);
    else if (what < 67) {
      const counter = this.below(6);
      const expiryS = this.#expiryS();
      const call = record.saveCall(keys, sid, epoch, expiryS, counter, this.bytes(90));
      this.call(record.sessionSave, call);
    } else if (what < 71) {
      const delayS = this.pick([-1, -1, 0, 5, 3600]);
      const call = end.closeCall(keys, sid, epoch, this.#expiryS(), delayS);
      SEEN.add(`close ${end.closeReply(this.call(end.sessionClose, call)).kind}`);
    } else if (what < 72) this.call(end.sessionRemove, end.removeCall(keys, sid, epoch));
    else if (what < 76) {
      end.orphanReply(this.call(end.sessionOrphan, end.orphanCall(keys, node)));
    } else if (what < 83) this.#look(keys);
    else if (what < 84) this.call(open.sessionAdopt, open.adoptCall(keys, sid, epoch));
    else if (what < 85) this.call(will.sessionUnclaim, will.unclaimCall(keys, node));
    else if (what < 87) {
      const [oldSid, oldEpoch] = [meta.get('osid') ?? sid, Number(meta.get('oepoch') ?? epoch)];
      this.call(will.sessionWillDone, will.willDoneCall(keys, oldSid, oldEpoch));
    } else if (what < 89) this.#assert(keys, sid, epoch, meta);
    else if (what < 91) {
      record.listReply(this.call(record.sessionList, record.listCall(keys)));
      const took = queue.tookCall(keys, sid, this.pick(NODES));
      const seq = queue.tookReply(this.call(queue.sessionTook, took));
      SEEN.add(seq === null ? 'took of none' : seq === 0 ? 'took nothing' : 'took');
    } else if (what < 95) this.#indexes(clientId);
    else this.#nodes();
  }

  #timePasses(): void {
    this.model.nowMs += this.pick([1, 7, 500, 5000, 3_700_000]) * (1 + this.below(3));
    this.real.at(this.model.nowMs);
  }

  #dayPasses(): void {
    this.model.nowMs += 86_400_001;
    this.real.at(this.model.nowMs);
  }

  #expiryS(): number {
    return this.pick([0, 0, 5, 60, 86_400, 4294967295, 4294967295]);
  }

  #open(keys: SessionKeys, owner: string): void {
    if (this.chance(0.85)) this.#sids++;
    const answer = open.openReply(
      this.call(
        open.sessionOpen,
        open.openCall(keys, {
          owner,
          hlcMs: (this.model.nowMs + this.below(2000) - 1000) * this.#scale,
          newSid: this.#sids.toString(16).padStart(16, '0'),
          identity: this.pick([null, 'u', 'u', 'u', 'other']),
          tenant: this.pick(['', 't', 't', 'T2']),
          isTenantProven: this.chance(0.3),
          cleanStart: this.chance(0.2),
          expiryIntervalS: this.#expiryS(),
          version: 5,
          will: this.chance(0.5) ? this.bytes(80) : null,
          willDelayS: this.pick([0, 0, 3, 600]),
          isGivenUp: this.chance(0.1),
        }),
      ),
    );
    SEEN.add(answer.kind);
    if (answer.kind !== 'opened') return;
    if (answer.present) SEEN.add('present');
    if (answer.oldWill !== null) SEEN.add('old will');
    if (answer.marks.settled.length > 0) SEEN.add('settled out of order');
    if (answer.marks.released.length > 0) SEEN.add('released');
    if (answer.inbound.some(({ pending }) => pending !== null)) SEEN.add('pending');
    if (!answer.present) this.#pushed.clear();
  }

  /** Last sequence of each writer and session: most batches go on from there, some repeat. */
  readonly #pushed: Map<string, number> = new Map();

  #append(keys: SessionKeys, sid: string): void {
    const call = new queue.AppendCall(
      this.pick([0, 2, 5, 9, 1000, 100_000]),
      this.pick([10, 100, 400, 1_000_000_000]),
      this.pick(['oldest', 'newest'] as const),
    );
    const counts: number[] = [];
    for (let i = 0; i < 1 + this.below(3); i++) {
      const isOther = i > 0 && this.chance(0.7);
      const others = isOther ? sessionKeys('p:', this.pick(CLIENTS)) : keys;
      const value = this.model.db.values().get(others.meta);
      const otherSid = value?.type === 'hash' ? (value.hash.get('sid') ?? 'none') : 'none';
      // Writers of a session, and in a few runs so many that old ones go.
      const writer = this.chance(0.7) ? this.pick(NODES) : `w${this.below(200)}`;
      const name = `${others.meta} ${writer}`;
      const last = this.#pushed.get(name) ?? 0;
      const back = this.chance(0.2) ? this.below(3) : 0;
      const after = this.chance(0.2) ? Math.max(0, last - this.below(2)) : 0;
      call.session(others, isOther ? otherSid : sid, writer, after);
      let seq = Math.max(0, last - back);
      const count = 1 + this.below(this.chance(0.1) ? 40 : 4);
      for (let n = 0; n < count; n++) {
        seq += 1 + this.below(2);
        call.value(seq, this.#value());
      }
      counts.push(count);
      this.#pushed.set(name, Math.max(last, seq));
    }
    const replies = queue.appendReply(this.call(queue.sessionAppend, call));
    for (const [i, reply] of replies.entries()) {
      SEEN.add(reply.status);
      if (reply.skipped > 0) SEEN.add('skipped');
      if (reply.refused.length > 0) SEEN.add('refused');
      if (reply.dropped > 0) SEEN.add('dropped');
      if (reply.status !== 'stored') continue;
      const { skipped, stored, refused } = reply;
      if (skipped + stored + refused.length !== counts[i]) throw new Error('values are missing');
    }
  }

  #value(): Buffer {
    this.#writes++;
    return Buffer.concat([Buffer.from(`${this.#writes}`), this.bytes(this.chance(0.1) ? 150 : 20)]);
  }

  #settle(keys: SessionKeys, sid: string, epoch: number, meta: ReadonlyMap<string, string>): void {
    const head = Number(meta.get('head') ?? 0);
    const positions = (most: number): number[] => {
      const list: number[] = [];
      for (let i = this.below(3); i > 0; i--) list.push(Math.max(0, head - 1) + this.below(most));
      return list;
    };
    const upTo = this.chance(0.5) ? 0 : head + this.below(this.chance(0.1) ? 200 : 4);
    const call = queue.settleCall(keys, sid, epoch, upTo, positions(8), positions(6));
    this.call(queue.sessionSettle, call);
  }

  #inbound(keys: SessionKeys, sid: string, epoch: number): void {
    const isRecalled = this.chance(0.3);
    const call = new inbound.InboundCall(keys, sid, epoch, isRecalled);
    let number = this.below(12);
    for (let i = 0; i < 1 + this.below(4); i++) {
      const id = 1 + this.below(6);
      const op = this.below(4);
      number++;
      if (op === 0) {
        const seq = this.below(1000);
        call.change(new InboundChange('pending', id, number, seq, this.bytes(100)));
      } else {
        call.change(new InboundChange(op === 1 ? 'done' : op === 2 ? 'add' : 'remove', id, number));
      }
    }
    this.call(inbound.sessionInbound, call);
  }

  #look(keys: SessionKeys): void {
    const found = will.lookReply(
      this.call(will.sessionLook, will.lookCall(keys, this.pick(NODES))),
    );
    SEEN.add(`look ${found.kind}`);
    if (found.kind !== 'will' || this.chance(0.4)) return;
    const epoch = this.chance(0.9) ? found.epoch : found.epoch + 1;
    this.call(will.sessionWillDone, will.willDoneCall(keys, found.sid, epoch));
  }

  #assert(keys: SessionKeys, sid: string, epoch: number, meta: ReadonlyMap<string, string>): void {
    const head = Number(meta.get('head') ?? 0);
    const call = record.assertCall(keys, {
      owner: this.chance(0.5) ? this.pick(NODES) : '',
      sid,
      epoch: epoch + this.below(3),
      identity: this.pick([null, 'u']),
      tenant: 't',
      version: 4,
      expiryIntervalS: this.#expiryS(),
      counter: this.below(5),
      rec: this.bytes(50),
      head: this.chance(0.2) ? -1 : this.#assertedHead(meta.size === 0, head),
      goneMs: this.chance(0.5) ? 0 : this.model.nowMs - 3000,
      will: this.chance(0.3) ? this.bytes(20) : null,
      willDelayS: this.below(9),
    });
    this.call(record.sessionAssert, call);
  }

  #assertedHead(isGone: boolean, head: number): number {
    return isGone && this.chance(0.5) ? 2 ** 52 + this.below(99) : head + this.below(12);
  }

  #indexes(clientId: string): void {
    const set = clientIndexKey('p:', clientId);
    const zset = dueKey('p:', clientId);
    const what = this.below(6);
    if (what === 0) this.call(index.indexAdd, index.indexCall(set, [clientId, `${clientId}2`]));
    else if (what === 1) this.call(index.indexRemove, index.indexCall(set, [clientId]));
    else if (what === 2) {
      index.scanReply(this.call(index.indexScan, index.scanCall(set, '0', 100)));
    } else if (what === 3) {
      const ms = this.model.nowMs + this.below(4000) - 1000;
      this.call(due.dueAdd, due.dueAddCall(zset, ms, clientId));
    } else {
      const taken = due.dueTakeReply(this.call(due.dueTake, due.dueTakeCall(zset, 5)));
      for (const { clientId: id, ms } of taken) {
        if (this.chance(0.5)) this.call(due.dueAdd, due.dueAddCall(zset, ms + this.below(2), id));
        const next = this.chance(0.5) ? 0 : this.model.nowMs + 9000;
        this.call(due.dueSettle, due.dueSettleCall(zset, ms, next, id));
      }
    }
  }

  #join(node: string): void {
    const card = { nodeId: node, address: 'h:1', release: '1.0.0', protocol: 1 };
    const call = nodes.joinCall(nodeKeys('p:'), node, card, `g${this.below(2)}`, 'secret');
    nodes.joinReply(this.call(nodes.nodeJoin, call));
  }

  #nodes(): void {
    const keys = nodeKeys('p:');
    const [node, other] = [`n${this.below(5)}`, `n${this.below(5)}`];
    const what = this.below(13);
    if (what === 12) this.#notes();
    else if (what >= 11) {
      // Of its own in a row: one that is buried, and forgotten long after, would hardly ever come.
      this.#join(node);
      this.#join(other);
      this.call(nodes.nodeBury, nodes.buryCall(keys, node, 0, this.chance(0.3), other));
      if (this.chance(0.5)) this.#dayPasses();
      const [dead = node] = nodes.deadReply(this.call(nodes.nodeDead, nodes.deadCall(keys)));
      const isGone = this.call(nodes.nodeForget, nodes.forgetCall(keys, dead)) === 1;
      if (isGone) SEEN.add('dead forgotten');
    } else if (what >= 10) {
      nodes.deadReply(this.call(nodes.nodeDead, nodes.deadCall(keys)));
    } else if (what < 3) {
      this.#join(node);
    } else if (what < 6) {
      const call = nodes.renewCall(keys, node, `g${this.below(2)}`);
      nodes.renewReply(this.call(nodes.nodeRenew, call));
    } else if (what < 7) this.call(nodes.nodeLeave, nodes.leaveCall(keys, node));
    else if (what < 8) {
      const call = nodes.buryCall(keys, node, this.below(3), this.chance(0.3), other);
      this.call(nodes.nodeBury, call);
    } else this.call(nodes.roleTake, nodes.roleCall(keys, `role${this.below(2)}`, node));
  }

  #notes(): void {
    const keys = ['p:l:{links}:notes'];
    const epoch = this.below(3) + 1;
    if (this.chance(0.3)) this.call(linksTake, { keys, args: [epoch] });
    const args: (string | number | Buffer)[] = [epoch];
    for (let count = this.below(4); count >= 0; count--) {
      const isSet = this.chance(0.7);
      args.push(`w/${this.below(5)}`, isSet ? 's' : 'd', isSet ? this.bytes(40) : '');
    }
    if (this.call(linksPut, { keys, args }) === 1) SEEN.add('noted');
    this.call(linksScan, { keys, args: ['0', 1000] });
  }
}

t.test('Redis and the model answer and keep the same', async (t) => {
  const real = await RealRedis.start(t);
  const given = givenSeed();
  const seeds = given === null ? RUNS : 1;
  const first = given ?? 1;
  let answers = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    await real.empty();
    const run = new Run(seed, real);
    for (let i = 0; i < CALLS; i++) run.step();
    for (const { expected, actual } of run.answers) {
      const got = await actual.catch((error: unknown) => `${expected.split('\n')[0]}\n${error}`);
      answers++;
      if (got === expected) continue;
      t.equal(got, expected, `an answer of seed ${seed}`);
      return;
    }
    const [here, there] = [await real.dump(), run.model.dump()];
    for (const key of new Set([...here.keys(), ...there.keys()])) {
      if (here.get(key) === there.get(key)) continue;
      t.equal(here.get(key), there.get(key), `${key} after seed ${seed}`);
      return;
    }
  }
  t.pass(`${answers} answers from seed ${first}`);
  if (given === null) {
    t.same([...NAMES].sort(), [...TWINS.keys()].sort(), 'every function was called');
    for (const what of WANTED) t.ok(SEEN.has(what), `it happened: ${what}`);
  }
});
