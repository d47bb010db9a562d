/**
 * What of a stored run is settled or released. In memory only for runs whose entries the core holds;
 * on disk as the run's progress record, written when it changed and while something is left.
 *
 *   count varint · (distance from the first position varint · state varint) … · checksum
 */
import { EntryState } from '../../core/queue-entry.ts';
import { openSealed, SEAL_BYTES, seal } from './seal.ts';
import { VARINT_BYTES_MAX, writeVarint } from './varint.ts';

export class RunState {
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Entries of the run; positions between them may be missing. */
  readonly count: number;
  /** Shared blocks it refers to. */
  readonly blocks: readonly number[];
  readonly hasBodiesRecord: boolean;
  settledCount = 0;
  /** Position -> EntryState.RELEASED or SETTLED. */
  readonly states: Map<number, number> = new Map();
  isDirty = false;

  constructor(
    firstSeq: number,
    lastSeq: number,
    count: number,
    blocks: readonly number[],
    hasBodiesRecord: boolean,
  ) {
    this.firstSeq = firstSeq;
    this.lastSeq = lastSeq;
    this.count = count;
    this.blocks = blocks;
    this.hasBodiesRecord = hasBodiesRecord;
  }

  get isSettled(): boolean {
    return this.settledCount >= this.count;
  }

  stateOf(seq: number): number {
    return this.states.get(seq) ?? EntryState.QUEUED;
  }

  set(seq: number, state: number): void {
    const before = this.states.get(seq);
    if (before === state || before === EntryState.SETTLED) return;
    this.states.set(seq, state);
    if (state === EntryState.SETTLED) this.settledCount++;
    this.isDirty = true;
  }

  encode(): Buffer {
    const out = Buffer.allocUnsafe((1 + 2 * this.states.size) * VARINT_BYTES_MAX + SEAL_BYTES);
    let pos = writeVarint(out, 0, this.states.size);
    for (const [seq, state] of this.states) {
      pos = writeVarint(out, pos, seq - this.firstSeq);
      pos = writeVarint(out, pos, state);
    }
    return out.subarray(0, seal(out, 0, pos));
  }

  /** Takes over a stored progress record. */
  decode(value: Buffer): void {
    const cursor = openSealed(value);
    const count = cursor.varint();
    for (let i = 0; i < count; i++) {
      const seq = this.firstSeq + cursor.varint();
      this.set(seq, cursor.varint());
    }
    cursor.expectEnd();
    this.isDirty = false;
  }
}
