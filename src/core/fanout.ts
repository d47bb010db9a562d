/**
 * One publication to all its receivers (data plane): effective QoS, no-local, RETAIN flag, rights and
 * shared groups. It decides who, delivery.ts decides how.
 */
import type { Core } from './core.ts';
import { type Delivery, Outcome } from './delivery.ts';
import { groupQueueId, isGroupQueue } from './group-queue-id.ts';
import { LinkFanout } from './link-fanout.ts';
import type { Place } from './moving-sessions.ts';
import type { Audience } from './outlet.ts';
import type { PeerRoute } from './peer-routes.ts';
import type { Publication } from './publication.ts';
import type { PublishEncoder } from './publish-encoder.ts';
import type { Route } from './route.ts';
import type { Session, Subscription } from './session.ts';
import { type GroupChoices, placeKey } from './shared-append.ts';
import { hashText, type SharedGroup } from './shared-group.ts';

export class Fanout {
  /** Receivers of the last publication that could take it, and those that were full. */
  reached = 0;
  refused = 0;
  /** A receiver the publisher should wait for, or null. */
  pressedBy: Audience | null = null;

  readonly #core: Core;
  readonly #delivery: Delivery;
  readonly #encoder: PublishEncoder;
  /** Null: there are no links to other regions. */
  readonly #links: LinkFanout | null;

  constructor(core: Core, delivery: Delivery, encoder: PublishEncoder) {
    this.#core = core;
    this.#delivery = delivery;
    this.#encoder = encoder;
    const { links } = core;
    this.#links = links === null ? null : new LinkFanout(core, delivery, encoder, links);
  }

  /** Delivers to everybody on the route; results are in the fields above. */
  send(publication: Publication, route: Route): void {
    this.reached = 0;
    this.refused = 0;
    this.pressedBy = null;
    if (route.size === 0) {
      this.#core.stats.unrouted++;
      return;
    }
    this.#encoder.begin();
    const receivers = route.receivers;
    const from = publication.from;
    let pressed = 0;
    for (let i = 0; i < receivers.length; i++) {
      let receiver = receivers[i]!;
      if (receiver.session === from) {
        // [MQTT5-3.8.3-3]
        if (receiver.toSelf === null) continue;
        receiver = receiver.toSelf;
      }
      if (this.#deliverOrBlame(publication, receiver, null) === Outcome.PRESSED) {
        pressed++;
        this.pressedBy = receiver.session.outlet;
      }
    }
    // Whoever had it first has chosen for each group, and forwarded to those that were chosen elsewhere.
    if (!publication.isRemote) {
      const groups = route.groups;
      for (let i = 0; i < groups.length; i++) {
        if (this.#deliverToGroup(publication, groups[i]!) === Outcome.PRESSED) pressed++;
      }
      if (route.peers !== null) pressed += this.#forward(publication, route.peers);
    }
    // A publisher waits only when at least half of its audience cannot keep up.
    if (pressed * 2 < route.size) this.pressedBy = null;
  }

  /** One copy for each other node with receivers; returns how many of them are behind. */
  #forward(publication: Publication, { all, live }: PeerRoute): number {
    const peers = publication.view.qos === 0 ? all : live;
    if (peers.length === 0) return 0;
    this.#core.bus!.forward(publication, peers);
    this.reached += peers.length;
    let pressed = 0;
    for (const { audience } of peers) {
      if (audience.pressed !== true || audience.slow) continue;
      this.pressedBy = audience;
      pressed++;
    }
    return pressed;
  }

