/**
 * What this node says to other regions of sessions that move (docs/adr/0023), by way of the sessions that
 * their links have here. Used by `roaming.ts` and `shared-roaming.ts`.
 */
import { linkIdOf, MOVED_TOPIC } from './link-names.ts';
import { type Message, makeMessage } from './message.ts';
import { Publication } from './publication.ts';
import type { PublishEncoder } from './publish-encoder.ts';
import type { Services } from './services.ts';
import { type Session, Subscription } from './session.ts';

export class RoamVoice {
  readonly #services: Services;
  readonly #encoder: PublishEncoder;
  readonly #publication: Publication = new Publication();

  constructor(services: Services, encoder: PublishEncoder) {
    this.#services = services;
    this.#encoder = encoder;
  }

  /**
   * To all regions with a link, in its place among what is published here. The messages: each is safe once it
   * is in its queue.
   */
  announce(payload: Buffer): readonly Message[] {
    const { core } = this.#services;
    const said: Message[] = [];
    for (const peer of core.links?.peers ?? []) {
      const session = core.sessions.get(linkIdOf(peer.region));
      if (session === undefined || session.link === null || !session.durable) continue;
      said.push(this.announceTo(session, payload));
    }
    return said;
  }

  /** To that region alone: its session was not known here when the others were told. */
  announceTo(session: Session, payload: Buffer): Message {
    const { core, delivery } = this.#services;
    const message = makeMessage(core.nextSequence++, MOVED_TOPIC, payload, { qos: 1 });
    this.#point(message);
    delivery.deliver(this.#publication, receiverOf(session, 1), 1, false, null);
    this.#encoder.begin();
    return message;
  }

  /** To a region whose link is up at this node; false: it is not. What is lost is asked for again. */
  tell(region: string, topic: string, payload: Buffer): boolean {
    const { core, delivery } = this.#services;
    const session = core.sessions.get(linkIdOf(region));
    if (session === undefined || session.outlet === null || session.link === null) return false;
    this.#point(makeMessage(core.nextSequence++, topic, payload));
    delivery.deliverQos0(this.#publication, session.outlet, receiverOf(session, 0), false);
    this.#encoder.begin();
    return true;
  }

  #point(message: Message): void {
    this.#publication.setMessage(message, message.sequence);
    this.#publication.expiryS = -1;
    this.#encoder.begin();
  }
}

function receiverOf(session: Session, qos: 0 | 1): Subscription {
  return new Subscription(session, MOVED_TOPIC, qos, false, false, 2, null, null);
}
