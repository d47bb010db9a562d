/**
 * Finds the rules with conditions that can concern a client without looking at the others: by user,
 * client id, tenant, address, listener, claim or certificate, whichever of these a rule names first.
 * What it finds has still to be evaluated in full; what it leaves out cannot hold.
 */
import { formatIpAddress, type IpNetwork } from '../../util/ip-address.ts';
import { RULES_PER_STEP, type Steps } from '../slices.ts';
import {
  type Candidate,
  type CertificateField,
  type Conditions,
  fieldValues,
  type Names,
} from './conditions.ts';
import type { Rule } from './rule.ts';

export class RuleIndex {
  readonly #byUser = new Map<string, number[]>();
  readonly #byClient = new Map<string, number[]>();
  readonly #byListener = new Map<string, number[]>();
  readonly #byTenant = new Map<string, number[]>();
  readonly #byNetwork = new NetworkIndex();
  /** By name or field, then by value. */
  readonly #byClaim = new Map<string, Map<string, number[]>>();
  readonly #byCertificate = new Map<CertificateField, Map<string, number[]>>();
  /** The same rules, for clients of whom these are not known. */
  readonly #ofListeners: number[] = [];
  readonly #ofNetworks: number[] = [];
  readonly #ofClaims: number[] = [];
  readonly #ofCertificates: number[] = [];
  /** Found by nothing. */
  readonly #others: number[] = [];

  /** `numbers`: positions in `rules`, rising; all have conditions. */
  static *build(rules: readonly Rule[], numbers: readonly number[]): Steps<RuleIndex> {
    const index = new RuleIndex();
    for (const [i, number] of numbers.entries()) {
      index.#add(rules[number]!.conditions!, number);
      if (i % RULES_PER_STEP === 0) yield;
    }
    return index;
  }

  #add(conditions: Conditions, number: number): void {
    const { users, clients, listeners, tenants, networks, claims, certificate } = conditions;
    const claim = claims?.[0];
    const wanted = certificate?.[0];
    if (users !== null) addAll(this.#byUser, users, number);
    else if (clients !== null) addAll(this.#byClient, clients, number);
    else if (tenants !== null) addAll(this.#byTenant, tenants, number);
    else if (networks !== null) {
      for (const network of networks) this.#byNetwork.add(network, number);
      this.#ofNetworks.push(number);
    } else if (listeners !== null) {
      addAll(this.#byListener, listeners, number);
      this.#ofListeners.push(number);
    } else if (claim !== undefined) {
      addAll(tableIn(this.#byClaim, claim.name), claim.values, number);
      this.#ofClaims.push(number);
    } else if (wanted !== undefined) {
      addAll(tableIn(this.#byCertificate, wanted.field), wanted.values, number);
      this.#ofCertificates.push(number);
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
    const { claims, certificate } = subject;
    if (claims === undefined) take(this.#ofClaims);
    else if (claims !== null) {
      for (const [name, byValue] of this.#byClaim) {
        const claim = claims.get(name) ?? [];
        for (const value of typeof claim === 'string' ? [claim] : claim) take(byValue.get(value));
      }
    }
    if (certificate === undefined) take(this.#ofCertificates);
    else if (certificate !== null) {
      for (const [field, byValue] of this.#byCertificate) {
        for (const value of fieldValues(certificate, field)) take(byValue.get(value));
      }
    }
    const found = lists.flat();
    found.sort((a, b) => a - b);
    // One rule may name several networks that hold the address, or values the client has.
    return found.filter((number, i) => i === 0 || number !== found[i - 1]);
  }
}

function tableIn<Key>(tables: Map<Key, Map<string, number[]>>, key: Key): Map<string, number[]> {
  let table = tables.get(key);
  if (table === undefined) tables.set(key, (table = new Map()));
  return table;
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
