/**
 * Buckets nobody uses any more, kept until they are full again: who reconnects must not find a full
 * bucket. Looks at them once a second while there are any. Bounded: beyond it the level is forgotten.
 */
import type { Clock, Scheduler } from '../core/ports.ts';
import type { Bucket } from './bucket.ts';

const SWEEP_MS = 1000;
const SWEPT_PER_TICK = 2000;
/** Over all quotas; about 100 bytes each. */
export const KEPT_MAX = 100_000;

/** Forgets the bucket, if it is still unused. */
export type Forget = (bucket: Bucket) => void;

export class Attic {
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  /** In the order in which they will be looked at. */
  readonly #kept: Map<Bucket, Forget> = new Map();
  #stop: (() => void) | null = null;

  constructor(clock: Clock, scheduler: Scheduler) {
    this.#clock = clock;
    this.#scheduler = scheduler;
  }

  get size(): number {
    return this.#kept.size;
  }

  /** The last user of the bucket has gone. */
  keep(bucket: Bucket, nowMs: number, forget: Forget): void {
    if (bucket.isFull(nowMs) || this.#kept.size >= KEPT_MAX) {
      forget(bucket);
      return;
    }
    this.#kept.set(bucket, forget);
    this.#stop ??= this.#scheduler.every(SWEEP_MS, () => this.#sweep());
  }

  /** Somebody uses it again. */
  take(bucket: Bucket): void {
    this.#kept.delete(bucket);
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    let left = Math.min(SWEPT_PER_TICK, this.#kept.size);
    for (const [bucket, forget] of this.#kept) {
      if (left-- === 0) break;
      this.#kept.delete(bucket);
      if (bucket.isFull(nowMs)) forget(bucket);
      else this.#kept.set(bucket, forget);
    }
    if (this.#kept.size > 0) return;
    this.stop();
  }

  stop(): void {
    this.#stop?.();
    this.#stop = null;
  }
}
