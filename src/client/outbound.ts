/**
 * Messages on their way out: one bounded queue in the order of `publish` calls, and the exchanges that
 * wait for PUBACK, PUBREC or PUBCOMP. It is the client's half of the session state, so it outlives
 * connections. [MQTT5-4.1.0-1] Driven by `client.ts`; it sends through the function it is given.
 */
import { Buffer } from 'node:buffer';
import { writeU16 } from '../util/bytes.ts';
import { encodeAck } from '../wire/ack.ts';
import { PacketType } from '../wire/packet-type.ts';
import type { UserProperty } from '../wire/properties.ts';
import type { ProtocolVersion } from '../wire/protocol-version.ts';
import { ReasonCode } from '../wire/reason-code.ts';
import { ClientError, reasonError } from './client-error.ts';
import type { OutgoingMessage, Qos } from './message.ts';
import { encodeMessage, markRepeated, packetIdOffset } from './message.ts';
import type { PacketIds } from './packet-ids.ts';

/** How the server took a message. */
export interface PublishResult {
  /** 0, or 0x10 when the server told that nobody subscribes. */
  readonly reasonCode: number;
  readonly reasonString: string | null;
  readonly userProperties: readonly UserProperty[];
}

/** What an acknowledgement said; `AckView` of the wire fits. */
export interface Acknowledgement {
  readonly packetId: number;
  readonly reasonCode: number;
  readonly reasonString: string | null;
  readonly userProperties: readonly UserProperty[];
}

/** What the queue may use of the present connection. */
export interface OutboundConnection {
  readonly version: ProtocolVersion;
  /** The server's receive maximum, or ours when lower. */
  readonly window: number;
  /** Of those in the window, how many may be of QoS 2. */
  readonly qos2Window: number;
  /** 0: the server has set none. */
  readonly packetBytesMax: number;
  readonly maximumQos: number;
  readonly retainAvailable: boolean;
  send(bytes: Buffer): void;
  /** The socket has enough to do; `pump` is called again when it has not. */
  isCongested(): boolean;
}

export interface OutboundOptions {
  readonly version: ProtocolVersion;
  readonly messagesMax: number;
  readonly bytesMax: number;
  readonly packetIdMax: number;
  /** What is to become of QoS 2 exchanges of which the server knows nothing more. */
  readonly resendsLost: boolean;
}

/** How it ended; called once, perhaps before the message is out of the hands of its caller. */
export type PublishDone = (result: PublishResult | ClientError) => void;

const WAITING = 0;
const SENT = 1;
/** PUBREC came; PUBREL is what is repeated from here on. */
const RELEASED = 2;

interface Item {
  readonly topic: string;
  readonly qos: Qos;
  readonly retain: boolean;
  /** The whole PUBLISH, made at once: what it is made of may only be lent. Its identifier comes when it is sent. */
  readonly packet: Buffer;
  state: number;
  packetId: number;
  /** Sent on the present connection, so it takes a place in the window. */
  isOpen: boolean;
  readonly done: PublishDone;
}

const HANDED_OVER: PublishResult = Object.freeze({
  reasonCode: ReasonCode.SUCCESS,
  reasonString: null,
  userProperties: [],
});

export class Outbound {
  readonly #ids: PacketIds;
  readonly #options: OutboundOptions;
  #connection: OutboundConnection | null = null;
  /** In order; those before `#head` are gone. */
  #waiting: Item[] = [];
  #head = 0;
  /** By packet id, in the order of first sending. */
  readonly #exchanges: Map<number, Item> = new Map();
  #openCount = 0;
  #openQos2 = 0;
  #messages = 0;
  #bytes = 0;

  constructor(ids: PacketIds, options: OutboundOptions) {
    this.#ids = ids;
    this.#options = options;
  }

