/**
 * Links to other regions as the core knows them (docs/adr/0022): who is a link, what it may have, and the
 * names of messages that leave over one. State that the fan-out and CONNECT ask; the connections to other
 * regions are geo/'s. A node without regions has none.
 */

import type { UserProperty } from '../wire/properties.ts';
import { filterMatches, intersection } from '../wire/topic-match.ts';
import { isLinkId, MOVED_TOPIC, NUMBER_BYTES, regionOfLinkId, writeNumber } from './link-names.ts';
import type { PeerCertificate } from './ports.ts';
import type { QueueBudget } from './queue-budget.ts';
import { WantedFilters } from './wanted-filters.ts';

/** Who is a region, and what that region may have. */
export interface LinkTerms {
  readonly region: string;
  /** One of them, proven. */
  readonly user: string | null;
  readonly certificate: string | null;
  readonly topics: readonly string[];
  readonly budgetAgeMs: number;
  readonly budgetBytes: number;
}

/** Asked for in CONNECT: bytes to keep while the link is down. */
export const BUDGET_BYTES_PROPERTY = 'causeway-budget-bytes';
/** Said in CONNACK: which region this is. */
export const REGION_PROPERTY = 'causeway-region';
/** Beyond the age that a link may bring: clocks differ, and messages rest on their way. */
const TOMBSTONE_SLACK_MS = 3_600_000;
/** QoS 1 and 2 messages on the way to one region. */
export const LINK_INFLIGHT_MAX = 65_535;

/** Another region as a receiver: what its session here may have. Held by that session. */
export class LinkPeer implements QueueBudget {
  readonly region: string;
  readonly reason = 'link_budget';
  /** Its messages have the time at which they were published. */
  readonly isDated = false;
  readonly isHeld = false;
  /** Only what these match is given; null: everything outside `$`. */
  topics: readonly string[] | null = [];
  budgetAgeMs = 0;
  budgetBytes = 0;
  /** What the link has asked for; the terms bound it. */
  #askedBytes: number = Number.POSITIVE_INFINITY;
  #termBytes = 0;
  /** Messages not handed over because they came from there, or through there. */
  returned = 0;
  /** Not handed over because the region may not have the topic. */
  withheld = 0;
  /** Handed to its session. */
  handed = 0;
  /** Of those, dropped over the budget. */
  dropped = 0;
  /** Up to this position of its queue all was on the wire: what is read again is a repetition. */
  sentSeq = 0;

  constructor(region: string) {
    this.region = region;
  }

