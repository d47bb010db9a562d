/**
 * The directory of sessions, and what is moved by it, as an operator sees them (docs/adr/0023). Filled by the
 * composition root; no view where sessions are not listed.
 */

/** All only rise. */
export interface DirectoryCounts {
  readonly writes: number;
  readonly coalesced: number;
  readonly failures: number;
  readonly rejected: number;
  readonly dropped: number;
  readonly late: number;
  readonly lookups: number;
  readonly found: number;
  readonly unanswered: number;
}

/** All only rise. */
export interface MoveCounts {
  readonly arrived: number;
  readonly servedAway: number;
  readonly left: number;
  readonly endedElsewhere: number;
  readonly handedOver: number;
  readonly takenIn: number;
  readonly orderGivenUp: number;
}

/** Sessions that go from region to region. */
export interface MovesView {
  /** A live object: read when it is shown. */
  readonly counters: MoveCounts;
  /** Places that still have something of a session which is here. */
  readonly moving: number;
}

export interface DirectoryView {
  /** A live object: read when it is shown. */
  readonly counters: DirectoryCounts;
  /** Sessions that Cassandra does not have as they are. */
  readonly waiting: number;
  /** Null: sessions stay in their region. */
  readonly moves: MovesView | null;
}
