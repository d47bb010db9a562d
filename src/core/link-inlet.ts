/**
 * Messages that come from other regions, published here (docs/adr/0022): like a client's, under the name and
 * path they have, and told when they are safe. Called by geo/; knows no connection. Data plane.
 */
import { Ring } from '../util/ring.ts';
import type { PublishView } from '../wire/publish.ts';
import { topicLevelCount } from '../wire/topic.ts';
import { AudiencePause } from './audience-pause.ts';
import type { Message } from './message.ts';
import type { Audience, PausedPublisher } from './outlet.ts';
import type { Ticket } from './ports.ts';
import { Publication } from './publication.ts';
import { RETAINED_REFUSED } from './publisher.ts';
import type { RegionMark } from './region-mark.ts';
import type { ParkedOwner, Services } from './services.ts';
import { type AppendIdentity, type GroupChoices, OWN_IDENTITY } from './shared-append.ts';

interface Parked {
  readonly ticket: Ticket;
  readonly message: Message | null;
  readonly settled: (failed: boolean) => void;
}

export class LinkInlet implements ParkedOwner, PausedPublisher {
  /** Reading from other regions stops and goes on. */
  onPause: (isPaused: boolean) => void = () => {};
  readonly #services: Services;
  readonly #publication: Publication = new Publication();
  readonly #parked: Ring<Parked> = new Ring();
  readonly #pause: AudiencePause;

  constructor(services: Services) {
    this.#services = services;
    this.#pause = new AudiencePause(services.core, this);
  }

  /** Messages that are not safe yet. */
  get waiting(): number {
    return this.#parked.length;
  }

  /** So much waits for Redis that nothing more would be kept. */
  get isFull(): boolean {
    return this.#services.core.bus?.sessions.isFull === true;
  }

  /** Why this topic is not taken from anybody; null: it is. */
  refusal(topic: string): 'reserved' | 'too_long' | null {
    if (topic.charCodeAt(0) === 0x24) return 'reserved';
    const { limits } = this.#services.core;
    if (topic.length > limits.topicBytesMax) return 'too_long';
    return topicLevelCount(topic) > limits.topicLevelsMax ? 'too_long' : null;
  }

  /** Members of shared subscriptions, for a QoS 2 message that is published later, perhaps by another node. */
  choose(topic: string): GroupChoices {
    return this.#services.fanout.chooseMembers(topic, '', 2);
  }

  /**
   * Publishes what `from` shows, with properties in `from.propertyBuffer` from `propertyStart` on. `settled`
   * is called once: when it is safe here, and `ticket` durable, or could not be stored. Queues of a
   * datacenter that had it as `identity` drop it.
   */
  publish(
    from: PublishView,
    topic: string,
    propertyStart: number,
    mark: RegionMark,
    ticket: Ticket,
    settled: (failed: boolean) => void,
    identity: AppendIdentity = OWN_IDENTITY,
    choices: GroupChoices | null = null,
  ): void {
    const { core, fanout } = this.#services;
    const publication = this.#publication;
    publication.begin(core.nextSequence++);
    publication.identity = identity;
    publication.choices = choices;
    publication.mark = mark;
    publication.comesAgain = true;
    publication.topic = topic;
    publication.from = null;
    publication.fromId = '';
    publication.wireVersion = 0;
    publication.expiryS = from.messageExpiryS;
    publication.expiresAtMs =
      from.messageExpiryS < 0 ? 0 : core.clock.wallMs() + from.messageExpiryS * 1000;
    this.#point(from, topic, propertyStart);
    if (mark.isQos0 === true) publication.view.qos = 0;
    let pending = ticket;
    if (from.retain) pending = Math.max(pending, this.#retain(publication, mark, from.qos > 0));
    fanout.send(publication, core.router.lookup(publication.view).route);
    const { pressedBy } = fanout;
    if (from.qos === 0) settled(false);
    else this.#park({ ticket: pending, message: publication.awaited, settled });
    if (pressedBy !== null) this.#waitFor(pressedBy);
  }

  #point(from: PublishView, topic: string, propertyStart: number): void {
    const { view } = this.#publication;
    view.qos = from.qos;
    view.retain = from.retain;
    view.dup = false;
    view.packetId = 0;
    if (from.topicEnd - from.topicStart === 2) {
      // It came as an alias.
      view.topicBuffer = topicField(topic);
      view.topicStart = 0;
      view.topicEnd = view.topicBuffer.length;
    } else {
      view.topicBuffer = from.topicBuffer;
      view.topicStart = from.topicStart;
      view.topicEnd = from.topicEnd;
    }
    view.payloadBuffer = from.payloadBuffer;
    view.payloadStart = from.payloadStart;
    view.payloadEnd = from.payloadEnd;
    view.propertyBuffer = from.propertyBuffer;
    view.propertyStart = propertyStart;
    view.propertyEnd = from.propertyEnd;
    view.topicAlias = 0;
  }

