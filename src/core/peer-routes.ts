/**
 * What the clients of other nodes want (data plane): filter to node, one entry a node and filter. Held
 * by the router, filled by remote.ts; a node alone has none.
 */
import { type Incarnation, Interest, type Peer } from './cluster-ports.ts';
import { TopicTree } from './topic-tree.ts';

/** Other nodes a topic goes to, each once. */
export interface PeerRoute {
  /** For QoS 0: all of them. */
  readonly all: readonly Peer[];
  /** For QoS 1 and 2: without those that want it only through the queues of durable sessions. */
  readonly live: readonly Peer[];
}

/** One node's interest in one filter. */
interface Wanted {
  readonly peer: Peer;
  interest: Interest;
}

export class PeerRoutes {
  readonly #exact: Map<string, Wanted[]> = new Map();
  readonly #wild: TopicTree<Wanted> = new TopicTree();
  readonly #byPeer: Map<Incarnation, Map<string, Wanted>> = new Map();

  /** Filters a node has announced. */
  filtersOf(peer: Peer): readonly string[] {
    return [...(this.#byPeer.get(peer.incarnation)?.keys() ?? [])];
  }

  set(peer: Peer, filter: string, interest: Interest): void {
    let filters = this.#byPeer.get(peer.incarnation);
    if (filters === undefined) {
      filters = new Map();
      this.#byPeer.set(peer.incarnation, filters);
    }
    const known = filters.get(filter);
    if (interest === Interest.NONE) {
      if (known === undefined) return;
      filters.delete(filter);
      this.#remove(filter, known);
    } else if (known === undefined) {
      const wanted = { peer, interest };
      filters.set(filter, wanted);
      this.#add(filter, wanted);
    } else {
      known.interest = interest;
    }
  }

  /** The filters it had, whose cached routes are out of date now. */
  removePeer(peer: Peer): readonly string[] {
    const filters = this.#byPeer.get(peer.incarnation);
    if (filters === undefined) return [];
    this.#byPeer.delete(peer.incarnation);
    for (const [filter, wanted] of filters) this.#remove(filter, wanted);
    return [...filters.keys()];
  }

  match(topic: string): PeerRoute | null {
    const matched: Wanted[] = [];
    const exact = this.#exact.get(topic);
    if (exact !== undefined) for (const wanted of exact) matched.push(wanted);
    this.#wild.match(topic, matched);
    if (matched.length === 0) return null;
    const all = new Set<Peer>();
    const live = new Set<Peer>();
    for (const { peer, interest } of matched) {
      all.add(peer);
      if (interest === Interest.ALL) live.add(peer);
    }
    return { all: [...all], live: [...live] };
  }

  #add(filter: string, wanted: Wanted): void {
    if (isWild(filter)) {
      this.#wild.add(filter, wanted);
      return;
    }
    const list = this.#exact.get(filter);
    if (list === undefined) this.#exact.set(filter, [wanted]);
    else list.push(wanted);
  }

  #remove(filter: string, wanted: Wanted): void {
    if (isWild(filter)) {
      this.#wild.remove(filter, wanted);
      return;
    }
    const list = this.#exact.get(filter)!;
    list.splice(list.indexOf(wanted), 1);
    if (list.length === 0) this.#exact.delete(filter);
  }
}

function isWild(filter: string): boolean {
  return filter.indexOf('+') !== -1 || filter.indexOf('#') !== -1;
}
