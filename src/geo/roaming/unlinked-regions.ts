/**
 * Regions that this one has heard of and has no link to, where sessions roam: they have to be linked each with
 * each (docs/guides/roaming.md), and nobody knows from one configuration alone. Used by link-holder.ts.
 */
import type { Clock, Log } from '../../core/ports.ts';

/** An operator who looks at today's log finds it. */
const LOG_EVERY_MS = 3_600_000;

export class UnlinkedRegions {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #isLinked: (region: string) => boolean;
  /** Monotonic ms at which it was logged. */
  readonly #seen: Map<string, number> = new Map();

  constructor(clock: Clock, log: Log, isLinked: (region: string) => boolean) {
    this.#clock = clock;
    this.#log = log;
    this.#isLinked = isLinked;
  }

  /** A message came from there by way of another region, or a session is there. */
  heard(region: string): void {
    if (this.#isLinked(region)) return;
    const nowMs = this.#clock.monotonicMs();
    const loggedMs = this.#seen.get(region);
    if (loggedMs !== undefined && nowMs - loggedMs < LOG_EVERY_MS) return;
    this.#seen.set(region, nowMs);
    this.#log.warn(
      { region },
      'sessions roam, and there is no link to that region: what it publishes for them comes twice or is lost; ' +
        'link each two regions in both directions (regions.links, regions.accept), or switch regions.roaming off',
    );
  }

  /** By name; without those that have got a link since. */
  get names(): readonly string[] {
    return [...this.#seen.keys()].filter((region) => !this.#isLinked(region)).sort();
  }
}
