/**
 * The receiving side of one connection (data plane): finds packets in the chunks of its socket, keeps
 * what is incomplete or held, and hands each packet to its handler. Every error while parsing ends
 * here: a protocol error is answered with its reason, anything else is our bug and costs this
 * connection only.
 */
import {
  bodyStart,
  checkFixedHeaderFlags,
  checkShortestLength,
  packetEnd,
} from '../wire/framing.ts';
import { PacketType } from '../wire/packet-type.ts';
import { PINGRESP } from '../wire/ping.ts';
import { ProtocolError } from '../wire/protocol-error.ts';
import { ReasonCode } from '../wire/reason-code.ts';
import type { CloseReason } from './close-reason.ts';
import { type Connection, Hold, Phase } from './connection.ts';
import { handleAck } from './handle/ack.ts';
import { handleAuth } from './handle/auth.ts';
import { handleConnect } from './handle/connect.ts';
import { handleDisconnect } from './handle/disconnect.ts';
import { handlePublish } from './handle/publish.ts';
import { handleSubscribe, handleUnsubscribe } from './handle/subscribe.ts';
import type { ByteHandler } from './ports.ts';

/** First allocation for an incomplete packet; it grows with what has arrived, not what is announced. */
const PARTIAL_BYTES_MIN = 256;
/**
 * A whole packet is a sign of life, a byte of one is not: a client could feed us one for ever. A chunk
 * of this size is, so that a large packet may take its time on a slow line.
 */
const LIVELY_BYTES = 512;

export class Inlet implements ByteHandler {
  readonly #connection: Connection;
  /** Bytes of one incomplete packet, or null. */
  #partial: Buffer | null = null;
  #partialFill = 0;
  /** Whole input that arrived while parsing was held, in order, or null. */
  #held: Buffer[] | null = null;
  /** A chunk is being parsed: what is held comes after it. */
  #isConsuming = false;

  constructor(connection: Connection) {
    this.#connection = connection;
    connection.goOn = () => this.#goOn();
    connection.hearGoodbye = () => this.#hearGoodbye();
  }

