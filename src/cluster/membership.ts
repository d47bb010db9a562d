/**
 * This node among the others: joins, renews its lease, finds out that it is fenced before anyone acts
 * on it, watches the others and buries who is dead (ADR 0010). Events go to the bus; Redis orders joins
 * and deaths. Callbacks on injected time only: the simulation runs it whole.
 *
 * Every answer that proves membership counts from when it was *asked for*, and every silence of another
 * from when an answer that showed it alive *came*: so a lease ends here before it ends for the others.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { RedisFailure, RedisReply } from '../drivers/redis/redis-port.ts';
import { Asserter } from './asserter.ts';
import { evictsNow } from './broken-links.ts';
import { Burials } from './burials.ts';
import { CutLinks } from './cut-links.ts';
import { HeardPeers } from './heard-peers.ts';
import { MemberWatch } from './member-watch.ts';
import type {
  MembershipListener,
  MembershipOptions,
  MembershipParts,
  MembershipWorld,
} from './membership-parts.ts';
import {
  deadCall,
  deadReply,
  forgetCall,
  joinCall,
  joinReply,
  type ListedNode,
  leaveCall,
  type NodeKeys,
  nodeDead,
  nodeForget,
  nodeJoin,
  nodeKeys,
  nodeLeave,
  nodeRenew,
  type RenewReply,
  renewCall,
  renewReply,
} from './node-functions.ts';
import { OwnLease } from './own-lease.ts';
import type { Heartbeat, Member, Membership, MembershipState } from './ports.ts';
import { RedisReach } from './redis-reach.ts';

/** A renewal is due every sixth of a lease; the rest is looked at more often. */
const RENEWALS_PER_LEASE = 6;
const TICKS_PER_LEASE = 30;
/** Renewals that wait for an answer at the same time. */
const WAITING_MAX = 4;
/** Of a proof that was not asked for: an echo. */
const NO_ERA = -1;
const nothing = (): void => {};

export class ClusterMembership implements Membership {
  readonly #options: MembershipOptions;
  readonly #world: MembershipWorld;
  readonly #events: MembershipListener;
  readonly #keys: NodeKeys;
  readonly #lease: OwnLease;
  readonly #watch: MemberWatch;
  readonly #peers: HeardPeers;
  readonly #reach: RedisReach;
  readonly #asserter: Asserter = new Asserter();
  readonly #burials: Burials;
  readonly #cuts: CutLinks;
  #incarnation: Incarnation = '';
  #generation = '';
  #secret = '';
  /** `joining`: no answer yet. `waiting`: registered, and nothing proves yet that this is the cluster. */
  #phase: 'off' | 'joining' | 'waiting' | 'member' | 'left' = 'off';
  #isReady = false;
  /** When readiness was asked for; -1: it was not, or somebody new has to be heard first. */
  #readyAskedMs = -1;
  #isFenced = false;
  #isCheckDue = false;
  #isJoinUnderWay = false;
  /** Registered again after Redis was emptied: answers to what was asked before say nothing of it. */
  #registeredMs = Number.NEGATIVE_INFINITY;
  #isRegistered = false;
  /** Lists are believed when they were asked for later. */
  #waitUntilMs = 0;
  /** Own counter in the newest list: answers may come by two ways, and the older one later. */
  #ownCounter = -1;
  #nextRenewMs = 0;
  #nextAskMs = 0;
  #peersAsked = 0;
  #redisTimeMs = 0;
  #redisTimeAtMs = 0;
  #stopTicks: (() => void) | null = null;

