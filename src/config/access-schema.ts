/**
 * Options of authentication, authorization, quotas and bans: defaults, ranges and help. Part of
 * `schema.ts`.
 */
import { z } from 'zod';
import { type JwtAlgorithm, jwtAlgorithms } from '../access/authn/jwt-key.ts';
import { quotaActions, quotaKindNames, quotaScopes } from '../quota/quota-kinds.ts';
import type { QuotaOptions } from '../quota/quota-options.ts';
import {
  type AuthenticationConfig,
  type AuthenticatorKind,
  type AuthorizationConfig,
  authenticatorKinds,
  type BansConfig,
  type CertificateConfig,
  certificateIdentities,
  certificateTenantFields,
  type FlappingConfig,
  type HttpAuthorizationConfig,
  type HttpServiceConfig,
  type JwtConfig,
  type ListenerAuthenticationConfig,
  type LoginGuardConfig,
  type PasswordConfig,
  type PskConfig,
  type RedisAuthenticationConfig,
  type RedisAuthorizationConfig,
  redisHashes,
  redisLayouts,
  type ScramConfig,
  saltPositions,
  type TenantConfig,
  tenantSources,
} from './access-config.ts';
import { refuseCidr } from './address.ts';
import { choice, type LeafText, quantity, type TextRule, text, texts, truth } from './leaf.ts';

/** Needs a restart. */
const fixed = (help: string): LeafText => ({ help, reloadable: false });
const reloaded = (help: string): LeafText => ({ help, reloadable: true });

const seconds = (fallback: number, min: number, max: number, about: LeafText): z.ZodType<number> =>
  quantity({ unit: 's', default: fallback, min, max }, about);
const milliseconds = (fallback: number, about: LeafText): z.ZodType<number> =>
  quantity({ unit: 'ms', default: fallback, min: 10, max: 60_000 }, about);
const count = (fallback: number, min: number, max: number, about: LeafText): z.ZodType<number> =>
  quantity({ unit: 'count', default: fallback, min, max }, about);
const file = (what: string, about: LeafText): z.ZodType<string> =>
  text({ expected: `the name of ${what}` }, about);

function oneOf<const T extends string>(
  values: readonly T[],
  about: LeafText,
  fallback?: readonly T[],
  mayBeEmpty = false,
): z.ZodType<readonly T[]> {
  const expected = `any of ${values.join(', ')}`;
  const refuse: TextRule['refuse'] = (word) =>
    values.some((known) => known === word) ? null : `expected ${expected}`;
  return texts({ expected, refuse, mayBeEmpty }, about, fallback) as unknown as z.ZodType<
    readonly T[]
  >;
}

function refuseUrl(...schemes: readonly string[]): (url: string) => string | null {
  return (url) => {
    const parsed = URL.parse(url);
    // `redis:/x:password@host` is one for URL.parse too, and would be shown with its password.
    const isWhole = /^[a-z]+:\/\//i.test(url) || parsed?.protocol === 'unix:';
    const isKnown = isWhole && schemes.includes(parsed?.protocol.slice(0, -1) ?? '');
    return isKnown
      ? null
      : `expected a URL with ${schemes.map((name) => `${name}://`).join(' or ')}`;
  };
}

const chain = (
  about: LeafText,
  fallback?: readonly AuthenticatorKind[],
): z.ZodType<readonly AuthenticatorKind[]> =>
  oneOf<AuthenticatorKind>(authenticatorKinds, about, fallback, true);

const tenant: z.ZodType<TenantConfig> = z.strictObject({
  from: choice(
    tenantSources,
    'none',
    fixed(
      'What names the tenant of a client: quotas may be shared by a tenant, rules may ask for it.',
    ),
  ),
  separator: text(
    {
      expected: 'one character',
      default: '/',
      refuse: (word) => (word.length === 1 ? null : 'expected one character'),
    },
    fixed('With `username_prefix`: what ends the tenant in `acme/device-7`.'),
  ),
  claim: text(
    { expected: 'the name of a claim', default: 'tenant' },
    fixed('With `claim`: the claim of the token.'),
  ),
  field: choice(
    certificateTenantFields,
    'organization',
    fixed('With `certificate`: the field of the subject.'),
  ),
});

