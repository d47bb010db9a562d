/**
 * What one session uses (data plane), from birth to end: subscriptions, queued bytes, delivered bytes.
 * It knows its own use, so that a reload can count it under other quotas. Made by `use-ledger.ts`.
 */
import type { GateWaiter, SessionQuota } from '../core/ports.ts';
import type { Principal } from '../core/principal.ts';
import type { CountQuota } from './count-quota.ts';
import type { Counter } from './counter.ts';
import { Payer, type PayerOwner } from './payer.ts';
import type { Subject } from './quota.ts';
import type { QuotaBook } from './quota-book.ts';
import type { TurnClock } from './turn-clock.ts';

/** Of no quota's concern. */
const NO_LIMIT = Number.MAX_SAFE_INTEGER;

/** A counter and the quota it is of. */
interface Share {
  readonly quota: CountQuota;
  readonly counter: Counter;
}

const NO_SHARES: readonly Share[] = [];

/** Who keeps account of all sessions. */
export interface SessionUseOwner {
  readonly turn: TurnClock;
  ended(use: SessionUse): void;
}

export class SessionUse implements SessionQuota, PayerOwner {
  readonly subject: Subject;
  book: QuotaBook;
  overflow: 'drop_newest' | 'disconnect' | null = null;
  why: string | null = null;
  inflightMax: number = NO_LIMIT;
  readonly #owner: SessionUseOwner;
  #subscriptions = 0;
  #queueBytes = 0;
  #isEnded = false;
  #ofSubscriptions: readonly Share[] = NO_SHARES;
  #ofQueue: readonly Share[] = NO_SHARES;
  /** Null: delivery is not metered. */
  #payer: Payer | null = null;
  /** Bytes that are paid and have not left yet. */
  #credit = 0;
  #owed = 0;
  #waiter: GateWaiter | null = null;

  constructor(principal: Principal, book: QuotaBook, owner: SessionUseOwner) {
    const { clientId, identity, tenant } = principal;
    this.subject = { clientId, identity, tenant, listener: null };
    this.#owner = owner;
    this.book = book;
    this.#bind();
  }

  /** Some quota concerns it. */
  get isConcerned(): boolean {
    return (
      this.#ofSubscriptions.length > 0 ||
      this.#ofQueue.length > 0 ||
      this.#payer !== null ||
      this.inflightMax !== NO_LIMIT
    );
  }

  get metersDelivery(): boolean {
    return this.#payer !== null;
  }

  // ------------------------------------------------------------------ subscriptions, queue

  subscribe(): boolean {
    if (!this.#hasRoom(this.#ofSubscriptions, 1)) return false;
    this.subscribed();
    return true;
  }

  subscribed(): void {
    if (this.#isEnded) return;
    this.#subscriptions++;
    count(this.#ofSubscriptions, 1);
  }

  unsubscribed(): void {
    if (this.#isEnded) return;
    this.#subscriptions--;
    count(this.#ofSubscriptions, -1);
  }

  enqueue(bytes: number): boolean {
    if (!this.#hasRoom(this.#ofQueue, bytes)) return false;
    this.queued(bytes);
    return true;
  }

  queued(bytes: number): void {
    if (this.#isEnded) return;
    this.#queueBytes += bytes;
    count(this.#ofQueue, bytes);
  }

  #hasRoom(shares: readonly Share[], amount: number): boolean {
    for (let i = 0; i < shares.length; i++) {
      const { quota, counter } = shares[i]!;
      if (counter.hasRoom(amount)) continue;
      quota.hit(counter.key, this.#owner.turn.nowMs());
      this.overflow = quota.action === 'disconnect' ? 'disconnect' : 'drop_newest';
      this.why = quota.explain();
      return false;
    }
    return true;
  }

  // ------------------------------------------------------------------ delivery

  deliver(bytes: number, waiter: GateWaiter): boolean {
    const payer = this.#payer;
    if (payer === null) return true;
    if (payer.waits) return false;
    if (this.#credit >= bytes) {
      this.#credit -= bytes;
      return true;
    }
    const owed = bytes - this.#credit;
    const nowMs = this.#owner.turn.nowMs();
    if (payer.pay(owed, nowMs)) {
      this.#credit = 0;
      return true;
    }
    this.#owed = owed;
    this.#waiter = waiter;
    return false;
  }

  paid(): void {
    this.#credit += this.#owed;
    this.#owed = 0;
    this.#goOn();
  }

  #goOn(): void {
    const waiter = this.#waiter;
    this.#waiter = null;
    waiter?.resume();
  }

  // ------------------------------------------------------------------ from quota to quota

  /** Other quotas are in force: gives back what it used under the old ones and counts it anew. */
  rebind(book: QuotaBook): void {
    if (this.#isEnded) return;
    const waited = this.#payer?.waits === true;
    this.#unbind();
    this.book = book;
    this.#bind();
    // Asked again, it pays by the new terms.
    if (waited) this.#goOn();
  }

  #bind(): void {
    const { book, subject } = this;
    const nowMs = this.#owner.turn.nowMs();
    this.#ofSubscriptions = shares(book.counts('subscriptions', subject), subject);
    this.#ofQueue = shares(book.counts('queueBytes', subject), subject);
    count(this.#ofSubscriptions, this.#subscriptions);
    count(this.#ofQueue, this.#queueBytes);
    this.overflow = null;
    this.inflightMax = NO_LIMIT;
    for (const quota of book.counts('inflightMessages', subject)) {
      this.inflightMax = Math.min(this.inflightMax, quota.max);
    }
    const rates = book.rates('deliverBytesPerS', subject);
    const buckets = rates.map((quota) => quota.obtain(subject, nowMs));
    this.#payer = buckets.length === 0 ? null : new Payer(buckets, this);
  }

  #unbind(): void {
    const nowMs = this.#owner.turn.nowMs();
    count(this.#ofSubscriptions, -this.#subscriptions);
    count(this.#ofQueue, -this.#queueBytes);
    for (const { quota, counter } of this.#ofSubscriptions) quota.release(counter);
    for (const { quota, counter } of this.#ofQueue) quota.release(counter);
    if (this.#payer !== null) {
      this.#payer.cancel(nowMs);
      for (const bucket of this.#payer.buckets) {
        bucket.giveBack(this.#credit, nowMs);
        bucket.terms.release(bucket, nowMs);
      }
    }
    this.#ofSubscriptions = NO_SHARES;
    this.#ofQueue = NO_SHARES;
    this.#payer = null;
    this.#credit = 0;
    this.#owed = 0;
  }

  ended(): void {
    if (this.#isEnded) return;
    this.#unbind();
    this.#isEnded = true;
    this.#waiter = null;
    this.#owner.ended(this);
  }
}

function shares(quotas: readonly CountQuota[], subject: Subject): readonly Share[] {
  if (quotas.length === 0) return NO_SHARES;
  return quotas.map((quota) => ({ quota, counter: quota.obtain(subject) }));
}

function count(all: readonly Share[], amount: number): void {
  for (let i = 0; i < all.length; i++) all[i]!.counter.used += amount;
}
