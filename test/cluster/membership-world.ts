/**
 * A simulated datacenter of which only membership is real: machines with clocks of their own, a model of
 * Redis, links that carry heartbeats, COUNTED_IN and RENEW_FOR, and what the bus would make of them. Holds
 * the invariants of ADR 0010 against every turn. Used by membership.test.ts and membership-run.ts.
 */
import { CutLinks } from '../../src/cluster/cut-links.ts';
import { HeardPeers } from '../../src/cluster/heard-peers.ts';
import { MemberWatch } from '../../src/cluster/member-watch.ts';
import { ClusterMembership } from '../../src/cluster/membership.ts';
import type {
  MembershipListener,
  MembershipOptions,
  MembershipParts,
} from '../../src/cluster/membership-parts.ts';
import { OwnLease } from '../../src/cluster/own-lease.ts';
import type { Member } from '../../src/cluster/ports.ts';
import { RoleLease } from '../../src/cluster/role-lease.ts';
import type { Clock, Log } from '../../src/core/ports.ts';
import { Kernel } from '../sim/kernel.ts';
import { nodeBuryTwin } from '../sim/model-indexes.ts';
import { ModelRedis, type ModelRedisClient } from '../sim/model-redis.ts';
import type { SimClock } from '../sim/sim-clock.ts';
import type { SimNode } from '../sim/sim-node.ts';

export const LEASE_MS = 3000;
export const MARGIN_MS = 500;
export const LINK_GRACE_MS = 2000;
export const ROLE = 'timers';

/** How a planted bug is built in. */
export type PartsOf = (clock: Clock) => Partial<MembershipParts>;

export interface WorldOptions {
  readonly isTracing?: boolean;
  readonly emptyWaitMs?: number;
  /** Largest difference of a clock's rate from 1. */
  readonly drift?: number;
  readonly parts?: PartsOf | undefined;
  /** A bug in Redis' functions, or in how they are used. */
  readonly plant?: ((redis: ModelRedis) => void) | undefined;
}

interface Frame {
  readonly from: Process;
  readonly deliver: (to: Process) => void;
}

export class Machine {
  readonly index: number;
  readonly name: string;
  readonly clock: SimClock;
  process: Process;
  /** Partitions between it and Redis. */
  cutsFromRedis = 0;

  constructor(index: number, process: Process) {
    this.index = index;
    this.name = process.node.name;
    this.clock = process.node.clock;
    this.process = process;
  }
}

/** One life of the executable on a machine. */
export class Process implements MembershipListener {
  readonly world: MembershipWorld;
  readonly index: number;
  readonly node: SimNode;
  readonly redis: ModelRedisClient;
  readonly membership: ClusterMembership;
  readonly roles: RoleLease;
  readonly log: string[] = [];
  hasLeft = false;
  /** Whom it has told that they are counted in; SUBACKs wait for them. */
  readonly #countedIn: Set<string> = new Set();
  /** Who has counted this life in. */
  readonly #countedBy: Set<string> = new Set();
  /** Latest monotonic ms of each peer that was seen. */
  readonly #seenMs: Map<string, number> = new Map();
  readonly #died: Set<string> = new Set();
  readonly #lost: Set<string> = new Set();
  #joined = '';

