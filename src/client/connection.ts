/**
 * One connection of the client to its server: CONNECT and CONNACK, what CONNACK ruled, keep alive,
 * topic aliases, and who gets which packet. Made by `client.ts` for every attempt; the session's state
 * is in the parts it is handed.
 */
import type { Buffer } from 'node:buffer';
import type { AckView } from '../wire/ack.ts';
import { encodeAck } from '../wire/ack.ts';
import type { AuthPacket } from '../wire/auth.ts';
import { encodeAuth } from '../wire/auth.ts';
import type { ConnackPacket } from '../wire/connack.ts';
import type { ConnectPacket } from '../wire/connect.ts';
import { encodeConnect, RECEIVE_MAXIMUM_DEFAULT } from '../wire/connect.ts';
import type { DisconnectInput, DisconnectPacket } from '../wire/disconnect.ts';
import { encodeDisconnect } from '../wire/disconnect.ts';
import { bodyStart } from '../wire/framing.ts';
import { PacketType } from '../wire/packet-type.ts';
import { PINGREQ } from '../wire/ping.ts';
import { ProtocolError, protocolViolation } from '../wire/protocol-error.ts';
import type { ProtocolVersion } from '../wire/protocol-version.ts';
import type { PublishView } from '../wire/publish.ts';
import { topicText } from '../wire/publish.ts';
import { ReasonCode } from '../wire/reason-code.ts';
import type { SubackPacket } from '../wire/suback.ts';
import type { UnsubackPacket } from '../wire/unsuback.ts';
import { VARINT_MAX } from '../wire/varint.ts';
import { ClientError, reasonError } from './client-error.ts';
import type { Endpoint } from './endpoint.ts';
import type { Inbound, InboundConnection } from './inbound.ts';
import { KeepAlive } from './keep-alive.ts';
import { readMessage } from './message.ts';
import { openTransport as openSocket } from './open-transport.ts';
import type { ClientOptions } from './options.ts';
import { clientDefaults } from './options.ts';
import type { Outbound, OutboundConnection } from './outbound.ts';
import type { PacketHandler } from './packet-socket.ts';
import { PacketSocket } from './packet-socket.ts';
import type { RequestSender, Subscriptions } from './subscriptions.ts';
import { systemTimers, type Timers } from './timers.ts';
import { TopicCache } from './topic-cache.ts';

export interface ConnectionParts {
  readonly outbound: Outbound;
  readonly inbound: Inbound;
  readonly subscriptions: Subscriptions;
  /** The server may know of QoS 2 exchanges of an earlier life of the client. */
  readonly hasStale: boolean;
  /** CONNACK came; called before anything is repeated or sent. */
  readonly onConnected: (connack: ConnackPacket, sessionPresent: boolean) => void;
  readonly onClosed: (error: ClientError | null) => void;
}

/** Of the protocol level in CONNECT: the client is a bridge of mosquitto's kind. */
const BRIDGE_BIT = 0x80;
/** Packet size the fixed header can say: 4 bytes of length, and the header itself. */
const PACKET_BYTES_MAX = VARINT_MAX + 5;

