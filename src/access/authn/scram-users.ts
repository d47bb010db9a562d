/**
 * The users of SCRAM-SHA-256: those of a password file that have a `$scram-sha-256$` hash; other kinds
 * of hashes may stand beside them, for the password link of the chain, and are unknown users here.
 * Started and reloaded by `app`; the gate begins exchanges with it.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { Log } from '../../core/ports.ts';
import { AccessError } from '../access-error.ts';
import { type Prepared, prepared } from '../prepared.ts';
import { identified } from './answers.ts';
import { parseHash, type ScramHash } from './hash-format.ts';
import { keptSecret } from './kept-secret.ts';
import {
  loadPasswordFile,
  type PasswordEntries,
  type PasswordEntry,
  usersToEnd,
} from './password-file.ts';
import { ScramExchange, type ScramLookup, type ScramUser } from './scram-exchange.ts';
import { isPrepared } from './scram-prepare.ts';

export interface ScramOptions {
  readonly file: string;
  readonly log: Log;
  /** After a reload: these users are gone, have another password or less than they had. */
  readonly onUsersChanged?: ((users: ReadonlySet<string>) => void) | undefined;
  /** By the name of a listener; absent: at all of them. */
  readonly isOfferedAt?: ((listenerName: string) => boolean) | undefined;
  /** Where the secret that salts of unknown users come from is kept; absent: a new one each start. */
  readonly secretFile?: string | undefined;
  /** The server's part of a nonce; for tests. */
  readonly nonce?: (() => string) | undefined;
}

/** Rises only. */
export interface ScramCounters {
  accepted: number;
  refused: number;
}

const PROBLEMS_SHOWN_MAX = 50;
const NONCE_BYTES = 18;
const KEY_BYTES = 32;

export class ScramUsers implements ScramLookup {
  readonly counters: ScramCounters = { accepted: 0, refused: 0 };
  readonly #options: ScramOptions;
  #users: PasswordEntries = new Map();
  /** Salt size and iterations that unknown users are given. */
  #models: readonly string[] = [];
  /** Makes up salts and keys: always the same for a name, as those of a user would be. */
  #secret: Buffer = randomBytes(KEY_BYTES);

  constructor(options: ScramOptions) {
    this.#options = options;
  }

  get entries(): number {
    return this.#users.size;
  }

  /** Reads the file; throws an AccessError with everything that is wrong. */
  async start(): Promise<void> {
    const { secretFile, log } = this.#options;
    if (secretFile !== undefined) {
      this.#secret = await keptSecret(secretFile, 'the secret of made-up SCRAM salts', log);
    }
    this.#install(await this.#load());
  }

  /** Reads it again; until `commit` everything is as it was. */
  async prepare(): Promise<Prepared> {
    const users = await this.#load();
    return prepared(() => {
      const before = this.#users;
      this.#install(users);
      const changed = usersToEnd(before, users);
      if (changed.size > 0) this.#options.onUsersChanged?.(changed);
    });
  }

  isOfferedAt(listenerName: string): boolean {
    return this.#options.isOfferedAt?.(listenerName) ?? true;
  }

  /** `onlyUser`: in a re-authentication, the user the connection has; else null. */
  begin(onlyUser: string | null): ScramExchange {
    return new ScramExchange(this, onlyUser);
  }

  find(user: string): ScramUser {
    const entry = this.#users.get(user);
    const hash = entry === undefined ? null : scramHash(entry.hash);
    if (entry === undefined || hash === null) return { hash: this.#madeUp(user), who: null };
    const { tenant, superuser } = entry;
    return { hash, who: identified(user, { tenant, superuser }) };
  }

  isSuperuser(user: string): boolean {
    return this.#users.get(user)?.superuser === true;
  }

  isCurrent(user: string, found: ScramUser): boolean {
    const now = this.find(user);
    return (
      now.hash.storedKey.equals(found.hash.storedKey) &&
      now.hash.serverKey.equals(found.hash.serverKey) &&
      now.who?.tenant === found.who?.tenant &&
      now.who?.superuser === found.who?.superuser
    );
  }

  nonce(): string {
    return this.#options.nonce?.() ?? randomBytes(NONCE_BYTES).toString('base64');
  }

  ended(isAccepted: boolean): void {
    if (isAccepted) this.counters.accepted += 1;
    else this.counters.refused += 1;
  }

  async #load(): Promise<PasswordEntries> {
    const { file, log } = this.#options;
    const all = await loadPasswordFile(file, log);
    const problems = [];
    const users = new Map<string, PasswordEntry>();
    for (const [user, entry] of all) {
      if (scramHash(entry.hash) === null) continue;
      users.set(user, entry);
      if (isPrepared(user) || problems.length === PROBLEMS_SHOWN_MAX) continue;
      const message = 'SCRAM clients would write this user name in several ways';
      problems.push({ where: `${file}:${entry.line}:1`, message });
    }
    if (users.size === 0) {
      const message = 'no user has a SCRAM hash; causeway passwd --scram makes them';
      problems.push({ where: file, message });
    }
    if (problems.length > 0) throw new AccessError(problems);
    return users;
  }

  #install(users: PasswordEntries): void {
    this.#users = users;
    this.#models = [...users.values()].map(({ hash }) => hash);
  }

  /** What a user of this name might have: salt and iterations as some other user has them. */
  #madeUp(user: string): ScramHash {
    const derive = (label: string): Buffer =>
      createHmac('sha512', this.#secret).update(`${label}\0${user}`).digest();
    const pick = derive('model').readUInt32BE(0) % Math.max(1, this.#models.length);
    const model = scramHash(this.#models[pick] ?? '');
    // A user without a model: not started, so nobody can be let in anyway.
    return {
      algorithm: 'scram-sha-256',
      iterations: model?.iterations ?? 4096,
      salt: derive('salt').subarray(0, model?.salt.length ?? 16),
      storedKey: derive('stored key').subarray(0, KEY_BYTES),
      serverKey: derive('server key').subarray(0, KEY_BYTES),
    };
  }
}

/** Null: another kind of hash. */
function scramHash(text: string): ScramHash | null {
  if (!text.startsWith('$scram-')) return null;
  const hash = parseHash(text);
  return 'algorithm' in hash && hash.algorithm === 'scram-sha-256' ? hash : null;
}
