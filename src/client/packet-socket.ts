/**
 * The lower half of one connection: bytes to decoded packets and back, with writes of one turn joined.
 * It blames the server for what cannot be decoded. Made and driven by `connection.ts`; it knows no
 * session and no order of packets.
 */
import { Buffer } from 'node:buffer';
import { ACK_BYTES, AckView, decodeAck, writeAck } from '../wire/ack.ts';
import type { AuthPacket } from '../wire/auth.ts';
import { decodeAuth } from '../wire/auth.ts';
import type { ConnackPacket } from '../wire/connack.ts';
import { decodeConnack } from '../wire/connack.ts';
import type { DecodeLimits } from '../wire/decode-limits.ts';
import type { DisconnectPacket } from '../wire/disconnect.ts';
import { decodeDisconnect, encodeDisconnect } from '../wire/disconnect.ts';
import { bodyStart, checkFixedHeaderFlags } from '../wire/framing.ts';
import { PacketType, packetTypeName } from '../wire/packet-type.ts';
import { decodePing } from '../wire/ping.ts';
import { ProtocolError, protocolViolation } from '../wire/protocol-error.ts';
import type { ProtocolVersion } from '../wire/protocol-version.ts';
import { decodePublish, PublishView } from '../wire/publish.ts';
import type { SubackPacket } from '../wire/suback.ts';
import { decodeSuback } from '../wire/suback.ts';
import type { UnsubackPacket } from '../wire/unsuback.ts';
import { decodeUnsuback } from '../wire/unsuback.ts';
import { ClientError } from './client-error.ts';
import { PacketSplitter } from './packet-splitter.ts';
import type { Timers } from './timers.ts';
import type { Transport, TransportHandler } from './transport.ts';

/** What the client hears; views are overwritten by the next packet. Handlers may throw ProtocolError. */
export interface PacketHandler {
  onOpen(): void;
  onConnack(packet: ConnackPacket): void;
  onAuth(packet: AuthPacket): void;
  onPublish(view: PublishView): void;
  onAck(type: number, ack: AckView): void;
  onSuback(packet: SubackPacket): void;
  onUnsuback(packet: UnsubackPacket): void;
  onDisconnect(packet: DisconnectPacket): void;
  /** Any bytes came, or left. */
  onReceived(): void;
  onSent(): void;
  onDrained(): void;
  /** Once, when the socket is gone. The error is why; null: `close` or `destroy` gave none. */
  onClosed(error: ClientError | null): void;
}

/** Generous: the server is who we chose to talk to, but its packets are bounded all the same. */
const LIMITS: DecodeLimits = { userPropertiesMax: 10_000, filtersMax: 65_535 };

/** Writes are joined up to this: beyond, the copy would cost more than the calls. */
const JOIN_BYTES_MAX = 64 * 1024;
const CONGESTED_BYTES = 1024 * 1024;
/** Memory for acknowledgements, which are written one behind the other. */
const ACKS_BYTES = 4096;
/** How long an orderly close may take before the socket is destroyed. */
const CLOSE_MS = 1000;

export class PacketSocket {
  readonly #version: ProtocolVersion;
  readonly #display: string;
  readonly #handler: PacketHandler;
  readonly #transport: Transport;
  readonly #splitter: PacketSplitter;
  readonly #ack: AckView = new AckView();
  readonly #publish: PublishView = new PublishView();
  #unsent: Buffer[] = [];
  #unsentBytes = 0;
  /** Acknowledgements of success; those from `#acksFrom` on are not among the unsent buffers yet. */
  #acks: Buffer | null = null;
  #acksFrom = 0;
  #acksEnd = 0;
  /** A flush is to come at the end of what runs now. */
  #isFlushing = false;
  #isOpen = false;
  #isEnded = false;
  #isReported = false;
  /** Why `close` was called, for the report when the socket is gone. */
  #closing: { readonly error: ClientError | null } | null = null;
  #isPaused = false;
  readonly #timers: Timers;
  #cancelClose: (() => void) | null = null;

