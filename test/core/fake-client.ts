/**
 * A client over a FakeSink: sends packets, splits and decodes what the broker answers. It does nothing
 * on its own (no acks, no pings); tests say what it does. `receive` throws on bytes that are no MQTT.
 */
import type { ListenerInfo } from '../../src/core/ports.ts';
import { AckView, decodeAck, encodeAck } from '../../src/wire/ack.ts';
import { decodeAuth } from '../../src/wire/auth.ts';
import { type ConnackPacket, decodeConnack } from '../../src/wire/connack.ts';
import { type ConnectPacket, encodeConnect, type WillPacket } from '../../src/wire/connect.ts';
import { decodeDisconnect, encodeDisconnect } from '../../src/wire/disconnect.ts';
import { bodyStart, packetEnd } from '../../src/wire/framing.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import {
  decodePublish,
  PublishView,
  publishRemaining,
  topicText,
  writePublish,
} from '../../src/wire/publish.ts';
import { decodeSuback } from '../../src/wire/suback.ts';
import { encodeSubscribe, type SubscribeFilter } from '../../src/wire/subscribe.ts';
import { decodeUnsuback } from '../../src/wire/unsuback.ts';
import { encodeUnsubscribe } from '../../src/wire/unsubscribe.ts';
import { varintSize } from '../../src/wire/varint.ts';
import { FakeSink } from './fake-sink.ts';

export type Version = 3 | 4 | 5;

export interface ReceivedPublish {
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly dup: boolean;
  readonly packetId: number;
  readonly expiryS: number;
  readonly alias: number;
  readonly subscriptionIds: readonly number[];
  readonly properties: Buffer;
}

export type Received =
  | { readonly type: 'connack'; readonly packet: ConnackPacket }
  | { readonly type: 'publish'; readonly publish: ReceivedPublish }
  | {
      readonly type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp';
      readonly packetId: number;
      readonly reasonCode: number;
      readonly reasonString?: string;
    }
  | {
      readonly type: 'suback' | 'unsuback';
      readonly packetId: number;
      readonly reasonCodes: readonly number[];
      readonly reasonString?: string;
    }
  | { readonly type: 'pingresp' }
  | { readonly type: 'disconnect' | 'auth'; readonly reasonCode: number };

export interface ConnectOptions {
  readonly clean?: boolean;
  readonly expiryS?: number;
  readonly keepAliveS?: number;
  readonly will?: Partial<WillPacket> & { readonly topic: string };
  readonly receiveMaximum?: number;
  readonly maximumPacketSize?: number;
  readonly topicAliasMaximum?: number;
  readonly username?: string;
  readonly authenticationMethod?: string;
}

export interface PublishOptions {
  readonly qos?: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly id?: number;
  readonly expiryS?: number;
  readonly alias?: number;
  readonly properties?: Buffer;
}

const view = new PublishView();

/** One PUBLISH as bytes. */
export function publishBytes(
  version: Version,
  topic: string,
  payload: string | Buffer,
  options: PublishOptions = {},
): Buffer {
  const topicBytes = Buffer.from(topic);
  const body = typeof payload === 'string' ? Buffer.from(payload) : payload;
  view.topicBuffer = Buffer.concat([
    Buffer.from([topicBytes.length >> 8, topicBytes.length & 0xff]),
    topicBytes,
  ]);
  view.topicStart = 0;
  view.topicEnd = view.topicBuffer.length;
  view.payloadBuffer = body;
  view.payloadStart = 0;
  view.payloadEnd = body.length;
  view.propertyBuffer = options.properties ?? Buffer.alloc(0);
  view.propertyStart = 0;
  view.propertyEnd = view.propertyBuffer.length;
  const qos = options.qos ?? 0;
  const first = 0x30 | (options.dup ? 8 : 0) | (qos << 1) | (options.retain ? 1 : 0);
  const expiryS = options.expiryS ?? -1;
  const alias = options.alias ?? 0;
  const remaining = publishRemaining(view, version, qos, topicBytes.length, expiryS, alias, null);
  const out = Buffer.alloc(1 + varintSize(remaining) + remaining);
  const id = options.id ?? (qos > 0 ? 1 : 0);
  writePublish(out, 0, view, version, first, id, remaining, expiryS, alias, null, true);
  return out;
}