  constructor(world: MembershipWorld, index: number, node: SimNode, options: MembershipOptions) {
    this.world = world;
    this.index = index;
    this.node = node;
    this.redis = world.redis.connect(node.name, (ms, task) => {
      world.kernel.after(node, ms, task);
    });
    const log: Log = { debug: () => {}, info: this.#log, warn: this.#log, error: this.#log };
    this.membership = new ClusterMembership(
      options,
      {
        clock: node.clock,
        random: node.random,
        scheduler: node,
        redis: this.redis,
        log,
        askPeer: (peer, incarnation, generation, done) => {
          world.send(this, peer, (to) =>
            to.membership.renewFor(incarnation, generation, (reply) => {
              world.send(to, incarnation, () => done(reply));
            }),
          );
        },
      },
      this,
      world.partsOf?.(node.clock) ?? {},
    );
    this.redis.listen({
      redisUp: (isOther) => this.membership.redisUp(isOther),
      redisDown: () => this.membership.redisDown(),
    });
    this.roles = new RoleLease(this.membership, this.redis, node, options.prefix, 700);
    this.roles.want(ROLE);
    node.every(LEASE_MS / 6, () => this.#greet());
    node.every(1000, () => this.#complain());
    this.membership.start();
  }

  get isRunning(): boolean {
    return this.node.isAlive && !this.hasLeft;
  }

  hasMember(incarnation: string): boolean {
    return this.membership.members.some((member) => member.incarnation === incarnation);
  }

  leave(done: () => void): void {
    this.hasLeft = true;
    this.#note('leaves');
    this.membership.leave(done);
  }

  kill(): void {
    this.world.kernel.kill(this.node);
    this.redis.close();
  }

  // ------------------------------------------------------------------------------ events

  joined(incarnation: string): void {
    if (this.#lost.has(incarnation)) this.world.fail(`${incarnation} lives again at its own node`);
    this.#joined = incarnation;
    this.#countedBy.clear();
    this.#seenMs.clear();
    this.#note(`joined as ${short(incarnation)}`);
    this.world.count('joined');
  }

  members(members: readonly Member[]): void {
    this.#note(`members ${members.map((member) => short(member.incarnation)).join(' ')}`);
    for (const { incarnation } of members) {
      if (this.#died.has(incarnation)) this.world.fail(`${short(incarnation)} came back`);
    }
    this.node.nextTurn(() => this.#greet());
  }

  died(member: Member): void {
    this.#died.add(member.incarnation);
    this.#countedBy.delete(member.incarnation);
    this.#note(`died ${short(member.incarnation)}`);
    this.world.count('died');
    if (this.hasMember(member.incarnation)) this.world.fail('died, and still listed');
    this.#becomeReady();
  }

  /** `lost` follows. */
  forgotten(): void {}

  ready(): void {
    this.#note('ready');
  }

  fenced(): void {
    this.#note('fenced');
    this.world.count('fenced');
    this.fences++;
  }

  fences = 0;

  unfenced(): void {
    this.#note('unfenced');
    this.world.count('unfenced');
    if (this.membership.state === 'fenced') this.world.fail('unfenced, and says it is fenced');
  }

  lost(): void {
    this.#note('lost');
    this.#lost.add(this.#joined);
    this.world.count('lost');
  }

  emptied(_generation: string, isLowest: boolean): void {
    this.#note(`emptied${isLowest ? ', lowest' : ''}`);
    this.roles.emptied();
    this.world.count('emptied');
    if (isLowest) this.world.count('asserts');
    this.asserted ||= isLowest;
  }

  asserted = false;

  // ------------------------------------------------------------------------------ as the bus would

  /** Heartbeats, and COUNTED_IN with them. */
  #greet(): void {
    if (this.hasLeft || this.membership.state === 'out') return;
    const own = this.membership.incarnation;
    const linksUp = this.#linksUp();
    for (const { incarnation } of this.membership.members) {
      const heartbeat = {
        sentMs: this.node.clock.monotonicMs(),
        echoMs: this.#seenMs.get(incarnation) ?? 0,
        hasRedis: this.membership.hasRedis,
        linksUp,
        position: 0,
        items: 0,
        digest: 0,
      };
      this.world.send(this, incarnation, (to) => {
        if (to.hasLeft) return;
        to.#seenMs.set(own, heartbeat.sentMs);
        to.membership.heard(own, heartbeat);
        this.#countedIn.add(incarnation);
        to.#countedBy.add(own);
        to.#becomeReady();
      });
    }
    this.#becomeReady();
  }

  #becomeReady(): void {
    if (this.membership.state !== 'joining') return;
    for (const { incarnation } of this.membership.members) {
      if (!this.#countedBy.has(incarnation)) return;
    }
    this.membership.becomeReady();
  }

  #complain(): void {
    if (this.hasLeft) return;
    const linksUp = this.#linksUp();
    for (const { incarnation } of this.membership.members) {
      const forMs = this.world.downForMs(this, incarnation);
      if (forMs > 0 && this.#countedIn.has(incarnation))
        this.membership.unreachable(incarnation, forMs, linksUp);
    }
  }

  #linksUp(): number {
    let up = 0;
    for (const { incarnation } of this.membership.members) {
      if (this.world.downForMs(this, incarnation) === 0) up++;
    }
    return up;
  }

  #note(text: string): void {
    this.log.push(text);
    this.node.trace(text);
  }

  readonly #log = (fields: object, message: string): void => {
    if (this.world.kernel.isTracing) this.node.trace(`${message} ${JSON.stringify(fields)}`);
  };
}

export class MembershipWorld {
  readonly kernel: Kernel;
  readonly redis: ModelRedis;
  readonly machines: Machine[] = [];
  readonly partsOf: PartsOf | undefined;
  readonly counts: Map<string, number> = new Map();
  readonly #options: MembershipOptions;
  readonly #drift: number;
  /** `from>to` machine indexes, since when (virtual ms). */
  readonly #cuts: Map<string, number> = new Map();
  readonly #streams: Map<string, Frame[]> = new Map();
  readonly #deaths: Map<string, number> = new Map();
  /** Epoch of the role → who had it. */
  readonly #epochs: Map<number, string> = new Map();
  readonly #all: Process[] = [];

  constructor(seed: number, nodes: number, options: WorldOptions = {}) {
    this.kernel = new Kernel(seed, { isTracing: options.isTracing ?? false });
    this.partsOf = options.parts;
    this.#drift = options.drift ?? 0.05;
    this.#options = {
      record: { nodeId: 'node', address: 'sim:0', release: 'test', protocol: 1 },
      prefix: 'cw:',
      leaseMs: LEASE_MS,
      marginMs: MARGIN_MS,
      linkGraceMs: LINK_GRACE_MS,
      emptyWaitMs: options.emptyWaitMs ?? LEASE_MS + MARGIN_MS,
    };
    const { kernel } = this;
    this.redis = new ModelRedis({
      nowMs: () => 1_800_000_000_000 + kernel.nowMs,
      after: (delayMs, task) => {
        kernel.after(null, delayMs, task);
      },
      chance: () => kernel.chance.next(),
    });
    options.plant?.(this.redis);
    kernel.afterTurn = () => {
      // Not every time: to ask a node is to make it look at its clocks.
      if (kernel.chance.next() < 0.3) this.check();
    };
    for (let i = 0; i < nodes; i++) this.#addMachine(i);
  }

  get running(): Process[] {
    return this.machines.map((machine) => machine.process).filter((process) => process.isRunning);
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  fail(what: string): never {
    this.kernel.fail(what);
  }

  run(ms: number): void {
    if (this.kernel.run(this.kernel.nowMs + ms) !== 'reached') this.fail('the run never ends');
  }

  /** Virtual ms until all who run are ready members of each other. */
  settle(withinMs: number): number {
    const startMs = this.kernel.nowMs;
    const end = this.kernel.run(() => this.isSettled() || this.kernel.nowMs > startMs + withinMs);
    if (end !== 'reached' || !this.isSettled()) {
      const states = this.machines.map(({ process }) => {
        const { membership, node } = process;
        return `${node.name} ${process.isRunning ? membership.state : 'gone'} ${short(membership.incarnation)}: ${membership.members.map((one) => short(one.incarnation)).join(' ')}`;
      });
      this.fail(`not settled within ${withinMs} ms\n${states.join('\n')}`);
    }
    return this.kernel.nowMs - startMs;
  }

  isSettled(): boolean {
    const running = this.running;
    return running.every(
      ({ membership }) =>
        membership.state === 'ready' &&
        membership.members.length === running.length - 1 &&
        running.every(
          (other) =>
            other.membership === membership ||
            membership.members.some((one) => one.incarnation === other.membership.incarnation),
        ),
    );
  }

  // ------------------------------------------------------------------------------ faults

  restart(machine: Machine): Process {
    for (const [key, stream] of this.#streams) {
      if (key.endsWith(`>${machine.index}`)) stream.length = 0;
    }
    machine.clock.wake();
    const process = this.#process(machine.index, this.kernel.node(machine.name, machine.clock));
    machine.process = process;
    if (machine.cutsFromRedis > 0) process.redis.partition();
    return process;
  }

  /** `resets`: how often its machine says so to the others. */
  kill(machine: Machine, resets = 0.7): void {
    const { process } = machine;
    const { incarnation } = process.membership;
    this.#deaths.set(incarnation, this.kernel.nowMs);
    process.kill();
    for (const other of this.running) {
      if (!other.hasMember(incarnation) || this.kernel.chance.next() >= resets) continue;
      this.#tell(other, 2, () => other.membership.linkEnded(incarnation));
      this.#refuse(other, incarnation, () => machine.process === process);
    }
  }

  /**
   * Somebody in between ends the connections of two that live, and tells both; then it refuses, in the name of the
   * one, what the other dials.
   */
  reset(refusing: Machine, dialling: Machine): void {
    const [a, b] = [refusing.process, dialling.process];
    this.cut(refusing.index, dialling.index);
    this.cut(dialling.index, refusing.index);
    const { incarnation } = a.membership;
    this.#tell(a, 0, () => a.membership.linkEnded(b.membership.incarnation));
    this.#tell(b, 2, () => b.membership.linkEnded(incarnation));
    const key = `${dialling.index}>${refusing.index}`;
    this.#refuse(b, incarnation, () => this.#cuts.has(key));
  }

  #refuse(dialler: Process, incarnation: string, goesOn: () => boolean): void {
    this.#tell(dialler, 150, () => {
      if (!goesOn() || !dialler.hasMember(incarnation)) return;
      dialler.membership.linkRefused(incarnation);
      this.#refuse(dialler, incarnation, goesOn);
    });
  }

  #tell(process: Process, withinMs: number, what: () => void): void {
    this.kernel.after(process.node, this.kernel.chance.next() * withinMs, () => {
      if (process.isRunning) what();
    });
  }

  /** Of all that runs on the machine, now and later. */
  setRedis(machine: Machine, isInReach: boolean): void {
    machine.cutsFromRedis += isInReach ? -1 : 1;
    this.kernel.trace(machine.process.node, isInReach ? 'Redis in reach' : 'no way to Redis');
    if (machine.cutsFromRedis > 0) machine.process.redis.partition();
    else machine.process.redis.heal();
  }

  /** Redis knows all who run. */
  isRegistered(): boolean {
    const known = this.redis.db.hash('cw:n:{cluster}:m');
    return this.running.every(({ membership }) => known.has(membership.incarnation));
  }

  cut(from: number, to: number): void {
    const key = `${from}>${to}`;
    if (this.#cuts.has(key)) return;
    this.#cuts.set(key, this.kernel.nowMs);
    this.kernel.trace(null, `link ${key} cut`);
  }

  /** `resumes`: what was under way arrives after all. */
  join(from: number, to: number, resumes: boolean): void {
    const key = `${from}>${to}`;
    if (!this.#cuts.delete(key)) return;
    this.kernel.trace(null, `link ${key} up again`);
    const stream = this.#streams.get(key);
    if (stream === undefined) return;
    if (!resumes) stream.length = 0;
    const count = stream.length;
    for (let i = 0; i < count; i++) this.#deliverLater(key, to);
    const [dialler, other] = [this.machines[from]!.process, this.machines[to]!.process];
    this.#tell(dialler, 5, () => {
      if (!this.#cuts.has(key)) dialler.membership.linkUp(other.membership.incarnation);
    });
  }

  // ------------------------------------------------------------------------------ links

  send(from: Process, incarnation: string, deliver: (to: Process) => void): void {
    const to = this.#all.find((process) => process.membership.incarnation === incarnation);
    if (to === undefined) return;
    const key = `${from.index}>${to.index}`;
    let stream = this.#streams.get(key);
    if (stream === undefined) {
      stream = [];
      this.#streams.set(key, stream);
    }
    stream.push({
      from,
      deliver: (now) => {
        // A link is between two lives.
        if (now.membership.incarnation === incarnation) deliver(now);
      },
    });
    if (!this.#cuts.has(key)) this.#deliverLater(key, to.index);
  }

  downForMs(from: Process, incarnation: string): number {
    const to = this.#all.find((process) => process.membership.incarnation === incarnation);
    const { nowMs } = this.kernel;
    if (to === undefined) return 0;
    if (!to.node.isAlive) return nowMs - (this.#deaths.get(incarnation) ?? nowMs);
    const sinceMs = this.#cuts.get(`${from.index}>${to.index}`);
    return sinceMs === undefined ? 0 : nowMs - sinceMs;
  }

  #deliverLater(key: string, to: number): void {
    const { node } = this.machines[to]!.process;
    this.kernel.after(node, 0.1 + this.kernel.chance.next() * 2, () => {
      if (this.#cuts.has(key)) return;
      const frame = this.#streams.get(key)?.shift();
      const { process } = this.machines[to]!;
      if (frame !== undefined && process.node === node && process.isRunning) frame.deliver(process);
    });
  }

  // ------------------------------------------------------------------------------ invariants

  check(): void {
    const { running } = this;
    const serving = running.filter((process) => process.membership.mayServe());
    for (const a of serving) {
      const { incarnation } = a.membership;
      for (const b of serving) {
        if (a === b || b.hasMember(incarnation)) continue;
        this.fail(
          `${a.node.name} (${short(incarnation)}) serves, and ${b.node.name} does not count it in`,
        );
      }
    }
    for (const { roles, membership } of serving) {
      const epoch = roles.epoch(ROLE);
      if (epoch === 0) continue;
      const holder = this.#epochs.get(epoch);
      if (holder !== undefined && holder !== membership.incarnation) {
        this.fail(`epoch ${epoch} of a role has two holders`);
      }
      this.#epochs.set(epoch, membership.incarnation);
    }
  }

  #addMachine(index: number): void {
    const { chance } = this.kernel;
    const node = this.kernel.node(`n${index}`, {
      rate: 1 + (chance.next() * 2 - 1) * this.#drift,
      wallOffsetMs: (chance.next() - 0.5) * 4000,
    });
    this.machines.push(new Machine(index, this.#process(index, node)));
  }

  #process(index: number, node: SimNode): Process {
    const { name } = node;
    const record = { ...this.#options.record, nodeId: name, address: `sim:${index}` };
    const process = new Process(this, index, node, { ...this.#options, record });
    this.#all.push(process);
    return process;
  }
}

export function short(incarnation: string): string {
  return incarnation.slice(0, 4);
}

// ---------------------------------------------------------------------------------- planted bugs

class LeaseFromReply extends OwnLease {
  readonly #clockOf: Clock;
  constructor(clock: Clock) {
    super(clock, LEASE_MS, MARGIN_MS);
    this.#clockOf = clock;
  }
  override prove(_askedMs: number, era: number): void {
    super.prove(this.#clockOf.monotonicMs(), era);
  }
}

class ServesOn extends CutLinks {
  override get areSome(): boolean {
    return false;
  }
}

class Hasty extends CutLinks {
  override readonly goneMs: number = 0;
}

class BlindToSleep extends OwnLease {
  constructor(clock: Clock) {
    super(clock, LEASE_MS, 1e15);
  }
}

class NeverHolds extends MemberWatch {
  constructor() {
    super(LEASE_MS + MARGIN_MS);
  }
  override hold(): void {}
}

class ForgetsItsWord extends MemberWatch {
  constructor() {
    super(LEASE_MS + MARGIN_MS);
  }
  override countFrom(): void {}
}

class BelievesSilence extends HeardPeers {
  constructor() {
    super(LEASE_MS);
  }
  /** Whoever is heard counts, whatever it says. */
  override memberSinceMs(
    members: Iterable<string>,
    _isDead: unknown,
    nowMs: number,
  ): number | null {
    for (const member of members) if (!this.hasHeard(member)) return null;
    return nowMs;
  }
}

export interface Planted {
  readonly parts?: PartsOf;
  readonly plant?: (redis: ModelRedis) => void;
  readonly emptyWaitMs?: number;
}

/** Rules of ADR 0010 taken out one at a time: the runs must notice each. */
export const PLANTED: ReadonlyMap<string, Planted> = new Map<string, Planted>([
  ['lease counted from the answer', { parts: (clock) => ({ lease: new LeaseFromReply(clock) }) }],
  [
    'who has lost a link serves as long as before',
    { parts: () => ({ cuts: new ServesOn(LEASE_MS, MARGIN_MS) }) },
  ],
  [
    'who refuses is buried whatever its counter says',
    { parts: () => ({ cuts: new Hasty(LEASE_MS, MARGIN_MS) }) },
  ],
  ['a sleep goes unnoticed', { parts: (clock) => ({ lease: new BlindToSleep(clock) }) }],
  ['who is missing in an emptied Redis is dropped', { parts: () => ({ watch: new NeverHolds() }) }],
  [
    'silence counts while one said it had no Redis',
    { parts: () => ({ watch: new ForgetsItsWord() }) },
  ],
  ['a lease goes on for any heartbeat', { parts: () => ({ peers: new BelievesSilence() }) }],
  ['a joiner believes an empty Redis at once', { emptyWaitMs: 0 }],
  [
    'a burial does not compare the counter',
    {
      plant: (redis) =>
        redis.override('node_bury_1', (db, keys, args, nowMs) => {
          const counter = db.hash(keys[1]!).get(args[0]!) ?? '0';
          return nodeBuryTwin(db, keys, [args[0]!, counter, args[2]!, args[3]!], nowMs);
        }),
    },
  ],
  [
    'an eviction buries at once',
    {
      plant: (redis) =>
        redis.override('node_bury_1', (db, keys, args, nowMs) => {
          const isDone = nodeBuryTwin(db, keys, args, nowMs);
          if (isDone === 1 && args[2] === '1')
            for (const key of [0, 1]) db.hash(keys[key]!).delete(args[0]!);
          return isDone;
        }),
    },
  ],
]);
