/**
 * Who receives a topic (data plane). Exact filters live in a map, wildcards in a tree; the compiled
 * result for a topic is cached until a subscription that could concern it changes. Overlapping
 * subscriptions of one session become one receiver with the highest QoS and all their identifiers
 * (our choice under [MQTT5-3.3.4-2]).
 */
import { copyBytes } from '../util/bytes.ts';
import { type PublishView, topicText } from '../wire/publish.ts';
import { Interest, type Peer } from './cluster-ports.ts';
import { PeerRoutes } from './peer-routes.ts';
import { NO_ROUTE, type Route } from './route.ts';
import { RouteCache, TopicEntry } from './route-cache.ts';
import { Subscription } from './session.ts';
import { SharedGroup } from './shared-group.ts';
import type { Stats } from './stats.ts';
import { TopicTree } from './topic-tree.ts';
import type { WantedFilters } from './wanted-filters.ts';

const BUCKETS = 256;

export class Router {
  readonly #exact: Map<string, Subscription[]> = new Map();
  readonly #wild: TopicTree<Subscription> = new TopicTree();
  /** Shared groups by filter, then by name. */
  readonly #groups: Map<string, Map<string, SharedGroup>> = new Map();
  readonly #exactGroups: Map<string, SharedGroup[]> = new Map();
  readonly #wildGroups: TopicTree<SharedGroup> = new TopicTree();
  /** Changes under a literal first level only spoil cached topics with that first level. */
  readonly #generations: Float64Array = new Float64Array(BUCKETS);
  #wildGeneration = 0;
  #stamp = 0;
  /** Null until the first node is known. */
  #peers: PeerRoutes | null = null;
  readonly cache: RouteCache;
  readonly #stats: Stats;

  /** Null: no other region is linked. */
  readonly #wanted: WantedFilters | null;

  constructor(stats: Stats, routeCacheReceiversMax: number, wanted: WantedFilters | null = null) {
    this.#stats = stats;
    this.#wanted = wanted;
    this.cache = new RouteCache(routeCacheReceiversMax);
  }

  /** Adds the subscription, replacing `previous` of the same session and filter. */
  add(subscription: Subscription, previous: Subscription | null): void {
    this.#touch(subscription.filter);
    if (subscription.group !== null) {
      this.#joinGroup(subscription, subscription.group);
      if (previous === null) this.#stats.sharedSubscriptions++;
    } else {
      if (previous !== null) this.#removePlain(previous);
      this.#addPlain(subscription);
    }
    if (previous !== null) return;
    this.#stats.subscriptions++;
    this.#wanted?.add(subscription.filter, subscription.wantedFor);
  }

  remove(subscription: Subscription): void {
    this.#touch(subscription.filter);
    if (subscription.group !== null) {
      this.#leaveGroup(subscription, subscription.group);
      this.#stats.sharedSubscriptions--;
    } else {
      this.#removePlain(subscription);
    }
    this.#stats.subscriptions--;
    this.#wanted?.remove(subscription.filter, subscription.wantedFor);
  }

  /** What another node wants of a filter. */
  setInterest(peer: Peer, filter: string, interest: Interest): void {
    this.#peers ??= new PeerRoutes();
    this.#peers.set(peer, filter, interest);
    // The rest are durable sessions, which are known here as they are.
    this.#wanted?.setNode(peer.incarnation, filter, filter, interest === Interest.ALL);
    this.#touch(filter);
  }

  /** How many members of a shared group are connected to another node. */
  setGroup(peer: Peer, group: string, filter: string, members: number): void {
    this.#wanted?.setNode(peer.incarnation, `$share/${group}/${filter}`, filter, members > 0);
    const known = this.groupOf(group, filter);
    if (known === null && members === 0) return;
    this.#touch(filter);
    const shared = known ?? this.#openGroup(filter, group);
    shared.setRemote(peer, members);
    this.#closeWhenEmpty(shared);
  }

