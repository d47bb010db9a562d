/** A quota of messages or bytes per second, with a bucket for each who shares it. */
import type { Clock, Log, Scheduler } from '../core/ports.ts';
import type { Alarms } from './alarms.ts';
import type { Attic } from './attic.ts';
import { Bucket, type BucketRefill, type BucketTerms } from './bucket.ts';
import { Leases, leaseWindow } from './leases.ts';
import { Quota, type Subject } from './quota.ts';
import { quotaKinds } from './quota-kinds.ts';
import type { QuotaOptions } from './quota-options.ts';
import type { SharedLimit, SharedLimits } from './shared-limits.ts';

/** What the parts of the room share. */
export interface RateServices {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly alarms: Alarms;
  readonly attic: Attic;
  readonly shared: SharedLimits;
  /** Of this node alone. */
  readonly own: SharedLimits;
}

export class RateQuota extends Quota implements BucketTerms {
  readonly buckets: Map<string | null, Bucket> = new Map();
  readonly countsBytes: boolean;
  readonly refill: BucketRefill | null;
  readonly #leases: Leases | null;
  readonly #services: RateServices;
  #limit: SharedLimit | null = null;
  perMs = 0;
  burst = 0;

  constructor(options: QuotaOptions, services: RateServices) {
    super(options, services.log);
    this.#services = services;
    this.countsBytes = quotaKinds[this.of].unit === 'bytes';
    const { clock, scheduler, log } = services;
    this.#leases =
      this.per === 'tenant'
        ? new Leases({
            clock,
            scheduler,
            maxPerS: () => this.max,
            limit: () => this.#limit!,
            failed: (err) => log.error({ err, quota: this.name }, 'shared quota did not answer'),
          })
        : null;
    this.refill = this.#leases;
    this.#setTerms(options, 0);
  }

  override revise(options: QuotaOptions): void {
    const hadMax = this.max;
    super.revise(options);
    this.#setTerms(options, hadMax);
  }

  #setTerms(options: QuotaOptions, hadMax: number): void {
    this.burst = options.burst ?? this.max;
    if (this.refill === null) {
      this.perMs = this.max / 1000;
    } else if (this.#limit === null || this.max !== hadMax) {
      this.#limit = this.#services.shared.open(this.name, leaseWindow(this.max));
    }
  }

  /** The bucket the subject draws from; `release` when it does not any more. */
  obtain(subject: Subject, nowMs: number): Bucket {
    const key = this.keyOf(subject);
    let bucket = this.buckets.get(key);
    if (bucket === undefined) {
      bucket = new Bucket(key, this, this.#services.alarms, nowMs);
      this.buckets.set(key, bucket);
    } else if (bucket.refs === 0) {
      this.#services.attic.take(bucket);
    }
    bucket.refs++;
    return bucket;
  }

  release(bucket: Bucket, nowMs: number): void {
    if (--bucket.refs > 0) return;
    this.#services.attic.keep(bucket, nowMs, this.#forget);
  }

  override stop(): void {
    this.#leases?.stop();
  }

  readonly #forget = (bucket: Bucket): void => {
    if (bucket.refs === 0) this.buckets.delete(bucket.key);
  };
}
