/**
 * Finds packet borders in a stream of bytes: the fixed header of MQTT 5 §2.1. Called once per
 * packet on the hottest path there is, so it allocates nothing and keeps no state. It refuses a
 * packet that is too large from its header alone, before a byte of the body is waited for.
 */
import type { Buffer } from 'node:buffer';
import { PacketType } from './packet-type.ts';
import { malformedPacket, ProtocolError } from './protocol-error.ts';
import type { ProtocolVersion } from './protocol-version.ts';
import { ReasonCode } from './reason-code.ts';

/** Longest fixed header: one type byte and a length of four bytes. */
export const FIXED_HEADER_BYTES_MAX = 5;

/**
 * Index after the packet that starts at `start`, which is beyond `end` when its body has not all
 * arrived; -1 when not even the fixed header has. Throws 0x81 for a length of more than four bytes,
 * 0x95 when the whole packet, fixed header included, is larger than `packetBytesMax`.
 */
export function packetEnd(buf: Buffer, start: number, end: number, packetBytesMax: number): number {
  if (end - start < 2) return -1;
  const byte = buf[start + 1]!;
  let after = start + 2 + byte;
  if (byte >= 0x80) {
    after = longPacketEnd(buf, start, end);
    if (after === -1) return -1;
  }
  if (after - start > packetBytesMax) {
    throw new ProtocolError(ReasonCode.PACKET_TOO_LARGE, 'packet is larger than allowed');
  }
  return after;
}

function longPacketEnd(buf: Buffer, start: number, end: number): number {
  let length = buf[start + 1]! & 0x7f;
  let pos = start + 2;
  for (let shift = 7; shift <= 21; shift += 7) {
    if (pos >= end) return -1;
    const byte = buf[pos++]!;
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) return pos + length;
  }
  throw malformedPacket('remaining length is longer than four bytes');
}

/** Index of the variable header of a packet whose fixed header is complete. */
export function bodyStart(buf: Buffer, start: number): number {
  let pos = start + 1;
  while (buf[pos]! >= 0x80) pos++;
  return pos + 1;
}

/**
 * Throws 0x81 when the remaining length of a complete fixed header is padded with zero groups.
 * MQTT 5 demands the shortest form [MQTT5-1.5.5-1]; MQTT 3.1 and 3.1.1 say nothing, and some small
 * devices pad, so the caller asks for this only once it knows that the client speaks version 5.
 */
export function checkShortestLength(buf: Buffer, start: number): void {
  const last = bodyStart(buf, start) - 1;
  if (buf[last] === 0 && last > start + 1) {
    throw malformedPacket('remaining length is not in its shortest form');
  }
}

/** 1: valid first byte in every version; 2: valid in MQTT 3.1 only, which has DUP on resends. */
const FIRST_BYTES = new Uint8Array(256);

for (let type: number = PacketType.CONNECT; type <= PacketType.AUTH; type++) {
  switch (type) {
    case PacketType.PUBLISH:
      FIRST_BYTES.fill(1, type << 4, (type << 4) + 16);
      break;
    case PacketType.PUBREL:
    case PacketType.SUBSCRIBE:
    case PacketType.UNSUBSCRIBE:
      FIRST_BYTES[(type << 4) | 0x02] = 1;
      FIRST_BYTES[(type << 4) | 0x0a] = 2;
      break;
    default:
      FIRST_BYTES[type << 4] = 1;
  }
}

/**
 * Throws 0x81 for packet type 0 and for reserved header flags. [MQTT5-2.1.3-1]
 * The flags of PUBLISH carry meaning and are checked where it is decoded.
 */
export function checkFixedHeaderFlags(firstByte: number, version: ProtocolVersion = 5): void {
  const kind = FIRST_BYTES[firstByte];
  if (kind === 1 || (kind === 2 && version === 3)) return;
  throw malformedPacket(
    firstByte < 16 ? 'packet type 0 is reserved' : 'reserved fixed header flags are wrong',
  );
}
