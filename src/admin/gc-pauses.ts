/**
 * Garbage collections of this process, told by Node as they happen.
 */
import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';

export const GC_NAME = 'causeway_gc_duration_seconds';
export const GC_HELP = 'Garbage collections and how long they took, by kind.';
export const GC_BUCKETS_SECONDS: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
];

const KINDS: ReadonlyMap<number, string> = new Map([
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
  [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weak_callbacks'],
]);

export const gcKinds: readonly string[] = [...KINDS.values()];

/** Calls `observe` for each collection until the returned function is called. */
export function watchCollections(observe: (kind: string, seconds: number) => void): () => void {
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const detail = (entry as PerformanceEntry & { readonly detail?: { readonly kind?: number } })
        .detail;
      observe(KINDS.get(detail?.kind ?? -1) ?? 'other', entry.duration / 1000);
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  return () => observer.disconnect();
}
