/**
 * IP addresses to what is said of the smallest network that holds them. One look-up for each prefix
 * length that occurs, however many networks there are. Used by `steering.ts`; resolves no names.
 */
import type { IpNetwork } from '../../util/ip-address.ts';
import { parseIpAddress } from '../../util/ip-address.ts';

export class AddressTable<T> {
  /** By bytes of an address, then by prefix length, longest first. */
  readonly #families: Map<number, Map<number, Map<string, T>>> = new Map();

  constructor(entries: Iterable<readonly [IpNetwork, T]>) {
    const byPrefix = [...entries].sort(([a], [b]) => b.prefixBits - a.prefixBits);
    for (const [{ bytes, prefixBits }, value] of byPrefix) {
      const prefixes = this.#families.get(bytes.length) ?? new Map<number, Map<string, T>>();
      this.#families.set(bytes.length, prefixes);
      const networks = prefixes.get(prefixBits) ?? new Map<string, T>();
      prefixes.set(prefixBits, networks);
      networks.set(keyOf(bytes, prefixBits), value);
    }
  }

  /** Null: no network holds it, or it is no address. */
  find(address: string): T | null {
    const bytes = parseIpAddress(address);
    if (bytes === null) return null;
    for (const [prefixBits, networks] of this.#families.get(bytes.length) ?? []) {
      const found = networks.get(keyOf(bytes, prefixBits));
      if (found !== undefined) return found;
    }
    return null;
  }
}

/** The first bits as text. */
function keyOf(bytes: Uint8Array, prefixBits: number): string {
  const whole = prefixBits >> 3;
  let key = '';
  for (let i = 0; i < whole; i++) key += String.fromCharCode(bytes[i]!);
  const rest = prefixBits & 7;
  return rest === 0 ? key : key + String.fromCharCode(bytes[whole]! & (0xff << (8 - rest)) & 0xff);
}
