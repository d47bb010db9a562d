/**
 * What a source of rights outside the rule file is. There are two kinds: a *grant source* (Redis)
 * hands out rules of a client at CONNECT, which are compiled with those of the file; a *decision
 * source* (HTTP) is asked per action and topic. Implemented beside this file, composed by
 * `access/client-gate.ts`. Control plane, except `Decider.peek`, which the gate calls per packet.
 */
import type { PeerCertificate } from '../../core/ports.ts';
import type { Claim } from '../authenticator.ts';
import type { Prepared } from '../prepared.ts';
import type { AclAction, GrantedRule } from './granted-rule.ts';

/** Of whom rights are asked: made once per connection, after it was authenticated. */
export interface RuleSubject {
  readonly clientId: string;
  /** Null: anonymous. */
  readonly user: string | null;
  /** '': none. */
  readonly tenant: string;
  /** '' for Unix sockets. */
  readonly remoteAddress: string;
  readonly listenerName: string;
  readonly certificate: PeerCertificate | null;
  readonly claims: ReadonlyMap<string, Claim> | null;
}

/** Rises only; the metrics page reads it. */
export interface RuleSourceCounters {
  allowed: number;
  denied: number;
  /** The source had no opinion (or a grant source knew no rule of this client). */
  ignored: number;
  /** The backend was away, slow, or answered nonsense: denied, or what was known before is kept. */
  errors: number;
  /** Answered from the cache. */
  cacheHits: number;
}

export function newRuleSourceCounters(): RuleSourceCounters {
  return { allowed: 0, denied: 0, ignored: 0, errors: 0, cacheHits: 0 };
}

interface RuleSource {
  /** As in the configuration: `http`, `redis`. */
  readonly kind: string;
  /** For explanations; without credentials: `http https://rights.example/acl`. */
  readonly description: string;
  readonly counters: Readonly<RuleSourceCounters>;
  /** Opens what it needs; throws an AccessError. A backend that is away is not an error here. */
  start(): Promise<void>;
  /**
   * Reads its files again; throws an AccessError when one is wrong. Until `commit` everything is as it
   * was; from then on whatever is cached is asked for anew.
   */
  prepare(): Promise<Prepared>;
  stop(): Promise<void>;
}

export type GrantAnswer =
  /** An empty list is an answer: no rights come from here. */
  | { readonly kind: 'granted'; readonly rules: readonly GrantedRule[] }
  /** The CONNECT is refused with `authentication_unavailable`. */
  | { readonly kind: 'unavailable' };

/** Rules of one client, read at CONNECT and again while it is connected. */
export interface GrantSource extends RuleSource {
  readonly gives: 'grants';
  /** Never rejects, and never takes longer than its timeout. */
  rulesFor(subject: RuleSubject): GrantAnswer | Promise<GrantAnswer>;
  /**
   * From now on `changed` is called with the new rules whenever a refresh finds others than `known`
   * (the list `rulesFor` gave) and those told later. A backend that is away changes nothing. The
   * function returned ends it; call it when the connection is closed.
   */
  watch(
    subject: RuleSubject,
    known: readonly GrantedRule[],
    changed: (rules: readonly GrantedRule[]) => void,
  ): () => void;
}

/**
 * `ignore`: the next source or the rules of the file decide. `unavailable`: deny, and do not keep it
 * longer than this one packet.
 */
export type SourceVerdict = 'allow' | 'deny' | 'ignore' | 'unavailable';

/** What a decision source says about one connection. */
export interface Decider {
  /** What is known without asking; undefined: ask. Synchronous and cheap: called per packet. */
  peek(action: AclAction, topic: string, qos: number, retain: boolean): SourceVerdict | undefined;
  /**
   * Asks. Never rejects, and never takes longer than the timeout. The caller keeps the verdict for
   * the packet that waits: `peek` need not know it afterwards (caching may be off).
   */
  ask(action: AclAction, topic: string, qos: number, retain: boolean): Promise<SourceVerdict>;
}

/** Decides per action and topic (for `subscribe`, `topic` is the filter). */
export interface DecisionSource extends RuleSource {
  readonly gives: 'decisions';
  /** Cheap, asks nobody yet, needs no closing. */
  open(subject: RuleSubject): Decider;
}

export type AnyRuleSource = GrantSource | DecisionSource;
