/**
 * Who may call the API: the tokens of a file, and one from the environment. Knows a token by its hash
 * and compares without telling how much of it was right. Used by the API and by `causeway init`.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Role } from './role.ts';
import {
  isTokenName,
  readTokenFile,
  TOKENS_MAX,
  type TokenRecord,
  writeTokenFile,
} from './token-file.ts';

/** A token as it is shown: without its hash. */
export interface TokenView {
  readonly name: string;
  readonly role: Role;
  readonly createdAt: string | null;
  readonly expiresAt: string | null;
  /** `environment` ends with the process that was given it. */
  readonly origin: 'file' | 'environment';
}

export interface CreatedToken extends TokenView {
  /** Shown this once. */
  readonly token: string;
}

export interface NewToken {
  readonly name: string;
  readonly role: Role;
  /** Null: never. */
  readonly expiresInS: number | null;
}

/** Why a token cannot be made or removed. */
export class TokenError extends Error {
  readonly code: 'taken' | 'name' | 'full' | 'unknown' | 'environment' | 'last_admin';

  constructor(code: TokenError['code'], message: string) {
    super(message);
    this.name = 'TokenError';
    this.code = code;
  }
}

export interface TokenStoreOptions {
  readonly file: string;
  /** CAUSEWAY_ADMIN_TOKEN: an admin token of this process. */
  readonly environmentToken?: string | undefined;
  /** Wall-clock ms. */
  readonly wallMs: () => number;
}

/** So that logs, scanners and people know one when they see it. */
const TOKEN_PREFIX = 'cwt_';
const TOKEN_BYTES = 32;
export const ENVIRONMENT_TOKEN_LENGTH_MIN = 24;
const ENVIRONMENT_NAME = 'environment';

interface Held {
  readonly name: string;
  readonly role: Role;
  readonly hash: Buffer;
  readonly expiresAtMs: number;
}

export class TokenStore {
  readonly #options: TokenStoreOptions;
  readonly #environment: Held | null;
  #records: readonly TokenRecord[] = [];
  #held: readonly Held[] = [];
  #changing: Promise<unknown> = Promise.resolve();

  /** Throws a RangeError when the environment's token is too short to be one. */
  constructor(options: TokenStoreOptions) {
    this.#options = options;
    const { environmentToken } = options;
    if (environmentToken === undefined || environmentToken === '') {
      this.#environment = null;
      return;
    }
    if (environmentToken.length < ENVIRONMENT_TOKEN_LENGTH_MIN) {
      throw new RangeError(
        `CAUSEWAY_ADMIN_TOKEN has fewer than ${ENVIRONMENT_TOKEN_LENGTH_MIN} characters`,
      );
    }
    const hash = sha256(environmentToken);
    this.#environment = { name: ENVIRONMENT_NAME, role: 'admin', hash, expiresAtMs: 0 };
  }

  /** Reads the file. Throws a TokenFileError, and keeps what it had, when the file is broken. */
  async load(): Promise<void> {
    this.#use(await readTokenFile(this.#options.file));
  }

  get isEmpty(): boolean {
    return this.#environment === null && this.#held.length === 0;
  }

  /** Whose token this is; 'unknown' or 'expired' when nobody's. */
  find(token: string): { readonly name: string; readonly role: Role } | 'unknown' | 'expired' {
    const hash = sha256(token);
    let found: Held | null = null;
    // Every hash is compared, whichever is the one.
    for (const held of this.#held) if (timingSafeEqual(held.hash, hash)) found = held;
    const environment = this.#environment;
    if (environment !== null && timingSafeEqual(environment.hash, hash)) found = environment;
    if (found === null) return 'unknown';
    return this.#isExpired(found) ? 'expired' : { name: found.name, role: found.role };
  }

  /** Whether the token of this name may still do what it has begun. */
  isGood(name: string): boolean {
    if (name === ENVIRONMENT_NAME) return this.#environment !== null;
    const held = this.#held.find((one) => one.name === name);
    return held !== undefined && !this.#isExpired(held);
  }

  list(): readonly TokenView[] {
    const views = this.#records.map(viewOf);
    if (this.#environment === null) return views;
    const environment: TokenView = {
      name: ENVIRONMENT_NAME,
      role: 'admin',
      createdAt: null,
      expiresAt: null,
      origin: 'environment',
    };
    return [environment, ...views];
  }

  /** Makes a token and keeps its hash. Throws a TokenError. */
  create(wanted: NewToken): Promise<CreatedToken> {
    return this.#change(async (records) => {
      const { name, role, expiresInS } = wanted;
      if (!isTokenName(name)) {
        throw new TokenError('name', 'a name has 1 to 64 letters, digits, dots, - and _');
      }
      if (name === ENVIRONMENT_NAME || records.some((record) => record.name === name)) {
        throw new TokenError('taken', `there is a token with the name ${name}`);
      }
      if (records.length >= TOKENS_MAX) {
        throw new TokenError('full', `there are ${TOKENS_MAX} tokens already`);
      }
      const token = `${TOKEN_PREFIX}${randomBytes(TOKEN_BYTES).toString('base64url')}`;
      const nowMs = this.#options.wallMs();
      const expiresAtMs = expiresInS === null ? null : nowMs + expiresInS * 1000;
      const record: TokenRecord = {
        name,
        role,
        sha256: sha256(token).toString('hex'),
        createdAt: new Date(nowMs).toISOString(),
        expiresAt: expiresAtMs === null ? null : new Date(expiresAtMs).toISOString(),
      };
      return { records: [...records, record], result: { ...viewOf(record), token } };
    });
  }

  /** The token is refused from now on. Throws a TokenError. */
  remove(name: string): Promise<void> {
    return this.#change(async (records) => {
      if (name === ENVIRONMENT_NAME && this.#environment !== null) {
        throw new TokenError('environment', 'this token ends with CAUSEWAY_ADMIN_TOKEN');
      }
      const left = records.filter((record) => record.name !== name);
      if (left.length === records.length) throw new TokenError('unknown', 'there is no such token');
      const isAdmin = ({ role, expiresAt }: TokenRecord): boolean =>
        role === 'admin' && (expiresAt === null || Date.parse(expiresAt) > this.#options.wallMs());
      if (this.#environment === null && records.some(isAdmin) && !left.some(isAdmin)) {
        throw new TokenError('last_admin', 'this is the last admin token; make another one first');
      }
      return { records: left, result: undefined };
    });
  }

  /** One change after the other, each on what the file holds by then. */
  #change<T>(
    change: (records: readonly TokenRecord[]) => Promise<{ records: TokenRecord[]; result: T }>,
  ): Promise<T> {
    const done = this.#changing.then(async () => {
      const { file } = this.#options;
      const { records, result } = await change(await readTokenFile(file));
      await writeTokenFile(file, records);
      this.#use(records);
      return result;
    });
    this.#changing = done.catch(() => {});
    return done;
  }

  #use(records: readonly TokenRecord[]): void {
    this.#records = records;
    this.#held = records.map(({ name, role, sha256: hash, expiresAt }) => ({
      name,
      role,
      hash: Buffer.from(hash, 'hex'),
      expiresAtMs: expiresAt === null ? 0 : Date.parse(expiresAt),
    }));
  }

  #isExpired({ expiresAtMs }: Held): boolean {
    return expiresAtMs !== 0 && expiresAtMs <= this.#options.wallMs();
  }
}

function sha256(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function viewOf({ name, role, createdAt, expiresAt }: TokenRecord): TokenView {
  return { name, role, createdAt, expiresAt, origin: 'file' };
}
