/**
 * MQTT 5 properties (§2.2.2): the table of all of them, and a strict decoder and encoder driven by
 * it. Serves every packet but the hot PUBLISH path, which walks the same table by itself.
 * Decoded user properties are pairs in order, never objects keyed by what a client sent.
 */
import type { Buffer } from 'node:buffer';
import { readU16 } from '../util/bytes.ts';
import type { DecodeLimits } from './decode-limits.ts';
import { PacketType } from './packet-type.ts';
import { malformedPacket, ProtocolError, protocolViolation } from './protocol-error.ts';
import type { Reader } from './reader.ts';
import { ReasonCode } from './reason-code.ts';
import { isValidTopicName } from './topic.ts';
import { readVarint, varintSize } from './varint.ts';
import type { Writer } from './writer.ts';

/** Name and value, in the order the sender chose; names may repeat. */
export type UserProperty = readonly [name: string, value: string];

/** Shared by all packets without user properties. */
export const NO_USER_PROPERTIES: readonly UserProperty[] = Object.freeze([]);

/** Numbers are -1 when absent, text and binary null. */
export interface PropertyValues {
  payloadFormatIndicator: number;
  messageExpiryS: number;
  contentType: string | null;
  responseTopic: string | null;
  correlationData: Buffer | null;
  subscriptionIds: readonly number[];
  sessionExpiryIntervalS: number;
  assignedClientId: string | null;
  serverKeepAliveS: number;
  authenticationMethod: string | null;
  authenticationData: Buffer | null;
  requestProblemInformation: number;
  willDelayIntervalS: number;
  requestResponseInformation: number;
  responseInformation: string | null;
  serverReference: string | null;
  reasonString: string | null;
  receiveMaximum: number;
  topicAliasMaximum: number;
  topicAlias: number;
  maximumQos: number;
  retainAvailable: number;
  userProperties: readonly UserProperty[];
  maximumPacketSize: number;
  wildcardSubscriptionAvailable: number;
  subscriptionIdentifiersAvailable: number;
  sharedSubscriptionAvailable: number;
}

type NamesOf<T> = {
  [K in keyof PropertyValues]: PropertyValues[K] extends T ? K : never;
}[keyof PropertyValues];
type NumberName = NamesOf<number>;
type StringName = NamesOf<string | null>;
type BinaryName = NamesOf<Buffer | null>;

interface PropertyShape {
  readonly id: number;
  /** Bit n: allowed in packet type n; bit 0: in the will properties of CONNECT. */
  readonly packets: number;
}

interface NumberProperty extends PropertyShape {
  readonly type: 'byte' | 'u16' | 'u32';
  readonly name: NumberName;
  readonly min: number;
  readonly max: number;
}

interface StringProperty extends PropertyShape {
  readonly type: 'string';
  readonly name: StringName;
}

interface BinaryProperty extends PropertyShape {
  readonly type: 'binary';
  readonly name: BinaryName;
}

interface SubscriptionIdProperty extends PropertyShape {
  readonly type: 'varint';
  readonly name: 'subscriptionIds';
}

interface UserPropertyProperty extends PropertyShape {
  readonly type: 'pair';
  readonly name: 'userProperties';
}

export type PropertyDefinition =
  | NumberProperty
  | StringProperty
  | BinaryProperty
  | SubscriptionIdProperty
  | UserPropertyProperty;

/** Stands for the will properties inside CONNECT where a packet type is asked for. */
export const WILL_PROPERTIES = 0;

