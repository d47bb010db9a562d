/**
 * Users in Redis, as EMQX (`HGETALL mqtt_user:alice`) or mosquitto-go-auth (`GET alice`) keep them, or
 * in a hash with names of its own. While Redis is away nobody is let in who was not a moment ago. A
 * user it does not have is left to the next link of the chain, which this is one of.
 */
import type { Clock, Log, Random } from '../../core/ports.ts';
import type { RefuseReason } from '../../core/refuse-reason.ts';
import type { RedisReply } from '../../drivers/redis/redis-client.ts';
import { AccessError, orProblem } from '../access-error.ts';
import type {
  AuthenticationAnswer,
  Authenticator,
  AuthenticatorCounters,
  Credentials,
  Identified,
} from '../authenticator.ts';
import { loginLookup } from '../backend/client-lookup.ts';
import { Fingerprint } from '../backend/fingerprint.ts';
import { InFlight } from '../backend/in-flight.ts';
import { KeyTemplate } from '../backend/key-template.ts';
import { RedisBackend, type RedisServiceOptions } from '../backend/redis-backend.ts';
import { clientPlaceholders } from '../backend/template.ts';
import { followed, type Prepared } from '../prepared.ts';
import { serviceCache, type TtlCache } from '../ttl-cache.ts';
import { identified, ignored, keptOut, newAuthenticatorCounters, refusal } from './answers.ts';
import type { UnknownUser } from './chain.ts';
import { BUSY, type HashQueue, KEPT_OUT, type NoHash } from './hash-queue.ts';
import {
  type DigestOptions,
  decoyOf,
  firstDecoy,
  isPassword,
  isSlow,
  type RedisHash,
  readDigest,
  readText,
  type SaltPosition,
  type StoredPassword,
} from './redis-password.ts';

export type RedisUserLayout = 'emqx' | 'mosquitto_go_auth' | 'custom';

/** As in the configuration; files absolute. */
export interface RedisUserOptions extends RedisServiceOptions {
  readonly layout: RedisUserLayout;
  /** `mqtt_user:%u` when absent; not with mosquitto_go_auth, whose keys are what they are. */
  readonly userKey?: string | undefined;
  readonly hashField: string;
  readonly saltField: string;
  readonly superuserField: string;
  readonly hash: RedisHash;
  readonly salt: SaltPosition;
  readonly pbkdf2Iterations: number;
}

export interface RedisAuthenticatorOptions {
  readonly service: RedisUserOptions;
  /** Before slow hashes; shared with the password file. */
  readonly queue: HashQueue;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const NAME = 'authentication.redis';
const HASHES: readonly string[] = ['sha256', 'sha512', 'pbkdf2_sha256', 'pbkdf2_sha512', 'plain'];
const EMQX_FIELDS = {
  hashField: 'password_hash',
  saltField: 'salt',
  superuserField: 'is_superuser',
};

const unusable = refusal('bad_credentials', 'the user name or password is empty');
const wrong = refusal('bad_credentials', 'wrong password');
const unavailable = refusal('authentication_unavailable', 'Redis gave no usable answer');
const busy = refusal('authentication_busy', 'too many logins wait to be checked');

interface UserRecord {
  readonly stored: StoredPassword;
  readonly superuser: boolean;
}

/** What is known of a user: a record, nothing, or why neither. */
type Found = UserRecord | 'unknown' | 'busy' | 'unavailable';

export class RedisAuthenticator implements Authenticator {
  readonly kind = 'redis';
  readonly counters: AuthenticatorCounters = newAuthenticatorCounters();
  readonly #service: RedisUserOptions;
  readonly #queue: HashQueue;
  readonly #backend: RedisBackend;
  readonly #userKey: KeyTemplate;
  readonly #fields: readonly string[];
  readonly #fingerprint = new Fingerprint();
  readonly #accepted: TtlCache<Identified>;
  readonly #asking = new InFlight<AuthenticationAnswer | UnknownUser>();
  readonly #checking = new InFlight<boolean | NoHash>();
  /** Stands in for users there are none of: costs what the last record cost. */
  #decoy: StoredPassword;

  /** Throws an AccessError when the options cannot be used. */
  constructor(options: RedisAuthenticatorOptions) {
    const { service, queue, clock, random, log } = options;
    this.#service = service;
    this.#queue = queue;
    const isText = service.layout === 'mosquitto_go_auth';
    if (!isText && !HASHES.includes(service.hash)) {
      const message = `expected ${HASHES.join(', ')}; others, such as bcrypt, cannot be checked here`;
      throw new AccessError([{ where: `${NAME}.hash`, message }]);
    }
    this.#backend = new RedisBackend({ service, name: NAME, clock, random, log });
    const template = isText ? '%u' : (service.userKey ?? 'mqtt_user:%u');
    if (isText && service.userKey !== undefined) {
      const message = 'the layout mosquitto_go_auth has keys of its own; use the layout custom';
      throw new AccessError([{ where: `${NAME}.userKey`, message }]);
    }
    this.#userKey = orProblem(
      `${NAME}.userKey`,
      () => new KeyTemplate(service.keyPrefix, template, clientPlaceholders, isText),
    );
    const fields = service.layout === 'custom' ? service : EMQX_FIELDS;
    this.#fields = [fields.hashField, fields.saltField, fields.superuserField];
    this.#decoy = firstDecoy(isText ? null : service);
    this.#accepted = serviceCache(service, clock);
  }

