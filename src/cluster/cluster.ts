/**
 * One node of a datacenter: puts membership, mesh, ledger and core together, and hands what they tell to
 * the parts of this room (docs/adr/0010 to 0014). Made by app/, or by the simulation, which owns time and
 * links; everything here is callbacks.
 */
import assert from 'node:assert';
import type { Bus, Incarnation, RemoteSide, SessionImage } from '../core/cluster-ports.ts';
import { HybridClock } from '../util/hybrid-clock.ts';
import { Barrier } from './barrier.ts';
import { ClusterBus } from './bus.ts';
import { Caretaker } from './caretaker.ts';
import { type ClusterCounters, newCounters } from './cluster-counters.ts';
import type { ClusterParts } from './cluster-parts.ts';
import { type ClusterState, type NodeState, peerState, selfState } from './cluster-state.ts';
import { CountingIn } from './counting-in.ts';
import { Estates } from './estates.ts';
import { FormerLife } from './former-life.ts';
import { FrameDesk } from './frame-desk.ts';
import { Heartbeats } from './heartbeats.ts';
import { Hints } from './hints.ts';
import { Joining } from './joining.ts';
import type { JournalLinks } from './journal-links.ts';
import { encodeGoodbye } from './link/frame-codec.ts';
import type { PeerNode } from './peer-node.ts';
import { PeerTables } from './peer-tables.ts';
import type { Member } from './ports.ts';
import type { ClusterMesh, ReadyEvents, StartedMembership } from './ports-local.ts';
import { Reassertion } from './reassertion.ts';
import { Renewals } from './renewals.ts';
import { RetainedSync } from './retained-sync.ts';
import { PeerRoamChannel } from './roam-channel.ts';
import { RoutesAnnouncer } from './routes-announcer.ts';
import { TailWatch } from './tail-watch.ts';
import { NO_JOURNAL, Takeover } from './takeover.ts';

const TICK_MS = 50;

export class Cluster implements ReadyEvents {
  readonly bus: Bus;
  readonly counters: ClusterCounters = newCounters();
  readonly hybridClock: HybridClock;
  readonly #parts: ClusterParts;
  readonly #membership: StartedMembership;
  readonly #mesh: ClusterMesh;
  readonly #peers: Map<Incarnation, PeerNode> = new Map();
  readonly #barrier: Barrier;
  readonly #announcer: RoutesAnnouncer;
  readonly #tables: PeerTables;
  readonly #takeover: Takeover;
  readonly #retained: RetainedSync;
  readonly #caretaker: Caretaker;
  readonly #estates: Estates;
  readonly #reassertion: Reassertion;
  readonly #tails: TailWatch;
  readonly #joining: Joining;
  readonly #countingIn: CountingIn;
  readonly #renewals: Renewals;
  readonly #heartbeats: Heartbeats;
  readonly #roam: PeerRoamChannel;
  readonly #desk: FrameDesk;
  readonly #journal: JournalLinks | null;
  #remote: RemoteSide | null = null;
  #members: ReadonlyMap<Incarnation, Member> = new Map();
  #generation = '';
  readonly #former: FormerLife = new FormerLife();
  /** `mayServe` has said no: whoever was held for it is let go when it says yes again. */
  #hasHeld = false;
  #isDraining = false;
  #isStopped = false;
  #stopTicks: (() => void) | null = null;
  #onFirstReady: (() => void) | null = null;

