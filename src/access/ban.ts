/**
 * One ban: who is kept out, why, by whom and until when. Values are brought into one spelling here, so
 * that the table (`bans.ts`), its file and the operator mean the same thing. Knows no table and no file.
 */
import { formatIpAddress, parseIpAddress, parseIpNetwork } from '../util/ip-address.ts';

/** `address` holds one address or a network in CIDR form. */
export type BanKind = 'client' | 'user' | 'address' | 'certificate';

export const banKinds: readonly BanKind[] = ['client', 'user', 'address', 'certificate'];

/** Who made it: an operator, or what the broker noticed by itself. */
export type BanOrigin = 'operator' | 'flapping' | 'login';

export const banOrigins: readonly BanOrigin[] = ['operator', 'flapping', 'login'];

export interface BanTarget {
  readonly kind: BanKind;
  readonly value: string;
  /**
   * Absent: whoever it is. Else the ban holds only together with this user name (null: only for a
   * client without a name): what one user does to a client identifier or an address must not keep
   * another out.
   */
  readonly user?: string | null;
}

export interface Ban extends BanTarget {
  readonly id: string;
  readonly origin: BanOrigin;
  /** For people. */
  readonly reason: string;
  /** Name of the operator's token; '' when the broker did it. */
  readonly by: string;
  /** Wall-clock ms. */
  readonly createdAtMs: number;
  /** Wall-clock ms; 0: never. */
  readonly expiresAtMs: number;
  /** How often its length was doubled; 0 for operators. */
  readonly step: number;
  /** Refusals since the start; not stored. */
  hits: number;
}

/** The operator asked for something that cannot be; the message says what. */
export class BanError extends Error {
  readonly code: 'invalid' | 'full';

  constructor(code: 'invalid' | 'full', message: string) {
    super(message);
    this.name = 'BanError';
    this.code = code;
  }
}

/** Longest value and reason; a client identifier fits [MQTT5-1.5.4]. */
export const BAN_VALUE_CHARACTERS_MAX = 65_535;
export const BAN_REASON_CHARACTERS_MAX = 1_000;

/** The one spelling of a value, or null: it is none of this kind. */
export function canonicalBanValue(kind: BanKind, value: string): string | null {
  if (value === '' || value.length > BAN_VALUE_CHARACTERS_MAX) return null;
  if (kind === 'address') return canonicalNetwork(value);
  if (kind === 'certificate') return canonicalFingerprint(value);
  return value;
}

/** `2001:DB8::1` and `::ffff:192.0.2.1` as the listeners spell them; a network with its prefix. */
function canonicalNetwork(text: string): string | null {
  const network = parseIpNetwork(text);
  if (network === null) return null;
  const address = formatIpAddress(network.bytes);
  return network.prefixBits === network.bytes.length * 8
    ? address
    : `${address}/${network.prefixBits}`;
}

/** SHA-256 fingerprint as 64 lower-case hex digits; colons between bytes are taken. Null: it is none. */
export function canonicalFingerprint(text: string): string | null {
  const digits = text.replaceAll(':', '').toLowerCase();
  return /^[0-9a-f]{64}$/.test(digits) ? digits : null;
}

/** Bytes of a client's address without its zone (`fe80::1%eth0`); null: it has none (Unix socket). */
export function clientAddressBytes(address: string): Uint8Array | null {
  if (address === '') return null;
  const zone = address.indexOf('%');
  return parseIpAddress(zone === -1 ? address : address.slice(0, zone));
}

/** Under which the table keeps a target: no two targets share it, whatever characters they hold. */
export function banKey({ kind, value, user }: BanTarget): string {
  const head = `${kind}:${value.length}`;
  if (user === undefined) return `${head}=${value}`;
  return user === null ? `${head}-${value}` : `${head}+${value}${user}`;
}
