/**
 * Our MQTT client: 3.1, 3.1.1 and 5 over TCP, TLS, WebSocket and Unix sockets, with promises. Used by
 * `causeway pub/sub/rr`, by `/health/full`, and by links to other brokers. It connects, keeps the
 * session across connections, and knows no broker: not even ours.
 */
import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import type { ConnackPacket } from '../wire/connack.ts';
import type { UserProperty } from '../wire/properties.ts';
import { NO_USER_PROPERTIES } from '../wire/properties.ts';
import { ReasonCode } from '../wire/reason-code.ts';
import { Backoff } from './backoff.ts';
import { ClientError } from './client-error.ts';
import { connectPacket } from './connect-packet.ts';
import { Connection } from './connection.ts';
import type { Endpoint } from './endpoint.ts';
import { parseEndpoint } from './endpoint.ts';
import { Inbound } from './inbound.ts';
import type { MessageProperties, OutgoingMessage, Qos } from './message.ts';
import { checkMessage } from './message.ts';
import type { ClientOptions } from './options.ts';
import { clientDefaults } from './options.ts';
import type { PublishDone, PublishResult } from './outbound.ts';
import { Outbound } from './outbound.ts';
import { PACKET_ID_MAX, PacketIds } from './packet-ids.ts';
import type { SubscribeOptions, SubscribeResult, Subscription } from './subscriptions.ts';
import { Subscriptions } from './subscriptions.ts';
import { systemTimers, type Timers } from './timers.ts';

export interface PublishOptions {
  readonly qos?: Qos | undefined;
  readonly retain?: boolean | undefined;
  readonly properties?: MessageProperties | undefined;
}

export interface DisconnectOptions {
  /** 0x04 asks the server to publish the will. */
  readonly reasonCode?: number | undefined;
  readonly reasonString?: string | undefined;
  readonly sessionExpiryIntervalS?: number | undefined;
}

/** Answers that the next attempt would get again, or that start a war between two clients. */
const FINAL_REASONS: ReadonlySet<number> = new Set([
  ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
  ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
  ReasonCode.BAD_USER_NAME_OR_PASSWORD,
  ReasonCode.NOT_AUTHORIZED,
  ReasonCode.BANNED,
  ReasonCode.BAD_AUTHENTICATION_METHOD,
  ReasonCode.SESSION_TAKEN_OVER,
]);

export class Client {
  /** Resolves when the client is closed for good: null after `disconnect` or `destroy`. */
  readonly closed: Promise<ClientError | null>;
  readonly #options: ClientOptions;
  readonly #endpoint: Endpoint;
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;
  readonly #subscriptions: Subscriptions;
  readonly #backoff: Backoff;
  readonly #timers: Timers;
  readonly #first: PromiseWithResolvers<ConnackPacket> = Promise.withResolvers();
  readonly #last: PromiseWithResolvers<ClientError | null> = Promise.withResolvers();
  #clientId: string;
  #connection: Connection | null = null;
  #cancelRetry: (() => void) | null = null;
  #isStarted = false;
  #hasConnected = false;
  #isClosing = false;
  #isClosed = false;
  #connectedAtMs = 0;

