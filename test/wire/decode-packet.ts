/**
 * One door to every decoder and encoder, for fixtures, properties and the fuzzer: takes whole
 * packets from bytes and gives plain comparable values, as a connection would dispatch them.
 */
import { Buffer } from 'node:buffer';
import { AckView, decodeAck, encodeAck } from '../../src/wire/ack.ts';
import { type AuthPacket, decodeAuth, encodeAuth } from '../../src/wire/auth.ts';
import { type ConnackPacket, decodeConnack, encodeConnack } from '../../src/wire/connack.ts';
import { type ConnectPacket, decodeConnect, encodeConnect } from '../../src/wire/connect.ts';
import { DECODE_LIMITS_DEFAULT, type DecodeLimits } from '../../src/wire/decode-limits.ts';
import {
  type DisconnectPacket,
  decodeDisconnect,
  encodeDisconnect,
} from '../../src/wire/disconnect.ts';
import {
  bodyStart,
  checkFixedHeaderFlags,
  checkShortestLength,
  packetEnd,
} from '../../src/wire/framing.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import { decodePing, PINGREQ, PINGRESP } from '../../src/wire/ping.ts';
import type { UserProperty } from '../../src/wire/properties.ts';
import { malformedPacket, protocolViolation } from '../../src/wire/protocol-error.ts';
import type { ProtocolVersion } from '../../src/wire/protocol-version.ts';
import {
  decodePublish,
  PublishView,
  publishRemaining,
  topicText,
  writePublish,
} from '../../src/wire/publish.ts';
import type { Sender } from '../../src/wire/reason-code.ts';
import { decodeSuback, encodeSuback, type SubackPacket } from '../../src/wire/suback.ts';
import {
  decodeSubscribe,
  encodeSubscribe,
  type SubscribePacket,
} from '../../src/wire/subscribe.ts';
import { decodeUnsuback, encodeUnsuback, type UnsubackPacket } from '../../src/wire/unsuback.ts';
import {
  decodeUnsubscribe,
  encodeUnsubscribe,
  type UnsubscribePacket,
} from '../../src/wire/unsubscribe.ts';

export type AckName = 'PUBACK' | 'PUBREC' | 'PUBREL' | 'PUBCOMP';

/** A PUBLISH as values instead of ranges; '' is the topic of a packet that has an alias only. */
export interface PlainPublish {
  qos: 0 | 1 | 2;
  retain: boolean;
  dup: boolean;
  packetId: number;
  topic: string;
  payload: Buffer;
  messageExpiryS: number;
  topicAlias: number;
  subscriptionIds: readonly number[];
  /** Forwardable property bytes. */
  properties: Buffer;
}

export interface PlainAck {
  packetId: number;
  reasonCode: number;
  reasonString: string | null;
  userProperties: readonly UserProperty[];
}

export type Packet =
  | { type: 'CONNECT'; packet: ConnectPacket }
  | { type: 'CONNACK'; packet: ConnackPacket }
  | { type: 'PUBLISH'; packet: PlainPublish }
  | { type: AckName; packet: PlainAck }
  | { type: 'SUBSCRIBE'; packet: SubscribePacket }
  | { type: 'SUBACK'; packet: SubackPacket }
  | { type: 'UNSUBSCRIBE'; packet: UnsubscribePacket }
  | { type: 'UNSUBACK'; packet: UnsubackPacket }
  | { type: 'PINGREQ' | 'PINGRESP'; packet: null }
  | { type: 'DISCONNECT'; packet: DisconnectPacket }
  | { type: 'AUTH'; packet: AuthPacket };

export type PacketTypeName = keyof typeof PacketType;

const CLIENT_ONLY: readonly number[] = [
  PacketType.CONNECT,
  PacketType.SUBSCRIBE,
  PacketType.UNSUBSCRIBE,
  PacketType.PINGREQ,
];
const SERVER_ONLY: readonly number[] = [
  PacketType.CONNACK,
  PacketType.SUBACK,
  PacketType.UNSUBACK,
  PacketType.PINGRESP,
];

