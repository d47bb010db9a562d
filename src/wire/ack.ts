/**
 * PUBACK, PUBREC, PUBREL and PUBCOMP: one layout, four meanings. One of them follows every QoS 1
 * message and three every QoS 2 message, so the common two-byte body is read into a view the
 * caller reuses and written straight into the outbox; only reasons and properties allocate.
 */
import type { Buffer } from 'node:buffer';
import { readU16, writeU16 } from '../util/bytes.ts';
import type { DecodeLimits } from './decode-limits.ts';
import { DECODE_LIMITS_DEFAULT } from './decode-limits.ts';
import { PacketType } from './packet-type.ts';
import type { UserProperty } from './properties.ts';
import { decodeProperties, encodeProperties, NO_USER_PROPERTIES } from './properties.ts';
import { malformedPacket, protocolViolation } from './protocol-error.ts';
import type { ProtocolVersion } from './protocol-version.ts';
import { Reader } from './reader.ts';
import { isAckReasonCodeAllowed, ReasonCode } from './reason-code.ts';
import { Writer } from './writer.ts';

/** The acknowledgement decoded last; overwritten by the next `decodeAck` into it. */
export class AckView {
  packetId = 0;
  reasonCode = 0;
  reasonString: string | null = null;
  userProperties: readonly UserProperty[] = NO_USER_PROPERTIES;
}

/** Bytes of the success form, and the most `writeAckReason` writes. */
export const ACK_BYTES = 4;
export const ACK_REASON_BYTES = 5;

/** Reads the body of an acknowledgement of packet type `type` into `view`. */
export function decodeAck(
  view: AckView,
  type: number,
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
): void {
  const byteCount = end - start;
  if (byteCount < 2) throw malformedPacket('packet is cut off');
  const packetId = readU16(buf, start);
  // [MQTT5-2.2.1-3]
  if (packetId === 0) throw malformedPacket('packet identifier is 0');
  view.packetId = packetId;
  view.reasonCode = ReasonCode.SUCCESS;
  view.reasonString = null;
  view.userProperties = NO_USER_PROPERTIES;
  if (byteCount === 2) return;
  if (version !== 5) throw malformedPacket('bytes after the end of the packet');

  const reasonCode = buf[start + 2]!;
  if (!isAckReasonCodeAllowed(type, reasonCode)) {
    throw protocolViolation('reason code is not one of this packet type');
  }
  view.reasonCode = reasonCode;
  if (byteCount === 3) return;
  const reader = new Reader(buf, start + 3, end);
  const values = decodeProperties(reader, type, limits);
  reader.expectEnd();
  view.reasonString = values.reasonString;
  view.userProperties = values.userProperties;
}

/** A whole acknowledgement in a buffer of its own, with whatever version 5 can add. */
export function encodeAck(
  version: ProtocolVersion,
  type: number,
  packetId: number,
  reasonCode: number,
  reasonString: string | null = null,
  userProperties: readonly UserProperty[] = NO_USER_PROPERTIES,
): Buffer {
  const writer = new Writer();
  writer.u16(packetId);
  if (version === 5) {
    const hasProperties = reasonString !== null || userProperties.length > 0;
    if (reasonCode !== ReasonCode.SUCCESS || hasProperties) writer.u8(reasonCode);
    if (hasProperties) encodeProperties(writer, type, { reasonString, userProperties });
  }
  return writer.finish(ackFirstByte(type));
}

/** Writes the four bytes of a success and returns the position after them. */
export function writeAck(out: Buffer, pos: number, type: number, packetId: number): number {
  out[pos] = ackFirstByte(type);
  out[pos + 1] = 2;
  return writeU16(out, pos + 2, packetId);
}

/**
 * Writes an acknowledgement with a reason and returns the position after it: five bytes in
 * version 5, the four bytes of a success for MQTT 3.x, which knows no reasons, and for 0x00.
 */
export function writeAckReason(
  out: Buffer,
  pos: number,
  version: ProtocolVersion,
  type: number,
  packetId: number,
  reasonCode: number,
): number {
  const after = writeAck(out, pos, type, packetId);
  if (version !== 5 || reasonCode === ReasonCode.SUCCESS) return after;
  out[pos + 1] = 3;
  out[after] = reasonCode;
  return after + 1;
}

/** PUBREL has reserved flags 0010, the others 0000. [MQTT5-3.6.1-1] */
function ackFirstByte(type: number): number {
  return type === PacketType.PUBREL ? (PacketType.PUBREL << 4) | 0x02 : type << 4;
}
