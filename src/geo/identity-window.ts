/**
 * Which messages of other regions have been here, so that each is taken once however many ways lead here
 * (docs/adr/0022): one bit for each number of each source, in pages that are kept with the commit of the
 * message itself. Used by `region-link.ts`; all links of a region share one.
 */
import type { Clock, Ticket } from '../core/ports.ts';

/** Keeps something with the next commit of this node's store. */
export interface NoteKeeper {
  /** Null: no longer. The value is read when the commit begins. */
  putNote(key: string, value: Buffer | null): Ticket;
}

export const NEW = -1;
/** It is here for the first time, and not safe yet. */
export const PENDING = -2;

const PAGE_NUMBERS = 1024;
const BITS_BYTES = PAGE_NUMBERS / 8;
/** When it was last written to, wall-clock ms, in 48 bits behind the bits. */
const PAGE_BYTES = BITS_BYTES + 6;
const KEY_PREFIX = 'w/';
/** Each stands for up to 1024 messages; 60 MB of memory. */
const PAGES_MAX = 250_000;

class Page {
  /** Of its note. */
  readonly key: string;
  readonly bytes: Buffer;
  /** Of the commit that has, or will have, all that is in it; 0: durable. */
  ticket: Ticket = 0;
  /** Something of it is to be kept: not only QoS 0. */
  isKept = false;

  constructor(key: string, bytes: Buffer) {
    this.key = key;
    this.bytes = bytes;
  }

  /** False: it had all of that. */
  add(other: Buffer): boolean {
    let isChanged = false;
    for (let i = 0; i < BITS_BYTES; i++) {
      const bits = this.bytes[i]! | other[i]!;
      isChanged ||= bits !== this.bytes[i];
      this.bytes[i] = bits;
    }
    this.lastMs = Math.max(this.lastMs, other.readUIntBE(BITS_BYTES, 6));
    return isChanged;
  }

  get lastMs(): number {
    return this.bytes.readUIntBE(BITS_BYTES, 6);
  }

  set lastMs(ms: number) {
    this.bytes.writeUIntBE(ms, BITS_BYTES, 6);
  }
}

export class IdentityWindow {
  readonly #notes: NoteKeeper;
  readonly #clock: Clock;
  /** By key of their note, oldest first. */
  readonly #pages: Map<string, Page> = new Map();
  /** Begun and not ended; with whoever waits for that. */
  readonly #pending: Map<string, ((failed: boolean) => void)[]> = new Map();
  /** Of the last look: numbers of one source follow each other. */
  #lastSource = '';
  #lastIndex = -1;
  #last: Page | null = null;
  /** Pages forgotten before their time, as there were too many. */
  overflows = 0;

  constructor(notes: NoteKeeper, clock: Clock) {
    this.#notes = notes;
    this.#clock = clock;
  }

  get pages(): number {
    return this.#pages.size;
  }

  /** A note of an earlier life; false: it is none of this window's. */
  restore(key: string, value: Buffer): boolean {
    if (!key.startsWith(KEY_PREFIX)) return false;
    if (value.length !== PAGE_BYTES) return true;
    const page = new Page(key, Buffer.from(value));
    page.isKept = true;
    this.#pages.set(key, page);
    return true;
  }

  /** The commit of the first time (0: it is durable), or NEW. */
  seen(source: string, number: number): Ticket | typeof NEW | typeof PENDING {
    if (this.#pending.size > 0 && this.#pending.has(nameOf(source, number))) return PENDING;
    const page = this.#find(source, Math.floor(number / PAGE_NUMBERS));
    if (page === null) return NEW;
    const bit = number % PAGE_NUMBERS;
    return (page.bytes[bit >> 3]! & (1 << (bit & 7))) === 0 ? NEW : page.ticket;
  }

  /** It is being made safe, and is marked only then. */
  begin(source: string, number: number): void {
    this.#pending.set(nameOf(source, number), []);
  }

  /** Told when what was begun has ended. */
  whenEnded(source: string, number: number, ended: (failed: boolean) => void): void {
    this.#pending.get(nameOf(source, number))?.push(ended);
  }

  end(source: string, number: number, failed: boolean): void {
    const name = nameOf(source, number);
    const waiting = this.#pending.get(name) ?? [];
    this.#pending.delete(name);
    for (const ended of waiting) ended(failed);
  }

  /** Takes it as seen; the ticket that makes it so for good, 0 when `isKept` is false (QoS 0). */
  mark(source: string, number: number, isKept: boolean): Ticket {
    const index = Math.floor(number / PAGE_NUMBERS);
    let page = this.#find(source, index);
    if (page === null) {
      const key = keyOf(source, index);
      page = new Page(key, Buffer.alloc(PAGE_BYTES));
      this.#makeRoom();
      this.#pages.set(key, page);
      this.#last = page;
    }
    const bit = number % PAGE_NUMBERS;
    page.bytes[bit >> 3]! |= 1 << (bit & 7);
    if (!isKept) {
      page.lastMs = this.#clock.wallMs();
      return 0;
    }
    page.isKept = true;
    const ticket = this.#notes.putNote(page.key, page.bytes);
    // Once for each commit: it is about hours.
    if (ticket !== page.ticket) page.lastMs = this.#clock.wallMs();
    page.ticket = ticket;
    return ticket;
  }

  /** It could not be stored: it may come again. */
  unmark(source: string, number: number): void {
    const index = Math.floor(number / PAGE_NUMBERS);
    const page = this.#find(source, index);
    if (page === null) return;
    const bit = number % PAGE_NUMBERS;
    page.bytes[bit >> 3]! &= ~(1 << (bit & 7));
    page.ticket = this.#notes.putNote(keyOf(source, index), page.bytes);
  }

  /** What an earlier one of this node knew and its notes have lost is noted again. How many pages. */
  merge(earlier: IdentityWindow): number {
    let count = 0;
    for (const [key, { bytes, isKept }] of earlier.#pages) {
      if (!isKept) continue;
      let page = this.#pages.get(key);
      if (page === undefined) {
        page = new Page(key, Buffer.alloc(PAGE_BYTES));
        this.#makeRoom();
        this.#pages.set(key, page);
      }
      if (!page.add(bytes)) continue;
      page.isKept = true;
      page.ticket = this.#notes.putNote(key, page.bytes);
      count++;
    }
    this.#lastIndex = -1;
    this.#last = null;
    return count;
  }

  /** Forgets what is older than any message that may yet come. */
  sweep(ageMs: number): void {
    const untilMs = this.#clock.wallMs() - ageMs;
    for (const [key, page] of this.#pages) if (page.lastMs < untilMs) this.#forget(key, page);
  }

  #find(source: string, index: number): Page | null {
    if (this.#lastIndex === index && this.#lastSource === source) return this.#last;
    this.#lastSource = source;
    this.#lastIndex = index;
    this.#last = this.#pages.get(keyOf(source, index)) ?? null;
    return this.#last;
  }

  #makeRoom(): void {
    if (this.#pages.size < PAGES_MAX) return;
    const [oldest] = this.#pages;
    if (oldest === undefined) return;
    this.overflows++;
    this.#forget(oldest[0], oldest[1]);
  }

  #forget(key: string, page: Page): void {
    this.#pages.delete(key);
    this.#lastIndex = -1;
    this.#last = null;
    if (page.isKept) this.#notes.putNote(key, null);
  }
}

function keyOf(source: string, index: number): string {
  return `${KEY_PREFIX}${source}/${index}`;
}

function nameOf(source: string, number: number): string {
  return `${source}.${number}`;
}
