/**
 * Says who a client with a JSON Web Token is. `jose` reads and verifies; which algorithms and which
 * keys may do so is decided here, before it is asked: a token has no say in it. A password that is no
 * token at all is left to the next authenticator; a token that fails is refused.
 */
import type { Clock, Log } from '../../core/ports.ts';
import { AccessError } from '../access-error.ts';
import type {
  AuthenticationAnswer,
  Authenticator,
  AuthenticatorCounters,
  Credentials,
} from '../authenticator.ts';
import { type Prepared, prepared } from '../prepared.ts';
import { identified, ignored, newAuthenticatorCounters, type Refused, refusal } from './answers.ts';
import { type JwksCounters, JwksUrl } from './jwks-url.ts';
import { readTokenClaims } from './jwt-claims.ts';
import { readTokenHeader, type TokenHeader } from './jwt-header.ts';
import { isSecretAlgorithm, type JwtAlgorithm, type JwtKeySet, jwtAlgorithms } from './jwt-key.ts';
import { loadPublicKeyFile, loadSecretFile } from './jwt-key-file.ts';
import { JwtVerifiedCache, type VerifiedToken } from './jwt-verified-cache.ts';

/** As in the configuration; files absolute. */
export interface JwtTerms {
  /** Accepted ones, of one kind: secrets (HS…) or public keys (all others). */
  readonly algorithms: readonly JwtAlgorithm[];
  /** One of these three. */
  readonly secretFile?: string | undefined;
  readonly publicKeyFile?: string | undefined;
  readonly jwksUrl?: string | undefined;
  readonly jwksCaFile?: string | undefined;
  readonly jwksCacheS: number;
  readonly jwksStaleS: number;
  /** The field of CONNECT that holds the token. */
  readonly source: 'password' | 'username';
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
  readonly userClaim: string;
  readonly clientIdClaim?: string | undefined;
  readonly aclClaim: string;
  readonly requireExpiry: boolean;
  readonly clockToleranceS: number;
}

export interface JwtOptions extends JwtTerms {
  readonly jwksCooldownMs?: number | undefined;
  readonly jwksTimeoutMs?: number | undefined;
  /** Longest token; default 8192. */
  readonly tokenBytesMax?: number | undefined;
  /** Verified tokens remembered; default 10 000. */
  readonly verifiedMax?: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** After a reload: keys may be gone, with who came in by them. */
  readonly onKeysRead?: ((isInForce: (keyPrint: string) => boolean) => void) | undefined;
}

/** Where keys come from: a file is read at start and reload, a URL also between. */
interface KeySource {
  /** Null: there are none that count. */
  current(): JwtKeySet | null;
  /** Null: asking again is no use now. */
  refetch(): Promise<void> | null;
  start(): Promise<void>;
  /** `taken`: what was read is in force; not called where nothing good came. */
  prepare(taken: (keys: JwtKeySet) => void): Promise<Prepared>;
  stop(): void;
}

const TOKEN_BYTES_MAX = 8192;
const VERIFIED_MAX = 10_000;
const VERIFIED_BYTES_MAX = 16 * 1024 * 1024;
/** Keys tried for one token that does not say which. */
const KEYS_TRIED_MAX = 4;
/** The end of what a Date can be. */
const EXPIRY_MS_MAX = 8.64e15;

const noKeys = refusal('authentication_unavailable', 'there are no keys to verify tokens with');
const unknownKey = refusal('bad_credentials', 'the token is signed by a key that is not known');
const wrongSignature = refusal('bad_credentials', 'the signature of the token is wrong');

export class JwtAuthenticator implements Authenticator {
  readonly kind = 'jwt';
  readonly counters: AuthenticatorCounters = newAuthenticatorCounters();
  /** Null: keys come from a file. */
  readonly jwks: Readonly<JwksCounters> | null;
  readonly #options: JwtOptions;
  readonly #tokenBytesMax: number;
  readonly #keys: KeySource;
  readonly #verified: JwtVerifiedCache;
  #jose: typeof import('jose') | null = null;

