/**
 * What this region wants, counted: filters of its clients (connected or not), and of other regions that are
 * linked to it, with the regions each is wanted for. Told of each change by the router; read by geo/, which
 * fetches it from other regions (docs/adr/0022).
 */
import type { Incarnation } from './incarnation.ts';

export class WantedFilters {
  /** By filter; then by the regions it is wanted for, with commas between; '': this one's clients. */
  readonly #counts: Map<string, Map<string, number>> = new Map();
  /** What connected clients of other nodes want: by node, then by what it is called there. */
  readonly #ofNodes: Map<Incarnation, Map<string, string>> = new Map();
  /** Told when a filter or its regions come or go. */
  onChange: (() => void) | null = null;

  get size(): number {
    return this.#counts.size;
  }

  add(filter: string, regions: string): void {
    let byRegions = this.#counts.get(filter);
    if (byRegions === undefined) {
      byRegions = new Map();
      this.#counts.set(filter, byRegions);
    }
    const count = byRegions.get(regions) ?? 0;
    byRegions.set(regions, count + 1);
    if (count === 0) this.onChange?.();
  }

  remove(filter: string, regions: string): void {
    const byRegions = this.#counts.get(filter);
    const count = byRegions?.get(regions) ?? 0;
    if (byRegions === undefined || count === 0) return;
    if (count > 1) {
      byRegions.set(regions, count - 1);
      return;
    }
    byRegions.delete(regions);
    if (byRegions.size === 0) this.#counts.delete(filter);
    this.onChange?.();
  }

  /** A filter that clients of another node want under that name, or do not any more. */
  setNode(node: Incarnation, name: string, filter: string, isWanted: boolean): void {
    let names = this.#ofNodes.get(node);
    if (names?.has(name) === isWanted || (names === undefined && !isWanted)) return;
    if (names === undefined) {
      names = new Map();
      this.#ofNodes.set(node, names);
    }
    if (isWanted) {
      names.set(name, filter);
      this.add(filter, '');
    } else {
      names.delete(name);
      this.remove(filter, '');
    }
  }

  removeNode(node: Incarnation): void {
    for (const filter of this.#ofNodes.get(node)?.values() ?? []) this.remove(filter, '');
    this.#ofNodes.delete(node);
  }

  *entries(): Iterable<readonly [filter: string, regions: Iterable<string>]> {
    for (const [filter, byRegions] of this.#counts) yield [filter, byRegions.keys()];
  }
}
