/**
 * Records of bytes, each with an owner (a number), one behind the other in slabs: an object for each would
 * cost more than the bytes. A record is never changed once it is written, so views of it may be kept; a slab
 * that is mostly of records that were dropped is given up, and what is left of it moves. Used by
 * `level-tree.ts` and `retained.ts` (data plane).
 */
import { EMPTY_BUFFER } from '../util/bytes.ts';

/** A view of one record keeps at most so much of others alive. */
const SLAB_BYTES = 16 * 1024;
/** Larger ones have a slab of their own. */
const SHARED_BYTES_MAX = SLAB_BYTES / 4;
/** Owner and length of the record. */
export const RECORD_HEADER_BYTES = 8;

const NO_WORDS = new Int32Array(0);

export interface RecordOwners {
  /** Whether the owner still has its record there. */
  isAt(owner: number, slab: number, at: number): boolean;
  moved(owner: number, slab: number, at: number): void;
}

export class RecordSlabs {
  readonly #owners: RecordOwners;
  readonly #slabs: Buffer[] = [];
  /** The same memory: records begin at multiples of four. */
  readonly #words: Int32Array[] = [];
  /** Bytes written, and those of records that have not been dropped. */
  readonly #used: number[] = [];
  readonly #live: number[] = [];
  readonly #unused: number[] = [];
  #open = -1;
  /** Where the record is that `add` has made last. */
  slab = 0;
  at = 0;

  constructor(owners: RecordOwners) {
    this.#owners = owners;
  }

  buffer(slab: number): Buffer {
    return this.#slabs[slab]!;
  }

  /** Bytes of all slabs. */
  get bytes(): number {
    let bytes = 0;
    for (const slab of this.#slabs) bytes += slab.length;
    return bytes;
  }

  /** Room for a record; what is in it begins behind the header. The buffer it is in. */
  add(owner: number, contentBytes: number): Buffer {
    const bytes = RECORD_HEADER_BYTES + contentBytes;
    const buffer = this.#room(bytes);
    const words = this.#words[this.slab]!;
    const at = this.at >>> 2;
    words[at] = owner;
    words[at + 1] = bytes;
    return buffer;
  }

  /** End of the record. */
  endOf(slab: number, at: number): number {
    return at + this.#words[slab]![(at >>> 2) + 1]!;
  }

  /** Its owner has it there no more. */
  drop(slab: number, at: number): void {
    this.#live[slab]! -= paddedBytes(this.#words[slab]![(at >>> 2) + 1]!);
    if (slab !== this.#open) this.#tidy(slab);
  }

  #room(recordBytes: number): Buffer {
    const bytes = paddedBytes(recordBytes);
    if (bytes > SHARED_BYTES_MAX) {
      this.slab = this.#newSlab(bytes);
      this.at = 0;
    } else {
      if (this.#open === -1 || this.#used[this.#open]! + bytes > SLAB_BYTES) {
        const full = this.#open;
        this.#open = this.#newSlab(SLAB_BYTES);
        // What is left of it, less than half a slab, moves into the new one.
        if (full !== -1) this.#tidy(full);
      }
      this.slab = this.#open;
      this.at = this.#used[this.slab]!;
    }
    this.#used[this.slab]! += bytes;
    this.#live[this.slab]! += bytes;
    return this.#slabs[this.slab]!;
  }

  #newSlab(bytes: number): number {
    const slab = this.#unused.pop() ?? this.#slabs.length;
    const buffer = Buffer.allocUnsafeSlow(bytes);
    this.#slabs[slab] = buffer;
    this.#words[slab] = new Int32Array(buffer.buffer, 0, bytes >>> 2);
    this.#used[slab] = 0;
    this.#live[slab] = 0;
    return slab;
  }

  #tidy(slab: number): void {
    const live = this.#live[slab]!;
    const used = this.#used[slab]!;
    if (live * 2 >= used) return;
    const buffer = this.#slabs[slab]!;
    const words = this.#words[slab]!;
    for (let at = 0, left = live; left > 0 && at < used; ) {
      const owner = words[at >>> 2]!;
      const bytes = words[(at >>> 2) + 1]!;
      const taken = paddedBytes(bytes);
      if (this.#owners.isAt(owner, slab, at)) {
        const room = this.#room(bytes);
        buffer.copy(room, this.at, at, at + bytes);
        this.#owners.moved(owner, this.slab, this.at);
        left -= taken;
      }
      at += taken;
    }
    // Views of it that were handed out keep the memory.
    this.#slabs[slab] = EMPTY_BUFFER;
    this.#words[slab] = NO_WORDS;
    this.#unused.push(slab);
  }
}

function paddedBytes(bytes: number): number {
  return (bytes + 3) & ~3;
}
