/**
 * The fifteen MQTT control packet types: the high nibble of a packet's first byte.
 * Used by every codec in this folder and by the connection's dispatch.
 */

/** Control packet types, MQTT 5 §2.1.2 (AUTH exists in version 5 only). */
export const PacketType = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15,
} as const;

export type PacketType = (typeof PacketType)[keyof typeof PacketType];

/** The four packet types that acknowledge a PUBLISH, one layout for all. */
export type AckType =
  | typeof PacketType.PUBACK
  | typeof PacketType.PUBREC
  | typeof PacketType.PUBREL
  | typeof PacketType.PUBCOMP;

const NAMES: readonly string[] = ['RESERVED', ...Object.keys(PacketType)];

/** Name for logs and error messages; type 0 is RESERVED. */
export function packetTypeName(type: number): string {
  return NAMES[type] ?? 'UNKNOWN';
}
