/**
 * Levels of topics as a tree of numbered nodes in typed arrays: a million topics are no objects, for which
 * the garbage collector would stop the broker, and take a fraction of their memory. A node may have a record
 * (where, is all that is known of it here). Children stand in the order in which they came. Used by
 * `retained.ts` (data plane).
 */
import { KeyedHash } from '../util/keyed-hash.ts';
import { RECORD_HEADER_BYTES, RecordSlabs } from './record-slabs.ts';

export const NONE = -1;
export const ROOT = 0;

const CHUNK_BITS = 12;
const CHUNK_NODES: number = 1 << CHUNK_BITS;
const CHUNK_MASK: number = CHUNK_NODES - 1;

// Fields of a node, 32 bits each.
const PARENT = 0;
/** Of its children, which are a ring. */
const LAST = 1;
const NEXT = 2;
const PREVIOUS = 3;
const HASH = 4;
/** Rises with each node that is made, and tells nodes of one number apart; 0: the node is unused. */
const SERIAL = 5;
/** Its high 16 bits, and above them the length of the text in units. */
const SERIAL_HIGH = 6;
const RECORD_SLAB = 7;
/** 16 bits, and above them whether the text is in a slab, and the node in a table. */
const RECORD_AT = 8;
const IN_SLAB = 0x10000;
const IN_TABLE = 0x20000;
const FLAGS: number = IN_SLAB | IN_TABLE;
/** Four units to a field; of a text that is longer, or not Latin-1: slab and place. */
const TEXT = 9;
const TEXT_UNITS_MAX = 16;
const FIELDS = 13;

/** So many tables, by the highest bits of the hash: each grows by itself, in a short time. */
const TABLES = 256;
const TABLE_SIZE_MIN = 8;
/** In a slab: behind a byte that says how many bytes there are to a unit. */
const TEXT_FROM: number = RECORD_HEADER_BYTES + 1;
const NO_TABLE = new Int32Array(0);

const DOLLAR = 0x24;

export class LevelTree {
  readonly #hash: KeyedHash;
  readonly #chunks: Int32Array[] = [];
  readonly #texts: RecordSlabs;
  /** Of nodes that have, or had, siblings, by the hash of parent and text: number + 1, 0: free. */
  readonly #tables: Int32Array[] = new Array<Int32Array>(TABLES).fill(NO_TABLE);
  readonly #counts: Int32Array = new Int32Array(TABLES);
  /** Nodes that have been used, the root among them. */
  #nodes = 0;
  #unused = NONE;
  #serial = 0;