const password: z.ZodType<PasswordConfig> = z.strictObject({
  file: file(
    'a password file',
    fixed(
      'Users and hashes, as `causeway passwd` and mosquitto_passwd write them; a reload reads it again.',
    ),
  ),
  verifiedMax: count(
    10_000,
    0,
    10_000_000,
    fixed(
      'Logins remembered in memory (as keyed digests), so that a client that comes back costs no hash.',
    ),
  ),
  hashesMax: count(2, 1, 64, fixed('Passwords hashed at one time; each takes a thread.')),
  waitingMax: count(
    2000,
    1,
    1_000_000,
    fixed('Passwords waiting to be hashed; addresses take turns, and beyond it CONNACK says 0x89.'),
  ),
});

const scram: z.ZodType<ScramConfig> = z.strictObject({
  file: file(
    'a file of SCRAM users',
    fixed(
      'Users of MQTT 5 enhanced authentication SCRAM-SHA-256, as `causeway passwd --scram` writes them; offered where a chain names `scram`; a reload reads it again.',
    ),
  ),
});

const jwt: z.ZodType<JwtConfig> = z.strictObject({
  algorithms: oneOf<JwtAlgorithm>(
    jwtAlgorithms,
    fixed('Algorithms accepted; `none` never is, and secrets and public keys are not mixed.'),
  ),
  secretFile: file(
    'a file with the secret',
    fixed('Secret of HS256, HS384 and HS512; a reload reads it again.'),
  ).optional(),
  publicKeyFile: file(
    'a PEM or JWK file',
    fixed('Public keys of the other algorithms; a reload reads it again.'),
  ).optional(),
  jwksUrl: text(
    { expected: 'a URL', refuse: refuseUrl('https', 'http') },
    fixed('Where the issuer publishes its keys; http:// only on this machine.'),
  ).optional(),
  jwksCaFile: file(
    'a PEM file',
    fixed('Authorities of that URL; those of the system when absent.'),
  ).optional(),
  jwksCacheS: seconds(
    300,
    10,
    86_400,
    fixed('How long fetched keys are used before they are fetched again.'),
  ),
  jwksStaleS: seconds(
    86_400,
    10,
    2_592_000,
    fixed('How long keys are used while the URL does not answer; then tokens are refused.'),
  ),
  source: choice(
    ['password', 'username'] as const,
    'password',
    fixed('Field of CONNECT that holds the token.'),
  ),
  issuer: text({ expected: 'a text' }, fixed('What the claim `iss` must be.')).optional(),
  audience: text({ expected: 'a text' }, fixed('What the claim `aud` must be or hold.')).optional(),
  userClaim: text(
    { expected: 'the name of a claim', default: 'sub' },
    fixed('Claim that names the user.'),
  ),
  clientIdClaim: text(
    { expected: 'the name of a claim' },
    fixed('Claim that the client identifier must be equal to.'),
  ).optional(),
  aclClaim: text(
    { expected: 'the name of a claim', default: 'acl' },
    fixed('Claim with rules of the client, asked before those of the rule file.'),
  ),
  requireExpiry: truth(true, fixed('Tokens without `exp` are refused.')),
  clockToleranceS: seconds(0, 0, 300, fixed('How far `exp` and `nbf` may be off.')),
});

const certificate: z.ZodType<CertificateConfig> = z.strictObject({
  identity: choice(
    certificateIdentities,
    'common_name',
    fixed('Field of a verified client certificate that is the user name.'),
  ),
});

const psk: z.ZodType<PskConfig> = z.strictObject({
  file: file(
    'a file of keys',
    fixed(
      'Lines of `identity:hexadecimal key` for TLS with pre-shared keys; a reload reads it again.',
    ),
  ),
});

const httpService = (
  what: string,
  fields: string,
): { readonly [key in keyof HttpServiceConfig]-?: z.ZodType<HttpServiceConfig[key]> } => ({
  url: text(
    { expected: 'a URL', refuse: refuseUrl('https', 'http') },
    fixed(`Service that is asked ${what}.`),
  ),
  method: choice(
    ['POST', 'GET'] as const,
    'POST',
    fixed('HTTP method; with GET the fields go into the query.'),
  ),
  contentType: choice(['json', 'form'] as const, 'json', fixed('Form of the body.')),
  fields: texts(
    {
      expected: 'fields such as username=%u',
      refuse: (word) => (word.includes('=') ? null : 'expected NAME=TEMPLATE'),
    },
    fixed(`Fields sent; when absent ${fields}.`),
  ).optional(),
  headersFile: file(
    'a file of `Name: value` lines',
    fixed('Headers sent with each request, such as a key of the service.'),
  ).optional(),
  caFile: file(
    'a PEM file',
    fixed('Authorities of an https:// service; those of the system when absent.'),
  ).optional(),
  timeoutMs: milliseconds(2000, fixed('For one answer; then nobody is let in.')),
  concurrencyMax: count(32, 1, 10_000, fixed('Requests at one time.')),
  waitingMax: count(
    1000,
    0,
    1_000_000,
    fixed('Requests that wait for one of those; beyond it they are refused.'),
  ),
  cacheS: seconds(60, 0, 86_400, fixed('How long an answer is remembered; 0: not at all.')),
  cacheEntriesMax: count(10_000, 0, 10_000_000, fixed('Answers remembered.')),
});

