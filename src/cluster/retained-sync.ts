/**
 * Retained messages of a datacenter (DESIGN §7, hard cases 15, 16): stamps what changes
 * here, tells the others, takes over what they tell by version, and catches up from one member before
 * this node is ready. Nothing is stamped twice. Called by the bus and by cluster.ts.
 *
 * Catching up removes what this node alone still has only when the other can vouch for it: it has known
 * every change since a time at which this node was up to date, and the version is older than tombstones
 * are kept. Everything else that the other has not is told to all. In a region with a record that all
 * share (`rounds`) a mirror of long ago is believed only where it says what that record lacks.
 */
import type { Awaited, Incarnation, RemoteSide, RetainedVersion } from '../core/cluster-ports.ts';
import type { Message } from '../core/message.ts';
import type { Clock, Log } from '../core/ports.ts';
import { CLEARED, isAbove, OLDEST, type RetainedVerdict } from '../core/retained-version.ts';
import { Tombstones } from '../core/tombstones.ts';
import type { HybridClock } from '../util/hybrid-clock.ts';
import type { Barrier } from './barrier.ts';
import type { ClusterCounters } from './cluster-counters.ts';
import { encodeRetainedWant, type RetainedWantFrame } from './link/frame-codec.ts';
import { encodeRetained, type RetainedChange, type RetainedPage } from './link/message-codec.ts';
import type { PeerNode } from './peer-node.ts';
import type { Mesh } from './ports.ts';
import type { RetainedRounds } from './ports-local.ts';
import { RetainedCopies } from './retained-copies.ts';
import {
  allChanges,
  note,
  RetainedPages,
  ROUND_TOPIC,
  roundChange,
  SINCE_TOPIC,
  SYNC_TOPIC,
  SYNCED_TOPIC,
} from './retained-pages.ts';
import type { RoutesAnnouncer } from './routes-announcer.ts';

export interface RetainedSyncParts {
  readonly mesh: Mesh;
  readonly clock: Clock;
  readonly log: Log;
  readonly hybridClock: HybridClock;
  readonly barrier: Barrier;
  readonly announcer: RoutesAnnouncer;
  readonly counters: ClusterCounters;
  readonly remote: () => RemoteSide;
  readonly peers: () => Iterable<PeerNode>;
  readonly self: () => Incarnation;
  readonly tombstoneMs: number;
  readonly tombstonesMax: number;
  /** Null: what nodes have is all there is. */
  readonly rounds: RetainedRounds | null;
}

/** Nothing is known for sure. */
const NEVER_US = Number.MAX_SAFE_INTEGER;
const WANT_BYTES = 256 * 1024;
/** Changes told in one tick to a peer that has lost some. */
const TOLD_PER_TICK = 1000;
/** What a dead member has changed is told to all at once up to this size; beyond it all is, in slices. */
const PASSED_ON_BYTES_MAX = 1024 * 1024;

/** A catch-up that is under way. */
interface CatchUp {
  readonly peer: Incarnation;
  /** Of the page that is asked for. */
  cursor: string;
  /** Ours that the peer has not shown, or shown older. */
  readonly ours: Map<string, RetainedVersion>;
  /** The highest version here when it began: this node was up to date then. */
  readonly upToDateUs: number;
  peerSinceUs: number;
  peerRoundMs: number;
  readonly done: (isWhole: boolean) => void;
}

export class RetainedSync {
  readonly #parts: RetainedSyncParts;
  readonly #tombstones: Tombstones;
  readonly #pages: RetainedPages;
  readonly #copies: RetainedCopies;
  #catchUp: CatchUp | null = null;
  readonly #retellings: Map<PeerNode, Iterator<RetainedChange>> = new Map();
  /** Every change since then (hybrid µs) is known here. */
  #sinceUs = NEVER_US;
  #skewLoggedMs = Number.NEGATIVE_INFINITY;
  /** Gives up waiting to tell of the end of a round. */
  #endRound: (() => void) | null = null;

