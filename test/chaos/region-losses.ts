/**
 * What a Redis that is emptied takes with it in a run over regions, for the books: what was in a queue of a
 * client there is missing to that client; what was in the queue of a link is missing to whoever can have it
 * over that link alone, and may be late to others. Everything else has to come, once and in order. Used by region-faults.ts.
 */
import { fetcherOf, type LinkName, sourceOf } from '../support/region-config.ts';
import type { LostEntry } from './emptied-redis.ts';
import type { Ledger } from './ledger.ts';
import { readPayload } from './stage.ts';

const LINK_SESSION = '$link/';
const GROUP = 'group of ';

export class RegionLosses {
  readonly #ledger: Ledger;
  readonly #links: readonly LinkName[];
  readonly #hasVersions: boolean;
  /** By topic: values of retained messages that links have lost. */
  readonly #retained: Map<string, Set<string>> = new Map();

  /** `hasVersions`: Cassandra brings what links have lost of retained messages. */
  constructor(ledger: Ledger, links: Iterable<LinkName>, hasVersions: boolean) {
    this.#ledger = ledger;
    this.#links = [...links];
    this.#hasVersions = hasVersions;
  }

  /** The Redis of `region` has lost what it had, of which `lost` was in queues. */
  emptied(region: string, lost: readonly LostEntry[]): void {
    // Its publishers find no trace there of what they had begun; its readers get again what they may have had.
    this.#ledger.storeLost(
      (reader, publisher) => regionOf(reader) === region || regionOf(publisher) === region,
    );
    const linksOf = new Map<string, Set<string>>();
    for (const { clientId, group, topic, retain, payload } of lost) {
      const isLinks = clientId.startsWith(LINK_SESSION);
      if (isLinks && retain) this.#lostRetained(topic, payload);
      const { stream, seq } = readPayload(payload);
      if (!Number.isInteger(stream)) continue;
      if (isLinks) {
        const key = `${stream}:${seq}`;
        const known = linksOf.get(key) ?? new Set();
        linksOf.set(key, known.add(clientId.slice(LINK_SESSION.length)));
      } else {
        this.#ledger.mayMiss(group === undefined ? clientId : `${GROUP}${region}`, stream, seq);
      }
    }
    for (const [key, fetchers] of linksOf) {
      const [stream, seq] = key.split(':').map(Number) as [number, number];
      const origin = regionOf(this.#ledger.publisherOf(stream)!);
      const reached = this.#reached(origin, region, fetchers);
      for (const reader of this.#ledger.readers) {
        const at = regionOf(reader);
        if (!reached.has(at)) this.#ledger.mayMiss(reader, stream, seq);
        // Over another way it may come behind what this one has brought since.
        if (at !== region) this.#ledger.mayBeLate(reader, stream, seq);
      }
    }
  }

  /** Regions that a message of `origin` comes to though `region` hands it to none of `fetchers`. */
  #reached(origin: string, region: string, fetchers: ReadonlySet<string>): Set<string> {
    const reached = new Set([origin]);
    for (const from of reached) {
      for (const link of this.#links) {
        const to = fetcherOf(link);
        if (sourceOf(link) !== from || (from === region && fetchers.has(to))) continue;
        reached.add(to);
      }
    }
    return reached;
  }

  #lostRetained(topic: string, payload: Buffer): void {
    if (this.#hasVersions) return;
    const known = this.#retained.get(topic) ?? new Set();
    this.#retained.set(topic, known.add(payload.toString('latin1')));
  }

  /** Regions may differ in a topic whose last change was lost: until the next one there is nobody to bring it. */
  mayDiffer(topic: string, allowed: readonly string[]): boolean {
    const lost = this.#retained.get(topic);
    return lost !== undefined && allowed.some((value) => lost.has(value));
  }
}

/** Of a reader or a publisher of region-cast.ts. */
function regionOf(name: string): string {
  return name.startsWith(GROUP) ? name.slice(GROUP.length) : name.slice(0, name.indexOf('-'));
}
