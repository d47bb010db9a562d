/** Counters of one link, plain numbers; read by metrics, API and CLI. */

export class LinkCounters {
  connects = 0;
  /** Connections lost, and attempts that failed. */
  failures = 0;
  /** Messages taken, and their payload. */
  received = 0;
  receivedBytes = 0;
  /** Came a second time, over this or another way. */
  duplicates = 0;
  /** Had been in this region before. */
  loops = 0;
  /** Of a third region whose own link brings them; sessions roam. */
  deferred = 0;
  /** Of topics that the link may not bring. */
  refused = 0;
  /** Without a name, or with one that cannot be read. */
  malformed = 0;
  /** Could not be stored: the connection was ended so that they come again. */
  failed = 0;
  /** Times the other region no longer had the session that it should have. */
  gaps = 0;
  /** Of a message that came lately: wall-clock ms from its publication to here. */
  lagMs = 0;
}
