/** What has become of sessions that move between regions, since the start: for metrics. */
export class RoamingCounters {
  /** Taken over from another region that let go of them. */
  arrived = 0;
  /** Served from the directory, as their home did not answer in time. */
  servedAway = 0;
  /** Given to another region as a whole, and forgotten here. */
  left = 0;
  /** Messages handed to other regions, repeated ones too. */
  handedOver = 0;
  /** Messages taken from other regions. */
  takenIn = 0;
  /** Sessions whose client has begun anew in another region. */
  endedElsewhere = 0;
  /** Times a move had to give up the order of what was published meanwhile. */
  orderGivenUp = 0;
}
