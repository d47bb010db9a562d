/**
 * Cassandra as simulated regions see it: a table in each (test/store/cassandra/fake-table.ts), which answers
 * after a while, and to which what is written in another comes later, with its timestamp, when it can; now and
 * then a region cannot reach it. One for retained messages, one for the directory of sessions. Used by
 * region-site.ts.
 */
import type { RetainedTable, TableRow } from '../../src/store/cassandra/retained-table.ts';
import { FakeTable, type Fate } from '../store/cassandra/fake-table.ts';
import type { Kernel } from './kernel.ts';
import type { RegionNetwork } from './region-network.ts';
import type { SimNode } from './sim-node.ts';

const EPOCH_MS = 1_800_000_000_000;
/** Of a call, at most. */
const CALL_MS = 20;
/** Hints are sent again. */
const AGAIN_MS = 500;

/** `down`: known to be away; `failing`: each call fails, some of which were done; `slow`: no answer until it is over. */
export type TableTrouble = 'down' | 'failing' | 'slow';

export class RegionTables {
  readonly #kernel: Kernel;
  readonly #network: RegionNetwork;
  readonly #tables: Map<string, FakeTable> = new Map();
  /** Until when, of those that have some. */
  readonly #troubles: Map<string, number> = new Map();
  /** Planted: a region never gets what was written elsewhere. */
  isReplicating = true;

  constructor(kernel: Kernel, network: RegionNetwork, names: readonly string[]) {
    this.#kernel = kernel;
    this.#network = network;
    const world = {
      later: (task: () => void) => void kernel.after(null, kernel.chance.next() * CALL_MS, task),
      wallMs: () => EPOCH_MS + kernel.nowMs,
    };
    for (const name of names) {
      const table = new FakeTable(world);
      table.onChange = (again) => this.#tell(name, again);
      this.#tables.set(name, table);
    }
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
      get isUp() {
        return table.isUp;
      },
      write: (topic, record, timeUs, ttlS, done) => {
        this.#kernel.trace(node, `writes ${topic} at ${timeUs}`);
        table.write(topic, record, timeUs, ttlS, heard(done));
      },
      remove: (topic, timeUs, done) => {
        this.#kernel.trace(node, `removes ${topic} at ${timeUs}`);
        table.remove(topic, timeUs, heard(done));
      },
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

  // ------------------------------------------------------------------ what befalls it

  /** For nodes of that region; what other regions have written still comes. */
  trouble(region: string, kind: TableTrouble, forMs: number): void {
    const table = this.#tables.get(region)!;
    const { chance, nowMs } = this.#kernel;
    this.#troubles.set(region, nowMs + forMs);
    if (kind === 'down') table.isUp = false;
    else if (kind === 'slow') table.fate = () => 'held';
    else table.fate = (): Fate => (chance.next() < 0.5 ? 'late' : 'fails');
    this.#kernel.after(null, forMs, () => {
      if ((this.#troubles.get(region) ?? 0) <= this.#kernel.nowMs) this.#recover(region);
    });
  }

  #recover(region: string): void {
    const table = this.#tables.get(region)!;
    this.#troubles.delete(region);
    table.isUp = true;
    table.fate = () => 'done';
    table.release();
  }

  isTroubled(region: string): boolean {
    return this.#troubles.has(region);
  }

  heal(): void {
    for (const region of [...this.#troubles.keys()]) this.#recover(region);
  }

  // ------------------------------------------------------------------ what is there

  row(region: string, key: string): TableRow | null {
    return this.#tables.get(region)!.row(key);
  }

  /** Text of the message, 'cleared', or null, in each region. */
  textsOf(topic: string): (string | null)[] {
    return [...this.#tables.values()].map((table) => table.textOf(topic));
  }
}
