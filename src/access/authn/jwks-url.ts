/**
 * Keys of tokens that their issuer publishes under a URL (a JSON Web Key Set). Fetched in the
 * background and when a token names a key nobody knows; what is wrong or missing never replaces keys
 * that were good, and keys that could not be confirmed for too long count no more.
 */
import type { Clock, Log } from '../../core/ports.ts';
import { readCaFile } from '../../drivers/ca-file.ts';
import { HttpClient, HttpError } from '../../drivers/http/http-client.ts';
import { AccessError } from '../access-error.ts';
import { type Prepared, prepared } from '../prepared.ts';
import { type JwtAlgorithm, type JwtKey, JwtKeySet, readJwk } from './jwt-key.ts';

export interface JwksUrlOptions {
  readonly url: string;
  readonly caFile?: string | undefined;
  /** Those in use; a document without a key for any of them is no good. */
  readonly algorithms: readonly JwtAlgorithm[];
  /** How long keys are used before they are fetched again. */
  readonly cacheS: number;
  /** How long they are used while they cannot be fetched. */
  readonly staleS: number;
  /** The shortest time between two fetches that somebody else causes; default 10 000. */
  readonly cooldownMs?: number | undefined;
  /** For one whole fetch; default 5000. */
  readonly timeoutMs?: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** Rises only. */
export interface JwksCounters {
  fetches: number;
  /** Fetches that brought no usable document. */
  failures: number;
}

/** A document that can be used. */
interface Fetched {
  readonly keys: JwtKeySet;
  readonly document: Buffer;
  /** Monotonic. */
  readonly atMs: number;
}

const COOLDOWN_MS = 10_000;
const TIMEOUT_MS = 5000;
const DOCUMENT_BYTES_MAX = 256 * 1024;
const KEYS_MAX = 100;
/** The first fetch again after one that failed; then twice as long each time, up to the cooldown. */
const RETRY_MS = 500;

export class JwksUrl {
  readonly counters: JwksCounters = { fetches: 0, failures: 0 };
  readonly #options: JwksUrlOptions;
  readonly #cooldownMs: number;
  readonly #url: URL;
  /** For words: without a query, which may hold a token. */
  readonly #display: string;
  #client: HttpClient | null = null;
  #keys: JwtKeySet | null = null;
  #document: Buffer | null = null;
  /** Monotonic ms. */
  #confirmedAtMs = 0;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #failuresInARow = 0;
  #fetching: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: JwksUrlOptions) {
    this.#options = options;
    this.#cooldownMs = options.cooldownMs ?? COOLDOWN_MS;
    this.#url = checkUrl(options.url);
    this.#display = `${this.#url.origin}${this.#url.pathname}`;
  }

  /**
   * Fetches once. A URL that does not answer stops no broker: its tokens are refused until it does.
   * Throws an AccessError when the files are wrong.
   */
  async start(): Promise<void> {
    this.#client = this.#makeClient();
    await this.#fetch().catch(() => {});
  }