export function connectBytes(
  version: Version,
  clientId: string,
  options: ConnectOptions = {},
): Buffer {
  const clean = options.clean ?? true;
  const packet: ConnectPacket = {
    protocolVersion: version,
    cleanStart: clean,
    keepAliveS: options.keepAliveS ?? 0,
    clientId,
    username: options.username ?? null,
    password: null,
    will:
      options.will === undefined
        ? null
        : {
            payload: Buffer.from('will'),
            qos: 0,
            retain: false,
            delayIntervalS: 0,
            messageExpiryS: -1,
            properties: Buffer.alloc(0),
            ...options.will,
          },
    sessionExpiryIntervalS: options.expiryS ?? (version !== 5 && !clean ? 0xffff_ffff : 0),
    receiveMaximum: options.receiveMaximum ?? 65_535,
    maximumPacketSize: options.maximumPacketSize ?? 0,
    topicAliasMaximum: options.topicAliasMaximum ?? 0,
    requestResponseInformation: false,
    requestProblemInformation: true,
    userProperties: [],
    authenticationMethod: options.authenticationMethod ?? null,
    authenticationData: null,
  };
  return encodeConnect(packet);
}

export function subscribeBytes(
  version: Version,
  packetId: number,
  filters: readonly (string | (Partial<SubscribeFilter> & { readonly filter: string }))[],
  qos: 0 | 1 | 2 = 0,
  subscriptionId = 0,
): Buffer {
  return encodeSubscribe(version, {
    packetId,
    subscriptionId,
    userProperties: [],
    subscriptions: filters.map((filter) => ({
      qos,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
      ...(typeof filter === 'string' ? { filter } : filter),
    })),
  });
}

export const listenerInfo: ListenerInfo = { name: 'fake', transport: 'tcp', limits: {} };

const ackNames = { 4: 'puback', 5: 'pubrec', 6: 'pubrel', 7: 'pubcomp' } as const;

