/**
 * IP addresses as text: one spelling for one address, and CIDR networks as numbers. Used by listeners
 * and whoever compares or lists addresses. It knows no socket and resolves no names.
 */

export interface IpNetwork {
  readonly family: 4 | 6;
  /** 4 or 16 bytes, host bits cleared. */
  readonly bytes: Uint8Array;
  readonly prefixBits: number;
}

const MAPPED_PREFIX_BYTES = 12;

/** Four decimal numbers without leading zeros, or null. */
function parseIpv4(text: string): Uint8Array | null {
  const parts = text.split('.');
  if (parts.length !== 4) return null;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i += 1) {
    const part = parts[i]!;
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return null;
    bytes[i] = Number(part);
  }
  return bytes;
}

/** The 16-bit groups of one side of `::`; the last one may be an IPv4 address. Null: malformed. */
function parseGroups(text: string, mayEndInIpv4: boolean): number[] | null {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (let i = 0; i < parts.length; i += 1) {
    const part = parts[i]!;
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const ipv4 = mayEndInIpv4 && i === parts.length - 1 ? parseIpv4(part) : null;
    if (ipv4 === null) return null;
    groups.push((ipv4[0]! << 8) | ipv4[1]!, (ipv4[2]! << 8) | ipv4[3]!);
  }
  return groups;
}

/** RFC 4291 text, without a zone; or null. */
function parseIpv6(text: string): Uint8Array | null {
  const gap = text.indexOf('::');
  let groups: number[];
  if (gap === -1) {
    const all = parseGroups(text, true);
    if (all === null || all.length !== 8) return null;
    groups = all;
  } else {
    const head = parseGroups(text.slice(0, gap), false);
    const tail = parseGroups(text.slice(gap + 2), true);
    if (head === null || tail === null || head.length + tail.length > 7) return null;
    const zeros = new Array<number>(8 - head.length - tail.length).fill(0);
    groups = [...head, ...zeros, ...tail];
  }
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 8; i += 1) {
    bytes[2 * i] = groups[i]! >>> 8;
    bytes[2 * i + 1] = groups[i]! & 0xff;
  }
  return bytes;
}

function isMappedIpv4(bytes: Uint8Array): boolean {
  if (bytes.length !== 16 || bytes[10] !== 0xff || bytes[11] !== 0xff) return false;
  for (let i = 0; i < 10; i += 1) if (bytes[i] !== 0) return false;
  return true;
}

/** The 4 bytes of an IPv4-mapped address (`::ffff:192.0.2.1`); any other as it is. */
export function unmapIpAddress(bytes: Uint8Array): Uint8Array {
  return isMappedIpv4(bytes) ? bytes.subarray(MAPPED_PREFIX_BYTES) : bytes;
}

/** 4 or 16 bytes of an address, an IPv4-mapped one as its 4; null: not an address. */
export function parseIpAddress(text: string): Uint8Array | null {
  const bytes = text.includes(':') ? parseIpv6(text) : parseIpv4(text);
  return bytes === null ? null : unmapIpAddress(bytes);
}

/** The text of 4 or 16 address bytes; IPv6 as RFC 5952 writes it. */
export function formatIpAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! << 8) | bytes[i + 1]!);
  // The longest run of zero groups, the first of equals, becomes `::`; a single zero does not.
  let runStart = -1;
  let runLength = 1;
  for (let i = 0; i < 8; i += 1) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0) length += 1;
    if (length > runLength) {
      runStart = i;
      runLength = length;
    }
    if (length > 0) i += length - 1;
  }
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  if (runStart === -1) return hex(0, 8);
  return `${hex(0, runStart)}::${hex(runStart + runLength, 8)}`;
}

/** `::ffff:192.0.2.1`, as a socket that serves both families says it, becomes `192.0.2.1`. */
export function normalizeIpAddress(text: string): string {
  if (!text.startsWith('::ffff:') || !text.includes('.')) return text;
  const bytes = parseIpAddress(text);
  return bytes === null ? text : formatIpAddress(bytes);
}

export function isLoopbackAddress(bytes: Uint8Array): boolean {
  if (bytes.length === 4) return bytes[0] === 127;
  for (let i = 0; i < 15; i += 1) if (bytes[i] !== 0) return false;
  return bytes[15] === 1;
}

/** `192.0.2.0/24`, `2001:db8::/32` or one address; null: malformed, or host bits are set. */
export function parseIpNetwork(text: string): IpNetwork | null {
  const slash = text.indexOf('/');
  const bytes = parseIpAddress(slash === -1 ? text : text.slice(0, slash));
  if (bytes === null) return null;
  const bitsMax = bytes.length * 8;
  const family = bytes.length === 4 ? 4 : 6;
  if (slash === -1) return { family, bytes, prefixBits: bitsMax };
  const prefix = text.slice(slash + 1);
  if (!/^(?:0|[1-9]\d{0,2})$/.test(prefix)) return null;
  // `::ffff:192.0.2.0/120` counts from the start of the mapped form; its meaning is easy to get wrong.
  if (text.includes(':') && bytes.length === 4) return null;
  const prefixBits = Number(prefix);
  if (prefixBits > bitsMax) return null;
  for (let bit = prefixBits; bit < bitsMax; bit += 1) {
    if ((bytes[bit >> 3]! & (0x80 >> (bit & 7))) !== 0) return null;
  }
  return { family, bytes, prefixBits };
}

/** Whether the network holds the address (bytes as `parseIpAddress` gives them). */
export function containsAddress(network: IpNetwork, address: Uint8Array): boolean {
  if (address.length !== network.bytes.length) return false;
  const whole = network.prefixBits >> 3;
  for (let i = 0; i < whole; i += 1) if (address[i] !== network.bytes[i]) return false;
  const rest = network.prefixBits & 7;
  if (rest === 0) return true;
  const mask = (0xff << (8 - rest)) & 0xff;
  return (address[whole]! & mask) === (network.bytes[whole]! & mask);
}
