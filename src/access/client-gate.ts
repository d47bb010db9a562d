/**
 * Rights of one connection (data plane): the rules compiled for it, compiled anew when they changed,
 * and before them what sources say that are asked per topic. Made by the gate at CONNECT; also the
 * gate's handle on the connection: who it is, and how to end it. Its rules can still be asked for its
 * will after it is closed.
 */
import type { CloseReason } from '../core/close-reason.ts';
import {
  ALLOW,
  type ClientGate,
  DENY,
  type GateWaiter,
  type Verdict,
  WAIT,
} from '../core/ports.ts';
import { Timer, type TimerOwner } from '../util/timer-wheel.ts';
import type { ClientRules } from './acl/client-rules.ts';
import { type Decision, isAllowed, NO_MATCH, NO_RULES } from './acl/decision.ts';
import type { GrantedRule } from './acl/granted-rule.ts';
import type { RuleSet } from './acl/rule-set.ts';
import type { Decider, GrantSource, RuleSubject } from './acl/source.ts';
import type { AclSubject } from './acl/subject.ts';
import { AskedRights, type AskedRightsOwner } from './asked-rights.ts';

/** Rises only; the metrics page reads it. */
export interface DecisionCounters {
  publishAllowed: number;
  publishDenied: number;
  subscribeAllowed: number;
  subscribeDenied: number;
  receiveAllowed: number;
  receiveDenied: number;
  willAllowed: number;
  willDenied: number;
  /** Retained messages held back because of who published them. */
  retainedDenied: number;
}

export const newDecisionCounters = (): DecisionCounters => ({
  publishAllowed: 0,
  publishDenied: 0,
  subscribeAllowed: 0,
  subscribeDenied: 0,
  receiveAllowed: 0,
  receiveDenied: 0,
  willAllowed: 0,
  willDenied: 0,
  retainedDenied: 0,
});

/** The rules in force, shared by all connections; a reload puts another set here. */
export interface RulesInForce {
  rules: RuleSet;
  /** Of `rules`. */
  version: number;
}

/** The gate, as one of its connections sees it. */
export interface ClientGateOwner extends AskedRightsOwner {
  readonly inForce: RulesInForce;
  readonly decisions: DecisionCounters;
  /** Wall-clock ms. */
  wallMs(): number;
  setTimer(timer: Timer, inMs: number): void;
  cancelTimer(timer: Timer): void;
  closed(client: AccessClientGate): void;
}

/** Who came in, and with what. */
export interface ClientFacts {
  /** `grants` in it are those of the credentials. */
  readonly subject: AclSubject;
  /** The authenticator that let it in. */
  readonly by: string;
  /** Of the key that signed its credentials; undefined: none did. */
  readonly keyPrint: string | undefined;
  readonly fingerprint: string | null;
  /** Wall-clock ms; 0: never. */
  readonly expiresAtMs: number;
  /** Rules that sources gave, in order. */
  readonly granted: readonly {
    readonly source: GrantSource;
    readonly rules: readonly GrantedRule[];
  }[];
  readonly deciders: readonly Decider[];
}

/** Timers are set at most this far ahead: wall clocks get moved, machines sleep. */
const EXPIRY_LOOK_MS = 300_000;
/** No rule set has this version. */
const STALE = -1;
/** While rules could not be compiled; each delivery is asked about too. */
const NOTHING_ALLOWED: ClientRules = {
  version: STALE,
  filtersReceive: true,
  variesByMessage: false,
  publish: () => NO_MATCH,
  subscribe: () => NO_MATCH,
  receive: () => NO_MATCH,
  ruleOf: () => null,
};

export class AccessClientGate implements ClientGate, TimerOwner {
  readonly facts: ClientFacts;
  readonly closeReason: CloseReason = 'not_authorized';
  /** A refusal says no more than that: rules are nobody's business. */
  readonly why: null = null;
  readonly #owner: ClientGateOwner;
  readonly #inForce: RulesInForce;
  readonly #decisions: DecisionCounters;
  readonly #asked: AskedRights | null;
  /** Null once it is closed: rights that wait for a will must not keep the connection in memory. */
  #end: ((reason: CloseReason) => void) | null;
  #rules: ClientRules = NOTHING_ALLOWED;
  /** Of the set that `#rules` were compiled from. */
  #version = STALE;
  /** Rules of grant sources, as they last said. */
  #granted: (readonly GrantedRule[])[] | null = null;
  #unwatch: (() => void)[] | null = null;
  #expiry: Timer | null = null;
  #isClosed = false;
  /** Published to last, and allowed whatever the message is like; '': ask. Publishers repeat themselves. */
  #lastTopic = '';

