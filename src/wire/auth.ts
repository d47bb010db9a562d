/**
 * AUTH: steps of an enhanced authentication, version 5 only. Whoever dispatches it has refused it
 * for MQTT 3.x, where packet type 15 is reserved.
 */
import type { Buffer } from 'node:buffer';
import type { DecodeLimits } from './decode-limits.ts';
import { DECODE_LIMITS_DEFAULT } from './decode-limits.ts';
import { PacketType } from './packet-type.ts';
import type { UserProperty } from './properties.ts';
import { decodeProperties, encodeProperties, NO_USER_PROPERTIES } from './properties.ts';
import { protocolViolation } from './protocol-error.ts';
import { Reader } from './reader.ts';
import type { Sender } from './reason-code.ts';
import { isReasonCodeAllowed, ReasonCode } from './reason-code.ts';
import { Writer } from './writer.ts';

export interface AuthPacket {
  reasonCode: number;
  /** Null only in the two-byte form of a success. */
  authenticationMethod: string | null;
  authenticationData: Buffer | null;
  reasonString: string | null;
  userProperties: readonly UserProperty[];
}

/** What an encoder takes: everything but the reason may be left out. */
export type AuthInput = Pick<AuthPacket, 'reasonCode'> & Partial<AuthPacket>;

/** Reads the body of an AUTH that `sender` sent. */
export function decodeAuth(
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
  sender: Sender = 'client',
): AuthPacket {
  const packet: AuthPacket = {
    reasonCode: ReasonCode.SUCCESS,
    authenticationMethod: null,
    authenticationData: null,
    reasonString: null,
    userProperties: NO_USER_PROPERTIES,
  };
  const reader = new Reader(buf, start, end);
  const isShort = start === end;
  if (!isShort) packet.reasonCode = reader.u8();
  // [MQTT5-3.15.2-1]
  if (!isReasonCodeAllowed(PacketType.AUTH, packet.reasonCode, sender)) {
    throw protocolViolation('reason code is not one this side may send in AUTH');
  }
  if (isShort) return packet;
  const values = decodeProperties(reader, PacketType.AUTH, limits);
  reader.expectEnd();
  if (values.authenticationMethod === null) {
    throw protocolViolation('AUTH without authentication method');
  }
  packet.authenticationMethod = values.authenticationMethod;
  packet.authenticationData = values.authenticationData;
  packet.reasonString = values.reasonString;
  packet.userProperties = values.userProperties;
  return packet;
}

/** The whole packet. */
export function encodeAuth(packet: AuthInput): Buffer {
  const writer = new Writer();
  const isShort =
    packet.reasonCode === ReasonCode.SUCCESS && (packet.authenticationMethod ?? null) === null;
  if (!isShort) {
    writer.u8(packet.reasonCode);
    encodeProperties(writer, PacketType.AUTH, packet);
  }
  return writer.finish(PacketType.AUTH << 4);
}