export const PropertyId = {
  PAYLOAD_FORMAT_INDICATOR: 0x01,
  MESSAGE_EXPIRY_INTERVAL: 0x02,
  CONTENT_TYPE: 0x03,
  RESPONSE_TOPIC: 0x08,
  CORRELATION_DATA: 0x09,
  SUBSCRIPTION_IDENTIFIER: 0x0b,
  SESSION_EXPIRY_INTERVAL: 0x11,
  ASSIGNED_CLIENT_IDENTIFIER: 0x12,
  SERVER_KEEP_ALIVE: 0x13,
  AUTHENTICATION_METHOD: 0x15,
  AUTHENTICATION_DATA: 0x16,
  REQUEST_PROBLEM_INFORMATION: 0x17,
  WILL_DELAY_INTERVAL: 0x18,
  REQUEST_RESPONSE_INFORMATION: 0x19,
  RESPONSE_INFORMATION: 0x1a,
  SERVER_REFERENCE: 0x1c,
  REASON_STRING: 0x1f,
  RECEIVE_MAXIMUM: 0x21,
  TOPIC_ALIAS_MAXIMUM: 0x22,
  TOPIC_ALIAS: 0x23,
  MAXIMUM_QOS: 0x24,
  RETAIN_AVAILABLE: 0x25,
  USER_PROPERTY: 0x26,
  MAXIMUM_PACKET_SIZE: 0x27,
  WILDCARD_SUBSCRIPTION_AVAILABLE: 0x28,
  SUBSCRIPTION_IDENTIFIERS_AVAILABLE: 0x29,
  SHARED_SUBSCRIPTION_AVAILABLE: 0x2a,
} as const;

const WILL = 1 << WILL_PROPERTIES;
const CONNECT = 1 << PacketType.CONNECT;
const CONNACK = 1 << PacketType.CONNACK;
const PUBLISH = 1 << PacketType.PUBLISH;
const SUBSCRIBE = 1 << PacketType.SUBSCRIBE;
const DISCONNECT = 1 << PacketType.DISCONNECT;
const AUTH = 1 << PacketType.AUTH;
const ANSWERS =
  CONNACK |
  (1 << PacketType.PUBACK) |
  (1 << PacketType.PUBREC) |
  (1 << PacketType.PUBREL) |
  (1 << PacketType.PUBCOMP) |
  (1 << PacketType.SUBACK) |
  (1 << PacketType.UNSUBACK) |
  DISCONNECT |
  AUTH;
const ALL = WILL | CONNECT | PUBLISH | SUBSCRIBE | (1 << PacketType.UNSUBSCRIBE) | ANSWERS;
const MESSAGES = PUBLISH | WILL;

function byte(id: number, name: NumberName, packets: number): NumberProperty {
  return { id, name, type: 'byte', packets, min: 0, max: 1 };
}

function u16(id: number, name: NumberName, packets: number, min = 0): NumberProperty {
  return { id, name, type: 'u16', packets, min, max: 0xffff };
}

function u32(id: number, name: NumberName, packets: number, min = 0): NumberProperty {
  return { id, name, type: 'u32', packets, min, max: 0xffff_ffff };
}

function string(id: number, name: StringName, packets: number): StringProperty {
  return { id, name, type: 'string', packets };
}

function binary(id: number, name: BinaryName, packets: number): BinaryProperty {
  return { id, name, type: 'binary', packets };
}

/** MQTT 5 table 2-4, in order of identifiers, with the ranges the packets' sections add. */
export const PROPERTIES: readonly PropertyDefinition[] = [
  byte(PropertyId.PAYLOAD_FORMAT_INDICATOR, 'payloadFormatIndicator', MESSAGES),
  u32(PropertyId.MESSAGE_EXPIRY_INTERVAL, 'messageExpiryS', MESSAGES),
  string(PropertyId.CONTENT_TYPE, 'contentType', MESSAGES),
  string(PropertyId.RESPONSE_TOPIC, 'responseTopic', MESSAGES),
  binary(PropertyId.CORRELATION_DATA, 'correlationData', MESSAGES),
  {
    id: PropertyId.SUBSCRIPTION_IDENTIFIER,
    name: 'subscriptionIds',
    type: 'varint',
    packets: PUBLISH | SUBSCRIBE,
  },
  u32(PropertyId.SESSION_EXPIRY_INTERVAL, 'sessionExpiryIntervalS', CONNECT | CONNACK | DISCONNECT),
  string(PropertyId.ASSIGNED_CLIENT_IDENTIFIER, 'assignedClientId', CONNACK),
  u16(PropertyId.SERVER_KEEP_ALIVE, 'serverKeepAliveS', CONNACK),
  string(PropertyId.AUTHENTICATION_METHOD, 'authenticationMethod', CONNECT | CONNACK | AUTH),
  binary(PropertyId.AUTHENTICATION_DATA, 'authenticationData', CONNECT | CONNACK | AUTH),
  byte(PropertyId.REQUEST_PROBLEM_INFORMATION, 'requestProblemInformation', CONNECT),
  u32(PropertyId.WILL_DELAY_INTERVAL, 'willDelayIntervalS', WILL),
  byte(PropertyId.REQUEST_RESPONSE_INFORMATION, 'requestResponseInformation', CONNECT),
  string(PropertyId.RESPONSE_INFORMATION, 'responseInformation', CONNACK),
  string(PropertyId.SERVER_REFERENCE, 'serverReference', CONNACK | DISCONNECT),
  string(PropertyId.REASON_STRING, 'reasonString', ANSWERS),
  u16(PropertyId.RECEIVE_MAXIMUM, 'receiveMaximum', CONNECT | CONNACK, 1),
  u16(PropertyId.TOPIC_ALIAS_MAXIMUM, 'topicAliasMaximum', CONNECT | CONNACK),
  u16(PropertyId.TOPIC_ALIAS, 'topicAlias', PUBLISH, 1),
  byte(PropertyId.MAXIMUM_QOS, 'maximumQos', CONNACK),
  byte(PropertyId.RETAIN_AVAILABLE, 'retainAvailable', CONNACK),
  { id: PropertyId.USER_PROPERTY, name: 'userProperties', type: 'pair', packets: ALL },
  u32(PropertyId.MAXIMUM_PACKET_SIZE, 'maximumPacketSize', CONNECT | CONNACK, 1),
  byte(PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE, 'wildcardSubscriptionAvailable', CONNACK),
  byte(PropertyId.SUBSCRIPTION_IDENTIFIERS_AVAILABLE, 'subscriptionIdentifiersAvailable', CONNACK),
  byte(PropertyId.SHARED_SUBSCRIPTION_AVAILABLE, 'sharedSubscriptionAvailable', CONNACK),
];