  constructor(facts: ClientFacts, end: (reason: CloseReason) => void, owner: ClientGateOwner) {
    this.facts = facts;
    this.#end = end;
    this.#owner = owner;
    this.#inForce = owner.inForce;
    this.#decisions = owner.decisions;
    const { deciders, granted, subject } = facts;
    const isAsked = deciders.length > 0 && !subject.isSuperuser;
    this.#asked = isAsked ? new AskedRights(subject.clientId, deciders, owner) : null;
    if (granted.length > 0) this.#granted = granted.map(({ rules }) => rules);
    this.#recompile();
    if (granted.length > 0) this.#watch();
    this.#setExpiry();
  }

  // ------------------------------------------------------------------ asked per packet

  publish(
    topic: string,
    qos: number,
    retain: boolean,
    _bytes: number,
    waiter: GateWaiter,
  ): Verdict {
    if (topic === this.#lastTopic && this.#version === this.#inForce.version) {
      this.#decisions.publishAllowed++;
      return ALLOW;
    }
    return this.#publishNext(topic, qos, retain, waiter);
  }

  #publishNext(topic: string, qos: number, retain: boolean, waiter: GateWaiter): Verdict {
    if (this.#version !== this.#inForce.version) this.#recompile();
    if (this.#asked !== null) return this.#publishAsked(this.#asked, topic, qos, retain, waiter);
    if (!isAllowed(this.#rules.publish(topic, qos, retain))) {
      this.#lastTopic = '';
      this.#decisions.publishDenied++;
      return DENY;
    }
    if (!this.#rules.variesByMessage) this.#lastTopic = topic;
    this.#decisions.publishAllowed++;
    return ALLOW;
  }

  #publishAsked(
    asked: AskedRights,
    topic: string,
    qos: number,
    retain: boolean,
    waiter: GateWaiter,
  ): Verdict {
    const verdict = asked.decide('publish', topic, qos, retain, waiter);
    if (verdict === undefined) return WAIT;
    const allowed =
      verdict === 'ignore' ? isSaid(this.#rules.publish(topic, qos, retain)) : verdict === 'allow';
    if (allowed) {
      this.#decisions.publishAllowed++;
      return ALLOW;
    }
    this.#decisions.publishDenied++;
    return DENY;
  }

  subscribe(filter: string, qos: number, waiter: GateWaiter): Verdict {
    if (this.#version !== this.#inForce.version) this.#recompile();
    let allowed: boolean;
    if (this.#asked === null) {
      allowed = isAllowed(this.#rules.subscribe(filter, qos));
    } else {
      const verdict = this.#asked.decide('subscribe', filter, qos, false, waiter);
      if (verdict === undefined) return WAIT;
      allowed =
        verdict === 'ignore' ? isSaid(this.#rules.subscribe(filter, qos)) : verdict === 'allow';
    }
    if (allowed) {
      this.#decisions.subscribeAllowed++;
      return ALLOW;
    }
    this.#decisions.subscribeDenied++;
    return DENY;
  }

  keeps(filter: string, qos: number): boolean {
    if (this.#version !== this.#inForce.version) this.#recompile();
    const decision = this.#rules.subscribe(filter, qos);
    if (this.#asked === null) return isAllowed(decision);
    const verdict = this.#asked.keeps(filter, qos);
    if (verdict === 'allow') return true;
    if (verdict === 'deny') return false;
    if (verdict === 'ignore') return isSaid(decision);
    // Nobody remembers who allowed it: it stays while no rule speaks against it, and is asked about.
    return decision < 0 || isAllowed(decision);
  }

  knows(
    subscriptions: Iterable<{ readonly filter: string; readonly qos: number }>,
    decide: (known: boolean) => void,
  ): boolean | typeof WAIT {
    return this.#asked === null || this.#asked.knows(subscriptions, decide);
  }

  receive(topic: string): boolean {
    if (this.#version !== this.#inForce.version) this.#recompile();
    const decision = this.#rules.receive(topic);
    // A source is asked about the subscription. What a rule holds back stays held back.
    if (isAllowed(decision) || (this.#asked !== null && decision === NO_MATCH)) {
      this.#decisions.receiveAllowed++;
      return true;
    }
    this.#decisions.receiveDenied++;
    return false;
  }

  /** Without a rule file there is none after a reload either. */
  get allowsAll(): boolean {
    const { grants } = this.facts.subject;
    return (
      this.#inForce.rules.isOpen &&
      this.#asked === null &&
      this.#granted === null &&
      grants === null
    );
  }

  get filtersReceive(): boolean {
    if (this.#version !== this.#inForce.version) this.#recompile();
    return this.#rules.filtersReceive;
  }

  /** For its will, also after it is closed: sources are asked without a packet that waits. */
  mayPublish(topic: string, qos: number, retain: boolean): boolean | Promise<boolean> {
    if (this.#version !== this.#inForce.version) this.#recompile();
    const decision = this.#rules.publish(topic, qos, retain);
    if (this.#asked === null) return isAllowed(decision);
    return this.#asked
      .ask('publish', topic, qos, retain)
      .then((verdict) => (verdict === 'ignore' ? isSaid(decision) : verdict === 'allow'));
  }

  // ------------------------------------------------------------------ its life

  /** Ends the connection. */
  end(reason: CloseReason): void {
    this.#end?.(reason);
  }

  closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#end = null;
    this.#asked?.close();
    if (this.#expiry !== null) this.#owner.cancelTimer(this.#expiry);
    this.#expiry = null;
    const unwatch = this.#unwatch;
    this.#unwatch = null;
    this.#owner.closed(this);
    if (unwatch !== null) for (const stop of unwatch) stop();
  }

  onTimer(): void {
    if (this.#isClosed) return;
    if (this.#owner.wallMs() < this.facts.expiresAtMs) this.#setExpiry();
    else this.end('credentials_expired');
  }

  #setExpiry(): void {
    const { expiresAtMs } = this.facts;
    if (expiresAtMs === 0) return;
    this.#expiry ??= new Timer(this);
    const leftMs = Math.max(0, expiresAtMs - this.#owner.wallMs());
    this.#owner.setTimer(this.#expiry, Math.min(leftMs, EXPIRY_LOOK_MS));
  }

  #watch(): void {
    const { subject, granted } = this.facts;
    const asRule = ruleSubjectOf(subject);
    this.#unwatch = granted.map(({ source, rules }, index) =>
      source.watch(asRule, rules, (changed) => {
        if (this.#granted === null || this.#isClosed) return;
        this.#granted[index] = changed;
        this.#version = STALE;
        this.#owner.rightsChanged();
      }),
    );
  }

  #recompile(): void {
    const { rules, version } = this.#inForce;
    this.#version = version;
    // Should compiling fail, nothing is allowed.
    this.#rules = NOTHING_ALLOWED;
    this.#lastTopic = '';
    try {
      this.#rules = rules.compile(this.#subject());
    } catch (error) {
      this.#owner.failed(error);
    }
  }

  /** With all rules it was granted; those of the credentials come first. */
  #subject(): AclSubject {
    const { subject } = this.facts;
    if (this.#granted === null) return subject;
    return { ...subject, grants: [...(subject.grants ?? []), ...this.#granted.flat()] };
  }
}

/** With sources that are asked, silence of the rules is no permission. */
function isSaid(decision: Decision): boolean {
  return decision !== NO_RULES && isAllowed(decision);
}

/** The part of a connected client's subject that sources are told. */
export function ruleSubjectOf(subject: AclSubject): RuleSubject {
  return {
    clientId: subject.clientId,
    user: subject.user,
    tenant: subject.tenant,
    remoteAddress: subject.remoteAddress ?? '',
    listenerName: subject.listenerName ?? '',
    certificate: subject.certificate ?? null,
    claims: subject.claims ?? null,
  };
}