  /** Forgets all that a node wanted. */
  removePeer(peer: Peer): void {
    this.#wanted?.removeNode(peer.incarnation);
    for (const filter of this.#peers?.removePeer(peer) ?? []) this.#touch(filter);
    for (const byName of [...this.#groups.values()]) {
      for (const group of [...byName.values()]) {
        if (!group.setRemote(peer, 0)) continue;
        this.#touch(group.filter);
        this.#closeWhenEmpty(group);
      }
    }
  }

  /** The shared group of a subscription, for redispatch. */
  groupOf(group: string, filter: string): SharedGroup | null {
    return this.#groups.get(filter)?.get(group) ?? null;
  }

  /**
   * The entry of the view's topic, with a valid route. Throws ProtocolError for a topic name that is
   * not allowed.
   */
  lookup(view: PublishView): TopicEntry {
    const hash = this.cache.hashOf(view);
    const found = this.cache.find(view, hash);
    if (found !== null) {
      this.refresh(found);
      return found;
    }
    this.#stats.routeMisses++;
    const topic = topicText(view);
    const bucket = bucketOf(topic);
    const entry = new TopicEntry(
      hash,
      topic,
      copyBytes(view.topicBuffer, view.topicStart, view.topicEnd),
      bucket,
      this.match(topic),
      this.#generations[bucket]! + this.#wildGeneration,
    );
    this.cache.put(entry);
    return entry;
  }

  /** Recompiles the route of an entry kept by somebody when it is out of date. */
  refresh(entry: TopicEntry): void {
    // Both only rise, so an equal sum means that neither has changed.
    const generation = this.#generations[entry.bucket]! + this.#wildGeneration;
    if (entry.generation === generation) {
      this.#stats.routeHits++;
      return;
    }
    this.#stats.routeMisses++;
    this.cache.replaceRoute(entry, this.match(entry.topic));
    entry.generation = generation;
  }

  /** Compiles the receivers of a topic, without the cache. */
  match(topic: string): Route {
    const matched: Subscription[] = [];
    const exact = this.#exact.get(topic);
    if (exact !== undefined) for (const subscription of exact) matched.push(subscription);
    this.#wild.match(topic, matched);
    const groups: SharedGroup[] = [];
    const exactGroups = this.#exactGroups.get(topic);
    if (exactGroups !== undefined) for (const group of exactGroups) groups.push(group);
    this.#wildGroups.match(topic, groups);
    const peers = this.#peers === null ? null : this.#peers.match(topic);
    if (matched.length === 0 && groups.length === 0 && peers === null) return NO_ROUTE;
    const receivers = matched.length < 2 ? matched : this.#merge(matched);
    const size = receivers.length + groups.length + (peers === null ? 0 : peers.all.length);
    return { receivers, groups, peers, size };
  }

  /** One receiver per session. */
  #merge(matched: readonly Subscription[]): Subscription[] {
    const stamp = ++this.#stamp;
    const receivers: Subscription[] = [];
    // By position in `receivers`: subscriptions of one session that overlap.
    let overlaps: Map<number, Subscription[]> | null = null;
    for (const subscription of matched) {
      const session = subscription.session;
      if (session.matchStamp !== stamp) {
        session.matchStamp = stamp;
        session.matchIndex = receivers.length;
        receivers.push(subscription);
        continue;
      }
      const index = session.matchIndex;
      overlaps ??= new Map();
      const known = overlaps.get(index);
      if (known === undefined) overlaps.set(index, [receivers[index]!, subscription]);
      else known.push(subscription);
    }
    if (overlaps !== null) {
      for (const [index, list] of overlaps) receivers[index] = mergeAll(list);
    }
    return receivers;
  }

  #addPlain(subscription: Subscription): void {
    const filter = subscription.filter;
    if (isWild(filter)) {
      this.#wild.add(filter, subscription);
      return;
    }
    const list = this.#exact.get(filter);
    if (list === undefined) this.#exact.set(filter, [subscription]);
    else list.push(subscription);
  }

