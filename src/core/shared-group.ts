/**
 * One shared subscription: a group name, a filter and its members [MQTT5-4.8.2]. It chooses who gets a
 * message; delivery and redispatch are delivery.ts' business.
 */
import type { Incarnation, Peer } from './cluster-ports.ts';
import type { SharedStrategy } from './limits.ts';
import type { Random } from './ports.ts';
import type { Session, Subscription } from './session.ts';

export class SharedGroup {
  readonly group: string;
  readonly filter: string;
  readonly members: Subscription[] = [];
  /** Connected members at other nodes; null: none, or alone. */
  #remote: Map<Incarnation, { readonly peer: Peer; readonly members: number }> | null = null;
  #next = 0;
  #sticky: Subscription | null = null;

  constructor(group: string, filter: string) {
    this.group = group;
    this.filter = filter;
  }

  /** A member subscribes again: its new options replace the old ones in place. */
  add(member: Subscription): void {
    const index = this.members.findIndex((other) => other.session === member.session);
    if (index === -1) this.members.push(member);
    else this.members[index] = member;
    if (this.#sticky?.session === member.session) this.#sticky = member;
  }

  remove(session: Session): void {
    const index = this.members.findIndex((member) => member.session === session);
    if (index === -1) return;
    this.members.splice(index, 1);
    if (this.#sticky?.session === session) this.#sticky = null;
    if (this.#next > index) this.#next--;
  }

  get fullFilter(): string {
    return `$share/${this.group}/${this.filter}`;
  }

  memberOf(clientId: string): Subscription | null {
    return this.members.find(({ session }) => session.clientId === clientId) ?? null;
  }

  /** Members whose queue outlives them and may take QoS 1 and 2. */
  get durableMembers(): Subscription[] {
    return this.members.filter(({ session, qos }) => session.durable && qos > 0);
  }

  get isEmpty(): boolean {
    return this.members.length === 0 && this.#remote === null;
  }

  /** False: nothing has changed. */
  setRemote(peer: Peer, members: number): boolean {
    const known = this.#remote?.get(peer.incarnation)?.members ?? 0;
    if (known === members) return false;
    this.#remote ??= new Map();
    if (members > 0) this.#remote.set(peer.incarnation, { peer, members });
    else this.#remote.delete(peer.incarnation);
    if (this.#remote.size === 0) this.#remote = null;
    return true;
  }

  /**
   * Another node whose members get this one, each member of the datacenter with the same chance; null:
   * `choose` here. Durable members elsewhere are chosen here for QoS 1 and 2, through their queues.
   */
  choosePeer(random: Random, qos: number): Peer | null {
    if (this.#remote === null) return null;
    // A queue is what an ack of QoS 1 and 2 stands for, where some member has one (P1).
    if (qos > 0 && this.members.some(({ session }) => session.durable)) return null;
    let here = 0;
    const queued: Map<Incarnation, number> = new Map();
    for (const { session, qos: granted } of this.members) {
      if (session.connected) {
        here++;
      } else if (session.isElsewhere && qos > 0 && granted > 0) {
        here++;
        const { owner } = session.ownership!;
        queued.set(owner!, (queued.get(owner!) ?? 0) + 1);
      }
    }
    let total = here;
    for (const [incarnation, { members }] of this.#remote) {
      total += Math.max(0, members - (queued.get(incarnation) ?? 0));
    }
    if (total === 0) return null;
    let chosen = random.below(total) - here;
    if (chosen < 0) return null;
    for (const [incarnation, { peer, members }] of this.#remote) {
      chosen -= Math.max(0, members - (queued.get(incarnation) ?? 0));
      if (chosen < 0) return peer;
    }
    return null;
  }

  /**
   * Chooses a member: a connected one with room while there is any, else (for QoS 1 and 2) an offline
   * durable one. `qos` is the published one. Null when nobody can take it.
   */
  choose(
    strategy: SharedStrategy,
    random: Random,
    publisherId: string,
    topicHash: number,
    qos: number,
  ): Subscription | null {
    const members = this.members;
    const count = members.length;
    if (count === 0) return null;
    let start = 0;
    switch (strategy) {
      case 'round_robin':
        start = this.#next % count;
        this.#next = start + 1;
        break;
      case 'random':
        start = random.below(count);
        break;
      case 'sticky':
        start = this.#sticky === null ? random.below(count) : members.indexOf(this.#sticky);
        break;
      case 'client_id':
        start = hashText(publisherId) % count;
        break;
      case 'topic':
        start = topicHash % count;
        break;
      case 'least_inflight':
        start = leastInflight(members);
        break;
    }
    let busy: Subscription | null = null;
    let offline: Subscription | null = null;
    for (let i = 0; i < count; i++) {
      const member = members[(start + i) % count]!;
      const session = member.session;
      if (session.connected) {
        if (hasRoom(session)) {
          if (strategy === 'sticky') this.#sticky = member;
          return member;
        }
        busy ??= member;
      } else if (session.isElsewhere && qos > 0 && member.qos > 0) {
        return member;
      } else if (session.durable && qos > 0 && member.qos > 0) {
        offline ??= member;
      }
    }
    return busy ?? offline;
  }
}

function hasRoom(session: Session): boolean {
  if (session.queue !== null && session.queue.length > 0) return false;
  return session.inflight === null || session.inflight.open < session.inflightMax;
}

function leastInflight(members: readonly Subscription[]): number {
  let best = 0;
  let bestLoad = Number.POSITIVE_INFINITY;
  for (let i = 0; i < members.length; i++) {
    const session = members[i]!.session;
    const load = (session.inflight?.open ?? 0) + session.queuedMessages;
    if (session.connected && load < bestLoad) {
      bestLoad = load;
      best = i;
    }
  }
  return best;
}

/** FNV-1a, unsigned. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16_777_619);
  return hash >>> 0;
}
