/**
 * What a node's router was told of the other members, noted on its way there: the router itself shows it
 * to nobody. Held against what those members say of themselves when everything has settled.
 */
import type { Incarnation, Interest, Peer } from '../../src/core/cluster-ports.ts';
import type { Remote } from '../../src/core/remote.ts';

export class RouteShadow {
  /** By peer, then `filter` or `$share/group/filter`: interest, or connected members. */
  readonly #routes: Map<Incarnation, Map<string, number>> = new Map();

  constructor(remote: Remote) {
    const { addPeer, removePeer, setInterest, setGroup } = remote;
    remote.addPeer = (peer) => {
      this.#routes.set(peer.incarnation, new Map());
      addPeer.call(remote, peer);
    };
    remote.removePeer = (peer) => {
      this.#routes.delete(peer.incarnation);
      removePeer.call(remote, peer);
    };
    remote.setInterest = (peer, filter, interest) => {
      this.#set(peer, filter, interest);
      setInterest.call(remote, peer, filter, interest);
    };
    remote.setGroup = (peer, group, filter, members) => {
      this.#set(peer, `$share/${group}/${filter}`, members);
      setGroup.call(remote, peer, group, filter, members);
    };
  }

  #set(peer: Peer, route: string, value: Interest | number): void {
    const routes = this.#routes.get(peer.incarnation);
    if (value === 0) routes?.delete(route);
    else routes?.set(route, value);
  }

  get peers(): Iterable<Incarnation> {
    return this.#routes.keys();
  }

  /** Sorted lines; empty also when there is no such peer. */
  of(peer: Incarnation): string[] {
    const lines = [...(this.#routes.get(peer) ?? [])].map(([route, value]) => `${route} ${value}`);
    return lines.sort();
  }

  /** The same of what a node announces itself. */
  static announced(remote: Remote): string[] {
    const lines = [...remote.interests()].map(([filter, interest]) => `${filter} ${interest}`);
    for (const [group, filter, members] of remote.groups()) {
      lines.push(`$share/${group}/${filter} ${members}`);
    }
    return lines.sort();
  }
}
