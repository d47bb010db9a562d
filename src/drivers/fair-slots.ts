/**
 * At most so many of something at one time, with a bounded line of those who wait, fair between
 * parties (see `util/fair-line.ts`). For requests to a backend and for hashing of passwords.
 */
import { FairLine } from '../util/fair-line.ts';

export interface FairSlotsOptions {
  readonly slotsMax: number;
  readonly waitingMax: number;
}

/** There was no room in the line, or none was made in time. Nothing was done. */
export class NoSlotError extends Error {
  constructor() {
    super('too many wait');
    this.name = 'NoSlotError';
  }
}

interface Waiting {
  readonly enter: () => void;
  readonly refuse: () => void;
}

export class FairSlots {
  readonly #slotsMax: number;
  readonly #line: FairLine<Waiting>;
  #taken = 0;

  constructor(options: FairSlotsOptions) {
    this.#slotsMax = options.slotsMax;
    this.#line = new FairLine(options.waitingMax);
  }

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#line.length;
  }

  /** Resolves when there is a slot; whoever got it calls `leave` once. Rejects with NoSlotError. */
  enter(party: string, waitMsMax: number): Promise<void> {
    if (this.#taken < this.#slotsMax) {
      this.#taken += 1;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        if (this.#line.remove(party, waiting)) reject(new NoSlotError());
      }, waitMsMax);
      const waiting: Waiting = {
        enter: () => {
          clearTimeout(timer);
          resolve();
        },
        refuse: () => {
          clearTimeout(timer);
          reject(new NoSlotError());
        },
      };
      this.#line.push(party, waiting)?.refuse();
    });
  }

  leave(): void {
    const next = this.#line.shift();
    if (next === undefined) this.#taken -= 1;
    else next.enter();
  }

  /** All who wait are refused. */
  clear(): void {
    for (let next = this.#line.shift(); next !== undefined; next = this.#line.shift()) {
      next.refuse();
    }
  }
}
