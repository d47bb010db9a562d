/**
 * What every quota has: its name and terms, whom it concerns, under which key their use is added up,
 * and how often its limit was met. The three sorts below it add what they count with.
 */
import type { Log } from '../core/ports.ts';
import type { QuotaAction, QuotaKind, QuotaScope } from './quota-kinds.ts';
import { defaultAction, quotaKinds } from './quota-kinds.ts';
import type { QuotaOptions } from './quota-options.ts';

/** Who may be under a quota. `listener` is null where it does not matter (sessions, retained). */
export interface Subject {
  readonly clientId: string;
  readonly identity: string | null;
  readonly tenant: string;
  readonly listener: string | null;
}

/** A quota that is met all the time is logged this often. */
const LOGGED_EVERY_MS = 10_000;

export class Quota {
  readonly name: string;
  readonly of: QuotaKind;
  readonly per: QuotaScope;
  max = 0;
  action: QuotaAction = 'refuse';
  /** How often the limit was met, by what was done. Rises only. */
  readonly hits: { [action in QuotaAction]: number } = {
    slow: 0,
    drop: 0,
    refuse: 0,
    disconnect: 0,
  };
  readonly #log: Log;
  #users: ReadonlySet<string> | null = null;
  #tenants: ReadonlySet<string> | null = null;
  #listeners: ReadonlySet<string> | null = null;
  #loggedMs = Number.NEGATIVE_INFINITY;
  /** Made once: refusals may come in floods. */
  #explained: string | null = null;
  #hitsSinceLogged = 0;

  constructor(options: QuotaOptions, log: Log) {
    this.name = options.name;
    this.of = options.of;
    this.per = options.per;
    this.#log = log;
    this.#adopt(options);
  }

  /** A reload brings the same quota with other numbers or lists. */
  revise(options: QuotaOptions): void {
    this.#adopt(options);
  }

  #adopt(options: QuotaOptions): void {
    this.max = options.max;
    this.action = options.action ?? defaultAction(options.of);
    this.#users = asSet(options.users);
    this.#tenants = asSet(options.tenants);
    this.#listeners = asSet(options.listeners);
  }

  /** It speaks of credentials, so it can only be asked when they are proven. */
  get needsIdentity(): boolean {
    const isByIdentity = this.per === 'client' || this.per === 'user' || this.per === 'tenant';
    return isByIdentity || this.#users !== null || this.#tenants !== null;
  }

  concerns(subject: Subject): boolean {
    const { identity, tenant, listener } = subject;
    // '' is nobody's tenant.
    if (this.per === 'tenant' && tenant === '') return false;
    if (this.#users !== null && (identity === null || !this.#users.has(identity))) return false;
    if (this.#tenants !== null && !this.#tenants.has(tenant)) return false;
    return this.#listeners === null || (listener !== null && this.#listeners.has(listener));
  }

  /** Whose use is added up with that of the subject; null: all anonymous clients are one user. */
  keyOf(subject: Subject): string | null {
    switch (this.per) {
      case 'client':
        return subject.clientId;
      case 'user':
        return subject.identity;
      case 'tenant':
        return subject.tenant;
      case 'listener':
        return subject.listener ?? '';
      case 'node':
        return '';
    }
  }

  /** Its limit was met: counted, and logged now and then. */
  hit(key: string | null, nowMs: number): void {
    this.hits[this.action]++;
    this.#hitsSinceLogged++;
    if (nowMs - this.#loggedMs < LOGGED_EVERY_MS) return;
    const { name, of, per, max, action } = this;
    const hits = this.#hitsSinceLogged;
    this.#log.warn({ quota: name, of, per, key, max, action, hits }, 'quota reached');
    this.#loggedMs = nowMs;
    this.#hitsSinceLogged = 0;
  }

  /** The node stops. */
  stop(): void {}

  /** For a client that is refused, in words. */
  explain(): string {
    this.#explained ??= this.#inWords();
    return this.#explained;
  }

  #inWords(): string {
    const { unit, isRate } = quotaKinds[this.of];
    return `quota ${this.name}: ${this.max} ${unit}${isRate ? ' a second' : ''} per ${this.per}`;
  }
}

function asSet(names: readonly string[] | undefined): ReadonlySet<string> | null {
  return names === undefined ? null : new Set(names);
}
