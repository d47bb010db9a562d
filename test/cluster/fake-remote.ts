/**
 * The core's other side with nothing behind it: remembers what it was told, answers when a test says so,
 * and lets a test change what its clients want. Versions and epochs are compared as the core does.
 */
import type {
  Awaited,
  Bus,
  Incarnation,
  Interest,
  OwnedQueue,
  Peer,
  RemoteSide,
  RetainedVersion,
  SessionImage,
  SubscriptionChange,
  WillOfAbsent,
} from '../../src/core/cluster-ports.ts';
import type { Message } from '../../src/core/message.ts';
import { isAbove } from '../../src/core/retained-version.ts';

export class FakeRemote implements RemoteSide {
  bus!: Bus;
  readonly delivered: string[] = [];
  readonly peers: Map<Incarnation, Peer> = new Map();
  /** Of peers: incarnation → filter → interest. */
  readonly routes: Map<Incarnation, Map<string, Interest>> = new Map();
  readonly remoteGroups: Map<string, number> = new Map();
  readonly sessions: Map<string, SessionImage> = new Map();
  readonly ended: string[] = [];
  readonly endedEpochs: Map<string, number> = new Map();
  readonly died: Incarnation[] = [];
  readonly hints: string[] = [];
  readonly letGoes: string[] = [];
  readonly wills: WillOfAbsent[] = [];
  readonly store: Map<string, Message> = new Map();
  lostTimes = 0;
  unfencedTimes = 0;
  readonly own: Map<string, Interest> = new Map();
  readonly ownGroups: Map<string, { group: string; filter: string; members: number }> = new Map();
  readonly queues: Map<string, OwnedQueue> = new Map();
  /** `letGo` is answered by hand. */
  holdsLetGo = false;
  readonly heldLetGo: (() => void)[] = [];
  /** What `publishWill` counted in stays unsafe until then. */
  holdsWills = false;
  readonly heldWills: Awaited[] = [];

  // ------------------------------------------------------------------ what a test does

  want(filter: string, interest: Interest): void {
    if (interest === 0) this.own.delete(filter);
    else this.own.set(filter, interest);
    this.bus.announceInterest(filter, interest);
  }

  wantGroup(group: string, filter: string, members: number): void {
    if (members === 0) this.ownGroups.delete(`${group}/${filter}`);
    else this.ownGroups.set(`${group}/${filter}`, { group, filter, members });
    this.bus.announceGroup(group, filter, members);
  }

  /** As a session that was opened here. */
  owns(image: SessionImage): void {
    this.sessions.set(image.clientId, image);
    this.bus.announceSession(image);
  }

  change(clientId: string, added: readonly string[], removed: readonly string[] = []): void {
    const image = this.sessions.get(clientId)!;
    const counter = image.counter + 1;
    const change = { clientId, sid: image.sid, epoch: image.epoch, counter, removed };
    const records = added.map((filter) => subscription(filter));
    this.sessions.set(clientId, changed(image, { ...change, added: records }));
    this.bus.announceChange({ ...change, added: records });
  }

  retain(message: Message | null, topic: string, awaited: Awaited | null = null): RetainedVersion {
    const before = this.store.get(topic)?.version ?? null;
    const version = this.bus.announceRetained(topic, message, before, awaited, null);
    if (message === null) {
      this.store.delete(topic);
    } else {
      message.version = version;
      this.store.set(topic, message);
    }
    return version;
  }

  // ------------------------------------------------------------------ RemoteSide

  deliver(message: Message): void {
    this.delivered.push(`${message.topic} ${message.payload.toString()}`);
  }

  deliverToGroup(message: Message, group: string, filter: string): void {
    this.delivered.push(`$share/${group}/${filter} ${message.topic}`);
  }

  applyRetained(topic: string, message: Message | null, version: RetainedVersion): void {
    const before = this.store.get(topic)?.version ?? null;
    if (before !== null && !isAbove(version, before)) return;
    if (message === null) {
      this.store.delete(topic);
    } else {
      message.version = version;
      this.store.set(topic, message);
    }
  }

  readonly orphans: string[] = [];

  orphaned(clientId: string): void {
    this.orphans.push(clientId);
  }

  /** Topics whose tombstones are over. */
  readonly unburied: string[] = [];

  forgetTombstone(topic: string): void {
    this.unburied.push(topic);
  }

  addPeer(peer: Peer): void {
    if (this.peers.has(peer.incarnation)) throw new Error('a peer is added twice');
    this.peers.set(peer.incarnation, peer);
    this.routes.set(peer.incarnation, new Map());
  }

  removePeer(peer: Peer): void {
    if (!this.peers.delete(peer.incarnation)) throw new Error('a peer is removed twice');
    this.routes.delete(peer.incarnation);
    for (const key of [...this.remoteGroups.keys()]) {
      if (key.startsWith(peer.incarnation)) this.remoteGroups.delete(key);
    }
  }

