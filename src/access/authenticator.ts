/**
 * What one link of the authentication chain is: it looks at a CONNECT and says who that is, that it is
 * nobody, or that it has no opinion. `authn/chain.ts` asks them in order; the first decisive answer
 * counts. Control plane: an answer may take its time, but never for ever.
 */
import type { ListenerInfo, PeerCertificate } from '../core/ports.ts';
import type { RefuseReason } from '../core/refuse-reason.ts';
import type { GrantedRule } from './acl/granted-rule.ts';
import type { Prepared } from './prepared.ts';

/** What a client shows of itself. */
export interface Credentials {
  readonly clientId: string;
  readonly username: string | null;
  readonly password: Buffer | null;
  readonly protocolVersion: 3 | 4 | 5;
  readonly listener: ListenerInfo;
  /** '' for Unix sockets. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly certificate: PeerCertificate | null;
  readonly pskIdentity: string | null;
  /** Banned or blocked since: what takes time need not be done for it. Absent: nobody knows. */
  readonly isKeptOut?: (() => boolean) | undefined;
}

/** A claim of a token, as far as rules can use it: text, or a list of texts. */
export type Claim = string | readonly string[];

/** Who the client is. */
export interface Identified {
  /** The user name that was proven; null: anonymous. */
  readonly user: string | null;
  /** Named by the credentials themselves; null: `tenant` of the configuration decides. */
  readonly tenant: string | null;
  /** For rules and placeholders; by name of the claim. A Map, so that no name is special. */
  readonly claims: ReadonlyMap<string, Claim> | null;
  /** Wall-clock ms at which the connection is ended; 0: never. */
  readonly expiresAtMs: number;
  /** Rights that came with the credentials; asked before those of the rule file. */
  readonly rules: readonly GrantedRule[] | null;
  /** May do everything outside `$`. */
  readonly superuser: boolean;
  /** Print of the key that signed its credentials; absent: none did. */
  readonly keyPrint?: string | undefined;
}

export type AuthenticationAnswer =
  | { readonly kind: 'accepted'; readonly who: Identified }
  | { readonly kind: 'refused'; readonly reason: RefuseReason; readonly detail: string }
  /** These credentials are not for this authenticator: the next one is asked. */
  | { readonly kind: 'ignored' };

/** Rises only; the metrics page reads it. */
export interface AuthenticatorCounters {
  accepted: number;
  refused: number;
  ignored: number;
  /** The authenticator itself failed: backend away, answer unreadable. Counted in `refused` too. */
  errors: number;
  /** Answered from a cache. */
  cacheHits: number;
}

export interface Authenticator {
  /** As in the configuration: `password`, `jwt`, `certificate`, `psk`, `http`, `redis`. */
  readonly kind: string;
  readonly counters: Readonly<AuthenticatorCounters>;
  /** Reads its files and opens what it needs; throws an AccessError that says what to do. */
  start(): Promise<void>;
  authenticate(credentials: Credentials): AuthenticationAnswer | Promise<AuthenticationAnswer>;
  /** Users, identities or keys it has read; absent: it has none of its own. */
  readonly entries?: number;
  /** Of one that holds its users itself: what a client that is away would be, were it here. */
  isSuperuser?(user: string): boolean;
  /** Reads its files again; throws an AccessError. Until `commit` everything is as it was. */
  prepare(): Promise<Prepared>;
  stop(): Promise<void>;
}
