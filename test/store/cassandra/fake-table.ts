/**
 * The table of retained messages as Cassandra keeps it, in memory: of a cell the higher timestamp stays;
 * in one microsecond what is deleted or goes by itself beats what stays, else the larger bytes. It
 * answers later; a test says what becomes of each call.
 */
import { createHash } from 'node:crypto';
import type { RetainedVersion } from '../../../src/core/retained-version.ts';
import { decodeRecord } from '../../../src/store/cassandra/retained-record.ts';
import type {
  RetainedTable,
  TableError,
  TablePage,
  TableRow,
} from '../../../src/store/cassandra/retained-table.ts';

/**
 * `fails`: nothing was done. `late`: a time-out, and it was done all the same. `final`: never will be.
 * `held`: the answer stands still until `release`.
 */
export type Fate = 'done' | 'fails' | 'late' | 'final' | 'held';

interface Cell {
  readonly timeUs: number;
  /** Null: deleted. */
  readonly record: Buffer | null;
  /** Wall-clock ms; 0: it stays. */
  readonly endsAtMs: number;
}

export interface Written {
  readonly topic: string;
  readonly timeUs: number;
  readonly ttlS: number;
}

export interface FakeTableWorld {
  readonly later: (task: () => void) => void;
  readonly wallMs: () => number;
}

export class FakeTable implements RetainedTable {
  isUp = true;
  fate: (call: 'write' | 'remove' | 'read' | 'page', topic: string) => Fate = () => 'done';
  /** Told of each change that was carried out, also when whoever asked hears of an error: for other tables. */
  onChange: ((again: (other: FakeTable) => void) => void) | null = null;
  /** Writes that were asked for, in order. */
  readonly writes: Written[] = [];
  pages = 0;
  reads = 0;
  underWay = 0;
  underWayMax = 0;
  /** Topics of which two writes were under way at once. */
  readonly doubled: string[] = [];
  readonly #writing: Set<string> = new Set();
  readonly #cells: Map<string, Cell> = new Map();
  #held: (() => void)[] = [];
  #sorted: string[] | null = null;
  readonly #world: FakeTableWorld;

  constructor(world: FakeTableWorld) {
    this.#world = world;
  }

  // ------------------------------------------------------------------ what a test does

  /** Calls that stand still go on, in order, or with the last one first. */
  release(isReversed = false): void {
    const held = this.#held;
    this.#held = [];
    for (const task of isReversed ? held.reverse() : held) task();
  }

  get held(): number {
    return this.#held.length;
  }

  /** As somebody else writes: another node, another region. */
  put(topic: string, record: Buffer, timeUs: number, ttlS = 0): void {
    const endsAtMs = ttlS === 0 ? 0 : this.#world.wallMs() + ttlS * 1000;
    this.#merge(topic, { timeUs, record, endsAtMs });
  }

  erase(topic: string, timeUs: number): void {
    this.#merge(topic, { timeUs, record: null, endsAtMs: 0 });
  }

  /** The data is lost. */
  truncate(): void {
    this.#cells.clear();
    this.#sorted = null;
  }

  lose(topic: string): void {
    this.#cells.delete(topic);
    this.#sorted = null;
  }

  /** What is read of the topic now; null: no row. */
  row(topic: string): TableRow | null {
    const cell = this.#live(topic);
    if (cell === undefined) return null;
    return { topic, timeUs: cell.timeUs, expires: cell.endsAtMs > 0, record: cell.record };
  }

