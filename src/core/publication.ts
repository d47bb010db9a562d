/**
 * The message being published right now (data plane): a view into the read buffer or into a Message,
 * with what routing and encoding need. Two objects live as long as the broker (one for clients'
 * packets, one for messages from inside); nobody keeps a reference beyond the call.
 */
import { copyRange, EMPTY_BUFFER } from '../util/bytes.ts';
import { PublishView } from '../wire/publish.ts';
import { Message } from './message.ts';
import type { RegionMark } from './region-mark.ts';
import type { Session } from './session.ts';
import { type AppendIdentity, type GroupChoices, OWN_IDENTITY } from './shared-append.ts';

export class Publication {
  readonly view: PublishView = new PublishView();
  /** Null: to be read from the view when somebody asks; few replays of retained messages need it. */
  #topic: string | null = '';
  /** Identity within the node; also what packet ids of live sessions are derived from. */
  sequence = 0;
  /** Wall-clock ms after which it expires; 0: never. */
  expiresAtMs = 0;
  /** Remaining expiry to send; -1: none. */
  expiryS = -1;
  /** The session that published, for no-local; null: from inside. */
  from: Session | null = null;
  fromId = '';
  /**
   * Whole packet in `view.topicBuffer` as received, for forwarding bytes unchanged; `wireVersion` 0
   * when its layout cannot be forwarded (aliases, expiry, not from a packet).
   */
  wireVersion = 0;
  wireStart = 0;
  wireEnd = 0;
  /** Another node had it first: neither other nodes nor queues get it from here. */
  isRemote = false;
  /** How queues of the datacenter name it. */
  identity: AppendIdentity = OWN_IDENTITY;
  /** What links to other regions tell of it besides; null: nothing. */
  mark: RegionMark | null = null;
  /** Another region has it until a queue does: what only a journal has is not safe, as it may be late. */
  comesAgain = false;
  /** Members of shared subscriptions that were chosen before; null: they are chosen now. */
  choices: GroupChoices | null = null;
  /** Hash of the topic, for shared subscriptions that choose by topic. */
  topicHash = 0;
  #message: Message | null = null;
  /** The copy for links, while it is not safe; null: there is none. */
  #linked: Message | null = null;
  /** Where messages that are kept for a while are copied to, one behind the other. */
  #slab: Buffer | null = null;
  #slabFill = 0;

  /** Forgets the last message; the caller fills view and fields. */
  begin(sequence: number): void {
    this.sequence = sequence;
    this.isRemote = false;
    this.identity = OWN_IDENTITY;
    this.choices = null;
    this.mark = null;
    this.comesAgain = false;
    this.#message = null;
    this.#linked = null;
  }

  get topic(): string {
    if (this.#topic !== null) return this.#topic;
    const { topicBuffer, topicStart, topicEnd } = this.view;
    this.#topic = topicBuffer.utf8Slice(topicStart + 2, topicEnd);
    return this.#topic;
  }

  set topic(topic: string) {
    this.#topic = topic;
  }

  /** As the view has it. */
  topicFromView(): void {
    this.#topic = null;
  }

  /** As `Message.bytes` counts: topic field, payload and properties. */
  get bytes(): number {
    const view = this.view;
    return (
      view.topicEnd -
      view.topicStart +
      (view.payloadEnd - view.payloadStart) +
      (view.propertyEnd - view.propertyStart)
    );
  }

  /** Points the view at a message from inside. */
  setMessage(message: Message, sequence: number): void {
    this.setTransient(message, sequence);
    this.#message = message;
  }

  /** The same for a message whose memory is only lent: whoever keeps it keeps a copy. */
  setTransient(message: Message, sequence: number): void {
    const view = this.view;
    view.qos = message.qos;
    view.retain = message.retain;
    view.dup = false;
    view.packetId = 0;
    view.topicBuffer = message.slab;
    view.topicStart = message.bodyStart;
    view.topicEnd = message.payloadStart;
    view.payloadBuffer = message.slab;
    view.payloadStart = message.payloadStart;
    view.payloadEnd = message.bodyEnd;
    view.propertyBuffer = message.propertyBuffer;
    view.propertyStart = message.propertyStart;
    view.propertyEnd = view.propertyStart + message.propertyBytes;
    view.topicAlias = 0;
    this.topic = message.topic;
    this.sequence = sequence;
    this.expiresAtMs = message.expiresAtMs;
    this.wireVersion = 0;
    this.isRemote = false;
    this.identity = OWN_IDENTITY;
    this.choices = null;
    this.mark = null;
    this.comesAgain = false;
    this.#message = null;
    this.#linked = null;
  }

  /** Somebody keeps the message beyond this call. */
  get isKept(): boolean {
    return this.#message !== null;
  }

  /** The message as an object that may be kept; made once per publication. */
  message(): Message {
    if (this.#message === null) {
      this.#message = this.copy();
      if (this.#linked !== null) chain(this.#linked, this.#message);
    }
    return this.#message;
  }

  /** Links have a copy of their own: whoever waits for the message waits for that one, too. */
  awaitLinked(copy: Message): void {
    if (copy.unsafeCount === 0 || copy.waiter !== null) return;
    this.#linked = copy;
    if (this.#message !== null) chain(copy, this.#message);
  }

  /** What an answer to the publisher waits for; null: nobody keeps the message. */
  get awaited(): Message | null {
    return this.#message ?? this.#linked;
  }

  /** A copy of its own. */
  copy(): Message {
    const view = this.view;
    const topicBytes = view.topicEnd - view.topicStart;
    const payloadBytes = view.payloadEnd - view.payloadStart;
    const propertyBytes = view.propertyEnd - view.propertyStart;
    const total = topicBytes + payloadBytes + propertyBytes;
    let slab: Buffer;
    let start = 0;
    if (total > SLAB_BYTES / 4) {
      slab = Buffer.allocUnsafeSlow(total);
    } else {
      if (this.#slab === null || this.#slabFill + total > SLAB_BYTES) {
        this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
        this.#slabFill = 0;
      }
      slab = this.#slab;
      start = this.#slabFill;
      this.#slabFill += total;
    }
    const { topicBuffer, topicStart, topicEnd, payloadBuffer, payloadEnd } = view;
    const payloadStart = copyRange(slab, start, topicBuffer, topicStart, topicEnd);
    const bodyEnd = copyRange(slab, payloadStart, payloadBuffer, view.payloadStart, payloadEnd);
    const { propertyBuffer, propertyStart } = view;
    const end = copyRange(slab, bodyEnd, propertyBuffer, propertyStart, view.propertyEnd);
    return new Message(
      this.sequence,
      this.topic,
      slab,
      start,
      payloadStart,
      bodyEnd,
      EMPTY_BUFFER,
      view.qos,
      view.retain,
      this.expiresAtMs,
      end,
    );
  }
}

/** What is safe when `copy` is makes `message` safe as far as that goes. */
function chain(copy: Message, message: Message): void {
  message.unsafeCount++;
  copy.waiter = {
    messageSafe: () => {
      if (copy.failed) message.failed = true;
      if (--message.unsafeCount === 0) message.waiter?.messageSafe();
    },
  };
}

/** A message in a queue keeps at most this much memory of others alive. */
const SLAB_BYTES = 16 * 1024;
