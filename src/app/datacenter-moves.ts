/**
 * Moves of sessions between this datacenter and other regions (docs/adr/0023): while this node has the links,
 * it decides about them, with what the holder before has noted. Made by `region-sessions.ts`.
 */
import type { Broker } from '../core/broker.ts';
import type { HolderRoaming } from '../core/holder-roaming.ts';
import type { Log } from '../core/ports.ts';
import type { SharedRoaming } from '../core/shared-roaming.ts';
import type { NotedMoves } from '../geo/link-holder.ts';
import type { LinkNotes } from '../geo/link-notes.ts';
import { RegionMover } from '../geo/roaming/mover.ts';
import { RoamingCounters } from '../geo/roaming/roaming-counters.ts';
import type { RoamingEars, RoamingLinks } from '../geo/roaming/roaming-links.ts';
import { systemClock, systemRandom, systemScheduler } from '../listeners/scheduler.ts';

/** One stay of the role at this node. */
interface Term {
  readonly holder: HolderRoaming;
  readonly mover: RegionMover;
}

export class DatacenterMoves implements NotedMoves, RoamingEars {
  readonly counters: RoamingCounters = new RoamingCounters();
  readonly #broker: Broker;
  readonly #shared: SharedRoaming;
  readonly #log: Log;
  readonly #waitMs: number;
  readonly #ways: () => RoamingLinks;
  #term: Term | null = null;
  /** What this node knew when it had the role before: Redis may have lost what was noted. */
  #earlier: HolderRoaming | null = null;

  constructor(
    broker: Broker,
    shared: SharedRoaming,
    ways: () => RoamingLinks,
    waitMs: number,
    log: Log,
  ) {
    this.#broker = broker;
    this.#shared = shared;
    this.#ways = ways;
    this.#waitMs = waitMs;
    this.#log = log;
  }

  get moving(): number {
    return this.#term?.mover.moving ?? 0;
  }

  begin(notes: LinkNotes): void {
    this.end();
    const broker = this.#broker;
    const holder = broker.holdRoaming(notes);
    const links = this.#ways();
    holder.regions = () => links.regions();
    const mover = new RegionMover({
      roaming: holder,
      links,
      clock: systemClock,
      random: systemRandom,
      scheduler: systemScheduler,
      log: this.#log,
      waitMs: this.#waitMs,
      counters: this.counters,
    });
    holder.mover = mover;
    this.#term = { holder, mover };
  }

  restore(key: string, value: Buffer): boolean {
    return this.#term?.holder.restore(key, value) === true;
  }

  resume(isEmptied: boolean): void {
    const term = this.#term;
    if (term === null) return;
    const { holder, mover } = term;
    if (isEmptied && this.#earlier !== null) holder.recover(this.#earlier);
    this.#earlier = holder;
    holder.resume();
    mover.start();
  }

  end(): void {
    const term = this.#term;
    if (term === null) return;
    this.#term = null;
    term.mover.stop();
    term.holder.close();
  }

  stop(): void {
    this.end();
    this.#shared.stop();
  }

  // ------------------------------------------------------------------ RoamingEars

  answered(region: string, payload: Buffer): void {
    this.#term?.mover.answered(region, payload);
  }

  moved(...heard: Parameters<RoamingEars['moved']>): void {
    const [, , , done] = heard;
    if (this.#term === null) done(false);
    else this.#term.mover.moved(...heard);
  }

  missed(region: string): void {
    this.#term?.mover.missed(region);
  }
}
