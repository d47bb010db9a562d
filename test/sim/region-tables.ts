/**
 * Cassandra as simulated regions see it: a table in each (test/store/cassandra/fake-table.ts), which answers
 * after a while, and to which what is written in another comes later, with its timestamp, when it can. Used by
 * region-site.ts.
 */
import type { RetainedTable } from '../../src/store/cassandra/retained-table.ts';
import { FakeTable } from '../store/cassandra/fake-table.ts';
import type { Kernel } from './kernel.ts';
import type { RegionNetwork } from './region-network.ts';
import type { SimNode } from './sim-node.ts';

const EPOCH_MS = 1_800_000_000_000;
/** Of a call, at most. */
const CALL_MS = 20;
/** Hints are sent again. */
const AGAIN_MS = 500;

export class RegionTables {
  readonly #kernel: Kernel;
  readonly #network: RegionNetwork;
  readonly #tables: Map<string, FakeTable> = new Map();
  /** Planted: a region never gets what was written elsewhere. */
  isReplicating = true;

  constructor(kernel: Kernel, network: RegionNetwork, names: readonly string[]) {
    this.#kernel = kernel;
    this.#network = network;
    const world = {
      later: (task: () => void) => void kernel.after(null, kernel.chance.next() * CALL_MS, task),
      wallMs: () => EPOCH_MS + kernel.nowMs,
    };
    for (const name of names) this.#tables.set(name, new FakeTable(world));
  }

  /** For a process of that region: what it has asked before it died, nobody hears. */
  of(region: string, node: SimNode): RetainedTable {
    const table = this.#tables.get(region)!;
    const heard =
      <Args extends readonly unknown[]>(done: (...args: Args) => void) =>
      (...args: Args): void => {
        this.#kernel.after(node, 0, () => done(...args));
      };
    return {
      isUp: true,
      write: (topic, record, timeUs, ttlS, done) => {
        const bytes = Buffer.from(record);
        table.write(topic, bytes, timeUs, ttlS, (error) => {
          if (error === null) {
            this.#tell(region, (other) => other.put(topic, bytes, timeUs, ttlS));
          }
          heard(done)(error);
        });
      },
      remove: (topic, timeUs, done) =>
        table.remove(topic, timeUs, (error) => {
          if (error === null) this.#tell(region, (other) => other.remove(topic, timeUs, () => {}));
          heard(done)(error);
        }),
      read: (topic, done) => table.read(topic, heard(done)),
      page: (cursor, rowsMax, hasRecords, done) =>
        table.page(cursor, rowsMax, hasRecords, heard(done)),
    };
  }

  #tell(from: string, write: (other: FakeTable) => void): void {
    if (!this.isReplicating) return;
    for (const [to, table] of this.#tables) {
      if (to !== from) this.#send(from, to, () => write(table));
    }
  }

  #send(from: string, to: string, write: () => void): void {
    const isBlocked = this.#network.isBlocked(from, to);
    const delayMs = isBlocked ? AGAIN_MS : this.#network.delayMs(from, to);
    this.#kernel.after(null, delayMs, () => {
      if (isBlocked) this.#send(from, to, write);
      else write();
    });
  }

  /** Text of the message, 'cleared', or null, in each region. */
  textsOf(topic: string): (string | null)[] {
    return [...this.#tables.values()].map((table) => table.textOf(topic));
  }
}
