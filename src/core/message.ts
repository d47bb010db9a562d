/**
 * A message that outlives its read chunk: retained, queued, in flight, a will. Made once and shared by
 * every receiver; the data plane forwards straight from the read buffer when nobody needs to keep it.
 * A message has topic and payload; packets (ids, DUP, aliases) are the connection's business.
 */

import type { Principal } from './principal.ts';
import type { RegionMark } from './region-mark.ts';
import type { RetainedVersion } from './retained-version.ts';

const EMPTY = Buffer.alloc(0);

export class Message {
  /** Strictly rising per node; with the node's incarnation the identity of the message. */
  readonly sequence: number;
  readonly topic: string;
  /**
   * Holds, from `bodyStart` to `bodyEnd`, the topic field as on the wire (length prefix and UTF-8
   * bytes) and then the payload. Often shared with other messages: a view of its own for each would
   * cost more than the bytes.
   */
  readonly slab: Buffer;
  readonly bodyStart: number;
  readonly payloadStart: number;
  readonly bodyEnd: number;
  /**
   * Where properties that lie in the slab behind the body end: a view of their own for each message would
   * cost as much as two small messages.
   */
  readonly propertyEnd: number;
  /** Those that lie elsewhere. */
  readonly #properties: Buffer;
  readonly qos: 0 | 1 | 2;
  /** The RETAIN flag as published. */
  readonly retain: boolean;
  /** Wall-clock ms after which it is not delivered any more; 0: never [MQTT5-3.3.2-5]. */
  readonly expiresAtMs: number;
  /**
   * Receivers' queue entries that are neither stored nor acked yet: while above 0, the publisher's ack
   * is parked (DESIGN P1).
   */
  unsafeCount = 0;
  /** Who is told when `unsafeCount` falls to 0. */
  waiter: MessageWaiter | null = null;
  /** A store could not keep it for some receiver: the publisher gets an error, not an ack. */
  failed = false;
  /** Retained: who published it; null: the broker itself, or from before this was kept. */
  source: Principal | null = null;
  /**
   * Retained in a datacenter, or published with the RETAIN flag: orders the writes to its topic; null:
   * written alone, or not yet.
   */
  version: RetainedVersion | null = null;
  /** What links to other regions tell of it, on its way between nodes; null: nothing. */
  mark: RegionMark | null = null;
  /** Where a store keeps the body (its own numbering); 0: nowhere yet. */
  storeRef = 0;

  constructor(
    sequence: number,
    topic: string,
    slab: Buffer,
    bodyStart: number,
    payloadStart: number,
    bodyEnd: number,
    properties: Buffer,
    qos: 0 | 1 | 2,
    retain: boolean,
    expiresAtMs: number,
    propertyEnd: number = bodyEnd,
  ) {
    this.sequence = sequence;
    this.topic = topic;
    this.slab = slab;
    this.bodyStart = bodyStart;
    this.payloadStart = payloadStart;
    this.bodyEnd = bodyEnd;
    this.propertyEnd = propertyEnd;
    this.#properties = properties;
    this.qos = qos;
    this.retain = retain;
    this.expiresAtMs = expiresAtMs;
  }

  /** What limits count: topic, payload and properties. */
  get bytes(): number {
    return this.propertyEnd - this.bodyStart + this.#properties.length;
  }

  /** Forwardable MQTT 5 properties in their order, no length prefix; neither alias nor expiry. */
  get properties(): Buffer {
    const { bodyEnd, propertyEnd } = this;
    return propertyEnd === bodyEnd ? this.#properties : this.slab.subarray(bodyEnd, propertyEnd);
  }

  /** Where they are, without a view of them. */
  get propertyBuffer(): Buffer {
    return this.propertyEnd === this.bodyEnd ? this.#properties : this.slab;
  }

  get propertyStart(): number {
    return this.propertyEnd === this.bodyEnd ? 0 : this.bodyEnd;
  }

  get propertyBytes(): number {
    return this.propertyEnd - this.bodyEnd + this.#properties.length;
  }

  get payload(): Buffer {
    return this.slab.subarray(this.payloadStart, this.bodyEnd);
  }
}

export interface MessageWaiter {
  messageSafe(): void;
}

/** Whether both, which stand for what is retained at one topic, are of one publish: objects are made anew. */
export function isSameRetained(left: Message, right: Message): boolean {
  return (
    left.sequence === right.sequence &&
    left.version?.timeUs === right.version?.timeUs &&
    left.version?.writer === right.version?.writer
  );
}

/** Builds a message from a topic and a payload (wills, $SYS, API): copies the payload. */
export function makeMessage(
  sequence: number,
  topic: string,
  payload: Uint8Array,
  options: {
    readonly qos?: 0 | 1 | 2;
    readonly retain?: boolean;
    readonly properties?: Buffer;
    readonly expiresAtMs?: number;
  } = {},
): Message {
  const topicBytes = Buffer.byteLength(topic, 'utf8');
  const body = Buffer.allocUnsafeSlow(2 + topicBytes + payload.length);
  body.writeUInt16BE(topicBytes, 0);
  body.write(topic, 2, 'utf8');
  body.set(payload, 2 + topicBytes);
  return new Message(
    sequence,
    topic,
    body,
    0,
    2 + topicBytes,
    body.length,
    options.properties ?? EMPTY,
    options.qos ?? 0,
    options.retain ?? false,
    options.expiresAtMs ?? 0,
  );
}