export class FakeClient {
  readonly version: Version;
  readonly clientId: string;
  readonly sink: FakeSink;
  /** Comes before what the next `receive` decodes. */
  readonly unread: Received[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #nextId = 1;
  /** Topics by outbound alias of the broker. */
  readonly #aliases: Map<number, string> = new Map();

  constructor(version: Version, clientId: string, sink: FakeSink = new FakeSink()) {
    this.version = version;
    this.clientId = clientId;
    this.sink = sink;
  }

  /** Hands bytes to the broker in one chunk, from memory that is overwritten right afterwards. */
  send(...packets: readonly Buffer[]): void {
    const handler = this.sink.handler;
    if (handler === null || this.sink.ended || this.sink.destroyed) return;
    const chunk = Buffer.concat(packets);
    handler.onBytes(chunk, 0, chunk.length);
    chunk.fill(0xee);
  }

  connect(options: ConnectOptions = {}): void {
    this.send(connectBytes(this.version, this.clientId, options));
  }

  subscribe(
    filters:
      | string
      | readonly (string | (Partial<SubscribeFilter> & { readonly filter: string }))[],
    qos: 0 | 1 | 2 = 0,
    subscriptionId = 0,
  ): number {
    const id = this.#nextId++;
    const list = typeof filters === 'string' ? [filters] : filters;
    this.send(subscribeBytes(this.version, id, list, qos, subscriptionId));
    return id;
  }

  unsubscribe(...filters: string[]): number {
    const packetId = this.#nextId++;
    this.send(encodeUnsubscribe(this.version, { packetId, userProperties: [], filters }));
    return packetId;
  }

  publish(topic: string, payload: string | Buffer, options: PublishOptions = {}): void {
    this.send(publishBytes(this.version, topic, payload, options));
  }

  ack(type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp', packetId: number, reasonCode = 0): void {
    const types = { puback: 4, pubrec: 5, pubrel: 6, pubcomp: 7 };
    this.send(encodeAck(this.version, types[type], packetId, reasonCode));
  }

  disconnect(reasonCode = 0, expiryS = -1): void {
    this.send(
      encodeDisconnect(this.version, {
        reasonCode,
        sessionExpiryIntervalS: expiryS,
        userProperties: [],
      }),
    );
  }

  /** All whole packets that have come since the last call. */
  receive(): Received[] {
    let bytes = Buffer.concat([this.#rest, this.sink.taken()]);
    const received = this.unread.splice(0);
    for (;;) {
      const end = bytes.length < 2 ? -1 : packetEnd(bytes, 0, bytes.length, 268_435_460);
      if (end === -1 || end > bytes.length) break;
      received.push(this.#decode(bytes, end));
      bytes = bytes.subarray(end);
    }
    this.#rest = bytes;
    return received;
  }

  /** Takes the CONNACK, which must accept, and leaves what came behind it; true: session present. */
  accepted(): boolean {
    const received = this.receive();
    const first = received[0];
    if (first?.type !== 'connack' || first.packet.reasonCode !== 0) {
      throw new Error(`no CONNACK: ${JSON.stringify(received)}`);
    }
    this.unread.push(...received.slice(1));
    return first.packet.sessionPresent;
  }

  /** Bytes of a packet that has not come whole. */
  get cutOff(): number {
    return this.#rest.length;
  }

  publishes(): ReceivedPublish[] {
    const found: ReceivedPublish[] = [];
    for (const packet of this.receive()) {
      if (packet.type === 'publish') found.push(packet.publish);
    }
    return found;
  }

  payloads(): string[] {
    return this.publishes().map((publish) => publish.payload);
  }

  #decode(bytes: Buffer, end: number): Received {
    const type = bytes[0]! >> 4;
    const body = bodyStart(bytes, 0);
    const { version } = this;
    switch (type) {
      case PacketType.CONNACK:
        return { type: 'connack', packet: decodeConnack(version, bytes, body, end) };
      case PacketType.PUBLISH:
        return { type: 'publish', publish: this.#decodePublish(bytes, body, end) };
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBREL:
      case PacketType.PUBCOMP: {
        const ack = new AckView();
        decodeAck(ack, type, version, bytes, body, end);
        const { packetId, reasonCode, reasonString } = ack;
        const why = reasonString === null ? {} : { reasonString };
        return { type: ackNames[type], packetId, reasonCode, ...why };
      }
      case PacketType.SUBACK: {
        const { packetId, reasonCodes, reasonString } = decodeSuback(version, bytes, body, end);
        const why = reasonString === null ? {} : { reasonString };
        return { type: 'suback', packetId, reasonCodes, ...why };
      }
      case PacketType.UNSUBACK: {
        const { packetId, reasonCodes } = decodeUnsuback(version, bytes, body, end);
        return { type: 'unsuback', packetId, reasonCodes };
      }
      case PacketType.PINGRESP:
        return { type: 'pingresp' };
      case PacketType.DISCONNECT: {
        const { reasonCode } = decodeDisconnect(version, bytes, body, end, undefined, 'server');
        return { type: 'disconnect', reasonCode };
      }
      case PacketType.AUTH:
        return {
          type: 'auth',
          reasonCode: decodeAuth(bytes, body, end, undefined, 'server').reasonCode,
        };
      default:
        throw new Error(`the broker sent a packet of type ${type}`);
    }
  }

  #decodePublish(bytes: Buffer, body: number, end: number): ReceivedPublish {
    const seen = new PublishView();
    decodePublish(seen, this.version, bytes[0]!, bytes, body, end, 10_000, true);
    let topic: string;
    if (seen.topicEnd - seen.topicStart === 2) {
      const known = this.#aliases.get(seen.topicAlias);
      if (known === undefined) throw new Error(`unknown alias ${seen.topicAlias}`);
      topic = known;
    } else {
      topic = topicText(seen);
      if (seen.topicAlias !== 0) this.#aliases.set(seen.topicAlias, topic);
    }
    return {
      topic,
      payload: seen.payloadBuffer.toString('utf8', seen.payloadStart, seen.payloadEnd),
      qos: seen.qos,
      retain: seen.retain,
      dup: seen.dup,
      packetId: seen.packetId,
      expiryS: seen.messageExpiryS,
      alias: seen.topicAlias,
      subscriptionIds: seen.subscriptionIds ?? [],
      properties: Buffer.from(seen.propertyBuffer.subarray(seen.propertyStart, seen.propertyEnd)),
    };
  }
}
