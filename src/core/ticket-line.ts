/** Who waits for tickets of the store, in the order they were asked for (docs/adr/0023). */
import { Ring } from '../util/ring.ts';
import type { Ticket } from './ports.ts';
import type { ParkedOwner, Services } from './services.ts';

export class TicketLine implements ParkedOwner {
  readonly #services: Services;
  readonly #waiting: Ring<{ readonly ticket: Ticket; readonly done: (failed: boolean) => void }> =
    new Ring();

  constructor(services: Services) {
    this.#services = services;
  }

  /** At once when it is settled and nobody else waits. */
  when(ticket: Ticket, done: (failed: boolean) => void): void {
    const { core, parked } = this.#services;
    if (ticket <= core.settledTicket && this.#waiting.length === 0) {
      done(core.failedTickets.has(ticket));
      return;
    }
    this.#waiting.push({ ticket, done });
    parked.add(this);
  }

  messageSafe(): void {}

  releaseParked(): void {
    const { core, parked } = this.#services;
    for (let first = this.#waiting.at(0); first !== undefined; first = this.#waiting.at(0)) {
      if (first.ticket > core.settledTicket) return;
      this.#waiting.shift();
      first.done(core.failedTickets.has(first.ticket));
    }
    parked.delete(this);
  }
}