  constructor(k0: number, k1: number) {
    this.#hash = new KeyedHash(k0, k1);
    this.#texts = new RecordSlabs({
      isAt: (node, slab, at) =>
        this.#has(node, IN_SLAB) &&
        this.#get(node, TEXT) === slab &&
        this.#get(node, TEXT + 1) === at,
      moved: (node, slab, at) => {
        this.#set(node, TEXT, slab);
        this.#set(node, TEXT + 1, at);
      },
    });
    const root = this.#take();
    this.#set(root, PARENT, NONE);
    this.#set(root, LAST, NONE);
  }

  #get(node: number, field: number): number {
    return this.#chunks[node >>> CHUNK_BITS]![(node & CHUNK_MASK) * FIELDS + field]!;
  }

  #set(node: number, field: number, value: number): void {
    this.#chunks[node >>> CHUNK_BITS]![(node & CHUNK_MASK) * FIELDS + field] = value;
  }

  // ------------------------------------------------------------------ finding

  /** The child of that text (a part of `text`), or NONE. */
  find(parent: number, text: string, start: number, end: number): number {
    const last = this.#get(parent, LAST);
    if (last === NONE) return NONE;
    // An only child needs no table.
    if (this.#get(last, NEXT) === last) return this.#hasText(last, text, start, end) ? last : NONE;
    const hash = this.#hash.of(parent, text, start, end);
    const table = this.#tables[hash >>> 24]!;
    const mask = table.length - 1;
    if (mask === -1) return NONE;
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const entry = table[i]!;
      if (entry === 0) return NONE;
      const node = entry - 1;
      const chunk = this.#chunks[node >>> CHUNK_BITS]!;
      const at = (node & CHUNK_MASK) * FIELDS;
      if (chunk[at + HASH] !== hash || chunk[at + PARENT] !== parent) continue;
      if (this.#hasText(node, text, start, end)) return node;
    }
  }

  #hasText(node: number, text: string, start: number, end: number): boolean {
    const chunk = this.#chunks[node >>> CHUNK_BITS]!;
    const at = (node & CHUNK_MASK) * FIELDS;
    if (chunk[at + SERIAL_HIGH]! >>> 16 !== end - start) return false;
    if ((chunk[at + RECORD_AT]! & IN_SLAB) !== 0) {
      return this.#isText(chunk[at + TEXT]!, chunk[at + TEXT + 1]!, text, start, end);
    }
    for (let i = start; i < end; i++) {
      if (text.charCodeAt(i) !== unitOf(chunk, at + TEXT, i - start)) return false;
    }
    return true;
  }

  #isText(slab: number, at: number, text: string, start: number, end: number): boolean {
    const bytes = this.#texts.buffer(slab);
    const size = bytes[at + RECORD_HEADER_BYTES]!;
    let pos = at + TEXT_FROM;
    for (let i = start; i < end; i++, pos += size) {
      const unit = size === 1 ? bytes[pos]! : bytes[pos]! | (bytes[pos + 1]! << 8);
      if (unit !== text.charCodeAt(i)) return false;
    }
    return true;
  }

  #has(node: number, flag: number): boolean {
    return (this.#get(node, RECORD_AT) & flag) !== 0;
  }

  /** `$…`. */
  isReserved(node: number): boolean {
    const chunk = this.#chunks[node >>> CHUNK_BITS]!;
    const at = (node & CHUNK_MASK) * FIELDS;
    if (chunk[at + SERIAL_HIGH]! >>> 16 === 0) return false;
    if ((chunk[at + RECORD_AT]! & IN_SLAB) === 0) return unitOf(chunk, at + TEXT, 0) === DOLLAR;
    return this.#isText(chunk[at + TEXT]!, chunk[at + TEXT + 1]!, '$', 0, 1);
  }

  get nodesMade(): number {
    return this.#serial;
  }

  /** Bytes of all tables. */
  get tableBytes(): number {
    let bytes = 0;
    for (const table of this.#tables) bytes += table.byteLength;
    return bytes;
  }

  parent(node: number): number {
    return this.#get(node, PARENT);
  }

  hasChildren(node: number): boolean {
    return this.#get(node, LAST) !== NONE;
  }

  /** Of a number that is used again it is another one; 0: the node is no more. */
  serial(node: number): number {
    const chunk = this.#chunks[node >>> CHUNK_BITS]!;
    const at = (node & CHUNK_MASK) * FIELDS;
    return (chunk[at + SERIAL_HIGH]! & 0xffff) * 2 ** 32 + (chunk[at + SERIAL]! >>> 0);
  }

  lastChild(parent: number): number {
    return this.#get(parent, LAST);
  }

  firstChild(parent: number): number {
    const last = this.#get(parent, LAST);
    return last === NONE ? NONE : this.#get(last, NEXT);
  }

  /** The child that came after this one, or NONE. */
  nextChild(parent: number, child: number): number {
    return this.#get(parent, LAST) === child ? NONE : this.#get(child, NEXT);
  }

  /** The first child that came after the one with this serial. */
  childAfter(parent: number, serial: number): number {
    let child = this.firstChild(parent);
    while (child !== NONE && this.serial(child) <= serial) child = this.nextChild(parent, child);
    return child;
  }

  // ------------------------------------------------------------------ changing

  /** Makes a child, which must not be there. */
  add(parent: number, text: string, start: number, end: number): number {
    const node = this.#take();
    this.#set(node, PARENT, parent);
    this.#set(node, LAST, NONE);
    this.#writeText(node, text, start, end);
    this.#set(node, HASH, this.#hash.of(parent, text, start, end));
    const last = this.#get(parent, LAST);
    // Half of all nodes may have no siblings: they are found without.
    if (last !== NONE) {
      if (!this.#has(last, IN_TABLE)) this.#insert(last);
      this.#insert(node);
    }
    const first = last === NONE ? node : this.#get(last, NEXT);
    this.#set(node, NEXT, first);
    this.#set(node, PREVIOUS, last === NONE ? node : last);
    this.#set(first, PREVIOUS, node);
    if (last !== NONE) this.#set(last, NEXT, node);
    this.#set(parent, LAST, node);
    return node;
  }

  /** A node without children and record. */
  remove(node: number): void {
    const parent = this.#get(node, PARENT);
    const next = this.#get(node, NEXT);
    const previous = this.#get(node, PREVIOUS);
    if (next === node) {
      this.#set(parent, LAST, NONE);
    } else {
      this.#set(previous, NEXT, next);
      this.#set(next, PREVIOUS, previous);
      if (this.#get(parent, LAST) === node) this.#set(parent, LAST, previous);
    }
    if (this.#has(node, IN_TABLE)) this.#extract(node);
    if (this.#has(node, IN_SLAB)) {
      this.#set(node, RECORD_AT, 0);
      this.#texts.drop(this.#get(node, TEXT), this.#get(node, TEXT + 1));
    }
    this.#set(node, SERIAL, 0);
    this.#set(node, SERIAL_HIGH, 0);
    this.#set(node, NEXT, this.#unused);
    this.#unused = node;
  }

  #take(): number {
    let node = this.#unused;
    if (node !== NONE) {
      this.#unused = this.#get(node, NEXT);
    } else {
      node = this.#nodes++;
      if (node >>> CHUNK_BITS === this.#chunks.length) {
        this.#chunks.push(new Int32Array(CHUNK_NODES * FIELDS));
      }
    }
    const serial = ++this.#serial;
    this.#set(node, SERIAL, serial);
    this.#set(node, SERIAL_HIGH, serial / 2 ** 32);
    this.#set(node, RECORD_SLAB, NONE);
    this.#set(node, RECORD_AT, 0);
    return node;
  }

  // ------------------------------------------------------------------ texts and records

  #writeText(node: number, text: string, start: number, end: number): void {
    const units = end - start;
    this.#set(node, SERIAL_HIGH, this.#get(node, SERIAL_HIGH) | (units << 16));
    let isLatin1 = true;
    for (let i = start; i < end && isLatin1; i++) isLatin1 = text.charCodeAt(i) <= 0xff;
    if (!isLatin1 || units > TEXT_UNITS_MAX) {
      this.#writeToSlab(node, text, start, end, isLatin1 ? 1 : 2);
      return;
    }
    for (let i = 0; i < units; i += 4) {
      let word = 0;
      for (let j = Math.min(units, i + 4) - 1; j >= i; j--) {
        word = (word << 8) | text.charCodeAt(start + j);
      }
      this.#set(node, TEXT + (i >> 2), word);
    }
  }

  #writeToSlab(node: number, text: string, start: number, end: number, size: 1 | 2): void {
    const texts = this.#texts;
    const bytes = texts.add(node, 1 + (end - start) * size);
    let pos = texts.at + RECORD_HEADER_BYTES;
    bytes[pos++] = size;
    for (let i = start; i < end; i++) {
      const unit = text.charCodeAt(i);
      bytes[pos++] = unit;
      if (size === 2) bytes[pos++] = unit >>> 8;
    }
    this.#set(node, RECORD_AT, this.#get(node, RECORD_AT) | IN_SLAB);
    this.#set(node, TEXT, texts.slab);
    this.#set(node, TEXT + 1, texts.at);
  }

  /** Where the record of the node is: slab (NONE: it has none) and place. */
  recordSlab(node: number): number {
    return this.#get(node, RECORD_SLAB);
  }

  recordAt(node: number): number {
    return this.#get(node, RECORD_AT) & 0xffff;
  }

  setRecord(node: number, slab: number, at: number): void {
    this.#set(node, RECORD_SLAB, slab);
    this.#set(node, RECORD_AT, (this.#get(node, RECORD_AT) & FLAGS) | at);
  }

  // ------------------------------------------------------------------ tables

  #insert(node: number): void {
    const hash = this.#get(node, HASH);
    this.#set(node, RECORD_AT, this.#get(node, RECORD_AT) | IN_TABLE);
    const which = hash >>> 24;
    let table = this.#tables[which]!;
    const count = this.#counts[which]!++ + 1;
    if (count * 4 > table.length * 3) {
      const old = table;
      table = new Int32Array(Math.max(TABLE_SIZE_MIN, old.length * 2));
      this.#tables[which] = table;
      for (let i = 0; i < old.length; i++) {
        const entry = old[i]!;
        if (entry !== 0) place(table, entry, this.#get(entry - 1, HASH));
      }
    }
    place(table, node + 1, hash);
  }

  #extract(node: number): void {
    const hash = this.#get(node, HASH);
    const table = this.#tables[hash >>> 24]!;
    this.#counts[hash >>> 24]!--;
    const mask = table.length - 1;
    let hole = hash & mask;
    while (table[hole] !== node + 1) hole = (hole + 1) & mask;
    // What would not be found behind the hole moves into it.
    for (let i = (hole + 1) & mask; table[i] !== 0; i = (i + 1) & mask) {
      const home = this.#get(table[i]! - 1, HASH) & mask;
      if (((i - home) & mask) < ((i - hole) & mask)) continue;
      table[hole] = table[i]!;
      hole = i;
    }
    table[hole] = 0;
  }
}

function unitOf(chunk: Int32Array, text: number, index: number): number {
  return (chunk[text + (index >> 2)]! >>> ((index & 3) << 3)) & 0xff;
}

function place(table: Int32Array, entry: number, hash: number): void {
  const mask = table.length - 1;
  let i = hash & mask;
  while (table[i] !== 0) i = (i + 1) & mask;
  table[i] = entry;
}
