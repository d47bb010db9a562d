/**
 * What the connection to Redis counts: plain integers that the metrics page reads.
 */

export interface RedisCounters {
  calls: number;
  /** Writes to sockets that held commands, and their replies all came. */
  batches: number;
  notDone: number;
  unknown: number;
  refused: number;
  /** Connections that were made, the first ones included. */
  connects: number;
  /** Attempts that failed and connections that were lost. */
  losses: number;
  /** Breakers that opened. */
  trips: number;
  /** Calls sent again after NOSCRIPT, MOVED, ASK, TRYAGAIN. */
  repeats: number;
  /** Batches that too few replicas had in time. */
  waitsShort: number;
  /** Batches by round trip: at most ROUND_TRIP_MS[i], the last beyond all. */
  readonly roundTrips: number[];
  roundTripSumMs: number;
}

/** Upper ends of the buckets. */
export const ROUND_TRIP_MS: readonly number[] = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500,
];

export function newRedisCounters(): RedisCounters {
  return {
    calls: 0,
    batches: 0,
    notDone: 0,
    unknown: 0,
    refused: 0,
    connects: 0,
    losses: 0,
    trips: 0,
    repeats: 0,
    waitsShort: 0,
    roundTrips: new Array(ROUND_TRIP_MS.length + 1).fill(0),
    roundTripSumMs: 0,
  };
}

export function countRoundTrip(counters: RedisCounters, ms: number): void {
  let bucket = 0;
  while (bucket < ROUND_TRIP_MS.length && ms > ROUND_TRIP_MS[bucket]!) bucket += 1;
  counters.roundTrips[bucket]! += 1;
  counters.roundTripSumMs += ms;
  counters.batches += 1;
}
