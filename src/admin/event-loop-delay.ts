/**
 * How late the event loop is, as a Prometheus histogram. Node samples it natively; the samples are
 * never reset, as a reset loses the one in progress, which may be the stall that matters.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';

type DelayHistogram = ReturnType<typeof monitorEventLoopDelay>;

export const LOOP_DELAY_NAME = 'causeway_event_loop_delay_seconds';
export const LOOP_DELAY_HELP =
  'How late the event loop was, sampled fifty times a second; a stall counts once.';

const RESOLUTION_MS = 20;
const NANOSECONDS = 1e9;
const BUCKETS_SECONDS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
];

export interface HistogramValues {
  readonly buckets: readonly (readonly [leSeconds: number, count: number])[];
  readonly count: number;
  readonly sumSeconds: number;
}

export class EventLoopDelay {
  readonly #histogram: DelayHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  start(): void {
    this.#histogram.enable();
  }

  stop(): void {
    this.#histogram.disable();
  }

  read(): HistogramValues {
    const histogram = this.#histogram;
    const { count } = histogram;
    if (count === 0) {
      return { buckets: BUCKETS_SECONDS.map((le) => [le, 0]), count, sumSeconds: 0 };
    }
    // A sample is the time between two ticks: what is over the resolution is delay.
    const intervalSeconds = RESOLUTION_MS / 1000;
    const buckets = BUCKETS_SECONDS.map(
      (le) => [le, countUpTo(histogram, (le + intervalSeconds) * NANOSECONDS)] as const,
    );
    const sumSeconds = (histogram.mean / NANOSECONDS - intervalSeconds) * count;
    return { buckets, count, sumSeconds: Math.max(0, sumSeconds) };
  }
}

/** How many samples are at most `ns`: the rank is found by asking for the percentile of ranks. */
function countUpTo(histogram: DelayHistogram, ns: number): number {
  const { count } = histogram;
  let low = 0;
  let high = count;
  while (low < high) {
    const rank = Math.ceil((low + high) / 2);
    if (histogram.percentile((100 * rank) / count) <= ns) low = rank;
    else high = rank - 1;
  }
  return low;
}
