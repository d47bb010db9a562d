/**
 * One message on its way into the queue of a durable session of the datacenter, wherever that session's
 * client is. Made by delivery.ts, carried by the shared store, handed back with its position.
 */
import type { Message } from './message.ts';

/** How a queued message is named, so that the queue drops a repetition of its append. */
export interface AppendIdentity {
  /** Null: the store's running number for this node; else a name as the functions below give it. */
  readonly publisherSid: string | null;
  /** Rising per publisherSid; 0 when that is null. */
  readonly publisherSeq: number;
}

/**
 * Of a QoS 2 message of a session: its next owner hands on under this name what is pending, and names its
 * own differently, whatever a journal brings to the queues later (docs/adr/0017).
 */
export function inboundIdentity(sid: string, epoch: number, seq: number): AppendIdentity {
  return { publisherSid: sid + hexOf(epoch), publisherSeq: seq };
}

/** Of the will of one connection, whoever publishes it. */
export function willIdentity(sid: string, epoch: number): AppendIdentity {
  return { publisherSid: `w${sid}${hexOf(epoch)}`, publisherSeq: 1 };
}

/** Of a QoS 2 message of another region, whichever holder of the links publishes it (docs/adr/0022). */
export function linkIdentity(epoch: number, seq: number): AppendIdentity {
  return { publisherSid: `l${hexOf(epoch)}`, publisherSeq: seq };
}

/**
 * Of a message that was taken over from a region where the session was before: that life of its queue, and the
 * position there. A page that is asked for and appended again is dropped (docs/adr/0023).
 */
export function moveIdentity(born: number, seq: number): AppendIdentity {
  return { publisherSid: `m${hexOf(born)}`, publisherSeq: seq };
}

/**
 * Of one that was given to another region, which never took it: its place in this queue before, and where the
 * stretch began that was in doubt. One stretch may be known before those that come before it.
 */
export function doubtIdentity(born: number, fromSeq: number, seq: number): AppendIdentity {
  return { publisherSid: `m${hexOf(born)}${hexOf(fromSeq)}`, publisherSeq: seq };
}

/** Of even length: queues store names of hex digits as bytes. */
function hexOf(epoch: number): string {
  return epoch.toString(16).padStart(14, '0');
}

export const OWN_IDENTITY: AppendIdentity = { publisherSid: null, publisherSeq: 0 };

/**
 * Which member of each shared subscription (by full filter) a QoS 2 message was given to: a later owner
 * of the publisher's session must give it to the same one, as only that one's queue knows it.
 */
export type GroupChoices = ReadonlyMap<string, string>;

/** Among those choices: the region a message belongs to for the session of a client that is on its way between two. */
export function placeKey(clientId: string): string {
  return `$roam/${clientId}`;
}

/** Under which packet identifier the client has a message from another region; `isReleased`: PUBREC had come. */
export interface SentAs {
  readonly packetId: number;
  readonly isReleased: boolean;
}

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
  /** Null: its packet identifier follows from its position. */
  sentAs: SentAs | null = null;
  /** For the queue of the shared subscription itself. */
  isForGroup = false;
  /** Another region has it until this queue does: in a journal it is not safe. */
  comesAgain = false;
  /** A journal has it: it counts as safe. */
  isKept = false;
  /** A journal has it and no queue. */
  isUnqueued = false;
  /** Why it is not in the queue; null: it is, or it is not known yet. */
  refusal: 'gone' | 'full' | 'failed' | null = null;

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

  /** Noted under its name, those behind it too: given up, it would be known when that name comes again. */
  get isNoted(): boolean {
    return this.comesAgain && this.identity.publisherSid !== null;
  }
}