  setInterest(peer: Peer, filter: string, interest: Interest): void {
    const routes = this.routes.get(peer.incarnation)!;
    if (interest === 0) routes.delete(filter);
    else routes.set(filter, interest);
  }

  setGroup(peer: Peer, group: string, filter: string, members: number): void {
    const key = `${peer.incarnation} ${group}/${filter}`;
    if (members === 0) this.remoteGroups.delete(key);
    else this.remoteGroups.set(key, members);
  }

  applySession(image: SessionImage): void {
    const known = this.sessions.get(image.clientId);
    if (known !== undefined) {
      if (image.epoch < known.epoch) return;
      if (image.epoch === known.epoch && image.counter < known.counter) return;
    }
    this.sessions.set(image.clientId, image);
  }

  applyChange(change: SubscriptionChange): boolean {
    const known = this.sessions.get(change.clientId);
    if (known === undefined) return false;
    if (change.epoch < known.epoch) return true;
    if (change.epoch > known.epoch || change.sid !== known.sid) return false;
    if (change.counter <= known.counter) return true;
    if (change.counter !== known.counter + 1) return false;
    this.sessions.set(change.clientId, changed(known, change));
    return true;
  }

  applyEnd(clientId: string, sid: string, epoch: number): void {
    const known = this.sessions.get(clientId);
    this.ended.push(clientId);
    this.endedEpochs.set(clientId, epoch);
    if (known === undefined || (sid !== '' && known.sid !== sid) || known.epoch > epoch) return;
    this.sessions.delete(clientId);
  }

  endedEpoch(clientId: string): number {
    return this.endedEpochs.get(clientId) ?? 0;
  }

  ownerDied(owner: Incarnation): void {
    this.died.push(owner);
    for (const image of [...this.sessions.values()]) {
      if (image.owner === owner) this.sessions.set(image.clientId, { ...image, owner: null });
    }
  }

  letGo(clientId: string, epoch: number, done: () => void): void {
    this.letGoes.push(clientId);
    const known = this.sessions.get(clientId);
    if (known?.owner === this.bus.incarnation && known.epoch < epoch) {
      this.sessions.set(clientId, { ...known, owner: null });
    }
    if (this.holdsLetGo) this.heldLetGo.push(done);
    else done();
  }

  hint(clientId: string, _sid: string, tailSeq: number): void {
    this.hints.push(`${clientId} ${tailSeq}`);
  }

  lost(): void {
    this.lostTimes++;
    for (const filter of [...this.own.keys()]) this.want(filter, 0);
    for (const image of [...this.sessions.values()]) {
      if (image.owner !== this.bus.incarnation) continue;
      this.sessions.set(image.clientId, { ...image, owner: null });
    }
  }

  unfenced(): void {
    this.unfencedTimes++;
  }

  *interests(): Iterable<readonly [string, Interest]> {
    yield* this.own;
  }

  *groups(): Iterable<readonly [string, string, number]> {
    for (const { group, filter, members } of this.ownGroups.values()) {
      yield [group, filter, members];
    }
  }

  *ownedSessions(): Iterable<SessionImage> {
    for (const image of this.sessions.values()) {
      if (image.owner === this.bus.incarnation) yield image;
    }
  }

  *knownSessions(): Iterable<SessionImage> {
    yield* this.sessions.values();
  }

  knownSession(clientId: string): SessionImage | null {
    return this.sessions.get(clientId) ?? null;
  }

  queueOf(clientId: string): OwnedQueue | null {
    const isOwned = this.sessions.get(clientId)?.owner === this.bus.incarnation;
    return isOwned ? (this.queues.get(clientId) ?? { tailSeq: 0, messages: 0 }) : null;
  }

  *retained(): Iterable<Message> {
    yield* [...this.store.values()];
  }

  retainedOf(topic: string): Message | null {
    return this.store.get(topic) ?? null;
  }

  publishWill(will: WillOfAbsent, awaited: Awaited): void {
    this.wills.push(will);
    if (!this.holdsWills) return;
    awaited.unsafeCount++;
    this.heldWills.push(awaited);
  }

  /** Everything a will waited for has happened. */
  willsSafe(failed = false): void {
    for (const awaited of this.heldWills.splice(0)) {
      if (failed) awaited.failed = true;
      awaited.unsafeCount--;
      if (awaited.unsafeCount === 0) awaited.waiter?.messageSafe();
    }
  }
}

export function subscription(filter: string): SessionImage['subscriptions'][number] {
  return {
    filter,
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    subscriptionId: 0,
  };
}

function changed(image: SessionImage, change: SubscriptionChange): SessionImage {
  const kept = image.subscriptions.filter(({ filter }) => !change.removed.includes(filter));
  return { ...image, counter: change.counter, subscriptions: [...kept, ...change.added] };
}
