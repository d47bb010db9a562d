/**
 * Fills the buckets of a shared quota (per tenant) in portions of what a tenth of a second brings, so
 * that nodes can share it without a question per message. Each node may use its burst by itself; what
 * comes after it is drawn from the shared limit. A lone node is never refused its own share.
 */
import type { Clock, Scheduler } from '../core/ports.ts';
import type { Bucket, BucketRefill } from './bucket.ts';
import type { SharedLimit, SharedWindow } from './shared-limits.ts';

const LEASE_MS = 100;
/** Portions that may be missed (a stalled loop, a refusal) and still be asked for. */
const MISSED_MAX = 2;
const WINDOW_S = 1;

/** What the nodes of a cluster may draw together; one portion of slack, for windows begin when asked. */
export function leaseWindow(maxPerS: number): SharedWindow {
  return { points: Math.ceil(maxPerS * (WINDOW_S + LEASE_MS / 1000)), durationS: WINDOW_S };
}

interface Lease {
  readonly bucket: Bucket;
  /** Up to when its tokens were asked for. */
  sinceMs: number;
  isAsking: boolean;
  /** Refused until then. */
  notBeforeMs: number;
}

export interface LeasesOptions {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  /** In force, reloads included. */
  readonly maxPerS: () => number;
  readonly limit: () => SharedLimit;
  readonly failed: (error: unknown) => void;
}

export class Leases implements BucketRefill {
  readonly #options: LeasesOptions;
  /** Of buckets that are not full. */
  readonly #open: Set<Lease> = new Set();
  #stop: (() => void) | null = null;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  begin(bucket: Bucket, nowMs: number): void {
    bucket.isRefilling = true;
    this.#open.add({ bucket, sinceMs: nowMs, isAsking: false, notBeforeMs: 0 });
    this.#stop ??= this.#options.scheduler.every(LEASE_MS, () => this.#tick());
  }

  #tick(): void {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    for (const lease of this.#open) {
      const { bucket } = lease;
      // Lets go on who can by what was given back since.
      bucket.add(0, nowMs);
      if (bucket.isFull(nowMs)) {
        bucket.isRefilling = false;
        this.#open.delete(lease);
      } else if (!lease.isAsking && nowMs >= lease.notBeforeMs) {
        this.#ask(lease, nowMs);
      }
    }
    if (this.#open.size === 0) this.stop();
  }

  #ask(lease: Lease, nowMs: number): void {
    const { clock, limit, maxPerS, failed } = this.#options;
    const { bucket } = lease;
    const perMs = maxPerS() / 1000;
    const missedMs = Math.max(MISSED_MAX * LEASE_MS, (MISSED_MAX * 1) / perMs);
    lease.sinceMs = Math.max(lease.sinceMs, nowMs - missedMs);
    const room = Math.ceil(bucket.terms.burst - bucket.level);
    const tokens = Math.min(Math.floor((nowMs - lease.sinceMs) * perMs), room);
    if (tokens < 1) return;
    lease.isAsking = true;
    const granted = (): void => {
      lease.isAsking = false;
      lease.sinceMs = tokens === room ? nowMs : lease.sinceMs + tokens / perMs;
      bucket.add(tokens, clock.monotonicMs());
    };
    limit()
      .take(bucket.key ?? '', tokens)
      .then((waitMs) => {
        if (waitMs === 0) {
          granted();
          return;
        }
        lease.isAsking = false;
        lease.notBeforeMs = clock.monotonicMs() + waitMs;
      })
      .catch((error: unknown) => {
        // Nobody to ask: this node goes on by itself with what one node may have.
        if (lease.isAsking) granted();
        failed(error);
      });
  }

  stop(): void {
    this.#stop?.();
    this.#stop = null;
  }
}
