/**
 * The disk of a simulated machine as the journal sees it: writes take a while, what was synced outlives the
 * node, what was about to be removed then is still there. Made with the machine; each life uses it its own way.
 */
import type { JournalDisk, JournalRow } from '../../src/store/journal/journal-ports.ts';
import type { Kernel } from './kernel.ts';
import type { SimNode } from './sim-node.ts';

const SYNC_MS_MAX = 8;

export class SimJournalDisk {
  readonly #kernel: Kernel;
  readonly #rows: Map<string, Buffer> = new Map();
  /** Planted: writes fail. */
  isFull = false;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** As one life of the machine has it. */
  of(node: SimNode): JournalDisk {
    const kernel = this.#kernel;
    const rows = this.#rows;
    // One after the other, as one thread does it.
    let freeMs = 0;
    const later = (task: () => void): void => {
      const takesMs = 0.2 + kernel.chance.next() * SYNC_MS_MAX;
      freeMs = Math.max(freeMs, kernel.nowMs) + takesMs;
      kernel.after(node, freeMs - kernel.nowMs, task);
    };
    return {
      write: (written, done) => {
        const copies = written.map(({ key, value }) => ({ key, value: Buffer.from(value) }));
        later(() => {
          if (this.isFull) {
            done(new Error('no space left on the simulated disk'));
            return;
          }
          for (const { key, value } of copies) rows.set(key, value);
          done(null);
        });
      },
      remove: (from, to) => {
        later(() => {
          for (const key of [...rows.keys()]) if (key >= from && key <= to) rows.delete(key);
        });
      },
      read: (from, to, countMax, done) => {
        later(() => {
          const found: JournalRow[] = [];
          for (const key of [...rows.keys()].sort()) {
            if (key < from || key > to || found.length >= countMax) continue;
            found.push({ key, value: rows.get(key)! });
          }
          done(null, found);
        });
      },
    };
  }
}
