/**
 * What of a stored run is settled or released. In memory for runs whose entries the core may hold;
 * on disk as the run's progress record, written when it changed and while something is left.
 *
 *   settled bytes varint · count varint · (distance from the first position varint · state varint) …
 *   · checksum
 */
import { EntryState } from '../../core/queue-entry.ts';
import { openSealed, SEAL_BYTES, seal } from './seal.ts';
import { VARINT_BYTES_MAX, writeVarint } from './varint.ts';

export class RunState {
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Entries of the run; positions between them may be missing. */
  readonly count: number;
  /** Sum of `Message.bytes` over its entries. */
  readonly bytes: number;
  /** Shared blocks it refers to. */
  readonly blocks: readonly number[];
  readonly hasBodiesRecord: boolean;
  /** Its progress is on disk, and has to be removed with it. */
  hasProgressRecord = false;
  /** Changed since its progress was written; kept by `StoredSession`. */
  isDirty = false;
  settledCount = 0;
  /** Sum of `Message.bytes` over what is settled. */
  settledBytes = 0;
  /** All up to this position are settled: acks come in order, mostly. Stays where positions are missing. */
  #settledTo: number;
  /** Of what lies behind: position -> EntryState.RELEASED or SETTLED; null: none, or all are settled. */
  #states: Map<number, number> | null = null;

  constructor(
    firstSeq: number,
    lastSeq: number,
    count: number,
    bytes: number,
    blocks: readonly number[],
    hasBodiesRecord: boolean,
  ) {
    this.firstSeq = firstSeq;
    this.lastSeq = lastSeq;
    this.#settledTo = firstSeq - 1;
    this.count = count;
    this.bytes = bytes;
    this.blocks = blocks;
    this.hasBodiesRecord = hasBodiesRecord;
  }

  get isSettled(): boolean {
    return this.settledCount >= this.count;
  }

  stateOf(seq: number): number {
    if (this.isSettled || seq <= this.#settledTo) return EntryState.SETTLED;
    return this.#states?.get(seq) ?? EntryState.QUEUED;
  }

  /** True when that changed something. `seq` is the position of one of its entries. */
  set(seq: number, state: number, messageBytes: number): boolean {
    const before = this.stateOf(seq);
    if (before === state || before === EntryState.SETTLED) return false;
    if (state === EntryState.SETTLED) {
      this.settledCount++;
      this.settledBytes += messageBytes;
    }
    if (this.isSettled) this.#states = null;
    else if (state === EntryState.SETTLED && this.#isNext(seq)) this.#settleTo(seq);
    else (this.#states ??= new Map()).set(seq, state);
    return true;
  }

  #isNext(seq: number): boolean {
    return seq === this.#settledTo + 1 && this.lastSeq - this.firstSeq === this.count - 1;
  }

  #settleTo(seq: number): void {
    const states = this.#states;
    this.#settledTo = seq;
    if (states === null) return;
    states.delete(seq);
    while (states.get(this.#settledTo + 1) === EntryState.SETTLED) {
      this.#settledTo++;
      states.delete(this.#settledTo);
    }
  }

  encode(): Buffer {
    const states = this.#states;
    const settledTo = this.isSettled ? this.firstSeq - 1 : this.#settledTo;
    const count = settledTo - this.firstSeq + 1 + (states?.size ?? 0);
    const out = Buffer.allocUnsafe((2 + 2 * count) * VARINT_BYTES_MAX + SEAL_BYTES);
    let pos = writeVarint(out, 0, this.settledBytes);
    pos = writeVarint(out, pos, count);
    for (let seq = this.firstSeq; seq <= settledTo; seq++) {
      pos = writeVarint(out, pos, seq - this.firstSeq);
      pos = writeVarint(out, pos, EntryState.SETTLED);
    }
    if (states !== null) {
      for (const [seq, state] of states) {
        pos = writeVarint(out, pos, seq - this.firstSeq);
        pos = writeVarint(out, pos, state);
      }
    }
    return out.subarray(0, seal(out, 0, pos));
  }

  /** Takes over a stored progress record. */
  decode(value: Buffer): void {
    const cursor = openSealed(value);
    const settledBytes = cursor.varint();
    const count = cursor.varint();
    for (let i = 0; i < count; i++) {
      const seq = this.firstSeq + cursor.varint();
      this.set(seq, cursor.varint(), 0);
    }
    cursor.expectEnd();
    this.settledBytes = settledBytes;
    this.hasProgressRecord = true;
  }
}
