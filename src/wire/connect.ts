/**
 * CONNECT of MQTT 3.1, 3.1.1 and 5 in one form: what a version cannot say has the value that means
 * the same there. Called once per connection; it knows nothing of whether a client is welcome.
 * What outlives the read buffer (password, will, authentication data) is copied.
 */
import { Buffer } from 'node:buffer';
import { copyBytes, EMPTY_BUFFER } from '../util/bytes.ts';
import type { DecodeLimits } from './decode-limits.ts';
import { DECODE_LIMITS_DEFAULT } from './decode-limits.ts';
import { PacketType } from './packet-type.ts';
import type { PropertyValues, UserProperty } from './properties.ts';
import {
  decodeProperties,
  encodeProperties,
  NO_USER_PROPERTIES,
  PropertyId,
  propertyEnd,
  WILL_PROPERTIES,
} from './properties.ts';
import { malformedPacket, ProtocolError } from './protocol-error.ts';
import type { ProtocolVersion } from './protocol-version.ts';
import { Reader } from './reader.ts';
import { ReasonCode } from './reason-code.ts';
import { isValidTopicName } from './topic.ts';
import { Writer } from './writer.ts';

/** A session that ends only when it is deleted. */
export const SESSION_EXPIRY_NEVER = 0xffff_ffff;

export const RECEIVE_MAXIMUM_DEFAULT = 65_535;

export interface WillPacket {
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
  delayIntervalS: number;
  /** -1 when the will message never expires. */
  messageExpiryS: number;
  /**
   * Property bytes to forward with the will as a PUBLISH, in the order they came: payload format,
   * content type, response topic, correlation data, user properties; no length in front.
   */
  properties: Buffer;
}

export interface ConnectPacket {
  protocolVersion: ProtocolVersion;
  cleanStart: boolean;
  keepAliveS: number;
  clientId: string;
  username: string | null;
  password: Buffer | null;
  will: WillPacket | null;
  /** For MQTT 3.x: 0 with clean session, else SESSION_EXPIRY_NEVER. */
  sessionExpiryIntervalS: number;
  receiveMaximum: number;
  /** 0 when the client sets none. */
  maximumPacketSize: number;
  topicAliasMaximum: number;
  requestResponseInformation: boolean;
  requestProblemInformation: boolean;
  userProperties: readonly UserProperty[];
  authenticationMethod: string | null;
  authenticationData: Buffer | null;
}

const FLAG_RESERVED = 0x01;
const FLAG_CLEAN_START = 0x02;
const FLAG_WILL = 0x04;
const FLAG_WILL_RETAIN = 0x20;
const FLAG_PASSWORD = 0x40;
const FLAG_USERNAME = 0x80;
const WILL_QOS_SHIFT = 3;

/** Length-prefixed protocol names. */
const NAME_31 = Buffer.from('\0\x06MQIsdp', 'latin1');
const NAME = Buffer.from('\0\x04MQTT', 'latin1');

/**
 * The protocol level a CONNECT asks for, supported or not, so that its refusal can be worded in the
 * sender's version; 0 when the bytes do not begin as an MQTT CONNECT.
 */
export function peekProtocolVersion(buf: Buffer, bodyStart: number, bodyEnd: number): number {
  const after = protocolNameEnd(buf, bodyStart, bodyEnd);
  return after === -1 || after >= bodyEnd ? 0 : buf[after]!;
}

function protocolNameEnd(buf: Buffer, start: number, end: number): number {
  if (startsWith(buf, start, end, NAME)) return start + NAME.length;
  if (startsWith(buf, start, end, NAME_31)) return start + NAME_31.length;
  return -1;
}

function startsWith(buf: Buffer, start: number, end: number, prefix: Buffer): boolean {
  return (
    end - start >= prefix.length &&
    buf.compare(prefix, 0, prefix.length, start, start + prefix.length) === 0
  );
}

