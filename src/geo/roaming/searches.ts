/**
 * Where the session is of a client whose home no row names (docs/adr/0023): asked of all regions before one begins
 * anew, and by a home that nobody knows any more. Used by mover.ts.
 */
import type { Clock } from '../../core/ports.ts';
import type { SessionDirectory } from '../../core/session-directory.ts';
import type { Answer, Ask } from './frame.ts';
import type { RoamingLinks } from './roaming-links.ts';

export interface SearchParts {
  /** This region. */
  readonly own: string;
  readonly directory: SessionDirectory;
  readonly links: RoamingLinks;
  readonly clock: Clock;
  /** An answer is waited for so long. */
  readonly waitMs: number;
  /** '': the link is down. */
  readonly ask: (region: string, ask: Omit<Ask, 'n'>, taken: (answer: Answer) => void) => string;
  /** Nobody waits for that answer any more. */
  readonly giveUp: (n: string) => void;
}

/** `isSure`: every region with a link has said whether it has it. */
export type Located = (home: string | null, epoch: number, isSure: boolean) => void;

interface Search {
  readonly clientId: string;
  /** Of the CONNECT that waits. */
  readonly epoch: number;
  readonly untilMs: number;
  /** Regions that are waited for, and when they are to be asked again. */
  readonly open: Map<string, number>;
  /** What was asked of them. */
  readonly asked: string[];
  /** Regions that have not said. */
  readonly unheard: Set<string>;
  home: string | null;
  homeEpoch: number;
  readonly done: Located;
}

const AGAIN_MS = 15;
/** Who did not answer in time, as one that knows of no moves, is asked, but not waited for, for so long. */
const QUIET_MS = 10_000;

export class Searches {
  readonly #parts: SearchParts;
  readonly #searches: Set<Search> = new Set();
  /** Until when. */
  readonly #quiet: Map<string, number> = new Map();

  constructor(parts: SearchParts) {
    this.#parts = parts;
  }

  begin(clientId: string, epoch: number, done: Located): void {
    const { links, clock, waitMs } = this.#parts;
    const nowMs = clock.monotonicMs();
    const search: Search = {
      ...{ clientId, epoch, untilMs: nowMs + waitMs, open: new Map(), asked: [] },
      ...{ unheard: new Set(links.regions()), home: null, homeEpoch: 0, done },
    };
    for (const region of search.unheard) {
      this.#ask(search, region);
      if (nowMs < (this.#quiet.get(region) ?? 0)) search.open.delete(region);
    }
    this.#searches.add(search);
  }

  /** That region says something. */
  heard(region: string): void {
    this.#quiet.delete(region);
  }

  #ask(search: Search, region: string): void {
    const { clientId: client, epoch } = search;
    const ask = { kind: 'where', client, epoch } as const;
    const n = this.#parts.ask(region, ask, (answer) => this.#answered(search, region, answer));
    if (n === '') {
      search.open.delete(region);
      return;
    }
    search.asked.push(n);
    search.open.set(region, Number.POSITIVE_INFINITY);
  }

  #answered(search: Search, region: string, { kind, to, epoch = 0 }: Answer): void {
    const { own, directory, clock } = this.#parts;
    if (kind === 'wait') {
      // An earlier CONNECT is under way there.
      search.open.set(region, clock.monotonicMs() + AGAIN_MS);
      return;
    }
    search.open.delete(region);
    search.unheard.delete(region);
    if (kind !== 'moved' || to === undefined || to === own) return;
    if (search.home !== null && epoch <= search.homeEpoch) return;
    search.home = to;
    search.homeEpoch = epoch;
    directory.observe(epoch);
  }

  tick(nowMs: number): void {
    for (const search of [...this.#searches]) {
      this.#look(search, nowMs);
      if (search.open.size > 0 && nowMs < search.untilMs) continue;
      this.#searches.delete(search);
      for (const n of search.asked) this.#parts.giveUp(n);
      for (const [region, dueMs] of search.open) {
        if (dueMs === Number.POSITIVE_INFINITY) this.#quiet.set(region, nowMs + QUIET_MS);
      }
      search.done(search.home, search.homeEpoch, search.unheard.size === 0);
    }
  }

  #look(search: Search, nowMs: number): void {
    for (const [region, dueMs] of search.open) {
      if (nowMs >= dueMs) this.#ask(search, region);
      else if (!this.#parts.links.isUp(region)) search.open.delete(region);
    }
  }
}
