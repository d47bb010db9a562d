/**
 * What the claims of a verified token say of a client. Names of claims come from outside, so they are
 * looked up as own members and kept in a Map: `__proto__` and `constructor` are names like any other.
 */
import type { GrantedRule } from '../acl/granted-rule.ts';
import type { Claim } from '../authenticator.ts';
import { readAclClaim } from './jwt-acl-claim.ts';

export interface ClaimNames {
  readonly userClaim: string;
  readonly clientIdClaim?: string | undefined;
  readonly aclClaim: string;
}

export interface TokenClaims {
  readonly user: string;
  /** Client identifiers the token is for; null: any. */
  readonly clientIds: readonly string[] | null;
  readonly rules: readonly GrantedRule[] | null;
  readonly claims: ReadonlyMap<string, Claim>;
  /** Seconds since 1970; null: never. */
  readonly expiresAtS: number | null;
}

const CLAIMS_MAX = 100;
/** Longer texts and lists are no use to a rule; they are passed over. */
const TEXT_LENGTH_MAX = 1024;
const LIST_MAX = 100;
const USER_BYTES_MAX = 0xffff;

/** A text: what is wrong, without any value of the token. */
export function readTokenClaims(payload: object, names: ClaimNames): TokenClaims | string {
  const members = new Map<string, unknown>(Object.entries(payload));
  // Cutting off would be a way around a rule that denies by a claim.
  if (members.size > CLAIMS_MAX) return `it has more than ${CLAIMS_MAX} claims`;
  const user = textOf(members.get(names.userClaim));
  if (user === null || !isUserName(user)) return `the claim ${names.userClaim} names no user`;
  let clientIds: readonly string[] | null = null;
  if (names.clientIdClaim !== undefined) {
    const claim = claimOf(members.get(names.clientIdClaim));
    if (claim === null) return `the claim ${names.clientIdClaim} names no client`;
    clientIds = typeof claim === 'string' ? [claim] : claim;
  }
  let rules: readonly GrantedRule[] | null = null;
  if (members.has(names.aclClaim)) {
    const read = readAclClaim(members.get(names.aclClaim), names.aclClaim);
    if (typeof read === 'string') return `the claim ${names.aclClaim} ${read}`;
    rules = read;
  }
  const claims = new Map<string, Claim>();
  for (const [name, value] of members) {
    if (name === names.aclClaim) continue;
    const claim = claimOf(value);
    if (claim !== null) claims.set(name, claim);
  }
  const expiresAtS = members.get('exp');
  return {
    user,
    clientIds,
    rules,
    claims,
    expiresAtS: typeof expiresAtS === 'number' ? expiresAtS : null,
  };
}

/** As far as rules can use it: nested values are not. */
function claimOf(value: unknown): Claim | null {
  if (!Array.isArray(value)) return textOf(value);
  if (value.length > LIST_MAX) return null;
  const list = value.map(textOf);
  return list.every((text) => text !== null) ? list : null;
}

function textOf(value: unknown): string | null {
  if (typeof value === 'string') return value.length > TEXT_LENGTH_MAX ? null : value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return null;
}

function isUserName(user: string): boolean {
  return (
    user !== '' &&
    user.isWellFormed() &&
    !/\p{Cc}/u.test(user) &&
    Buffer.byteLength(user) <= USER_BYTES_MAX
  );
}