export class Connection
  implements PacketHandler, InboundConnection, OutboundConnection, RequestSender
{
  readonly version: ProtocolVersion;
  window = 1;
  qos2Window = 1;
  packetBytesMax = 0;
  maximumQos = 2;
  retainAvailable = true;
  readonly #options: ClientOptions;
  readonly #connect: ConnectPacket;
  readonly #parts: ConnectionParts;
  readonly #socket: PacketSocket;
  readonly #timers: Timers;
  readonly #cancelConnect: () => void;
  readonly #topics: Map<number, string> = new Map();
  /** Only where messages are handed over as they come. */
  readonly #topicCache: TopicCache | null;
  #keepAlive: KeepAlive | null = null;
  #isConnected = false;

  /** Starts to connect. */
  constructor(
    endpoint: Endpoint,
    options: ClientOptions,
    connect: ConnectPacket,
    parts: ConnectionParts,
  ) {
    this.version = connect.protocolVersion;
    this.#options = options;
    this.#connect = connect;
    this.#parts = parts;
    this.#topicCache = options.onArrival === undefined ? null : new TopicCache();
    const bytesMax = connect.maximumPacketSize || PACKET_BYTES_MAX;
    const { tls = {}, openTransport, timers = systemTimers } = options;
    this.#timers = timers;
    const open = openTransport ?? ((told) => openSocket(endpoint, tls, told));
    this.#socket = new PacketSocket(endpoint.display, this.version, bytesMax, this, open, timers);
    const timeoutMs = options.connectTimeoutMs ?? clientDefaults.connectTimeoutMs;
    this.#cancelConnect = timers.after(timeoutMs, () => {
      const text = `no answer from ${endpoint.display} within ${timeoutMs} ms`;
      this.#socket.destroy(new ClientError('connect_timeout', text));
    });
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  send(bytes: Buffer): void {
    this.#socket.send(bytes);
  }

  isCongested(): boolean {
    return this.#socket.isCongested();
  }

  /** Orderly end: DISCONNECT, then close. Before CONNACK there is only the close. */
  disconnect(packet: DisconnectInput): void {
    if (!this.#isConnected) {
      this.#socket.destroy(null);
      return;
    }
    this.send(encodeDisconnect(this.version, packet));
    this.#socket.close(null);
  }

  /** Ends without a word, as a broken network would. */
  destroy(): void {
    this.#socket.destroy(null);
  }

  /** Orderly end because of an error on our side of the connection. */
  fail(error: ClientError): void {
    if (!this.#isConnected) return;
    if (this.version === 5) {
      this.send(encodeDisconnect(5, { reasonCode: ReasonCode.UNSPECIFIED_ERROR }));
    }
    this.#socket.close(error);
  }

  // ------------------------------------------------------------------ what the session's parts ask

  acknowledge(qos: 1 | 2, packetId: number): void {
    const type = qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
    this.#socket.sendAck(type, packetId);
  }

  pauseReading(): void {
    this.#socket.pause();
  }

  resumeReading(): void {
    this.#socket.resume();
  }

  handlerFailed(error: unknown): void {
    const reasonCode = ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR;
    if (this.version === 5) this.send(encodeDisconnect(5, { reasonCode }));
    const why = error instanceof Error ? error.message : String(error);
    const text = `the message handler failed: ${why}`;
    this.#socket.close(new ClientError('handler_failed', text, { cause: error }));
  }

  // ------------------------------------------------------------------ what the socket tells

  onOpen(): void {
    if (this.#connect.authenticationMethod === null) {
      this.send(this.#encodeConnect());
      return;
    }
    this.#authenticate(null, (data) => {
      this.send(encodeConnect({ ...this.#connect, authenticationData: data }));
    });
  }

  #encodeConnect(): Buffer {
    const bytes = encodeConnect(this.#connect);
    if (this.#options.isBridge !== true || this.version === 5) return bytes;
    // Behind the name of the protocol, with its length.
    const name = bodyStart(bytes, 0);
    const level = name + 2 + bytes.readUInt16BE(name);
    bytes[level] = bytes[level]! | BRIDGE_BIT;
    return bytes;
  }

  onConnack(connack: ConnackPacket): void {
    if (this.#isConnected) throw protocolViolation('a second CONNACK');
    this.#cancelConnect();
    const { reasonCode, reasonString, serverReference } = connack;
    if (reasonCode !== ReasonCode.SUCCESS) {
      const details = { reasonString, serverReference };
      this.#socket.close(reasonError('refused', 'connection refused', reasonCode, details));
      return;
    }
    // [MQTT5-3.2.2-2] a clean start leaves nothing that could be present.
    if (connack.sessionPresent && this.#connect.cleanStart) {
      throw protocolViolation('session present after a clean start');
    }
    // MQTT 3.1 cannot say; what it was asked to keep is taken as kept.
    const sessionPresent =
      connack.sessionPresent || (this.version === 3 && !this.#connect.cleanStart);
    const inflightMax = this.#options.inflightMax ?? clientDefaults.inflightMax;
    this.#isConnected = true;
    this.window = Math.min(connack.receiveMaximum ?? RECEIVE_MAXIMUM_DEFAULT, inflightMax);
    this.qos2Window = Math.min(this.window, this.#options.inflightQos2Max ?? this.window);
    this.packetBytesMax = connack.maximumPacketSize ?? 0;
    this.maximumQos = connack.maximumQos ?? 2;
    this.retainAvailable = connack.retainAvailable ?? true;
    this.#startKeepAlive(connack.serverKeepAliveS ?? this.#connect.keepAliveS);
    this.#parts.inbound.connected(sessionPresent);
    this.#parts.onConnected(connack, sessionPresent);
    this.#parts.outbound.connected(this, sessionPresent, this.#parts.hasStale);
  }

  onAuth(packet: AuthPacket): void {
    if (packet.reasonCode !== ReasonCode.CONTINUE_AUTHENTICATION) return;
    const { authenticationMethod } = this.#connect;
    // [MQTT5-4.12.0-5]
    if (authenticationMethod === null || packet.authenticationMethod !== authenticationMethod) {
      throw protocolViolation('AUTH for another authentication method');
    }
    this.#authenticate(packet.authenticationData, (authenticationData) => {
      const { reasonCode } = packet;
      this.send(encodeAuth({ reasonCode, authenticationMethod, authenticationData }));
    });
  }

  onPublish(view: PublishView): void {
    this.#needConnected();
    const topic = this.#topicOf(view);
    const { onArrival } = this.#options;
    if (onArrival !== undefined) {
      this.#parts.inbound.lend(onArrival, view, topic, this);
      return;
    }
    this.#parts.inbound.arrived(readMessage(view, topic), view.packetId, this);
  }

  onAck(type: number, ack: AckView): void {
    this.#needConnected();
    const { outbound, inbound } = this.#parts;
    if (type === PacketType.PUBACK) outbound.acknowledged(ack);
    else if (type === PacketType.PUBREC) outbound.received(ack);
    else if (type === PacketType.PUBCOMP) outbound.completed(ack);
    else {
      const reasonCode = inbound.released(ack.packetId)
        ? ReasonCode.SUCCESS
        : ReasonCode.PACKET_IDENTIFIER_NOT_FOUND;
      this.send(encodeAck(this.version, PacketType.PUBCOMP, ack.packetId, reasonCode));
    }
  }

  onSuback(packet: SubackPacket): void {
    this.#needConnected();
    this.#parts.subscriptions.onSuback(packet);
  }

  onUnsuback(packet: UnsubackPacket): void {
    this.#needConnected();
    this.#parts.subscriptions.onUnsuback(packet);
  }

  onDisconnect(packet: DisconnectPacket): void {
    const { reasonCode, reasonString, serverReference } = packet;
    const details = { reasonString, serverReference };
    const what = 'the server closed the connection';
    this.#socket.close(reasonError('closed_by_server', what, reasonCode, details));
  }

  onReceived(): void {
    this.#keepAlive?.received();
  }

  onSent(): void {
    this.#keepAlive?.sent();
  }

  onDrained(): void {
    if (this.#isConnected) this.#parts.outbound.pump();
  }

  onClosed(error: ClientError | null): void {
    this.#cancelConnect();
    this.#keepAlive?.stop();
    this.#isConnected = false;
    this.#parts.onClosed(error);
  }

  #needConnected(): void {
    if (!this.#isConnected) throw protocolViolation('a packet before CONNACK');
  }

  /** [MQTT5-3.3.2-8] [MQTT5-3.3.2-9] aliases live as long as the connection. */
  #topicOf(view: PublishView): string {
    const { topicAlias } = view;
    if (topicAlias > this.#connect.topicAliasMaximum) {
      throw new ProtocolError(ReasonCode.TOPIC_ALIAS_INVALID, 'topic alias is over our maximum');
    }
    const isEmpty = view.topicEnd - view.topicStart === 2;
    if (topicAlias === 0 || !isEmpty) {
      const topic = this.#topicCache?.of(view) ?? topicText(view);
      if (topicAlias !== 0) this.#topics.set(topicAlias, topic);
      return topic;
    }
    const topic = this.#topics.get(topicAlias);
    if (topic === undefined) throw protocolViolation('topic alias is unknown');
    return topic;
  }

  #startKeepAlive(keepAliveS: number): void {
    if (keepAliveS === 0) return;
    this.#keepAlive = new KeepAlive({
      keepAliveS,
      timeoutMs: this.#options.answerTimeoutMs ?? clientDefaults.answerTimeoutMs,
      timers: this.#timers,
      ping: () => this.send(PINGREQ),
      isPaused: () => this.#socket.isPaused,
      lost: () => {
        const text = 'the server did not answer a ping';
        this.#socket.destroy(new ClientError('keep_alive_timeout', text));
      },
    });
  }

  #authenticate(data: Buffer | null, answer: (data: Buffer | null) => void): void {
    const { authenticate } = this.#options;
    const step = async (): Promise<Buffer | null> =>
      authenticate === undefined ? null : authenticate(data);
    step().then(answer, (error: unknown) => {
      const text = `authentication failed: ${error instanceof Error ? error.message : error}`;
      this.#socket.destroy(new ClientError('refused', text, { cause: error }));
    });
  }
}
