/**
 * Of whom rights are asked: what rules can look at. Made by the gate once per connection, from a
 * stored principal while the client is away, and by `causeway acl test`. A `RuleSubject` of
 * `source.ts` with `isSuperuser` and `grants` added is one.
 *
 * `undefined` is "not known", which is not the same as having none: a client that is away may have
 * had any address.
 */
import type { PeerCertificate } from '../../core/ports.ts';
import type { Principal } from '../../core/principal.ts';
import type { Claim } from '../authenticator.ts';
import type { GrantedRule } from './granted-rule.ts';

export interface AclSubject {
  readonly clientId: string;
  /** Null: anonymous. */
  readonly user: string | null;
  /** '': none. */
  readonly tenant: string;
  /** '' for Unix sockets. */
  readonly remoteAddress: string | undefined;
  readonly listenerName: string | undefined;
  /** Null: showed none. */
  readonly certificate: PeerCertificate | null | undefined;
  /** Null: has none. */
  readonly claims: ReadonlyMap<string, Claim> | null | undefined;
  readonly isSuperuser: boolean;
  /**
   * Rights that came with the credentials, asked before those of the file; null: none came, an empty
   * list: they came and allow nothing (which denies everything when the file has no rule either).
   */
  readonly grants: readonly GrantedRule[] | null;
}

/** What is known of a client that is away. */
export function awaySubject(principal: Principal): AclSubject {
  return {
    clientId: principal.clientId,
    user: principal.identity,
    tenant: principal.tenant,
    remoteAddress: undefined,
    listenerName: undefined,
    certificate: undefined,
    claims: undefined,
    isSuperuser: false,
    grants: null,
  };
}