/** Reads the body of a CONNECT. Throws 0x84 for versions other than 3, 4 and 5. */
export function decodeConnect(
  buf: Buffer,
  bodyStart: number,
  bodyEnd: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
): ConnectPacket {
  const reader = new Reader(buf, bodyStart, bodyEnd);
  const version = readProtocolVersion(reader);
  const flags = reader.u8();
  checkConnectFlags(flags, version);
  const keepAliveS = reader.u16();
  const cleanStart = (flags & FLAG_CLEAN_START) !== 0;
  const packet: ConnectPacket = {
    protocolVersion: version,
    cleanStart,
    keepAliveS,
    clientId: '',
    username: null,
    password: null,
    will: null,
    sessionExpiryIntervalS: version === 5 || cleanStart ? 0 : SESSION_EXPIRY_NEVER,
    receiveMaximum: RECEIVE_MAXIMUM_DEFAULT,
    maximumPacketSize: 0,
    topicAliasMaximum: 0,
    requestResponseInformation: false,
    requestProblemInformation: true,
    userProperties: NO_USER_PROPERTIES,
    authenticationMethod: null,
    authenticationData: null,
  };
  if (version === 5) {
    applyProperties(packet, decodeProperties(reader, PacketType.CONNECT, limits));
  }
  packet.clientId = reader.string();
  if ((flags & FLAG_WILL) !== 0) packet.will = readWill(reader, flags, version, limits);
  // MQTT 3.1 §3.1: the remaining length takes precedence over these two flags.
  if ((flags & FLAG_USERNAME) !== 0 && (version !== 3 || reader.remaining > 0)) {
    packet.username = reader.string();
  }
  if ((flags & FLAG_PASSWORD) !== 0 && (version !== 3 || reader.remaining > 0)) {
    packet.password = reader.binary();
  }
  reader.expectEnd();
  return packet;
}

function readProtocolVersion(reader: Reader): ProtocolVersion {
  const { buf, pos, end } = reader;
  const after = protocolNameEnd(buf, pos, end);
  if (after === -1) {
    // A whole name that is not ours is another protocol; anything else is not even a CONNECT.
    reader.string();
    // [MQTT5-3.1.2-1] [MQTT311-3.1.2-1]
    throw new ProtocolError(ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 'protocol name is not MQTT');
  }
  reader.pos = after;
  const level = reader.u8();
  const isOldName = after - pos === NAME_31.length;
  if (isOldName ? level === 3 : level === 4 || level === 5) return level as ProtocolVersion;
  // [MQTT5-3.1.2-2] [MQTT311-3.1.2-2]
  throw new ProtocolError(
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    'protocol version is not supported',
  );
}

function checkConnectFlags(flags: number, version: ProtocolVersion): void {
  const willQos = (flags >> WILL_QOS_SHIFT) & 3;
  // [MQTT5-3.1.2-12] [MQTT311-3.1.2-14]
  if (willQos === 3) throw malformedPacket('will QoS is 3');
  // [MQTT311-3.1.2-22]; version 5 allows a password alone. MQTT 3.1 says "not valid" too.
  if (version !== 5 && (flags & (FLAG_USERNAME | FLAG_PASSWORD)) === FLAG_PASSWORD) {
    throw malformedPacket('password without user name');
  }
  // MQTT 3.1 leaves the remaining bits to the sender.
  if (version === 3) return;
  // [MQTT5-3.1.2-3] [MQTT311-3.1.2-3]
  if ((flags & FLAG_RESERVED) !== 0) throw malformedPacket('reserved connect flag is set');
  // [MQTT5-3.1.2-11] [MQTT5-3.1.2-13] [MQTT311-3.1.2-13] [MQTT311-3.1.2-15]
  if ((flags & FLAG_WILL) === 0 && (willQos !== 0 || (flags & FLAG_WILL_RETAIN) !== 0)) {
    throw malformedPacket('will QoS or will retain without will');
  }
}

function applyProperties(packet: ConnectPacket, values: PropertyValues): void {
  if (values.sessionExpiryIntervalS !== -1) {
    packet.sessionExpiryIntervalS = values.sessionExpiryIntervalS;
  }
  if (values.receiveMaximum !== -1) packet.receiveMaximum = values.receiveMaximum;
  if (values.maximumPacketSize !== -1) packet.maximumPacketSize = values.maximumPacketSize;
  if (values.topicAliasMaximum !== -1) packet.topicAliasMaximum = values.topicAliasMaximum;
  packet.requestResponseInformation = values.requestResponseInformation === 1;
  packet.requestProblemInformation = values.requestProblemInformation !== 0;
  packet.userProperties = values.userProperties;
  packet.authenticationMethod = values.authenticationMethod;
  packet.authenticationData = values.authenticationData;
}

