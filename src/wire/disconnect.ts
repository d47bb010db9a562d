/**
 * DISCONNECT: from a client in every version, from the broker in version 5 only.
 */
import type { Buffer } from 'node:buffer';
import type { DecodeLimits } from './decode-limits.ts';
import { DECODE_LIMITS_DEFAULT } from './decode-limits.ts';
import { PacketType } from './packet-type.ts';
import type { UserProperty } from './properties.ts';
import { decodeProperties, encodeProperties, NO_USER_PROPERTIES } from './properties.ts';
import { malformedPacket, protocolViolation } from './protocol-error.ts';
import type { ProtocolVersion } from './protocol-version.ts';
import { Reader } from './reader.ts';
import type { Sender } from './reason-code.ts';
import { isReasonCodeAllowed, ReasonCode } from './reason-code.ts';
import { Writer } from './writer.ts';

export interface DisconnectPacket {
  reasonCode: number;
  /** -1 when the client leaves it as it was. */
  sessionExpiryIntervalS: number;
  reasonString: string | null;
  userProperties: readonly UserProperty[];
  serverReference: string | null;
}

/** What an encoder takes: everything but the reason may be left out. */
export type DisconnectInput = Pick<DisconnectPacket, 'reasonCode'> & Partial<DisconnectPacket>;

/** Reads the body of a DISCONNECT that `sender` sent. */
export function decodeDisconnect(
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
  sender: Sender = 'client',
): DisconnectPacket {
  const packet: DisconnectPacket = {
    reasonCode: ReasonCode.NORMAL_DISCONNECTION,
    sessionExpiryIntervalS: -1,
    reasonString: null,
    userProperties: NO_USER_PROPERTIES,
    serverReference: null,
  };
  if (start === end) return packet;
  if (version !== 5) throw malformedPacket('DISCONNECT with a body');
  const reader = new Reader(buf, start, end);
  packet.reasonCode = reader.u8();
  if (!isReasonCodeAllowed(PacketType.DISCONNECT, packet.reasonCode, sender)) {
    throw protocolViolation('reason code is not one this side may send in DISCONNECT');
  }
  if (reader.remaining === 0) return packet;
  const values = decodeProperties(reader, PacketType.DISCONNECT, limits);
  reader.expectEnd();
  // [MQTT5-3.14.2-2]
  if (sender === 'server' && values.sessionExpiryIntervalS !== -1) {
    throw protocolViolation('session expiry interval in a DISCONNECT of a server');
  }
  packet.sessionExpiryIntervalS = values.sessionExpiryIntervalS;
  packet.reasonString = values.reasonString;
  packet.userProperties = values.userProperties;
  packet.serverReference = values.serverReference;
  return packet;
}

/** The whole packet in its shortest form; for MQTT 3.x always two bytes. */
export function encodeDisconnect(version: ProtocolVersion, packet: DisconnectInput): Buffer {
  const writer = new Writer();
  if (version === 5) {
    const hasProperties =
      (packet.sessionExpiryIntervalS ?? -1) !== -1 ||
      (packet.reasonString ?? null) !== null ||
      (packet.serverReference ?? null) !== null ||
      (packet.userProperties ?? NO_USER_PROPERTIES).length > 0;
    if (packet.reasonCode !== ReasonCode.NORMAL_DISCONNECTION || hasProperties) {
      writer.u8(packet.reasonCode);
    }
    if (hasProperties) encodeProperties(writer, PacketType.DISCONNECT, packet);
  }
  return writer.finish(PacketType.DISCONNECT << 4);
}