  #removePlain(subscription: Subscription): void {
    const filter = subscription.filter;
    if (isWild(filter)) {
      this.#wild.remove(filter, subscription);
      return;
    }
    const list = this.#exact.get(filter);
    if (list === undefined) return;
    const index = list.indexOf(subscription);
    if (index !== -1) list.splice(index, 1);
    if (list.length === 0) this.#exact.delete(filter);
  }

  #joinGroup(subscription: Subscription, name: string): void {
    const { filter } = subscription;
    const group = this.groupOf(name, filter) ?? this.#openGroup(filter, name);
    group.add(subscription);
  }

  #leaveGroup(subscription: Subscription, name: string): void {
    const group = this.groupOf(name, subscription.filter);
    if (group === null) return;
    group.remove(subscription.session);
    this.#closeWhenEmpty(group);
  }

  #openGroup(filter: string, name: string): SharedGroup {
    let byName = this.#groups.get(filter);
    if (byName === undefined) {
      byName = new Map();
      this.#groups.set(filter, byName);
    }
    const group = new SharedGroup(name, filter);
    byName.set(name, group);
    if (isWild(filter)) {
      this.#wildGroups.add(filter, group);
    } else {
      const list = this.#exactGroups.get(filter);
      if (list === undefined) this.#exactGroups.set(filter, [group]);
      else list.push(group);
    }
    return group;
  }

  #closeWhenEmpty(group: SharedGroup): void {
    if (!group.isEmpty) return;
    const { filter } = group;
    const byName = this.#groups.get(filter)!;
    byName.delete(group.group);
    if (byName.size === 0) this.#groups.delete(filter);
    if (isWild(filter)) {
      this.#wildGroups.remove(filter, group);
      return;
    }
    const list = this.#exactGroups.get(filter)!;
    list.splice(list.indexOf(group), 1);
    if (list.length === 0) this.#exactGroups.delete(filter);
  }

  #touch(filter: string): void {
    const first = filter.charCodeAt(0);
    if (first === 0x2b || first === 0x23) this.#wildGeneration++;
    else {
      const bucket = bucketOf(filter);
      this.#generations[bucket] = this.#generations[bucket]! + 1;
    }
  }
}

/**
 * Overlapping subscriptions of one session as one receiver. The session's own messages see only those
 * without no-local [MQTT5-3.8.3-3].
 */
function mergeAll(list: readonly Subscription[]): Subscription {
  const own = list.filter((subscription) => !subscription.noLocal);
  const merged = combine(list, own.length === 0);
  if (own.length === 1) merged.toSelf = own[0]!;
  else if (own.length > 1 && own.length < list.length) merged.toSelf = combine(own, false);
  return merged;
}

/** Highest QoS, all identifiers. */
function combine(list: readonly Subscription[], noLocal: boolean): Subscription {
  const ids: number[] = [];
  let qos: 0 | 1 | 2 = 0;
  let retainAsPublished = false;
  for (const subscription of list) {
    if (subscription.qos > qos) qos = subscription.qos;
    retainAsPublished ||= subscription.retainAsPublished;
    if (subscription.subscriptionIds !== null) {
      for (const id of subscription.subscriptionIds) ids.push(id);
    }
  }
  const { session, filter, retainHandling } = list[0]!;
  return new Subscription(
    session,
    filter,
    qos,
    noLocal,
    retainAsPublished,
    retainHandling,
    ids.length === 0 ? null : ids,
    null,
  );
}

export function isWild(filter: string): boolean {
  return filter.indexOf('+') !== -1 || filter.indexOf('#') !== -1;
}

/** Bucket of the first level. */
function bucketOf(topic: string): number {
  let hash = 0;
  for (let i = 0; i < topic.length; i++) {
    const code = topic.charCodeAt(i);
    if (code === 0x2f) break;
    hash = Math.imul(hash ^ code, 16_777_619);
  }
  return (hash ^ (hash >>> 8) ^ (hash >>> 16)) & (BUCKETS - 1);
}
