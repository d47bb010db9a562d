/** Makes the store a configuration asks for; it is opened by the broker. Used by `node.ts`. */
import type { StoreMetrics } from '../admin/metric-sources.ts';
import type { Config } from '../config/config.ts';
import type { Log, Store, Ticket } from '../core/ports.ts';
import { systemScheduler } from '../listeners/scheduler.ts';
import type { MirrorStore } from '../store/cassandra/cassandra-retained.ts';

export interface OpenStore {
  readonly store: Store;
  /** The same, when it can be the mirror of a Cassandra. */
  readonly mirror: MirrorStore | null;
  /** Keeps what another room has with the next commit; null: nothing is kept. */
  readonly notes: { putNote(key: string, value: Buffer | null): Ticket } | null;
  /** Null: the store has nothing to tell. */
  readonly metrics: () => StoreMetrics | null;
}

/** Only the one in use is loaded: the embedded store brings a native part with it. */
export async function openStore(
  config: Config,
  log: Log,
  onNote: ((key: string, value: Buffer) => void) | undefined,
): Promise<OpenStore> {
  if (config.store === 'memory') {
    const { MemoryStore } = await import('../store/memory/memory-store.ts');
    return { store: new MemoryStore(), mirror: null, notes: null, metrics: () => null };
  }
  const { EmbeddedStore } = await import('../store/embedded/embedded-store.ts');
  const marksRetained = config.cassandra !== undefined;
  const directory = config.data;
  const scheduler = systemScheduler;
  const store = new EmbeddedStore({ directory, scheduler, log, marksRetained, onNote });
  return { store, mirror: store, notes: store, metrics: () => store };
}
