/** What the directory of sessions counts; read by the metrics page. */
export class DirectoryCounters {
  /** Writes and removals handed to the table. */
  writes = 0;
  /** Changes that were written with a later one of the same session. */
  coalesced = 0;
  /** Writes, removals and reads that failed; all but reads at a CONNECT are repeated. */
  failures = 0;
  /** Changes that Cassandra will never take. */
  rejected = 0;
  /** Ends of sessions that were not written, as too many waited. */
  dropped = 0;
  /** Answers to SUBSCRIBE and UNSUBSCRIBE that were sent before the table had what they are about. */
  late = 0;
  /** CONNECTs that asked for a session elsewhere. */
  lookups = 0;
  /** Of those, the ones that found one. */
  found = 0;
  /** Of those, the ones that nobody answered in time: they began without a session. */
  unanswered = 0;
}