  onBytes(buffer: Buffer, start: number, end: number): void {
    const connection = this.#connection;
    if (connection.closed) return;
    const { core } = connection.services;
    core.stats.bytesReceived += end - start;
    if (connection.holds !== 0) {
      // The socket is paused; this was on its way already.
      this.#hold(buffer, start, end);
      return;
    }
    if (!connection.mayServe()) {
      // Others may count this node as dead by now and match without it.
      connection.hold(Hold.LEASE);
      this.#hold(buffer, start, end);
      return;
    }
    this.#consume(buffer, start, end);
    // Held and released again while it was parsed.
    if (this.#held !== null) this.#goOn();
  }

  onDrained(): void {
    try {
      this.#connection.services.core.outbox.drained(this.#connection.outlet);
    } catch (error) {
      this.#fail(error);
    }
  }

  onClosed(error: Error | null): void {
    this.#hearGoodbye();
    this.#partial = null;
    this.#held = null;
    this.#connection.socketClosed(error);
  }

  /** Goes on with what was held, until the next hold. */
  #goOn(): void {
    if (this.#isConsuming) return;
    const connection = this.#connection;
    while (this.#held !== null && connection.holds === 0 && !connection.closed) {
      // It was read before the hold, and is matched now.
      if (!connection.mayServe()) {
        connection.hold(Hold.LEASE);
        return;
      }
      const chunk = this.#held.shift()!;
      if (this.#held.length === 0) this.#held = null;
      this.#consume(chunk, 0, chunk.length);
    }
  }

  /**
   * The socket is gone while parsing was held, or another node takes the session: of what nobody answers
   * any more only a goodbye counts, as the client's will hangs on it [MQTT5-3.14.4-3] [MQTT311-3.14.4-3].
   */
  #hearGoodbye(): void {
    const connection = this.#connection;
    if (this.#held === null || connection.closed || connection.phase !== Phase.OPEN) return;
    const unread = this.#unread(this.#held);
    this.#held = null;
    this.#partial = null;
    try {
      let position = 0;
      while (position < unread.length) {
        const after = packetEnd(unread, position, unread.length, this.#bytesMax());
        if (after === -1 || after > unread.length) return;
        if (unread[position]! >> 4 === PacketType.DISCONNECT) {
          this.#dispatch(unread, position, after);
          return;
        }
        position = after;
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #unread(held: readonly Buffer[]): Buffer {
    let bytes = this.#partial === null ? 0 : this.#partialFill;
    for (const chunk of held) bytes += chunk.length;
    const unread = Buffer.allocUnsafe(bytes);
    let fill = 0;
    if (this.#partial !== null) fill = this.#partial.copy(unread, 0, 0, this.#partialFill);
    for (const chunk of held) fill += chunk.copy(unread, fill);
    return unread;
  }

  #hold(buffer: Buffer, start: number, end: number): void {
    this.#held ??= [];
    this.#held.push(Buffer.from(buffer.subarray(start, end)));
  }

  /** Puts the unparsed rest of a chunk before what arrived later. */
  #holdFirst(buffer: Buffer, start: number, end: number): void {
    this.#held ??= [];
    this.#held.unshift(Buffer.from(buffer.subarray(start, end)));
  }

  #consume(buffer: Buffer, start: number, end: number): void {
    const connection = this.#connection;
    this.#isConsuming = true;
    try {
      let position = start;
      let isLively = end - start >= LIVELY_BYTES;
      if (this.#partial !== null) position = this.#completePartial(buffer, start, end);
      if (this.#partial === null) {
        position = this.#parse(buffer, position, end);
        isLively ||= position > start;
        if (position < end && !connection.closed) {
          if (connection.holds !== 0) this.#holdFirst(buffer, position, end);
          else this.#keepPartial(buffer, position, end);
        }
      }
      // [MQTT5-3.1.2-22] [MQTT311-3.1.2-24]
      if (isLively) connection.lastActivityMs = connection.services.core.clock.monotonicMs();
      if (connection.needsPump) {
        connection.needsPump = false;
        if (!connection.closed) connection.services.delivery.pump(connection.session!);
      }
      // Answers are not dropped: who does not read them is not read either.
      const { outlet } = connection;
      if (outlet.pendingBytes > 0) {
        const { outboxBytesMax } = connection.services.core.limits;
        if (outlet.pendingBytes >= outboxBytesMax && !connection.closed) {
          connection.hold(Hold.OUTLET);
        }
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isConsuming = false;
    }
  }

  /** Handles all complete packets; returns where the rest begins. */
  #parse(buffer: Buffer, start: number, end: number): number {
    const connection = this.#connection;
    let position = start;
    while (position < end && connection.holds === 0) {
      const after = packetEnd(buffer, position, end, this.#bytesMax());
      if (after === -1 || after > end) break;
      if (!this.#dispatch(buffer, position, after)) break;
      if (connection.closed) return end;
      position = after;
    }
    return position;
  }

  #bytesMax(): number {
    const connection = this.#connection;
    if (connection.phase === Phase.OPEN) return connection.packetBytesMax;
    return connection.services.core.limits.connectBytesMax;
  }

  #keepPartial(buffer: Buffer, start: number, end: number): void {
    const bytes = end - start;
    this.#partial = Buffer.allocUnsafe(Math.max(bytes, PARTIAL_BYTES_MIN));
    buffer.copy(this.#partial, 0, start, end);
    this.#partialFill = bytes;
  }

  /** Adds to the incomplete packet; handles it when it is whole. Returns where the rest begins. */
  #completePartial(buffer: Buffer, start: number, end: number): number {
    let position = start;
    while (position < end) {
      const after = packetEnd(this.#partial!, 0, this.#partialFill, this.#bytesMax());
      // Unknown length: one more byte of the fixed header.
      const wanted = after === -1 ? this.#partialFill + 1 : after;
      const taken = Math.min(wanted - this.#partialFill, end - position);
      this.#growPartial(this.#partialFill + taken, wanted);
      buffer.copy(this.#partial!, this.#partialFill, position, position + taken);
      this.#partialFill += taken;
      position += taken;
      if (after !== -1 && this.#partialFill === after) break;
    }
    const whole = this.#partial!;
    const bytes = this.#partialFill;
    if (packetEnd(whole, 0, bytes, this.#bytesMax()) !== bytes) return position;
    this.#partial = null;
    if (this.#dispatch(whole, 0, bytes)) return position;
    // Handed in again later, before what follows it.
    if (position < end) this.#holdFirst(buffer, position, end);
    this.#holdFirst(whole, 0, bytes);
    return end;
  }

  #growPartial(fill: number, wanted: number): void {
    const partial = this.#partial!;
    if (fill <= partial.length) return;
    const grown = Buffer.allocUnsafe(
      Math.min(Math.max(fill, partial.length * 2), Math.max(wanted, fill)),
    );
    partial.copy(grown, 0, 0, this.#partialFill);
    this.#partial = grown;
  }

  /** Hands one whole packet on; false when it must be handed in again after a hold. */
  #dispatch(buffer: Buffer, start: number, end: number): boolean {
    const connection = this.#connection;
    const firstByte = buffer[start]!;
    const type = firstByte >> 4;
    let body = start + 2;
    if (buffer[start + 1]! >= 0x80) {
      body = bodyStart(buffer, start);
      if (connection.version === 5) checkShortestLength(buffer, start);
    }
    if (connection.phase !== Phase.OPEN) {
      this.#dispatchEarly(buffer, firstByte, body, end);
      return true;
    }
    const stats = connection.services.core.stats;
    stats.packetsReceived[type]!++;
    if (type === PacketType.PUBLISH) {
      return handlePublish(connection, buffer, start, body, end);
    }
    checkFixedHeaderFlags(firstByte, connection.version);
    switch (type) {
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBREL:
      case PacketType.PUBCOMP:
        handleAck(connection, type, buffer, body, end);
        return true;
      case PacketType.SUBSCRIBE:
        return handleSubscribe(connection, buffer, body, end);
      case PacketType.UNSUBSCRIBE:
        handleUnsubscribe(connection, buffer, body, end);
        return true;
      case PacketType.PINGREQ:
        if (body !== end) throw new ProtocolError(ReasonCode.MALFORMED_PACKET, 'ping with a body');
        connection.send(PacketType.PINGRESP, PINGRESP);
        return true;
      case PacketType.DISCONNECT:
        handleDisconnect(connection, buffer, body, end);
        return true;
      case PacketType.AUTH:
        if (connection.version === 5) {
          handleAuth(connection, buffer, body, end);
          return true;
        }
    }
    // A second CONNECT [MQTT5-3.1.0-2], or a packet only a server sends.
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'packet is not allowed from a client here');
  }

  /** Before the CONNECT is accepted only CONNECT, and AUTH in its exchange, is heard. */
  #dispatchEarly(buffer: Buffer, firstByte: number, body: number, end: number): void {
    const connection = this.#connection;
    const type = firstByte >> 4;
    if (connection.phase === Phase.NEW && type === PacketType.CONNECT) {
      connection.services.core.stats.packetsReceived[type]!++;
      handleConnect(connection, firstByte, buffer, body, end);
    } else if (connection.phase === Phase.CONNECTING && type === PacketType.AUTH) {
      checkFixedHeaderFlags(firstByte);
      connection.services.core.stats.packetsReceived[type]!++;
      handleAuth(connection, buffer, body, end);
    } else {
      // [MQTT5-3.1.0-1]
      connection.close('not_connect');
    }
  }

  #fail(error: unknown): void {
    const connection = this.#connection;
    if (error instanceof ProtocolError) {
      if (connection.phase === Phase.OPEN) {
        connection.close(closeReasonOf(error.reasonCode), error.message);
      } else {
        connection.close('not_connect');
      }
      return;
    }
    const { core } = connection.services;
    core.stats.internalErrors++;
    core.log.error({ err: error, clientId: connection.clientId }, 'handler failed');
    connection.close('internal_error');
  }
}

function closeReasonOf(reasonCode: number): CloseReason {
  switch (reasonCode) {
    case ReasonCode.MALFORMED_PACKET:
      return 'malformed_packet';
    case ReasonCode.PACKET_TOO_LARGE:
      return 'packet_too_large';
    case ReasonCode.TOPIC_ALIAS_INVALID:
      return 'topic_alias_invalid';
    case ReasonCode.TOPIC_NAME_INVALID:
      return 'topic_name_invalid';
    case ReasonCode.QUOTA_EXCEEDED:
      return 'quota_exceeded';
    default:
      return 'protocol_error';
  }
}
