/**
 * One QoS 1 or 2 message in one session's queue, from routing to the subscriber's last ack. Core and
 * store share the object: the store sets `durable`, core sets `settled`, and an entry that is settled
 * before its commit leaves is never written (ack elision, DESIGN §5; never for QoS 2).
 */
import type { Message } from './message.ts';
import type { SentAs } from './shared-append.ts';

export const EntryState = {
  /** Waits for its turn. */
  QUEUED: 0,
  /** PUBLISH was sent, no ack yet. */
  SENT: 1,
  /** QoS 2: PUBREC came and is stored (or being stored); PUBREL is what is repeated from here on. */
  RELEASED: 2,
  /** Acked, expired or dropped: nothing is owed any more. */
  SETTLED: 3,
} as const;

export class QueueEntry {
  /** Position in the session's queue, from 1, strictly rising, never reused; gaps are allowed. */
  readonly seq: number;
  readonly message: Message;
  /** Delivery QoS: min(published, granted). */
  readonly qos: 1 | 2;
  /** RETAIN flag to send (retain as published, or a replay of a retained message). */
  readonly retain: boolean;
  /** Subscription identifiers to send, in SUBSCRIBE order, or null. */
  readonly subscriptionIds: readonly number[] | null;
  state = 0;
  /** On the wire at least once: a repetition carries DUP. */
  sentBefore = false;
  /** The shared subscription (`$share/…`) it came through, for redispatch; null: an ordinary one. */
  sharedFilter: string | null = null;
  /** True once a crash cannot lose it (set by the store), or when no store is involved. */
  durable: boolean;

  constructor(
    seq: number,
    message: Message,
    qos: 1 | 2,
    retain: boolean,
    subscriptionIds: readonly number[] | null,
    durable: boolean,
  ) {
    this.seq = seq;
    this.message = message;
    this.qos = qos;
    this.retain = retain;
    this.subscriptionIds = subscriptionIds;
    this.durable = durable;
  }

  /** Wall-clock ms; 0: nobody asks (`DatedEntry`). */
  get queuedAtMs(): number {
    return 0;
  }
}

/** Of a queue whose budget asks for the age of what waits: all others do without the bytes for it. */
export class DatedEntry extends QueueEntry {
  readonly #queuedAtMs: number;

  constructor(
    seq: number,
    message: Message,
    qos: 1 | 2,
    retain: boolean,
    subscriptionIds: readonly number[] | null,
    durable: boolean,
    queuedAtMs: number,
  ) {
    super(seq, message, qos, retain, subscriptionIds, durable);
    this.#queuedAtMs = queuedAtMs;
  }

  override get queuedAtMs(): number {
    return this.#queuedAtMs;
  }
}

/** As it was stored; `queuedAtMs` 0: it says nothing of that. */
export function storedEntry(
  seq: number,
  message: Message,
  qos: 1 | 2,
  retain: boolean,
  subscriptionIds: readonly number[] | null,
  queuedAtMs: number,
): QueueEntry {
  return queuedAtMs === 0
    ? new QueueEntry(seq, message, qos, retain, subscriptionIds, true)
    : new DatedEntry(seq, message, qos, retain, subscriptionIds, true, queuedAtMs);
}

/** One that a client knows from another region, by a packet identifier of there (docs/adr/0023). */
export class SentEntry extends QueueEntry {
  readonly packetId: number;
  /** PUBREC had come there. */
  readonly wasReleased: boolean;

  constructor(
    seq: number,
    message: Message,
    qos: 1 | 2,
    retain: boolean,
    subscriptionIds: readonly number[] | null,
    { packetId, isReleased }: SentAs,
  ) {
    super(seq, message, qos, retain, subscriptionIds, true);
    this.packetId = packetId;
    this.wasReleased = isReleased;
    this.sentBefore = true;
    if (isReleased) this.state = EntryState.RELEASED;
  }
}