  constructor(
    display: string,
    version: ProtocolVersion,
    packetBytesMax: number,
    handler: PacketHandler,
    open: (handler: TransportHandler) => Transport,
    timers: Timers,
  ) {
    this.#version = version;
    this.#display = display;
    this.#timers = timers;
    this.#handler = handler;
    this.#splitter = new PacketSplitter(packetBytesMax, (buf, start, end) => {
      if (!this.#isEnded) this.#packet(buf, start, end);
    });
    const told: TransportHandler = {
      onOpen: () => {
        this.#isOpen = true;
        if (!this.#isEnded) handler.onOpen();
      },
      onBytes: (chunk) => this.#onBytes(chunk),
      onDrained: () => {
        if (!this.#isEnded) handler.onDrained();
      },
      onClosed: (error) => this.#onClosed(error),
    };
    this.#transport = open(told);
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  send(bytes: Buffer): void {
    if (this.#isEnded) return;
    this.#endAcks();
    this.#push(bytes);
  }

  /** PUBACK, PUBREC or PUBCOMP of success. Thousands of them may follow each other. */
  sendAck(type: number, packetId: number): void {
    if (this.#isEnded) return;
    if (this.#acks === null || this.#acksEnd + ACK_BYTES > ACKS_BYTES) {
      this.#endAcks();
      this.#acks = Buffer.allocUnsafeSlow(ACKS_BYTES);
      this.#acksFrom = 0;
      this.#acksEnd = 0;
    }
    if (this.#acksFrom === this.#acksEnd) this.#flushLater();
    this.#acksEnd = writeAck(this.#acks, this.#acksEnd, type, packetId);
  }

  #endAcks(): void {
    if (this.#acks === null || this.#acksFrom === this.#acksEnd) return;
    const bytes = this.#acks.subarray(this.#acksFrom, this.#acksEnd);
    this.#acksFrom = this.#acksEnd;
    this.#push(bytes);
  }

  #push(bytes: Buffer): void {
    this.#flushLater();
    this.#unsent.push(bytes);
    this.#unsentBytes += bytes.length;
    this.#handler.onSent();
  }

  #flushLater(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    queueMicrotask(() => this.#flush());
  }

  isCongested(): boolean {
    return this.#unsentBytes + this.#transport.unsentBytes() > CONGESTED_BYTES;
  }

  pause(): void {
    this.#isPaused = true;
    this.#transport.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#transport.resume();
  }

  /** Sends what is unsent and closes in order; `onClosed` gets this error when that is done. */
  close(error: ClientError | null): void {
    if (this.#isEnded) return;
    this.#flush();
    this.#isEnded = true;
    // A paused socket would never see the other side's end.
    this.#transport.resume();
    this.#transport.end();
    this.#closing = { error };
    this.#cancelClose = this.#timers.after(CLOSE_MS, () => this.#transport.destroy());
  }

  /** Closes at once; `onClosed` gets this error. */
  destroy(error: ClientError | null): void {
    this.#isEnded = true;
    this.#transport.destroy();
    this.#report(error);
  }

  #flush(): void {
    if (!this.#isEnded) this.#endAcks();
    this.#isFlushing = false;
    const unsent = this.#unsent;
    if (unsent.length === 0 || this.#isEnded) return;
    this.#unsent = [];
    const bytes = this.#unsentBytes;
    this.#unsentBytes = 0;
    if (unsent.length > 1 && bytes <= JOIN_BYTES_MAX) {
      this.#transport.write(Buffer.concat(unsent, bytes));
      return;
    }
    let from = 0;
    let joined = 0;
    for (const [at, { length }] of unsent.entries()) {
      if (joined + length > JOIN_BYTES_MAX) {
        this.#writeJoined(unsent, from, at, joined);
        from = at;
        joined = 0;
      }
      joined += length;
    }
    this.#writeJoined(unsent, from, unsent.length, joined);
  }

  /** Neighbours that are small enough together; a large one is alone. */
  #writeJoined(unsent: readonly Buffer[], from: number, to: number, bytes: number): void {
    if (to === from) return;
    const isOne = to === from + 1;
    this.#transport.write(isOne ? unsent[from]! : Buffer.concat(unsent.slice(from, to), bytes));
  }

  #onBytes(chunk: Buffer): void {
    if (this.#isEnded) return;
    this.#handler.onReceived();
    try {
      this.#splitter.push(chunk);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      const { reasonCode, message } = error;
      if (this.#version === 5) this.send(encodeDisconnect(5, { reasonCode }));
      const text = `the server broke the protocol: ${message}`;
      this.close(new ClientError('protocol_error', text, { reasonCode, cause: error }));
    }
  }

  #onClosed(error: Error | null): void {
    this.#cancelClose?.();
    this.#isEnded = true;
    if (this.#closing !== null) {
      this.#report(this.#closing.error);
      return;
    }
    if (error === null && this.#isOpen) {
      this.#report(new ClientError('connection_lost', 'the server closed the connection'));
      return;
    }
    const code = this.#isOpen ? 'connection_lost' : 'connect_failed';
    const what = this.#isOpen ? 'connection lost' : `cannot connect to ${this.#display}`;
    const why = error === null ? 'closed' : socketErrorText(error);
    this.#report(new ClientError(code, `${what}: ${why}`, { cause: error }));
  }

  #report(error: ClientError | null): void {
    if (this.#isReported) return;
    this.#isReported = true;
    this.#handler.onClosed(error);
  }

  #packet(buf: Buffer, start: number, end: number): void {
    const version = this.#version;
    const firstByte = buf[start]!;
    const body = bodyStart(buf, start);
    const type = firstByte >> 4;
    checkFixedHeaderFlags(firstByte, version);
    switch (type) {
      case PacketType.PUBLISH: {
        const view = this.#publish;
        view.subscriptionIds = null;
        decodePublish(view, version, firstByte, buf, body, end, LIMITS.userPropertiesMax, true);
        this.#handler.onPublish(view);
        return;
      }
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBREL:
      case PacketType.PUBCOMP:
        decodeAck(this.#ack, type, version, buf, body, end, LIMITS);
        this.#handler.onAck(type, this.#ack);
        return;
      case PacketType.SUBACK:
        this.#handler.onSuback(decodeSuback(version, buf, body, end, LIMITS));
        return;
      case PacketType.UNSUBACK:
        this.#handler.onUnsuback(decodeUnsuback(version, buf, body, end, LIMITS));
        return;
      case PacketType.PINGRESP:
        decodePing(body, end);
        return;
      case PacketType.CONNACK:
        this.#handler.onConnack(decodeConnack(version, buf, body, end, LIMITS));
        return;
    }
    if (version === 5 && type === PacketType.DISCONNECT) {
      this.#handler.onDisconnect(decodeDisconnect(version, buf, body, end, LIMITS, 'server'));
    } else if (version === 5 && type === PacketType.AUTH) {
      this.#handler.onAuth(decodeAuth(buf, body, end, LIMITS, 'server'));
    } else {
      throw protocolViolation(`a server does not send ${packetTypeName(type)}`);
    }
  }
}

/** System errors in words; the code alone says little to a person. */
const SOCKET_ERRORS: ReadonlyMap<string, string> = new Map([
  ['ECONNREFUSED', 'connection refused'],
  ['ECONNRESET', 'connection reset'],
  ['ENOTFOUND', 'host not found'],
  ['EAI_AGAIN', 'host cannot be looked up now'],
  ['ETIMEDOUT', 'timed out'],
  ['EHOSTUNREACH', 'host not reachable'],
  ['ENETUNREACH', 'network not reachable'],
  ['EPIPE', 'connection closed'],
  ['ENOENT', 'no such socket'],
  ['EACCES', 'permission denied'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'the certificate of the server is self-signed'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'the certificate of the server comes from an unknown authority'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'the certificate of the server cannot be verified'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'the certificate of the server cannot be verified'],
  ['CERT_HAS_EXPIRED', 'the certificate of the server has expired'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'the certificate of the server is for another name'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'the server does not speak TLS on this port'],
]);

function socketErrorText(error: Error): string {
  const errors = error instanceof AggregateError ? (error.errors as Error[]) : [];
  const first = errors[0] ?? error;
  const code = (first as NodeJS.ErrnoException).code ?? '';
  const known = SOCKET_ERRORS.get(code);
  if (known !== undefined) return `${known} (${code})`;
  const text = first.message.split('\n', 1)[0]!.slice(0, 200);
  return text === '' ? code || 'unknown error' : text;
}