  /** Throws ClientError `invalid_argument`; connects only when `connect` is called. */
  constructor(options: ClientOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#endpoint = parseEndpoint(options.url);
    this.#clientId = options.clientId ?? `causeway-${randomBytes(8).toString('hex')}`;
    const ids = new PacketIds(options.packetIdMax);
    this.#outbound = new Outbound(ids, {
      messagesMax: options.queueMessagesMax ?? clientDefaults.queueMessagesMax,
      bytesMax: options.queueBytesMax ?? clientDefaults.queueBytesMax,
      packetIdMax: options.packetIdMax ?? PACKET_ID_MAX,
      resendsLost: options.resendsLost ?? false,
      version: options.version ?? clientDefaults.version,
    });
    this.#inbound = new Inbound(options.onMessage ?? ((): void => {}));
    this.#subscriptions = new Subscriptions(
      ids,
      options.answerTimeoutMs ?? clientDefaults.answerTimeoutMs,
      this.#timers,
    );
    this.#backoff = new Backoff({
      minMs: options.reconnect?.minMs ?? clientDefaults.reconnectMinMs,
      maxMs: options.reconnect?.maxMs ?? clientDefaults.reconnectMaxMs,
      random: options.reconnect?.random ?? Math.random,
    });
    this.closed = this.#last.promise;
    // Checked now, so that a bad option is an error of the constructor and not of some reconnect.
    connectPacket(options, this.#endpoint, this.#clientId, true);
  }

  /** As sent, or as the server assigned it. */
  get clientId(): string {
    return this.#clientId;
  }

  get isConnected(): boolean {
    return this.#connection?.isConnected ?? false;
  }

  /** Messages accepted by `publish` and not yet sent or acknowledged. */
  get pendingMessages(): number {
    return this.#outbound.messages;
  }

  /** Connects; rejects when the first attempt fails, unless `reconnect.always`. Called once. */
  connect(): Promise<ConnackPacket> {
    if (!this.#isStarted) {
      this.#isStarted = true;
      if (this.#isClosed) this.#first.reject(closedError());
      else this.#attempt();
    }
    return this.#first.promise;
  }

  /**
   * Resolves when the message is the server's: at QoS 0 handed to the socket, at QoS 1 and 2
   * acknowledged. Rejects with `publish_refused` when the server says no.
   */
  async publish(
    topic: string,
    payload: string | Uint8Array = '',
    options: PublishOptions = {},
  ): Promise<PublishResult> {
    const { qos = 0, retain = false, properties = {} } = options;
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : asBuffer(payload);
    const { promise, resolve, reject } = Promise.withResolvers<PublishResult>();
    this.post({ topic, payload: bytes, qos, retain, properties }, (result) => {
      if (result instanceof ClientError) reject(result);
      else resolve(result);
    });
    return promise;
  }

  /** The same for many: without a promise for each, and the payload is only lent. */
  post(message: OutgoingMessage, done: PublishDone): void {
    try {
      checkMessage(message);
      this.#needOpen();
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      done(error);
      return;
    }
    this.#outbound.add(message, done);
  }

  /** One SUBSCRIBE; the server's answer per filter, errors as values. */
  async subscribe(
    filters: string | readonly (string | Subscription)[],
    options: SubscribeOptions = {},
  ): Promise<SubscribeResult[]> {
    const connection = this.#needConnection();
    const list = typeof filters === 'string' ? [filters] : filters;
    return this.#subscriptions.subscribe(connection, list, options);
  }

  async unsubscribe(
    filters: string | readonly string[],
    userProperties: readonly UserProperty[] = NO_USER_PROPERTIES,
  ): Promise<SubscribeResult[]> {
    const connection = this.#needConnection();
    const list = typeof filters === 'string' ? [filters] : filters;
    return this.#subscriptions.unsubscribe(connection, list, userProperties);
  }

  /** Reads no further until `resume`; of this connection only. */
  pause(): void {
    this.#connection?.pauseReading();
  }

  resume(): void {
    this.#connection?.resumeReading();
  }

  /**
   * Orderly end: no message is handed over any more, DISCONNECT is sent, the socket closed. May be
   * called by the message handler; the message it has is acknowledged first if it returns at once.
   */
  async disconnect(options: DisconnectOptions = {}): Promise<void> {
    if (this.#beginClosing()) {
      await Promise.resolve();
      const { reasonCode = ReasonCode.NORMAL_DISCONNECTION } = options;
      const { reasonString = null, sessionExpiryIntervalS = -1 } = options;
      const packet = { reasonCode, reasonString, sessionExpiryIntervalS };
      if (this.#connection === null) this.#close(null);
      else this.#connection.disconnect(packet);
    }
    await this.closed;
  }

  /** Cuts the connection without DISCONNECT: the server publishes the will. */
  async destroy(): Promise<void> {
    this.#beginClosing();
    if (this.#connection === null) this.#close(null);
    else this.#connection.destroy();
    await this.closed;
  }

  #beginClosing(): boolean {
    if (this.#isClosing || this.#isClosed) return false;
    this.#isClosing = true;
    this.#inbound.stop();
    this.#cancelRetry?.();
    return true;
  }

  #attempt(): void {
    const isFirst = !this.#hasConnected;
    this.#cancelRetry = null;
    try {
      const connect = connectPacket(
        this.#options,
        this.#endpoint,
        this.#clientId,
        isFirst ? (this.#options.cleanStart ?? true) : this.#cleanStartAgain(),
      );
      this.#connection = new Connection(this.#endpoint, this.#options, connect, {
        outbound: this.#outbound,
        inbound: this.#inbound,
        subscriptions: this.#subscriptions,
        hasStale: isFirst && this.#options.completesStale === true,
        onConnected: (connack, sessionPresent) => this.#onConnected(connack, sessionPresent),
        onClosed: (error) => this.#onClosed(error),
      });
    } catch (error) {
      // Certificates and keys that cannot be read are found only here.
      const text = `cannot connect: ${(error as Error).message}`;
      this.#onClosed(new ClientError('connect_failed', text, { cause: error }));
    }
  }

  /** A session that outlives its connection is resumed. */
  #cleanStartAgain(): boolean {
    const { cleanStart = true, version = clientDefaults.version } = this.#options;
    if (version !== 5) return cleanStart;
    return cleanStart && (this.#options.properties?.sessionExpiryIntervalS ?? 0) === 0;
  }

  #onConnected(connack: ConnackPacket, sessionPresent: boolean): void {
    const isFirst = !this.#hasConnected;
    this.#hasConnected = true;
    this.#connectedAtMs = this.#timers.nowMs();
    if (connack.assignedClientId !== undefined) this.#clientId = connack.assignedClientId;
    this.#first.resolve(connack);
    this.#options.onConnected?.(connack);
    if (isFirst || sessionPresent || this.#options.resubscribe === false) return;
    const connection = this.#connection;
    if (connection === null) return;
    // What had been granted and is not any more ends the connection: silence would look like peace.
    this.#subscriptions.subscribeAgain(connection).then(
      (results) => {
        const refused = results.find((one) => one.error !== null);
        if (refused !== undefined) connection.fail(refused.error!);
      },
      (error: ClientError) => connection.fail(error),
    );
  }

  #onClosed(error: ClientError | null): void {
    this.#connection = null;
    this.#outbound.disconnected();
    this.#subscriptions.fail(error ?? closedError());
    if (this.#isClosing || error === null) {
      this.#close(null);
      return;
    }
    if (!this.#mayRetry(error)) {
      this.#options.onDisconnected?.(error, null);
      this.#close(error);
      return;
    }
    if (this.#connectedAtMs !== 0) {
      this.#backoff.connectionLasted(this.#timers.nowMs() - this.#connectedAtMs);
      this.#connectedAtMs = 0;
    }
    const retryMs = this.#retryLater();
    this.#options.onDisconnected?.(error, retryMs);
  }

  /** The other end is there again: an attempt that would be made much later is made soon. */
  retrySoon(): void {
    if (this.#cancelRetry === null) return;
    this.#cancelRetry();
    this.#backoff.restart();
    this.#retryLater();
  }

  #retryLater(): number {
    const retryMs = this.#backoff.nextMs();
    this.#cancelRetry = this.#timers.after(retryMs, () => this.#attempt());
    return retryMs;
  }

  #mayRetry(error: ClientError): boolean {
    const { reconnect } = this.#options;
    if (reconnect === undefined) return false;
    if (reconnect.always === true) return true;
    return this.#hasConnected && !FINAL_REASONS.has(error.reasonCode);
  }

  #close(error: ClientError | null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const why = error ?? closedError();
    this.#outbound.fail(why);
    this.#first.reject(why);
    // Whoever never called `connect` or looked at it is not told by a crash.
    this.#first.promise.catch(() => {});
    this.#last.resolve(error);
  }

  #needOpen(): void {
    if (this.#isClosed || this.#isClosing) throw closedError();
    if (this.isConnected) return;
    if (this.#isStarted && this.#options.reconnect !== undefined) return;
    throw new ClientError('not_connected', 'the client is not connected');
  }

  #needConnection(): Connection {
    this.#needOpen();
    const connection = this.#connection;
    if (connection === null || !connection.isConnected) {
      throw new ClientError('not_connected', 'the client is not connected now');
    }
    return connection;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function closedError(): ClientError {
  return new ClientError('closed', 'the client is closed');
}