  constructor(
    options: MembershipOptions,
    world: MembershipWorld,
    events: MembershipListener,
    parts: Partial<MembershipParts> = {},
  ) {
    const { leaseMs, marginMs } = options;
    this.#options = options;
    this.#world = world;
    this.#events = events;
    this.#keys = nodeKeys(options.prefix);
    this.#lease = parts.lease ?? new OwnLease(world.clock, leaseMs, marginMs);
    this.#watch = parts.watch ?? new MemberWatch(leaseMs + marginMs);
    this.#peers = parts.peers ?? new HeardPeers(leaseMs);
    this.#reach = new RedisReach(world.clock, leaseMs / 3);
    this.#cuts = parts.cuts ?? new CutLinks(leaseMs, marginMs);
    this.#burials = new Burials({
      redis: world.redis,
      keys: this.#keys,
      watch: this.#watch,
      cuts: this.#cuts,
      log: world.log,
      self: () => this.#incarnation,
      leaseMs,
      marginMs,
      askSoon: () => {
        this.#nextRenewMs = 0;
      },
    });
  }

  // ------------------------------------------------------------------------------ Membership

  get state(): MembershipState {
    if (this.#phase === 'left') return 'left';
    if (this.#phase !== 'member') return 'out';
    if (this.#isFenced) return 'fenced';
    return this.#isReady ? 'ready' : 'joining';
  }

  get incarnation(): Incarnation {
    return this.#incarnation;
  }

  get members(): readonly Member[] {
    return this.#phase === 'member' ? this.#watch.members : [];
  }

  /** What peers prove to each other that they read the same Redis. */
  get secret(): string {
    return this.#secret;
  }

  get generation(): string {
    return this.#generation;
  }

  /** What this node says of itself in heartbeats. */
  get hasRedis(): boolean {
    return this.#reach.isThere;
  }

  mayServe(): boolean {
    if (!this.#isReady) return false;
    if (this.#lease.isValid()) {
      // Once fenced, the core is told before it goes on.
      return !this.#isFenced && !this.#isDoubtful;
    }
    // Not from inside a socket read: what follows closes things.
    if (!this.#isCheckDue && !this.#isFenced) {
      this.#isCheckDue = true;
      this.#world.scheduler.endOfTurn(this.#check);
    }
    return false;
  }

  /** A link has ended, and whoever was at its other end may take this node for one that is gone. */
  get #isDoubtful(): boolean {
    if (!this.#cuts.areSome) return false;
    return this.#nowMs() - this.#lease.provedMs >= this.#cuts.proofMs;
  }

  redisTimeMs(): number {
    if (this.#redisTimeMs === 0) return this.#world.clock.wallMs();
    return this.#redisTimeMs + this.#world.clock.monotonicMs() - this.#redisTimeAtMs;
  }

  start(): void {
    if (this.#phase !== 'off') return;
    this.#stopTicks = this.#world.scheduler.every(
      this.#options.leaseMs / TICKS_PER_LEASE,
      this.#tick,
    );
    this.#begin();
  }

  becomeReady(): void {
    if (this.#phase !== 'member' || this.#isReady || this.#readyAskedMs >= 0) return;
    // Whoever counted this node in may have learned of others meanwhile: a list that is asked for now
    // names them all.
    this.#readyAskedMs = this.#nowMs();
    this.#renew();
  }

  leave(done: () => void): void {
    if (this.#phase === 'left' || this.#phase === 'off') {
      this.#phase = 'left';
      this.#world.scheduler.nextTurn(done);
      return;
    }
    this.#phase = 'left';
    this.#isReady = false;
    this.#lease.end();
    this.#stopTicks?.();
    if (this.#isAwaiting) {
      this.#world.scheduler.nextTurn(done);
      return;
    }
    this.#leaveUntil(this.#nowMs() + this.#options.leaseMs, done);
  }

  heard(peer: Incarnation, heartbeat: Heartbeat): void {
    if (this.#phase !== 'member' || this.#watch.isDead(peer)) return;
    const nowMs = this.#nowMs();
    this.#peers.heard(peer, heartbeat, nowMs);
    this.#cuts.heard(peer);
    // A lease that is over stays so until Redis has answered: who knows what it said meanwhile.
    if (this.#reach.isThere || heartbeat.hasRedis || !this.#lease.isValid()) return;
    const sinceMs = this.#peers.memberSinceMs(this.#watch.known(), this.#isDead, nowMs);
    if (sinceMs === null) return;
    this.#prove(sinceMs, NO_ERA);
    this.#cuts.proved(sinceMs);
  }

  unreachable(peer: Incarnation, forMs: number, linksUp: number): void {
    // One that was never heard is joining: nobody waits for it.
    if (this.state !== 'ready' || !this.#watch.has(peer) || !this.#peers.hasHeard(peer)) return;
    const { linkGraceMs, leaseMs } = this.#options;
    const downCount = this.#watch.members.length - linksUp;
    const isLower = this.#incarnation < peer;
    if (!evictsNow({ forMs, downCount, isLower }, linkGraceMs, leaseMs)) return;
    // A dead one is buried, or was the reason; without Redis there is nobody to decide.
    const isAlive = this.#nowMs() - this.#watch.movedMs(peer) < leaseMs / 2;
    if (!isAlive || !this.#reach.isThere || !this.#lease.isValid()) return;
    this.#world.log.warn({ peer }, 'no link to a live member: evicted');
    this.#burials.evict(peer);
  }

  linkEnded(peer: Incarnation): void {
    if (this.#phase !== 'member') return;
    this.#cuts.ended(peer);
    // Whoever is there says so at once, and sees who is not.
    if (this.#reach.waiting < WAITING_MAX) this.#talk();
  }

  linkUp(peer: Incarnation): void {
    this.#cuts.up(peer, this.#nowMs());
  }

  linkRefused(peer: Incarnation): void {
    // One that was never heard is joining, maybe under an address that is wrong.
    if (this.#watch.has(peer) && this.#peers.hasHeard(peer)) this.#cuts.refused(peer);
  }

  // ------------------------------------------------------------------------------ besides

  /** From whoever listens to the RedisPort. */
  redisUp(isOtherServer: boolean): void {
    if (this.#phase === 'off' || this.#phase === 'left') return;
    if (isOtherServer && this.#isRegistered) {
      // It may lack what was written lately: who is missing there has not necessarily left.
      this.#watch.hold(this.#nowMs());
      this.#registeredMs = this.#nowMs();
      this.#ownCounter = -1;
    }
    this.#talk();
  }

  redisDown(): void {
    this.#reach.gone();
  }

  /** Something is missing in Redis: was it emptied? Finding that out is as good as a renewal. */
  confirm(done: (isSame: boolean | null) => void): void {
    if (this.#phase !== 'member') {
      this.#world.scheduler.nextTurn(() => done(null));
      return;
    }
    this.#renew((reply) => {
      const kind = reply === null ? 'dead' : renewReply(reply).kind;
      done(kind === 'dead' ? null : kind === 'ok');
    });
  }

  /** A peer asks on behalf of itself (RENEW_FOR). Null: Redis did not answer. */
  renewFor(
    incarnation: Incarnation,
    generation: string,
    done: (reply: RedisReply | null) => void,
  ): void {
    const { keys, args } = renewCall(this.#keys, incarnation, generation);
    this.#world.redis.call(nodeRenew, keys, args, (failure, reply) => {
      done(failure === null ? reply : null);
    });
  }

  /** Who is remembered as dead; null: Redis did not answer. */
  dead(done: (dead: readonly Incarnation[] | null) => void): void {
    const { keys, args } = deadCall(this.#keys);
    this.#world.redis.call(nodeDead, keys, args, (failure, reply) => {
      done(failure === null ? deadReply(reply) : null);
    });
  }

  /** Nothing is left of it: it need not be remembered for ever. */
  forget(dead: Incarnation): void {
    const { keys, args } = forgetCall(this.#keys, dead);
    this.#world.redis.call(nodeForget, keys, args, nothing);
  }

  // ------------------------------------------------------------------------------ time

  readonly #tick = (): void => {
    this.#lease.sample();
    this.#check();
    const nowMs = this.#nowMs();
    const isCut = this.#cuts.areSome && this.#reach.waiting === 0;
    const isAsking = nowMs >= this.#nextRenewMs || isCut || this.#lateForDeath(nowMs);
    if (isAsking) this.#talk();
    if (this.#phase === 'member') this.#askPeers(nowMs);
    if (this.#options.goesOnAlone === true) this.#goOnAlone(nowMs);
  };

  /** Somebody may have been silent for too long: better asked now than with the next renewal. */
  #lateForDeath(nowMs: number): boolean {
    if (!this.#reach.isThere || this.#reach.waiting > 0) return false;
    return nowMs >= this.#watch.nextDeadlineMs();
  }

  /** The end of the lease, told once. */
  readonly #check = (): void => {
    this.#isCheckDue = false;
    if (this.#phase !== 'member' || this.#isFenced || this.#lease.isValid()) return;
    this.#isFenced = true;
    this.#world.log.warn({ incarnation: this.#incarnation }, 'lease is over: fenced');
    this.#events.fenced();
    // A machine that has slept asks at once.
    if (this.#reach.waiting < WAITING_MAX) this.#talk();
  };

  /** The next thing to be said to Redis. */
  #talk(): void {
    if (this.#phase === 'joining' || !this.#isRegistered) this.#join();
    else if (this.#reach.waiting < WAITING_MAX) this.#renew();
  }

  /** All members of the last agreed list say that they have no Redis, as there are none. */
  #goOnAlone(nowMs: number): void {
    if (!this.#isReady || this.#reach.isThere || !this.#lease.isValid()) return;
    if ([...this.#watch.known()].length > 0) return;
    const sinceMs = this.#peers.memberSinceMs([], this.#isDead, nowMs);
    if (sinceMs !== null) this.#prove(sinceMs, NO_ERA);
  }

  #prove(askedMs: number, era: number): void {
    this.#lease.prove(askedMs, era);
    if (!this.#isFenced || !this.#lease.isValid()) return;
    this.#isFenced = false;
    this.#events.unfenced();
  }

  #nowMs(): number {
    return this.#world.clock.monotonicMs();
  }

  readonly #isDead = (peer: Incarnation): boolean => this.#watch.isDead(peer);

  // ------------------------------------------------------------------------------ joining

  /** Another life. */
  #begin(): void {
    this.#incarnation = this.#world.random.hex(16);
    this.#generation = this.#world.random.hex(16);
    this.#secret = this.#world.random.hex(32);
    this.#phase = 'joining';
    this.#isReady = false;
    this.#readyAskedMs = -1;
    this.#isFenced = false;
    this.#isRegistered = false;
    this.#asserter.clear();
    this.#lease.end();
    this.#watch.clear();
    this.#peers.clear();
    this.#cuts.clear();
    this.#join();
  }

  /** Registers, for the first time or again. */
  #join(): void {
    this.#nextRenewMs = this.#nowMs() + this.#renewalMs;
    if (this.#isJoinUnderWay) return;
    this.#isJoinUnderWay = true;
    const incarnation = this.#incarnation;
    const generation = this.#generation;
    const askedMs = this.#nowMs();
    const { record } = this.#options;
    const { keys, args } = joinCall(this.#keys, incarnation, record, generation, this.#secret);
    this.#reach.asked(askedMs);
    this.#world.redis.call(nodeJoin, keys, args, (failure, reply) => {
      this.#isJoinUnderWay = false;
      this.#redisAnswered(askedMs, failure);
      if (incarnation !== this.#incarnation || this.#phase === 'left') return;
      // Whether it was executed or not: the next renewal's time is the time to try again.
      if (failure !== null) return;
      const answer = joinReply(reply);
      if (answer.kind === 'dead') {
        this.#lost();
        return;
      }
      this.#heardTime(answer.timeMs);
      this.#generation = answer.generation;
      this.#secret = answer.secret;
      if (this.#phase === 'joining') this.#joined(answer.members, generation);
      else this.#joinedAgain(answer.members, askedMs);
    });
  }

  #joined(nodes: readonly ListedNode[], proposed: string): void {
    const nowMs = this.#nowMs();
    this.#registered(nodes, nowMs);
    this.#watch.listed(nodes, this.#incarnation, nowMs, nowMs);
    // Only a renewal proves anything: a join that is repeated does not move the counter.
    this.#phase = 'waiting';
    this.#waitUntilMs = nowMs;
    if (this.#generation === proposed && this.#options.emptyWaitMs > 0) {
      // Redis was empty: new, or emptied under members that do not know it yet (they find out within
      // their leases). Until those are back this node knows nobody.
      this.#waitUntilMs = nowMs + this.#options.emptyWaitMs;
      this.#world.log.info({ waitMs: this.#options.emptyWaitMs }, 'Redis is empty: waiting');
    }
    this.#renew();
  }

  #announce(): void {
    this.#phase = 'member';
    this.#events.joined(this.#incarnation, this.#generation, this.#secret);
    this.#events.members(this.#watch.members);
  }

  /** Redis was empty, and this node is there again under its old incarnation. */
  #joinedAgain(nodes: readonly ListedNode[], askedMs: number): void {
    if (!this.#lease.isValid()) {
      // Too late: the others may have dropped it. Whoever joins by now finds a Redis that seems to be as it was.
      this.#events.forgotten();
      this.#lost();
      return;
    }
    const nowMs = this.#nowMs();
    // It may have been emptied once more before this was executed.
    this.#watch.hold(nowMs);
    this.#asserter.remember(this.#watch.members.map(({ incarnation }) => incarnation));
    this.#registered(nodes, nowMs);
    this.#listed(nodes, askedMs);
    // Nobody waits for one that may not come back: who is the first to do so asserts, and a lower one again.
    const isBack = new Set(nodes.map(({ incarnation }) => incarnation));
    const isLowest = this.#asserter.begin(this.#incarnation, (one) => isBack.has(one), nowMs);
    this.#world.log.warn({ generation: this.#generation }, 'Redis was empty: registered again');
    this.#events.emptied(this.#generation, isLowest);
    this.#renew();
  }

  #registered(nodes: readonly ListedNode[], nowMs: number): void {
    this.#isRegistered = true;
    this.#registeredMs = nowMs;
    const own = nodes.find((node) => node.incarnation === this.#incarnation);
    this.#ownCounter = own?.counter ?? -1;
  }

  // ------------------------------------------------------------------------------ renewing

  get #renewalMs(): number {
    return this.#options.leaseMs / RENEWALS_PER_LEASE;
  }

  #renew(done: (reply: RedisReply | null) => void = nothing): void {
    const askedMs = this.#nowMs();
    this.#nextRenewMs = askedMs + this.#renewalMs;
    const incarnation = this.#incarnation;
    const { era } = this.#lease;
    const { keys, args } = renewCall(this.#keys, incarnation, this.#generation);
    this.#reach.asked(askedMs);
    this.#world.redis.call(nodeRenew, keys, args, (failure, reply) => {
      this.#redisAnswered(askedMs, failure);
      if (failure === null) this.#renewed(incarnation, reply, askedMs, era);
      done(failure === null ? reply : null);
    });
  }

  /** Without Redis, or in fear of it: a peer that says it has Redis renews for this node. */
  #askPeers(nowMs: number): void {
    const isShort = this.#lease.endMs - nowMs < this.#options.leaseMs / 2;
    if ((this.#reach.isThere && !isShort) || nowMs < this.#nextAskMs || !this.#isRegistered) return;
    const able = [...this.#peers.withRedis(nowMs)].filter((peer) => this.#watch.has(peer));
    if (able.length === 0) return;
    this.#nextAskMs = nowMs + this.#renewalMs;
    const peer = able[this.#peersAsked++ % able.length]!;
    const incarnation = this.#incarnation;
    const { era } = this.#lease;
    this.#world.askPeer(peer, incarnation, this.#generation, (reply) => {
      if (reply === null) return;
      // What this node tells others of its Redis stays true: nobody's silence counts meanwhile.
      if (!this.#reach.isThere) this.#watch.countFrom(this.#nowMs());
      this.#renewed(incarnation, reply, nowMs, era);
    });
  }

  #redisAnswered(askedMs: number, failure: RedisFailure | null): void {
    if (failure === null && !this.#reach.isThere) this.#watch.countFrom(this.#nowMs());
    this.#reach.answered(askedMs, failure === null);
  }

  #renewed(incarnation: Incarnation, reply: RedisReply, askedMs: number, era: number): void {
    if (incarnation !== this.#incarnation) return;
    if (this.#phase !== 'member' && this.#phase !== 'waiting') return;
    const answer = renewReply(reply);
    if (answer.kind === 'dead') {
      this.#lost();
    } else if (answer.kind === 'ok') {
      this.#heardTime(answer.timeMs);
      this.#proved(answer, askedMs, era);
    } else if (askedMs >= this.#registeredMs && this.#isRegistered) {
      this.#emptied();
    }
  }

  #proved(answer: RenewReply & { readonly kind: 'ok' }, askedMs: number, era: number): void {
    const own = answer.members.find((node) => node.incarnation === this.#incarnation);
    const isNewest = askedMs >= this.#registeredMs && (own?.counter ?? -1) > this.#ownCounter;
    if (isNewest) {
      this.#ownCounter = own!.counter;
      this.#listed(answer.members, askedMs);
      if (this.#phase === 'waiting' && askedMs >= this.#waitUntilMs) this.#announce();
    }
    // After the list: who goes on serving knows whom to wait for.
    if (this.#phase === 'member') {
      this.#prove(askedMs, era);
      this.#cuts.proved(askedMs);
    }
    if (!isNewest) return;
    // A dead one that Redis lists has come back into an emptied one: as with any other that is listed
    // there, this node waits for what may come after it, until that one is buried.
    const isAlone = !this.#watch.hasRevenants;
    if (isAlone && this.#readyAskedMs >= 0 && askedMs >= this.#readyAskedMs) this.#ready();
    this.#burials.buryDead(askedMs);
    if (this.mayServe()) this.#burials.buryGone(askedMs);
  }

  #ready(): void {
    this.#readyAskedMs = -1;
    this.#isReady = true;
    this.#events.ready();
  }

  #heardTime(timeMs: number): void {
    this.#redisTimeMs = timeMs;
    this.#redisTimeAtMs = this.#nowMs();
  }

  /** Redis does not know this node any more. */
  #emptied(): void {
    if (this.#phase !== 'member' || !this.#lease.isValid()) {
      // The others may have dropped it meanwhile, and Redis could not say so.
      this.#lost();
      return;
    }
    this.#isRegistered = false;
    this.#watch.hold(this.#nowMs());
    this.#join();
  }

  /** This incarnation is dead; there will be another. */
  #lost(): void {
    const wasMember = this.#phase === 'member';
    this.#world.log.warn({ incarnation: this.#incarnation }, 'declared dead: joins anew');
    // It may still be registered, or be so by a join under way.
    if (!this.#isAwaiting) this.#leave(this.#incarnation, () => {});
    this.#phase = 'joining';
    this.#isReady = false;
    this.#lease.end();
    if (wasMember) this.#events.lost();
    if (this.#phase === 'joining') this.#begin();
  }

  // ------------------------------------------------------------------------------ the others

  #listed(nodes: readonly ListedNode[], askedMs: number): void {
    const change = this.#watch.listed(nodes, this.#incarnation, askedMs, this.#nowMs());
    // Who has come has not counted this node in yet.
    if (change.hasCome) this.#readyAskedMs = -1;
    for (const { incarnation } of change.gone) {
      this.#peers.forget(incarnation);
      this.#cuts.forget(incarnation);
    }
    if (!change.isChanged || this.#phase !== 'member') return;
    this.#events.members(this.#watch.members);
    for (const member of change.gone) this.#events.died(member);
    this.#assertInstead();
  }

  /** Who was to assert what nobody owns has died: the next one does. */
  #assertInstead(): void {
    const isMember = (witness: Incarnation): boolean => this.#watch.has(witness);
    if (this.#asserter.passes(this.#incarnation, isMember, this.#nowMs())) {
      this.#events.emptied(this.#generation, true);
    }
  }

  // ------------------------------------------------------------------------------ leaving

  /**
   * Members may be serving that an emptied Redis does not list. Whoever joins waits for this node, and
   * may not find it gone before those are back or dead: it is left to be buried.
   */
  get #isAwaiting(): boolean {
    return this.#watch.isHolding || this.#nowMs() < this.#waitUntilMs;
  }

  #leave(incarnation: Incarnation, done: (failure: RedisFailure | null) => void): void {
    const { keys, args } = leaveCall(this.#keys, incarnation);
    this.#world.redis.call(nodeLeave, keys, args, done);
  }

  #leaveUntil(endMs: number, done: () => void): void {
    this.#leave(this.#incarnation, (failure) => {
      if (failure === null) {
        done();
        return;
      }
      // The others find out by themselves when Redis stays away.
      const stop = this.#world.scheduler.every(this.#renewalMs, () => {
        stop();
        if (this.#nowMs() >= endMs) done();
        else this.#leaveUntil(endMs, done);
      });
    });
  }
}