const INDEX_BY_ID = new Int8Array(128).fill(-1);
PROPERTIES.forEach((property, index) => {
  INDEX_BY_ID[property.id] = index;
});

/** Decoded properties before any has been read. */
function noValues(subscriptionIds: number[], userProperties: UserProperty[]): PropertyValues {
  return {
    payloadFormatIndicator: -1,
    messageExpiryS: -1,
    contentType: null,
    responseTopic: null,
    correlationData: null,
    subscriptionIds,
    sessionExpiryIntervalS: -1,
    assignedClientId: null,
    serverKeepAliveS: -1,
    authenticationMethod: null,
    authenticationData: null,
    requestProblemInformation: -1,
    willDelayIntervalS: -1,
    requestResponseInformation: -1,
    responseInformation: null,
    serverReference: null,
    reasonString: null,
    receiveMaximum: -1,
    topicAliasMaximum: -1,
    topicAlias: -1,
    maximumQos: -1,
    retainAvailable: -1,
    userProperties,
    maximumPacketSize: -1,
    wildcardSubscriptionAvailable: -1,
    subscriptionIdentifiersAvailable: -1,
    sharedSubscriptionAvailable: -1,
  };
}

/**
 * Reads the property block at the reader's position. `packet` is a packet type or WILL_PROPERTIES.
 * Throws 0x81 for what cannot be parsed or is not of this packet [MQTT5-2.2.2-2], 0x82 for
 * repetitions and values out of range (0x94 for topic alias 0), 0x97 beyond the limits.
 */
