/**
 * The acting parts of the core, as connections and handlers see them. An interface, so that a
 * connection can be known by the parts it calls without a cycle; broker.ts makes the one object.
 */
import type { Core } from './core.ts';
import type { Delivery } from './delivery.ts';
import type { Fanout } from './fanout.ts';
import type { MessageWaiter } from './message.ts';
import type { OutletOwner } from './outlet.ts';
import type { Publication } from './publication.ts';
import type { Publisher } from './publisher.ts';
import type { RetainedReplay } from './retained-replay.ts';
import type { RetainedView } from './retained-view.ts';
import type { Sessions } from './sessions.ts';

/** A connection with acks that wait for a commit. */
export interface ParkedOwner extends MessageWaiter {
  releaseParked(): void;
}

export interface Services {
  readonly core: Core;
  readonly delivery: Delivery;
  readonly fanout: Fanout;
  readonly publisher: Publisher;
  readonly sessions: Sessions;
  readonly replay: RetainedReplay;
  readonly retainedView: RetainedView;
  /** The packet a client is publishing right now. */
  readonly inbound: Publication;
  /** Connections with acks that wait for a ticket. */
  readonly parked: Set<ParkedOwner>;
  readonly connections: Set<OutletOwner>;
  /** How many of them each listener has brought, by its name: a reload makes a new info object. */
  readonly connectionsByListener: Map<string, number>;
}