const httpAuthentication: z.ZodType<HttpServiceConfig> = z.strictObject(
  httpService('who a client is', 'username=%u, password=%P, clientid=%c, address=%a, listener=%l'),
) as unknown as z.ZodType<HttpServiceConfig>;

const httpAuthorization: z.ZodType<HttpAuthorizationConfig> = z.strictObject({
  ...httpService(
    'whether a client may',
    'username=%u, clientid=%c, address=%a, action=%A, topic=%t, qos=%q, retain=%r',
  ),
  staleS: seconds(
    300,
    0,
    86_400,
    fixed('How long beyond `cacheS` what it said counts while the service does not answer.'),
  ),
}) as unknown as z.ZodType<HttpAuthorizationConfig>;

const redisService = (what: string) => ({
  url: text(
    { expected: 'a URL', refuse: refuseUrl('redis', 'rediss', 'unix') },
    fixed(`Redis that holds ${what}: redis://HOST:PORT/DB, rediss:// with TLS, unix:FILE.`),
  ),
  passwordFile: file(
    'a file with the password',
    fixed('Password of the Redis user, instead of one in the URL.'),
  ).optional(),
  caFile: file(
    'a PEM file',
    fixed('Authorities of rediss://; those of the system when absent.'),
  ).optional(),
  keyPrefix: text(
    { expected: 'a text' },
    fixed('What stands before every key; nothing when absent.'),
  ).optional(),
  timeoutMs: milliseconds(2000, fixed('For one answer; then nobody is let in.')),
  cacheS: seconds(60, 0, 86_400, fixed('How long an answer is remembered; 0: not at all.')),
  cacheEntriesMax: count(10_000, 0, 10_000_000, fixed('Answers remembered.')),
});

const redisAuthentication: z.ZodType<RedisAuthenticationConfig> = z.strictObject({
  ...redisService('users'),
  layout: choice(
    redisLayouts,
    'emqx',
    fixed('Whose keys: of EMQX, of mosquitto-go-auth, or as the following options say.'),
  ),
  userKey: text(
    { expected: 'a key such as mqtt_user:%u' },
    fixed('Key of a user; %u is the user name, %c the client identifier.'),
  ).optional(),
  hashField: text({ expected: 'a field', default: 'password_hash' }, fixed('Field with the hash.')),
  saltField: text({ expected: 'a field', default: 'salt' }, fixed('Field with the salt.')),
  superuserField: text(
    { expected: 'a field', default: 'is_superuser' },
    fixed('Field that makes a user a superuser.'),
  ),
  hash: choice(redisHashes, 'sha256', fixed('How passwords are hashed.')),
  salt: choice(saltPositions, 'prefix', fixed('Where the salt goes with sha256 and sha512.')),
  pbkdf2Iterations: count(100_000, 1, 10_000_000, fixed('Iterations of pbkdf2.')),
});

const redisAuthorization: z.ZodType<RedisAuthorizationConfig> = z.strictObject({
  ...redisService('rules'),
  layout: choice(['emqx', 'mosquitto_go_auth'] as const, 'emqx', fixed('Whose keys.')),
});

const ofChain = 'What is asked, in order, who a client is; the first decisive answer counts.';
const ofAnonymous = 'A client that shows no credentials at all is let in as nobody.';

export const listenerAuthentication: z.ZodType<ListenerAuthenticationConfig> = z.strictObject({
  chain: chain(fixed(`${ofChain} Here: at this listener; an empty list asks nobody.`)).optional(),
  // No default: absent means as for all.
  anonymous: truth(undefined, fixed(`${ofAnonymous} Here: at this listener.`)).optional(),
});

