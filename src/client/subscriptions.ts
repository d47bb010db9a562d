/**
 * SUBSCRIBE and UNSUBSCRIBE: what waits for an answer, and what has been granted, so that it can be
 * asked for again when the server has lost the session. Driven by `client.ts`.
 */
import type { Buffer } from 'node:buffer';
import type { UserProperty } from '../wire/properties.ts';
import { NO_USER_PROPERTIES } from '../wire/properties.ts';
import { protocolViolation } from '../wire/protocol-error.ts';
import type { ProtocolVersion } from '../wire/protocol-version.ts';
import { ReasonCode } from '../wire/reason-code.ts';
import type { SubackPacket } from '../wire/suback.ts';
import type { SubscribeFilter } from '../wire/subscribe.ts';
import { encodeSubscribe } from '../wire/subscribe.ts';
import { isSharedFilter, isValidTopicFilter } from '../wire/topic.ts';
import type { UnsubackPacket } from '../wire/unsuback.ts';
import { encodeUnsubscribe } from '../wire/unsubscribe.ts';
import { VARINT_MAX } from '../wire/varint.ts';
import { ClientError, reasonError } from './client-error.ts';
import type { Qos } from './message.ts';
import { checkField, checkUserProperties } from './message.ts';
import type { PacketIds } from './packet-ids.ts';
import type { Timers } from './timers.ts';

export interface Subscription {
  readonly filter: string;
  readonly qos?: Qos | undefined;
  readonly noLocal?: boolean | undefined;
  readonly retainAsPublished?: boolean | undefined;
  readonly retainHandling?: 0 | 1 | 2 | undefined;
}

export interface SubscribeOptions {
  /** 1 to 268435455; comes back with each message. */
  readonly subscriptionId?: number | undefined;
  readonly userProperties?: readonly UserProperty[] | undefined;
}

/** The server's answer for one filter. */
export interface SubscribeResult {
  readonly filter: string;
  /** Granted QoS, or an error of 0x80 and above. */
  readonly reasonCode: number;
  /** Null when granted. */
  readonly error: ClientError | null;
}

export interface RequestSender {
  readonly version: ProtocolVersion;
  send(bytes: Buffer): void;
}

interface Granted {
  readonly options: SubscribeFilter;
  readonly subscriptionId: number;
}

interface Request {
  readonly filters: readonly SubscribeFilter[];
  readonly subscriptionId: number;
  readonly isSubscribe: boolean;
  readonly cancelTimer: () => void;
  readonly resolve: (results: SubscribeResult[]) => void;
  readonly reject: (error: ClientError) => void;
}

/** Filters of one SUBSCRIBE when subscriptions are made again; servers bound the packet. */
const AGAIN_FILTERS_MAX = 64;

export class Subscriptions {
  readonly #ids: PacketIds;
  readonly #answerTimeoutMs: number;
  readonly #timers: Timers;
  readonly #requests: Map<number, Request> = new Map();
  readonly #granted: Map<string, Granted> = new Map();

  constructor(ids: PacketIds, answerTimeoutMs: number, timers: Timers) {
    this.#ids = ids;
    this.#answerTimeoutMs = answerTimeoutMs;
    this.#timers = timers;
  }

  subscribe(
    sender: RequestSender,
    wishes: readonly (string | Subscription)[],
    options: SubscribeOptions,
  ): Promise<SubscribeResult[]> {
    const filters = wishes.map((wish) =>
      fullOptions(typeof wish === 'string' ? { filter: wish } : wish),
    );
    const { subscriptionId = 0, userProperties = NO_USER_PROPERTIES } = options;
    if (!Number.isInteger(subscriptionId) || subscriptionId < 0 || subscriptionId > VARINT_MAX) {
      throw new ClientError('invalid_argument', 'a subscription identifier is out of range');
    }
    checkUserProperties(userProperties);
    return this.#subscribe(sender, filters, subscriptionId, userProperties);
  }

