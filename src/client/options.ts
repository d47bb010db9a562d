/**
 * What a client is made from, and the defaults. Read by `client.ts` and by whoever builds options:
 * commands, health probe, region links.
 */
import type { Buffer } from 'node:buffer';
import type { ConnackPacket } from '../wire/connack.ts';
import type { UserProperty } from '../wire/properties.ts';
import type { ProtocolVersion } from '../wire/protocol-version.ts';
import type { ClientError } from './client-error.ts';
import type { ArrivalHandler, MessageHandler } from './inbound.ts';
import type { MessageProperties, Qos } from './message.ts';
import type { Timers } from './timers.ts';
import type { TlsOptions, Transport, TransportHandler } from './transport.ts';

export interface Will {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos?: Qos | undefined;
  readonly retain?: boolean | undefined;
  readonly delayIntervalS?: number | undefined;
  readonly properties?: MessageProperties | undefined;
}

/** One step of an enhanced authentication: data of the server (null at CONNECT) to our answer. */
export type Authenticate = (data: Buffer | null) => Buffer | null | Promise<Buffer | null>;

/** MQTT 5 properties of CONNECT; nothing of this is sent to an MQTT 3.x server. */
export interface ConnectProperties {
  readonly sessionExpiryIntervalS?: number | undefined;
  readonly receiveMaximum?: number | undefined;
  readonly maximumPacketSize?: number | undefined;
  readonly topicAliasMaximum?: number | undefined;
  readonly requestResponseInformation?: boolean | undefined;
  readonly requestProblemInformation?: boolean | undefined;
  readonly userProperties?: readonly UserProperty[] | undefined;
  readonly authenticationMethod?: string | undefined;
}

export interface ReconnectOptions {
  readonly minMs?: number | undefined;
  readonly maxMs?: number | undefined;
  /** Also when the first attempt fails, and also after answers that repeating does not change. */
  readonly always?: boolean | undefined;
  /** In [0, 1); for tests and simulations. */
  readonly random?: (() => number) | undefined;
}

export interface ClientOptions {
  readonly url: string;
  /** Omitted: a random one. Empty: MQTT 5 servers assign one. */
  readonly clientId?: string | undefined;
  readonly version?: ProtocolVersion | undefined;
  readonly cleanStart?: boolean | undefined;
  /** 0: none. */
  readonly keepAliveS?: number | undefined;
  /** Instead of those in the URL. */
  readonly username?: string | undefined;
  readonly password?: string | Buffer | undefined;
  readonly will?: Will | undefined;
  readonly properties?: ConnectProperties | undefined;
  readonly authenticate?: Authenticate | undefined;
  readonly tls?: TlsOptions | undefined;
  /** From the first SYN to CONNACK. */
  readonly connectTimeoutMs?: number | undefined;
  /** For PINGRESP, SUBACK and UNSUBACK. */
  readonly answerTimeoutMs?: number | undefined;
  /** Omitted: a lost connection closes the client. */
  readonly reconnect?: ReconnectOptions | undefined;
  /** After a reconnect that found no session, subscribe again to what was subscribed. */
  readonly resubscribe?: boolean | undefined;
  /** QoS 1 and 2 messages sent and not acknowledged (the server's receive maximum if lower). */
  readonly inflightMax?: number | undefined;
  /** Of these, how many may be of QoS 2; omitted: all. */
  readonly inflightQos2Max?: number | undefined;
  readonly queueMessagesMax?: number | undefined;
  readonly queueBytesMax?: number | undefined;
  readonly onMessage?: MessageHandler | undefined;
  /** Instead of `onMessage`: messages as they come, acknowledged when they say so. */
  readonly onArrival?: ArrivalHandler | undefined;
  /** Instead of those of the process. */
  readonly timers?: Timers | undefined;
  /** Instead of a socket to the URL. */
  readonly openTransport?: ((handler: TransportHandler) => Transport) | undefined;
  /** 3.x: says that it is a bridge, with the bit of mosquitto; who does not know it refuses. */
  readonly isBridge?: boolean | undefined;
  /** Highest packet identifier that is used; lower ones are used again sooner. */
  readonly packetIdMax?: number | undefined;
  /**
   * Where the server still has a session of an earlier life of ours, it is told to complete all QoS 2
   * exchanges of that first: their identifiers would swallow messages of this one [MQTT5-4.3.3-10].
   */
  readonly completesStale?: boolean | undefined;
  /**
   * Where the server has lost the session, messages of QoS 2 begin again as those of QoS 1 do, in order: it may
   * have them twice then. Otherwise they end with `session_lost`.
   */
  readonly resendsLost?: boolean | undefined;
  readonly onConnected?: ((connack: ConnackPacket) => void) | undefined;
  /** The connection ended; `retryMs` until the next attempt, or null: there is none. */
  readonly onDisconnected?: ((error: ClientError, retryMs: number | null) => void) | undefined;
}

export const clientDefaults: {
  readonly version: ProtocolVersion;
  readonly keepAliveS: number;
  readonly connectTimeoutMs: number;
  readonly answerTimeoutMs: number;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  readonly receiveMaximum: number;
  readonly topicAliasMaximum: number;
  readonly inflightMax: number;
  readonly queueMessagesMax: number;
  readonly queueBytesMax: number;
} = {
  version: 5,
  keepAliveS: 60,
  connectTimeoutMs: 10_000,
  answerTimeoutMs: 20_000,
  reconnectMinMs: 500,
  reconnectMaxMs: 30_000,
  receiveMaximum: 256,
  topicAliasMaximum: 16,
  inflightMax: 1024,
  queueMessagesMax: 100_000,
  queueBytesMax: 64 * 1024 * 1024,
};
