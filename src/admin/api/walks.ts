/**
 * Lists of any length as pages. A walk over a live table is kept open between the requests of its
 * pages, bounded in number and age; each request looks at a bounded number of entries in slices, with
 * the data plane's turns in between. Used by every list of the API.
 */
import { randomBytes } from 'node:crypto';
import type { Clock, Scheduler } from '../../core/ports.ts';
import { ApiError } from './api-error.ts';
import type { Call } from './call.ts';

/** Something to walk: `take` looks at up to `budget` entries and appends those that belong. */
export interface Source<T> {
  readonly done: boolean;
  take(budget: number, out: T[]): number;
}

export interface Page {
  readonly items: readonly unknown[];
  readonly cursor: string | null;
}

/** Entries looked at before others get their turn. */
const SLICE_ENTRIES = 256;
/** Entries one request looks at; a page may have fewer items than asked for, even none. */
const REQUEST_ENTRIES_MAX = 100_000;
/** Characters of items, about, after which a page ends: topics may be long. */
const PAGE_CHARACTERS_MAX = 1024 * 1024;
/** Walks open at one time: altogether, and of one token. */
const WALKS_MAX = 64;
const WALKS_PER_CALLER_MAX = 8;
/** A walk that nobody goes on with. */
const IDLE_MS_MAX = 60_000;
/** New entries may come faster than somebody reads: no walk is for ever. */
const AGE_MS_MAX = 15 * 60_000;
const PAGE_ITEMS = 100;

interface Walk {
  readonly id: string;
  readonly caller: string;
  readonly key: string;
  readonly source: Source<unknown>;
  readonly size: (item: unknown) => number;
  readonly show: (item: unknown) => unknown;
  readonly startedMs: number;
  usedMs: number;
  /** Found and not yet shown. */
  readonly found: unknown[];
  /** Number of the last page, and the page itself for who asks again. */
  pageNumber: number;
  page: Promise<Page>;
}

export class Walks {
  readonly #clock: Clock;
  readonly #scheduler: Pick<Scheduler, 'nextTurn'>;
  readonly #walks: Map<string, Walk> = new Map();

  constructor(clock: Clock, scheduler: Pick<Scheduler, 'nextTurn'>) {
    this.#clock = clock;
    this.#scheduler = scheduler;
  }

  /** Walks that wait for a request to go on. */
  get open(): number {
    return this.#walks.size;
  }

  /** A page of what `begin` finds, or of the walk that the request's cursor names. */
  async page<T>(
    call: Call,
    begin: () => Source<T>,
    show: (item: T) => unknown,
    size: (item: T) => number = () => 0,
  ): Promise<Page> {
    this.#sweep();
    const limit = call.number('limit') ?? PAGE_ITEMS;
    const cursor = call.text('cursor');
    if (cursor !== null) return this.#goOn(call, cursor, limit);
    const nowMs = this.#clock.monotonicMs();
    const walk: Walk = {
      id: randomBytes(9).toString('base64url'),
      caller: call.caller.name,
      key: call.listKey,
      source: begin(),
      size: size as Walk['size'],
      show: show as Walk['show'],
      startedMs: nowMs,
      usedMs: nowMs,
      found: [],
      pageNumber: 1,
      page: Promise.resolve({ items: [], cursor: null }),
    };
    walk.page = this.#next(walk, limit);
    return walk.page;
  }

  /** Takes up to `budget` entries of a source, in slices; returns how many it looked at. */
  async run<T>(source: Source<T>, entriesMax: number, each: (found: T[]) => void): Promise<number> {
    let looked = 0;
    const found: T[] = [];
    while (!source.done && looked < entriesMax) {
      if (looked > 0) await this.turn();
      looked += source.take(Math.min(SLICE_ENTRIES, entriesMax - looked), found);
      each(found);
      found.length = 0;
    }
    return looked;
  }