function readWill(
  reader: Reader,
  flags: number,
  version: ProtocolVersion,
  limits: DecodeLimits,
): WillPacket {
  let delayIntervalS = 0;
  let messageExpiryS = -1;
  let properties: Buffer = EMPTY_BUFFER;
  if (version === 5) {
    const start = reader.pos;
    const values = decodeProperties(reader, WILL_PROPERTIES, limits);
    if (values.willDelayIntervalS !== -1) delayIntervalS = values.willDelayIntervalS;
    messageExpiryS = values.messageExpiryS;
    properties = forwardableProperties(reader.buf, start, reader.pos);
  }
  const topic = reader.string();
  if (!isValidTopicName(topic)) {
    throw new ProtocolError(ReasonCode.TOPIC_NAME_INVALID, 'will topic is not a topic name');
  }
  return {
    topic,
    payload: reader.binary(),
    qos: ((flags >> WILL_QOS_SHIFT) & 3) as 0 | 1 | 2,
    retain: (flags & FLAG_WILL_RETAIN) !== 0,
    delayIntervalS,
    messageExpiryS,
    properties,
  };
}

/** Will properties without delay and expiry, out of a block that was decoded before. */
function forwardableProperties(buf: Buffer, blockStart: number, blockEnd: number): Buffer {
  const block = new Reader(buf, blockStart, blockEnd);
  block.varint();
  const forwardable = Buffer.allocUnsafe(block.remaining);
  let byteCount = 0;
  while (block.remaining > 0) {
    const start = block.pos;
    const id = buf[start];
    block.pos = propertyEnd(buf, start, blockEnd);
    if (id === PropertyId.WILL_DELAY_INTERVAL || id === PropertyId.MESSAGE_EXPIRY_INTERVAL) {
      continue;
    }
    byteCount += buf.copy(forwardable, byteCount, start, block.pos);
  }
  return copyBytes(forwardable, 0, byteCount);
}

/** The whole packet, as a client sends it. */
export function encodeConnect(packet: ConnectPacket): Buffer {
  const { protocolVersion: version, will } = packet;
  const writer = new Writer();
  writer.bytes(version === 3 ? NAME_31 : NAME);
  writer.u8(version);
  writer.u8(connectFlags(packet));
  writer.u16(packet.keepAliveS);
  if (version === 5) {
    encodeProperties(writer, PacketType.CONNECT, {
      sessionExpiryIntervalS: packet.sessionExpiryIntervalS || -1,
      receiveMaximum:
        packet.receiveMaximum === RECEIVE_MAXIMUM_DEFAULT ? -1 : packet.receiveMaximum,
      maximumPacketSize: packet.maximumPacketSize || -1,
      topicAliasMaximum: packet.topicAliasMaximum || -1,
      requestResponseInformation: packet.requestResponseInformation ? 1 : -1,
      requestProblemInformation: packet.requestProblemInformation ? -1 : 0,
      userProperties: packet.userProperties,
      authenticationMethod: packet.authenticationMethod,
      authenticationData: packet.authenticationData,
    });
  }
  writer.string(packet.clientId);
  if (will !== null) writeWill(writer, will, version);
  if (packet.username !== null) writer.string(packet.username);
  if (packet.password !== null) writer.binary(packet.password);
  return writer.finish(PacketType.CONNECT << 4);
}

function connectFlags(packet: ConnectPacket): number {
  const { will } = packet;
  let flags = 0;
  if (packet.cleanStart) flags |= FLAG_CLEAN_START;
  if (will !== null) {
    flags |= FLAG_WILL | (will.qos << WILL_QOS_SHIFT);
    if (will.retain) flags |= FLAG_WILL_RETAIN;
  }
  if (packet.username !== null) flags |= FLAG_USERNAME;
  if (packet.password !== null) flags |= FLAG_PASSWORD;
  return flags;
}

function writeWill(writer: Writer, will: WillPacket, version: ProtocolVersion): void {
  if (version === 5) {
    const block = writer.beginBlock();
    if (will.delayIntervalS !== 0) {
      writer.u8(PropertyId.WILL_DELAY_INTERVAL);
      writer.u32(will.delayIntervalS);
    }
    if (will.messageExpiryS !== -1) {
      writer.u8(PropertyId.MESSAGE_EXPIRY_INTERVAL);
      writer.u32(will.messageExpiryS);
    }
    writer.bytes(will.properties);
    writer.endBlock(block);
  }
  writer.string(will.topic);
  writer.binary(will.payload);
}
