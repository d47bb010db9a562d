/**
 * Account of what sessions and retained messages use: the core's `Quotas` port. Knows principals and
 * numbers, no messages and no sockets.
 */
import type { Quotas, SessionQuota } from '../core/ports.ts';
import type { Principal } from '../core/principal.ts';
import type { CountQuota } from './count-quota.ts';
import type { Subject } from './quota.ts';
import type { QuotaBook } from './quota-book.ts';
import { SessionUse, type SessionUseOwner } from './session-use.ts';
import type { TurnClock } from './turn-clock.ts';

/** One retained message, for counting all of them anew. */
export interface RetainedHolding {
  /** Who published it; null: nobody whose use is counted. */
  readonly source: Principal | null;
  readonly bytes: number;
}

export interface UseLedgerOptions {
  readonly turn: TurnClock;
  /** Also sessions no quota concerns: a later one may. */
  readonly countsEveryone: boolean;
  /** All retained messages; asked when a reload counts them in another way. */
  readonly retained: () => Iterable<RetainedHolding>;
}

export class UseLedger implements Quotas, SessionUseOwner {
  readonly turn: TurnClock;
  readonly sessions: Set<SessionUse> = new Set();
  readonly #options: UseLedgerOptions;
  #book: QuotaBook;

  constructor(book: QuotaBook, options: UseLedgerOptions) {
    this.#book = book;
    this.#options = options;
    this.turn = options.turn;
  }

  session(principal: Principal): SessionQuota | null {
    const use = new SessionUse(principal, this.#book, this);
    if (!this.#options.countsEveryone && !use.isConcerned) return null;
    this.sessions.add(use);
    return use;
  }

  ended(use: SessionUse): void {
    this.sessions.delete(use);
  }

  retain(principal: Principal, messages: number, bytes: number): boolean {
    if (!this.#book.countsRetained) return true;
    const subject = subjectOf(principal);
    const ofMessages = this.#book.counts('retainedMessages', subject);
    const ofBytes = this.#book.counts('retainedBytes', subject);
    if (!this.#hasRoom(ofMessages, subject, messages)) return false;
    if (!this.#hasRoom(ofBytes, subject, bytes)) return false;
    for (const quota of ofMessages) quota.add(subject, messages);
    for (const quota of ofBytes) quota.add(subject, bytes);
    return true;
  }

  #hasRoom(quotas: readonly CountQuota[], subject: Subject, amount: number): boolean {
    // What does not grow is not refused, however far over the limit.
    if (amount <= 0) return true;
    for (const quota of quotas) {
      if (quota.hasRoom(subject, amount)) continue;
      quota.hit(quota.keyOf(subject), this.turn.nowMs());
      return false;
    }
    return true;
  }

  retained(principal: Principal, messages: number, bytes: number): void {
    if (this.#book.countsRetained) countRetained(this.#book, principal, messages, bytes);
  }

  /** Other quotas are in force; sessions follow one by one (`SessionUse.rebind`). */
  follow(book: QuotaBook): void {
    const isSame = book.retainedSignature === this.#book.retainedSignature;
    this.#book = book;
    if (isSame) return;
    for (const quota of book.quotas) if ('reset' in quota && isRetained(quota)) quota.reset();
    if (!book.countsRetained) return;
    for (const { source, bytes } of this.#options.retained()) {
      if (source !== null) countRetained(book, source, 1, bytes);
    }
  }
}

function isRetained(quota: CountQuota): boolean {
  return quota.of === 'retainedMessages' || quota.of === 'retainedBytes';
}

function countRetained(
  book: QuotaBook,
  principal: Principal,
  messages: number,
  bytes: number,
): void {
  const subject = subjectOf(principal);
  for (const quota of book.counts('retainedMessages', subject)) quota.add(subject, messages);
  for (const quota of book.counts('retainedBytes', subject)) quota.add(subject, bytes);
}

function subjectOf({ clientId, identity, tenant }: Principal): Subject {
  return { clientId, identity, tenant, listener: null };
}
