/** Where records go that cannot be decoded: beside the others, for people to look at. */
import type { Log } from '../../core/ports.ts';
import type { Database } from './database.ts';
import { Prefix, progressKey, quarantineKey, RunKeyView } from './keys.ts';

/** Takes a record that cannot be decoded out of the way. */
export type MoveAside = (key: Buffer, value: Buffer, why: string) => Promise<void>;

export class Quarantine {
  /** Records moved there since the start. */
  count = 0;
  readonly #db: Database;
  readonly #log: Log;

  constructor(db: Database, log: Log) {
    this.#db = db;
    this.#log = log;
  }

  readonly moveAside: MoveAside = async (key, value, why) => {
    this.count++;
    this.#log.error({ key: key.toString('hex'), why }, 'damaged record moved aside');
    try {
      const batch = this.#db.batch().put(quarantineKey(key), value).del(key);
      // What was settled of a run says nothing without it.
      const view = new RunKeyView();
      if (key[0] === Prefix.RUN && view.parseBytes(key)) {
        batch.del(progressKey(view.serial, view.lastSeq));
      }
      await batch.write({ sync: true });
    } catch (error) {
      this.#log.error({ err: error, key: key.toString('hex') }, 'it is still in its place');
    }
  };
}
