/**
 * What becomes of sessions nobody is connected to: those of dead nodes lose their owner, due wills are
 * published, expired sessions end (docs/adr/0013, 0014; hard case 13). Every node does it without a
 * leader; Redis hands each thing to one of them, and what this one was handed and could not finish it
 * does not begin again. Called by cluster.ts.
 */
import type {
  Incarnation,
  LookAnswer,
  RemoteSide,
  SessionLedger,
  WillOfAbsent,
} from '../core/cluster-ports.ts';
import type { Clock, Log, Random } from '../core/ports.ts';
import { Ring } from '../util/ring.ts';
import { publishWill } from './absent-will.ts';
import type { ClusterCounters } from './cluster-counters.ts';

export interface CaretakerParts {
  readonly ledger: SessionLedger;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly counters: ClusterCounters;
  readonly remote: () => RemoteSide;
  readonly self: () => Incarnation;
  readonly mayServe: () => boolean;
  readonly isMember: (incarnation: Incarnation) => boolean;
  /** Somebody is still to write what it had journaled: which wills are void by now. */
  readonly isOwedOf: (dead: Incarnation) => boolean;
  /** Tells all others that the session is over. */
  readonly announceEnd: (clientId: string, sid: string, epoch: number) => void;
}

const DUE_EVERY_MS = 1000;
/** Clients taken from the index of what is due, and looked at, at a time. */
const DUE_MAX = 64;
const LOOKS_MAX = 16;
/** Sessions taken from a dead node at a time. */
const ORPHANS_MAX = 64;
/** Survivors begin within this time of each other. */
const ORPHAN_SPREAD_MS = 200;
const ORPHAN_RETRY_MS = 500;
/** What it had journaled says which wills are void; its keeper may be without Redis for longer. */
const OWED_MS = 60_000;
const WAITING_MAX = 10_000;
const UNCONFIRMED_MAX = 10_000;

interface Dead {
  readonly incarnation: Incarnation;
  /** Monotonic ms; infinite: a call is under way. */
  nextMs: number;
  /** What it had journaled is waited for until then. */
  readonly owedUntilMs: number;
  /** Called when nothing is left of what it had. */
  settled: (() => void) | null;
}

/** A will that was published here and that Redis may still have. */
interface Published {
  readonly sid: string;
  readonly epoch: number;
}

export class Caretaker {
  readonly #parts: CaretakerParts;
  readonly #dead: Map<Incarnation, Dead> = new Map();
  /** Clients to be looked at. */
  readonly #waiting: Ring<string> = new Ring();
  readonly #looking: Set<string> = new Set();
  readonly #published: Map<string, Published> = new Map();
  #nextDueMs = 0;
  #isAskingDue = false;
  /** Answers to what an earlier life asked are dropped. */
  #life = 0;

  constructor(parts: CaretakerParts) {
    this.#parts = parts;
    this.#nextDueMs = parts.clock.monotonicMs() + parts.random.below(DUE_EVERY_MS);
  }

  /** Dead nodes whose sessions are not all taken yet. */
  get deadNodes(): number {
    return this.#dead.size;
  }

  /** The node is dead: its sessions are nobody's, and what it had taken on is free again. */
  died(incarnation: Incarnation, settled: (() => void) | null = null): void {
    const known = this.#dead.get(incarnation);
    if (known !== undefined) {
      known.settled ??= settled;
      return;
    }
    const { clock, random } = this.#parts;
    const nextMs = clock.monotonicMs() + random.below(ORPHAN_SPREAD_MS);
    const owedUntilMs = clock.monotonicMs() + OWED_MS;
    this.#dead.set(incarnation, { incarnation, nextMs, owedUntilMs, settled });
  }

