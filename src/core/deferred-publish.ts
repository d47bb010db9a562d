/**
 * A PUBLISH whose fan-out waits: a QoS 2 message of a session that nodes share is stored before anything
 * of it leaves (DESIGN hard case 10), and what the client sends after it must not overtake. Made by the
 * PUBLISH handler, kept in order by the connection.
 */
import type { Ticket } from './ports.ts';

export class DeferredPublish {
  /** 0: waits only for those before it. */
  readonly ticket: Ticket;
  readonly #handOn: (failed: boolean) => void;

  constructor(ticket: Ticket, handOn: (failed: boolean) => void) {
    this.ticket = ticket;
    this.#handOn = handOn;
  }

  go(failed: boolean): void {
    this.#handOn(failed);
  }
}
