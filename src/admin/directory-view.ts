/**
 * The directory of sessions as an operator sees it (docs/adr/0023). Filled by the composition root; no view
 * where sessions do not roam.
 */

/** All only rise. */
export interface DirectoryCounts {
  readonly writes: number;
  readonly coalesced: number;
  readonly failures: number;
  readonly rejected: number;
  readonly dropped: number;
  readonly lookups: number;
  readonly found: number;
  readonly unanswered: number;
}

export interface DirectoryView {
  /** A live object: read when it is shown. */
  readonly counters: DirectoryCounts;
  /** Sessions that Cassandra does not have as they are. */
  readonly waiting: number;
}