  /**
   * Fetches now, and keeps what it had when nothing good comes: that is told and tried again, but is
   * no reason to turn down the rest of a reload. Throws an AccessError when the files are wrong.
   */
  async prepare(taken: (keys: JwtKeySet) => void): Promise<Prepared> {
    const client = this.#makeClient();
    let fetched: Fetched | null = null;
    let failure: unknown = null;
    try {
      fetched = await this.#ask(client);
    } catch (error) {
      failure = error;
    }
    const discard = (): void => client.close();
    return prepared(() => {
      // Stopped meanwhile.
      if (this.#client === null) return discard();
      this.#client.retire();
      this.#client = client;
      this.#triedAtMs = this.#options.clock.monotonicMs();
      if (fetched === null) this.#failed(failure);
      // What was fetched since then by the clock counts more.
      else {
        if (fetched.atMs >= this.#confirmedAtMs) this.#take(fetched);
        if (this.#keys !== null) taken(this.#keys);
      }
      this.#arm();
    }, discard);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#client?.close();
    this.#client = null;
    this.#keys = null;
    this.#document = null;
  }

  /** The keys that count now, or null: there are none. */
  current(): JwtKeySet | null {
    if (this.#keys === null) return null;
    const ageMs = this.#options.clock.monotonicMs() - this.#confirmedAtMs;
    return ageMs <= this.#options.staleS * 1000 ? this.#keys : null;
  }

  /**
   * A token names a key that is not known: resolves when the keys have been fetched once more, all
   * who ask meanwhile with the same fetch. Null: not so soon again.
   */
  refetch(): Promise<void> | null {
    if (this.#fetching === null) {
      if (this.#client === null) return null;
      if (this.#options.clock.monotonicMs() - this.#triedAtMs < this.#cooldownMs) return null;
    }
    return (this.#fetching ?? this.#fetch()).catch(() => {});
  }

  #makeClient(): HttpClient {
    const { caFile, timeoutMs } = this.#options;
    let ca: string[] | null = null;
    try {
      if (caFile !== undefined) ca = readCaFile(caFile);
    } catch (error) {
      const message = error instanceof Error ? error.message : 'cannot be read';
      throw new AccessError([{ where: caFile ?? '', message }]);
    }
    return new HttpClient({
      url: this.#url,
      ca,
      timeoutMs: timeoutMs ?? TIMEOUT_MS,
      concurrencyMax: 1,
      waitingMax: 1,
      answerBytesMax: DOCUMENT_BYTES_MAX,
    });
  }

  /** One at a time; rejects with an Error that says what was wrong, and tries again later. */
  #fetch(): Promise<void> {
    const client = this.#client;
    if (client === null) return Promise.reject(new Error('is closed'));
    if (this.#fetching !== null) return this.#fetching;
    this.#triedAtMs = this.#options.clock.monotonicMs();
    this.#fetching = this.#ask(client)
      .then(
        (fetched) => {
          // Those of the client that took its place are there.
          if (this.#client === client) this.#take(fetched);
        },
        (error: unknown) => {
          if (this.#client === client) this.#failed(error);
          throw error;
        },
      )
      .finally(() => {
        this.#fetching = null;
        this.#arm();
      });
    return this.#fetching;
  }

  async #ask(client: HttpClient): Promise<Fetched> {
    const { clock } = this.#options;
    this.counters.fetches += 1;
    const { status, body } = await client.ask({
      method: 'GET',
      path: `${this.#url.pathname}${this.#url.search}`,
      headers: { accept: 'application/jwk-set+json, application/json' },
      body: null,
      party: '',
    });
    if (status !== 200) throw new Error(`answered with status ${status}`);
    // The same document keeps its keys, and with them what was verified.
    const keys =
      this.#keys !== null && this.#document?.equals(body) === true
        ? this.#keys
        : readDocument(body, this.#options.algorithms);
    return { keys, document: body, atMs: clock.monotonicMs() };
  }

  #take({ keys, document, atMs }: Fetched): void {
    this.#failuresInARow = 0;
    this.#keys = keys;
    this.#document = document;
    this.#confirmedAtMs = atMs;
  }

  #failed(error: unknown): void {
    this.counters.failures += 1;
    this.#failuresInARow += 1;
    this.#complain(error);
  }

  #arm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#client === null) return;
    const cacheMs = this.#options.cacheS * 1000;
    const retryMs = RETRY_MS * 2 ** Math.min(this.#failuresInARow, 10);
    const delayMs =
      this.#failuresInARow === 0 ? cacheMs : Math.min(retryMs, this.#cooldownMs, cacheMs);
    this.#timer = setTimeout(() => {
      this.#fetch().catch(() => {});
    }, delayMs);
    this.#timer.unref();
  }

  #complain(error: unknown): void {
    if (this.#client === null) return;
    const problem = error instanceof Error ? error.message : 'failed';
    const fields = {
      url: this.#display,
      problem,
      code: error instanceof HttpError ? error.code : undefined,
      failuresInARow: this.#failuresInARow,
    };
    if (this.current() === null) {
      this.#options.log.error(
        fields,
        'the keys of tokens could not be fetched: tokens are refused',
      );
    } else {
      this.#options.log.warn(
        fields,
        'the keys of tokens could not be fetched: the old ones are used',
      );
    }
  }
}

function checkUrl(text: string): URL {
  const fail = (message: string): never => {
    throw new AccessError([{ where: 'authentication.jwt.jwksUrl', message }]);
  };
  const url = URL.parse(text) ?? fail('is no URL');
  if (url.username !== '' || url.password !== '') {
    fail('must not hold a user name or password');
  }
  if (url.protocol === 'https:') return url;
  // Whoever stands between could give the broker his own keys.
  const isHere =
    url.hostname === 'localhost' ||
    url.hostname === '[::1]' ||
    /^127\.\d+\.\d+\.\d+$/.test(url.hostname);
  if (url.protocol !== 'http:' || !isHere)
    fail('must begin with https://; http:// is for this machine');
  return url;
}

/** Throws an Error that says what is wrong with it. */
function readDocument(body: Buffer, algorithms: readonly JwtAlgorithm[]): JwtKeySet {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw new Error('answered with something else than JSON');
  }
  const isObject = typeof value === 'object' && value !== null;
  const list =
    isObject && Object.hasOwn(value as object, 'keys') ? (value as { keys: unknown }).keys : null;
  if (!Array.isArray(list)) throw new Error('answered without a list of keys');
  if (list.length > KEYS_MAX) throw new Error(`answered with more than ${KEYS_MAX} keys`);
  const keys = list.map(readJwk).filter(
    // What is unknown is passed over (RFC 7517 §5); a secret that is published is none.
    (key): key is JwtKey => key !== null && typeof key !== 'string' && key.key.type === 'public',
  );
  const set = new JwtKeySet(keys);
  if (!set.serves(algorithms))
    throw new Error(`answered without a key for ${algorithms.join(', ')}`);
  return set;
}
