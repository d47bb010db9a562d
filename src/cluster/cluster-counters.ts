/** What the cluster room counts, as plain integers that the metrics page reads. */
export interface ClusterCounters {
  /** Digests of a peer that did not match what is held of it (`route_drift_total`). */
  routeDrifts: number;
  /** Live publications that went with a link session (`peer_link_lost`). */
  linkLostMessages: number;
  /** Queued messages that were only in a Redis that came back empty (`redis_lost_messages_total`). */
  redisLostMessages: number;
  /** Sessions written again into such a Redis. */
  sessionsAsserted: number;
  /** Sessions that were asked of another live node. */
  takeovers: number;
  /** Sessions that end with their connection, opened while Redis was away. */
  openedWithoutRedis: number;
  /** Wills published for sessions nobody owned. */
  willsOfAbsent: number;
  /** Sessions found to be over while nobody owned them. */
  sessionsExpired: number;
  /** Retained changes refused because their version is too far ahead of this node's clock. */
  retainedSkewed: number;
  /** Tombstones of retained topics that went before their time. */
  tombstonesDropped: number;
  /** Times the lease of this node may have been over; it was buried in few of them. */
  timesFenced: number;
  /** Times this node was buried and joined anew. */
  timesLost: number;
}

export function newCounters(): ClusterCounters {
  return {
    routeDrifts: 0,
    linkLostMessages: 0,
    redisLostMessages: 0,
    sessionsAsserted: 0,
    takeovers: 0,
    openedWithoutRedis: 0,
    willsOfAbsent: 0,
    sessionsExpired: 0,
    retainedSkewed: 0,
    tombstonesDropped: 0,
    timesFenced: 0,
    timesLost: 0,
  };
}