  constructor(parts: ClusterParts) {
    const { clock, random, scheduler, log, ledger, mesh, sessions, options } = parts;
    const { counters } = this;
    this.#parts = parts;
    this.#mesh = mesh;
    this.#journal = parts.journal ?? null;
    this.#renewals = new Renewals(mesh, () => this.#membership);
    this.#membership = parts.membership({
      events: this,
      askPeer: (peer, incarnation, generation, done) =>
        this.#renewals.ask(peer, incarnation, generation, clock.monotonicMs(), done),
    });
    this.hybridClock = new HybridClock(() => this.#membership.redisTimeMs(), options.clockSkewMs);
    const self = (): Incarnation => this.#membership.incarnation;
    const remote = (): RemoteSide => this.#core;
    const mayServe = (): boolean => this.#mayServe();
    const isMember = (incarnation: Incarnation): boolean => this.#members.has(incarnation);
    const peers = (): Iterable<PeerNode> => this.#peers.values();
    // Whoever has served was known to all who serve: one that is not known to them is dead.
    ledger.isDead = (incarnation) =>
      incarnation !== self() && !isMember(incarnation) && this.#membership.mayServe();
    ledger.mayOpen = (incarnation) => incarnation === self() && mayServe();
    ledger.onSuperseded = (owner, clientId, epoch) =>
      this.#takeover.dispossess(owner, clientId, epoch);
    ledger.onGivenBack = (image) => this.#takeover.givenBack(image);
    this.#barrier = new Barrier(mesh, mayServe);
    this.#roam = new PeerRoamChannel({
      mesh,
      barrier: this.#barrier,
      log,
      peers: this.#peers,
      self,
      isOwed: () => this.#journal?.isOwed === true || this.#estates.isOpen,
    });
    this.#announcer = new RoutesAnnouncer({
      mesh,
      scheduler,
      remote,
      peers,
      self,
      tellMoves: (peer) => this.#roam.tell(peer),
      told: (peer) => this.#countingIn.told(peer),
    });
    this.#heartbeats = new Heartbeats({
      mesh,
      peers: this.#peers,
      table: this.#announcer.own,
      hasRedis: () => this.#membership.hasRedis,
      leaseMs: options.leaseMs,
    });
    this.#tables = new PeerTables({
      mesh,
      clock,
      log,
      counters,
      remote,
      isMember,
      heardOf: (clientId, epoch) => this.#heardOf(clientId, epoch),
      closed: (image) => this.#reassertion.closed(image),
    });
    this.#reassertion = new Reassertion({
      ledger,
      clock,
      log,
      counters,
      remote,
      self,
      isMember,
      announce: (image) => this.#announcer.session(image),
      written: () => this.#countingIn.countAll(),
    });
    this.#takeover = new Takeover({
      ledger,
      mesh,
      clock,
      random,
      scheduler,
      barrier: this.#barrier,
      announcer: this.#announcer,
      counters,
      remote,
      self,
      isMember,
      members: () => this.#members.keys(),
      mayServe: () => !this.#isDraining && this.#mayServe(),
      hasRedis: () => this.#membership.hasRedis,
      hlcMs: () => Math.floor(this.hybridClock.nextUs() / 1000),
      beforeOpen: (clientId, then) =>
        this.#whenReplayed(() => this.#reassertion.beforeOpen(clientId, then)),
      journal: this.#journal ?? NO_JOURNAL,
      beforeTaken: (then) => {
        let hasWaited = false;
        this.#whenReplayed(() => {
          then();
          // Its queue has grown since it was opened, and nobody was told.
          if (hasWaited) this.#tails.hintsLost();
        });
        hasWaited = true;
      },
      losses: () => this.#reassertion.losses,
      wasEmptyLately: () => this.#reassertion.wasEmptyLately,
      forgotten: (image) => this.#reassertion.closed(image),
      confirm: (done) => this.#membership.confirm(done),
      linkGraceMs: options.linkGraceMs,
    });
    this.#retained = new RetainedSync({
      mesh,
      clock,
      log,
      hybridClock: this.hybridClock,
      barrier: this.#barrier,
      announcer: this.#announcer,
      counters,
      remote,
      peers,
      self,
      tombstoneMs: options.retainedTombstoneMs,
      tombstonesMax: options.retainedTombstonesMax,
      rounds: parts.rounds ?? null,
    });
    this.#caretaker = new Caretaker({
      ledger,
      clock,
      random,
      log,
      counters,
      remote,
      self,
      mayServe,
      isMember,
      isOwedOf: (dead) => this.#journal?.isOwedOf(dead) === true,
      announceEnd: (clientId, sid, epoch) => this.#announcer.end(clientId, sid, epoch),
    });
    this.#estates = new Estates({
      clock,
      random,
      membership: () => this.#membership,
      mayServe,
      settle: (dead, settled) => this.#caretaker.died(dead, settled),
    });
    this.#tails = new TailWatch({
      tails: ledger,
      remote,
      mayServe,
      owned: () => this.#announcer.own.owned,
      self,
      superseded: (image) => this.#superseded(image),
    });
    this.#joining = new Joining({
      ledger,
      clock,
      log,
      barrier: this.#barrier,
      retained: this.#retained,
      mesh,
      membership: () => this.#membership,
      remote,
      peers: () => this.#peers,
      isRemembering: () => this.#reassertion.isRemembering,
      deadOwner: (owner) => this.#caretaker.died(owner),
    });
    this.#countingIn = new CountingIn({
      mesh,
      barrier: this.#barrier,
      announcer: this.#announcer,
      takeover: this.#takeover,
      retained: this.#retained,
      journal: this.#journal,
      remote,
      peers: this.#peers,
      member: (incarnation) => this.#members.get(incarnation),
      isReasserting: () => this.#reassertion.isUnderWay,
      check: () => this.#joining.check(),
    });
    this.#desk = new FrameDesk({
      clock,
      peers: this.#peers,
      tables: this.#tables,
      announcer: this.#announcer,
      takeover: this.#takeover,
      retained: this.#retained,
      renewals: this.#renewals,
      roam: this.#roam,
      membership: () => this.#membership,
      remote,
      journal: () => this.#journal,
      tell: (peer) => this.#countingIn.tell(peer),
      hintsLost: () => this.#tails.hintsLost(),
      check: () => this.#joining.check(),
    });
    this.#journal?.bind({
      mesh,
      clock,
      self,
      peers: () => this.#peers.keys(),
      isMember,
      mayJudge: () => this.#joining.phase === 'joined' && mayServe(),
    });
    this.bus = new ClusterBus({
      sessions,
      ledger,
      mesh,
      clock,
      barrier: this.#barrier,
      announcer: this.#announcer,
      takeover: this.#takeover,
      retained: this.#retained,
      hints: new Hints(mesh, scheduler),
      roam: this.#roam,
      self,
      mayServe,
      heardOf: (clientId) => this.#joining.heardOf(clientId),
    });
  }

  // ------------------------------------------------------------------------------ life

  /** The core, once it is made with `bus`; before `start`. */
  attach(remote: RemoteSide): void {
    this.#remote = remote;
  }

  get #core(): RemoteSide {
    assert(this.#remote !== null);
    return this.#remote;
  }

  /** `onReady`: listeners may open. */
  start(onReady: () => void): void {
    this.#onFirstReady = onReady;
    const { scheduler, clock } = this.#parts;
    this.#mesh.start({
      frame: (from, type, buffer, start, end) => {
        this.#former.heard(from);
        this.#desk.frame(from, type, buffer, start, end);
      },
      tablesWanted: (peer) => this.#countingIn.tablesWanted(peer),
      progressed: (peer) => this.#countingIn.progressed(peer),
      lost: (_peer, messages) => {
        this.counters.linkLostMessages += messages;
      },
      down: (peer, forMs) => {
        // Nobody waits for one that is not counted in: it stays a joiner until it is reached.
        if (!this.#barrier.isCounted(peer)) return;
        this.#membership.unreachable(peer, forMs, this.#mesh.linksUp);
      },
      ended: (peer) => this.#membership.linkEnded(peer),
      up: (peer) => this.#membership.linkUp(peer),
      refused: (peer) => this.#membership.linkRefused(peer),
    });
    this.#stopTicks = scheduler.every(TICK_MS, () => this.#tick(clock.monotonicMs()));
    this.#membership.start();
  }

  /** No session is taken any more; what is here goes on until its clients have left. */
  drain(): void {
    this.#isDraining = true;
  }

  /** Leaves when the others have applied what was sent, or have not within the grace. */
  stop(done: () => void): void {
    if (this.#isStopped) return;
    this.drain();
    this.#isStopped = true;
    let isOver = false;
    const leave = (): void => {
      if (isOver) return;
      isOver = true;
      this.#mesh.broadcast(encodeGoodbye());
      this.#membership.leave(() => {
        this.#stopTicks?.();
        this.#mesh.stop();
        done();
      });
    };
    const end = this.#barrier.whenApplied(leave);
    if (isOver) return;
    const { scheduler, options } = this.#parts;
    const stop = scheduler.every(options.linkGraceMs, () => {
      stop();
      end();
    });
  }

  /** This node has held all retained messages against the shared record; the round began then. */
  roundEnded(beganMs: number): void {
    this.#retained.roundEnded(beganMs);
  }

  /** `done(true)`, later: another node has all retained changes so far on its disk. False: there is none. */
  askKept(done: (isKept: boolean) => void): boolean {
    return this.#joining.phase === 'joined' && this.#retained.askKept(done);
  }

  /** From whoever listens to the RedisPort. */
  redisUp(isOtherServer: boolean): void {
    this.#membership.redisUp(isOtherServer);
    // It may not have heard of what was opened lately (hard case 12).
    if (isOtherServer && this.#joining.phase === 'joined') {
      this.#reassertion.begin(this.#isLowest);
    }
  }

  redisDown(): void {
    this.#membership.redisDown();
  }

  /** What dead nodes had journaled is in the queues, or has been waited for long enough. */
  #whenReplayed(then: () => void): void {
    if (this.#journal === null) then();
    else this.#journal.whenNothingIsOwed(then);
  }

  get #isLowest(): boolean {
    const { incarnation } = this.#membership;
    for (const other of this.#members.keys()) if (other < incarnation) return false;
    return true;
  }

  #mayServe(): boolean {
    if (this.#membership.mayServe()) return true;
    this.#hasHeld = true;
    return false;
  }

  /** What stood still because the lease might have been over goes on. */
  #letGoOn(): void {
    if (!this.#hasHeld || !this.#membership.mayServe()) return;
    this.#hasHeld = false;
    this.#barrier.unfenced();
    this.#core.unfenced();
  }

  #tick(nowMs: number): void {
    this.#letGoOn();
    this.#heartbeats.tick(nowMs);
    this.#renewals.tick(nowMs);
    this.#joining.tick(nowMs);
    this.#takeover.tick(nowMs);
    this.#retained.tick(nowMs);
    this.#reassertion.tick(nowMs);
    this.#tails.tick(nowMs);
    this.#journal?.tick();
    if (this.#isDraining) return;
    this.#caretaker.tick(nowMs);
    this.#estates.tick(nowMs);
  }

  // ------------------------------------------------------------------------------ MembershipEvents

  joined(incarnation: Incarnation, generation: string, secret: string): void {
    const isOther = this.#generation !== '' && generation !== this.#generation;
    const former = this.#former.joined(incarnation, isOther);
    this.#generation = generation;
    this.#mesh.identify(generation, secret);
    this.#announcer.reset();
    this.#joining.begin();
    // Answers on their way to the life before may have opened sessions for it.
    if (former !== null) this.#caretaker.died(former);
  }

  members(members: readonly Member[]): void {
    const { incarnation } = this.#membership;
    const before = this.#members;
    const now = new Map<Incarnation, Member>();
    for (const member of members) {
      if (member.incarnation !== incarnation) now.set(member.incarnation, member);
    }
    this.#members = now;
    this.#mesh.setMembers(incarnation, members);
    for (const gone of before.keys()) {
      if (now.has(gone)) continue;
      const peer = this.#peers.get(gone);
      // Before anybody asks whether something of it is still to come.
      this.#estates.died();
      this.#memberGone(gone);
      if (peer !== undefined) this.#passOn(peer);
    }
    if (this.#former.isForgottenByAll(now.keys())) {
      this.#reassertion.remember(() => this.#joining.check());
    }
    this.#joining.check();
  }

  #memberGone(incarnation: Incarnation): void {
    const peer = this.#peers.get(incarnation);
    if (peer === undefined) return;
    this.#peers.delete(incarnation);
    this.#announcer.forget(incarnation);
    this.#tables.forget(peer);
    // Before what has waited for it alone hears that all have applied it.
    this.#roam.gone(incarnation);
    this.#barrier.drop(incarnation);
    this.#retained.memberGone(incarnation);
    this.#takeover.memberGone(incarnation);
    this.#journal?.memberGone(incarnation);
  }

  /** What it has told lately may not have reached everybody. */
  #passOn(peer: PeerNode): void {
    const { incarnation, news } = peer;
    const remote = this.#core;
    this.#retained.passOn(peer, this.#peers.values());
    for (const [clientId, epoch] of news.entries()) {
      const image = remote.knownSession(clientId);
      if (image === null) this.#announcer.end(clientId, '', epoch);
      else if (image.owner === null || image.owner === incarnation) {
        this.#announcer.session({ ...image, owner: null });
      }
    }
  }

  died(member: Member): void {
    this.#reassertion.ownerDied(member.incarnation);
    this.#core.ownerDied(member.incarnation);
    this.#caretaker.died(member.incarnation);
    this.#tails.hintsLost();
  }

  /** Another node has opened it, and could not say so before it died or gave it back. */
  #superseded(image: SessionImage): void {
    const { clientId, epoch, owner } = image;
    const isOwned = owner !== null && this.#members.has(owner);
    const known = isOwned ? image : { ...image, owner: null };
    this.#core.applySession(known);
    if (isOwned) this.#announcer.release(clientId, epoch);
    else this.#announcer.session(known);
  }

  fenced(): void {
    this.counters.timesFenced++;
    this.#hasHeld = true;
  }

  unfenced(): void {
    this.#letGoOn();
  }

  lost(): void {
    this.counters.timesLost++;
    this.#core.lost();
    this.#roam.lost();
    this.#joining.lost();
    this.#caretaker.lost();
    this.#estates.lost();
    this.#reassertion.lost();
    this.#tails.lost();
    this.#retained.lost();
    this.#takeover.lost();
    this.#journal?.lost();
    this.#barrier.fail();
    this.#former.lost(this.#members.keys());
    this.#members = new Map();
    for (const incarnation of [...this.#peers.keys()]) this.#memberGone(incarnation);
    this.#parts.onLost?.();
  }

  forgotten(): void {
    this.#former.forgotten();
  }

  emptied(generation: string, isLowest: boolean): void {
    const isAgain = generation === this.#generation;
    this.#generation = generation;
    this.#mesh.identify(generation, this.#membership.secret);
    // The one who was to do it has died: what was lost is counted already.
    if (isAgain) this.#reassertion.begin(isLowest);
    else this.#reassertion.emptied(isLowest);
  }

  ready(): void {
    this.#letGoOn();
    this.#estates.ready();
    const onFirstReady = this.#onFirstReady;
    this.#onFirstReady = null;
    onFirstReady?.();
    this.#parts.onReady?.();
  }

  /** A member tells of the session. */
  #heardOf(clientId: string, epoch: number): void {
    this.#joining.heardOf(clientId);
    this.#announcer.release(clientId, epoch);
  }

  // ------------------------------------------------------------------------------ operators

  state(): ClusterState {
    const membership = this.#membership;
    return {
      state: membership.state,
      phase: this.#joining.phase,
      hasRedis: membership.hasRedis,
      generation: this.#generation,
      nodes: this.#nodes(),
      joinWaitsOn: this.#joining.waitsOn(),
      answersWaiting: this.#barrier.answersWaiting,
      opening: this.#takeover.opening,
      deadNodes: this.#caretaker.deadNodes,
      isReasserting: this.#reassertion.isUnderWay,
      tombstones: this.#retained.tombstones,
      counters: this.counters,
    };
  }

  #nodes(): NodeState[] {
    const { record, clock } = this.#parts;
    const links = this.#mesh.links();
    const nodes: NodeState[] = [
      selfState(this.#membership, record, this.#announcer.own, clock.monotonicMs()),
    ];
    for (const peer of this.#peers.values()) {
      const { incarnation } = peer;
      const isJoined = peer.hasCountedUs && this.#barrier.isCounted(incarnation);
      nodes.push(
        peerState(peer, links, {
          state: isJoined ? 'ready' : 'joining',
          answersWaiting: this.#barrier.waitingFor(incarnation),
          takeoversWaiting: this.#takeover.waitingFor(incarnation),
        }),
      );
    }
    return nodes;
  }
}
