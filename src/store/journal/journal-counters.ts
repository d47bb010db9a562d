/** What the journal has done, as plain integers the metrics page reads. They only rise. */
export class JournalCounters {
  /** Appends of this node that were acknowledged because the journal had them. */
  journaled = 0;
  /** Appends of an earlier life, or of a dead node, that were handed to Redis. */
  replayed = 0;
  /** Copies kept for other nodes. */
  copied = 0;
  /** Appends there was no room for. */
  full = 0;
  /** Records that could not be decoded. */
  damaged = 0;
}
