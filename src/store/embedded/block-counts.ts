/**
 * How many runs still refer to a shared block. The count stands in the block as it was written; once
 * fewer are left, in a record beside it. Only blocks that lose a reference are looked at, so nothing
 * is held in memory for what only lies on disk.
 */

import { readU32 } from '../../util/bytes.ts';
import { numberKey, Prefix } from './keys.ts';
import type { Database } from './run-reader.ts';
import { decodeNumbers, encodeNumbers } from './session-codec.ts';

type Batch = ReturnType<Database['batch']>;

/** Counts kept of blocks that have lost a reference, so that the next loss needs no read. */
const KNOWN_MAX = 10_000;

export class BlockCounts {
  readonly #db: Database;
  readonly #known: Map<number, number> = new Map();
  readonly #released: Map<number, number> = new Map();

  constructor(db: Database) {
    this.#db = db;
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
    while (this.#released.size > 0) {
      const released = [...this.#released];
      this.#released.clear();
      for (const [block, count] of released) {
        const left = (this.#known.get(block) ?? (await this.#stored(block))) - count;
        if (left <= 0) {
          batch.del(numberKey(Prefix.BLOCK, block));
          batch.del(numberKey(Prefix.COUNT, block));
          this.#known.delete(block);
        } else {
          batch.put(numberKey(Prefix.COUNT, block), encodeNumbers([left], 1));
          if (this.#known.size >= KNOWN_MAX) this.#known.clear();
          this.#known.set(block, left);
        }
      }
    }
  }

  /** 0 when the block is not there (damaged and moved aside). */
  async #stored(block: number): Promise<number> {
    const count = await this.#db.get(numberKey(Prefix.COUNT, block));
    if (count !== undefined) return decodeNumbers(count)[0] ?? 0;
    const value = await this.#db.get(numberKey(Prefix.BLOCK, block));
    return value === undefined || value.length < 4 ? 0 : readU32(value, 0);
  }
}
