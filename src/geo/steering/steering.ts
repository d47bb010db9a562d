/**
 * Says at CONNECT which clients belong to another region, by their address or as their session is there,
 * or to another node of the datacenter, as that has fewer of them. Never says it twice in a row to one client: where it was sent
 * may be away, or send it back. Implements the core's `Steering`; knows neither sockets nor Redis.
 */
import type { Clock, Elsewhere, Steering } from '../../core/ports.ts';
import { type IpNetwork, parseIpNetwork } from '../../util/ip-address.ts';
import { AddressTable } from './address-table.ts';
import type { SteeringOptions } from './steering-options.ts';

/** Another node of the datacenter that takes clients. */
export interface OtherNode {
  readonly nodeKey: string;
  readonly reference: string;
  readonly clients: number;
}

export interface NodeLoads {
  /** Clients that are connected here. */
  readonly ownClients: () => number;
  /** Those heard of lately; another array after each word of theirs. */
  readonly others: () => readonly OtherNode[];
  /** False: this node knows that the region cannot be reached now. */
  readonly isReachable: (region: string) => boolean;
}

/** Clients that were sent away and are remembered; the oldest is forgotten for the next. */
const REMEMBERED_MAX = 65_536;
/** What the broker itself and links are called: they are not devices, and are where they should be. */
const NOT_DEVICES = ['$', 'causeway-health-'] as const;

export interface SteeringCounters {
  /** Clients that were told to go to another region by address, to their home, or to another node. */
  nearest: number;
  home: number;
  leastLoaded: number;
  /** That came back within the patience, and were taken. */
  returned: number;
}

export class RegionSteering implements Steering {
  readonly counters: SteeringCounters;
  readonly #options: SteeringOptions;
  readonly #clock: Clock;
  readonly #loads: NodeLoads;
  /** Null: no address matters. */
  readonly #nearest: AddressTable<Elsewhere> | null;
  /** By client identifier, oldest first: monotonic ms until which it is taken. */
  readonly #sent: Map<string, number>;
  /** Sent to each node since its last word, so that a storm does not all go to one. */
  readonly #sentTo: Map<string, number> = new Map();
  #heard: readonly OtherNode[] = [];

  /** `before`: what it replaces after a reload; who was sent away stays known. */
  constructor(
    options: SteeringOptions,
    clock: Clock,
    loads: NodeLoads,
    before: RegionSteering | null = null,
  ) {
    this.#options = options;
    this.#clock = clock;
    this.#loads = loads;
    this.counters = before?.counters ?? { nearest: 0, home: 0, leastLoaded: 0, returned: 0 };
    this.#sent = before === null ? new Map() : before.#sent;
    const { nearest } = options;
    this.#nearest = nearest.length === 0 ? null : new AddressTable(entriesOf(options));
  }

  elsewhere(clientId: string, version: 3 | 4 | 5, remoteAddress: string): Elsewhere | null {
    if (version !== 5 && this.#options.legacy === 'accept') return null;
    if (NOT_DEVICES.some((prefix) => clientId.startsWith(prefix))) return null;
    const region = this.#nearest?.find(remoteAddress) ?? null;
    const isAbroad = region !== null && region.serverReference !== this.#options.region;
    const node = isAbroad ? null : this.#lessLoaded();
    if (!isAbroad && node === null) return null;
    if (this.#isBack(clientId)) {
      this.counters.returned++;
      return null;
    }
    this.#remember(clientId);
    if (node === null) {
      this.counters.nearest++;
      return region;
    }
    this.counters.leastLoaded++;
    this.#sentTo.set(node.nodeKey, (this.#sentTo.get(node.nodeKey) ?? 0) + 1);
    return { serverReference: node.reference, isForGood: false };
  }

  get hasHomes(): boolean {
    return this.#options.home.length > 0;
  }

  homeOf(clientId: string, version: 3 | 4 | 5, region: string): Elsewhere | null {
    const { home, legacy } = this.#options;
    if (home.length === 0 || (version !== 5 && legacy === 'accept')) return null;
    const entry = home.find((one) => one.region === region);
    if (entry === undefined || !this.#loads.isReachable(region)) return null;
    if (this.#isBack(clientId)) {
      this.counters.returned++;
      return null;
    }
    this.#remember(clientId);
    this.counters.home++;
    return { serverReference: entry.reference, isForGood: false };
  }

  /** The node that should have the next client instead of this one; null: none. */
  #lessLoaded(): OtherNode | null {
    const { leastLoaded } = this.#options;
    if (leastLoaded === undefined) return null;
    const own = this.#loads.ownClients();
    if (own < leastLoaded.clientsMin) return null;
    const others = this.#loads.others();
    if (others !== this.#heard) {
      this.#heard = others;
      this.#sentTo.clear();
    }
    let least: OtherNode | null = null;
    let clientsMin = Number.POSITIVE_INFINITY;
    for (const other of others) {
      const clients = other.clients + (this.#sentTo.get(other.nodeKey) ?? 0);
      if (clients >= clientsMin) continue;
      least = other;
      clientsMin = clients;
    }
    // Both count the client in: at equal loads nobody is moved.
    return (clientsMin + 1) * (100 + leastLoaded.slackPercent) < (own + 1) * 100 ? least : null;
  }

  #isBack(clientId: string): boolean {
    const untilMs = this.#sent.get(clientId);
    if (untilMs === undefined) return false;
    if (untilMs > this.#clock.monotonicMs()) return true;
    this.#sent.delete(clientId);
    return false;
  }

  #remember(clientId: string): void {
    const { patienceS } = this.#options;
    if (this.#sent.size >= REMEMBERED_MAX) {
      for (const oldest of this.#sent.keys()) {
        this.#sent.delete(oldest);
        break;
      }
    }
    this.#sent.set(clientId, this.#clock.monotonicMs() + patienceS * 1000);
  }
}

function* entriesOf({ nearest }: SteeringOptions): Generator<readonly [IpNetwork, Elsewhere]> {
  for (const { reference, addresses, forGood } of nearest) {
    const elsewhere = { serverReference: reference, isForGood: forGood };
    for (const text of addresses) {
      const network = parseIpNetwork(text);
      if (network !== null) yield [network, elsewhere];
    }
  }
}