  /** Messages accepted and not done. */
  get messages(): number {
    return this.#messages;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Queues a checked message, of which it keeps nothing but a copy, and sends what may be sent. */
  add(message: OutgoingMessage, done: PublishDone): void {
    const { version, messagesMax, bytesMax } = this.#options;
    const { topic, qos, retain } = message;
    const packet = encodeMessage(version, message);
    if (
      this.#messages >= messagesMax ||
      (this.#messages > 0 && this.#bytes + packet.length > bytesMax)
    ) {
      done(new ClientError('queue_full', `${this.#messages} messages wait for the server already`));
      return;
    }
    this.#messages++;
    this.#bytes += packet.length;
    const fresh = { state: WAITING, packetId: 0, isOpen: false };
    this.#waiting.push({ topic, qos, retain, packet, ...fresh, done });
    this.pump();
  }

  /** A connection is up: repeats what the session holds, or starts again without it. */
  connected(connection: OutboundConnection, sessionPresent: boolean, hasStale: boolean): void {
    this.#connection = connection;
    if (sessionPresent && hasStale) this.#completeStale(connection);
    this.#openCount = 0;
    this.#openQos2 = 0;
    for (const item of this.#exchanges.values()) item.isOpen = false;
    if (!sessionPresent) this.#forgetSession();
    this.pump();
  }

  /** Exchanges that an earlier life of this client may have left open, whatever their identifiers. */
  #completeStale(connection: OutboundConnection): void {
    const all: Buffer[] = [];
    for (let packetId = 1; packetId <= this.#options.packetIdMax; packetId++) {
      if (this.#exchanges.has(packetId)) continue;
      all.push(encodeAck(connection.version, PacketType.PUBREL, packetId, ReasonCode.SUCCESS));
    }
    connection.send(Buffer.concat(all));
  }

  disconnected(): void {
    this.#connection = null;
  }

  /** No connection will follow. */
  fail(error: ClientError): void {
    this.#connection = null;
    const items = [...this.#exchanges.values(), ...this.#waiting.slice(this.#head)];
    this.#waiting = [];
    this.#head = 0;
    for (const item of items) this.#finish(item, error);
  }

  /** Sends as much as window, socket and order allow. */
  pump(): void {
    const connection = this.#connection;
    if (connection === null) return;
    if (this.#openCount < this.#exchanges.size && !this.#repeat(connection)) return;
    while (this.#head < this.#waiting.length && !connection.isCongested()) {
      const item = this.#waiting[this.#head]!;
      if (item.qos > 0) {
        if (!this.#hasWindow(connection, item)) break;
        item.packetId = this.#ids.take();
        if (item.packetId === 0) break;
      }
      this.#head++;
      this.#sendFirst(connection, item);
    }
    if (this.#head === this.#waiting.length) {
      this.#waiting.length = 0;
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#waiting.length) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** PUBACK. */
  acknowledged(ack: Acknowledgement): void {
    const item = this.#exchanges.get(ack.packetId);
    if (item === undefined || item.qos !== 1) return;
    this.#finish(item, outcome(item, ack));
    this.pump();
  }

  /** PUBREC; answers with PUBREL. */
  received(ack: Acknowledgement): void {
    const item = this.#exchanges.get(ack.packetId);
    if (item === undefined || item.qos !== 2) {
      // MQTT 5 has a reason for it, 3.1.1 only the release itself.
      this.#release(ack.packetId, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND);
      return;
    }
    if (ack.reasonCode >= 0x80) {
      this.#finish(item, outcome(item, ack));
      this.pump();
      return;
    }
    item.state = RELEASED;
    this.#release(ack.packetId, ReasonCode.SUCCESS);
  }

  /** PUBCOMP; 0x92 means the server had completed it before. */
  completed(ack: Acknowledgement): void {
    const item = this.#exchanges.get(ack.packetId);
    if (item === undefined || item.state !== RELEASED) return;
    const { reasonString, userProperties } = ack;
    this.#finish(item, { reasonCode: ReasonCode.SUCCESS, reasonString, userProperties });
    this.pump();
  }

  #sendFirst(connection: OutboundConnection, item: Item): void {
    const { packet, packetId, qos } = item;
    const { packetBytesMax } = connection;
    const isTooLarge = packetBytesMax > 0 && packet.length > packetBytesMax;
    const error = refusedBefore(connection, item) ?? (isTooLarge ? tooLarge(packetBytesMax) : null);
    if (error !== null) {
      this.#finish(item, error);
      return;
    }
    if (qos > 0) writeU16(packet, packetIdOffset(packet), packetId);
    connection.send(packet);
    if (qos === 0) {
      this.#finish(item, HANDED_OVER);
      return;
    }
    item.state = SENT;
    this.#exchanges.set(packetId, item);
    this.#open(item);
  }

  /** Repeats open exchanges in their order; false when not all could go yet. [MQTT5-4.4.0-1] */
  #repeat(connection: OutboundConnection): boolean {
    for (const item of this.#exchanges.values()) {
      if (item.isOpen) continue;
      if (!this.#hasWindow(connection, item) || connection.isCongested()) return false;
      this.#open(item);
      if (item.state === RELEASED) this.#release(item.packetId, ReasonCode.SUCCESS);
      else {
        markRepeated(item.packet);
        connection.send(item.packet);
      }
    }
    return true;
  }

  #hasWindow({ window, qos2Window }: OutboundConnection, { qos }: Item): boolean {
    if (this.#openCount >= window) return false;
    return qos !== 2 || this.#openQos2 < qos2Window;
  }

  #open(item: Item): void {
    item.isOpen = true;
    this.#openCount++;
    if (item.qos === 2) this.#openQos2++;
  }

  #close(item: Item): void {
    item.isOpen = false;
    this.#openCount--;
    if (item.qos === 2) this.#openQos2--;
  }

  #release(packetId: number, reasonCode: number): void {
    const connection = this.#connection;
    if (connection !== null)
      connection.send(encodeAck(connection.version, PacketType.PUBREL, packetId, reasonCode));
  }

  /**
   * The server knows nothing of our exchanges. [MQTT5-3.2.2-5] QoS 1 starts again as new; for QoS 2
   * that could be a second delivery, so the caller has to have said that it may.
   */
  #forgetSession(): void {
    const again: Item[] = [];
    const lost: Item[] = [];
    for (const item of this.#exchanges.values()) {
      if (item.qos === 2 && !this.#options.resendsLost) {
        lost.push(item);
        continue;
      }
      this.#ids.release(item.packetId);
      item.state = WAITING;
      item.packetId = 0;
      // A message of the new session is no repeated one [MQTT5-3.3.1-2].
      markRepeated(item.packet, false);
      again.push(item);
    }
    this.#exchanges.clear();
    if (again.length > 0) {
      this.#waiting = [...again, ...this.#waiting.slice(this.#head)];
      this.#head = 0;
    }
    // Last: whoever hears of it may publish something.
    for (const item of lost) {
      this.#finish(item, new ClientError('session_lost', 'the server lost the session'));
    }
  }

  #finish(item: Item, result: PublishResult | ClientError): void {
    if (item.packetId !== 0) {
      this.#exchanges.delete(item.packetId);
      this.#ids.release(item.packetId);
      if (item.isOpen) this.#close(item);
    }
    this.#messages--;
    this.#bytes -= item.packet.length;
    item.done(result);
  }
}

function outcome(item: Item, ack: Acknowledgement): PublishResult | ClientError {
  const { reasonCode, reasonString, userProperties } = ack;
  const isPlain = reasonCode === ReasonCode.SUCCESS && reasonString === null;
  if (isPlain && userProperties.length === 0) return HANDED_OVER;
  if (reasonCode < 0x80) return { reasonCode, reasonString, userProperties };
  return reasonError('publish_refused', `publish to "${item.topic}" refused`, reasonCode, {
    reasonString,
  });
}

/** What CONNACK has ruled out is not sent. [MQTT5-3.2.2-11] [MQTT5-3.2.2-14] */
function refusedBefore(connection: OutboundConnection, { qos, retain }: Item): ClientError | null {
  if (qos > connection.maximumQos) {
    const text = `the server takes QoS ${connection.maximumQos} at most`;
    return new ClientError('not_supported', text, { reasonCode: ReasonCode.QOS_NOT_SUPPORTED });
  }
  if (retain && !connection.retainAvailable) {
    const text = 'the server does not retain messages';
    return new ClientError('not_supported', text, { reasonCode: ReasonCode.RETAIN_NOT_SUPPORTED });
  }
  return null;
}

function tooLarge(packetBytesMax: number): ClientError {
  return new ClientError(
    'packet_too_large',
    `the message is over the server's Maximum Packet Size of ${packetBytesMax} bytes`,
  );
}
