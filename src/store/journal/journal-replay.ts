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
/**
 * Handed over and not answered. Some more than a page: what waits for a session that Redis does not have
 * yet would hold up all others, until opens wait for them no longer and newer messages overtake them.
 */
const WAITING_MAX = 8 * PAGE_ROWS;

/** `done(false)`: the disk could not be read; what was handed over is, the rest is not. */
export function replayRange(
  parts: ReplayParts,
  from: string,
  to: string,
  done: (isWhole: boolean) => void,
): void {
  const { disk, log } = parts;
  let start = from;
  let waiting = 0;
  let isBusy = false;
  let isRead = false;
  let isOver = false;
  const more = (): void => {
    if (isBusy || isOver) return;
    if (isRead) {
      if (waiting > 0) return;
      isOver = true;
      done(true);
      return;
    }
    if (waiting > WAITING_MAX - PAGE_ROWS) return;
    isBusy = true;
    disk.read(start, to, PAGE_ROWS, (error, rows) => {
      const last = rows.at(-1);
      if (error !== null) {
        log.error({ err: error }, 'the journal cannot be read');
        isOver = true;
        done(false);
        return;
      }
      if (last === undefined) isRead = true;
      else start = after(last.key);
      for (const row of rows) {
        const record = decoded(parts, row);
        if (record === null) continue;
        waiting++;
        parts.counters.replayed++;
        parts.sink.replay(record, answered);
      }
      isBusy = false;
      more();
    });
  };
  const answered = (): void => {
    waiting--;
    more();
  };
  more();
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
