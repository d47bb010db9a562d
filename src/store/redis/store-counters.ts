/** What the shared store has done, as plain integers the metrics page reads. They only rise. */
export class StoreCounters {
  /** Calls of `session_append` that were answered. */
  appendCalls = 0;
  /** Messages that are in a queue because of this node. */
  appends = 0;
  /** Repeated appends the queue had already. */
  dedupes = 0;
  /** Written again after another server had taken over. */
  rewrites = 0;
  /** Messages there was no room for, and older ones that went. */
  refused = 0;
  dropped = 0;
  /** Messages whose session was no more. */
  gone = 0;
  /** Messages given up: too many waited, or Redis would not have them. */
  failed = 0;
  settleCalls = 0;
  /** Positions that were settled, and those Redis knows of; the difference is the lag. */
  settled = 0;
  settleConfirmed = 0;
  reads = 0;
  entriesRead = 0;
  /** Sessions another node has taken. */
  fenced = 0;
  /** Values that could not be decoded. */
  quarantined = 0;
  /** Values a newer release wrote. */
  unreadable = 0;
  /** Calls made again because the answer to them was lost, or Redis would not. */
  retries = 0;
}
