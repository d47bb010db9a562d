/** Makes the store a configuration asks for; it is opened by the broker. Used by `node.ts`. */
import type { StoreMetrics } from '../admin/metric-sources.ts';
import type { Config } from '../config/config.ts';
import type { Log, Store } from '../core/ports.ts';
import { systemScheduler } from '../listeners/scheduler.ts';
import type { MirrorStore } from '../store/cassandra/cassandra-retained.ts';

export interface OpenStore {
  readonly store: Store;
  /** The same, when it can be the mirror of a Cassandra. */
  readonly mirror: MirrorStore | null;
  /** Null: the store has nothing to tell. */
  readonly metrics: () => StoreMetrics | null;
}

/** Only the one in use is loaded: the embedded store brings a native part with it. */
export async function openStore(config: Config, log: Log): Promise<OpenStore> {
  if (config.store === 'memory') {
    const { MemoryStore } = await import('../store/memory/memory-store.ts');
    return { store: new MemoryStore(), mirror: null, metrics: () => null };
  }
  const { EmbeddedStore } = await import('../store/embedded/embedded-store.ts');
  const marksRetained = config.cassandra !== undefined;
  const directory = config.data;
  const store = new EmbeddedStore({ directory, scheduler: systemScheduler, log, marksRetained });
  return { store, mirror: store, metrics: () => store };
}
