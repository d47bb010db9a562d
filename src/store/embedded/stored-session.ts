/** What the embedded store holds in memory of one session: what has changed and what is being read. */
import type { SessionRecord } from '../../core/ports.ts';
import type { QueueEntry } from '../../core/queue-entry.ts';
import type { RunState } from './run-state.ts';

export interface PendingRead {
  readonly fromSeq: number;
  readonly messagesMax: number;
  readonly bytesMax: number;
  /** Appended when the read was asked for: it waits until this is committed. */
  readonly afterSeq: number;
  readonly done: (entries: QueueEntry[], error: Error | null) => void;
}

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
  /** Settled or released since the last commit: position, state, position, state … */
  changes: number[] = [];
  /** Runs whose entries the core may hold, in order of position. */
  readonly runs: RunState[] = [];
  readonly inboundIds: Set<number> = new Set();
  isInboundDirty = false;
  /** Highest position of a run that has been removed; 0: none. */
  tailSeq = 0;
  isTailDirty = false;
  isDirty = false;
  isDeleted = false;
  /** Reads that wait for a commit. */
  readonly waiting: PendingRead[] = [];

  constructor(number: number, serial: number) {
    this.number = number;
    this.serial = serial;
  }

  /** The run in memory that holds the position, or null. */
  runOf(seq: number): RunState | null {
    const { runs } = this;
    let low = 0;
    let high = runs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (runs[middle]!.lastSeq < seq) low = middle + 1;
      else high = middle;
    }
    const run = runs[low];
    return run !== undefined && run.firstSeq <= seq ? run : null;
  }

  /** Keeps a run in memory, in its place. */
  addRun(run: RunState): void {
    const { runs } = this;
    let at = runs.length;
    while (at > 0 && runs[at - 1]!.lastSeq > run.lastSeq) at--;
    if (runs[at - 1]?.lastSeq !== run.lastSeq) runs.splice(at, 0, run);
  }

  removeRun(run: RunState): void {
    const at = this.runs.indexOf(run);
    if (at !== -1) this.runs.splice(at, 1);
  }
}
