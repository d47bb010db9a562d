/**
 * Makes the links of the authentication chain that a configuration names, each once, however many
 * listeners ask it. Used by `access.ts` of this room.
 */
import type { Authenticator } from '../access/authenticator.ts';
import { CertificateAuthenticator } from '../access/authn/certificate-authenticator.ts';
import type { ChainPlan } from '../access/authn/chain.ts';
import { HashQueue } from '../access/authn/hash-queue.ts';
import type { JwtAuthenticator } from '../access/authn/jwt-authenticator.ts';
import { PasswordAuthenticator } from '../access/authn/password-authenticator.ts';
import { PskAuthenticator } from '../access/authn/psk-authenticator.ts';
import { VerifiedCache } from '../access/authn/verified-cache.ts';
import type { AuthenticatorKind } from '../config/access-config.ts';
import type { Config } from '../config/config.ts';
import { chainOf } from '../config/cross-check.ts';
import type { Clock, Log, Random } from '../core/ports.ts';
import { nameOf } from './listener-options.ts';
import { EverybodyLogin, ProbeLogin } from './own-logins.ts';

export interface AuthenticatorParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** After a reload, by kind: these users are gone or have other credentials. */
  readonly onUsersChanged: (by: string, users: ReadonlySet<string>) => void;
  /** After a reload, by kind: who came in by a key that is not in force is to go. */
  readonly onKeysRead: (by: string, isInForce: (keyPrint: string) => boolean) => void;
}

export interface Authenticators {
  /** For listeners without a chain of their own. */
  readonly common: ChainPlan;
  /** By name of the listener. */
  readonly listeners: ReadonlyMap<string, ChainPlan>;
  /** What `/health/full` logs in with. */
  readonly probe: ProbeLogin;
  /** Null: no keys are configured. */
  readonly psk: PskAuthenticator | null;
  /** Where passwords wait to be hashed. */
  readonly hashes: HashQueue;
  /** What fetches keys of tokens; null: nothing does. */
  readonly jwt: JwtAuthenticator | null;
  /** Whether the chain of a listener, by its name, names SCRAM; it is no link of it. */
  readonly offersScram: (listenerName: string) => boolean;
  /** The chain of some listener does. */
  readonly offersScramAtAll: boolean;
}

type LinkKind = Exclude<AuthenticatorKind, 'scram'>;

/** Passwords of one address that wait to be hashed. */
const WAITING_PER_ADDRESS_MAX = 64;
/** Of the time for a login. */
const WAIT_SHARE = 0.6;

/** Only what is used is loaded: some bring libraries with them. */
export async function makeAuthenticators(
  config: Config,
  parts: AuthenticatorParts,
): Promise<Authenticators> {
  const { authentication } = config;
  const { password } = authentication;
  const hashes = new HashQueue({
    concurrency: password?.hashesMax ?? 2,
    waitingMax: password?.waitingMax ?? 2000,
    waitingPerAddressMax: WAITING_PER_ADDRESS_MAX,
    // Who waits too long hears that we are busy, not that something is broken.
    waitMaxMs: authentication.timeoutMs * WAIT_SHARE,
    clock: parts.clock,
  });
  const probe = new ProbeLogin();
  const everybody = new EverybodyLogin();
  const made = new Map<LinkKind, Authenticator>();
  const chains = [{ url: '' }, ...config.listeners].map((entry) => chainOf(config, entry).chain);
  for (const kind of linksOf([...new Set(chains.flat())])) {
    made.set(kind, await make(kind, config, hashes, parts));
  }
  const plan = (listener: Config['listeners'][number]): ChainPlan => {
    const { chain, anonymous } = chainOf(config, listener);
    // Without a chain nobody is asked; those who show a name all the same are let in too.
    const isOpen = chain.length === 0 && anonymous;
    return {
      links: [
        probe,
        ...linksOf(chain).map((kind) => made.get(kind)!),
        ...(isOpen ? [everybody] : []),
      ],
      anonymous,
    };
  };
  const listeners = new Map(config.listeners.map((entry) => [nameOf(entry), plan(entry)]));
  const common = plan({ url: '' });
  const psk = (made.get('psk') as PskAuthenticator | undefined) ?? null;
  const jwt = (made.get('jwt') as JwtAuthenticator | undefined) ?? null;
  const scramListeners = new Set(
    config.listeners
      .filter((entry) => chainOf(config, entry).chain.includes('scram'))
      .map((entry) => nameOf(entry)),
  );
  const offersScram = (listenerName: string): boolean => scramListeners.has(listenerName);
  const offersScramAtAll = scramListeners.size > 0;
  return { common, listeners, probe, psk, hashes, jwt, offersScram, offersScramAtAll };
}

function linksOf(chain: readonly AuthenticatorKind[]): LinkKind[] {
  return chain.filter((kind) => kind !== 'scram');
}

async function make(
  kind: LinkKind,
  { authentication }: Config,
  queue: HashQueue,
  { clock, random, log, ...parts }: AuthenticatorParts,
): Promise<Authenticator> {
  const onUsersChanged = (users: ReadonlySet<string>): void => parts.onUsersChanged(kind, users);
  switch (kind) {
    case 'certificate':
      return new CertificateAuthenticator(authentication.certificate);
    case 'psk':
      return new PskAuthenticator({ ...section(authentication.psk), log, onUsersChanged });
    case 'jwt': {
      const { JwtAuthenticator } = await import('../access/authn/jwt-authenticator.ts');
      const onKeysRead = (isInForce: (keyPrint: string) => boolean): void =>
        parts.onKeysRead(kind, isInForce);
      return new JwtAuthenticator({ ...section(authentication.jwt), clock, log, onKeysRead });
    }
    case 'http': {
      const { HttpAuthenticator } = await import('../access/authn/http-authenticator.ts');
      return new HttpAuthenticator({ service: section(authentication.http), clock, log });
    }
    case 'redis': {
      const { RedisAuthenticator } = await import('../access/authn/redis-authenticator.ts');
      const redis = section(authentication.redis);
      const service = { ...redis, keyPrefix: redis.keyPrefix ?? '' };
      return new RedisAuthenticator({ service, queue, clock, random, log });
    }
    case 'password': {
      const { file, verifiedMax } = section(authentication.password);
      const cache = new VerifiedCache(verifiedMax);
      return new PasswordAuthenticator({ file, queue, cache, log, onUsersChanged });
    }
  }
}

/** The configuration was checked: a link of a chain has its section. */
function section<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a link of the chain has no section');
  return value;
}
