/**
 * Data plane: the PROXY protocol header, versions 1 and 2, as a load balancer writes it before the
 * client's bytes (HAProxy's proxy-protocol.txt). A pure function of bytes: called
 * with all bytes so far, again when more have come. Strict, because what it reads is taken for the
 * client's address. Whether the sender may be believed is decided by its caller.
 */
import { formatIpAddress, parseIpAddress, unmapIpAddress } from '../util/ip-address.ts';

/** Longest header that is taken, TLVs of version 2 included: a certificate may be among them. */
export const PROXY_HEADER_BYTES_MAX = 4096;

export interface ProxyHeader {
  readonly kind: 'header';
  /** Length of the header; the client's bytes begin here. */
  readonly bytes: number;
  /**
   * The client's address ('' and 0 for a Unix client); null: the proxy speaks for itself (LOCAL) or
   * does not know (UNKNOWN), and the socket's own address holds.
   */
  readonly source: { readonly address: string; readonly port: number } | null;
}

export type ProxyResult =
  | ProxyHeader
  | { readonly kind: 'more' }
  | { readonly kind: 'malformed'; readonly reason: string };

const V1_BYTES_MAX = 107;
const V1_PREFIX = Buffer.from('PROXY ', 'latin1');
const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_FIXED_BYTES = 16;

const CR = 0x0d;
const LF = 0x0a;

const COMMAND_LOCAL = 0x20;
const COMMAND_PROXY = 0x21;
const FAMILY_UNSPEC = 0x00;
const FAMILY_TCP4 = 0x11;
const FAMILY_TCP6 = 0x21;
const FAMILY_UNIX_STREAM = 0x31;
const TLV_CRC32C = 0x03;

const MORE: ProxyResult = { kind: 'more' };

function malformed(reason: string): ProxyResult {
  return { kind: 'malformed', reason };
}

/** How many of the first bytes equal the mark's, up to its length. */
function matchLength(buffer: Buffer, start: number, end: number, mark: Buffer): number {
  const length = Math.min(end - start, mark.length);
  let i = 0;
  while (i < length && buffer[start + i] === mark[i]) i += 1;
  return i;
}

/** Reads the header at the start of buffer[start, end). */
export function parseProxyHeader(buffer: Buffer, start: number, end: number): ProxyResult {
  const length = end - start;
  if (length === 0) return MORE;
  const v2 = matchLength(buffer, start, end, V2_SIGNATURE);
  if (v2 === V2_SIGNATURE.length) return parseV2(buffer, start, end);
  if (v2 === length) return MORE;
  const v1 = matchLength(buffer, start, end, V1_PREFIX);
  if (v1 === V1_PREFIX.length) return parseV1(buffer, start, end);
  if (v1 === length) return MORE;
  return malformed('no PROXY header');
}

function parseV1(buffer: Buffer, start: number, end: number): ProxyResult {
  const limit = Math.min(end, start + V1_BYTES_MAX);
  let at = start + V1_PREFIX.length;
  while (at < limit && buffer[at] !== CR && buffer[at] !== LF) at += 1;
  if (at === limit) {
    return limit - start === V1_BYTES_MAX ? malformed('line longer than 107 bytes') : MORE;
  }
  if (buffer[at] === LF) return malformed('line feed without carriage return');
  if (at + 1 === start + V1_BYTES_MAX) return malformed('line longer than 107 bytes');
  if (at + 1 === end) return MORE;
  if (buffer[at + 1] !== LF) return malformed('carriage return without line feed');
  const bytes = at + 2 - start;
  const fields = buffer.latin1Slice(start + V1_PREFIX.length, at).split(' ');
  if (fields[0] === 'UNKNOWN') return { kind: 'header', bytes, source: null };
  if (fields[0] !== 'TCP4' && fields[0] !== 'TCP6') return malformed('unknown protocol');
  if (fields.length !== 5) return malformed('not four fields after the protocol');
  const isV6 = fields[0] === 'TCP6';
  const source = readV1Address(fields[1]!, isV6);
  const sourcePort = readV1Port(fields[3]!);
  if (source === null || readV1Address(fields[2]!, isV6) === null) return malformed('bad address');
  if (sourcePort === null || readV1Port(fields[4]!) === null) return malformed('bad port');
  return { kind: 'header', bytes, source: { address: source, port: sourcePort } };
}

