/** Makes the store a configuration asks for; it is opened by the broker. Used by `node.ts`. */
import type { StoreMetrics } from '../admin/metric-sources.ts';
import type { Config } from '../config/config.ts';
import type { Log, Store } from '../core/ports.ts';
import { systemScheduler } from '../listeners/scheduler.ts';

export interface OpenStore {
  readonly store: Store;
  /** Null: the store has nothing to tell. */
  readonly metrics: () => StoreMetrics | null;
}

/** Only the one in use is loaded: the embedded store brings a native part with it. */
export async function openStore(config: Config, log: Log): Promise<OpenStore> {
  if (config.store === 'memory') {
    const { MemoryStore } = await import('../store/memory/memory-store.ts');
    return { store: new MemoryStore(), metrics: () => null };
  }
  const { EmbeddedStore } = await import('../store/embedded/embedded-store.ts');
  const store = new EmbeddedStore({ directory: config.data, scheduler: systemScheduler, log });
  return { store, metrics: () => store };
}
