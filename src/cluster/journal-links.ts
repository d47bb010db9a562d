/**
 * The journal's way to the other nodes (docs/adr/0017): entries for the copy that one of them keeps, what
 * became of them, and which dead nodes somebody still has entries of. Until those are in the queues nobody
 * opens a session (P5). Made by app/ before cluster.ts, which hands it links and members.
 */
import type { Incarnation } from '../core/incarnation.ts';
import type { Clock } from '../core/ports.ts';
import { Ring } from '../util/ring.ts';
import type { JournalPeer } from './frame-desk.ts';
import {
  decodeJournal,
  decodeJournalDone,
  decodeJournalOwed,
  encodeJournal,
  encodeJournalDone,
  encodeJournalOwed,
  JournalState,
} from './link/frame-codec.ts';
import { FrameType, type Mesh } from './ports.ts';

/** What becomes of entries up to a position, as the journal says it. */
type Word = 'stored' | 'failed' | 'queued' | 'replayed';

/** The journal as frames reach it. Implemented by store/journal. */
export interface LinkedJournal {
  entry(from: Incarnation, after: number, position: number, record: Buffer): void;
  done(from: Incarnation, position: number, word: Word): void;
  linked(peer: Incarnation): void;
  memberGone(peer: Incarnation): void;
  lost(): void;
  owed(): Iterable<Incarnation>;
  whenWritten(clientId: string, then: () => void): void;
}

export interface JournalLinksParts {
  readonly mesh: Pick<Mesh, 'send' | 'broadcast'>;
  readonly clock: Clock;
  readonly self: () => Incarnation;
  /** Members that frames reach. */
  readonly peers: () => Iterable<Incarnation>;
  readonly isMember: (incarnation: Incarnation) => boolean;
  /** A member that may serve: its list of members is true. */
  readonly mayJudge: () => boolean;
}

const states: Readonly<Record<Word, JournalState>> = {
  stored: JournalState.STORED,
  failed: JournalState.FAILED,
  replayed: JournalState.REPLAYED,
  queued: JournalState.QUEUED,
};
const words: readonly Word[] = ['stored', 'failed', 'replayed', 'queued'];
/** Opens wait for what a dead node has left so long at most, once: its keeper may be without Redis. */
const OPEN_WAIT_MS = 5000;
/** Nodes that had journaled something, oldest forgotten first. */
const KEPT_OF_MAX = 256;
/** As a keeper: it is the same over all its incarnations. */
const THIS_NODE = '';

export class JournalLinks implements JournalPeer {
  journal: LinkedJournal | null = null;
  #parts: JournalLinksParts | null = null;
  /** Members that say they do not reach Redis. */
  readonly #lacking: Set<Incarnation> = new Set();
  /** By keeper: whose entries it has. */
  readonly #owing: Map<Incarnation, Set<Incarnation>> = new Map();
  readonly #keptOf: Set<Incarnation> = new Set();
  /** Since when opens know that a dead node has left something (monotonic ms). */
  readonly #awaitedSinceMs: Map<Incarnation, number> = new Map();
  readonly #opens: Ring<() => void> = new Ring();

  /** Once, by cluster.ts. */
  bind(parts: JournalLinksParts): void {
    this.#parts = parts;
  }

  // ------------------------------------------------------------------ for the journal

