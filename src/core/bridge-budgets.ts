/**
 * Budgets of what waits for bridges to other brokers, by client identifier of their sessions here
 * (docs/adr/0022, Bridges). Every node of a datacenter has them, as every node fills the queues. Filled by
 * app/; a bridge (`geo/bridge`) holds its own while the other broker is away.
 */
import { bridgeIdOf, isBridgeId } from './bridge-names.ts';
import type { QueueBudget } from './queue-budget.ts';

export interface BridgeTerms {
  readonly name: string;
  readonly budgetAgeMs: number;
  readonly budgetBytes: number;
}

export class BridgeBudget implements QueueBudget {
  readonly reason = 'bridge_budget';
  readonly isDated = true;
  budgetAgeMs: number = Number.POSITIVE_INFINITY;
  budgetBytes: number = Number.POSITIVE_INFINITY;
  dropped = 0;
  #isHeld = false;
  readonly #released: () => void;

  constructor(released: () => void) {
    this.#released = released;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** From here on what comes waits in the queue, where the oldest can go. */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#released();
  }
}

export class BridgeBudgets {
  /** Also of bridges that are no more, until their sessions are: configurations have named them all. */
  readonly #budgets: Map<string, BridgeBudget> = new Map();
  /** Told that the queue of this client may go on. */
  onReleased: (clientId: string) => void = () => {};

  /** Null: it is no session of a bridge. */
  of(clientId: string): BridgeBudget | null {
    if (!isBridgeId(clientId)) return null;
    let budget = this.#budgets.get(clientId);
    if (budget === undefined) {
      budget = new BridgeBudget(() => this.onReleased(clientId));
      this.#budgets.set(clientId, budget);
    }
    return budget;
  }

  /** Also later, after a reload. */
  revise(bridges: readonly BridgeTerms[]): void {
    for (const { name, budgetAgeMs, budgetBytes } of bridges) {
      const budget = this.of(bridgeIdOf(name))!;
      budget.budgetAgeMs = budgetAgeMs;
      budget.budgetBytes = budgetBytes;
    }
  }
}
