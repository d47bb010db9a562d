/**
 * Tickets of writes that are answered in any order, reported in the order they were given: a ticket is
 * due when all before it are. Reports of one turn become one, as every report wakes all who wait.
 */
import type { Scheduler, Ticket } from '../../core/ports.ts';
import { Ring } from '../../util/ring.ts';

interface Outcome {
  isKnown: boolean;
  error: Error | null;
}

export class TicketLine {
  readonly #scheduler: Scheduler;
  readonly #report: (ticket: Ticket, error: Error | null) => void;
  /** Of tickets from `#first` on. */
  readonly #outcomes: Ring<Outcome> = new Ring();
  #first: Ticket = 1;
  #isScheduled = false;

  constructor(scheduler: Scheduler, report: (ticket: Ticket, error: Error | null) => void) {
    this.#scheduler = scheduler;
    this.#report = report;
  }

  /** Tickets nobody has heard of yet. */
  get waiting(): number {
    return this.#outcomes.length;
  }

  take(): Ticket {
    this.#outcomes.push({ isKnown: false, error: null });
    return this.#first + this.#outcomes.length - 1;
  }

  settle(ticket: Ticket, error: Error | null): void {
    const outcome = this.#outcomes.at(ticket - this.#first);
    if (ticket < this.#first || outcome === undefined) return;
    outcome.isKnown = true;
    outcome.error = error;
    if (ticket !== this.#first || this.#isScheduled) return;
    this.#isScheduled = true;
    this.#scheduler.endOfTurn(() => this.#advance());
  }

  #advance(): void {
    this.#isScheduled = false;
    let done: Ticket = 0;
    while (this.#outcomes.at(0)?.isKnown === true) {
      const { error } = this.#outcomes.shift()!;
      const ticket = this.#first++;
      if (error === null) {
        done = ticket;
        continue;
      }
      // Those before it have not failed: they are told apart from it.
      if (done > 0) this.#report(done, null);
      done = 0;
      this.#report(ticket, error);
    }
    if (done > 0) this.#report(done, null);
  }
}