  /** Throws an AccessError when the options do not fit together. */
  constructor(options: JwtOptions) {
    checkOptions(options);
    this.#options = options;
    this.#tokenBytesMax = options.tokenBytesMax ?? TOKEN_BYTES_MAX;
    this.#verified = new JwtVerifiedCache(options.verifiedMax ?? VERIFIED_MAX, VERIFIED_BYTES_MAX);
    const { jwksUrl } = options;
    if (jwksUrl === undefined) {
      this.#keys = new KeyFile(options);
      this.jwks = null;
    } else {
      const source = new JwksUrl({
        url: jwksUrl,
        caFile: options.jwksCaFile,
        algorithms: options.algorithms,
        cacheS: options.jwksCacheS,
        staleS: options.jwksStaleS,
        cooldownMs: options.jwksCooldownMs,
        timeoutMs: options.jwksTimeoutMs,
        clock: options.clock,
        log: options.log,
      });
      this.#keys = source;
      this.jwks = source.counters;
    }
  }

  get entries(): number {
    return this.#keys.current()?.size ?? 0;
  }

  async start(): Promise<void> {
    // Here, so that a broker without tokens does not pay for it.
    this.#jose ??= await import('jose');
    await this.#keys.start();
  }

  prepare(): Promise<Prepared> {
    return this.#keys.prepare((keys) => {
      this.#options.onKeysRead?.((print) => keys.has(print));
    });
  }

  async stop(): Promise<void> {
    this.#keys.stop();
  }

  authenticate(credentials: Credentials): AuthenticationAnswer | Promise<AuthenticationAnswer> {
    const shown = credentials[this.#options.source];
    if (shown === null) return this.#count(ignored);
    const token = typeof shown === 'string' ? shown : shown.toString('latin1');
    const header = readTokenHeader(token, this.#tokenBytesMax);
    if (header === null) return this.#count(ignored);
    if (token.length > this.#tokenBytesMax) {
      return this.#count(
        refusal('bad_credentials', `the token is longer than ${this.#tokenBytesMax} bytes`),
      );
    }
    const algorithm = this.#options.algorithms.find((known) => known === header.algorithm);
    if (algorithm === undefined) {
      return this.#count(
        refusal('bad_credentials', 'the token is signed by an algorithm that is not accepted'),
      );
    }
    const keys = this.#keys.current();
    if (keys === null) return this.#count(noKeys);
    const key = this.#verified.key(token);
    const known = this.#verified.get(key, keys, this.#options.clock.wallMs());
    if (known !== null) {
      this.counters.cacheHits += 1;
      return this.#count(answerFor(known, credentials.clientId));
    }
    return this.#authenticate(token, key, header, algorithm, credentials.clientId);
  }

  async #authenticate(
    token: string,
    key: string,
    header: TokenHeader,
    algorithm: JwtAlgorithm,
    clientId: string,
  ): Promise<AuthenticationAnswer> {
    let keys = this.#keys.current();
    if (keys !== null && keys.candidates(algorithm, header.keyId).length === 0) {
      await this.#keys.refetch();
      keys = this.#keys.current();
    }
    let verified: VerifiedToken | Refused = unknownKey;
    // Again when the keys were replaced meanwhile: only those in force let anybody in.
    for (;;) {
      if (keys === null) return this.#count(noKeys);
      verified = await this.#verify(token, header, algorithm, keys);
      const now = this.#keys.current();
      if (now === keys) break;
      keys = now;
    }
    if ('kind' in verified) return this.#count(verified);
    this.#verified.add(key, keys, token.length, verified);
    return this.#count(answerFor(verified, clientId));
  }

  async #verify(
    token: string,
    header: TokenHeader,
    algorithm: JwtAlgorithm,
    keys: JwtKeySet,
  ): Promise<VerifiedToken | Refused> {
    const { issuer, audience, requireExpiry, clockToleranceS, clock } = this.#options;
    const jose = this.#jose;
    if (jose === null) throw new Error('not started');
    const candidates = keys.candidates(algorithm, header.keyId);
    if (candidates.length === 0) return unknownKey;
    if (candidates.length > KEYS_TRIED_MAX) {
      return refusal(
        'bad_credentials',
        'the token does not say which of many keys it is signed by',
      );
    }
    for (const { key, print } of candidates) {
      try {
        const { payload } = await jose.jwtVerify(token, key, {
          algorithms: [algorithm],
          currentDate: new Date(clock.wallMs()),
          clockTolerance: clockToleranceS,
          requiredClaims: requireExpiry ? ['exp'] : [],
          ...(issuer === undefined ? {} : { issuer }),
          ...(audience === undefined ? {} : { audience }),
        });
        return this.#identify(payload, print);
      } catch (error) {
        if (error instanceof jose.errors.JWSSignatureVerificationFailed) continue;
        if (error instanceof jose.errors.JOSEError)
          return refusal('bad_credentials', explain(error));
        throw error;
      }
    }
    return wrongSignature;
  }

  #identify(payload: object, keyPrint: string): VerifiedToken | Refused {
    const read = readTokenClaims(payload, this.#options);
    if (typeof read === 'string') return refusal('bad_credentials', `of the token, ${read}`);
    const { user, clientIds, rules, claims, expiresAtS } = read;
    // For as long as it would be accepted.
    const expiresAtMs =
      expiresAtS === null
        ? 0
        : Math.min((expiresAtS + this.#options.clockToleranceS) * 1000, EXPIRY_MS_MAX);
    return { who: identified(user, { claims, expiresAtMs, rules, keyPrint }), clientIds };
  }

  #count(answer: AuthenticationAnswer): AuthenticationAnswer {
    this.counters[answer.kind] += 1;
    if (answer === noKeys) this.counters.errors += 1;
    return answer;
  }
}

