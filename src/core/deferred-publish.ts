/**
 * A PUBLISH whose fan-out waits: a QoS 2 message of a session that nodes share is stored before anything
 * of it leaves (DESIGN hard case 10), and what the client sends after it must not overtake. It is stored
 * only when the QoS 1 messages before it are safe: a later owner hands it on at once, and those would
 * come behind it. Made by the PUBLISH handler, kept in order by the connection.
 */
import type { Awaited } from './awaited.ts';

export class DeferredPublish {
  /** QoS 2, stored before it is handed on. */
  readonly isStored: boolean;
  /** That it is stored. */
  readonly awaited: Awaited = { unsafeCount: 0, waiter: null, failed: false };
  hasBegun: boolean;
  readonly #store: ((awaited: Awaited) => void) | null;
  readonly #handOn: (failed: boolean) => void;
  readonly #isStill: () => boolean;

  /** `store` null: there is nothing to store. `isStill`: it would be stored now as it was. */
  constructor(
    store: ((awaited: Awaited) => void) | null,
    handOn: (failed: boolean) => void,
    isStill: () => boolean = always,
  ) {
    this.isStored = store !== null;
    this.#isStill = isStill;
    this.hasBegun = store === null;
    this.#store = store;
    this.#handOn = handOn;
  }

  begin(waiter: Awaited['waiter']): void {
    this.hasBegun = true;
    this.awaited.waiter = waiter;
    this.#store?.(this.awaited);
  }

  /** False: it has to be stored anew before it goes. */
  get isReady(): boolean {
    return this.awaited.failed || this.#isStill();
  }

  go(): void {
    this.#handOn(this.awaited.failed);
  }
}

function always(): boolean {
  return true;
}
