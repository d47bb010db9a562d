/** What store and reconciler of retained messages count; read by the metrics page. */
export class CassandraCounters {
  /** Writes handed to the table. */
  writes = 0;
  /** Changes that a later one of the same topic has taken the place of before they were written. */
  coalesced = 0;
  failures = 0;
  /** Changes that Cassandra will never take. */
  rejected = 0;
  /** Acks that left for mirrors alone, as Cassandra did not answer. */
  kept = 0;
  rounds = 0;
  rowsRead = 0;
  /** Taken over from Cassandra. */
  takenOver = 0;
  /** Written to Cassandra again. */
  rewritten = 0;
  /** Removed from the mirror: cleared so long ago that Cassandra has forgotten it. */
  forgotten = 0;
  /** Rows removed from Cassandra whose message had expired. */
  expired = 0;
  /** Rows that could not be read. */
  damaged = 0;
  /** Of the round under way, 0 to 1; 1: none is. */
  progress = 1;
}
