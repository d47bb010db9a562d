/**
 * Who pays a message at several buckets (client, user, tenant, node), one after the other (data plane).
 * What is paid stays paid while it waits for the next, so that a large message gets through however
 * busy the others are.
 */
import type { Bucket, BucketWaiter } from './bucket.ts';

export interface PayerOwner {
  /** All is paid that `pay` could not pay at once; never from inside `pay`. */
  paid(nowMs: number): void;
}

export class Payer implements BucketWaiter {
  next: BucketWaiter | null = null;
  previous: BucketWaiter | null = null;
  readonly buckets: readonly Bucket[];
  readonly #owner: PayerOwner;
  #bytes = 0;
  /** Place of the bucket it waits at; -1: it waits at none. */
  #at = -1;

  constructor(buckets: readonly Bucket[], owner: PayerOwner) {
    this.buckets = buckets;
    this.#owner = owner;
  }

  get waits(): boolean {
    return this.#at !== -1;
  }

  /** True: paid. False: it waits, and the owner hears of it. */
  pay(bytes: number, nowMs: number): boolean {
    const { buckets } = this;
    for (let i = 0; i < buckets.length; i++) {
      const bucket = buckets[i]!;
      if (!bucket.take(bucket.countsBytes ? bytes : 1, nowMs)) return this.#wait(i, bytes, nowMs);
    }
    return true;
  }

  #wait(at: number, bytes: number, nowMs: number): false {
    const bucket = this.buckets[at]!;
    this.#at = at;
    this.#bytes = bytes;
    bucket.terms.hit(bucket.key, nowMs);
    bucket.enqueue(this, nowMs);
    return false;
  }

  costAt(bucket: Bucket): number {
    return bucket.countsBytes ? this.#bytes : 1;
  }

  settled(nowMs: number): void {
    const { buckets } = this;
    for (let i = this.#at + 1; i < buckets.length; i++) {
      const bucket = buckets[i]!;
      if (bucket.take(this.costAt(bucket), nowMs)) continue;
      this.#wait(i, this.#bytes, nowMs);
      return;
    }
    this.#at = -1;
    this.#owner.paid(nowMs);
  }

  /** Does not wait any more; all that was paid is given back. */
  cancel(nowMs: number): void {
    if (this.#at === -1) return;
    this.buckets[this.#at]!.remove(this, nowMs);
    for (let i = 0; i < this.#at; i++) {
      const bucket = this.buckets[i]!;
      bucket.giveBack(this.costAt(bucket), nowMs);
    }
    this.#at = -1;
  }
}
