/**
 * CONNACK: the broker's answer to CONNECT. Reason codes are version 5's on both sides of this
 * file; for MQTT 3.x they become return codes on the wire and come back from them.
 */
import type { Buffer } from 'node:buffer';
import type { DecodeLimits } from './decode-limits.ts';
import { DECODE_LIMITS_DEFAULT } from './decode-limits.ts';
import { PacketType } from './packet-type.ts';
import type { UserProperty } from './properties.ts';
import { decodeProperties, encodeProperties } from './properties.ts';
import { malformedPacket, protocolViolation } from './protocol-error.ts';
import type { ProtocolVersion } from './protocol-version.ts';
import { Reader } from './reader.ts';
import {
  connackReturnCode,
  isReasonCodeAllowed,
  ReasonCode,
  reasonOfReturnCode,
} from './reason-code.ts';
import { Writer } from './writer.ts';

/** Absent properties are left out; MQTT 3.x sends none of them. */
export interface ConnackPacket {
  sessionPresent: boolean;
  reasonCode: number;
  sessionExpiryIntervalS?: number | undefined;
  receiveMaximum?: number | undefined;
  maximumQos?: 0 | 1 | undefined;
  retainAvailable?: boolean | undefined;
  maximumPacketSize?: number | undefined;
  assignedClientId?: string | undefined;
  topicAliasMaximum?: number | undefined;
  reasonString?: string | undefined;
  userProperties?: readonly UserProperty[] | undefined;
  wildcardSubscriptionAvailable?: boolean | undefined;
  subscriptionIdentifiersAvailable?: boolean | undefined;
  sharedSubscriptionAvailable?: boolean | undefined;
  serverKeepAliveS?: number | undefined;
  responseInformation?: string | undefined;
  serverReference?: string | undefined;
  authenticationMethod?: string | undefined;
  authenticationData?: Buffer | undefined;
}

const SESSION_PRESENT = 0x01;

/** The whole packet. A refusal never says that a session is present. [MQTT5-3.2.2-6] */
export function encodeConnack(version: ProtocolVersion, packet: ConnackPacket): Buffer {
  const { reasonCode } = packet;
  const accepted = reasonCode === ReasonCode.SUCCESS;
  const writer = new Writer();
  // The byte is reserved in MQTT 3.1.
  writer.u8(accepted && packet.sessionPresent && version !== 3 ? SESSION_PRESENT : 0);
  if (version === 5) {
    writer.u8(reasonCode);
    encodeProperties(writer, PacketType.CONNACK, {
      ...packet,
      retainAvailable: flag(packet.retainAvailable),
      wildcardSubscriptionAvailable: flag(packet.wildcardSubscriptionAvailable),
      subscriptionIdentifiersAvailable: flag(packet.subscriptionIdentifiersAvailable),
      sharedSubscriptionAvailable: flag(packet.sharedSubscriptionAvailable),
    });
  } else {
    writer.u8(accepted ? 0 : connackReturnCode(reasonCode));
  }
  return writer.finish(PacketType.CONNACK << 4);
}

function flag(value: boolean | undefined): number {
  return value === undefined ? -1 : Number(value);
}

/** Reads the body of a CONNACK, for clients; only properties that were sent are set. */
export function decodeConnack(
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
): ConnackPacket {
  const reader = new Reader(buf, start, end);
  const flags = reader.u8();
  // [MQTT5-3.2.2-1] [MQTT311-3.2.2-1]; MQTT 3.1 leaves the whole byte to the server.
  if (version !== 3 && (flags & ~SESSION_PRESENT) !== 0) {
    throw malformedPacket('reserved CONNACK flags are set');
  }
  const sessionPresent = version !== 3 && flags === SESSION_PRESENT;
  const code = reader.u8();
  const reasonCode = version === 5 ? code : reasonOfReturnCode(code);
  if (reasonCode === -1 || !isReasonCodeAllowed(PacketType.CONNACK, reasonCode, 'server')) {
    throw protocolViolation('reason code is not one of CONNACK');
  }
  // [MQTT5-3.2.2-6] [MQTT311-3.2.2-4]
  if (sessionPresent && reasonCode !== ReasonCode.SUCCESS) {
    throw protocolViolation('session present in a refusal');
  }
  const packet: ConnackPacket = { sessionPresent, reasonCode };
  if (version === 5) readProperties(packet, reader, limits);
  reader.expectEnd();
  return packet;
}

const NUMBERS = [
  'sessionExpiryIntervalS',
  'receiveMaximum',
  'maximumPacketSize',
  'topicAliasMaximum',
  'serverKeepAliveS',
] as const;

const STRINGS = [
  'assignedClientId',
  'reasonString',
  'responseInformation',
  'serverReference',
  'authenticationMethod',
] as const;

const FLAGS = [
  'retainAvailable',
  'wildcardSubscriptionAvailable',
  'subscriptionIdentifiersAvailable',
  'sharedSubscriptionAvailable',
] as const;

function readProperties(packet: ConnackPacket, reader: Reader, limits: DecodeLimits): void {
  const values = decodeProperties(reader, PacketType.CONNACK, limits);
  for (const name of NUMBERS) {
    const value = values[name];
    if (value !== -1) packet[name] = value;
  }
  for (const name of STRINGS) {
    const value = values[name];
    if (value !== null) packet[name] = value;
  }
  for (const name of FLAGS) {
    const value = values[name];
    if (value !== -1) packet[name] = value === 1;
  }
  if (values.maximumQos !== -1) packet.maximumQos = values.maximumQos as 0 | 1;
  if (values.authenticationData !== null) packet.authenticationData = values.authenticationData;
  if (values.userProperties.length > 0) packet.userProperties = values.userProperties;
}
