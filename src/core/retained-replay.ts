/**
 * Retained messages for new subscriptions (data plane): a bounded number per turn, paced by the
 * receiver's socket and queue, going on into the queue of a durable session that leaves meanwhile.
 */
import { filterMatches } from '../wire/topic-match.ts';
import type { Core } from './core.ts';
import type { Delivery } from './delivery.ts';
import type { Outlet, PausedPublisher } from './outlet.ts';
import { Publication } from './publication.ts';
import type { PublishEncoder } from './publish-encoder.ts';
import type { Publisher } from './publisher.ts';
import type { RetainedWalk } from './retained-walk.ts';
import type { Subscription } from './session.ts';

export class RetainedReplay {
  readonly #core: Core;
  readonly #delivery: Delivery;
  readonly #encoder: PublishEncoder;
  readonly #publisher: Publisher;
  readonly #publication: Publication = new Publication();
  readonly #found: number[] = [];
  /** When `found` was. */
  #nodesMade = 0;

  constructor(core: Core, delivery: Delivery, encoder: PublishEncoder, publisher: Publisher) {
    this.#core = core;
    this.#delivery = delivery;
    this.#encoder = encoder;
    this.#publisher = publisher;
  }

  /** Sends what the subscription's filter matches, beginning now. */
  start(subscription: Subscription): void {
    if (this.#core.stats.retainedMessages === 0) return;
    const replay = new Replay(this, subscription, this.#core.retained.walk(subscription.filter));
    replay.audienceReady();
  }

  /** One turn's share. */
  step(replay: Replay): void {
    const core = this.#core;
    const { subscription, walk } = replay;
    const session = subscription.session;
    // Unsubscribed, replaced or ended meanwhile.
    if (session.subscriptions?.get(subscription.fullFilter) !== subscription) return;
    const outlet = session.outlet;
    if (outlet === null && (!session.durable || subscription.qos === 0)) return;
    if (outlet !== null && this.#isBusy(subscription, outlet)) {
      outlet.waiters ??= [];
      outlet.waiters.push(replay);
      return;
    }
    const found = this.#found;
    found.length = 0;
    this.#nodesMade = core.retained.nodesMade;
    walk.takeNodes(core.limits.retainedPerTurnMax, found);
    for (const node of found) this.#send(subscription, outlet, node);
    found.length = 0;
    if (!walk.done) core.scheduler.nextTurn(() => replay.audienceReady());
  }

  #isBusy(subscription: Subscription, outlet: Outlet): boolean {
    if (outlet.pendingBytes > 0) return true;
    const queued = subscription.session.queue;
    return subscription.qos > 0 && queued !== null && queued.length > 0;
  }

  #send(subscription: Subscription, outlet: Outlet | null, node: number): void {
    const core = this.#core;
    const { retained, gate } = core;
    const session = subscription.session;
    const publication = this.#publication;
    publication.begin(core.nextSequence++);
    if (!retained.show(node, publication)) return;
    const { expiresAtMs } = publication;
    // What was sent before may have closed a connection whose will took the place of what was found.
    const mayBeOther = retained.nodesMade !== this.#nodesMade;
    if (mayBeOther && !filterMatches(subscription.filter, publication.topic)) return;
    publication.expiryS = -1;
    if (expiresAtMs !== 0) {
      const remainingMs = expiresAtMs - core.clock.wallMs();
      if (remainingMs <= 0) {
        // [MQTT5-3.3.2-5]
        this.#publisher.expireRetained(publication.topic);
        return;
      }
      publication.expiryS = Math.ceil(remainingMs / 1000);
    }
    if (session.checksReceive && session.gate?.receive(publication.topic) === false) {
      core.drop('not_authorized_receive', session.clientId, publication.topic);
      return;
    }
    const source = gate === null ? null : retained.sourceOf(node);
    if (source !== null && gate?.retainedSource(source, publication.topic) === false) {
      core.drop('retained_source', session.clientId, publication.topic);
      return;
    }
    this.#encoder.begin();
    const published = publication.view.qos;
    const qos = published < subscription.qos ? published : subscription.qos;
    // [MQTT5-3.3.1-8]: a replay carries RETAIN, whatever retain-as-published says.
    if (qos > 0) this.#delivery.deliver(publication, subscription, qos as 1 | 2, true, null);
    else if (outlet !== null) {
      this.#delivery.deliverQos0(publication, outlet, subscription, true);
    }
  }
}

/** One subscription's replay under way; waits like a publisher for its own receiver. */
class Replay implements PausedPublisher {
  readonly subscription: Subscription;
  readonly walk: RetainedWalk;
  readonly #replays: RetainedReplay;

  constructor(replays: RetainedReplay, subscription: Subscription, walk: RetainedWalk) {
    this.#replays = replays;
    this.subscription = subscription;
    this.walk = walk;
  }

  audienceReady(): void {
    this.#replays.step(this);
  }
}
