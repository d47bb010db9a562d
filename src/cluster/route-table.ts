/**
 * What one node has announced: interests, groups, images of the sessions it owns, and their digest kept
 * up to date with each change (docs/adr/0011). A node has one of itself, fed by what it sends, and one of
 * each peer, fed by what it applies: at equal positions of a stream the two digests are equal.
 */
import type { Interest } from '../core/cluster-ports.ts';
import { addNumber, addText, beginHash, endHash, HashWords } from './route-hash.ts';

export interface GroupEntry {
  readonly group: string;
  readonly filter: string;
  readonly members: number;
}

export interface OwnedEntry {
  readonly sid: string;
  readonly epoch: number;
  readonly counter: number;
}

const INTEREST = 1;
const GROUP = 2;
const OWNED = 3;

/** Scratch: hashing never nests. */
const item = new HashWords();

/** Group names have no `/` and filters may have: the first one ends the group. */
export function groupKey(group: string, filter: string): string {
  return `${group}/${filter}`;
}

export class RouteTable {
  readonly interests: Map<string, Interest> = new Map();
  readonly groups: Map<string, GroupEntry> = new Map();
  /** By client id. */
  readonly owned: Map<string, OwnedEntry> = new Map();
  readonly #digest: HashWords = new HashWords();

  get items(): number {
    return this.interests.size + this.groups.size + this.owned.size;
  }

  get digest(): number {
    return this.#digest.value;
  }

  setInterest(filter: string, interest: Interest): void {
    const before = this.interests.get(filter);
    if (before !== undefined) this.#toggleInterest(filter, before);
    if (interest === 0) {
      this.interests.delete(filter);
      return;
    }
    this.interests.set(filter, interest);
    this.#toggleInterest(filter, interest);
  }

  setGroup(group: string, filter: string, members: number): void {
    const key = groupKey(group, filter);
    const before = this.groups.get(key);
    if (before !== undefined) this.#toggleGroup(before);
    if (members === 0) {
      this.groups.delete(key);
      return;
    }
    const entry = { group, filter, members };
    this.groups.set(key, entry);
    this.#toggleGroup(entry);
  }

  setOwned(clientId: string, sid: string, epoch: number, counter: number): void {
    this.removeOwned(clientId);
    const entry = { sid, epoch, counter };
    this.owned.set(clientId, entry);
    this.#toggleOwned(clientId, entry);
  }

  removeOwned(clientId: string): void {
    const before = this.owned.get(clientId);
    if (before === undefined) return;
    this.owned.delete(clientId);
    this.#toggleOwned(clientId, before);
  }

  clear(): void {
    this.interests.clear();
    this.groups.clear();
    this.owned.clear();
    this.#digest.clear();
  }

  #toggleInterest(filter: string, interest: Interest): void {
    beginHash(item, INTEREST);
    addNumber(item, interest);
    addText(item, filter);
    this.#toggle();
  }

  #toggleGroup({ group, filter, members }: GroupEntry): void {
    beginHash(item, GROUP);
    addNumber(item, members);
    addText(item, group);
    addText(item, filter);
    this.#toggle();
  }

  #toggleOwned(clientId: string, { sid, epoch, counter }: OwnedEntry): void {
    beginHash(item, OWNED);
    addNumber(item, epoch);
    addNumber(item, counter);
    addText(item, sid);
    addText(item, clientId);
    this.#toggle();
  }

  #toggle(): void {
    endHash(item);
    this.#digest.toggle(item);
  }
}