  peers(): readonly Incarnation[] {
    return [...(this.#parts?.peers() ?? [])];
  }

  isMember(incarnation: Incarnation): boolean {
    return this.#parts !== null && this.#isThere(incarnation);
  }

  #isThere(incarnation: Incarnation): boolean {
    const { isMember, self } = this.#parts!;
    return incarnation === self() || isMember(incarnation);
  }

  lacksRedis(incarnation: Incarnation): boolean {
    return this.#lacking.has(incarnation);
  }

  get mayJudge(): boolean {
    return this.#parts?.mayJudge() === true;
  }

  entry(peer: Incarnation, after: number, position: number, record: Buffer): void {
    this.#parts!.mesh.send(peer, encodeJournal(after, position, record));
  }

  done(peer: Incarnation, position: number, word: Word): void {
    this.#parts!.mesh.send(peer, encodeJournalDone(position, states[word]));
  }

  owes(dead: Incarnation, isOwing: boolean): void {
    if (this.#parts === null) return;
    this.#note(THIS_NODE, dead, isOwing);
    this.#parts.mesh.broadcast(encodeJournalOwed(dead, isOwing));
  }

  // ------------------------------------------------------------------ from the others

  frame(from: Incarnation, type: number, buffer: Buffer, start: number, end: number): void {
    if (type === FrameType.JOURNAL_OWED) {
      const { dead, isOwed } = decodeJournalOwed(buffer, start, end);
      this.#note(from, dead, isOwed);
    } else if (type === FrameType.JOURNAL) {
      const { after, position, entry } = decodeJournal(buffer, start, end);
      if (this.journal === null) this.done(from, position, 'failed');
      else this.journal.entry(from, after, position, entry);
    } else {
      const { position, state } = decodeJournalDone(buffer, start, end);
      this.journal?.done(from, position, words[state]!);
    }
  }

  /** With each heartbeat. */
  heard(from: Incarnation, hasRedis: boolean): void {
    if (hasRedis) this.#lacking.delete(from);
    else this.#lacking.add(from);
  }

  /** A link session begins: what was told may be lost. */
  linked(peer: Incarnation): void {
    if (this.journal === null) return;
    for (const dead of this.journal.owed()) {
      this.#parts!.mesh.send(peer, encodeJournalOwed(dead, true));
    }
    this.journal.linked(peer);
  }

  memberGone(incarnation: Incarnation): void {
    this.#lacking.delete(incarnation);
    this.#owing.delete(incarnation);
    for (const writer of this.#awaitedSinceMs.keys()) {
      if (!this.isOwedOf(writer)) this.#awaitedSinceMs.delete(writer);
    }
    this.journal?.memberGone(incarnation);
    this.#release();
  }

  lost(): void {
    for (const keeper of this.#owing.keys()) if (keeper !== THIS_NODE) this.#owing.delete(keeper);
    this.#awaitedSinceMs.clear();
    this.journal?.lost();
    this.#release();
  }

  // ------------------------------------------------------------------ opens

  #note(keeper: Incarnation, dead: Incarnation, isOwing: boolean): void {
    let owed = this.#owing.get(keeper);
    if (isOwing) {
      this.#noteKept(dead);
      if (owed === undefined) {
        owed = new Set();
        this.#owing.set(keeper, owed);
      }
      owed.add(dead);
      return;
    }
    owed?.delete(dead);
    if (!this.isOwedOf(dead)) this.#awaitedSinceMs.delete(dead);
    this.#release();
  }

  /** Somebody has entries of that node. */
  isOwedOf(writer: Incarnation): boolean {
    for (const owed of this.#owing.values()) if (owed.has(writer)) return true;
    return false;
  }

  /** Somebody has entries of a node that is no member any more. */
  get isOwed(): boolean {
    if (this.#owing.size === 0) return false;
    for (const owed of this.#owing.values()) {
      for (const incarnation of owed) if (!this.#isThere(incarnation)) return true;
    }
    return false;
  }

  /** Other members that have such entries. */
  *keepers(): Iterable<Incarnation> {
    for (const [keeper, owed] of this.#owing) {
      if (keeper === THIS_NODE) continue;
      for (const incarnation of owed) {
        if (this.#isThere(incarnation)) continue;
        yield keeper;
        break;
      }
    }
  }

  #noteKept(writer: Incarnation): void {
    this.#keptOf.delete(writer);
    this.#keptOf.add(writer);
    if (this.#keptOf.size <= KEPT_OF_MAX) return;
    for (const oldest of this.#keptOf) {
      this.#keptOf.delete(oldest);
      return;
    }
  }

  hasKeptOf(incarnation: Incarnation): boolean {
    return this.#keptOf.has(incarnation);
  }

  /** What this node keeps of the client's packet ids is in Redis. */
  whenWritten(clientId: string, then: () => void): void {
    if (this.journal === null) then();
    else this.journal.whenWritten(clientId, then);
  }

  /** What dead nodes have left stays in front of what their clients send elsewhere. */
  whenNothingIsOwed(then: () => void): void {
    if (this.#isAwaited) this.#opens.push(then);
    else then();
  }

  get #isAwaited(): boolean {
    if (this.#owing.size === 0) return false;
    const nowMs = this.#parts!.clock.monotonicMs();
    let isAwaited = false;
    for (const owed of this.#owing.values()) {
      for (const incarnation of owed) {
        if (this.#isThere(incarnation)) continue;
        const sinceMs = this.#awaitedSinceMs.get(incarnation) ?? nowMs;
        if (sinceMs === nowMs) this.#awaitedSinceMs.set(incarnation, nowMs);
        if (nowMs - sinceMs < OPEN_WAIT_MS) isAwaited = true;
      }
    }
    return isAwaited;
  }

  tick(): void {
    this.#release();
  }

  #release(): void {
    if (this.#opens.length === 0 || this.#isAwaited) return;
    for (let left = this.#opens.length; left > 0; left--) this.#opens.shift()!();
  }
}
