/**
 * What the connected clients of this node want, for the other nodes: counts per filter and per shared
 * group, of which only the transitions are announced (DESIGN §6, ADR 0011). Called by sessions that
 * come, go and subscribe; a node alone has none.
 */
import { type Bus, Interest } from './cluster-ports.ts';
import type { Session, Subscription } from './session.ts';

class Count {
  /** Receivers fed by their queue for QoS 1 and 2. */
  queued = 0;
  /** All others. */
  live = 0;

  get interest(): Interest {
    if (this.live > 0) return Interest.ALL;
    return this.queued > 0 ? Interest.QOS0 : Interest.NONE;
  }
}

class GroupCount {
  readonly group: string;
  readonly filter: string;
  members = 0;

  constructor(group: string, filter: string) {
    this.group = group;
    this.filter = filter;
  }
}

export class Interests {
  readonly #bus: Bus;
  readonly #filters: Map<string, Count> = new Map();
  /** By full filter. */
  readonly #groups: Map<string, GroupCount> = new Map();
  /** Told of each change in a shared group, by full filter. */
  onGroup: ((fullFilter: string) => void) | null = null;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** The session has a connection from now on. */
  attach(session: Session): void {
    if (session.subscriptions === null) return;
    for (const subscription of session.subscriptions.values()) this.add(subscription);
  }

  /** It has none any more. */
  detach(session: Session): void {
    if (session.subscriptions === null) return;
    for (const subscription of session.subscriptions.values()) this.remove(subscription);
  }

  add(subscription: Subscription): void {
    this.#change(subscription, 1);
  }

  remove(subscription: Subscription): void {
    this.#change(subscription, -1);
  }

  #change(subscription: Subscription, by: number): void {
    const { filter, group } = subscription;
    if (group !== null) {
      this.#changeGroup(subscription.fullFilter, group, filter, by);
      return;
    }
    let count = this.#filters.get(filter);
    if (count === undefined) {
      count = new Count();
      this.#filters.set(filter, count);
    }
    const before = count.interest;
    if (subscription.session.durable && subscription.qos > 0) count.queued += by;
    else count.live += by;
    if (count.queued === 0 && count.live === 0) this.#filters.delete(filter);
    if (count.interest !== before) this.#bus.announceInterest(filter, count.interest);
  }

  #changeGroup(fullFilter: string, group: string, filter: string, by: number): void {
    let count = this.#groups.get(fullFilter);
    if (count === undefined) {
      count = new GroupCount(group, filter);
      this.#groups.set(fullFilter, count);
    }
    count.members += by;
    if (count.members === 0) this.#groups.delete(fullFilter);
    this.#bus.announceGroup(group, filter, count.members);
    this.onGroup?.(fullFilter);
  }

  *filters(): Iterable<readonly [string, Interest]> {
    for (const [filter, count] of this.#filters) yield [filter, count.interest];
  }

  *groups(): Iterable<readonly [string, string, number]> {
    for (const { group, filter, members } of this.#groups.values()) yield [group, filter, members];
  }
}
