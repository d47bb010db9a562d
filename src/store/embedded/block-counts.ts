/**
 * How many runs still refer to a shared block. The count stands in the block as it was written; once
 * fewer are left, in a record beside it. Only blocks that lose a reference are looked at, and a
 * bounded number of counts is in memory, so nothing is held for what only lies on disk.
 */
import type { Log } from '../../core/ports.ts';
import { readU32 } from '../../util/bytes.ts';
import { RecordDamage } from './damage.ts';
import type { Batch, Database } from './database.ts';
import { numberKey, Prefix } from './keys.ts';
import type { MoveAside } from './quarantine.ts';
import { decodeNumbers, encodeNumbers } from './session-codec.ts';

/** Counts in memory, so that the first losses need no read. */
const KNOWN_MAX = 10_000;

export class BlockCounts {
  readonly #db: Database;
  readonly #quarantine: MoveAside;
  readonly #log: Log;
  readonly #known: Map<number, number> = new Map();
  #released: Map<number, number> = new Map();

  constructor(db: Database, quarantine: MoveAside, log: Log) {
    this.#db = db;
    this.#log = log;
    this.#quarantine = quarantine;
  }

  /** A block was written that so many runs refer to. */
  written(block: number, refs: number): void {
    this.#remember(block, refs);
  }

  /** One run less refers to the block. */
  release(block: number): void {
    this.#released.set(block, (this.#released.get(block) ?? 0) + 1);
  }

  /** A batch with counts did not reach the disk: what is there holds. */
  forget(): void {
    this.#known.clear();
    this.#released.clear();
  }

  /** Writes the new counts and removes blocks nobody refers to. */
  async write(batch: Batch): Promise<void> {
    if (this.#released.size === 0) return;
    const released = this.#released;
    this.#released = new Map();
    for (const [block, count] of released) {
      const before = this.#known.get(block) ?? (await this.#stored(block));
      if (before === null) continue;
      const left = before - count;
      if (left <= 0) {
        batch.del(numberKey(Prefix.BLOCK, block));
        batch.del(numberKey(Prefix.COUNT, block));
        this.#known.delete(block);
      } else {
        batch.put(numberKey(Prefix.COUNT, block), encodeNumbers([left], 1));
        this.#remember(block, left);
      }
    }
  }

  #remember(block: number, count: number): void {
    this.#known.set(block, count);
    if (this.#known.size <= KNOWN_MAX) return;
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest);
      break;
    }
  }

  /** 0: the block is not there (damaged and moved aside). Null: it cannot be told; the block stays. */
  async #stored(block: number): Promise<number | null> {
    try {
      const key = numberKey(Prefix.COUNT, block);
      const value = await this.#db.get(key);
      if (value !== undefined) {
        const count = await this.#decode(key, value);
        if (count !== null) return count;
      }
      const written = await this.#db.get(numberKey(Prefix.BLOCK, block));
      return written === undefined || written.length < 4 ? 0 : readU32(written, 0);
    } catch (error) {
      this.#log.error(
        { err: error, block },
        'how many queues need a block cannot be read; it stays',
      );
      return null;
    }
  }

  async #decode(key: Buffer, value: Buffer): Promise<number | null> {
    try {
      return decodeNumbers(value)[0] ?? 0;
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      // The count as written is too high now: the block stays, rather than going too early.
      await this.#quarantine(key, value, error.message);
      return null;
    }
  }
}
