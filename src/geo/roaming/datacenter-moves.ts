/**
 * Moves of sessions between this datacenter and other regions (docs/adr/0023): while this node has the links,
 * it decides about them, with what the holder before has noted. Made by `app/region-sessions.ts`.
 */
import type { Broker } from '../../core/broker.ts';
import type { HolderRoaming } from '../../core/holder-roaming.ts';
import type { Clock, Log, Random, Scheduler } from '../../core/ports.ts';
import type { NotedMoves } from '../link-holder.ts';
import type { LinkNotes } from '../link-notes.ts';
import { RegionMover } from './mover.ts';
import { RoamingCounters } from './roaming-counters.ts';
import type { RoamingEars, RoamingLinks } from './roaming-links.ts';

export interface DatacenterMovesParts {
  readonly broker: Broker;
  /** Asked at each stay of the role. */
  readonly ways: () => RoamingLinks;
  /** A CONNECT waits so long for the home of its session. */
  readonly waitMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly log: Log;
}

/** One stay of the role at this node. */
interface Term {
  readonly holder: HolderRoaming;
  readonly mover: RegionMover;
}

export class DatacenterMoves implements NotedMoves, RoamingEars {
  readonly counters: RoamingCounters = new RoamingCounters();
  readonly #parts: DatacenterMovesParts;
  #term: Term | null = null;
  /** What this node knew when it had the role before: Redis may have lost what was noted. */
  #earlier: HolderRoaming | null = null;

  constructor(parts: DatacenterMovesParts) {
    this.#parts = parts;
  }

  get moving(): number {
    return this.#term?.mover.moving ?? 0;
  }

  begin(notes: LinkNotes): void {
    this.end();
    const { broker, ways, waitMs, clock, random, scheduler, log } = this.#parts;
    const holder = broker.holdRoaming(notes);
    const links = ways();
    holder.regions = () => links.regions();
    const mover = new RegionMover({
      ...{ roaming: holder, links, clock, random, scheduler, log, waitMs },
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
    this.#parts.broker.sharedRoaming?.stop();
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
