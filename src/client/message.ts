/**
 * Application messages as callers of our client see them, and PUBLISH packets made of them and read
 * back. Copies what it reads, because callers keep it.
 */
import { Buffer } from 'node:buffer';
import { EMPTY_BUFFER, readU16 } from '../util/bytes.ts';
import { bodyStart } from '../wire/framing.ts';
import { PacketType } from '../wire/packet-type.ts';
import type { UserProperty } from '../wire/properties.ts';
import { encodeProperties, PropertyId, propertyEnd } from '../wire/properties.ts';
import type { ProtocolVersion } from '../wire/protocol-version.ts';
import type { PublishView } from '../wire/publish.ts';
import { isValidTopicName } from '../wire/topic.ts';
import { FIELD_BYTES_MAX, readBinary, readString } from '../wire/utf8.ts';
import { Writer } from '../wire/writer.ts';
import { ClientError } from './client-error.ts';

export type Qos = 0 | 1 | 2;

/** MQTT 5 properties of a message; MQTT 3.x neither sends nor receives any. */
export interface MessageProperties {
  readonly payloadFormatIndicator?: 0 | 1 | undefined;
  readonly messageExpiryS?: number | undefined;
  readonly contentType?: string | undefined;
  readonly responseTopic?: string | undefined;
  readonly correlationData?: Buffer | undefined;
  readonly userProperties?: readonly UserProperty[] | undefined;
}

export interface ReceivedMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly dup: boolean;
  readonly properties: MessageProperties;
  /** Of the subscriptions that matched, when they were given identifiers. */
  readonly subscriptionIds: readonly number[];
}

export interface OutgoingMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly properties: MessageProperties;
}

const DUP = 0x08;
const NONE: readonly number[] = Object.freeze([]);
const NO_PROPERTIES: MessageProperties = Object.freeze({});

/** Throws ClientError `invalid_argument` for what no MQTT packet can carry. */
export function checkMessage(message: OutgoingMessage): void {
  const { topic, properties } = message;
  if (!isValidTopicName(topic)) {
    throw new ClientError('invalid_argument', 'a topic name is empty or contains + or #');
  }
  checkField('topic', topic);
  if (properties.responseTopic !== undefined && !isValidTopicName(properties.responseTopic)) {
    throw new ClientError('invalid_argument', 'a response topic is empty or contains + or #');
  }
  checkField('response topic', properties.responseTopic);
  checkField('content type', properties.contentType);
  checkField('correlation data', properties.correlationData);
  checkUserProperties(properties.userProperties);
}

export function checkUserProperties(userProperties: readonly UserProperty[] | undefined): void {
  for (const [name, value] of userProperties ?? []) {
    checkField('user property name', name);
    checkField('user property value', value);
  }
}

/** A string or binary field has a length of 16 bits, and text no U+0000. [MQTT5-1.5.4-2] */
export function checkField(what: string, value: string | Buffer | undefined): void {
  if (value === undefined) return;
  if (Buffer.byteLength(value) > FIELD_BYTES_MAX) {
    throw new ClientError('invalid_argument', `the ${what} is longer than 65535 bytes`);
  }
  if (typeof value === 'string' && (value.includes('\0') || !value.isWellFormed())) {
    throw new ClientError('invalid_argument', `the ${what} is not text MQTT can carry`);
  }
}

/** The whole PUBLISH; its packet identifier, if it has one, is 0. The message has been checked. */
export function encodeMessage(version: ProtocolVersion, message: OutgoingMessage): Buffer {
  const writer = new Writer();
  writer.string(message.topic);
  if (message.qos > 0) writer.u16(0);
  if (version === 5) encodeProperties(writer, PacketType.PUBLISH, message.properties);
  writer.bytes(message.payload);
  const flags = (message.qos << 1) | (message.retain ? 1 : 0);
  return writer.finish((PacketType.PUBLISH << 4) | flags);
}

/** Where the identifier of a PUBLISH of QoS 1 or 2 stands. */
export function packetIdOffset(publish: Buffer): number {
  const topic = bodyStart(publish, 0);
  return topic + 2 + readU16(publish, topic);
}

/** [MQTT5-3.3.1-1] */
export function markRepeated(publish: Buffer, isRepeated: boolean = true): void {
  publish[0] = isRepeated ? publish[0]! | DUP : publish[0]! & ~DUP;
}

/** The message of a decoded PUBLISH, its topic resolved by the caller. */
export function readMessage(view: PublishView, topic: string): ReceivedMessage {
  const message = lentMessage(view, topic);
  const { payload } = message;
  return payload.length === 0 ? message : { ...message, payload: Buffer.from(payload) };
}

/** The same for now: its payload is that of the view, which is overwritten by what comes next. */
export function lentMessage(view: PublishView, topic: string): ReceivedMessage {
  const { payloadBuffer, payloadStart, payloadEnd } = view;
  return {
    topic,
    payload:
      payloadStart === payloadEnd ? EMPTY_BUFFER : payloadBuffer.subarray(payloadStart, payloadEnd),
    qos: view.qos,
    retain: view.retain,
    dup: view.dup,
    properties: readProperties(view),
    subscriptionIds: view.subscriptionIds ?? NONE,
  };
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function readProperties(view: PublishView): MessageProperties {
  const { propertyBuffer: buf, propertyEnd: end, messageExpiryS } = view;
  if (view.propertyStart === end && messageExpiryS === -1) return NO_PROPERTIES;
  const properties: Writable<MessageProperties> = {};
  const userProperties: UserProperty[] = [];
  if (messageExpiryS !== -1) properties.messageExpiryS = messageExpiryS;
  for (let pos = view.propertyStart; pos < end; ) {
    const value = pos + 1;
    const next = propertyEnd(buf, pos, end);
    switch (buf[pos]) {
      case PropertyId.PAYLOAD_FORMAT_INDICATOR:
        properties.payloadFormatIndicator = buf[value] === 1 ? 1 : 0;
        break;
      case PropertyId.CONTENT_TYPE:
        properties.contentType = readString(buf, value, end);
        break;
      case PropertyId.RESPONSE_TOPIC:
        properties.responseTopic = readString(buf, value, end);
        break;
      case PropertyId.CORRELATION_DATA:
        properties.correlationData = readBinary(buf, value, end);
        break;
      case PropertyId.USER_PROPERTY: {
        const name = readString(buf, value, end);
        userProperties.push([name, readString(buf, value + 2 + Buffer.byteLength(name), end)]);
        break;
      }
    }
    pos = next;
  }
  if (userProperties.length > 0) properties.userProperties = userProperties;
  return properties;
}
