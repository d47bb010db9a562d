/**
 * Users and passwords of a file, as a link of the authentication chain. Checks run in the thread pool
 * behind a fair queue; passwords that were right a while ago are answered from a cache.
 *
 * A user that is not in the file is left to the next link. When the chain then refuses after all, it
 * first spends what a wrong password would have cost (`beforeRefusal`), so that neither the answer nor
 * its time tells whether a user exists.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { Log } from '../../core/ports.ts';
import type { RefuseReason } from '../../core/refuse-reason.ts';
import type {
  AuthenticationAnswer,
  Authenticator,
  AuthenticatorCounters,
  Credentials,
  Identified,
} from '../authenticator.ts';
import { type Prepared, prepared } from '../prepared.ts';
import { identified, ignored, keptOut, newAuthenticatorCounters, refusal } from './answers.ts';
import type { UnknownUser } from './chain.ts';
import { parseHash, type StoredHash } from './hash-format.ts';
import { verifyPassword } from './hash-password.ts';
import { BUSY, type HashQueue, KEPT_OUT, type NoHash } from './hash-queue.ts';
import {
  loadPasswordFile,
  type PasswordEntries,
  type PasswordEntry,
  usersToEnd,
} from './password-file.ts';
import type { VerifiedCache } from './verified-cache.ts';

export interface PasswordOptions {
  readonly file: string;
  readonly queue: HashQueue;
  readonly cache: VerifiedCache;
  readonly log: Log;
  /** After a reload: these users are gone, have another password or less than they had. */
  readonly onUsersChanged?: ((users: ReadonlySet<string>) => void) | undefined;
}

const emptyPassword = refusal('bad_credentials', 'the password is empty');
const wrongPassword = refusal('bad_credentials', 'wrong password');
const busy = refusal('authentication_busy', 'too many passwords wait to be checked');

export class PasswordAuthenticator implements Authenticator {
  readonly kind = 'password';
  readonly counters: AuthenticatorCounters = newAuthenticatorCounters();
  readonly #options: PasswordOptions;
  /** Null: not started; then every login fails. */
  #entries: PasswordEntries | null = null;
  /** Stored hashes that stand in for those of unknown users. */
  #models: readonly string[] = [];
  /** Picks the model of an unknown user: always the same one, and nobody can tell which. */
  readonly #secret: Buffer = randomBytes(32);
  /** Checks under way by key of the cache: clients that share a password wait for one check. */
  readonly #checks = new Map<string, Promise<boolean | NoHash>>();

  constructor(options: PasswordOptions) {
    this.#options = options;
  }

  get entries(): number {
    return this.#entries?.size ?? 0;
  }

  async start(): Promise<void> {
    this.#install(await loadPasswordFile(this.#options.file, this.#options.log));
  }

  async prepare(): Promise<Prepared> {
    const entries = await loadPasswordFile(this.#options.file, this.#options.log);
    return prepared(() => {
      const before = this.#entries;
      this.#install(entries);
      const changed = usersToEnd(before ?? new Map(), entries);
      if (changed.size === 0) return;
      this.#options.cache.forget(changed);
      this.#options.onUsersChanged?.(changed);
    });
  }

  async stop(): Promise<void> {
    // Nothing is open. Logins that come now are answered with what is known.
  }

  authenticate(
    credentials: Credentials,
  ): AuthenticationAnswer | UnknownUser | Promise<AuthenticationAnswer> {
    const { username, password } = credentials;
    if (this.#entries === null) {
      this.counters.errors += 1;
      this.counters.refused += 1;
      throw new Error('the password file was not read');
    }
    // Neither says anything about a user and his password; both may be for another link.
    if (username === null || password === null) return this.#count(ignored);
    if (password.length === 0) return this.#count(emptyPassword);
    const entry = this.#entries.get(username);
    if (entry === undefined) {
      this.counters.ignored += 1;
      return {
        kind: 'ignored',
        beforeRefusal: () => this.#pretend(username, password, credentials),
      };
    }
    const key = this.#options.cache.key(username, entry.hash, password);
    if (this.#options.cache.has(key)) {
      this.counters.cacheHits += 1;
      return this.#count({ kind: 'accepted', who: identify(username, entry) });
    }
    return this.#verify(username, entry, key, password, credentials);
  }

  isSuperuser(user: string): boolean {
    return this.#entries?.get(user)?.superuser === true;
  }

  async #verify(
    username: string,
    entry: PasswordEntry,
    key: string,
    password: Buffer,
    credentials: Credentials,
  ): Promise<AuthenticationAnswer> {
    let outcome: boolean | NoHash;
    try {
      outcome = await this.#check(key, entry.hash, password, credentials);
    } catch (error) {
      this.counters.errors += 1;
      this.counters.refused += 1;
      throw error;
    }
    if (outcome === KEPT_OUT) return this.#count(keptOut);
    // A reload may have come meanwhile: only what the file says now lets anybody in.
    const now = this.#entries?.get(username);
    if (now?.hash !== entry.hash) return this.#count(wrongPassword);
    if (outcome === BUSY) return this.#count(busy);
    if (!outcome) return this.#count(wrongPassword);
    this.#options.cache.add(key, username);
    return this.#count({ kind: 'accepted', who: identify(username, now) });
  }

  /** As long as a wrong password; never right. */
  async #pretend(
    username: string,
    password: Buffer,
    credentials: Credentials,
  ): Promise<RefuseReason> {
    const digest = createHmac('sha256', this.#secret).update(username).digest();
    const model = this.#models[digest.readUInt32BE(0) % this.#models.length];
    if (model === undefined) return 'bad_credentials';
    const key = this.#options.cache.key(username, model, password);
    const outcome = await this.#check(key, model, password, credentials);
    if (outcome === KEPT_OUT) return keptOut.reason;
    return outcome === BUSY ? 'authentication_busy' : 'bad_credentials';
  }

  async #check(
    key: string,
    hash: string,
    password: Buffer,
    credentials: Credentials,
  ): Promise<boolean | NoHash> {
    const { remoteAddress, isKeptOut } = credentials;
    const running = this.#checks.get(key);
    if (running !== undefined) {
      const outcome = await running;
      // Dropped for who began it, which need not be so for this one.
      if (outcome !== KEPT_OUT || isKeptOut?.() === true) return outcome;
      return this.#check(key, hash, password, credentials);
    }
    const stored = storedHash(hash);
    const check = this.#options.queue
      .submit(remoteAddress, () => verifyPassword(stored, password), isKeptOut)
      .finally(() => this.#checks.delete(key));
    this.#checks.set(key, check);
    return check;
  }

  #install(entries: PasswordEntries): void {
    this.#entries = entries;
    this.#models = [...entries.values()].map(({ hash }) => hash);
  }

  #count(answer: AuthenticationAnswer): AuthenticationAnswer {
    this.counters[answer.kind] += 1;
    return answer;
  }
}

function storedHash(hash: string): StoredHash {
  const stored = parseHash(hash);
  if ('problem' in stored) throw new Error('a hash that was read before cannot be read');
  return stored;
}

function identify(user: string, { tenant, superuser }: PasswordEntry): Identified {
  return identified(user, { tenant, superuser });
}
