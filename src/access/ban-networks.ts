/**
 * Which of many networks hold an address? Kept by prefix length, so that the work per question is
 * bounded by the number of different lengths (at most 33 + 129), not by the number of networks.
 */
import type { IpNetwork } from '../util/ip-address.ts';

interface PrefixGroup<T> {
  readonly prefixBits: number;
  readonly items: Map<string, T>;
}

export class NetworkMap<T> {
  /** Longest prefix first. */
  readonly #ipv4: PrefixGroup<T>[] = [];
  readonly #ipv6: PrefixGroup<T>[] = [];

  set(network: IpNetwork, item: T): void {
    const groups = network.family === 4 ? this.#ipv4 : this.#ipv6;
    let group = groups.find(({ prefixBits }) => prefixBits === network.prefixBits);
    if (group === undefined) {
      group = { prefixBits: network.prefixBits, items: new Map() };
      groups.push(group);
      groups.sort((a, b) => b.prefixBits - a.prefixBits);
    }
    group.items.set(maskedKey(network.bytes, network.prefixBits), item);
  }

  delete(network: IpNetwork): void {
    const groups = network.family === 4 ? this.#ipv4 : this.#ipv6;
    const index = groups.findIndex(({ prefixBits }) => prefixBits === network.prefixBits);
    const group = groups[index];
    if (group === undefined) return;
    group.items.delete(maskedKey(network.bytes, network.prefixBits));
    if (group.items.size === 0) groups.splice(index, 1);
  }

  /** Calls `take` for each network that holds the address, narrowest first, until it returns true. */
  find(address: Uint8Array, take: (item: T) => boolean): void {
    for (const { prefixBits, items } of address.length === 4 ? this.#ipv4 : this.#ipv6) {
      const item = items.get(maskedKey(address, prefixBits));
      if (item !== undefined && take(item)) return;
    }
  }
}

/** The first `prefixBits` of the address, one character per byte. */
function maskedKey(bytes: Uint8Array, prefixBits: number): string {
  const whole = prefixBits >> 3;
  let key = '';
  for (let i = 0; i < whole; i++) key += String.fromCharCode(bytes[i]!);
  const rest = prefixBits & 7;
  if (rest !== 0) key += String.fromCharCode(bytes[whole]! & (0xff << (8 - rest)));
  return key;
}
