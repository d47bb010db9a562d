/** A temporary directory with an embedded store in it, for tests; and a look at the raw records. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import type { Test } from 'tap';
import { systemScheduler } from '../../src/listeners/scheduler.ts';
import {
  EmbeddedStore,
  type EmbeddedStoreOptions,
} from '../../src/store/embedded/embedded-store.ts';
import { LogRecorder, StoreRecorder } from '../contract/store-recorder.ts';

export interface EmbeddedSubject {
  readonly store: EmbeddedStore;
  readonly events: StoreRecorder;
  readonly log: LogRecorder;
}

export class EmbeddedHome {
  readonly directory: string;
  readonly #open: Set<EmbeddedStore> = new Set();

  constructor(t: Test, directory?: string) {
    const made = directory ?? mkdtempSync(join(tmpdir(), 'causeway-store-'));
    this.directory = made;
    t.teardown(async () => {
      for (const store of this.#open) await store.stop();
      if (directory === undefined) rmSync(made, { recursive: true, force: true });
    });
  }

  async open(options: Partial<EmbeddedStoreOptions> = {}): Promise<EmbeddedSubject> {
    const log = new LogRecorder();
    const store = new EmbeddedStore({
      directory: this.directory,
      scheduler: systemScheduler,
      log,
      ...options,
    });
    const events = new StoreRecorder();
    await store.start(events, events);
    this.#open.add(store);
    return { store, events, log };
  }

  /** Works on the records of a stopped store. */
  async raw<T>(work: (db: ClassicLevel<Buffer, Buffer>) => Promise<T>): Promise<T> {
    const db = new ClassicLevel<Buffer, Buffer>(this.directory, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
    });
    await db.open();
    try {
      return await work(db);
    } finally {
      await db.close();
    }
  }

  /** How many records there are of each kind, by the letter their keys begin with. */
  kinds(): Promise<Record<string, number>> {
    return this.raw(async (db) => {
      const found: Record<string, number> = {};
      for await (const key of db.keys()) {
        const kind = String.fromCharCode(key[0]!);
        found[kind] = (found[kind] ?? 0) + 1;
      }
      return found;
    });
  }
}
