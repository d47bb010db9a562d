/**
 * One message on its way into the queue of a durable session of the datacenter, wherever that session's
 * client is. Made by delivery.ts, carried by the shared store, handed back with its position.
 */
import type { Message } from './message.ts';

/** How a queued message is named, so that the queue drops a repetition of its append. */
export interface AppendIdentity {
  /** Null: the store's running number for this node; else the sid of a publisher's session (QoS 2). */
  readonly publisherSid: string | null;
  /** Rising per publisherSid; 0 when that is null. */
  readonly publisherSeq: number;
}

export const OWN_IDENTITY: AppendIdentity = { publisherSid: null, publisherSeq: 0 };

/**
 * Which member of each shared subscription (by full filter) a QoS 2 message was given to: a later owner
 * of the publisher's session must give it to the same one, as only that one's queue knows it.
 */
export type GroupChoices = ReadonlyMap<string, string>;

export class SharedAppend {
  readonly message: Message;
  /** Delivery QoS: min(published, granted). */
  readonly qos: 1 | 2;
  /** RETAIN flag to send. */
  readonly retain: boolean;
  readonly subscriptionIds: readonly number[] | null;
  /** The shared subscription (`$share/…`) it came through; null: an ordinary one. */
  readonly sharedFilter: string | null;
  readonly identity: AppendIdentity;
  /** Client id of the publisher; '': nobody. */
  readonly fromId: string;
  /** A journal has it: it counts as safe. */
  isKept = false;
  /** A journal has it and no queue. */
  isUnqueued = false;

  constructor(
    message: Message,
    qos: 1 | 2,
    retain: boolean,
    subscriptionIds: readonly number[] | null,
    sharedFilter: string | null,
    identity: AppendIdentity,
    fromId = '',
  ) {
    this.message = message;
    this.qos = qos;
    this.retain = retain;
    this.subscriptionIds = subscriptionIds;
    this.sharedFilter = sharedFilter;
    this.identity = identity;
    this.fromId = fromId;
  }
}
