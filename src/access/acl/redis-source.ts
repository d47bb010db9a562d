/**
 * Rules of clients in Redis, read at CONNECT and again every `cacheS` while they are connected, so that
 * a right that is taken away ends without a reload. While Redis is away connected clients keep what
 * they have, and no client comes in whose rules are not known.
 */
import type { Clock, Log, Random } from '../../core/ports.ts';
import { orProblem } from '../access-error.ts';
import { subjectLookup, subjectPlaceholders } from '../backend/client-lookup.ts';
import { InFlight } from '../backend/in-flight.ts';
import { KeyTemplate } from '../backend/key-template.ts';
import { RedisBackend, type RedisServiceOptions } from '../backend/redis-backend.ts';
import { followed, type Prepared } from '../prepared.ts';
import { serviceCache, type TtlCache } from '../ttl-cache.ts';
import { GRANTS_MAX } from './granted-layer.ts';
import type { GrantedRule } from './granted-rule.ts';
import {
  type GoAuthSet,
  goAuthRules,
  goAuthSets,
  readEmqxHash,
  readGoAuthSet,
} from './redis-rules.ts';
import {
  type GrantAnswer,
  type GrantSource,
  newRuleSourceCounters,
  type RuleSourceCounters,
  type RuleSubject,
} from './source.ts';

export type RedisRuleLayout = 'emqx' | 'mosquitto_go_auth';

/** As in the configuration; files absolute. */
export interface RedisRuleOptions extends RedisServiceOptions {
  readonly layout: RedisRuleLayout;
}

export interface RedisRuleSourceOptions {
  readonly service: RedisRuleOptions;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const NAME = 'authorization.redis';
const TOO_MANY = `a client has more than ${GRANTS_MAX} rules`;
const REFRESH_TICK_MS = 250;
/** Refreshes under way at one time: a slow Redis is not asked for all clients at once. */
const REFRESHES_MAX = 64;
/** Also with a cache that is off. */
const REFRESH_S_MIN = 1;

const NONE: GrantAnswer = { kind: 'granted', rules: [] };
const UNAVAILABLE: GrantAnswer = { kind: 'unavailable' };

/** The rules of one key, for all connections that have them. */
interface Watched {
  /** Its rules as text: whether they are others. */
  signature: string;
  dueAtMs: number;
  readonly tell: Set<Watcher>;
}

interface Watcher {
  signature: string;
  readonly changed: (rules: readonly GrantedRule[]) => void;
}

export class RedisRuleSource implements GrantSource {
  readonly kind = 'redis';
  readonly gives = 'grants';
  readonly description: string;
  readonly counters: RuleSourceCounters = newRuleSourceCounters();
  readonly #service: RedisRuleOptions;
  readonly #clock: Clock;
  readonly #backend: RedisBackend;
  readonly #key: KeyTemplate;
  readonly #cache: TtlCache<GrantAnswer>;
  readonly #asking = new InFlight<GrantAnswer>();
  readonly #refreshMs: number;
  /** By key, those refreshed last at the end. */
  readonly #watched = new Map<string, Watched>();
  #refreshes = 0;
  #timer: NodeJS.Timeout | undefined;

  /** Throws an AccessError when the options cannot be used. */
  constructor(options: RedisRuleSourceOptions) {
    const { service, clock, random, log } = options;
    this.#service = service;
    this.#clock = clock;
    this.#backend = new RedisBackend({ service, name: NAME, clock, random, log });
    this.description = `redis ${this.#backend.display}`;
    const isEmqx = service.layout === 'emqx';
    const template = isEmqx ? 'mqtt_acl:%u' : '%u';
    this.#key = orProblem(
      NAME,
      () => new KeyTemplate(service.keyPrefix, template, subjectPlaceholders, !isEmqx),
    );
    this.#refreshMs = Math.max(service.cacheS, REFRESH_S_MIN) * 1000;
    this.#cache = serviceCache(service, clock);
  }

  get isUp(): boolean {
    return this.#backend.isUp;
  }

  /** Keys with connected clients. */
  get watched(): number {
    return this.#watched.size;
  }

  async start(): Promise<void> {
    await this.#backend.open();
    this.#timer = setInterval(() => this.#refreshDue(), REFRESH_TICK_MS);
    this.#timer.unref();
  }