/** Who may send this packet type; both for the rest. */
export function onlySender(type: number): Sender | null {
  if (CLIENT_ONLY.includes(type)) return 'client';
  return SERVER_ONLY.includes(type) ? 'server' : null;
}

/** Decodes the complete packet buf[start, end). */
export function decodePacket(
  version: ProtocolVersion,
  sender: Sender,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
): Packet {
  const firstByte = buf[start]!;
  checkFixedHeaderFlags(firstByte, version);
  if (version === 5) checkShortestLength(buf, start);
  const type = firstByte >> 4;
  const expected = onlySender(type);
  if (expected !== null && expected !== sender) throw protocolViolation('wrong direction');
  const body = bodyStart(buf, start);
  switch (type) {
    case PacketType.CONNECT:
      return { type: 'CONNECT', packet: decodeConnect(buf, body, end, limits) };
    case PacketType.CONNACK:
      return { type: 'CONNACK', packet: decodeConnack(version, buf, body, end, limits) };
    case PacketType.PUBLISH: {
      const max = limits.userPropertiesMax;
      const fromServer = sender === 'server';
      return {
        type: 'PUBLISH',
        packet: decodePlainPublish(version, firstByte, buf, body, end, max, fromServer),
      };
    }
    case PacketType.PUBACK:
      return { type: 'PUBACK', packet: decodePlainAck(type, version, buf, body, end, limits) };
    case PacketType.PUBREC:
      return { type: 'PUBREC', packet: decodePlainAck(type, version, buf, body, end, limits) };
    case PacketType.PUBREL:
      return { type: 'PUBREL', packet: decodePlainAck(type, version, buf, body, end, limits) };
    case PacketType.PUBCOMP:
      return { type: 'PUBCOMP', packet: decodePlainAck(type, version, buf, body, end, limits) };
    case PacketType.SUBSCRIBE:
      return { type: 'SUBSCRIBE', packet: decodeSubscribe(version, buf, body, end, limits) };
    case PacketType.SUBACK:
      return { type: 'SUBACK', packet: decodeSuback(version, buf, body, end, limits) };
    case PacketType.UNSUBSCRIBE:
      return { type: 'UNSUBSCRIBE', packet: decodeUnsubscribe(version, buf, body, end, limits) };
    case PacketType.UNSUBACK:
      return { type: 'UNSUBACK', packet: decodeUnsuback(version, buf, body, end, limits) };
    case PacketType.PINGREQ:
      decodePing(body, end);
      return { type: 'PINGREQ', packet: null };
    case PacketType.PINGRESP:
      decodePing(body, end);
      return { type: 'PINGRESP', packet: null };
    case PacketType.DISCONNECT: {
      const packet = decodeDisconnect(version, buf, body, end, limits, sender);
      return { type: 'DISCONNECT', packet };
    }
    default:
      if (version !== 5) throw malformedPacket('packet type 15 is reserved');
      return { type: 'AUTH', packet: decodeAuth(buf, body, end, limits, sender) };
  }
}

function decodePlainAck(
  type: number,
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits,
): PlainAck {
  const view = new AckView();
  decodeAck(view, type, version, buf, start, end, limits);
  return { ...view };
}

/** One view for all, so that what one packet leaves behind in it would show in the next. */
const publishView = new PublishView();

function decodePlainPublish(
  version: ProtocolVersion,
  firstByte: number,
  buf: Buffer,
  start: number,
  end: number,
  userPropertiesMax: number,
  fromServer: boolean,
): PlainPublish {
  const view = publishView;
  decodePublish(view, version, firstByte, buf, start, end, userPropertiesMax, fromServer);
  const hasAliasOnly = view.topicEnd - view.topicStart === 2 && view.topicAlias !== 0;
  return {
    qos: view.qos,
    retain: view.retain,
    dup: view.dup,
    packetId: view.packetId,
    topic: hasAliasOnly ? '' : topicText(view),
    payload: Buffer.from(view.payloadBuffer.subarray(view.payloadStart, view.payloadEnd)),
    messageExpiryS: view.messageExpiryS,
    topicAlias: view.topicAlias,
    // Only version 5 from a server sets them; otherwise the view keeps what it had.
    subscriptionIds: fromServer && version === 5 ? (view.subscriptionIds ?? []) : [],
    properties: Buffer.from(view.propertyBuffer.subarray(view.propertyStart, view.propertyEnd)),
  };
}

