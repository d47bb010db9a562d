/**
 * UNSUBACK: version 5 answers each filter with a reason code, MQTT 3.x sends the packet id alone.
 */
import type { Buffer } from 'node:buffer';
import type { DecodeLimits } from './decode-limits.ts';
import { DECODE_LIMITS_DEFAULT } from './decode-limits.ts';
import { PacketType } from './packet-type.ts';
import type { UserProperty } from './properties.ts';
import { decodeProperties, encodeProperties, NO_USER_PROPERTIES } from './properties.ts';
import { malformedPacket, ProtocolError, protocolViolation } from './protocol-error.ts';
import type { ProtocolVersion } from './protocol-version.ts';
import { Reader } from './reader.ts';
import { isReasonCodeAllowed, ReasonCode } from './reason-code.ts';
import { Writer } from './writer.ts';

export interface UnsubackPacket {
  packetId: number;
  /** Empty for MQTT 3.x. */
  reasonCodes: readonly number[];
  reasonString: string | null;
  userProperties: readonly UserProperty[];
}

/** The whole packet; for MQTT 3.x everything but the packet id is left out. */
export function encodeUnsuback(
  version: ProtocolVersion,
  packetId: number,
  reasonCodes: readonly number[],
  reasonString: string | null = null,
  userProperties: readonly UserProperty[] = NO_USER_PROPERTIES,
): Buffer {
  const writer = new Writer();
  writer.u16(packetId);
  if (version === 5) {
    encodeProperties(writer, PacketType.UNSUBACK, { reasonString, userProperties });
    for (const reasonCode of reasonCodes) writer.u8(reasonCode);
  }
  return writer.finish(PacketType.UNSUBACK << 4);
}

/** Reads the body of an UNSUBACK, for clients. */
export function decodeUnsuback(
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
): UnsubackPacket {
  const reader = new Reader(buf, start, end);
  const packetId = reader.u16();
  if (packetId === 0) throw malformedPacket('packet identifier is 0');
  if (version !== 5) {
    reader.expectEnd();
    return { packetId, reasonCodes: [], reasonString: null, userProperties: NO_USER_PROPERTIES };
  }
  const { reasonString, userProperties } = decodeProperties(reader, PacketType.UNSUBACK, limits);
  if (reader.remaining === 0) throw protocolViolation('UNSUBACK without reason codes');
  const reasonCodes: number[] = [];
  while (reader.remaining > 0) {
    if (reasonCodes.length >= limits.filtersMax) {
      throw new ProtocolError(ReasonCode.QUOTA_EXCEEDED, 'too many reason codes');
    }
    const reasonCode = reader.u8();
    if (!isReasonCodeAllowed(PacketType.UNSUBACK, reasonCode, 'server')) {
      throw protocolViolation('reason code is not one of UNSUBACK');
    }
    reasonCodes.push(reasonCode);
  }
  return { packetId, reasonCodes, reasonString, userProperties };
}
