/**
 * Closes of sessions that Redis has not heard of yet: it does when the other nodes have what was sent before
 * (P5), or the grace is over. And goodbyes that it did not hear in time, so that a will is void all the
 * same. Used by takeover.ts.
 */
import type { RemoteSide, SessionImage, SessionLedger } from '../core/cluster-ports.ts';
import type { Clock } from '../core/ports.ts';
import { Ring } from '../util/ring.ts';
import type { Barrier } from './barrier.ts';

export interface ClosingsParts {
  readonly ledger: SessionLedger;
  readonly clock: Clock;
  readonly barrier: Barrier;
  readonly remote: () => RemoteSide;
  /** Redis had lost a session when it was left. */
  readonly forgotten: (image: SessionImage) => void;
  readonly linkGraceMs: number;
}

export interface ClosedSession {
  readonly clientId: string;
  readonly sid: string;
  readonly epoch: number;
  /** The epoch that Redis knows it by. */
  readonly knownBy: number;
  readonly expiryIntervalS: number;
  /** Below 0: its client has said goodbye, or had no will. */
  readonly willDelayS: number;
}

/** How long it is remembered that a client had said goodbye. */
const GOODBYE_MS = 30_000;

/** What a bounded waiting ends at. */
interface Deadline {
  readonly atMs: number;
  readonly expire: () => void;
}

interface Closing {
  /** Hands it to Redis now, if it has not been. */
  readonly handOver: () => void;
}

interface Goodbye {
  readonly sid: string;
  readonly epoch: number;
  /** That Redis knows it by. */
  readonly knownBy: number;
  readonly atMs: number;
}

export class Closings {
  readonly #parts: ClosingsParts;
  readonly #closings: Map<string, Set<Closing>> = new Map();
  /** In order of time, as all are given the same. */
  readonly #deadlines: Ring<Deadline> = new Ring();
  /** By client id, oldest first. */
  readonly #goodbyes: Map<string, Goodbye> = new Map();

  constructor(parts: ClosingsParts) {
    this.#parts = parts;
  }

  /** `allClosed`: Redis has answered, and to all other closes of that client. */
  begin(closed: ClosedSession, allClosed: () => void): void {
    const { ledger, clock } = this.#parts;
    const { clientId, sid, epoch, knownBy, expiryIntervalS, willDelayS } = closed;
    if (willDelayS < 0) {
      this.#goodbyes.delete(clientId);
      this.#goodbyes.set(clientId, { sid, epoch, knownBy, atMs: clock.monotonicMs() });
    }
    let isHandedOver = false;
    const closing: Closing = {
      handOver: () => {
        if (isHandedOver) return;
        isHandedOver = true;
        ledger.close(clientId, sid, knownBy, expiryIntervalS, willDelayS, (outcome) => {
          if (outcome === 'gone') {
            const image = this.#parts.remote().knownSession(clientId);
            if (image !== null) this.#parts.forgotten(image);
          }
          if (outcome !== 'fenced') {
            if (this.#goodbyes.get(clientId)?.epoch === epoch) this.#goodbyes.delete(clientId);
          } else if (willDelayS < 0) {
            // A new owner has been handed the will, and may die before it is told that it is void.
            ledger.oldWillSettled(clientId, sid, knownBy);
          }
          // Redis may know it by another one.
          ledger.leftHeard(clientId, epoch);
          if (this.#isLast(clientId, closing)) allClosed();
        });
      },
    };
    const closings = this.#closings.get(clientId);
    if (closings === undefined) this.#closings.set(clientId, new Set([closing]));
    else closings.add(closing);
    this.bounded(closing.handOver);
  }

  #isLast(clientId: string, closing: Closing): boolean {
    const closings = this.#closings.get(clientId)!;
    closings.delete(closing);
    if (closings.size > 0) return false;
    this.#closings.delete(clientId);
    return true;
  }

  /** Has Redis told now, whoever still lacks what was sent before; false: there is nothing to tell. */
  hurry(clientId: string): boolean {
    const closings = this.#closings.get(clientId);
    if (closings === undefined) return false;
    for (const closing of [...closings]) closing.handOver();
    return true;
  }

  /** Its client had said goodbye before that epoch, and Redis may not know. */
  hadGoodbye(clientId: string, epoch: number): boolean {
    const goodbye = this.#goodbyes.get(clientId);
    return goodbye !== undefined && goodbye.epoch < epoch;
  }

  /** Whoever took the session was handed its will, and may die before the answer: survivors would publish it. */
  supersededBy(clientId: string, epoch: number): void {
    const goodbye = this.#goodbyes.get(clientId);
    if (goodbye === undefined || goodbye.epoch >= epoch || !this.#closings.has(clientId)) return;
    this.#parts.ledger.oldWillSettled(clientId, goodbye.sid, goodbye.knownBy);
  }

  /** Calls `then` when every member has applied what was sent so far, or the grace is over. */
  bounded(then: () => void): void {
    const { barrier, clock, linkGraceMs } = this.#parts;
    let isOver = false;
    const end = barrier.whenApplied(() => {
      isOver = true;
      then();
    });
    if (isOver) return;
    this.#deadlines.push({ atMs: clock.monotonicMs() + linkGraceMs, expire: end });
  }

  tick(nowMs: number): void {
    const deadlines = this.#deadlines;
    for (let first = deadlines.at(0); first !== undefined; first = deadlines.at(0)) {
      if (first.atMs > nowMs) break;
      deadlines.shift();
      first.expire();
    }
    for (const [clientId, { atMs }] of this.#goodbyes) {
      if (nowMs - atMs < GOODBYE_MS) break;
      this.#goodbyes.delete(clientId);
    }
  }
}
