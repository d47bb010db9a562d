/**
 * The few pieces of DER (X.690) that a certificate is made of. Pure; writes only, reads nothing. Used
 * by `certificate.ts`.
 */

const SEQUENCE = 0x30;
const SET = 0x31;
/** 2050-01-01: from then on certificates have GeneralizedTime (RFC 5280 §4.1.2.5). */
const GENERALIZED_FROM_MS = Date.UTC(2050, 0, 1);

export function element(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  return Buffer.concat([Buffer.from([tag, ...lengthBytes(content.length)]), content]);
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}

export function sequence(...contents: readonly Uint8Array[]): Buffer {
  return element(SEQUENCE, ...contents);
}

export function set(...contents: readonly Uint8Array[]): Buffer {
  return element(SET, ...contents);
}

/** A positive number from its big-endian bytes. */
export function unsigned(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const digits = bytes.subarray(start);
  // The first bit is a sign.
  return (digits[0] ?? 0) >= 0x80 ? element(0x02, Buffer.of(0), digits) : element(0x02, digits);
}

export function boolean(value: boolean): Buffer {
  return element(0x01, Buffer.of(value ? 0xff : 0));
}

/** `1.2.840.10045.4.3.2` */
export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return element(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const bytes = [value & 0x7f];
  for (let rest = value >> 7; rest > 0; rest >>= 7) bytes.unshift(0x80 | (rest & 0x7f));
  return bytes;
}

export function utf8String(text: string): Buffer {
  return element(0x0c, Buffer.from(text));
}

export function octetString(content: Uint8Array): Buffer {
  return element(0x04, content);
}

export function bitString(content: Uint8Array, unusedBits: number = 0): Buffer {
  return element(0x03, Buffer.of(unusedBits), content);
}

/** A wrapper of its own tag: `[number] EXPLICIT`. */
export function explicit(number: number, content: Uint8Array): Buffer {
  return element(0xa0 | number, content);
}

/** Bytes under a tag of their own: `[number] IMPLICIT`, not constructed. */
export function implicit(number: number, content: Uint8Array): Buffer {
  return element(0x80 | number, content);
}

export function time(wallMs: number): Buffer {
  const digits = new Date(wallMs).toISOString().replaceAll(/[-:T]|\.\d+/g, '');
  const isLate = wallMs >= GENERALIZED_FROM_MS;
  return element(isLate ? 0x18 : 0x17, Buffer.from(isLate ? digits : digits.slice(2)));
}
