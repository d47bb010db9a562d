/**
 * A token bucket (data plane): allocation-free, exact within the time it is told. Whoever finds too
 * little waits in line. The first in line is charged at once, whatever its cost, so that the level may
 * be negative; it goes on when the level is back at 0. So a message larger than the burst gets through
 * too, nothing is charged twice, and nobody overtakes.
 *
 * Invariant: over any time t at most burst + t × rate is paid for, and what is paid for is let through
 * within two ticks (with leases: when the portion comes). A test holds it to this.
 */
import type { Alarm, AlarmOwner, Alarms } from './alarms.ts';
import type { QuotaAction } from './quota-kinds.ts';

/** Sums of fractions of a token do not always meet at 0. */
const EPSILON = 1e-6;

const LEVEL = 0;
const STAMP_MS = 1;

/** What all buckets of a quota share; may change with a reload. */
export interface BucketTerms {
  /** Tokens that time brings; 0 when they come from `refill`. */
  readonly perMs: number;
  readonly burst: number;
  /** A message costs its bytes; otherwise 1. */
  readonly countsBytes: boolean;
  /** Brings the tokens of shared quotas; null: time does. */
  readonly refill: BucketRefill | null;
  readonly action: QuotaAction;
  /** Somebody found too little. */
  hit(key: string | null, nowMs: number): void;
  /** For the client that was refused: names the quota. */
  explain(): string;
  /** One fewer takes from the bucket. */
  release(bucket: Bucket, nowMs: number): void;
}

export interface BucketRefill {
  /** The bucket is not full any more. Sets `isRefilling`, and clears it when the bucket is full. */
  begin(bucket: Bucket, nowMs: number): void;
}

/** One in line. */
export interface BucketWaiter {
  next: BucketWaiter | null;
  previous: BucketWaiter | null;
  costAt(bucket: Bucket): number;
  /** Its cost is paid; it is not in line any more. */
  settled(nowMs: number): void;
}

export class Bucket implements AlarmOwner {
  /** Whose it is; null: all anonymous clients together. */
  readonly key: string | null;
  readonly terms: BucketTerms;
  readonly countsBytes: boolean;
  /** Those who may take from it. */
  refs = 0;
  /** How many are in line. */
  waiting = 0;
  isRefilling = false;
  readonly #alarms: Alarms;
  #alarm: Alarm | null = null;
  /** Level and stamp: in an array a changing fraction allocates nothing, as a property it does. */
  readonly #state: Float64Array = new Float64Array(2);
  #head: BucketWaiter | null = null;
  #tail: BucketWaiter | null = null;

  constructor(key: string | null, terms: BucketTerms, alarms: Alarms, nowMs: number) {
    this.key = key;
    this.terms = terms;
    this.countsBytes = terms.countsBytes;
    this.#alarms = alarms;
    this.#state[LEVEL] = terms.burst;
    this.#state[STAMP_MS] = nowMs;
  }

  /** Tokens, as of the last look; negative while the first in line pays. */
  get level(): number {
    return this.#state[LEVEL]!;
  }

  /** Would `take` succeed? */
  has(cost: number, nowMs: number): boolean {
    if (this.#head !== null) return false;
    this.#refill(nowMs);
    return this.level >= cost;
  }

  /** Takes the tokens, or leaves everything as it is. */
  take(cost: number, nowMs: number): boolean {
    if (this.#head !== null) return false;
    const state = this.#state;
    if (nowMs > state[STAMP_MS]!) this.#refill(nowMs);
    const level = state[LEVEL]!;
    if (level < cost) return false;
    state[LEVEL] = level - cost;
    if (!this.isRefilling) this.#begin(nowMs);
    return true;
  }

  /** Puts it in line: `settled` follows, later. */
  enqueue(waiter: BucketWaiter, nowMs: number): void {
    waiter.next = null;
    waiter.previous = this.#tail;
    this.waiting++;
    if (this.#tail !== null) {
      this.#tail.next = waiter;
      this.#tail = waiter;
      return;
    }
    this.#head = waiter;
    this.#tail = waiter;
    this.#refill(nowMs);
    this.#spend(waiter.costAt(this), nowMs);
    this.#arm(nowMs);
  }

  /** Leaves the line; what it had paid here is given back. */
  remove(waiter: BucketWaiter, nowMs: number): void {
    this.#refill(nowMs);
    const wasHead = this.#head === waiter;
    this.#unlink(waiter);
    if (!wasHead) return;
    this.#raise(waiter.costAt(this));
    if (this.#head === null) {
      if (this.#alarm !== null) this.#alarms.cancel(this.#alarm);
      return;
    }
    this.#spend(this.#head.costAt(this), nowMs);
    // Not from here: whoever leaves may be in the middle of something.
    this.#arm(nowMs);
  }

  /** Tokens that were taken and are not needed. */
  giveBack(tokens: number, nowMs: number): void {
    this.#refill(nowMs);
    this.#raise(tokens);
    if (this.#head !== null) this.#arm(nowMs);
  }

  /** Tokens of a shared quota have come; never from inside a call of a client. */
  add(tokens: number, nowMs: number): void {
    this.#raise(tokens);
    if (this.#head !== null && this.level >= -EPSILON) this.#settle(nowMs);
  }

  isFull(nowMs: number): boolean {
    this.#refill(nowMs);
    return this.level >= this.terms.burst;
  }

  /** Tokens that are missing to the full burst. */
  spent(nowMs: number): number {
    this.#refill(nowMs);
    return this.terms.burst - this.level;
  }

  onAlarm(nowMs: number): void {
    this.#refill(nowMs);
    this.#settle(nowMs);
  }

  #refill(nowMs: number): void {
    const state = this.#state;
    const elapsedMs = nowMs - state[STAMP_MS]!;
    if (elapsedMs <= 0) return;
    state[STAMP_MS] = nowMs;
    this.#raise(elapsedMs * this.terms.perMs);
  }

  #raise(tokens: number): void {
    this.#state[LEVEL] = Math.min(this.terms.burst, this.#state[LEVEL]! + tokens);
  }

  #spend(cost: number, nowMs: number): void {
    this.#state[LEVEL] = this.#state[LEVEL]! - cost;
    if (!this.isRefilling) this.#begin(nowMs);
  }

  /** It is not full any more. */
  #begin(nowMs: number): void {
    if (this.terms.refill !== null) this.terms.refill.begin(this, nowMs);
  }

  /** Lets go on who has paid, in order; each of them may come back to the end of the line. */
  #settle(nowMs: number): void {
    while (this.#head !== null && this.level >= -EPSILON) {
      const waiter = this.#head;
      this.#unlink(waiter);
      if (this.#head !== null) this.#spend(this.#head.costAt(this), nowMs);
      waiter.settled(nowMs);
    }
    if (this.#head !== null) this.#arm(nowMs);
  }

  #unlink(waiter: BucketWaiter): void {
    const { next, previous } = waiter;
    if (previous === null) this.#head = next;
    else previous.next = next;
    if (next === null) this.#tail = previous;
    else next.previous = previous;
    waiter.next = null;
    waiter.previous = null;
    this.waiting--;
  }

  #arm(nowMs: number): void {
    const { perMs, refill } = this.terms;
    if (refill !== null) return;
    this.#alarm ??= this.#alarms.make(this);
    this.#alarms.set(this.#alarm, nowMs + Math.max(0, -this.level) / perMs);
  }
}