  /** By its version where it has one; else it is a change of now. */
  #retain(publication: Publication, mark: RegionMark, isAwaited: boolean): Ticket {
    const { publisher, retainedView, core } = this.#services;
    const { topic, view } = publication;
    const { version } = mark;
    if (version === null) {
      const ticket = publisher.retain(publication);
      if (ticket !== RETAINED_REFUSED) return ticket;
      core.drop(publisher.retainRefusal, '', topic);
      return 0;
    }
    const isClear = view.payloadEnd === view.payloadStart;
    if (!isClear && !publisher.hasRoom(core.retained.get(topic), publication.bytes)) {
      core.drop('retained_full', '', topic);
      return 0;
    }
    const message = isClear ? null : publication.copy();
    const awaited = isAwaited ? publication.message() : null;
    return publisher.applyAwaited(() => {
      const verdict = retainedView.apply(topic, message, version, awaited);
      if (verdict === 'clock_skew') {
        core.log.warn({ topic, timeUs: version.timeUs }, 'a retained change is ahead of its time');
      }
    }, awaited);
  }

  #park(parked: Parked): void {
    if (this.#parked.length === 0 && this.#isSafe(parked)) {
      parked.settled(this.#hasFailed(parked));
      return;
    }
    if (parked.message !== null) parked.message.waiter = this;
    this.#parked.push(parked);
    this.#services.parked.add(this);
  }

  /** `settled` when the ticket is, and all that came before. */
  whenDurable(ticket: Ticket, settled: (failed: boolean) => void): void {
    this.#park({ ticket, message: null, settled });
  }

  #isSafe({ ticket, message }: Parked): boolean {
    if (ticket > this.#services.core.settledTicket) return false;
    return message === null || message.unsafeCount === 0;
  }

  #hasFailed({ ticket, message }: Parked): boolean {
    return this.#services.core.failedTickets.has(ticket) || message?.failed === true;
  }

  messageSafe(): void {
    this.releaseParked();
  }

  releaseParked(): void {
    const parked = this.#parked;
    for (let first = parked.at(0); first !== undefined; first = parked.at(0)) {
      if (!this.#isSafe(first)) return;
      parked.shift();
      first.settled(this.#hasFailed(first));
    }
    this.#services.parked.delete(this);
  }

  // ------------------------------------------------------------------ audience

  #waitFor(audience: Audience): void {
    if (this.#pause.isOn || audience.closed) return;
    this.#services.core.stats.publishersPaused++;
    this.#pause.begin(audience);
    this.onPause(true);
  }

  audienceReady(): void {
    this.onPause(false);
  }
}

function topicField(topic: string): Buffer {
  const bytes = Buffer.byteLength(topic, 'utf8');
  const field = Buffer.allocUnsafe(2 + bytes);
  field.writeUInt16BE(bytes, 0);
  field.write(topic, 2, 'utf8');
  return field;
}
