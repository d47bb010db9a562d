/**
 * Bridges to other brokers as an operator sees them: what API and metrics are told. Filled by the
 * composition root; plain data without secrets.
 */

export interface BridgeReport {
  readonly name: string;
  /** Without user and password. */
  readonly url: string;
  readonly isUp: boolean;
  /** Why not; '': it is. */
  readonly problem: string;
  /** Wall-clock ms; 0: it is down. */
  readonly upSinceMs: number;
  /** Messages that wait for the other broker, or for its acknowledgement, and their bytes. */
  readonly queuedMessages: number;
  readonly queuedBytes: number;
  /** Bytes that may wait. */
  readonly budgetBytes: number;
  /** Messages this node has dropped over the budget, by bytes or by age. */
  readonly overBudget: number;
  readonly refusedFilters: number;
  readonly connects: number;
  readonly failures: number;
  readonly received: number;
  readonly receivedBytes: number;
  readonly sent: number;
  readonly sentBytes: number;
  readonly echoes: number;
  readonly refusedIn: number;
  readonly refusedOut: number;
  readonly dropped: number;
  readonly gaps: number;
}

export interface BridgesReport {
  /** This node has the bridges. */
  readonly isHolder: boolean;
  readonly bridges: readonly BridgeReport[];
}

export interface BridgesView {
  report(): BridgesReport;
}
