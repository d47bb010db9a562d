/**
 * The journal of this node as the datacenter uses it: its disk in the data folder, its way to the other
 * nodes, opened before the node joins and closed after the store. Made by `datacenter.ts` where there is a
 * data folder.
 */
import { JournalLinks } from '../cluster/journal-links.ts';
import type { Limits } from '../core/limits.ts';
import type { Log } from '../core/ports.ts';
import { systemClock, systemScheduler } from '../listeners/scheduler.ts';
import { LevelJournal } from '../store/embedded/level-journal.ts';
import { Journal } from '../store/journal/journal.ts';
import type { JournalSink } from '../store/journal/journal-ports.ts';

export interface NodeJournalParts {
  readonly directory: string;
  readonly limits: Limits;
  readonly isLocalEnough: boolean;
  readonly sink: JournalSink;
  readonly log: Log;
}

/** A start waits so long for what an earlier life had journaled; the rest goes on beside it. */
const CATCH_UP_MS = 5000;
const LOOK_MS = 20;

export class NodeJournal {
  readonly links: JournalLinks = new JournalLinks();
  readonly journal: Journal;
  readonly #disk: LevelJournal;
  readonly #log: Log;
  #limits: Limits;
  #isOpen = false;

  constructor({ directory, limits, isLocalEnough, sink, log }: NodeJournalParts) {
    this.#limits = limits;
    this.#log = log;
    this.#disk = new LevelJournal({ directory, scheduler: systemScheduler, log });
    this.journal = new Journal({
      disk: this.#disk,
      scheduler: systemScheduler,
      clock: systemClock,
      log,
      bounds: () => {
        const { journalMessagesMax, journalBytesMax } = this.#limits;
        return { messagesMax: journalMessagesMax, bytesMax: journalBytesMax };
      },
      isLocalEnough,
      courier: this.links,
      sink,
    });
    this.links.journal = this.journal;
  }

  setLimits(limits: Limits): void {
    this.#limits = limits;
  }

  /** What an earlier life has left goes to Redis before the node has clients. Throws what the disk says. */
  async open(): Promise<void> {
    await this.#disk.open();
    this.#isOpen = true;
    await new Promise<void>((resolve, reject) => {
      this.journal.begin((error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
    const endMs = systemClock.monotonicMs() + CATCH_UP_MS;
    await new Promise<void>((resolve) => {
      if (this.journal.isCaughtUp) {
        resolve();
        return;
      }
      const stop = systemScheduler.every(LOOK_MS, () => {
        if (!this.journal.isCaughtUp && systemClock.monotonicMs() < endMs) return;
        stop();
        resolve();
      });
    });
    if (!this.journal.isCaughtUp) {
      this.#log.warn({}, 'what an earlier life had journaled is still on its way to Redis');
    }
  }

  async close(): Promise<void> {
    this.journal.end();
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#disk.close();
  }
}
