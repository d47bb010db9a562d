/**
 * UNSUBSCRIBE. As with SUBSCRIBE, the shape of each filter is the broker's to judge.
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
import { ReasonCode } from './reason-code.ts';
import { Writer } from './writer.ts';

export interface UnsubscribePacket {
  packetId: number;
  userProperties: readonly UserProperty[];
  filters: string[];
}

/** Reads the body of an UNSUBSCRIBE. Throws 0x97 beyond `limits.filtersMax`. */
export function decodeUnsubscribe(
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
): UnsubscribePacket {
  const reader = new Reader(buf, start, end);
  const packetId = reader.u16();
  if (packetId === 0) throw malformedPacket('packet identifier is 0');
  let userProperties = NO_USER_PROPERTIES;
  if (version === 5) {
    userProperties = decodeProperties(reader, PacketType.UNSUBSCRIBE, limits).userProperties;
  }
  // [MQTT5-3.10.3-2] [MQTT311-3.10.3-2]
  if (reader.remaining === 0) throw protocolViolation('UNSUBSCRIBE without topic filters');
  const filters: string[] = [];
  while (reader.remaining > 0) {
    if (filters.length >= limits.filtersMax) {
      throw new ProtocolError(ReasonCode.QUOTA_EXCEEDED, 'too many topic filters');
    }
    filters.push(reader.string());
  }
  return { packetId, userProperties, filters };
}

/** The whole packet, as a client sends it. */
export function encodeUnsubscribe(version: ProtocolVersion, packet: UnsubscribePacket): Buffer {
  const writer = new Writer();
  writer.u16(packet.packetId);
  if (version === 5) {
    encodeProperties(writer, PacketType.UNSUBSCRIBE, { userProperties: packet.userProperties });
  }
  for (const filter of packet.filters) writer.string(filter);
  // [MQTT5-3.10.1-1]
  return writer.finish((PacketType.UNSUBSCRIBE << 4) | 0x02);
}