  /** Lets others have a turn. */
  turn(): Promise<void> {
    return new Promise((resolve) => this.#scheduler.nextTurn(resolve));
  }

  #goOn(call: Call, cursor: string, limit: number): Promise<Page> {
    const dot = cursor.indexOf('.');
    const walk = this.#walks.get(cursor.slice(0, dot));
    if (walk === undefined || walk.caller !== call.caller.name) {
      throw new ApiError(410, 'the cursor is no longer good; begin again without it');
    }
    if (walk.key !== call.listKey) {
      throw new ApiError(400, 'the cursor belongs to another request', [
        { field: 'cursor', message: 'belongs to a list with other filters' },
      ]);
    }
    walk.usedMs = this.#clock.monotonicMs();
    const number = cursor.slice(dot + 1);
    // Its answer may have been lost: the same cursor gives the same page again.
    if (number === String(walk.pageNumber - 1)) return walk.page;
    if (number !== String(walk.pageNumber)) {
      throw new ApiError(410, 'the cursor is no longer good; begin again without it');
    }
    walk.pageNumber++;
    // Two requests may come with one cursor before the page before it is complete.
    const before = walk.page;
    walk.page = before.then(() => this.#next(walk, limit));
    return walk.page;
  }

  async #next(walk: Walk, limit: number): Promise<Page> {
    const { source, found } = walk;
    let looked = 0;
    // One more than the page holds tells whether another page follows.
    while (!source.done && found.length <= limit && looked < REQUEST_ENTRIES_MAX) {
      if (looked > 0) await this.turn();
      looked += source.take(Math.min(SLICE_ENTRIES, REQUEST_ENTRIES_MAX - looked), found);
    }
    let count = 0;
    let characters = 0;
    while (count < found.length && count < limit && characters < PAGE_CHARACTERS_MAX) {
      characters += walk.size(found[count]);
      count++;
    }
    const items = found.splice(0, count).map(walk.show);
    const isLast = source.done && found.length === 0;
    // Kept also after the last page, for who asks for it again.
    if (!isLast || walk.pageNumber > 1) this.#keep(walk);
    return { items, cursor: isLast ? null : `${walk.id}.${walk.pageNumber}` };
  }

  #keep(walk: Walk): void {
    if (this.#walks.has(walk.id)) return;
    const ofCaller = [...this.#walks.values()].filter(({ caller }) => caller === walk.caller);
    if (ofCaller.length >= WALKS_PER_CALLER_MAX) this.#dropIdlest(ofCaller);
    else if (this.#walks.size >= WALKS_MAX) this.#dropIdlest([...this.#walks.values()]);
    this.#walks.set(walk.id, walk);
  }

  #dropIdlest(walks: readonly Walk[]): void {
    let idlest = walks[0]!;
    for (const walk of walks) if (walk.usedMs < idlest.usedMs) idlest = walk;
    this.#walks.delete(idlest.id);
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const walk of this.#walks.values()) {
      const isIdle = nowMs - walk.usedMs > IDLE_MS_MAX;
      if (isIdle || nowMs - walk.startedMs > AGE_MS_MAX) this.#walks.delete(walk.id);
    }
  }
}

/**
 * A source over an iterable. With `entriesMax` it ends there: tables keep the order in which entries
 * came, so as many entries as there were at the start include all that stayed, and entries that keep
 * coming cannot make the walk endless.
 */
export class IterableSource<T> implements Source<T> {
  readonly #iterator: Iterator<T>;
  readonly #belongs: ((item: T) => boolean) | null;
  #left: number;
  done = false;

  constructor(
    iterable: Iterable<T>,
    belongs: ((item: T) => boolean) | null = null,
    entriesMax: number = Number.POSITIVE_INFINITY,
  ) {
    this.#iterator = iterable[Symbol.iterator]();
    this.#belongs = belongs;
    this.#left = entriesMax;
  }

  take(budget: number, out: T[]): number {
    let looked = 0;
    while (looked < budget && !this.done) {
      if (this.#left === 0) {
        this.done = true;
        break;
      }
      const next = this.#iterator.next();
      if (next.done === true) {
        this.done = true;
        break;
      }
      looked++;
      this.#left--;
      if (this.#belongs === null || this.#belongs(next.value)) out.push(next.value);
    }
    return looked;
  }
}