  get size(): number {
    let rows = 0;
    for (const topic of [...this.#cells.keys()]) if (this.#live(topic) !== undefined) rows++;
    return rows;
  }

  /** Text of the message, 'cleared', or null: no row. */
  textOf(topic: string): string | null {
    const row = this.row(topic);
    if (row === null) return null;
    const { message } = decodeRecord(topic, row.record!, row.timeUs);
    return message === null ? 'cleared' : message.payload.toString();
  }

  versionOf(topic: string): RetainedVersion | null {
    const row = this.row(topic);
    return row === null ? null : decodeRecord(topic, row.record!, row.timeUs).version;
  }

  // ------------------------------------------------------------------ RetainedTable

  write(
    topic: string,
    record: Buffer,
    timeUs: number,
    ttlS: number,
    done: (error: TableError | null) => void,
  ): void {
    this.writes.push({ topic, timeUs, ttlS });
    if (this.#writing.has(topic)) this.doubled.push(topic);
    this.#writing.add(topic);
    const bytes = Buffer.from(record);
    this.#call('write', topic, (error, isDone) => {
      this.#writing.delete(topic);
      if (isDone) {
        this.put(topic, bytes, timeUs, ttlS);
        this.onChange?.((other) => other.put(topic, bytes, timeUs, ttlS));
      }
      done(error);
    });
  }

  remove(topic: string, timeUs: number, done: (error: TableError | null) => void): void {
    this.#call('remove', topic, (error, isDone) => {
      if (isDone) {
        this.erase(topic, timeUs);
        this.onChange?.((other) => other.erase(topic, timeUs));
      }
      done(error);
    });
  }

  read(topic: string, done: (error: TableError | null, row: TableRow | null) => void): void {
    this.reads++;
    this.#call('read', topic, (error) => done(error, error === null ? this.row(topic) : null));
  }

  page(
    cursor: string,
    rowsMax: number,
    hasRecords: boolean,
    done: (error: TableError | null, page: TablePage) => void,
  ): void {
    this.pages++;
    this.#call('page', cursor, (error) => {
      if (error !== null) {
        done(error, { rows: [], next: null, progress: 0 });
        return;
      }
      const ring = this.#ring();
      const from = firstAbove(ring, cursor);
      const topics = ring.slice(from, from + rowsMax).filter((topic) => this.row(topic) !== null);
      const isLast = from + rowsMax >= ring.length;
      const rows = topics.map((topic) => {
        const row = this.row(topic)!;
        return hasRecords ? row : { ...row, record: null };
      });
      const next = isLast ? null : tokenOf(ring[from + rowsMax - 1]!);
      done(null, { rows, next, progress: isLast ? 1 : (from + rowsMax) / ring.length });
    });
  }

  // ------------------------------------------------------------------ inside

  #call(
    call: 'write' | 'remove' | 'read' | 'page',
    topic: string,
    carryOut: (error: TableError | null, isDone: boolean) => void,
  ): void {
    this.underWay++;
    this.underWayMax = Math.max(this.underWayMax, this.underWay);
    const fate = this.isUp ? this.fate(call, topic) : 'fails';
    const finish = (): void => {
      this.underWay--;
      if (fate === 'done' || fate === 'held') carryOut(null, true);
      else carryOut(errorOf(fate), fate === 'late');
    };
    if (fate === 'held') this.#held.push(finish);
    else this.#world.later(finish);
  }

  #live(topic: string): Cell | undefined {
    const cell = this.#cells.get(topic);
    if (cell === undefined || cell.record === null) return undefined;
    if (cell.endsAtMs > 0 && cell.endsAtMs <= this.#world.wallMs()) {
      // Past its grace at once: the worst case.
      this.lose(topic);
      return undefined;
    }
    return cell;
  }

  /** Topics by token, also of rows that are gone. */
  #ring(): readonly string[] {
    if (this.#sorted?.length !== this.#cells.size) {
      const topics = [...this.#cells.keys()];
      this.#sorted = topics.sort((a, b) => (tokenOf(a) < tokenOf(b) ? -1 : 1));
    }
    return this.#sorted;
  }

  #merge(topic: string, cell: Cell): void {
    const old = this.#cells.get(topic);
    if (old === undefined || wins(cell, old)) this.#cells.set(topic, cell);
  }
}

function wins(cell: Cell, old: Cell): boolean {
  if (cell.timeUs !== old.timeUs) return cell.timeUs > old.timeUs;
  const goes = cell.record === null || cell.endsAtMs > 0;
  const oldGoes = old.record === null || old.endsAtMs > 0;
  if (goes !== oldGoes) return goes;
  if (cell.record === null || old.record === null) return cell.record === null;
  if (cell.endsAtMs !== old.endsAtMs) return cell.endsAtMs > old.endsAtMs;
  return Buffer.compare(cell.record, old.record) > 0;
}

const tokens: Map<string, string> = new Map();

function tokenOf(topic: string): string {
  let token = tokens.get(topic);
  if (token === undefined) {
    token = createHash('sha1').update(topic).digest('hex').slice(0, 16);
    tokens.set(topic, token);
  }
  return token;
}

function firstAbove(ring: readonly string[], cursor: string): number {
  let low = 0;
  let high = ring.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tokenOf(ring[middle]!) > cursor) high = middle;
    else low = middle + 1;
  }
  return low;
}

function errorOf(fate: Fate): TableError {
  const error = new Error(`table: ${fate}`);
  return fate === 'final' ? Object.assign(error, { isFinal: true }) : error;
}