  /** Null: nobody is that region any more, so nothing is given to it. */
  revise(terms: LinkTerms | null): void {
    const topics = terms?.topics ?? [];
    this.topics = topics.includes('#') ? null : topics;
    this.budgetAgeMs = terms?.budgetAgeMs ?? 0;
    this.#termBytes = terms?.budgetBytes ?? 0;
    this.budgetBytes = Math.min(this.#askedBytes, this.#termBytes);
  }

  asks(bytes: number): void {
    this.#askedBytes = bytes;
    this.budgetBytes = Math.min(bytes, this.#termBytes);
  }

  /** Whether it may have anything of what a filter matches. */
  mayWant(filter: string): boolean {
    if (filter.charCodeAt(0) === 0x24) return false;
    const { topics } = this;
    return topics === null || topics.some((topic) => intersection(topic, filter) !== null);
  }

  mayHave(topic: string): boolean {
    if (topic.charCodeAt(0) === 0x24) return topic === MOVED_TOPIC;
    const { topics } = this;
    if (topics === null) return true;
    for (let i = 0; i < topics.length; i++) if (filterMatches(topics[i]!, topic)) return true;
    return false;
  }
}

export class RegionLinks {
  readonly region: string;
  /** Region and incarnation: this life of this node. */
  readonly source: string;
  /** The same with a dot, as each name of a message of this node begins. */
  readonly prefix: string;
  /** What clients and linked regions want, for whoever fetches it. */
  readonly wanted: WantedFilters = new WantedFilters();
  readonly #peers: Map<string, LinkPeer> = new Map();
  #terms: readonly LinkTerms[] = [];
  #nextNumber = 1;
  /** The prefix, and room for what follows it. */
  readonly #name: Buffer;
  /** 32 bits that name this life in versions. */
  readonly writer: number;
  /** The largest age in the budgets of links of this region: what is older comes over none. */
  budgetAgeMaxMs = 0;
  /** CONNECTs that said to be a region and were not. */
  refused = 0;
  /** Told of each region that connects here. */
  onPeer: (region: string) => void = () => {};

  /** `incarnation`: 16 bytes that no other life of any node has. */
  constructor(region: string, incarnation: Buffer) {
    this.region = region;
    this.source = `${region}.${incarnation.toString('base64url')}`;
    this.prefix = `${this.source}.`;
    this.writer = incarnation.readUInt32BE(0);
    this.#name = Buffer.alloc(this.prefix.length + 2 * NUMBER_BYTES + 1);
    this.#name.write(this.prefix, 'latin1');
  }

  /** Also later, after a reload. */
  revise(terms: readonly LinkTerms[]): void {
    this.#terms = terms;
    for (const peer of this.#peers.values()) peer.revise(this.#termsOf(peer.region));
  }

  #termsOf(region: string): LinkTerms | null {
    return this.#terms.find((terms) => terms.region === region) ?? null;
  }

  /** Of this region among all that it has to do with, by their names: another one in each that sees all others. */
  get rank(): number {
    return this.#terms.filter(({ region }) => region < this.region).length;
  }

  /** With this one. */
  get regionCount(): number {
    return this.#terms.length + 1;
  }

  get peers(): Iterable<LinkPeer> {
    return this.#peers.values();
  }

  /** The region whose session has that client identifier; null: it is an ordinary one. */
  peerOf(clientId: string): LinkPeer | null {
    const region = regionOfLinkId(clientId);
    if (region === null) return null;
    let peer = this.#peers.get(region);
    if (peer === undefined) {
      peer = new LinkPeer(region);
      peer.revise(this.#termsOf(region));
      this.#peers.set(region, peer);
    }
    return peer;
  }

  /** May who has proven this connect with that client identifier? */
  admits(
    clientId: string,
    version: number,
    identity: string | null,
    certificate: PeerCertificate | null,
  ): boolean {
    if (!isLinkId(clientId)) return true;
    const region = regionOfLinkId(clientId);
    const isProven = this.#terms.some(
      (terms) =>
        terms.region === region &&
        ((terms.user !== null && terms.user === identity) ||
          (terms.certificate !== null && terms.certificate === certificate?.subjectCommonName)),
    );
    if (isProven && version === 5) return true;
    this.refused++;
    return false;
  }

  /** What a link says of itself in CONNECT. */
  welcome(peer: LinkPeer, said: readonly UserProperty[]): readonly UserProperty[] {
    for (const [name, value] of said) {
      if (name === BUDGET_BYTES_PROPERTY && /^\d{1,15}$/.test(value)) peer.asks(Number(value));
    }
    this.onPeer(peer.region);
    return [[REGION_PROPERTY, this.region]];
  }

  /** So long a clear is remembered: something older may be on its way. */
  get tombstoneMs(): number {
    return this.budgetAgeMaxMs + TOMBSTONE_SLACK_MS;
  }

  /** What tells one more message from all others that are published here. */
  takeNumber(): number {
    return this.#nextNumber++;
  }

  /** The name of one more message that was published here. */
  name(timeMs: number): string {
    const out = this.#name;
    let pos = this.prefix.length;
    pos = writeNumber(out, pos, this.takeNumber());
    out[pos++] = 0x2e;
    return out.latin1Slice(0, writeNumber(out, pos, timeMs));
  }
}
