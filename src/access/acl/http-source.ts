/**
 * Asks an HTTP service whether a client may publish to a topic or subscribe to a filter. Verdicts are
 * kept for a while per client, action and topic; while the service does not answer, what it said before
 * counts a little longer, and anything it never said is denied.
 */
import type { Clock, Log } from '../../core/ports.ts';
import { requestPlaceholders, subjectLookup } from '../backend/client-lookup.ts';
import { Fingerprint } from '../backend/fingerprint.ts';
import { HttpBackend, type HttpServiceOptions } from '../backend/http-backend.ts';
import { InFlight } from '../backend/in-flight.ts';
import type { Lookup } from '../backend/template.ts';
import { followed, type Prepared } from '../prepared.ts';
import { serviceCache, type TtlCache } from '../ttl-cache.ts';
import type { AclAction } from './granted-rule.ts';
import {
  type Decider,
  type DecisionSource,
  newRuleSourceCounters,
  type RuleSourceCounters,
  type RuleSubject,
  type SourceVerdict,
} from './source.ts';

export interface HttpRuleSourceOptions {
  readonly service: HttpServiceOptions;
  /** How long beyond `cacheS` a verdict counts while the service does not answer. */
  readonly staleS?: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** As the configuration reference says. */
export const usualRequestFields: readonly string[] = [
  'username=%u',
  'clientid=%c',
  'address=%a',
  'action=%A',
  'topic=%t',
  'qos=%q',
  'retain=%r',
];

const STALE_S = 300;
/** Longer keys become fingerprints: a topic may have 64 KiB. */
const KEY_LENGTH_MAX = 200;

type KnownVerdict = Exclude<SourceVerdict, 'unavailable'>;

export class HttpRuleSource implements DecisionSource {
  readonly kind = 'http';
  readonly gives = 'decisions';
  readonly description: string;
  readonly counters: RuleSourceCounters = newRuleSourceCounters();
  readonly #backend: HttpBackend;
  readonly #fingerprint = new Fingerprint();
  readonly #cache: TtlCache<KnownVerdict>;
  readonly #asking = new InFlight<SourceVerdict>();
  /** Which of qos and retain the service is told: the others make no difference to the cache. */
  readonly #hasQos: boolean;
  readonly #hasRetain: boolean;

  /** Throws an AccessError when the options cannot be used. */
  constructor(options: HttpRuleSourceOptions) {
    const { service, clock, log } = options;
    this.#backend = new HttpBackend({
      service,
      name: 'authorization.http',
      usualFields: usualRequestFields,
      placeholders: requestPlaceholders,
      clock,
      log,
    });
    this.description = `http ${this.#backend.display}`;
    this.#hasQos = this.#backend.names.has('q');
    this.#hasRetain = this.#backend.names.has('r');
    this.#cache = serviceCache(service, clock, options.staleS ?? STALE_S);
  }

  get inFlight(): number {
    return this.#backend.inFlight;
  }

  get waiting(): number {
    return this.#backend.waiting;
  }

  /** Verdicts in memory. */
  get cached(): number {
    return this.#cache.size;
  }

  start(): Promise<void> {
    return this.#backend.open();
  }

  async prepare(): Promise<Prepared> {
    return followed(await this.#backend.prepare(), () => this.#cache.expire());
  }

  async stop(): Promise<void> {
    this.#backend.close();
  }

  open(subject: RuleSubject): Decider {
    const ofSubject = subjectLookup(subject);
    // Everything the service may be told of the client, so that no two clients share a verdict.
    let prefix: string | null = null;
    const keyOf = (action: AclAction, topic: string, qos: number, retain: boolean): string => {
      prefix ??= this.#fingerprint.of(this.#backend.render(ofSubject), subject.clientId);
      const rest = `${action}${this.#hasQos ? qos : ''}${this.#hasRetain ? retain : ''} ${topic}`;
      if (rest.length <= KEY_LENGTH_MAX) return prefix + rest;
      return prefix + this.#fingerprint.of(rest);
    };
    return {
      peek: (action, topic, qos, retain) => {
        const key = keyOf(action, topic, qos, retain);
        const known = this.#cache.get(key);
        if (known !== undefined) {
          this.counters.cacheHits += 1;
          return this.#count(known);
        }
        if (!this.#backend.isResting) return undefined;
        return this.#count(this.#cache.getStale(key) ?? 'unavailable');
      },
      ask: async (action, topic, qos, retain) => {
        const key = keyOf(action, topic, qos, retain);
        const lookup = requestLookup(ofSubject, action, topic, qos, retain);
        const verdict = await this.#asking.run(key, () => this.#ask(key, lookup, subject));
        return this.#count(verdict);
      },
    };
  }

  async #ask(key: string, lookup: Lookup, subject: RuleSubject): Promise<SourceVerdict> {
    const answer = await this.#backend.ask(this.#backend.render(lookup), subject.clientId);
    if (answer.kind === 'busy' || answer.kind === 'unavailable') {
      return this.#cache.getStale(key) ?? 'unavailable';
    }
    this.#cache.set(key, answer.kind);
    return answer.kind;
  }

  #count(verdict: SourceVerdict): SourceVerdict {
    if (verdict === 'allow') this.counters.allowed += 1;
    else if (verdict === 'ignore') this.counters.ignored += 1;
    else {
      this.counters.denied += 1;
      if (verdict === 'unavailable') this.counters.errors += 1;
    }
    return verdict;
  }
}

function requestLookup(
  ofSubject: Lookup,
  action: AclAction,
  topic: string,
  qos: number,
  retain: boolean,
): Lookup {
  return (name) => {
    switch (name) {
      case 'A':
        return action;
      case 't':
        return topic;
      case 'q':
        return `${qos}`;
      case 'r':
        return `${retain}`;
      default:
        return ofSubject(name);
    }
  };
}
