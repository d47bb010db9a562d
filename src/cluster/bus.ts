/**
 * The rest of the datacenter as the core sees it (`Bus` of core/cluster-ports.ts): each call goes to the
 * part of this room that does it. Made by cluster.ts; it decides nothing itself.
 */
import type {
  Awaited,
  Bus,
  Incarnation,
  Interest,
  OpenAnswer,
  OpenRequest,
  Peer,
  RetainedVersion,
  RoamChannel,
  RoamListener,
  SessionImage,
  SessionLedger,
  SharedSessions,
  SubscriptionChange,
} from '../core/cluster-ports.ts';
import type { Message } from '../core/message.ts';
import type { Clock } from '../core/ports.ts';
import type { Publication } from '../core/publication.ts';
import type { RetainedVerdict } from '../core/retained-version.ts';
import type { Barrier } from './barrier.ts';
import type { Hints } from './hints.ts';
import { encodeGroupPublish, encodePublish } from './link/message-codec.ts';
import type { Mesh } from './ports.ts';
import type { RetainedSync } from './retained-sync.ts';
import type { PeerRoamChannel } from './roam-channel.ts';
import type { RoutesAnnouncer } from './routes-announcer.ts';
import type { Takeover } from './takeover.ts';

export interface BusParts {
  readonly sessions: SharedSessions;
  readonly ledger: SessionLedger;
  readonly mesh: Mesh;
  readonly clock: Clock;
  readonly barrier: Barrier;
  readonly announcer: RoutesAnnouncer;
  readonly takeover: Takeover;
  readonly retained: RetainedSync;
  readonly hints: Hints;
  readonly roam: PeerRoamChannel;
  readonly self: () => Incarnation;
  readonly mayServe: () => boolean;
  /** A session is announced by this node. */
  readonly heardOf: (clientId: string) => void;
}

export class ClusterBus implements Bus {
  readonly sessions: SharedSessions;
  readonly #parts: BusParts;

  constructor(parts: BusParts) {
    this.#parts = parts;
    this.sessions = parts.sessions;
  }

  get incarnation(): Incarnation {
    return this.#parts.self();
  }

  mayServe(): boolean {
    return this.#parts.mayServe();
  }

  // ------------------------------------------------------------------------------ live messages

  forward(publication: Publication, peers: readonly Peer[]): void {
    const frame = encodePublish(publication, this.#parts.clock.wallMs());
    this.#send(frame, publication, peers);
  }

  /** One frame for all: nobody changes what was handed over. */
  #send(frame: Buffer, publication: Publication, peers: readonly Peer[]): void {
    const { mesh } = this.#parts;
    const isDroppable = publication.view.qos === 0;
    for (const { incarnation } of peers) {
      if (isDroppable) mesh.sendDroppable(incarnation, frame);
      else mesh.send(incarnation, frame);
    }
  }

  forwardToGroup(publication: Publication, peer: Peer, group: string, filter: string): void {
    const frame = encodeGroupPublish(publication, group, filter, this.#parts.clock.wallMs());
    this.#send(frame, publication, [peer]);
  }

  hint(owner: Incarnation, clientId: string, sid: string, tailSeq: number): void {
    this.#parts.hints.add(owner, clientId, sid, tailSeq);
  }

  // ------------------------------------------------------------------------------ routes

  announceInterest(filter: string, interest: Interest): void {
    this.#parts.announcer.interest(filter, interest);
  }

  announceGroup(group: string, filter: string, members: number): void {
    this.#parts.announcer.group(group, filter, members);
  }

  announceSession(image: SessionImage): void {
    this.#parts.heardOf(image.clientId);
    this.#parts.announcer.session(image);
  }

  announceChange(change: SubscriptionChange): void {
    this.#parts.announcer.change(change);
  }

  announceEnd(clientId: string, sid: string, epoch: number): void {
    const { announcer, takeover } = this.#parts;
    announcer.end(clientId, sid, epoch);
    takeover.ended(clientId, epoch);
  }

  awaitApplied(awaited: Awaited): void {
    this.#parts.barrier.wait(awaited);
  }

  announceRetained(
    topic: string,
    message: Message | null,
    replaces: RetainedVersion | null,
    awaited: Awaited | null,
    accepted: RetainedVersion | null,
  ): RetainedVersion {
    return this.#parts.retained.announce(topic, message, replaces, awaited, accepted);
  }

  isRetainedOver(topic: string, version: RetainedVersion): boolean {
    return this.#parts.retained.isOver(topic, version);
  }

  takeRetained(
    topic: string,
    message: Message | null,
    version: RetainedVersion,
    awaited: Awaited | null,
  ): RetainedVerdict {
    return this.#parts.retained.take({ topic, message, version }, awaited);
  }

  buryRetained(topic: string, version: RetainedVersion): void {
    this.#parts.retained.bury(topic, version);
  }

  buriedRetained(topic: string): RetainedVersion | null {
    return this.#parts.retained.buried(topic);
  }

  // ------------------------------------------------------------------------------ ownership

  open(request: OpenRequest, done: (answer: OpenAnswer) => void): void {
    this.#parts.takeover.open(request, done);
  }

  oldWillSettled(clientId: string, sid: string, epoch: number): void {
    this.#parts.ledger.oldWillSettled(clientId, sid, epoch);
  }

  close(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    willDelayS: number,
  ): void {
    this.#parts.takeover.close(clientId, sid, epoch, expiryIntervalS, willDelayS);
  }

  // ------------------------------------------------------------------------------ moves of sessions

  get roam(): RoamChannel {
    return this.#parts.roam;
  }

  listenRoam(listener: RoamListener): void {
    this.#parts.roam.listen(listener);
  }
}
