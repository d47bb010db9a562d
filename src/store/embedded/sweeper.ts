/**
 * Removes the runs and bodies of a deleted session, a bounded number at a time, then its mark. Runs
 * between commits only: both change the counts of shared blocks.
 */
import type { BlockCounts } from './block-counts.ts';
import { RecordDamage } from './damage.ts';
import type { Batch, Database } from './database.ts';
import { bodiesKey, numberKey, Prefix, RunKeyView, runRange } from './keys.ts';
import { readRunFooter } from './run-codec.ts';

const ROWS_AT_ONCE = 256;
const ROWS_BYTES = 256 * 1024;

/** One step; true when nothing of the session is left. `write` writes the batch. */
export async function sweepSome(
  db: Database,
  serial: number,
  counts: BlockCounts,
  write: (batch: Batch) => Promise<void>,
): Promise<boolean> {
  const rows = await db
    .iterator({
      ...runRange(serial, 0),
      limit: ROWS_AT_ONCE,
      highWaterMarkBytes: ROWS_BYTES,
    })
    .all();
  const batch = db.batch();
  const view = new RunKeyView();
  for (const [key, value] of rows) {
    batch.del(key);
    if (!view.parseBytes(key) || view.isProgress) continue;
    const { lastSeq } = view;
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
