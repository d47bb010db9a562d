/**
 * A PUBREC that its connection did not live to send: when the PUBLISH comes again, the session must
 * know whether the first one was kept. Made by closing connections, read by the PUBLISH handler; it
 * holds on to the message no longer than its fate is open.
 */
import type { Awaited } from './awaited.ts';
import type { MessageWaiter } from './message.ts';
import type { Ticket } from './ports.ts';

export class UnansweredPubrec implements MessageWaiter {
  readonly reasonCode: number;
  readonly ticket: Ticket;
  /** Null once everybody it is for has it, or could not get it. */
  message: Awaited | null;
  failed: boolean;

  constructor(reasonCode: number, ticket: Ticket, message: Awaited | null) {
    this.reasonCode = reasonCode;
    this.ticket = ticket;
    this.message = message !== null && message.unsafeCount > 0 ? message : null;
    this.failed = message?.failed === true;
    if (this.message !== null) this.message.waiter = this;
  }

  messageSafe(): void {
    this.failed = this.message?.failed === true;
    this.message = null;
  }
}
