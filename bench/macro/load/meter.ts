// What one load process counts, and the clock it stamps messages with: microseconds since an epoch
// the harness chose, on the monotonic clock all processes of a machine share. Every client of the
// process adds to the same meter.

import { Histogram } from '../histogram.ts';

export class Meter {
  received = 0;
  /** Last time anything was received. */
  lastReceivedUs = 0;
  sent = 0;
  acked = 0;
  firstSentUs = 0;
  /** Connections that ended without being asked to, by what was seen. */
  readonly closed: Map<string, number> = new Map();
  /** Time from a PUBLISH leaving the publisher to its reading at the subscriber. */
  readonly latency: Histogram = new Histogram();
  /** Time from a PUBLISH leaving to its final ack (QoS > 0). */
  readonly ackLatency: Histogram = new Histogram();
  /** How late the generator itself was against its timetable (fixed rate only). */
  readonly lateness: Histogram = new Histogram();
  readonly #offsetUs: number;

  constructor(epochUs: number) {
    const monotonicUs = Number(process.hrtime.bigint()) / 1000;
    this.#offsetUs = monotonicUs - performance.now() * 1000 - epochUs;
  }

  /** Whole microseconds since the epoch; fits 31 bits for 35 minutes. */
  nowUs(): number {
    return (performance.now() * 1000 + this.#offsetUs) | 0;
  }

  noteClosed(reason: string): void {
    this.closed.set(reason, (this.closed.get(reason) ?? 0) + 1);
  }

  clear(): void {
    this.received = 0;
    this.lastReceivedUs = 0;
    this.sent = 0;
    this.acked = 0;
    this.firstSentUs = 0;
    this.latency.clear();
    this.ackLatency.clear();
    this.lateness.clear();
  }
}
