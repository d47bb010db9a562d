/**
 * The disk of the journal (store/journal): a LevelDB of its own beside the store's, so that neither waits
 * for the other. Calls are carried out one after the other; after a write that failed it is opened again
 * before the next one, as what follows a torn record in a log is lost. Opened and closed by app/.
 */
import type { Log, Scheduler } from '../../core/ports.ts';
import type { JournalDisk, JournalRow } from '../journal/journal-ports.ts';
import { openDirectory } from './data-directory.ts';
import { type Database, databaseIn } from './database.ts';

const SIZES = {
  writeBufferBytes: 4 * 1024 * 1024,
  cacheBytes: 1024 * 1024,
  openFilesMax: 32,
};

export interface LevelJournalOptions {
  readonly directory: string;
  readonly scheduler: Scheduler;
  readonly log: Log;
}

export class LevelJournal implements JournalDisk {
  readonly #options: LevelJournalOptions;
  readonly #db: Database;
  #line: Promise<void> = Promise.resolve();
  #isBroken = false;
  #isClosed = false;

  constructor(options: LevelJournalOptions) {
    this.#options = options;
    this.#db = databaseIn(options.directory, SIZES);
  }

  /** Throws a StoreOpenError. */
  async open(): Promise<void> {
    await openDirectory(this.#db, this.#options.directory, this.#options.log);
  }

  /** After what was asked for; later calls are not answered. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#line;
    await this.#db.close();
  }

  write(rows: readonly JournalRow[], done: (error: Error | null) => void): void {
    this.#next(async () => {
      let failure: Error | null = null;
      try {
        await this.#write(rows);
      } catch (error) {
        this.#isBroken = true;
        failure = error as Error;
      }
      this.#answer(() => done(failure));
    });
  }

  async #write(rows: readonly JournalRow[]): Promise<void> {
    if (this.#isBroken) {
      await this.#db.close();
      await this.#db.open();
      this.#isBroken = false;
    }
    const batch = this.#db.batch();
    for (const { key, value } of rows) batch.put(keyOf(key), value);
    await batch.write({ sync: true });
  }

  remove(from: string, to: string): void {
    this.#next(async () => {
      try {
        await this.#db.clear({ gte: keyOf(from), lte: keyOf(to) });
      } catch (error) {
        // What stays is replayed in vain, once.
        this.#options.log.warn({ err: error }, 'entries of the journal could not be removed');
      }
    });
  }

  read(
    from: string,
    to: string,
    countMax: number,
    done: (error: Error | null, rows: readonly JournalRow[]) => void,
  ): void {
    this.#next(async () => {
      const rows: JournalRow[] = [];
      let failure: Error | null = null;
      try {
        const range = { gte: keyOf(from), lte: keyOf(to), limit: countMax };
        for (const [key, value] of await this.#db.iterator(range).all()) {
          rows.push({ key: key.toString('latin1'), value });
        }
      } catch (error) {
        failure = error as Error;
      }
      this.#answer(() => done(failure, rows));
    });
  }

  #next(task: () => Promise<void>): void {
    if (!this.#isClosed) this.#line = this.#line.then(task);
  }

  /** Outside of the promise: what a callback throws is nobody's rejection. */
  #answer(task: () => void): void {
    this.#options.scheduler.nextTurn(() => {
      if (!this.#isClosed) task();
    });
  }
}

function keyOf(key: string): Buffer {
  return Buffer.from(key, 'latin1');
}