export const authentication: z.ZodType<AuthenticationConfig> = z.strictObject({
  chain: chain(fixed(`${ofChain} Without it everybody is let in, from this machine only.`), []),
  anonymous: truth(false, fixed(`${ofAnonymous} Only with a chain; without one everybody is.`)),
  timeoutMs: milliseconds(8000, fixed('Longest time for a whole login, all links together.')),
  tenant: tenant.prefault({} as TenantConfig),
  password: password.optional(),
  scram: scram.optional(),
  jwt: jwt.optional(),
  certificate: certificate.prefault({} as CertificateConfig),
  psk: psk.optional(),
  http: httpAuthentication.optional(),
  redis: redisAuthentication.optional(),
});

export const authorization: z.ZodType<AuthorizationConfig> = z.strictObject({
  rulesFile: file(
    'a rule file',
    fixed('Rules in YAML, or an acl_file of mosquitto; a reload reads it again.'),
  ).optional(),
  http: httpAuthorization.optional(),
  redis: redisAuthorization.optional(),
  revokedSubscription: choice(
    ['disconnect', 'unsubscribe'] as const,
    'disconnect',
    reloaded(
      'What happens to a client that is online when a reload takes a subscription from it: it is told 0x87 and comes back without it, or it stays and hears no more.',
    ),
  ),
});

const flapping: z.ZodType<FlappingConfig> = z.strictObject({
  connectsMax: count(
    0,
    0,
    100_000,
    reloaded('Connects of one client identifier within the window before it is banned; 0: never.'),
  ),
  windowS: seconds(60, 1, 86_400, reloaded('The window.')),
  banS: seconds(
    60,
    1,
    604_800,
    reloaded('Length of the first ban; each further one is twice as long.'),
  ),
  banMaxS: seconds(3600, 1, 2_592_000, reloaded('Length of the longest ban.')),
});

const login: z.ZodType<LoginGuardConfig> = z.strictObject({
  failuresMax: count(
    10,
    0,
    100_000,
    reloaded(
      'Failed logins from one address (IPv6: one /64) within the window before it has to wait, a third of that for one user name; 0: never.',
    ),
  ),
  windowS: seconds(60, 1, 86_400, reloaded('The window.')),
  blockS: seconds(
    30,
    1,
    604_800,
    reloaded('First time to wait; each further one is twice as long.'),
  ),
  blockMaxS: seconds(3600, 1, 2_592_000, reloaded('Longest time to wait.')),
  trustedAddresses: texts(
    { expected: 'IP addresses or CIDR ranges', refuse: refuseCidr },
    reloaded('Addresses that are never blocked, such as a gateway many devices come through.'),
  ).optional(),
});

export const bans: z.ZodType<BansConfig> = z.strictObject({
  flapping: flapping.prefault({} as FlappingConfig),
  login: login.prefault({} as LoginGuardConfig),
});

const quota: z.ZodType<QuotaOptions> = z.strictObject({
  name: text({ expected: 'a name' }, reloaded('Name of the quota for clients, log and metrics.')),
  of: choice(quotaKindNames, undefined, reloaded('What is limited.')),
  per: choice(quotaScopes, 'client', reloaded('Who shares it.')),
  max: quantity(
    { unit: 'amount', min: 0, max: 1e12 },
    reloaded('The limit: a number, bytes, or either per second.'),
  ),
  burst: quantity(
    { unit: 'amount', min: 1, max: 1e12 },
    reloaded('Rates: how much may come at once; a second’s worth when absent.'),
  ).optional(),
  action: choice(
    quotaActions,
    undefined,
    reloaded('What happens at the limit; what suits the kind when absent.'),
  ).optional(),
  users: texts(
    { expected: 'user names' },
    reloaded('Users it concerns; all when absent.'),
  ).optional(),
  tenants: texts(
    { expected: 'tenants' },
    reloaded('Tenants it concerns; all when absent.'),
  ).optional(),
  listeners: texts(
    { expected: 'names of listeners' },
    reloaded('Listeners it concerns; all when absent.'),
  ).optional(),
});

export const quotas: z.ZodType<readonly QuotaOptions[]> = z
  .array(quota, { error: 'expected a list of quotas, each a section with name, of and max' })
  .default([])
  .meta({
    'x-reloadable': true,
    'x-default': [],
    description: 'Limits per client, user, tenant, listener or node.',
  });