function readV1Address(text: string, isV6: boolean): string | null {
  if (text.includes(':') !== isV6) return null;
  const bytes = parseIpAddress(text);
  return bytes === null ? null : formatIpAddress(bytes);
}

function readV1Port(text: string): number | null {
  if (!/^(?:0|[1-9]\d{0,4})$/.test(text)) return null;
  const port = Number(text);
  return port > 0xffff ? null : port;
}

function parseV2(buffer: Buffer, start: number, end: number): ProxyResult {
  if (end - start < V2_FIXED_BYTES) {
    // Known early, so that a stranger is not waited for.
    const command = buffer[start + 12];
    if (end - start > 12 && command !== COMMAND_LOCAL && command !== COMMAND_PROXY) {
      return malformed('unknown version or command');
    }
    return MORE;
  }
  const command = buffer[start + 12]!;
  const family = buffer[start + 13]!;
  if (command !== COMMAND_LOCAL && command !== COMMAND_PROXY) {
    return malformed('unknown version or command');
  }
  const bytes = V2_FIXED_BYTES + ((buffer[start + 14]! << 8) | buffer[start + 15]!);
  if (bytes > PROXY_HEADER_BYTES_MAX) return malformed('header longer than 4096 bytes');
  const addressBytes = addressBytesOf(family);
  // LOCAL says nothing about the client; its family and block are to be ignored.
  const isLocal = command === COMMAND_LOCAL;
  if (addressBytes === -1 && !isLocal) return malformed('unknown protocol');
  if (!isLocal && bytes < V2_FIXED_BYTES + addressBytes)
    return malformed('address block too short');
  if (end - start < bytes) return MORE;
  if (isLocal) return { kind: 'header', bytes, source: null };

  const block = start + V2_FIXED_BYTES;
  // Where the addresses are of no known kind, what follows cannot be told from TLVs.
  if (family !== FAMILY_UNSPEC) {
    const problem = checkTlvs(buffer, start, block + addressBytes, start + bytes);
    if (problem !== null) return malformed(problem);
  }
  return { kind: 'header', bytes, source: readV2Source(buffer, block, family) };
}

function addressBytesOf(family: number): number {
  switch (family) {
    case FAMILY_UNSPEC:
      return 0;
    case FAMILY_TCP4:
      return 12;
    case FAMILY_TCP6:
      return 36;
    case FAMILY_UNIX_STREAM:
      return 216;
    default:
      // Datagrams do not arrive on a stream.
      return -1;
  }
}

function readV2Source(buffer: Buffer, block: number, family: number): ProxyHeader['source'] {
  switch (family) {
    case FAMILY_TCP4:
      return {
        address: formatIpAddress(buffer.subarray(block, block + 4)),
        port: buffer.readUInt16BE(block + 8),
      };
    case FAMILY_TCP6:
      return {
        address: formatIpAddress(unmapIpAddress(buffer.subarray(block, block + 16))),
        port: buffer.readUInt16BE(block + 32),
      };
    case FAMILY_UNIX_STREAM:
      return { address: '', port: 0 };
    default:
      return null;
  }
}

/** The type-length-values must fill the header exactly; a checksum among them must be right. */
function checkTlvs(buffer: Buffer, start: number, from: number, end: number): string | null {
  let at = from;
  while (at < end) {
    if (end - at < 3) return 'TLV cut off';
    const length = (buffer[at + 1]! << 8) | buffer[at + 2]!;
    const value = at + 3;
    if (length > end - value) return 'TLV longer than the header';
    if (buffer[at] === TLV_CRC32C) {
      if (length !== 4) return 'checksum of wrong length';
      if (buffer.readUInt32BE(value) !== crc32c(buffer, start, end, value)) return 'wrong checksum';
    }
    at = value + length;
  }
  return null;
}

const CRC32C_POLYNOMIAL = 0x82f63b78;

/** CRC-32C of buffer[start, end) with the four bytes at `hole` taken as zero. */
function crc32c(buffer: Buffer, start: number, end: number, hole: number): number {
  let crc = 0xffffffff;
  for (let i = start; i < end; i += 1) {
    crc ^= i >= hole && i < hole + 4 ? 0 : buffer[i]!;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ CRC32C_POLYNOMIAL;
    }
  }
  return (crc ^ 0xffffffff) >>> 0;
}
