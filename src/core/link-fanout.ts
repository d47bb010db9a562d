/**
 * One publication to the sessions of other regions (data plane): the loop rule, what a region may have, and
 * a copy with the name and path that travel besides. Called by fanout.ts for sessions that are links.
 */
import type { Core } from './core.ts';
import { type Delivery, Outcome } from './delivery.ts';
import { hasRegion } from './link-names.ts';
import { isRaised, LinkBlocks } from './link-properties.ts';
import { Publication } from './publication.ts';
import type { PublishEncoder } from './publish-encoder.ts';
import type { LinkPeer, RegionLinks } from './region-links.ts';
import type { Subscription } from './session.ts';

export class LinkFanout {
  readonly #core: Core;
  readonly #delivery: Delivery;
  readonly #encoder: PublishEncoder;
  readonly #links: RegionLinks;
  readonly #blocks: LinkBlocks;
  /** The copy for links; the same for all of them. */
  readonly #linked: Publication = new Publication();
  /** What it is a copy of. */
  #source: Publication | null = null;
  #sequence = 0;
  /** Wall-clock ms at which what clients have sent was read, and how many bytes that made. */
  #readMs = 0;
  #readBytes = -1;

  constructor(core: Core, delivery: Delivery, encoder: PublishEncoder, links: RegionLinks) {
    this.#core = core;
    this.#delivery = delivery;
    this.#encoder = encoder;
    this.#links = links;
    this.#blocks = new LinkBlocks(links);
  }

  deliver(publication: Publication, receiver: Subscription, peer: LinkPeer): Outcome {
    const { view, topic, mark } = publication;
    const { session } = receiver;
    const path = mark?.origin?.path ?? '';
    if (path !== '' && hasRegion(path, peer.region)) {
      peer.returned++;
      return Outcome.DONE;
    }
    if (!peer.mayHave(topic)) {
      peer.withheld++;
      return Outcome.DONE;
    }
    const published = isRaised(publication) ? 1 : view.qos;
    const qos = published < receiver.qos ? published : receiver.qos;
    const retain = receiver.retainAsPublished && view.retain;
    // Whoever had it first has put it into the queues of durable sessions.
    if (qos > 0 && publication.isRemote && session.durable) return Outcome.DONE;
    // Other nodes with a link of it must call it the same.
    if (this.#core.bus !== null) this.#name(publication);
    if (qos === 0 && session.outlet === null) return Outcome.DONE;
    const linked = this.#linkedOf(publication);
    // Encoded for others it is without what travels besides.
    this.#encoder.begin();
    const outcome = this.#deliver(publication, linked, receiver, qos, retain);
    this.#encoder.begin();
    return outcome;
  }

  #name(publication: Publication): void {
    const { mark } = publication;
    if (mark !== null && mark.origin !== null) return;
    const id = this.#links.name(this.#core.clock.wallMs());
    publication.mark = { version: null, ...mark, origin: { id, path: '' } };
  }

  #deliver(
    publication: Publication,
    linked: Publication,
    receiver: Subscription,
    qos: 0 | 1 | 2,
    retain: boolean,
  ): Outcome {
    const { session } = receiver;
    const peer = session.link!;
    if (qos === 0) {
      peer.handed++;
      return this.#delivery.deliverQos0(linked, session.outlet!, receiver, retain);
    }
    const outcome = this.#delivery.deliver(linked, receiver, qos, retain, null);
    if (outcome !== Outcome.REFUSED) peer.handed++;
    if (linked.isKept) publication.awaitLinked(linked.message());
    return outcome;
  }

  #linkedOf(publication: Publication): Publication {
    const linked = this.#linked;
    const { sequence } = publication;
    if (this.#source === publication && this.#sequence === sequence) return linked;
    this.#source = publication;
    this.#sequence = sequence;
    linked.begin(sequence);
    linked.topic = publication.topic;
    linked.expiresAtMs = publication.expiresAtMs;
    linked.expiryS = publication.expiryS;
    linked.from = publication.from;
    linked.fromId = publication.fromId;
    linked.isRemote = publication.isRemote;
    linked.identity = publication.identity;
    linked.comesAgain = publication.comesAgain;
    const { view } = publication;
    const to = linked.view;
    to.qos = isRaised(publication) ? 1 : view.qos;
    to.retain = view.retain;
    to.topicBuffer = view.topicBuffer;
    to.topicStart = view.topicStart;
    to.topicEnd = view.topicEnd;
    to.payloadBuffer = view.payloadBuffer;
    to.payloadStart = view.payloadStart;
    to.payloadEnd = view.payloadEnd;
    const blocks = this.#blocks;
    blocks.write(publication, this.#timeMs(publication));
    to.propertyBuffer = blocks.bytes;
    to.propertyStart = 0;
    to.propertyEnd = blocks.end;
    linked.wireVersion = 0;
    return linked;
  }

  /** When it was published; what was read in one piece came at one time. */
  #timeMs(publication: Publication): number {
    const { stats, clock } = this.#core;
    if (publication.from === null) return clock.wallMs();
    if (stats.bytesReceived !== this.#readBytes) {
      this.#readBytes = stats.bytesReceived;
      this.#readMs = clock.wallMs();
    }
    return this.#readMs;
  }
}