class KeyFile implements KeySource {
  readonly #options: JwtOptions;
  #keys: JwtKeySet | null = null;

  constructor(options: JwtOptions) {
    this.#options = options;
  }

  current(): JwtKeySet | null {
    return this.#keys;
  }

  refetch(): null {
    return null;
  }

  async start(): Promise<void> {
    this.#keys = await this.#load();
  }

  async prepare(taken: (keys: JwtKeySet) => void): Promise<Prepared> {
    const keys = await this.#load();
    return prepared(() => {
      this.#keys = keys;
      taken(keys);
    });
  }

  stop(): void {
    this.#keys = null;
  }

  #load(): Promise<JwtKeySet> {
    const { secretFile, publicKeyFile, algorithms, log } = this.#options;
    return secretFile === undefined
      ? loadPublicKeyFile({ file: publicKeyFile ?? '', algorithms, log })
      : loadSecretFile({ file: secretFile, algorithms, log });
  }
}

/** What does not fit together would open the door sooner or later, so nothing starts with it. */
function checkOptions(options: JwtOptions): void {
  const { algorithms, secretFile, publicKeyFile, jwksUrl } = options;
  const fail = (option: string, message: string): never => {
    throw new AccessError([{ where: `authentication.jwt.${option}`, message }]);
  };
  if (algorithms.length === 0) {
    fail('algorithms', 'has to name the algorithms of the tokens, for example RS256');
  }
  const unknown = algorithms.find((algorithm) => !jwtAlgorithms.includes(algorithm));
  if (unknown !== undefined) {
    fail('algorithms', `has ${unknown}; known are ${jwtAlgorithms.join(', ')}`);
  }
  const sources = [secretFile, publicKeyFile, jwksUrl].filter((source) => source !== undefined);
  if (sources.length !== 1) {
    fail('algorithms', 'needs exactly one of secretFile, publicKeyFile and jwksUrl');
  }
  const secrets = algorithms.filter(isSecretAlgorithm);
  if (secrets.length > 0 && secrets.length < algorithms.length) {
    fail(
      'algorithms',
      'mixes algorithms of secrets (HS…) and of public keys: a public key could be taken for a secret',
    );
  }
  if (secrets.length > 0 && secretFile === undefined) {
    fail('algorithms', `has ${secrets[0]}, which needs secretFile: a public key is no secret`);
  }
  if (secrets.length === 0 && secretFile !== undefined) {
    fail('secretFile', `is for HS256, HS384 and HS512; ${algorithms[0]} needs a public key`);
  }
  if (!(options.clockToleranceS >= 0)) fail('clockToleranceS', 'must be 0 or more');
}

function answerFor({ who, clientIds }: VerifiedToken, clientId: string): AuthenticationAnswer {
  if (clientIds === null || clientIds.includes(clientId)) return { kind: 'accepted', who };
  return refusal('client_id_invalid', 'the token is for another client identifier');
}

/** By code and claim: jose's own words, and its error's payload, are the client's. */
function explain(error: Error & { code?: string; claim?: string; reason?: string }): string {
  switch (error.code) {
    case 'ERR_JWT_EXPIRED':
      return 'the token has expired';
    case 'ERR_JWT_CLAIM_VALIDATION_FAILED': {
      const claim = ['iss', 'aud', 'exp', 'nbf', 'iat'].find((name) => name === error.claim);
      if (error.reason === 'missing')
        return `the token has no claim ${claim ?? 'that is asked for'}`;
      if (claim === 'nbf' && error.reason === 'check_failed') return 'the token is not valid yet';
      return `the claim ${claim ?? ''} of the token is not the one asked for`;
    }
    default:
      return `the token cannot be used (${error.code ?? 'unknown error'})`;
  }
}