  async prepare(): Promise<Prepared> {
    return followed(await this.#backend.prepare(), () => {
      this.#cache.expire();
      const nowMs = this.#clock.monotonicMs();
      for (const watched of this.#watched.values()) watched.dueAtMs = nowMs;
      this.#refreshDue();
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#backend.close();
    this.#watched.clear();
  }

  rulesFor(subject: RuleSubject): GrantAnswer | Promise<GrantAnswer> {
    const key = this.#keyOf(subject);
    if (key === null) return this.#count(NONE);
    const known = this.#cache.get(key);
    if (known !== undefined) {
      this.counters.cacheHits += 1;
      return this.#count(known);
    }
    return this.#read(key).then((answer) => this.#count(answer));
  }

  watch(
    subject: RuleSubject,
    known: readonly GrantedRule[],
    changed: (rules: readonly GrantedRule[]) => void,
  ): () => void {
    const key = this.#keyOf(subject);
    if (key === null) return () => {};
    const signature = JSON.stringify(known);
    const watcher: Watcher = { signature, changed };
    let watched = this.#watched.get(key);
    if (watched === undefined) {
      const dueAtMs = this.#clock.monotonicMs() + this.#refreshMs;
      watched = { signature, dueAtMs, tell: new Set() };
      this.#watched.set(key, watched);
    } else if (watched.signature !== signature) {
      // Read at another moment than what the others have: the next refresh tells who is behind.
      watched.dueAtMs = this.#clock.monotonicMs();
    }
    const { tell } = watched;
    tell.add(watcher);
    return () => {
      tell.delete(watcher);
      if (tell.size === 0 && this.#watched.get(key)?.tell === tell) this.#watched.delete(key);
    };
  }

  /** Null: nobody has rules under such a name. */
  #keyOf(subject: RuleSubject): string | null {
    return this.#key.render(subjectLookup(subject));
  }

  #read(key: string): Promise<GrantAnswer> {
    return this.#asking.run(key, async () => {
      const rules = await this.#rulesOf(key);
      if (rules === null) return UNAVAILABLE;
      const answer: GrantAnswer = { kind: 'granted', rules };
      this.#cache.set(key, answer);
      return answer;
    });
  }

  /** Null: they cannot be had, or not be read. */
  async #rulesOf(key: string): Promise<readonly GrantedRule[] | null> {
    if (this.#service.layout === 'emqx') return this.#emqxRules(key);
    const common = `${this.#service.keyPrefix}common`;
    const [own, shared] = await Promise.all([this.#goAuthSetsOf(key), this.#goAuthSetsOf(common)]);
    if (own === null || shared === null) return null;
    const sets = new Map<GoAuthSet, readonly string[]>();
    for (const set of goAuthSets) {
      sets.set(set, [...new Set([...(own.get(set) ?? []), ...(shared.get(set) ?? [])])]);
    }
    const rules = goAuthRules(sets, `redis ${key} and ${common}`);
    return rules.length <= GRANTS_MAX ? rules : this.#unreadable(TOO_MANY);
  }

  async #emqxRules(key: string): Promise<readonly GrantedRule[] | null> {
    const size = await this.#backend.command(['HLEN', key]);
    if (!this.#isReadable(size)) return null;
    if (size.reply === 0) return [];
    const all = await this.#backend.command(['HGETALL', key]);
    if (all.kind !== 'reply') return null;
    const rules = readEmqxHash(all.reply, `redis ${key}`);
    return typeof rules === 'string' ? this.#unreadable(rules) : rules;
  }

  async #goAuthSetsOf(root: string): Promise<Map<GoAuthSet, readonly string[]> | null> {
    const sets = new Map<GoAuthSet, readonly string[]>();
    const read = async (set: GoAuthSet): Promise<boolean> => {
      const key = `${root}:${set}`;
      const size = await this.#backend.command(['SCARD', key]);
      if (!this.#isReadable(size)) return false;
      if (size.reply === 0) return true;
      const all = await this.#backend.command(['SMEMBERS', key]);
      if (all.kind !== 'reply') return false;
      const filters = readGoAuthSet(all.reply);
      if (typeof filters === 'string') return this.#unreadable(filters) !== null;
      sets.set(set, filters);
      return true;
    };
    const outcomes = await Promise.all(goAuthSets.map(read));
    return outcomes.every(Boolean) ? sets : null;
  }

  /** They are counted before they are read. */
  #isReadable(
    size: Awaited<ReturnType<RedisBackend['command']>>,
  ): size is { readonly kind: 'reply'; readonly reply: number } {
    if (size.kind !== 'reply') return false;
    if (typeof size.reply === 'number' && size.reply <= GRANTS_MAX) return true;
    this.#backend.complain(TOO_MANY);
    return false;
  }

  #unreadable(why: string): null {
    this.#backend.complain(why);
    return null;
  }

  #refreshDue(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [key, watched] of this.#watched) {
      if (this.#refreshes >= REFRESHES_MAX || !this.#backend.isUp) return;
      if (watched.dueAtMs > nowMs) continue;
      watched.dueAtMs = nowMs + this.#refreshMs;
      // To the end, so that all have their turn when there are more than fit.
      this.#watched.delete(key);
      this.#watched.set(key, watched);
      this.#refreshes += 1;
      this.#refresh(key, watched)
        .catch(() => this.#backend.complain('rules that changed could not be handed on'))
        .finally(() => {
          this.#refreshes -= 1;
        });
    }
  }

  async #refresh(key: string, watched: Watched): Promise<void> {
    const answer = await this.#read(key);
    if (answer.kind === 'unavailable') {
      this.counters.errors += 1;
      return;
    }
    watched.signature = JSON.stringify(answer.rules);
    for (const watcher of [...watched.tell]) {
      if (watcher.signature === watched.signature || !watched.tell.has(watcher)) continue;
      watcher.signature = watched.signature;
      watcher.changed(answer.rules);
    }
  }

  #count(answer: GrantAnswer): GrantAnswer {
    if (answer.kind === 'unavailable') {
      this.counters.denied += 1;
      this.counters.errors += 1;
    } else if (answer.rules.length === 0) this.counters.ignored += 1;
    else this.counters.allowed += 1;
    return answer;
  }
}
