/**
 * Links to other regions as an operator sees them: what API and metrics are told (docs/adr/0022). Filled by
 * the composition root; plain data without secrets, and no view at all where there are no regions.
 */

/** A link of this region to another: what is fetched from there. */
export interface LinkReport {
  readonly region: string;
  /** Without user and password. */
  readonly url: string;
  readonly isUp: boolean;
  /** Why not; '': it is. */
  readonly problem: string;
  /** Wall-clock ms; 0: it is down. */
  readonly upSinceMs: number;
  /** Filters the other region serves. */
  readonly subscriptions: number;
  /** Filters it has refused. */
  readonly refusedFilters: number;
  readonly connects: number;
  readonly failures: number;
  readonly received: number;
  readonly receivedBytes: number;
  readonly duplicates: number;
  readonly deferred: number;
  readonly loops: number;
  readonly refused: number;
  readonly malformed: number;
  readonly failed: number;
  readonly gaps: number;
  readonly lagMs: number;
}

/** Another region that fetches from here. */
export interface FetcherReport {
  readonly region: string;
  readonly isConnected: boolean;
  readonly subscriptions: number;
  readonly queuedMessages: number;
  readonly queuedBytes: number;
  readonly budgetBytes: number;
  readonly handed: number;
  readonly returned: number;
  readonly withheld: number;
  readonly dropped: number;
}

export interface LinksReport {
  /** This one. */
  readonly region: string;
  /** This node has the links of its region. */
  readonly isHolder: boolean;
  readonly links: readonly LinkReport[];
  /** Sessions roam, and these regions are heard of without a link to them. */
  readonly unlinked: readonly string[];
  readonly fetchers: readonly FetcherReport[];
  /** Messages of other regions that are not safe here yet. */
  readonly waiting: number;
  readonly windowPages: number;
  readonly windowOverflows: number;
  readonly refusedConnects: number;
}

export interface LinksView {
  report(): LinksReport;
}
