/**
 * Packets as aedes-persistence-redis stores them: queued, retained, inbound, wills, and the PUBREL that
 * stands for a message whose PUBREC has come. Every field is looked at: the database is somebody
 * else's. It knows no key and no Redis.
 */
import { Buffer } from 'node:buffer';
import { Message, makeMessage } from '../../core/message.ts';
import type { SubscriptionRecord } from '../../core/ports.ts';
import { EMPTY_BUFFER } from '../../util/bytes.ts';
import { PacketType } from '../../wire/packet-type.ts';
import { encodeProperties, type PropertyInput, type UserProperty } from '../../wire/properties.ts';
import { isValidTopicFilter, isValidTopicName } from '../../wire/topic.ts';
import { readVarint, varintSize } from '../../wire/varint.ts';
import { Writer } from '../../wire/writer.ts';
import { decodeMsgpack, MsgpackDamage, type MsgpackValue } from './aedes-msgpack.ts';

type Fields = ReadonlyMap<string, MsgpackValue>;

const FIELD_BYTES_MAX = 65_535;
const U32_MAX = 0xffff_ffff;

/** The bytes are no such packet; the message says why. */
export class PacketDamage extends Error {
  override readonly name: string = 'PacketDamage';
}

export interface AedesPacket {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  /** Under which it was sent; 0: it was not. */
  readonly packetId: number;
  /** Wall-clock ms; 0: it does not say. */
  readonly expiresAtMs: number;
  /** Seconds from its publication, for what has no such time; -1: none. */
  readonly expiryS: number;
  readonly willDelayS: number;
  /** Forwardable MQTT 5 properties without their length. */
  readonly properties: Buffer;
}

/** Throws a PacketDamage. */
export function decodePacket(bytes: Buffer): AedesPacket {
  const fields = fieldsOf(bytes);
  const topic = fields.get('topic');
  if (typeof topic !== 'string' || !isTopic(topic)) throw new PacketDamage('it has no valid topic');
  const properties = fields.get('properties');
  const named: Fields = properties instanceof Map ? properties : new Map();
  return {
    topic,
    payload: payloadOf(fields.get('payload')),
    qos: qosOf(fields.get('qos')),
    retain: fields.get('retain') === true,
    packetId: numberIn(fields.get('messageId'), 1, 65_535) ?? 0,
    expiresAtMs: numberIn(fields.get('messageExpiry'), 1, Number.MAX_SAFE_INTEGER) ?? 0,
    expiryS: numberIn(named.get('messageExpiryInterval'), 0, U32_MAX) ?? -1,
    willDelayS: numberIn(named.get('willDelayInterval'), 0, U32_MAX) ?? 0,
    properties: propertiesOf(named),
  };
}

/** Packet id of a stored PUBREL; throws a PacketDamage. */
export function decodePubrel(bytes: Buffer): number {
  const packetId = numberIn(fieldsOf(bytes).get('messageId'), 1, 65_535);
  if (packetId === null) throw new PacketDamage('it has no packet id');
  return packetId;
}

/** Throws a PacketDamage. */
export function decodeSubscription(filter: string, bytes: Buffer): SubscriptionRecord {
  // Up to version 8 the value was the QoS, as one digit.
  const fields: Fields = bytes.length === 1 ? oldSubscription(bytes) : fieldsOf(bytes);
  if (!isFilter(filter)) throw new PacketDamage('it is no valid filter: nothing matches it');
  const retainHandling = numberIn(fields.get('rh'), 0, 2) ?? 0;
  return {
    filter,
    qos: qosOf(fields.get('qos')),
    noLocal: fields.get('nl') === true,
    retainAsPublished: fields.get('rap') === true,
    retainHandling: retainHandling as 0 | 1 | 2,
    subscriptionId: numberIn(fields.get('subscriptionIdentifier'), 1, 268_435_455) ?? 0,
  };
}

/** `sequence`: rising over all messages of the migration. */
export function messageOf(packet: AedesPacket, sequence: number, expiresAtMs: number): Message {
  const { topic, payload, qos, retain, properties } = packet;
  return makeMessage(sequence, topic, payload, { qos, retain, properties, expiresAtMs });
}

/** Stands for a message that is not to be sent any more, whose body the database has lost. */
export function bodilessMessage(sequence: number): Message {
  const body = Buffer.alloc(2);
  return new Message(sequence, '', body, 0, 2, 2, EMPTY_BUFFER, 2, false, 0);
}

function fieldsOf(bytes: Buffer): Fields {
  try {
    const value = decodeMsgpack(bytes);
    if (value instanceof Map) return value;
  } catch (error) {
    if (!(error instanceof MsgpackDamage)) throw error;
    throw new PacketDamage(`it is no msgpack: ${error.message}`);
  }
  throw new PacketDamage('it is no packet');
}

function oldSubscription(bytes: Buffer): Fields {
  return new Map([['qos', Number.parseInt(bytes.toString('latin1'), 10)]]);
}

function isTopic(topic: string): boolean {
  return isValidTopicName(topic) && isField(topic);
}

function isFilter(filter: string): boolean {
  return isValidTopicFilter(filter) && isField(filter);
}

function isField(text: string): boolean {
  return Buffer.byteLength(text, 'utf8') <= FIELD_BYTES_MAX && text.isWellFormed();
}

function payloadOf(value: MsgpackValue | undefined): Buffer {
  if (Buffer.isBuffer(value)) return value;
  // A server that publishes through the API may give a text.
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  if (value === undefined || value === null) return EMPTY_BUFFER;
  throw new PacketDamage('its payload is neither bytes nor text');
}

function qosOf(value: MsgpackValue | undefined): 0 | 1 | 2 {
  const qos = numberIn(value, 0, 2);
  if (qos === null) throw new PacketDamage('it has no valid QoS');
  return qos as 0 | 1 | 2;
}

/** Null: it is not there, or no such number. */
function numberIn(value: MsgpackValue | undefined, min: number, max: number): number | null {
  const isIn = typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
  return isIn ? value : null;
}

function textOf(value: MsgpackValue | undefined): string | undefined {
  return typeof value === 'string' && isField(value) ? value : undefined;
}

function propertiesOf(named: Fields): Buffer {
  if (named.size === 0) return EMPTY_BUFFER;
  const format = named.get('payloadFormatIndicator');
  const correlation = named.get('correlationData');
  const responseTopic = textOf(named.get('responseTopic'));
  const values: PropertyInput = {
    payloadFormatIndicator: format === true || format === 1 ? 1 : -1,
    contentType: textOf(named.get('contentType')),
    responseTopic:
      responseTopic !== undefined && isTopic(responseTopic) ? responseTopic : undefined,
    correlationData:
      Buffer.isBuffer(correlation) && correlation.length <= FIELD_BYTES_MAX ? correlation : null,
    userProperties: userPropertiesOf(named.get('userProperties')),
  };
  const writer = new Writer();
  encodeProperties(writer, PacketType.PUBLISH, values);
  const packet = writer.finish(0);
  // In front: the packet's own length, and the length of the block.
  const start = 1 + varintSize(readVarint(packet, 1, packet.length));
  return packet.subarray(start + varintSize(readVarint(packet, start, packet.length)));
}

function userPropertiesOf(value: MsgpackValue | undefined): UserProperty[] {
  const pairs: UserProperty[] = [];
  if (!(value instanceof Map)) return pairs;
  for (const [name, given] of value as Fields) {
    for (const one of Array.isArray(given) ? (given as readonly MsgpackValue[]) : [given]) {
      const text = textOf(one);
      if (text !== undefined && isField(name)) pairs.push([name, text]);
    }
  }
  return pairs;
}
