/**
 * A commit whose write failed may be on the disk all the same: the log had it, only the sync or the
 * answer did not come. Once the database is open again this tells, and takes back what it had added:
 * its publishers believe it lost.
 */
import type { SessionRun, Written } from './commit-writer.ts';
import type { Batch, Database } from './database.ts';
import { bodiesKey, numberKey, Prefix, runKey } from './keys.ts';

export const NOTHING_WRITTEN: Written = { runs: [], blocks: [], progress: [], removed: [] };

/** A commit is on the disk as a whole or not at all, so one of its records tells. */
export async function wasWritten(db: Database, written: Written): Promise<boolean> {
  const [removed] = written.removed;
  // Also true when what it had added has been taken back by an attempt that failed after that.
  if (removed !== undefined) return !(await hasRun(db, removed));
  const [added] = written.runs;
  return added !== undefined && (await hasRun(db, added));
}

/** Removes its runs and blocks; nothing else refers to them. */
export function removeAdded(batch: Batch, written: Written): void {
  for (const { session, run } of written.runs) {
    batch.del(runKey(session.serial, run));
    batch.del(bodiesKey(session.serial, run.lastSeq));
  }
  for (const block of written.blocks) batch.del(numberKey(Prefix.BLOCK, block));
}

async function hasRun(db: Database, { session, run }: SessionRun): Promise<boolean> {
  return (await db.get(runKey(session.serial, run))) !== undefined;
}