  /** An error while delivering is the receiver's: the publisher and the others go on. */
  #deliverOrBlame(
    publication: Publication,
    receiver: Subscription,
    sharedFilter: string | null,
  ): Outcome {
    try {
      return this.#deliverTo(publication, receiver, sharedFilter);
    } catch (error) {
      const { clientId, owner } = receiver.session;
      this.#core.stats.internalErrors++;
      this.#core.log.error({ err: error, clientId }, 'delivery failed');
      if (owner !== null) this.#core.closeLater(owner, 'internal_error');
      return Outcome.REFUSED;
    }
  }

  #deliverTo(
    publication: Publication,
    receiver: Subscription,
    sharedFilter: string | null,
  ): Outcome {
    const session = receiver.session;
    if (session.checksReceive && session.gate?.receive(publication.topic) === false) {
      this.#core.drop('not_authorized_receive', session.clientId, publication.topic);
      return Outcome.DONE;
    }
    if (session.link !== null) {
      const outcome = this.#links!.deliver(publication, receiver, session.link);
      if (outcome === Outcome.REFUSED) this.refused++;
      else this.reached++;
      return outcome;
    }
    const view = publication.view;
    const qos = view.qos < receiver.qos ? view.qos : receiver.qos;
    // [MQTT5-3.3.1-12] [MQTT5-3.3.1-13]
    const retain = receiver.retainAsPublished && view.retain;
    if (qos === 0) {
      const outlet = session.outlet;
      if (outlet === null) return Outcome.DONE;
      this.reached++;
      return this.#delivery.deliverQos0(publication, outlet, receiver, retain);
    }
    // Whoever had it first has put it into the queues of durable sessions.
    if (publication.isRemote && session.durable && sharedFilter === null) return Outcome.DONE;
    if (sharedFilter === null && this.#roams(publication, session)) {
      if (!this.#isNow(publication, receiver, qos)) return Outcome.DONE;
    }
    const outcome = this.#delivery.deliver(publication, receiver, qos, retain, sharedFilter);
    if (outcome === Outcome.REFUSED) this.refused++;
    else this.reached++;
    return outcome;
  }

  #roams({ mark }: Publication, { roam }: Session): boolean {
    return roam !== null || (mark !== null && mark.placed !== undefined);
  }

  /** False: another region has it for the session, or it waits for what comes from there. */
  #isNow(publication: Publication, receiver: Subscription, qos: 1 | 2): boolean {
    const { session } = receiver;
    const { roam } = session;
    const { mark } = publication;
    if (!session.durable) return true;
    const placed = mark?.placed?.get(session.clientId);
    if (placed === undefined) {
      if (roam !== null && !roam.takes(mark)) return false;
    } else if (placed !== this.#core.links?.region) return false;
    this.reached++;
    // What comes over a link is noted as taken with its commit, and must be in the queue by then.
    if (roam === null || roam.held === null || (mark?.origin ?? null) !== null) return true;
    this.#core.roaming!.hold(session, publication, receiver, qos);
    return false;
  }

  #deliverToGroup(publication: Publication, group: SharedGroup): Outcome {
    const core = this.#core;
    const peer = publication.isRemote ? null : group.choosePeer(core.random, publication.view.qos);
    if (peer !== null) {
      core.bus!.forwardToGroup(publication, peer, group.group, group.filter);
      this.reached++;
      return Outcome.DONE;
    }
    const chosen = publication.choices?.get(group.fullFilter);
    const fixed = chosen === undefined || !isGroupQueue(chosen) ? null : this.#queueOf(group);
    if (fixed !== null) return this.#deliverToQueue(publication, fixed, group);
    const member =
      (chosen === undefined ? null : group.memberOf(chosen)) ??
      group.choose(
        core.sharedStrategy,
        core.random,
        publication.fromId,
        core.sharedStrategy === 'topic' ? hashText(publication.topic) : 0,
        publication.view.qos,
      );
    if (member === null) {
      core.drop('no_member', '', publication.topic);
      return Outcome.DONE;
    }
    // A choice that was stored before stays (hard case 10): its queue may have the message.
    if (core.bus !== null && chosen === undefined && isAway(member.session)) {
      const queue = this.#queueOf(group);
      if (queue !== null) return this.#deliverToQueue(publication, queue, group);
    }
    const outcome = this.#deliverOrBlame(publication, member, member.fullFilter);
    if (outcome === Outcome.PRESSED) this.pressedBy = member.session.outlet;
    return outcome;
  }

  /** The queue of the group itself; null: it has none, or this node has not heard of it yet. */
  #queueOf(group: SharedGroup): Session | null {
    return this.#core.groupQueues.get(group.fullFilter) ?? null;
  }

  /** For whichever member comes first (ADR 0019). */
  #deliverToQueue(publication: Publication, queue: Session, group: SharedGroup): Outcome {
    const { qos } = publication.view;
    // Only QoS 1 and 2 have members that are away.
    if (qos === 0) return Outcome.DONE;
    this.#delivery.deliverToQueue(publication, queue, qos, group.fullFilter);
    this.reached++;
    return Outcome.DONE;
  }

  /** Chooses now for a message that is handed on later, perhaps by another node. */
  chooseMembers(topic: string, fromId: string, qos: 1 | 2): GroupChoices {
    const { sharedStrategy, random, router } = this.#core;
    const choices = new Map<string, string>();
    for (const group of router.match(topic).groups) {
      const hash = sharedStrategy === 'topic' ? hashText(topic) : 0;
      const member = group.choose(sharedStrategy, random, fromId, hash, qos);
      if (member === null) continue;
      const { fullFilter } = group;
      const isQueued = isAway(member.session) && this.#queueOf(group) !== null;
      choices.set(fullFilter, isQueued ? groupQueueId(fullFilter) : member.session.clientId);
    }
    return choices;
  }

  /** Where a message belongs now, for each of its sessions that is on its way between regions; null: none is. */
  choosePlaces(topic: string): GroupChoices | null {
    let places: Map<string, string> | null = null;
    for (const [clientId, { to }] of this.#placesOf(topic)) {
      places ??= new Map();
      places.set(placeKey(clientId), to);
    }
    return places;
  }

  /**
   * Of one that is published again: where it belonged when it first was, by client, as far as that is elsewhere
   * than now. One queue may have had it, and the other one is to get it only if it belongs there.
   */
  placedBefore(topic: string, choices: GroupChoices): ReadonlyMap<string, string> | null {
    let placed: Map<string, string> | null = null;
    for (const [clientId, { to, was }] of this.#placesOf(topic)) {
      const before = choices.get(placeKey(clientId)) ?? was;
      if (before === to) continue;
      placed ??= new Map();
      placed.set(clientId, before);
    }
    return placed;
  }

  *#placesOf(topic: string): Iterable<[string, Place]> {
    const { roaming, router } = this.#core;
    if (roaming === null) return;
    for (const { session } of router.match(topic).receivers) {
      if (session.roam === null || !session.durable || session.link !== null) continue;
      const place = roaming.placeOf(session.clientId);
      if (place !== null) yield [session.clientId, place];
    }
  }

  /** A message of another node that chose this one's members. */
  sendToGroup(publication: Publication, group: SharedGroup): void {
    this.#encoder.begin();
    this.#deliverToGroup(publication, group);
  }

  /**
   * Gives a message that a leaving member has not acked to another, or back to the group; false: it stays
   * where it is.
   */
  redispatch(publication: Publication, group: SharedGroup, leaving: Session): boolean {
    const core = this.#core;
    const { qos } = publication.view;
    const member = group.choose(core.sharedStrategy, core.random, '', 0, qos);
    if (member === null || member.session === leaving || isAway(member.session)) {
      const queue = core.bus === null ? null : this.#queueOf(group);
      // Alone it may as well wait in its own queue.
      const hasOthers = group.members.some((other) => other.session !== leaving && other.qos > 0);
      if (queue === null || qos === 0 || (leaving.durable && !hasOthers)) return false;
      this.#deliverToQueue(publication, queue, group);
      return true;
    }
    this.#encoder.begin();
    return this.#deliverOrBlame(publication, member, member.fullFilter) !== Outcome.REFUSED;
  }

  /** As when the group had no queue; false: it has no member. */
  giveToMember(publication: Publication, group: SharedGroup): boolean {
    const { sharedStrategy, random } = this.#core;
    const member = group.choose(sharedStrategy, random, '', 0, publication.view.qos);
    if (member === null) return false;
    this.#encoder.begin();
    return this.#deliverOrBlame(publication, member, member.fullFilter) !== Outcome.REFUSED;
  }
}

/** Its client is connected nowhere. */
function isAway(session: Session): boolean {
  return !session.connected && !session.isElsewhere;
}