  tick(nowMs: number): void {
    if (!this.#parts.mayServe()) return;
    const { isOwedOf } = this.#parts;
    for (const dead of this.#dead.values()) {
      const isWaiting = nowMs < dead.owedUntilMs && isOwedOf(dead.incarnation);
      if (dead.nextMs <= nowMs && !isWaiting) this.#orphan(dead);
    }
    if (nowMs >= this.#nextDueMs) this.#askDue(nowMs);
    this.#lookAtSome();
  }

  /** This incarnation is dead: others look after all this. */
  lost(): void {
    this.#life++;
    this.#dead.clear();
    this.#looking.clear();
    this.#published.clear();
    this.#isAskingDue = false;
    while (this.#waiting.length > 0) this.#waiting.shift();
  }

  // ------------------------------------------------------------------------------ dead nodes

  #orphan(dead: Dead): void {
    const { ledger, clock, self, isMember } = this.#parts;
    const life = this.#life;
    if (isMember(dead.incarnation) || dead.incarnation === self()) {
      // A joiner read its name in Redis before it was listed again, or heard.
      this.#dead.delete(dead.incarnation);
      dead.settled?.();
      return;
    }
    dead.nextMs = Number.POSITIVE_INFINITY;
    ledger.orphan(dead.incarnation, ORPHANS_MAX, (answer) => {
      if (life !== this.#life) return;
      if (answer === null) {
        dead.nextMs = clock.monotonicMs() + ORPHAN_RETRY_MS;
        return;
      }
      for (const clientId of answer.clientIds) {
        this.#parts.remote().orphaned(clientId);
        this.#lookLater(clientId);
      }
      if (!answer.isMore) {
        this.#dead.delete(dead.incarnation);
        dead.settled?.();
      } else if (this.#waiting.length > WAITING_MAX)
        dead.nextMs = clock.monotonicMs() + DUE_EVERY_MS;
      else if (this.#parts.mayServe()) this.#orphan(dead);
      else dead.nextMs = clock.monotonicMs();
    });
  }

  // ------------------------------------------------------------------------------ what is due

  #askDue(nowMs: number): void {
    this.#nextDueMs = nowMs + DUE_EVERY_MS;
    // Those that are known come first.
    if (this.#isAskingDue || this.#waiting.length > DUE_MAX) return;
    const life = this.#life;
    this.#isAskingDue = true;
    this.#parts.ledger.due(DUE_MAX, (clientIds) => {
      if (life !== this.#life) return;
      this.#isAskingDue = false;
      if (clientIds === null || clientIds.length === 0) return;
      // All nodes are told of the same ones: each begins elsewhere.
      const first = this.#parts.random.below(clientIds.length);
      for (let i = 0; i < clientIds.length; i++) {
        this.#lookLater(clientIds[(first + i) % clientIds.length]!);
      }
      this.#lookAtSome();
    });
  }

  #lookLater(clientId: string): void {
    // What does not fit is in the index of what is due.
    if (this.#waiting.length < WAITING_MAX) this.#waiting.push(clientId);
  }

  #lookAtSome(): void {
    while (this.#looking.size < LOOKS_MAX) {
      const clientId = this.#waiting.shift();
      if (clientId === undefined) return;
      if (!this.#looking.has(clientId)) this.#look(clientId);
    }
  }

  #look(clientId: string): void {
    const { ledger, self, mayServe } = this.#parts;
    if (!mayServe()) {
      this.#done(clientId);
      return;
    }
    const life = this.#life;
    this.#looking.add(clientId);
    ledger.look(clientId, self(), (answer) => {
      if (life === this.#life) this.#looked(clientId, answer);
    });
  }

  #done(clientId: string): void {
    this.#looking.delete(clientId);
  }

  #looked(clientId: string, answer: LookAnswer): void {
    switch (answer.kind) {
      case 'will':
        this.#will(clientId, answer.will);
        break;
      case 'ended': {
        const { counters, announceEnd, remote } = this.#parts;
        counters.sessionsExpired++;
        announceEnd(clientId, answer.sid, answer.epoch);
        remote().applyEnd(clientId, answer.sid, answer.epoch);
        this.#done(clientId);
        this.#lookAtSome();
        break;
      }
      case 'unavailable':
        // It stays in the index of what is due.
        this.#done(clientId);
        break;
      default:
        this.#done(clientId);
        this.#lookAtSome();
    }
  }

  // ------------------------------------------------------------------------------ wills

  #will(clientId: string, will: WillOfAbsent): void {
    const { sid, epoch } = will;
    const published = this.#published.get(clientId);
    if (published?.sid === sid && published.epoch === epoch) {
      // Only Redis has not heard of it.
      this.#settle(clientId, will);
      return;
    }
    if (!this.#parts.mayServe()) {
      this.#done(clientId);
      return;
    }
    const { remote, counters } = this.#parts;
    const life = this.#life;
    counters.willsOfAbsent++;
    publishWill(remote(), will, (failed) => {
      if (life === this.#life) this.#safe(clientId, will, failed);
    });
  }

  #safe(clientId: string, will: WillOfAbsent, failed: boolean): void {
    if (failed) {
      // Claimed by this node, it is handed out again to it, or to whoever survives it.
      this.#done(clientId);
      this.#parts.log.warn({ clientId }, 'a will could not be stored for all; it is tried again');
      return;
    }
    if (this.#published.size >= UNCONFIRMED_MAX) this.#published.clear();
    this.#published.set(clientId, { sid: will.sid, epoch: will.epoch });
    this.#settle(clientId, will);
  }

  #settle(clientId: string, { sid, epoch }: WillOfAbsent): void {
    const life = this.#life;
    this.#parts.ledger.willDone(clientId, sid, epoch, (isDone) => {
      if (life !== this.#life) return;
      if (!isDone) {
        this.#done(clientId);
        return;
      }
      this.#published.delete(clientId);
      // Perhaps the session ends now.
      this.#look(clientId);
    });
  }
}
