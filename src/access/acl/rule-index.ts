/**
 * Finds the rules with conditions that can concern a client without looking at the others: by user,
 * client id, listener, tenant or address, whichever a rule names first. What it finds has still to
 * be evaluated in full; what it leaves out cannot hold.
 */
import { formatIpAddress, type IpNetwork } from '../../util/ip-address.ts';
import { RULES_PER_STEP, type Steps } from '../slices.ts';
import type { Candidate, Conditions, Names } from './conditions.ts';
import type { Rule } from './rule.ts';

export class RuleIndex {
  readonly #byUser = new Map<string, number[]>();
  readonly #byClient = new Map<string, number[]>();
  readonly #byListener = new Map<string, number[]>();
  readonly #byTenant = new Map<string, number[]>();
  readonly #byNetwork = new NetworkIndex();
  /** Found by listener or address, for clients of whom these are not known. */
  readonly #ofListeners: number[] = [];
  readonly #ofNetworks: number[] = [];
  /** Found by nothing. */
  readonly #others: number[] = [];

  /** `numbers`: positions in `rules`, rising; all have conditions. */
  static *build(rules: readonly Rule[], numbers: readonly number[]): Steps<RuleIndex> {
    const index = new RuleIndex();
    for (const number of numbers) {
      index.#add(rules[number]!.conditions!, number);
      if (number % RULES_PER_STEP === 0) yield;
    }
    return index;
  }

  #add(conditions: Conditions, number: number): void {
    const { users, clients, listeners, tenants, networks } = conditions;
    if (users !== null) addAll(this.#byUser, users, number);
    else if (clients !== null) addAll(this.#byClient, clients, number);
    else if (tenants !== null) addAll(this.#byTenant, tenants, number);
    else if (networks !== null) {
      for (const network of networks) this.#byNetwork.add(network, number);
      this.#ofNetworks.push(number);
    } else if (listeners !== null) {
      addAll(this.#byListener, listeners, number);
      this.#ofListeners.push(number);
    } else this.#others.push(number);
  }

  /** Rising, each once. */
  find({ subject, address }: Candidate): number[] {
    const lists: (readonly number[])[] = [this.#others];
    const take = (list: readonly number[] | undefined): void => {
      if (list !== undefined) lists.push(list);
    };
    if (subject.user !== null) take(this.#byUser.get(subject.user));
    take(this.#byClient.get(subject.clientId));
    if (subject.tenant !== '') take(this.#byTenant.get(subject.tenant));
    take(
      subject.listenerName === undefined
        ? this.#ofListeners
        : this.#byListener.get(subject.listenerName),
    );
    if (address === undefined) take(this.#ofNetworks);
    else if (address !== null) for (const list of this.#byNetwork.find(address)) take(list);
    const found = lists.flat();
    found.sort((a, b) => a - b);
    // One rule may name several networks that hold the address.
    return found.filter((number, i) => i === 0 || number !== found[i - 1]);
  }
}

function addAll(map: Map<string, number[]>, names: Names, number: number): void {
  for (const name of names) add(map, name, number);
}

function add(map: Map<string, number[]>, key: string, number: number): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [number]);
  else list.push(number);
}

/** One look-up per prefix length in use. */
class NetworkIndex {
  readonly #byFamily = new Map<4 | 6, Map<number, Map<string, number[]>>>();

  add({ family, bytes, prefixBits }: IpNetwork, number: number): void {
    let byPrefix = this.#byFamily.get(family);
    if (byPrefix === undefined) this.#byFamily.set(family, (byPrefix = new Map()));
    let byBytes = byPrefix.get(prefixBits);
    if (byBytes === undefined) byPrefix.set(prefixBits, (byBytes = new Map()));
    add(byBytes, formatIpAddress(bytes), number);
  }

  find(address: Uint8Array): (readonly number[])[] {
    const found: number[][] = [];
    const byPrefix = this.#byFamily.get(address.length === 4 ? 4 : 6);
    for (const [prefixBits, byBytes] of byPrefix ?? []) {
      const list = byBytes.get(formatIpAddress(masked(address, prefixBits)));
      if (list !== undefined) found.push(list);
    }
    return found;
  }
}

function masked(address: Uint8Array, prefixBits: number): Uint8Array {
  return address.map((byte, i) => {
    const bits = Math.min(8, Math.max(0, prefixBits - i * 8));
    return byte & (0xff << (8 - bits));
  });
}
