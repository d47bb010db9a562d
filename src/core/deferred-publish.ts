/**
 * A PUBLISH whose fan-out waits: a QoS 2 message of a session that nodes share is stored before anything
 * of it leaves (DESIGN hard case 10), and what the client sends after it must not overtake. It is stored
 * only when the QoS 1 messages before it are safe: a later owner hands it on at once, and those would
 * come behind it. Made by the PUBLISH handler, kept in order by the connection.
 */
import type { Ticket } from './ports.ts';

export class DeferredPublish {
  /** QoS 2, stored before it is handed on. */
  readonly isStored: boolean;
  /** 0: waits only for those before it, or has not begun. */
  ticket: Ticket = 0;
  hasBegun: boolean;
  readonly #store: (() => Ticket) | null;
  readonly #handOn: (failed: boolean) => void;

  /** `store` null: there is nothing to store. */
  constructor(store: (() => Ticket) | null, handOn: (failed: boolean) => void) {
    this.isStored = store !== null;
    this.hasBegun = store === null;
    this.#store = store;
    this.#handOn = handOn;
  }

  begin(): void {
    this.hasBegun = true;
    this.ticket = this.#store?.() ?? 0;
  }

  go(failed: boolean): void {
    this.#handOn(failed);
  }
}
