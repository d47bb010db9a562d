/**
 * Removes the runs and bodies of a deleted session, a bounded number at a time, then its mark. Runs
 * between commits only: both change the counts of shared blocks.
 */
import type { BlockCounts } from './block-counts.ts';
import { RecordDamage } from './damage.ts';
import {
  bodiesKey,
  lastSeqOfRunKey,
  numberKey,
  PROGRESS_PART,
  Prefix,
  partOfRunKey,
  RUN_PART,
  runKey,
} from './keys.ts';
import { readRunFooter } from './run-codec.ts';
import { type Database, SEQ_MAX } from './run-reader.ts';

const ROWS_AT_ONCE = 256;
const ROWS_BYTES = 256 * 1024;

/** One step; true when nothing of the session is left. `write` writes the batch. */
export async function sweepSome(
  db: Database,
  serial: number,
  counts: BlockCounts,
  write: (batch: ReturnType<Database['batch']>) => Promise<void>,
): Promise<boolean> {
  const rows = await db
    .iterator({
      gte: runKey(serial, 0, RUN_PART),
      lte: runKey(serial, SEQ_MAX, PROGRESS_PART),
      limit: ROWS_AT_ONCE,
      highWaterMarkBytes: ROWS_BYTES,
    })
    .all();
  const batch = db.batch();
  for (const [key, value] of rows) {
    batch.del(key);
    if (partOfRunKey(key) === PROGRESS_PART) continue;
    const lastSeq = lastSeqOfRunKey(key);
    batch.del(bodiesKey(serial, lastSeq));
    try {
      for (const block of readRunFooter(value, lastSeq).blocks) counts.release(block);
    } catch (error) {
      // What it referred to is not known any more; those bodies stay.
      if (!(error instanceof RecordDamage)) throw error;
    }
  }
  await counts.write(batch);
  if (rows.length === 0) batch.del(numberKey(Prefix.DOOMED, serial));
  await write(batch);
  return rows.length === 0;
}
