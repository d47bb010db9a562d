/** A quota of CONNECT packets per second, counted in windows that nodes can share. */
import type { Log } from '../core/ports.ts';
import { Quota, type Subject } from './quota.ts';
import type { QuotaOptions } from './quota-options.ts';
import type { SharedLimit, SharedLimits } from './shared-limits.ts';

/** Clients without a user name, together; no user can have this name. */
const ANONYMOUS = '\u0000';

export class ConnectQuota extends Quota {
  readonly #shared: SharedLimits;
  #limit: SharedLimit;
  #burst: number;

  constructor(options: QuotaOptions, shared: SharedLimits, log: Log) {
    super(options, log);
    this.#shared = shared;
    this.#burst = options.burst ?? options.max;
    this.#limit = this.#open();
  }

  override revise(options: QuotaOptions): void {
    const hadMax = this.max;
    super.revise(options);
    const burst = options.burst ?? options.max;
    if (this.max === hadMax && burst === this.#burst) return;
    this.#burst = burst;
    this.#limit = this.#open();
  }

  get burst(): number {
    return this.#burst;
  }

  #open(): SharedLimit {
    const durationS = this.#burst / this.max;
    return this.#shared.open(this.name, { points: this.#burst, durationS });
  }

  /** True: counted; false: too many. Rejects when what counts does not answer. */
  async take(subject: Subject): Promise<boolean> {
    return (await this.#limit.take(this.keyOf(subject) ?? ANONYMOUS, 1)) === 0;
  }

  giveBack(subject: Subject): void {
    this.#limit.giveBack(this.keyOf(subject) ?? ANONYMOUS, 1);
  }
}
