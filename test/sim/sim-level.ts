/**
 * The disk of a simulated machine as LevelDB uses it, for the real embedded store: writes take a while and
 * are on the disk one after the other; a killed process may not hear of one that is; a machine that loses its
 * power loses what was not synced. Time and chance are the kernel's.
 */
import type { EmbeddedStoreOptions } from '../../src/store/embedded/embedded-store.ts';
import type { Kernel } from './kernel.ts';
import type { SimNode } from './sim-node.ts';

type Database = NonNullable<EmbeddedStoreOptions['database']>;

/** Null: removed. */
type Change = readonly [key: string, value: Buffer | null];

/** Of one write: most are fast, some are not. */
const WRITE_MS: readonly [number, number] = [0.2, 8];
const SLOW_MS = 80;
/** Until a process hears that its write is done. */
const HEAR_MS = 2;

/** What is there when the next process comes. */
export class SimDisk {
  readonly rows: Map<string, Buffer> = new Map();
  /** Virtual ms until which no write is done. */
  busyUntilMs = 0;
  /** What was there before each write that is not synced, oldest first. */
  readonly #unsynced: (readonly Change[])[] = [];

  apply(changes: readonly Change[], isSynced: boolean): void {
    const before = changes.map(([key]): Change => [key, this.rows.get(key) ?? null]);
    put(this.rows, changes);
    // The log is one: what is synced takes all before it along.
    if (isSynced) this.#unsynced.length = 0;
    else this.#unsynced.push(before);
  }

  /** The power is gone: of what was not synced only the first `kept` writes are there. */
  losePower(chance: () => number): void {
    const kept = Math.floor(chance() * (this.#unsynced.length + 1));
    for (const before of this.#unsynced.splice(kept).reverse()) {
      put(this.rows, before.toReversed());
    }
    this.#unsynced.length = 0;
  }
}

function put(rows: Map<string, Buffer>, changes: readonly Change[]): void {
  for (const [key, value] of changes) {
    if (value === null) rows.delete(key);
    else rows.set(key, value);
  }
}

interface Range {
  readonly gte?: Buffer | string;
  readonly gt?: Buffer | string;
  readonly lte?: Buffer | string;
  readonly lt?: Buffer | string;
  readonly reverse?: boolean;
  readonly limit?: number;
  readonly values?: boolean;
  readonly keyEncoding?: string;
}

/** The database of one process. */
export class SimLevel {
  status: 'closed' | 'open' = 'closed';
  readonly #kernel: Kernel;
  readonly #node: SimNode;
  readonly #disk: SimDisk;
  #lastMs = 0;

  private constructor(kernel: Kernel, node: SimNode, disk: SimDisk) {
    this.#kernel = kernel;
    this.#node = node;
    this.#disk = disk;
  }

  /** As much of a database as the embedded store asks for. */
  static of(kernel: Kernel, node: SimNode, disk: SimDisk): Database {
    return new SimLevel(kernel, node, disk) as unknown as Database;
  }

  open(): Promise<void> {
    this.status = 'open';
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.status = 'closed';
    return Promise.resolve();
  }

  get(key: Buffer): Promise<Buffer | undefined> {
    const value = this.#disk.rows.get(textOf(key));
    return Promise.resolve(value === undefined ? undefined : Buffer.from(value));
  }

  put(
    key: Buffer,
    value: Buffer,
    { sync = false }: { readonly sync?: boolean } = {},
  ): Promise<void> {
    return this.write([[textOf(key), Buffer.from(value)]], sync);
  }

  batch(): SimBatch {
    return new SimBatch(this);
  }

  iterator(range: Range): SimRows<[Buffer | string, Buffer | undefined]> {
    const isText = range.keyEncoding === 'utf8';
    return new SimRows(
      this.#keysIn(range).map((key) => [
        isText ? key : Buffer.from(key, 'latin1'),
        range.values === false ? undefined : Buffer.from(this.#disk.rows.get(key)!),
      ]),
    );
  }

  keys(range: Range): SimRows<Buffer> {
    return new SimRows(this.#keysIn(range).map((key) => Buffer.from(key, 'latin1')));
  }

  #keysIn({ gte, gt, lte, lt, reverse = false, limit = -1 }: Range): string[] {
    const found: string[] = [];
    for (const key of this.#disk.rows.keys()) {
      if (gte !== undefined && key < textOf(gte)) continue;
      if (gt !== undefined && key <= textOf(gt)) continue;
      if (lte !== undefined && key > textOf(lte)) continue;
      if (lt !== undefined && key >= textOf(lt)) continue;
      found.push(key);
    }
    found.sort();
    if (reverse) found.reverse();
    return limit < 0 ? found : found.slice(0, limit);
  }

  /** In order. Whoever is killed meanwhile may have written it or not, and never hears. */
  write(changes: readonly Change[], isSynced: boolean): Promise<void> {
    const { chance } = this.#kernel;
    const [low, high] = WRITE_MS;
    const takesMs = chance.next() < 0.02 ? SLOW_MS : low + chance.next() * (high - low);
    const fromMs = Math.max(this.#kernel.nowMs, this.#lastMs, this.#disk.busyUntilMs);
    this.#lastMs = fromMs + takesMs;
    const { promise, resolve } = Promise.withResolvers<void>();
    // The disk does not stop with the process that waits for it; a process that is gone has left it.
    this.#kernel.after(null, this.#lastMs - this.#kernel.nowMs, () => {
      if (!this.#node.isAlive) return;
      this.#disk.apply(changes, isSynced);
      this.#kernel.after(this.#node, chance.next() * HEAR_MS, resolve);
    });
    return promise;
  }
}

class SimBatch {
  readonly #level: SimLevel;
  readonly #changes: Change[] = [];

  constructor(level: SimLevel) {
    this.#level = level;
  }

  get length(): number {
    return this.#changes.length;
  }

  put(key: Buffer, value: Buffer): this {
    this.#changes.push([textOf(key), Buffer.from(value)]);
    return this;
  }

  del(key: Buffer): this {
    this.#changes.push([textOf(key), null]);
    return this;
  }

  write({ sync = false }: { readonly sync?: boolean } = {}): Promise<void> {
    return this.#level.write(this.#changes, sync);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** What an iterator finds: what was there when it was made. */
class SimRows<Row> {
  readonly #rows: Row[];

  constructor(rows: Row[]) {
    this.#rows = rows;
  }

  all(): Promise<Row[]> {
    return Promise.resolve(this.#rows);
  }

  nextv(count: number): Promise<Row[]> {
    return Promise.resolve(this.#rows.splice(0, count));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Texts of single bytes compare as their bytes do. */
function textOf(key: Buffer | string): string {
  return typeof key === 'string' ? key : key.toString('latin1');
}