export function decodeProperties(
  reader: Reader,
  packet: number,
  limits: DecodeLimits,
): PropertyValues {
  const subscriptionIds: number[] = [];
  const userProperties: UserProperty[] = [];
  const values = noValues(subscriptionIds, userProperties);
  const byteCount = reader.varint();
  if (byteCount === 0) return values;
  if (byteCount > reader.remaining) throw malformedPacket('properties are longer than the packet');
  const packetEnd = reader.end;
  reader.end = reader.pos + byteCount;

  let seen = 0;
  while (reader.remaining > 0) {
    const id = reader.varint();
    const index = id < INDEX_BY_ID.length ? INDEX_BY_ID[id]! : -1;
    if (index === -1) throw malformedPacket('unknown property');
    const property = PROPERTIES[index]!;
    if ((property.packets & (1 << packet)) === 0) {
      throw malformedPacket('property is not allowed in this packet');
    }
    const repeated = (seen & (1 << index)) !== 0;
    seen |= 1 << index;
    if (repeated && !isRepeatable(property, packet))
      throw protocolViolation('property is repeated');

    switch (property.type) {
      case 'byte':
        values[property.name] = inRange(reader.u8(), property);
        break;
      case 'u16':
        values[property.name] = inRange(reader.u16(), property);
        break;
      case 'u32':
        values[property.name] = inRange(reader.u32(), property);
        break;
      case 'string':
        values[property.name] = reader.string();
        break;
      case 'binary':
        values[property.name] = reader.binary();
        break;
      case 'varint': {
        const subscriptionId = reader.varint();
        if (subscriptionId === 0) throw protocolViolation('subscription identifier is 0');
        subscriptionIds.push(subscriptionId);
        break;
      }
      case 'pair':
        if (userProperties.length >= limits.userPropertiesMax) {
          throw new ProtocolError(ReasonCode.QUOTA_EXCEEDED, 'too many user properties');
        }
        userProperties.push([reader.string(), reader.string()]);
        break;
    }
  }
  reader.end = packetEnd;

  if (values.authenticationData !== null && values.authenticationMethod === null) {
    throw protocolViolation('authentication data without authentication method');
  }
  // [MQTT5-3.3.2-14]
  if (values.responseTopic !== null && !isValidTopicName(values.responseTopic)) {
    throw protocolViolation('response topic is not a topic name');
  }
  return values;
}

/** The user property always, and the subscription identifiers of a delivered PUBLISH. */
function isRepeatable(property: PropertyDefinition, packet: number): boolean {
  return property.type === 'pair' || (property.type === 'varint' && packet === PacketType.PUBLISH);
}

function inRange(value: number, property: NumberProperty): number {
  if (value >= property.min && value <= property.max) return value;
  if (property.id === PropertyId.TOPIC_ALIAS) {
    throw new ProtocolError(ReasonCode.TOPIC_ALIAS_INVALID, 'topic alias is 0');
  }
  throw protocolViolation('property value is out of range');
}

/**
 * Index after the property at `pos` of a block that has been decoded before, for callers that pick
 * or forward single properties as bytes.
 */
export function propertyEnd(buf: Buffer, pos: number, end: number): number {
  const property = PROPERTIES[INDEX_BY_ID[buf[pos]!]!]!;
  const value = pos + 1;
  switch (property.type) {
    case 'byte':
      return value + 1;
    case 'u16':
      return value + 2;
    case 'u32':
      return value + 4;
    case 'string':
    case 'binary':
      return value + 2 + readU16(buf, value);
    case 'varint':
      return value + varintSize(readVarint(buf, value, end));
    case 'pair': {
      const second = value + 2 + readU16(buf, value);
      return second + 2 + readU16(buf, second);
    }
  }
}

/** What an encoder takes: absent is undefined, null or -1. */
export type PropertyInput = {
  readonly [K in keyof PropertyValues]?: PropertyValues[K] | undefined;
};

/** Writes the property block of a packet; what this packet may not carry is a programmer error. */
export function encodeProperties(writer: Writer, packet: number, values: PropertyInput): void {
  const block = writer.beginBlock();
  for (const property of PROPERTIES) {
    if ((property.packets & (1 << packet)) === 0) continue;
    switch (property.type) {
      case 'byte':
      case 'u16':
      case 'u32': {
        const value = values[property.name];
        if (value !== undefined && value !== -1) writeNumber(writer, property, value);
        break;
      }
      case 'string': {
        const value = values[property.name];
        if (value === undefined || value === null) break;
        writer.u8(property.id);
        writer.string(value);
        break;
      }
      case 'binary': {
        const value = values[property.name];
        if (value === undefined || value === null) break;
        writer.u8(property.id);
        writer.binary(value);
        break;
      }
      case 'varint':
        for (const subscriptionId of values.subscriptionIds ?? []) {
          writer.u8(property.id);
          writer.varint(subscriptionId);
        }
        break;
      case 'pair':
        for (const [name, value] of values.userProperties ?? NO_USER_PROPERTIES) {
          writer.u8(property.id);
          writer.string(name);
          writer.string(value);
        }
        break;
    }
  }
  writer.endBlock(block);
}

function writeNumber(writer: Writer, property: NumberProperty, value: number): void {
  writer.u8(property.id);
  if (property.type === 'byte') writer.u8(value);
  else if (property.type === 'u16') writer.u16(value);
  else writer.u32(value);
}