  constructor(parts: RetainedSyncParts) {
    this.#parts = parts;
    this.#tombstones = new Tombstones(
      () => parts.tombstoneMs,
      parts.tombstonesMax,
      (topic) => parts.remote().forgetTombstone(topic),
    );
    this.#pages = new RetainedPages(parts.remote, this.#tombstones, () => parts.clock.wallMs());
    this.#copies = new RetainedCopies(parts.mesh, parts.clock, (peer) => {
      return !peer.isForgetful && !this.#retellings.has(peer);
    });
  }

  get tombstones(): number {
    return this.#tombstones.size;
  }

  /** Who is caught up from; null: nobody right now. */
  get source(): Incarnation | null {
    return this.#catchUp?.peer ?? null;
  }

  // ------------------------------------------------------------------------------ changes

  /** Nothing of the topic up to this version comes back; see `Bus.buryRetained`. */
  bury(topic: string, version: RetainedVersion): void {
    this.#parts.hybridClock.observe(version.timeUs);
    this.#note(topic, null, version);
  }

  buried(topic: string): RetainedVersion | null {
    return this.#tombstones.versionOf(topic);
  }

  /** A change made here; see `Bus.announceRetained`. */
  announce(
    topic: string,
    message: Message | null,
    replaces: RetainedVersion | null,
    awaited: Awaited | null,
    accepted: RetainedVersion | null,
  ): RetainedVersion {
    const { clock, announcer, barrier } = this.#parts;
    const version = accepted ?? this.#versionAbove(topic, replaces, message === null);
    this.#note(topic, message, version);
    announcer.kept(encodeRetained({ topic, message, version }, clock.wallMs()), true);
    if (awaited !== null) barrier.wait(awaited);
    return version;
  }

  #versionAbove(
    topic: string,
    replaces: RetainedVersion | null,
    isClear: boolean,
  ): RetainedVersion {
    const { hybridClock, self } = this.#parts;
    const buried = this.#tombstones.versionOf(topic);
    const aboveUs = Math.max(replaces?.timeUs ?? 0, buried?.timeUs ?? 0);
    let timeUs = hybridClock.nextUs();
    if (timeUs <= aboveUs) {
      timeUs = aboveUs + 1;
      hybridClock.observe(timeUs);
    }
    return { timeUs, writer: writerOf(self()) + (isClear ? CLEARED : 0) };
  }

  /** A change of that version comes too late, or nobody would take it over; see `Bus.isRetainedOver`. */
  isOver(topic: string, version: RetainedVersion): boolean {
    const current = this.#current(topic);
    if (current !== null && isAbove(current.version, version)) return true;
    return this.#isSkewed(topic, version);
  }

  /** A member has changed it. */
  changed({ incarnation: from, retainedNews }: PeerNode, change: RetainedChange): void {
    const { rounds, mesh, clock } = this.#parts;
    const { timeUs } = change.version;
    if (change.topic === ROUND_TOPIC) {
      // Not before everything else is here.
      if (this.#sinceUs !== NEVER_US) rounds?.heard(timeUs / 1000);
    } else if (change.topic === SYNC_TOPIC) {
      const answer = (): void =>
        mesh.send(from, encodeRetained(note(SYNCED_TOPIC, timeUs), clock.wallMs()));
      rounds?.synced(answer);
    } else if (change.topic === SYNCED_TOPIC) {
      this.#copies.answered(from, timeUs);
    } else {
      retainedNews.note(change.topic, timeUs, clock.monotonicMs());
      this.#apply(change);
    }
  }

  /** It is gone; `peers`, who are left, may not have heard of what it has changed last. */
  passOn({ retainedNews }: PeerNode, peers: Iterable<PeerNode>): void {
    const { announcer, clock } = this.#parts;
    const frames: Buffer[] = [];
    let bytes = 0;
    for (const [topic] of retainedNews.entries()) {
      const change = this.#current(topic);
      if (change === null) continue;
      const frame = encodeRetained(change, clock.wallMs());
      bytes += frame.length;
      frames.push(frame);
      if (bytes <= PASSED_ON_BYTES_MAX) continue;
      for (const peer of peers) this.retell(peer);
      return;
    }
    for (const frame of frames) announcer.kept(frame, true);
  }

  #current(topic: string): RetainedChange | null {
    const message = this.#parts.remote().retainedOf(topic);
    if (message !== null) return { topic, message, version: message.version ?? OLDEST };
    const version = this.#tombstones.versionOf(topic);
    return version === null ? null : { topic, message, version };
  }

  /**
   * A whole round that began then has ended here. The others hear of it when they have applied what it
   * found: what they keep of it says that.
   */
  roundEnded(beganMs: number): void {
    this.#endRound?.();
    let isOver = false;
    const end = this.#parts.barrier.whenApplied((isApplied) => {
      isOver = true;
      this.#endRound = null;
      if (!isApplied) return;
      for (const peer of this.#parts.peers()) {
        if (!peer.isForgetful && !this.#retellings.has(peer)) this.#tellRound(peer, beganMs);
      }
    });
    this.#endRound = isOver ? null : end;
  }

  /** See `Keepers` of store/cassandra: whether one of the others has all changes so far on its disk. */
  askKept(done: (isKept: boolean) => void): boolean {
    return this.#copies.ask(this.#parts.peers(), done);
  }

  #tellRound({ incarnation }: PeerNode, beganMs: number): void {
    const { mesh, clock } = this.#parts;
    mesh.send(incarnation, encodeRetained(roundChange(beganMs), clock.wallMs()));
  }

  /** Found in the record all regions share; see `Bus.takeRetained`. */
  take(change: RetainedChange, awaited: Awaited | null): RetainedVerdict {
    const verdict = this.#apply(change);
    const { announcer, barrier, clock } = this.#parts;
    if (verdict === 'taken') announcer.kept(encodeRetained(change, clock.wallMs()), true);
    // Also of one that came before, and is not with all of them yet.
    if (awaited !== null) barrier.wait(awaited);
    return verdict;
  }

  #apply({ topic, message, version }: RetainedChange): RetainedVerdict {
    if (this.#isSkewed(topic, version)) return 'clock_skew';
    this.#shown(topic, version);
    if (this.#tombstones.isOver(topic, version)) return 'older';
    this.#note(topic, message, version);
    this.#parts.remote().applyRetained(topic, message, version);
    return 'taken';
  }

  /** Taken over, it would outlive every later write by clocks that are right. */
  #isSkewed(topic: string, { timeUs }: RetainedVersion): boolean {
    const { hybridClock, clock, counters, log } = this.#parts;
    if (hybridClock.observe(timeUs) !== 'clock_skew') return false;
    counters.retainedSkewed++;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#skewLoggedMs >= 1000) {
      this.#skewLoggedMs = nowMs;
      log.error({ topic, aheadMs: timeUs / 1000 - clock.wallMs() }, 'clock_skew');
    }
    return true;
  }

  #note(topic: string, message: Message | null, version: RetainedVersion): void {
    if (message !== null) {
      this.#tombstones.remove(topic);
      return;
    }
    this.#tombstones.put(topic, version, this.#parts.clock.monotonicMs());
    this.#parts.counters.tombstonesDropped = this.#tombstones.dropped;
  }

  // ------------------------------------------------------------------------------ serving

  wanted(from: Incarnation, { cursor, bytesMax }: RetainedWantFrame): void {
    const { mesh, rounds } = this.#parts;
    const roundMs = rounds?.beganMs ?? 0;
    mesh.send(from, this.#pages.page(from, cursor, bytesMax, this.#sinceUs, roundMs));
  }

  /**
   * A link session took more changes with it than are kept: everything is told again, as changes, with
   * the versions it has, in slices, while the link can take it.
   */
  retell(peer: PeerNode): void {
    peer.isForgetful = false;
    this.#retellings.set(peer, allChanges(this.#tombstones, this.#parts.remote()));
  }

  #retellSome(): void {
    const { mesh, clock } = this.#parts;
    for (const [peer, changes] of this.#retellings) {
      let isOver = peer.audience.closed;
      for (let i = 0; i < TOLD_PER_TICK && !isOver && peer.audience.pressed !== true; i++) {
        const next = changes.next();
        if (next.done === true) isOver = true;
        else mesh.send(peer.incarnation, encodeRetained(next.value, clock.wallMs()));
      }
      if (!isOver) continue;
      this.#retellings.delete(peer);
      const beganMs = this.#parts.rounds?.beganMs ?? 0;
      if (beganMs > 0 && !peer.audience.closed) this.#tellRound(peer, beganMs);
    }
  }

  // ------------------------------------------------------------------------------ catching up

  /** The first node there is: what it has is what there is. */
  begins(): void {
    this.#sinceUs = this.#parts.hybridClock.nextUs();
  }

  /**
   * `done` when everything the peer has is here; not whole: it was joining itself, and somebody else may
   * have more. Whoever was caught up from before is forgotten.
   */
  catchUp(peer: Incarnation, done: (isWhole: boolean) => void): void {
    const ours = new Map<string, RetainedVersion>();
    let upToDateUs = 0;
    for (const { topic, version } of this.#parts.remote().retained()) {
      if (topic.charCodeAt(0) === 0x24) continue;
      ours.set(topic, version ?? OLDEST);
      upToDateUs = Math.max(upToDateUs, version?.timeUs ?? 0);
    }
    this.#catchUp = {
      peer,
      cursor: '',
      ours,
      upToDateUs,
      peerSinceUs: NEVER_US,
      peerRoundMs: 0,
      done,
    };
    this.wantAgain(peer);
  }

  /** A link session with the peer was lost: question or page may be. */
  wantAgain(peer: Incarnation): void {
    const catchUp = this.#catchUp;
    if (catchUp === null || catchUp.peer !== peer) return;
    this.#parts.mesh.send(peer, encodeRetainedWant(catchUp.cursor, WANT_BYTES));
  }

  paged(from: Incarnation, { changes, cursor }: RetainedPage): void {
    const { rounds } = this.#parts;
    const catchUp = this.#catchUp;
    if (catchUp === null || catchUp.peer !== from) return;
    for (const change of changes) {
      const { topic, version } = change;
      if (topic === SINCE_TOPIC) catchUp.peerSinceUs = version.timeUs;
      else if (topic === ROUND_TOPIC) catchUp.peerRoundMs = version.timeUs / 1000;
      // Its mirror is of long ago.
      else if (rounds?.mayBeOver(version, catchUp.peerRoundMs) !== true) this.#apply(change);
    }
    if (cursor !== null) {
      // A page that came twice asks for the same one again.
      catchUp.cursor = cursor;
      this.wantAgain(from);
      return;
    }
    this.#catchUp = null;
    this.#reconcile(catchUp);
    if (catchUp.peerRoundMs > 0) rounds?.heard(catchUp.peerRoundMs);
    // Caught up from one that was only joining itself: from now on, then.
    this.#sinceUs = Math.min(catchUp.peerSinceUs, this.#parts.hybridClock.nextUs());
    catchUp.done(catchUp.peerSinceUs !== NEVER_US);
  }

  /** Somebody has shown a version of the topic that is not below ours. */
  #shown(topic: string, version: RetainedVersion): void {
    const ours = this.#catchUp?.ours.get(topic);
    if (ours !== undefined && !isAbove(ours, version)) this.#catchUp!.ours.delete(topic);
  }

  #reconcile({ ours, upToDateUs, peerSinceUs }: CatchUp): void {
    if (ours.size === 0) return;
    const { remote, announcer, clock, hybridClock, tombstoneMs, rounds, log } = this.#parts;
    const isStale = rounds?.isStale === true;
    const isVouched = upToDateUs >= peerSinceUs;
    const oldUs = hybridClock.nextUs() - tombstoneMs * 1000;
    const gone: Message[] = [];
    const told: Message[] = [];
    for (const message of remote().retained()) {
      const version = ours.get(message.topic);
      if (version === undefined || isAbove(message.version ?? OLDEST, version)) continue;
      const isForgotten = isVouched && version.timeUs < oldUs;
      // The shared record has what it has confirmed, or it was cleared (hard case 18).
      const isDoubted = isStale && rounds?.isOwed(message.topic) !== true;
      if (isForgotten || isDoubted) gone.push(message);
      else told.push(message);
    }
    for (const { topic, version } of gone) {
      const above = { timeUs: (version?.timeUs ?? 0) + 1, writer: 0 };
      remote().applyRetained(topic, null, above);
    }
    for (const message of told) {
      const change = { topic: message.topic, message, version: message.version ?? OLDEST };
      announcer.kept(encodeRetained(change, clock.wallMs()), true);
    }
    log.info({ removed: gone.length, told: told.length }, 'retained messages reconciled');
  }

  // ------------------------------------------------------------------------------ fate

  memberGone(peer: Incarnation): void {
    this.#pages.forget(peer);
    this.#copies.memberGone(peer);
    for (const told of this.#retellings.keys()) {
      if (told.incarnation === peer) this.#retellings.delete(told);
    }
    if (this.#catchUp?.peer === peer) this.#catchUp = null;
  }

  lost(): void {
    this.#sinceUs = NEVER_US;
    this.#catchUp = null;
    this.#retellings.clear();
    this.#endRound?.();
    this.#endRound = null;
    this.#copies.lost();
  }

  tick(nowMs: number): void {
    this.#tombstones.expire(nowMs);
    this.#retellSome();
    this.#copies.tick(nowMs);
  }
}

/** 32 bits that name the writing node. */
export function writerOf(incarnation: Incarnation): number {
  return Number.parseInt(incarnation.slice(0, 8), 16) >>> 0;
}
