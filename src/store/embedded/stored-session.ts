/** What the embedded store holds in memory of one session: what has changed and what is being read. */
import type { SessionRecord } from '../../core/ports.ts';
import { EntryState, type QueueEntry } from '../../core/queue-entry.ts';
import type { RunState } from './run-state.ts';

export interface PendingRead {
  readonly fromSeq: number;
  readonly messagesMax: number;
  readonly bytesMax: number;
  /** Appended when the read was asked for: it waits until this is committed. */
  readonly afterSeq: number;
  readonly done: (entries: QueueEntry[], error: Error | null) => void;
}

/** Numbers that one change takes in `changes`: position, state, bytes of the message. */
export const CHANGE_STRIDE = 3;

export class StoredSession {
  /** The core's number. */
  readonly number: number;
  /** Ours, in keys; never used again, also after the session is gone. */
  readonly serial: number;
  /** Record to be written; null: nothing changed. */
  record: SessionRecord | null = null;
  /** Appended and not yet in a commit. */
  pending: QueueEntry[] = [];
  /** Entries of the commit under way. */
  committing: QueueEntry[] = [];
  /** Settled or released since the last commit, in steps of CHANGE_STRIDE. */
  changes: number[] = [];
  /** Changes whose runs the next commit has to read first. */
  unresolved: number[] = [];
  /** Runs in memory, in order of position. `ResidentRuns` adds and removes. */
  readonly runs: RunState[] = [];
  /** Rises whenever a run leaves memory: what was read of the disk before may be out of date. */
  removals = 0;
  readonly inboundIds: Set<number> = new Set();
  isInboundDirty = false;
  /** Highest position of a run that has been removed; 0: none. */
  tailSeq = 0;
  isTailDirty = false;
  /** It is in the store's list of what the next commit looks at. */
  isDirty = false;
  isDeleted = false;
  /** Reads that wait for a commit. */
  readonly waiting: PendingRead[] = [];
  /** Runs whose progress has to be written. */
  #dirtyRuns: RunState[] = [];
  /** The run of the last settled entry; the next one is mostly of the same. */
  #settling: RunState | null = null;

  constructor(number: number, serial: number) {
    this.number = number;
    this.serial = serial;
  }

  /** The run in memory that holds the position, or null. */
  runOf(seq: number): RunState | null {
    const run = this.runs[this.#indexOf(seq)];
    return run !== undefined && run.firstSeq <= seq ? run : null;
  }

  /** The run in memory that ends at the position, or null. */
  runEndingAt(lastSeq: number): RunState | null {
    const run = this.runs[this.#indexOf(lastSeq)];
    return run !== undefined && run.lastSeq === lastSeq ? run : null;
  }

  /** Index of the first run that ends at or after the position. */
  #indexOf(seq: number): number {
    const { runs } = this;
    let low = 0;
    let high = runs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (runs[middle]!.lastSeq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Puts a run in its place; returns the one that is there already, if one is. */
  insertRun(run: RunState): RunState {
    const { runs } = this;
    const last = runs.at(-1);
    if (last === undefined || last.lastSeq < run.lastSeq) {
      runs.push(run);
      return run;
    }
    const at = this.#indexOf(run.lastSeq);
    const there = runs[at]!;
    if (there.lastSeq === run.lastSeq) return there;
    runs.splice(at, 0, run);
    return run;
  }

  removeRun(run: RunState): void {
    const at = this.#indexOf(run.lastSeq);
    if (this.runs[at] !== run) return;
    this.runs.splice(at, 1);
    this.removals++;
    if (run === this.#settling) this.#settling = null;
  }

  /** Nothing more is owed for a durable entry: in its run at once, or when its run has come into memory. */
  settle(seq: number, messageBytes: number): void {
    let run = this.#settling;
    if (run === null || seq < run.firstSeq || seq > run.lastSeq) {
      run = this.runOf(seq);
      this.#settling = run;
    }
    if (run === null) this.changes.push(seq, EntryState.SETTLED, messageBytes);
    else this.mark(run, seq, EntryState.SETTLED, messageBytes);
  }

  /** Sets the state of an entry in its run. */
  mark(run: RunState, seq: number, state: number, messageBytes: number): void {
    if (run.set(seq, state, messageBytes)) this.touch(run);
  }

  /** The run's progress has to be written (again). */
  touch(run: RunState): void {
    if (run.isDirty) return;
    run.isDirty = true;
    this.#dirtyRuns.push(run);
  }

  takeDirtyRuns(): RunState[] {
    const dirty = this.#dirtyRuns;
    if (dirty.length > 0) this.#dirtyRuns = [];
    return dirty;
  }

  /** Brings changes into the runs in memory; those of other runs become `unresolved`. */
  applyChanges(): void {
    const { changes } = this;
    if (changes.length === 0) return;
    this.changes = [];
    let run: RunState | null = null;
    for (let i = 0; i < changes.length; i += CHANGE_STRIDE) {
      const seq = changes[i]!;
      if (run === null || seq < run.firstSeq || seq > run.lastSeq) run = this.runOf(seq);
      if (run !== null) this.mark(run, seq, changes[i + 1]!, changes[i + 2]!);
      else this.unresolved.push(seq, changes[i + 1]!, changes[i + 2]!);
    }
  }

  /** A run has just come into memory: what has been changed about it and is not written yet. */
  applyChangesTo(run: RunState): void {
    const { unresolved } = this;
    for (let i = 0; i < unresolved.length; i += CHANGE_STRIDE) {
      const seq = unresolved[i]!;
      if (seq < run.firstSeq || seq > run.lastSeq) continue;
      this.mark(run, seq, unresolved[i + 1]!, unresolved[i + 2]!);
    }
  }
}