  unsubscribe(
    sender: RequestSender,
    filters: readonly string[],
    userProperties: readonly UserProperty[],
  ): Promise<SubscribeResult[]> {
    const requested = filters.map((filter) => fullOptions({ filter }));
    checkUserProperties(userProperties);
    const { version } = sender;
    return this.#request(requested, 0, false, (packetId) => {
      sender.send(encodeUnsubscribe(version, { packetId, userProperties, filters: [...filters] }));
    });
  }

  /** Asks again for what had been granted; the results say what the server refuses now. */
  async subscribeAgain(sender: RequestSender): Promise<SubscribeResult[]> {
    const byId = new Map<number, SubscribeFilter[]>();
    for (const { options, subscriptionId } of this.#granted.values()) {
      const filters = byId.get(subscriptionId);
      if (filters === undefined) byId.set(subscriptionId, [options]);
      else filters.push(options);
    }
    const answers: Promise<SubscribeResult[]>[] = [];
    for (const [subscriptionId, filters] of byId) {
      for (let i = 0; i < filters.length; i += AGAIN_FILTERS_MAX) {
        const some = filters.slice(i, i + AGAIN_FILTERS_MAX);
        answers.push(this.#subscribe(sender, some, subscriptionId, NO_USER_PROPERTIES));
      }
    }
    return (await Promise.all(answers)).flat();
  }

  onSuback(packet: SubackPacket): void {
    const request = this.#take(packet.packetId, true, packet.reasonCodes.length);
    if (request === null) return;
    const results = request.filters.map((options, index) => {
      const reasonCode = packet.reasonCodes[index]!;
      const { filter } = options;
      if (reasonCode < 0x80) {
        this.#granted.set(filter, { options, subscriptionId: request.subscriptionId });
      } else {
        this.#granted.delete(filter);
      }
      return result('subscribe_refused', filter, reasonCode, packet.reasonString);
    });
    request.resolve(results);
  }

  onUnsuback(packet: UnsubackPacket): void {
    // MQTT 3.x answers with the packet id alone.
    const count = packet.reasonCodes.length === 0 ? -1 : packet.reasonCodes.length;
    const request = this.#take(packet.packetId, false, count);
    if (request === null) return;
    const results = request.filters.map(({ filter }, index) => {
      const reasonCode = packet.reasonCodes[index] ?? ReasonCode.SUCCESS;
      if (reasonCode < 0x80) this.#granted.delete(filter);
      return result('unsubscribe_refused', filter, reasonCode, packet.reasonString);
    });
    request.resolve(results);
  }

  /** The connection ended: its answers will not come. */
  fail(error: ClientError): void {
    for (const [packetId, request] of this.#requests) {
      request.cancelTimer();
      this.#ids.release(packetId);
      request.reject(error);
    }
    this.#requests.clear();
  }

  #subscribe(
    sender: RequestSender,
    filters: readonly SubscribeFilter[],
    subscriptionId: number,
    userProperties: readonly UserProperty[],
  ): Promise<SubscribeResult[]> {
    const { version } = sender;
    return this.#request(filters, subscriptionId, true, (packetId) => {
      const subscriptions = [...filters];
      sender.send(
        encodeSubscribe(version, { packetId, subscriptionId, userProperties, subscriptions }),
      );
    });
  }

  #request(
    filters: readonly SubscribeFilter[],
    subscriptionId: number,
    isSubscribe: boolean,
    send: (packetId: number) => void,
  ): Promise<SubscribeResult[]> {
    if (filters.length === 0) return Promise.resolve([]);
    const packetId = this.#ids.take();
    if (packetId === 0) {
      return Promise.reject(new ClientError('queue_full', 'all packet identifiers are in use'));
    }
    const { promise, resolve, reject } = Promise.withResolvers<SubscribeResult[]>();
    const cancelTimer = this.#timers.after(this.#answerTimeoutMs, () => {
      // The identifier stays taken: the answer may still come.
      this.#requests.delete(packetId);
      const name = isSubscribe ? 'SUBACK' : 'UNSUBACK';
      reject(new ClientError('request_timeout', `no ${name} came in time`));
    });
    const request = { filters, subscriptionId, isSubscribe, cancelTimer, resolve, reject };
    this.#requests.set(packetId, request);
    send(packetId);
    return promise;
  }

  #take(packetId: number, isSubscribe: boolean, answers: number): Request | null {
    const request = this.#requests.get(packetId);
    if (request === undefined || request.isSubscribe !== isSubscribe) return null;
    if (answers !== -1 && answers !== request.filters.length) {
      throw protocolViolation('not as many reason codes as filters');
    }
    request.cancelTimer();
    this.#requests.delete(packetId);
    this.#ids.release(packetId);
    return request;
  }
}

/** All options of a wish; throws ClientError `invalid_argument` for what is no topic filter. */
export function fullOptions(wish: Subscription): SubscribeFilter {
  const { filter, qos = 0, noLocal = false, retainAsPublished = false, retainHandling = 0 } = wish;
  checkField('topic filter', filter);
  if (!isValidTopicFilter(filter)) {
    throw new ClientError('invalid_argument', `"${filter}" is not a topic filter`);
  }
  // [MQTT5-3.8.3-4]
  if (noLocal && isSharedFilter(filter)) {
    throw new ClientError('invalid_argument', 'a shared subscription cannot be no-local');
  }
  return { filter, qos, noLocal, retainAsPublished, retainHandling };
}

function result(
  code: 'subscribe_refused' | 'unsubscribe_refused',
  filter: string,
  reasonCode: number,
  reasonString: string | null,
): SubscribeResult {
  if (reasonCode < 0x80) return { filter, reasonCode, error: null };
  const what = code === 'subscribe_refused' ? 'subscription' : 'unsubscription';
  const details = { reasonString };
  return {
    filter,
    reasonCode,
    error: reasonError(code, `${what} of "${filter}" refused`, reasonCode, details),
  };
}