  /** For health and metrics. */
  get isUp(): boolean {
    return this.#backend.isUp;
  }

  start(): Promise<void> {
    return this.#backend.open();
  }

  async prepare(): Promise<Prepared> {
    return followed(await this.#backend.prepare(), () => this.#accepted.expire());
  }

  async stop(): Promise<void> {
    this.#backend.close();
    this.#accepted.expire();
  }

  authenticate(
    credentials: Credentials,
  ): AuthenticationAnswer | UnknownUser | Promise<AuthenticationAnswer | UnknownUser> {
    const { username, password } = credentials;
    if (username === null || password === null) return this.#count(ignored);
    if (username === '' || password.length === 0) return this.#count(unusable);
    const key = this.#userKey.render(loginLookup(credentials));
    const login = this.#fingerprint.of(key ?? '', username, password);
    if (key === null) return this.#count(this.#unknown(login, password, credentials));
    const who = this.#accepted.get(login);
    if (who !== undefined) {
      this.counters.cacheHits += 1;
      return this.#count({ kind: 'accepted', who });
    }
    return this.#ask(login, key, username, password, credentials).then((answer) =>
      this.#count(answer),
    );
  }

  async #ask(
    login: string,
    key: string,
    username: string,
    password: Buffer,
    credentials: Credentials,
  ): Promise<AuthenticationAnswer | UnknownUser> {
    for (;;) {
      const answer = await this.#asking.run(login, () =>
        this.#decide(login, key, username, password, credentials),
      );
      // Dropped for who began it, which need not be so for this one.
      if (answer !== keptOut || credentials.isKeptOut?.() === true) return answer;
    }
  }

  async #decide(
    login: string,
    key: string,
    username: string,
    password: Buffer,
    credentials: Credentials,
  ): Promise<AuthenticationAnswer | UnknownUser> {
    const found = await this.#find(key);
    if (found === 'unknown') return this.#unknown(login, password, credentials);
    if (found === 'busy') return busy;
    if (found === 'unavailable') return unavailable;
    this.#decoy = decoyOf(found.stored);
    const outcome = await this.#check(login, found.stored, password, credentials);
    if (outcome === KEPT_OUT) return keptOut;
    if (outcome === BUSY) return busy;
    if (!outcome) return wrong;
    const who = identified(username, { superuser: found.superuser });
    this.#accepted.set(login, who);
    return { kind: 'accepted', who };
  }

  /** As long as a wrong password of a user there is. */
  #unknown(login: string, password: Buffer, credentials: Credentials): UnknownUser {
    const beforeRefusal = async (): Promise<RefuseReason> => {
      const outcome = await this.#check(login, this.#decoy, password, credentials);
      if (outcome === KEPT_OUT) return keptOut.reason;
      return outcome === BUSY ? 'authentication_busy' : 'bad_credentials';
    };
    return { kind: 'ignored', beforeRefusal };
  }

  async #check(
    login: string,
    stored: StoredPassword,
    password: Buffer,
    { remoteAddress, isKeptOut }: Credentials,
  ): Promise<boolean | NoHash> {
    if (!isSlow(stored)) return isPassword(stored, password);
    for (;;) {
      const outcome = await this.#checking.run(login, () =>
        this.#queue.submit(remoteAddress, () => isPassword(stored, password), isKeptOut),
      );
      if (outcome !== KEPT_OUT || isKeptOut?.() === true) return outcome;
    }
  }

  #find(key: string): Promise<Found> {
    return this.#service.layout === 'mosquitto_go_auth' ? this.#findText(key) : this.#findHash(key);
  }

  async #findHash(key: string): Promise<Found> {
    const answer = await this.#backend.command(['HMGET', key, ...this.#fields]);
    if (answer.kind !== 'reply') return answer.kind;
    if (!Array.isArray(answer.reply)) return this.#unreadable('HMGET gave no list');
    const [hash, salt = null, superuser = null] = answer.reply as readonly RedisReply[];
    if (hash === null || hash === undefined) return 'unknown';
    if (typeof hash !== 'string' || (salt !== null && typeof salt !== 'string')) {
      return this.#unreadable('HMGET gave something else than texts');
    }
    const options: DigestOptions = this.#service;
    const stored = readDigest(hash, salt, options);
    if (stored === null) return this.#unreadable(`a user has no ${this.#service.hash} hash`);
    return { stored, superuser: superuser === '1' || superuser === 'true' };
  }

  async #findText(key: string): Promise<Found> {
    const [hash, superuser] = await Promise.all([
      this.#backend.command(['GET', key]),
      this.#backend.command(['GET', `${key}:su`]),
    ]);
    if (hash.kind !== 'reply') return hash.kind;
    if (superuser.kind !== 'reply') return superuser.kind;
    if (hash.reply === null) return 'unknown';
    const stored = typeof hash.reply === 'string' ? readText(hash.reply) : null;
    if (stored === null) return this.#unreadable('a user has no PBKDF2 or argon2id hash');
    return { stored, superuser: superuser.reply === 'true' };
  }

  #unreadable(why: string): 'unavailable' {
    this.#backend.complain(why);
    return 'unavailable';
  }

  #count<Answer extends AuthenticationAnswer | UnknownUser>(answer: Answer): Answer {
    this.counters[answer.kind] += 1;
    if (answer === unavailable) this.counters.errors += 1;
    return answer;
  }
}
