/**
 * The part of the configuration that says who may do what and how much: authentication,
 * authorization, quotas, bans. Types only; `access-schema.ts` holds defaults, ranges and texts of the
 * same names.
 */

import type { JwtTerms } from '../access/authn/jwt-authenticator.ts';
import type { HttpServiceOptions } from '../access/backend/http-backend.ts';

/**
 * What an authentication chain may name, in the order links are usually asked. `scram` is no link: a
 * client asks for it, at listeners whose chain names it.
 */
export const authenticatorKinds = [
  'certificate',
  'psk',
  'scram',
  'jwt',
  'password',
  'redis',
  'http',
] as const;
export type AuthenticatorKind = (typeof authenticatorKinds)[number];

export interface ChainConfig {
  /** Empty: nobody is asked. */
  readonly chain: readonly AuthenticatorKind[];
  /** A client that shows no credentials at all is let in as nobody. */
  readonly anonymous: boolean;
}

/** Overrides of a listener; what is absent is as for all. */
export interface ListenerAuthenticationConfig {
  readonly chain?: readonly AuthenticatorKind[] | undefined;
  readonly anonymous?: boolean | undefined;
}

export interface AuthenticationConfig extends ChainConfig {
  readonly tenant: TenantConfig;
  /** Longest time for a whole login. */
  readonly timeoutMs: number;
  readonly password?: PasswordConfig | undefined;
  readonly scram?: ScramConfig | undefined;
  readonly jwt?: JwtConfig | undefined;
  readonly certificate: CertificateConfig;
  readonly psk?: PskConfig | undefined;
  readonly http?: HttpAuthenticationConfig | undefined;
  readonly redis?: RedisAuthenticationConfig | undefined;
}

export const tenantSources = [
  'none',
  'username_prefix',
  'claim',
  'certificate',
  'listener',
] as const;
export const certificateTenantFields = ['organization', 'organizational_unit'] as const;

export interface TenantConfig {
  readonly from: (typeof tenantSources)[number];
  /** Ends the tenant in a user name. */
  readonly separator: string;
  readonly claim: string;
  readonly field: (typeof certificateTenantFields)[number];
}

export interface PasswordConfig {
  readonly file: string;
  /** Successful logins remembered, so that a known client costs no hash when it comes back. */
  readonly verifiedMax: number;
  readonly hashesMax: number;
  readonly waitingMax: number;
}

export interface ScramConfig {
  readonly file: string;
}

export type JwtConfig = JwtTerms;

export const certificateIdentities = [
  'common_name',
  'san_dns',
  'san_uri',
  'san_email',
  'serial',
  'fingerprint',
] as const;

export interface CertificateConfig {
  readonly identity: (typeof certificateIdentities)[number];
}

export interface PskConfig {
  readonly file: string;
}

export type HttpServiceConfig = HttpServiceOptions;
export type HttpAuthenticationConfig = HttpServiceConfig;

export interface HttpAuthorizationConfig extends HttpServiceConfig {
  /** How long beyond `cacheS` a verdict counts while the service does not answer. */
  readonly staleS: number;
}

export const redisLayouts = ['emqx', 'mosquitto_go_auth', 'custom'] as const;

/** A Redis that holds users or rules. */
export interface RedisServiceConfig {
  readonly url: string;
  readonly passwordFile?: string | undefined;
  readonly caFile?: string | undefined;
  readonly keyPrefix?: string | undefined;
  readonly timeoutMs: number;
  readonly cacheS: number;
  readonly cacheEntriesMax: number;
}

export const redisHashes = ['sha256', 'sha512', 'pbkdf2_sha256', 'pbkdf2_sha512', 'plain'] as const;
export const saltPositions = ['prefix', 'suffix', 'none'] as const;

export interface RedisAuthenticationConfig extends RedisServiceConfig {
  readonly layout: (typeof redisLayouts)[number];
  readonly userKey?: string | undefined;
  readonly hashField: string;
  readonly saltField: string;
  readonly superuserField: string;
  readonly hash: (typeof redisHashes)[number];
  readonly salt: (typeof saltPositions)[number];
  readonly pbkdf2Iterations: number;
}

export interface RedisAuthorizationConfig extends RedisServiceConfig {
  readonly layout: 'emqx' | 'mosquitto_go_auth';
}

export interface AuthorizationConfig {
  readonly rulesFile?: string | undefined;
  readonly http?: HttpAuthorizationConfig | undefined;
  readonly redis?: RedisAuthorizationConfig | undefined;
  readonly revokedSubscription: 'disconnect' | 'unsubscribe';
}

export interface FlappingConfig {
  /** 0: flapping is not looked for. */
  readonly connectsMax: number;
  readonly windowS: number;
  readonly banS: number;
  readonly banMaxS: number;
}

export interface LoginGuardConfig {
  /** 0: failed logins block nobody. */
  readonly failuresMax: number;
  readonly windowS: number;
  readonly blockS: number;
  readonly blockMaxS: number;
  /** Never blocked: a gateway through which many devices come. */
  readonly trustedAddresses?: readonly string[] | undefined;
}

export interface BansConfig {
  readonly flapping: FlappingConfig;
  readonly login: LoginGuardConfig;
}