/** The whole packet as bytes. */
export function encodePacket(version: ProtocolVersion, { type, packet }: Packet): Buffer {
  switch (type) {
    case 'CONNECT':
      return encodeConnect(packet);
    case 'CONNACK':
      return encodeConnack(version, packet);
    case 'PUBLISH':
      return encodePlainPublish(version, packet);
    case 'PUBACK':
    case 'PUBREC':
    case 'PUBREL':
    case 'PUBCOMP': {
      const { packetId, reasonCode, reasonString, userProperties } = packet;
      const code = PacketType[type];
      return encodeAck(version, code, packetId, reasonCode, reasonString, userProperties);
    }
    case 'SUBSCRIBE':
      return encodeSubscribe(version, packet);
    case 'SUBACK': {
      const { packetId, reasonCodes, reasonString, userProperties } = packet;
      return encodeSuback(version, packetId, reasonCodes, reasonString, userProperties);
    }
    case 'UNSUBSCRIBE':
      return encodeUnsubscribe(version, packet);
    case 'UNSUBACK': {
      const { packetId, reasonCodes, reasonString, userProperties } = packet;
      return encodeUnsuback(version, packetId, reasonCodes, reasonString, userProperties);
    }
    case 'PINGREQ':
      return PINGREQ;
    case 'PINGRESP':
      return PINGRESP;
    case 'DISCONNECT':
      return encodeDisconnect(version, packet);
    case 'AUTH':
      return encodeAuth(packet);
  }
}

function encodePlainPublish(version: ProtocolVersion, packet: PlainPublish): Buffer {
  const view = new PublishView();
  const topicBytes = Buffer.byteLength(packet.topic);
  view.topicBuffer = Buffer.alloc(2 + topicBytes);
  view.topicBuffer.writeUInt16BE(topicBytes);
  view.topicBuffer.write(packet.topic, 2);
  view.topicEnd = view.topicBuffer.length;
  view.payloadBuffer = packet.payload;
  view.payloadEnd = packet.payload.length;
  view.propertyBuffer = packet.properties;
  view.propertyEnd = packet.properties.length;
  const { qos, messageExpiryS, topicAlias, subscriptionIds } = packet;
  const ids = subscriptionIds.length > 0 ? subscriptionIds : null;
  const sendTopic = topicBytes > 0;
  const firstByte =
    (PacketType.PUBLISH << 4) | (Number(packet.dup) << 3) | (qos << 1) | Number(packet.retain);
  const remaining = publishRemaining(
    view,
    version,
    qos,
    topicBytes,
    messageExpiryS,
    topicAlias,
    ids,
  );
  const out = Buffer.alloc(remaining + 5);
  const end = writePublish(
    out,
    0,
    view,
    version,
    firstByte,
    packet.packetId,
    remaining,
    messageExpiryS,
    topicAlias,
    ids,
    sendTopic,
  );
  return out.subarray(0, end);
}

/** Splits a complete stream into packet ranges; throws when bytes are left over. */
export function packetRanges(
  buf: Buffer,
  packetBytesMax: number = Number.MAX_SAFE_INTEGER,
): [start: number, end: number][] {
  const ranges: [start: number, end: number][] = [];
  let start = 0;
  while (start < buf.length) {
    const end = packetEnd(buf, start, buf.length, packetBytesMax);
    if (end === -1 || end > buf.length) throw new RangeError('stream ends inside a packet');
    ranges.push([start, end]);
    start = end;
  }
  return ranges;
}
