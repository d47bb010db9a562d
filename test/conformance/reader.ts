/**
 * Reads what a server sends, and refuses every byte the specification does not allow there:
 * reserved bits, lengths, UTF-8, properties in the wrong packet, unknown reason codes.
 * Called by the conformance client; knows neither sockets nor src/.
 */
import {
  PACKET_TYPES,
  type PacketType,
  PROPERTIES,
  type PropertyName,
  type ProtocolVersion,
} from './packets.ts';

export type ReadValue = number | string | Buffer | readonly [string, string];

export interface ReadPacket {
  readonly type: PacketType;
  readonly bytes: Buffer;
  readonly packetId: number;
  /** Return code or reason code; 0 where the packet leaves it out. */
  readonly reasonCode: number;
  readonly reasonCodes: readonly number[];
  readonly properties: readonly (readonly [PropertyName, ReadValue])[];
  readonly sessionPresent: boolean;
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: number;
  readonly retain: boolean;
  readonly dup: boolean;
}

/** The first value of a property, undefined where it is absent. */
export function property(packet: ReadPacket, name: PropertyName): ReadValue | undefined {
  return packet.properties.find(([one]) => one === name)?.[1];
}

/** Every value of a property that may come several times, in the order of the wire. */
export function propertyList(packet: ReadPacket, name: PropertyName): ReadValue[] {
  return packet.properties.filter(([one]) => one === name).map(([, value]) => value);
}

const range = (text: string): Set<number> =>
  new Set(text.split(' ').map((code) => Number.parseInt(code, 16)));

/** Reason codes a server may send, by packet (MQTT 5 tables of chapter 3). */
const REASON_CODES: Partial<Record<PacketType, Set<number>>> = {
  CONNACK: range('0 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f'),
  PUBACK: range('0 10 80 83 87 90 91 97 99'),
  PUBREC: range('0 10 80 83 87 90 91 97 99'),
  PUBREL: range('0 92'),
  PUBCOMP: range('0 92'),
  SUBACK: range('0 1 2 80 83 87 8f 91 97 9e a1 a2'),
  UNSUBACK: range('0 11 80 83 87 8f 91'),
  DISCONNECT: range(
    '0 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2',
  ),
  AUTH: range('0 18'),
};
const CONNACK_311: Set<number> = range('0 1 2 3 4 5');
const SUBACK_311: Set<number> = range('0 1 2 80');

const SERVER_SENDS = new Set<PacketType>([
  'CONNACK',
  'PUBLISH',
  'PUBACK',
  'PUBREC',
  'PUBREL',
  'PUBCOMP',
  'SUBACK',
  'UNSUBACK',
  'PINGRESP',
  'DISCONNECT',
  'AUTH',
]);
const REPEATABLE = new Set<PropertyName>(['userProperty', 'subscriptionIdentifier']);
const BY_ID = new Map<number, PropertyName>(
  (Object.keys(PROPERTIES) as PropertyName[]).map((name) => [PROPERTIES[name][0], name]),
);
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function refuse(why: string): never {
  throw new Error(`the server sent a malformed packet: ${why}`);
}

/** Length of the first whole packet in the buffer, 0 while it is incomplete. */
export function packetLength(buffer: Buffer): number {
  let value = 0;
  for (let i = 1; i <= 4; i++) {
    const byte = buffer[i];
    if (byte === undefined) return 0;
    value += (byte & 0x7f) * 128 ** (i - 1);
    if (byte < 0x80) {
      if (i > 1 && byte === 0) refuse('remaining length is not in its shortest form');
      return buffer.length >= 1 + i + value ? 1 + i + value : 0;
    }
  }
  return refuse('remaining length of more than four bytes');
}

