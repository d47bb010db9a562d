/**
 * Hands a range of the journal on the disk to Redis, in its order, a page at a time: what an earlier life
 * of this node has left, or a copy kept for another. Used by journal.ts and copy-keeper.ts.
 */
import type { Log } from '../../core/ports.ts';
import type { JournalCounters } from './journal-counters.ts';
import { after } from './journal-keys.ts';
import type { JournalDisk, JournalRow, JournalSink } from './journal-ports.ts';
import { decodeRecord, type JournalRecord } from './journal-record.ts';

export interface ReplayParts {
  readonly disk: JournalDisk;
  readonly sink: JournalSink;
  readonly log: Log;
  readonly counters: JournalCounters;
}

const PAGE_ROWS = 256;

/** `done(false)`: the disk could not be read; what was handed over is, the rest is not. */
export function replayRange(
  parts: ReplayParts,
  from: string,
  to: string,
  done: (isWhole: boolean) => void,
): void {
  const { disk, log } = parts;
  const page = (start: string): void => {
    disk.read(start, to, PAGE_ROWS, (error, rows) => {
      const last = rows.at(-1);
      if (error !== null) {
        log.error({ err: error }, 'the journal cannot be read');
        done(false);
      } else if (last === undefined) {
        done(true);
      } else {
        handOver(parts, rows, () => page(after(last.key)));
      }
    });
  };
  page(from);
}

function handOver(parts: ReplayParts, rows: readonly JournalRow[], then: () => void): void {
  const { sink, counters } = parts;
  // Counted once itself: what is answered at once must not end it early.
  let waiting = 1;
  const answered = (): void => {
    waiting--;
    if (waiting === 0) then();
  };
  for (const row of rows) {
    const record = decoded(parts, row);
    if (record === null) continue;
    waiting++;
    counters.replayed++;
    sink.replay(record, answered);
  }
  answered();
}

function decoded({ log, counters }: ReplayParts, { key, value }: JournalRow): JournalRecord | null {
  try {
    return decodeRecord(value);
  } catch (error) {
    counters.damaged++;
    log.error({ key, why: (error as Error).message }, 'an entry of the journal is damaged');
    return null;
  }
}
