/** A quota of something countable: connections, subscriptions, retained messages, queued bytes. */
import { Counter, type CounterTerms } from './counter.ts';
import { Quota, type Subject } from './quota.ts';
import { quotaKinds } from './quota-kinds.ts';

export class CountQuota extends Quota implements CounterTerms {
  /** Those with use or users, so never more than there are sessions and retained messages. */
  readonly counters: Map<string | null, Counter> = new Map();

  /** Other nodes have to be asked; what is retained is at every node anyway. */
  get isShared(): boolean {
    return this.of === 'connections' && quotaKinds[this.of].together.includes(this.per);
  }

  /** The counter of whoever the subject belongs to; `release` when it is not needed any more. */
  obtain(subject: Subject): Counter {
    const counter = this.#counterOf(this.keyOf(subject));
    counter.refs++;
    return counter;
  }

  release(counter: Counter): void {
    counter.refs--;
    this.#forget(counter);
  }

  /** Counts for a subject that holds no counter. */
  add(subject: Subject, amount: number): void {
    const counter = this.#counterOf(this.keyOf(subject));
    counter.used += amount;
    this.#forget(counter);
  }

  /** Room for this much more? */
  hasRoom(subject: Subject, amount: number): boolean {
    return (this.counters.get(this.keyOf(subject))?.used ?? 0) + amount <= this.max;
  }

  /** Everything is about to be counted anew. */
  reset(): void {
    for (const counter of this.counters.values()) {
      counter.used = 0;
      this.#forget(counter);
    }
  }

  #counterOf(key: string | null): Counter {
    let counter = this.counters.get(key);
    if (counter === undefined) {
      counter = new Counter(key, this);
      this.counters.set(key, counter);
    }
    return counter;
  }

  #forget(counter: Counter): void {
    if (counter.refs === 0 && counter.used === 0) this.counters.delete(counter.key);
  }
}
