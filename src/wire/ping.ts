/**
 * PINGREQ and PINGRESP: two bytes each, the same in every version. Never write into the constants.
 */
import { Buffer } from 'node:buffer';
import { PacketType } from './packet-type.ts';
import { malformedPacket } from './protocol-error.ts';

export const PINGREQ: Buffer = Buffer.from([PacketType.PINGREQ << 4, 0]);
export const PINGRESP: Buffer = Buffer.from([PacketType.PINGRESP << 4, 0]);

/** Throws 0x81 when a PINGREQ or PINGRESP has a body. */
export function decodePing(start: number, end: number): void {
  if (start !== end) throw malformedPacket('ping with a body');
}
