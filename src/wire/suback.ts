/**
 * SUBACK: one reason code per filter of the SUBSCRIBE, in its order. [MQTT5-3.8.4-6]
 * MQTT 3.x has one failure code, 0x80, for all of version 5's.
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

export interface SubackPacket {
  packetId: number;
  reasonCodes: readonly number[];
  reasonString: string | null;
  userProperties: readonly UserProperty[];
}

/** The whole packet. Reason codes are version 5's whatever the client speaks. */
export function encodeSuback(
  version: ProtocolVersion,
  packetId: number,
  reasonCodes: readonly number[],
  reasonString: string | null = null,
  userProperties: readonly UserProperty[] = NO_USER_PROPERTIES,
): Buffer {
  const writer = new Writer();
  writer.u16(packetId);
  if (version === 5) encodeProperties(writer, PacketType.SUBACK, { reasonString, userProperties });
  for (const reasonCode of reasonCodes) {
    // [MQTT311-3.9.3-2]
    writer.u8(version === 5 || reasonCode < 0x80 ? reasonCode : ReasonCode.UNSPECIFIED_ERROR);
  }
  return writer.finish(PacketType.SUBACK << 4);
}

/** Reads the body of a SUBACK, for clients. */
export function decodeSuback(
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
): SubackPacket {
  const reader = new Reader(buf, start, end);
  const packetId = reader.u16();
  if (packetId === 0) throw malformedPacket('packet identifier is 0');
  let reasonString: string | null = null;
  let userProperties = NO_USER_PROPERTIES;
  if (version === 5) {
    const values = decodeProperties(reader, PacketType.SUBACK, limits);
    reasonString = values.reasonString;
    userProperties = values.userProperties;
  }
  if (reader.remaining === 0) throw protocolViolation('SUBACK without reason codes');
  const reasonCodes: number[] = [];
  while (reader.remaining > 0) {
    if (reasonCodes.length >= limits.filtersMax) {
      throw new ProtocolError(ReasonCode.QUOTA_EXCEEDED, 'too many reason codes');
    }
    const reasonCode = reader.u8();
    if (!isSubackCode(version, reasonCode)) {
      throw protocolViolation('reason code is not one of SUBACK');
    }
    reasonCodes.push(reasonCode);
  }
  return { packetId, reasonCodes, reasonString, userProperties };
}

function isSubackCode(version: ProtocolVersion, code: number): boolean {
  if (version === 5) return isReasonCodeAllowed(PacketType.SUBACK, code, 'server');
  return code <= ReasonCode.GRANTED_QOS_2 || code === ReasonCode.UNSPECIFIED_ERROR;
}
