/**
 * What may wait in the queue of a session that is no client's: of a link to another region
 * (region-links.ts), of a bridge to another broker (bridge-budgets.ts). Held by the session, applied by
 * queue-bounds.ts instead of the limits of all sessions: what is too old or too much goes, oldest first.
 */
import type { DropReason } from './drop-reason.ts';

export interface QueueBudget {
  /** The name of what is dropped over it. */
  readonly reason: DropReason;
  readonly budgetAgeMs: number;
  readonly budgetBytes: number;
  /** Its messages do not say when they were published: its entries say when they were queued. */
  readonly isDated: boolean;
  /** Nothing new is handed out for now: it waits, within the budget. */
  readonly isHeld: boolean;
  /** Messages dropped over it. */
  dropped: number;
}
