/**
 * Versions of retained changes at a node alone that has links to other regions and no record they share
 * (docs/adr/0021, 0022): the origin gives one, it travels on all ways, and the newest wins everywhere. What
 * was cleared is remembered for as long as something older may be on its way. Used by publisher.ts and
 * retained-view.ts (data plane). In a datacenter `cluster/retained-sync.ts` does this.
 */

import { CLOCK_SKEW_MS } from '../util/clock-skew.ts';
import { HybridClock } from '../util/hybrid-clock.ts';
import type { Clock } from './ports.ts';
import type { RegionLinks } from './region-links.ts';
import { CLEARED, type RetainedVerdict, type RetainedVersion } from './retained-version.ts';
import { Tombstones } from './tombstones.ts';

const TOMBSTONES_MAX = 100_000;

export class RetainedStamps {
  readonly #clock: Clock;
  readonly #hybridClock: HybridClock;
  readonly #writer: number;
  readonly #tombstones: Tombstones;

  /** `forget`: the tombstone of the topic is over, in the store, too. */
  constructor(clock: Clock, links: RegionLinks, forget: (topic: string) => void) {
    this.#clock = clock;
    this.#hybridClock = new HybridClock(() => clock.wallMs(), CLOCK_SKEW_MS);
    this.#writer = links.writer;
    this.#tombstones = new Tombstones(() => links.tombstoneMs, TOMBSTONES_MAX, forget);
  }

  get tombstones(): number {
    return this.#tombstones.size;
  }

  /** Of a change made here: above what it replaces, whatever clocks say. */
  next(topic: string, replaces: RetainedVersion | null, isClear: boolean): RetainedVersion {
    const cleared = this.#tombstones.versionOf(topic);
    const aboveUs = Math.max(replaces?.timeUs ?? 0, cleared?.timeUs ?? 0);
    let timeUs = this.#hybridClock.nextUs();
    if (timeUs <= aboveUs) {
      timeUs = aboveUs + 1;
      this.#hybridClock.observe(timeUs);
    }
    return { timeUs, writer: this.#writer + (isClear ? CLEARED : 0) };
  }

  /** Of a change made elsewhere: what this node has cleared since, and clocks that are wrong. */
  judge(topic: string, version: RetainedVersion): RetainedVerdict {
    if (this.#hybridClock.observe(version.timeUs) !== 'observed') return 'clock_skew';
    return this.#tombstones.isOver(topic, version) ? 'older' : 'taken';
  }

  /** The topic has a message now. */
  put(topic: string): void {
    this.#tombstones.remove(topic);
  }

  /** Nothing of the topic up to that version comes back: it was cleared, or has expired. */
  bury(topic: string, version: RetainedVersion): void {
    this.#hybridClock.observe(version.timeUs);
    this.#tombstones.put(topic, version, this.#clock.monotonicMs());
  }

  /** Found at start. */
  restored(version: RetainedVersion): void {
    this.#hybridClock.observe(version.timeUs);
  }

  /** What the topic was cleared by; null: nobody remembers that it was. */
  clearedAt(topic: string): RetainedVersion | null {
    return this.#tombstones.versionOf(topic);
  }

  sweep(): void {
    this.#tombstones.expire(this.#clock.monotonicMs());
  }
}
