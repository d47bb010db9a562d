/**
 * From a write that failed to the next that does not: no writes are taken, and once the disk has room the
 * database is opened again. LevelDB must not go on with the same log before: what follows a torn record in it is
 * lost when it is read. Used by embedded-store.ts, which keeps what must still be written.
 */
import type { Log, Scheduler } from '../../core/ports.ts';
import type { Written } from './commit-writer.ts';
import { probeSpace } from './data-directory.ts';
import type { Batch, Database } from './database.ts';
import { Prefix, plainKey } from './keys.ts';
import type { ResidentRuns } from './resident-runs.ts';
import { encodeNumbers } from './session-codec.ts';
import type { StoredSession } from './stored-session.ts';
import { NOTHING_WRITTEN, removeAdded, wasWritten } from './uncertain-commit.ts';

export interface OutageOptions {
  readonly db: Database;
  readonly directory: string;
  readonly resident: ResidentRuns;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Free space that makes another try worthwhile. */
  readonly probeBytes: number;
  /** Runs the task while nothing else uses the database; not at all if something does. */
  readonly alone: (task: () => Promise<void>) => void;
  /** Synced. */
  readonly write: (batch: Batch) => Promise<void>;
  /** Something of it is to be written again. */
  readonly changed: (session: StoredSession) => void;
}

const PROBE_MS = 1000;

export class WriteOutage {
  readonly #options: OutageOptions;
  /** What the last commit that failed may have left on the disk all the same. */
  #uncertain: Written | null = null;
  #stopProbe: (() => void) | null = null;

  constructor(options: OutageOptions) {
    this.#options = options;
  }

  get isOn(): boolean {
    return this.#stopProbe !== null;
  }

  begin(failure: Error, what: string): void {
    if (this.isOn) return;
    const { log, scheduler, directory, alone } = this.#options;
    log.error({ err: failure, directory }, what);
    this.#stopProbe = scheduler.every(PROBE_MS, () => alone(() => this.#tryAgain()));
  }

  /** Whether it is on the disk is known when the database has been opened again. */
  doubt(written: Written): void {
    this.#uncertain = written;
  }

  /** It is not tried again. */
  stop(): void {
    this.#stopProbe?.();
  }

  async #tryAgain(): Promise<void> {
    const { db, log, directory, probeBytes } = this.#options;
    try {
      await probeSpace(directory, probeBytes);
      await db.close();
      await db.open();
      await this.#settleUncertain();
      this.#stopProbe?.();
      this.#stopProbe = null;
      log.info({ directory }, 'the store takes writes again');
    } catch (error) {
      log.debug({ err: error, directory }, 'the store takes no writes yet');
    }
  }

  /** What is on the disk of the commit that failed; what it had removed is gone, or goes again. */
  async #settleUncertain(): Promise<void> {
    const { db, resident, write, changed } = this.#options;
    const uncertain = this.#uncertain ?? NOTHING_WRITTEN;
    const batch = db.batch();
    batch.put(plainKey(Prefix.PROBE), encodeNumbers([], 0));
    const isOnDisk = await wasWritten(db, uncertain);
    if (isOnDisk) removeAdded(batch, uncertain);
    await write(batch);
    this.#uncertain = null;
    for (const { session, run } of uncertain.removed) {
      if (isOnDisk) {
        resident.remove(session, run);
      } else if (!session.isDeleted) {
        session.touch(run);
        changed(session);
      }
    }
  }
}
