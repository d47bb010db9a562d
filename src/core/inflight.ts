/**
 * QoS 1 and 2 messages sent to one client and not settled, in sending order (data plane). Clients ack
 * in order [MQTT5-4.6.0-2], so the head nearly always matches; out of order costs a bounded scan.
 * Sessions that end with their connection keep only ids here: there is nothing to send again. What the store
 * reads again should it have to be sent again is here without its entry, too.
 */
import type { QueueEntry } from './queue-entry.ts';

export const InflightState = {
  DONE: 0,
  AWAITS_PUBACK: 1,
  AWAITS_PUBREC: 2,
  AWAITS_PUBCOMP: 3,
} as const;

const CAPACITY_MIN = 8;
/** Holes tolerated behind an ack that does not come, beside four times what is open. */
const HOLES_MIN = 64;

export class Inflight {
  /** Messages not settled: what Receive Maximum bounds. */
  open = 0;
  #ids: Uint16Array = new Uint16Array(CAPACITY_MIN);
  #states: Uint8Array = new Uint8Array(CAPACITY_MIN);
  /** Rising numbers the ids were derived from; two ids collide only 65535 apart. */
  #sequences: Float64Array = new Float64Array(CAPACITY_MIN);
  #entries: (QueueEntry | null)[] | null = null;
  /** Of messages without their entries; null: there was none yet. */
  #bytes: Uint32Array | null = null;
  /** Ever-rising positions; slot = position & (capacity - 1). */
  #head = 0;
  #tail = 0;

  /** Positions in use, settled holes included; bounded by what is open. */
  get span(): number {
    return this.#tail - this.#head;
  }

  get first(): number {
    return this.#head;
  }

  get end(): number {
    return this.#tail;
  }

  /** The rising number of the oldest open message; only while `span` is above 0. */
  get oldestSequence(): number {
    return this.#sequences[this.#head & (this.#ids.length - 1)]!;
  }

  /** Packet id for a rising number: the same for every receiver, so one encoded copy serves all. */
  idFor(sequence: number): number {
    const id = (sequence % 65_535) + 1;
    if (this.#tail === this.#head) return id;
    const oldest = this.#sequences[this.#head & (this.#ids.length - 1)]!;
    if (sequence - oldest < 65_535 || this.find(id) === -1) return id;
    for (let other = 1; other <= 65_535; other++) {
      if (this.find(other) === -1) return other;
    }
    return 0;
  }

  push(id: number, sequence: number, state: number, entry: QueueEntry | null): void {
    if (this.#tail - this.#head === this.#ids.length) this.#grow();
    const slot = this.#tail++ & (this.#ids.length - 1);
    this.#ids[slot] = id;
    this.#states[slot] = state;
    this.#sequences[slot] = sequence;
    if (entry !== null) this.#entries ??= new Array(this.#ids.length).fill(null);
    if (this.#entries !== null) this.#entries[slot] = entry;
    this.open++;
  }

  /** The same without the entry: the store has it, at the position `sequence`. */
  pushStored(id: number, sequence: number, state: number, messageBytes: number): void {
    this.push(id, sequence, state, null);
    this.#bytes ??= new Uint32Array(this.#ids.length);
    this.#bytes[(this.#tail - 1) & (this.#ids.length - 1)] = messageBytes;
  }

  /** Some came, or come, without their entries, so that all that is open is read from the store again. */
  get isStored(): boolean {
    return this.#bytes !== null;
  }

  /** Position of an open id, or -1. */
  find(id: number): number {
    const mask = this.#ids.length - 1;
    for (let position = this.#head; position < this.#tail; position++) {
      const slot = position & mask;
      if (this.#ids[slot] === id && this.#states[slot] !== InflightState.DONE) return position;
    }
    return -1;
  }

  stateAt(position: number): number {
    return this.#states[position & (this.#ids.length - 1)]!;
  }

  idAt(position: number): number {
    return this.#ids[position & (this.#ids.length - 1)]!;
  }

  sequenceAt(position: number): number {
    return this.#sequences[position & (this.#ids.length - 1)]!;
  }

  /** Of a message without its entry. */
  bytesAt(position: number): number {
    return this.#bytes === null ? 0 : this.#bytes[position & (this.#ids.length - 1)]!;
  }

  entryAt(position: number): QueueEntry | null {
    return this.#entries === null ? null : this.#entries[position & (this.#ids.length - 1)]!;
  }

  setState(position: number, state: number): void {
    this.#states[position & (this.#ids.length - 1)] = state;
  }

  /**
   * Ends the message at a position; the head moves over everything that has ended. Positions from
   * before are void afterwards.
   */
  settle(position: number): void {
    const mask = this.#ids.length - 1;
    this.#states[position & mask] = InflightState.DONE;
    if (this.#entries !== null) this.#entries[position & mask] = null;
    this.open--;
    while (this.#head < this.#tail && this.#states[this.#head & mask] === InflightState.DONE) {
      this.#head++;
    }
    const span = this.#tail - this.#head;
    if (span === 0) {
      if (mask >= CAPACITY_MIN * 8) this.#reset();
    } else if (span > this.open * 4 + HOLES_MIN) {
      this.#compact();
    }
  }

  /** Moves what is open together: one ack that never comes must not make every search longer. */
  #compact(): void {
    const mask = this.#ids.length - 1;
    let to = this.#head;
    for (let position = this.#head; position < this.#tail; position++) {
      const slot = position & mask;
      if (this.#states[slot] === InflightState.DONE) continue;
      const free = to++ & mask;
      this.#ids[free] = this.#ids[slot]!;
      this.#states[free] = this.#states[slot]!;
      this.#sequences[free] = this.#sequences[slot]!;
      if (this.#entries !== null) this.#entries[free] = this.#entries[slot]!;
      if (this.#bytes !== null) this.#bytes[free] = this.#bytes[slot]!;
    }
    if (this.#entries !== null) {
      for (let position = to; position < this.#tail; position++) {
        this.#entries[position & mask] = null;
      }
    }
    this.#tail = to;
  }

  #grow(): void {
    const capacity = this.#ids.length * 2;
    const ids = new Uint16Array(capacity);
    const states = new Uint8Array(capacity);
    const sequences = new Float64Array(capacity);
    const entries: (QueueEntry | null)[] | null =
      this.#entries === null ? null : new Array(capacity).fill(null);
    const bytes = this.#bytes === null ? null : new Uint32Array(capacity);
    const mask = this.#ids.length - 1;
    for (let position = this.#head; position < this.#tail; position++) {
      const from = position & mask;
      const to = position & (capacity - 1);
      ids[to] = this.#ids[from]!;
      states[to] = this.#states[from]!;
      sequences[to] = this.#sequences[from]!;
      if (entries !== null) entries[to] = this.#entries![from]!;
      if (bytes !== null) bytes[to] = this.#bytes![from]!;
    }
    this.#ids = ids;
    this.#states = states;
    this.#sequences = sequences;
    this.#entries = entries;
    this.#bytes = bytes;
  }

  /** A burst's arrays are not kept by a client that has gone quiet. */
  #reset(): void {
    // Under steady load the ring empties often; only a much larger one than needed is given back.
    if (this.#ids.length <= 1024) return;
    this.#ids = new Uint16Array(CAPACITY_MIN);
    this.#states = new Uint8Array(CAPACITY_MIN);
    this.#sequences = new Float64Array(CAPACITY_MIN);
    this.#entries = null;
    this.#bytes = null;
  }
}
