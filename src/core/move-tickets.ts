/**
 * Tickets for what a datacenter does to sessions that move (docs/adr/0023): nodes are waited for, Redis, and
 * notes, in any order. Used by `holder-roaming.ts`; those of the store are others.
 */
import type { Ticket } from './ports.ts';

/** Failures that are remembered for who asks late. */
const FAILED_MAX = 10_000;

export class MoveTickets {
  readonly #open: Map<Ticket, ((failed: boolean) => void)[]> = new Map();
  readonly #failed: Set<Ticket> = new Set();
  #next: Ticket = 1;

  open(): Ticket {
    const ticket = this.#next++;
    this.#open.set(ticket, []);
    return ticket;
  }

  settle(ticket: Ticket, failed: boolean): void {
    const waiting = this.#open.get(ticket) ?? [];
    this.#open.delete(ticket);
    if (this.#failed.size >= FAILED_MAX) this.#failed.clear();
    if (failed) this.#failed.add(ticket);
    for (const done of waiting) done(failed);
  }

  /** At once when it is settled, as 0 always is. */
  when(ticket: Ticket, done: (failed: boolean) => void): void {
    const waiting = this.#open.get(ticket);
    if (waiting === undefined) done(this.#failed.has(ticket));
    else waiting.push(done);
  }

  /** One that is settled when both are. */
  both(first: Ticket, second: Ticket): Ticket {
    const ticket = this.open();
    this.when(first, (isLost) =>
      this.when(second, (failed) => this.settle(ticket, isLost || failed)),
    );
    return ticket;
  }

  failAll(): void {
    for (const ticket of [...this.#open.keys()]) this.settle(ticket, true);
  }
}
