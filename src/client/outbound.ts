/**
 * Messages on their way out: one bounded queue in the order of `publish` calls, and the exchanges that
 * wait for PUBACK, PUBREC or PUBCOMP. It is the client's half of the session state, so it outlives
 * connections. [MQTT5-4.1.0-1] Driven by `client.ts`; it sends through the function it is given.
 */
import { Buffer } from 'node:buffer';
import { encodeAck } from '../wire/ack.ts';
import { PacketType } from '../wire/packet-type.ts';
import type { UserProperty } from '../wire/properties.ts';
import type { ProtocolVersion } from '../wire/protocol-version.ts';
import { ReasonCode } from '../wire/reason-code.ts';
import { ClientError, reasonError } from './client-error.ts';
import type { OutgoingMessage } from './message.ts';
import { encodeMessage } from './message.ts';
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
  /** 0: the server has set none. */
  readonly packetBytesMax: number;
  readonly maximumQos: number;
  readonly retainAvailable: boolean;
  send(bytes: Buffer): void;
  /** The socket has enough to do; `pump` is called again when it has not. */
  isCongested(): boolean;
}

export interface OutboundLimits {
  readonly messagesMax: number;
  readonly bytesMax: number;
  readonly packetIdMax: number;
}

const WAITING = 0;
const SENT = 1;
/** PUBREC came; PUBREL is what is repeated from here on. */
const RELEASED = 2;

interface Item {
  readonly message: OutgoingMessage;
  readonly bytes: number;
  state: number;
  packetId: number;
  /** Sent on the present connection, so it takes a place in the window. */
  isOpen: boolean;
  readonly resolve: (result: PublishResult) => void;
  readonly reject: (error: ClientError) => void;
}

const HANDED_OVER: PublishResult = Object.freeze({
  reasonCode: ReasonCode.SUCCESS,
  reasonString: null,
  userProperties: [],
});

/** Longest fixed header, packet id and property length of a PUBLISH; for estimates of size. */
const PUBLISH_OVERHEAD_BYTES = 5 + 2 + 4;

export class Outbound {
  readonly #ids: PacketIds;
  readonly #limits: OutboundLimits;
  #connection: OutboundConnection | null = null;
  /** In order; those before `#head` are gone. */
  #waiting: Item[] = [];
  #head = 0;
  /** By packet id, in the order of first sending. */
  readonly #exchanges: Map<number, Item> = new Map();
  #openCount = 0;
  #messages = 0;
  #bytes = 0;

  constructor(ids: PacketIds, limits: OutboundLimits) {
    this.#ids = ids;
    this.#limits = limits;
  }

  /** Messages accepted and not done. */
  get messages(): number {
    return this.#messages;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Queues a checked message and sends what may be sent. */
  add(message: OutgoingMessage): Promise<PublishResult> {
    const bytes = PUBLISH_OVERHEAD_BYTES + message.topic.length + message.payload.length;
    if (
      this.#messages >= this.#limits.messagesMax ||
      (this.#messages > 0 && this.#bytes + bytes > this.#limits.bytesMax)
    ) {
      return Promise.reject(
        new ClientError('queue_full', `${this.#messages} messages wait for the server already`),
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<PublishResult>();
    this.#messages++;
    this.#bytes += bytes;
    this.#waiting.push({
      message,
      bytes,
      state: WAITING,
      packetId: 0,
      isOpen: false,
      resolve,
      reject,
    });
    this.pump();
    return promise;
  }

  /** A connection is up: repeats what the session holds, or starts again without it. */
  connected(connection: OutboundConnection, sessionPresent: boolean, hasStale: boolean): void {
    this.#connection = connection;
    if (sessionPresent && hasStale) this.#completeStale(connection);
    this.#openCount = 0;
    for (const item of this.#exchanges.values()) item.isOpen = false;
    if (!sessionPresent) this.#forgetSession();
    this.pump();
  }

  /** Exchanges that an earlier life of this client may have left open, whatever their identifiers. */
  #completeStale(connection: OutboundConnection): void {
    const all: Buffer[] = [];
    for (let packetId = 1; packetId <= this.#limits.packetIdMax; packetId++) {
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
      if (item.message.qos > 0) {
        if (this.#openCount >= connection.window) break;
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
    if (item === undefined || item.message.qos !== 1) return;
    this.#finish(item, outcome(item, ack));
    this.pump();
  }

  /** PUBREC; answers with PUBREL. */
  received(ack: Acknowledgement): void {
    const item = this.#exchanges.get(ack.packetId);
    if (item === undefined || item.message.qos !== 2) {
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
    const { message, packetId } = item;
    const error = refusedBefore(connection, message);
    const packet =
      error === null ? encodeMessage(connection.version, message, packetId, false) : null;
    if (
      packet === null ||
      (connection.packetBytesMax > 0 && packet.length > connection.packetBytesMax)
    ) {
      this.#finish(item, error ?? tooLarge(connection.packetBytesMax));
      return;
    }
    connection.send(packet);
    if (message.qos === 0) {
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
      if (this.#openCount >= connection.window || connection.isCongested()) return false;
      this.#open(item);
      if (item.state === RELEASED) this.#release(item.packetId, ReasonCode.SUCCESS);
      else connection.send(encodeMessage(connection.version, item.message, item.packetId, true));
    }
    return true;
  }

  #open(item: Item): void {
    item.isOpen = true;
    this.#openCount++;
  }

  #release(packetId: number, reasonCode: number): void {
    const connection = this.#connection;
    if (connection !== null)
      connection.send(encodeAck(connection.version, PacketType.PUBREL, packetId, reasonCode));
  }

  /**
   * The server knows nothing of our exchanges. [MQTT5-3.2.2-5] QoS 1 starts again as new; for QoS 2
   * that could be a second delivery, so the caller decides.
   */
  #forgetSession(): void {
    const again: Item[] = [];
    for (const item of this.#exchanges.values()) {
      if (item.message.qos === 2) {
        this.#finish(item, new ClientError('session_lost', 'the server lost the session'));
        continue;
      }
      this.#ids.release(item.packetId);
      item.state = WAITING;
      item.packetId = 0;
      again.push(item);
    }
    this.#exchanges.clear();
    if (again.length > 0) {
      this.#waiting = [...again, ...this.#waiting.slice(this.#head)];
      this.#head = 0;
    }
  }

  #finish(item: Item, result: PublishResult | ClientError): void {
    if (item.packetId !== 0) {
      this.#exchanges.delete(item.packetId);
      this.#ids.release(item.packetId);
      if (item.isOpen) this.#openCount--;
    }
    this.#messages--;
    this.#bytes -= item.bytes;
    if (result instanceof ClientError) item.reject(result);
    else item.resolve(result);
  }
}

function outcome(item: Item, ack: Acknowledgement): PublishResult | ClientError {
  const { reasonCode, reasonString, userProperties } = ack;
  if (reasonCode < 0x80) return { reasonCode, reasonString, userProperties };
  return reasonError('publish_refused', `publish to "${item.message.topic}" refused`, reasonCode, {
    reasonString,
  });
}

/** What CONNACK has ruled out is not sent. [MQTT5-3.2.2-11] [MQTT5-3.2.2-14] */
function refusedBefore(
  connection: OutboundConnection,
  message: OutgoingMessage,
): ClientError | null {
  if (message.qos > connection.maximumQos) {
    const text = `the server takes QoS ${connection.maximumQos} at most`;
    return new ClientError('not_supported', text, { reasonCode: ReasonCode.QOS_NOT_SUPPORTED });
  }
  if (message.retain && !connection.retainAvailable) {
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