class Cursor {
  readonly bytes: Buffer;
  at: number;
  readonly end: number;
  constructor(bytes: Buffer, at: number, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }
  get left(): number {
    return this.end - this.at;
  }
  take(count: number): Buffer {
    if (this.left < count) refuse('a field reaches beyond the packet');
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
  u8(): number {
    return this.take(1)[0] ?? 0;
  }
  u16(): number {
    return this.take(2).readUInt16BE(0);
  }
  varint(): number {
    let value = 0;
    for (let i = 0; i < 4; i++) {
      const byte = this.u8();
      value += (byte & 0x7f) * 128 ** i;
      if (byte < 0x80) {
        // [MQTT5-1.5.5-1] the shortest form only
        if (i > 0 && byte === 0) refuse('variable byte integer is not in its shortest form');
        return value;
      }
    }
    return refuse('variable byte integer of more than four bytes');
  }
  string(): string {
    const text = strictUtf8.decode(this.take(this.u16()));
    if (text.includes('\0')) refuse('U+0000 in a string');
    return text;
  }
}

function readProperties(
  cursor: Cursor,
  type: PacketType,
): readonly (readonly [PropertyName, ReadValue])[] {
  const length = cursor.varint();
  const part = new Cursor(cursor.bytes, cursor.at, cursor.at + length);
  cursor.take(length);
  const list: (readonly [PropertyName, ReadValue])[] = [];
  while (part.left > 0) {
    const name = BY_ID.get(part.varint());
    if (name === undefined) return refuse('unknown property');
    const [, kind, packets] = PROPERTIES[name];
    if (!packets.split(' ').includes(type)) refuse(`${name} in ${type}`);
    if (!REPEATABLE.has(name) && list.some(([one]) => one === name)) refuse(`${name} twice`);
    list.push([name, readValue(part, kind)]);
  }
  return list;
}

function readValue(part: Cursor, kind: string): ReadValue {
  switch (kind) {
    case 'byte':
      return part.u8();
    case 'u16':
      return part.u16();
    case 'u32':
      return part.take(4).readUInt32BE(0);
    case 'varint':
      return part.varint();
    case 'string':
      return part.string();
    case 'binary':
      return Buffer.from(part.take(part.u16()));
    default:
      return [part.string(), part.string()];
  }
}

type Draft = { -readonly [K in keyof ReadPacket]: ReadPacket[K] };

/** One whole packet; throws on anything a server may not send in this version. */
export function readPacket(bytes: Buffer, version: ProtocolVersion): ReadPacket {
  const first = bytes[0] ?? 0;
  const type = PACKET_TYPES[first >> 4] ?? 'RESERVED';
  if (!SERVER_SENDS.has(type)) refuse(`a server never sends ${type}`);
  if (version < 5 && (type === 'DISCONNECT' || type === 'AUTH')) refuse(`${type} before MQTT 5`);
  // [MQTT5-2.1.3-1] [MQTT311-2.2.2-1] reserved flags as listed
  if (type !== 'PUBLISH' && (first & 0x0f) !== (type === 'PUBREL' ? 2 : 0)) {
    refuse(`reserved flags of ${type}`);
  }
  let start = 1;
  while ((bytes[start] ?? 0) >= 0x80) start++;
  const cursor = new Cursor(bytes, start + 1);
  const draft: Draft = {
    type,
    bytes,
    packetId: 0,
    reasonCode: 0,
    reasonCodes: [],
    properties: [],
    sessionPresent: false,
    topic: '',
    payload: Buffer.alloc(0),
    qos: 0,
    retain: false,
    dup: false,
  };
  readBody(draft, cursor, first, version);
  if (cursor.left > 0) refuse(`${type} with ${cursor.left} bytes too many`);
  return draft;
}

function readBody(draft: Draft, cursor: Cursor, first: number, version: ProtocolVersion): void {
  switch (draft.type) {
    case 'CONNACK': {
      const flags = cursor.u8();
      if (flags > 1) refuse('reserved bits of the CONNACK flags');
      draft.sessionPresent = flags === 1;
      draft.reasonCode = cursor.u8();
      if (version === 5) draft.properties = readProperties(cursor, draft.type);
      // A server that does not know the version may answer in the old form or the new one.
      else if (!CONNACK_311.has(draft.reasonCode)) refuse(`return code ${draft.reasonCode}`);
      break;
    }
    case 'PUBLISH':
      readPublish(draft, cursor, first, version);
      return;
    case 'PUBACK':
    case 'PUBREC':
    case 'PUBREL':
    case 'PUBCOMP':
      draft.packetId = cursor.u16();
      if (version === 5 && cursor.left > 0) draft.reasonCode = cursor.u8();
      if (version === 5 && cursor.left > 0) draft.properties = readProperties(cursor, draft.type);
      break;
    case 'SUBACK':
    case 'UNSUBACK':
      draft.packetId = cursor.u16();
      if (version === 5) draft.properties = readProperties(cursor, draft.type);
      if (version === 5 || draft.type === 'SUBACK') {
        draft.reasonCodes = [...cursor.take(cursor.left)];
      }
      if (version < 5 && draft.reasonCodes.some((code) => !SUBACK_311.has(code))) {
        refuse(`SUBACK return codes ${draft.reasonCodes.join()}`);
      }
      break;
    case 'DISCONNECT':
    case 'AUTH':
      if (cursor.left > 0) draft.reasonCode = cursor.u8();
      if (cursor.left > 0) draft.properties = readProperties(cursor, draft.type);
      break;
    default:
      break;
  }
  const allowed = REASON_CODES[draft.type];
  if (version === 5 && allowed !== undefined) {
    const codes = draft.reasonCodes.length > 0 ? draft.reasonCodes : [draft.reasonCode];
    const wrong = codes.find((code) => !allowed.has(code));
    if (wrong !== undefined) refuse(`reason code 0x${wrong.toString(16)} in ${draft.type}`);
  }
}

function readPublish(draft: Draft, cursor: Cursor, first: number, version: ProtocolVersion): void {
  draft.dup = (first & 8) !== 0;
  draft.qos = (first >> 1) & 3;
  draft.retain = (first & 1) !== 0;
  if (draft.qos === 3) refuse('QoS 3');
  // [MQTT5-3.3.1-2] [MQTT311-3.3.1-2]
  if (draft.qos === 0 && draft.dup) refuse('DUP on QoS 0');
  draft.topic = cursor.string();
  if (draft.topic.includes('+') || draft.topic.includes('#')) refuse('wildcard in a topic name');
  if (draft.qos > 0) {
    draft.packetId = cursor.u16();
    if (draft.packetId === 0) refuse('packet identifier 0');
  }
  if (version === 5) draft.properties = readProperties(cursor, 'PUBLISH');
  draft.payload = Buffer.from(cursor.take(cursor.left));
}
