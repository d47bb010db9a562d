/** Makes the store a configuration asks for; it is opened by the broker. Used by `node.ts`. */
import type { StoreMetrics } from '../admin/metric-sources.ts';
import type { Config } from '../config/config.ts';
import type { Store } from '../core/ports.ts';

export interface OpenStore {
  readonly store: Store;
  /** Null: the store has nothing to tell. */
  readonly metrics: () => StoreMetrics | null;
}

/** Only the one in use is loaded: the embedded store brings a native part with it. */
export async function openStore(config: Config): Promise<OpenStore> {
  if (config.store === 'memory') {
    const { MemoryStore } = await import('../store/memory/memory-store.ts');
    return { store: new MemoryStore(), metrics: () => null };
  }
  throw new Error('embedded store not there yet');
}
