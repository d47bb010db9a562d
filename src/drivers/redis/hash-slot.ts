/**
 * Which of a Redis Cluster's 16384 slots a key belongs to: CRC-16/XMODEM of its hash tag, or of the
 * whole key where it has none. Pure.
 */

export const SLOTS = 16_384;

const OPEN = 0x7b;
const CLOSE = 0x7d;

const TABLE: Uint16Array = new Uint16Array(256);
for (let byte = 0; byte < 256; byte += 1) {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  TABLE[byte] = crc & 0xffff;
}

/** The slot of a key, by what is between its first `{` and the next `}` unless that is empty. */
export function slotOfKey(key: string): number {
  for (let open = 0; open < key.length; open += 1) {
    if (key.charCodeAt(open) !== OPEN) continue;
    const close = key.indexOf('}', open + 1);
    if (close > open + 1) return slotOf(key, open + 1, close);
    break;
  }
  return slotOf(key, 0, key.length);
}

/** The slot of a hash tag, which is given without its braces. */
export function slotOfTag(tag: string): number {
  // A tag that holds a brace would not come back out of a key in one piece.
  return tag === '' || tag.charCodeAt(0) === CLOSE
    ? slotOfKey(`{${tag}}`)
    : slotOf(tag, 0, tag.length);
}

function slotOf(text: string, start: number, end: number): number {
  let crc = 0;
  for (let at = start; at < end; at += 1) {
    const code = text.charCodeAt(at);
    if (code > 0x7f) return slotOfBytes(Buffer.from(text.slice(start, end)));
    crc = ((crc << 8) & 0xffff) ^ TABLE[(crc >>> 8) ^ code]!;
  }
  return crc & (SLOTS - 1);
}

function slotOfBytes(bytes: Buffer): number {
  let crc = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    crc = ((crc << 8) & 0xffff) ^ TABLE[(crc >>> 8) ^ bytes[at]!]!;
  }
  return crc & (SLOTS - 1);
}
